/* SPDX-License-Identifier: MIT */
/*
 * A bounded semaphore: as many words as units, each naming who has that unit.
 *
 *     0 --CAS--> tag --store--> 0        and a dead tag --CAS--> tag: "the owner died"
 *
 * A unit is free if its word is 0 or names somebody dead. A thread may have several. The search
 * begins at a place that depends on the thread, so that threads seldom meet.
 *
 * Sleepers wait on .releases, which every release increments after it has freed its unit and before
 * it wakes one; it is read before the units are looked at.
 *
 * A search is not one moment: a unit may come free behind it while another, ahead of it, is taken.
 * A sleeper does not care, as .releases changes then. But who is about to say that there was none
 * searches twice. If both find the same owners, alive, and .releases is what it was before, then
 * none of them has given a unit back in between: who does increments .releases before it can take
 * that unit again. So at the moment between the two searches no unit was free.
 *
 * Deaths: with a unit: its word names the dead, so it is free again, and the death wakes all
 * sleepers (roster.h). In a release before the store: the same. After it, before the wake-up, or
 * woken and killed before the take: the death wakes all as well. Nothing is ever lost, and there is
 * nothing to repair.
 *
 * Orders: taking acquires, giving back releases. Giving back, .releases and the looks are
 * sequentially consistent besides, for wake_sleepers().
 */
#include <brood/sync.h>

#include "ipc/waiting.h"

#include <errno.h>
#include <string.h>

struct bounded_words {
    _Atomic uint32_t releases; /* a futex word */
    _Atomic uint32_t sleepers;
    uint32_t units; /* written by init only */
    uint32_t unused[5];
    _Atomic uint32_t owner[BROOD_UNITS_MAX];
};
_Static_assert(sizeof(struct bounded_words) == sizeof(brood_bounded_semaphore),
               "a bounded semaphore has other words");

/* Mutants that the crash sweeps must catch; see tests/ipc/test_semaphore_kill.c. */
#define MUTANT_TELLS_FIRST 61
#define MUTANT_KEEPS_THE_DEAD 62
#ifndef BROOD_MUTANT
#define BROOD_MUTANT 0
#endif

/* What a search has found in each unit, and whether it was something else than the one before. */
struct findings {
    uint32_t owner[BROOD_UNITS_MAX];
    bool changed;
};

struct bounded_take {
    struct bounded_words *words;
    const struct roster *roster;
    roster_tag me;
    unsigned units;
};

/* After so many in vain, between all of which others have come and gone, we give up unproved. */
enum { DOUBLE_SEARCHES_MAX = 100 };

int brood_bounded_semaphore_init(brood_bounded_semaphore *semaphore, unsigned units)
{
    struct bounded_words *words = (void *)semaphore;

    if (!is_placed(semaphore) || units == 0 || units > BROOD_UNITS_MAX)
        return -EINVAL;
    if (!brood__member_writes(semaphore))
        return -EROFS;
    memset(semaphore, 0, sizeof *semaphore);
    words->units = units;
    return 0;
}

/* The number of units, read once; or why it cannot be used. */
static int units_of(const brood_bounded_semaphore *semaphore)
{
    const struct bounded_words *words = (const void *)semaphore;
    uint32_t units;

    if (!is_placed(semaphore))
        return -EINVAL;
    units = *(const volatile uint32_t *)&words->units;
    if (units == 0)
        return -EINVAL;
    return units <= BROOD_UNITS_MAX ? (int)units : BROOD_EABI;
}

static bool is_free(const struct roster *roster, uint32_t owner)
{
#if BROOD_MUTANT == MUTANT_KEEPS_THE_DEAD
    (void)roster;
    return owner == 0;
#else
    return owner == 0 || !brood__roster_alive(roster, owner);
#endif
}

static void note_owner(struct findings *findings, unsigned index, uint32_t owner)
{
    if (findings == NULL)
        return;
    if (findings->owner[index] != owner)
        findings->changed = true;
    findings->owner[index] = owner;
}

/* 0, BROOD_OWNER_DIED or WAIT_ON. A CAS that fails has been overtaken, and the unit is taken.
 * FINDINGS may be NULL. */
