/* SPDX-License-Identifier: MIT */
/*
 * Sleeping on a word of shared memory with an eye on everybody.
 *
 *     futex_waitv():  [ the word | .moment | life words of all others ............ ]
 *
 * So a sleeper wakes when its word changes, when somebody joins or is buried (.moment), and when
 * somebody dies: the kernel marks the life word then, and wakes one of those who watch it. Which
 * one is not ours to choose, and whatever else happened, it may have been us. Therefore whoever
 * wakes looks through the roster, and so tells the others of a death (ipc/roster.h). If it is
 * killed before, its own death wakes the next.
 *
 * Where there are more than one can watch, one of the sleepers looks at all of them from time to
 * time, the watchman. The others watch that one: its death, and whether it has given up the post.
 * Who wakes for whatever reason and finds no watchman wakes another, so that one of those who sleep
 * on takes the post; and who takes it wakes all who sleep on it, as they watch the former watchman.
 * Should one be killed before it has woken them, a rare look by everybody makes it good. (With many
 * sleepers the watchman is rarely the one who is woken, so waking all costs each message about one
 * wake-up more.) On a kernel without futex_waitv() everybody looks from time to time.
 *
 * What a death leaves behind: FUTEX_WAITERS in life words, at the cost of one wake-up too many; in
 * .watchman a tag that is not alive, which the next sleeper replaces by one CAS. Nothing here is
 * ever half done.
 *
 * Orders: all accesses are sequentially consistent. The waiters' bit is set before the kernel
 * compares the life word, so a death is either seen by that comparison or finds the bit. A slot
 * that shows no death may have been cleared by one who was killed before it told: so the burial
 * is looked for after all slots.
 */
#include "ipc/roster_inside.h"

#include "base/clock.h"
#include "sys/kernel.h"

#include <errno.h>

enum { WATCHED_MAX = 120, TOO_MANY = 0x7fffffff };
#define HEARTBEAT_NS 50000000
#define SECOND_LOOK_NS 10000000000

/* Mutants that the crash sweeps must catch; see tests/ipc/test_roster_kill.c. */
#define MUTANT_NO_WAITERS_BIT 93
#define MUTANT_LOOKS_AT_LIFE_ONLY 94
#ifndef BROOD_MUTANT
#define BROOD_MUTANT 0
#endif

/* The kernel wakes watchers of a death only if the life word says that there are any. */
static uint32_t mark_watched(_Atomic uint32_t *life)
{
    uint32_t word = atomic_load(life);

#if BROOD_MUTANT != MUTANT_NO_WAITERS_BIT
    while (word_alive(word) && (word & FUTEX_WAITERS) == 0)
        if (atomic_compare_exchange_weak(life, &word, word | FUTEX_WAITERS))
            word |= FUTEX_WAITERS;
#endif
    return word;
}

static struct futex_watch watch_of(const _Atomic uint32_t *word, uint32_t value)
{
    return (struct futex_watch){.word = (const void *)(uintptr_t)word, .value = value};
}

/* Adds the life word of a slot to what wakes us. False: its holder is dead, and nobody knew. */
static bool watch_slot(struct roster *roster, unsigned index, struct futex_watch *watches,
                       unsigned *inout_count)
{
    _Atomic uint32_t *life = brood__roster_life(roster, index);
    uint32_t word = mark_watched(life);

    if (brood__roster_bury(roster, index, false))
        return false;
    if (!word_alive(word))
        return true;
    if (*inout_count < WATCHED_MAX + 2)
        watches[(*inout_count)++] = watch_of(life, word);
    else
        *inout_count = TOO_MANY;
    return true;
}

static int64_t sooner(int64_t deadline, int64_t ns)
{
    int64_t end = now_ns() + ns;

    return end < deadline ? end : deadline;
}

/* Without waitv: on the word alone, and a look from time to time. -ETIMEDOUT only if DEADLINE is
 * over. */
static int sleep_looking(struct roster *roster, const _Atomic uint32_t *word, uint32_t value,
                         int64_t deadline)
{
    int64_t beat = sooner(deadline, HEARTBEAT_NS);
    int r = brood__futex_wait((const void *)(uintptr_t)word, value, beat);

    brood__roster_look(roster);
    return r == -ETIMEDOUT && beat == deadline ? -ETIMEDOUT : 0;
}

