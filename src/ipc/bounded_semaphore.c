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

/* Mutants that the crash sweeps must catch; see tests/ipc/test_sync_kill.c. */
#define MUTANT_TELLS_FIRST 61
#define MUTANT_KEEPS_THE_DEAD 62
#ifndef BROOD_MUTANT
#define BROOD_MUTANT 0
#endif

struct bounded_take {
    struct bounded_words *words;
    const struct roster *roster;
    roster_tag me;
    unsigned units;
};

int brood_bounded_semaphore_init(brood_bounded_semaphore *semaphore, unsigned units)
{
    struct bounded_words *words = (void *)semaphore;

    if (semaphore == NULL || units == 0 || units > BROOD_UNITS_MAX)
        return -EINVAL;
    memset(semaphore, 0, sizeof *semaphore);
    words->units = units;
    return 0;
}

/* The number of units, read once; or why it cannot be used. */
static int units_of(const brood_bounded_semaphore *semaphore)
{
    const struct bounded_words *words = (const void *)semaphore;
    uint32_t units;

    if (semaphore == NULL)
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

/* 0, BROOD_OWNER_DIED or WAIT_ON. A CAS that fails has been overtaken, and the unit is taken. */
static int try_take(void *object)
{
    const struct bounded_take *take = object;

    for (unsigned i = 0; i < take->units; i++) {
        _Atomic uint32_t *unit = &take->words->owner[(take->me + i) % take->units];
        uint32_t owner = atomic_load(unit);

        if (is_free(take->roster, owner) && atomic_compare_exchange_strong(unit, &owner, take->me))
            return owner == 0 ? 0 : BROOD_OWNER_DIED;
    }
    return WAIT_ON;
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
    return brood__wait_for(&waiting, timeout_ms);
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