static int search(const struct bounded_take *take, struct findings *findings)
{
    for (unsigned i = 0; i < take->units; i++) {
        unsigned index = (take->me + i) % take->units;
        _Atomic uint32_t *unit = &take->words->owner[index];
        uint32_t owner = atomic_load(unit);

        if (is_free(take->roster, owner) && atomic_compare_exchange_strong(unit, &owner, take->me))
            return owner == 0 ? 0 : BROOD_OWNER_DIED;
        note_owner(findings, index, owner);
    }
    return WAIT_ON;
}

static int try_take(void *object)
{
    return search(object, NULL);
}

/* 0, BROOD_OWNER_DIED, or -ETIMEDOUT: there was a moment at which no unit was free, or none could
 * be had in DOUBLE_SEARCHES_MAX. All loads are sequentially consistent, as are the stores and
 * increments of releases that they are compared with. */
static int take_or_give_up(const struct bounded_take *take)
{
    struct findings findings = {0};

    for (unsigned i = 0; i < DOUBLE_SEARCHES_MAX; i++) {
        uint32_t releases = atomic_load(&take->words->releases);
        int r = search(take, &findings);

        findings.changed = false;
        if (r == WAIT_ON)
            r = search(take, &findings);
        if (r != WAIT_ON)
            return r;
        if (!findings.changed && atomic_load(&take->words->releases) == releases)
            break;
    }
    return -ETIMEDOUT;
}

int brood_bounded_semaphore_acquire(brood_bounded_semaphore *semaphore, int64_t timeout_ms)
{
    struct bounded_take take = {.words = (void *)semaphore};
    struct waiting waiting;
    const struct member *member;
    int r = units_of(semaphore);

    if (r < 0)
        return r;
    take.units = (unsigned)r;
    r = brood__member(semaphore, &member);
    if (r < 0)
        return r;
    take.roster = member->roster;
    take.me = member->tag;
    r = try_take(&take);
    if (r != WAIT_ON)
        return r;
    waiting = waiting_of(member);
    waiting.word = &take.words->releases;
    waiting.sleepers = &take.words->sleepers;
    waiting.look = try_take;
    waiting.object = &take;
    r = brood__wait_for(&waiting, timeout_ms);
    return r == -ETIMEDOUT ? take_or_give_up(&take) : r;
}

/* One of ME's units becomes free. False: it has none. */
static bool give_back(struct bounded_words *words, roster_tag me, unsigned units)
{
    for (unsigned i = 0; i < units; i++) {
        _Atomic uint32_t *unit = &words->owner[(me + i) % units];

        /* Relaxed: only what this thread wrote itself makes the answer yes. */
        if (atomic_load_explicit(unit, memory_order_relaxed) == me) {
            atomic_store(unit, 0);
            return true;
        }
    }
    return false;
}

int brood_bounded_semaphore_release(brood_bounded_semaphore *semaphore)
{
    struct bounded_words *words = (void *)semaphore;
    const struct member *member;
    int units = units_of(semaphore);
    int r;

    if (units < 0)
        return units;
    r = brood__member(semaphore, &member);
    if (r < 0)
        return r;
#if BROOD_MUTANT == MUTANT_TELLS_FIRST
    (void)atomic_fetch_add(&words->releases, 1);
    wake_sleepers(&words->releases, &words->sleepers, 1);
    return give_back(words, member->tag, (unsigned)units) ? 0 : -EPERM;
#else
    if (!give_back(words, member->tag, (unsigned)units))
        return -EPERM;
    (void)atomic_fetch_add(&words->releases, 1);
    wake_sleepers(&words->releases, &words->sleepers, 1);
    return 0;
#endif
}

int brood_bounded_semaphore_value(const brood_bounded_semaphore *semaphore)
{
    const struct bounded_words *words = (const void *)semaphore;
    const struct member *member;
    int units = units_of(semaphore);
    int value = 0;
    int r;

    if (units < 0)
        return units;
    r = brood__member(semaphore, &member);
    if (r < 0)
        return r;
    for (int i = 0; i < units; i++)
        value += is_free(member->roster, atomic_load(&words->owner[i]));
    return value;
}