/* ---- sleeping among many ---- */

/* WATCHES has the word and the moment. */
static int look_for_all(struct roster *roster, roster_tag me, const struct futex_watch *watches,
                        int64_t deadline)
{
    uint32_t mine = me;
    int64_t beat;
    int r;

    do {
        beat = sooner(deadline, HEARTBEAT_NS);
        r = brood__futex_wait_any(watches, 2, beat);
        brood__roster_look(roster);
    } while (r == -ETIMEDOUT && beat != deadline);
    (void)atomic_compare_exchange_strong(&roster->watchman, &mine, 0);
    return r;
}

static int watch_watchman(struct roster *roster, roster_tag watchman, struct futex_watch *watches,
                          int64_t deadline)
{
    _Atomic uint32_t *life = brood__roster_life(roster, (watchman & SLOT_MASK) - 1);
    int64_t end = sooner(deadline, SECOND_LOOK_NS);
    int r;

    watches[2] = watch_of(&roster->watchman, watchman);
    watches[3] = watch_of(life, mark_watched(life));
    if (!brood__roster_alive(roster, watchman))
        return 0;
    r = brood__futex_wait_any(watches, 4, end);
    brood__roster_look(roster);
    return r == -ETIMEDOUT && end != deadline ? 0 : r;
}

/* Who has the post now: ME, if nobody alive had it. */
static roster_tag take_post(struct roster *roster, roster_tag me)
{
    uint32_t watchman = atomic_load(&roster->watchman);

    if (brood__roster_alive(roster, watchman) ||
        !atomic_compare_exchange_strong(&roster->watchman, &watchman, me))
        return watchman;
    brood__futex_wake(&roster->watchman, UINT32_MAX);
    return me;
}

static int sleep_among_many(struct roster *roster, roster_tag me, struct futex_watch *watches,
                            int64_t deadline)
{
    roster_tag watchman = take_post(roster, me);
    int r;

    if (watchman == me)
        r = look_for_all(roster, me, watches, deadline);
    else if (brood__roster_alive(roster, watchman))
        r = watch_watchman(roster, watchman, watches, deadline);
    else
        r = 0;
    if (atomic_load(&roster->watchman) == 0)
        brood__futex_wake(&roster->watchman, 1);
    return r;
}

/* ---- the sleep ---- */

/* Fills WATCHES from the third on: how many there are then; 0: somebody had died; or TOO_MANY. */
static unsigned watch_others(struct roster *roster, roster_tag me, struct futex_watch *watches)
{
    unsigned reach = brood__roster_reach(roster);
    unsigned count = 2;

    for (unsigned i = 0; i < reach && count != TOO_MANY; i++)
        if (i != (me & SLOT_MASK) - 1 && !watch_slot(roster, i, watches, &count))
            return 0;
    return brood__roster_end_burial(roster) ? 0 : count;
}

int brood__roster_sleep(struct roster *roster, roster_tag me, const _Atomic uint32_t *word,
                        uint32_t value, uint32_t moment, int64_t deadline)
{
    struct futex_watch watches[FUTEX_WATCHES_MAX];
    unsigned count;
    int r = -ENOSYS;

    watches[0] = watch_of(word, value);
    watches[1] = watch_of(&roster->moment, moment);
    count = watch_others(roster, me, watches);
    if (count == 0)
        return 0;
    if (count == TOO_MANY)
        r = sleep_among_many(roster, me, watches, deadline);
    else
        r = brood__futex_wait_any(watches, count, deadline);
    if (r == -ENOSYS)
        return sleep_looking(roster, word, value, deadline);
#if BROOD_MUTANT == MUTANT_LOOKS_AT_LIFE_ONLY
    if (atomic_load(word) != value || atomic_load(&roster->moment) != moment)
        return r;
#endif
    /* The kernel woke one of those who watched a death, and it may have been us, whatever else has
     * changed. */
    brood__roster_look(roster);
    return r;
}
