/* SPDX-License-Identifier: MIT */
/*
 * An event: one word, {how often it was set:31 | set:1}.
 *
 * A waiter has reason to go if the bit is set, or the number is another than when it came: then
 * the event was set meanwhile, and cleared again before this thread got to look. Setting one that
 * is set changes nothing, but wakes whoever sleeps all the same: the first setter may be stopped
 * between its change and its wake-up.
 *
 * Deaths: one that sets and is killed before it wakes, wakes all sleepers by dying (roster.h);
 * they look and see it set. A waiter keeps nothing. There is nothing to repair.
 *
 * Orders: setting releases and looking acquires: what was written before the set is seen by
 * whoever it lets go. Both are sequentially consistent besides, for wake_sleepers().
 */
#include <brood/sync.h>

#include "ipc/waiting.h"

#include <errno.h>

struct event_words {
    _Atomic uint32_t word; /* a futex word */
    _Atomic uint32_t sleepers;
    uint32_t unused[6];
};
_Static_assert(sizeof(struct event_words) == sizeof(brood_event), "an event has other words");

enum { EVENT_SET = 1, EVENT_ONE = 2 };

/* Mutants that the crash sweeps must catch; see tests/ipc/test_sync_kill.c. */
#define MUTANT_FORGETS_SETS 71
#ifndef BROOD_MUTANT
#define BROOD_MUTANT 0
#endif

struct event_wait {
    const struct event_words *words;
    const struct roster *roster;
    uint32_t first, deaths;
};

void brood_event_set(brood_event *event)
{
    struct event_words *words = (void *)event;
    const struct member *member;
    uint32_t seen;

    if (!is_placed(event))
        return;
    /* Who finds no place on the roster sets as well; only its death in here would not be
     * noticed. */
    if (brood__member(event, &member) == -EROFS)
        return;
    seen = atomic_load(&words->word);
    while ((seen & EVENT_SET) == 0)
        if (atomic_compare_exchange_weak(&words->word, &seen, (seen + EVENT_ONE) | EVENT_SET))
            break;
    wake_sleepers(&words->word, &words->sleepers, UINT32_MAX);
}

void brood_event_clear(brood_event *event)
{
    struct event_words *words = (void *)event;

    if (is_placed(event) && brood__member_writes(event))
        (void)atomic_fetch_and(&words->word, ~(uint32_t)EVENT_SET);
}

bool brood_event_is_set(const brood_event *event)
{
    const struct event_words *words = (const void *)event;

    return is_placed(event) && (atomic_load(&words->word) & EVENT_SET) != 0;
}

static int look(void *object)
{
    const struct event_wait *wait = object;
    uint32_t seen = atomic_load(&wait->words->word);

#if BROOD_MUTANT == MUTANT_FORGETS_SETS
    if ((seen & EVENT_SET) != 0)
        return 0;
#else
    if ((seen & EVENT_SET) != 0 || seen != wait->first)
        return 0;
#endif
    return brood__roster_deaths(wait->roster) != wait->deaths ? BROOD_EPEER : WAIT_ON;
}

int brood_event_wait(brood_event *event, int64_t timeout_ms)
{
    struct event_words *words = (void *)event;
    struct event_wait wait = {.words = words};
    struct waiting waiting;
    const struct member *member;
    int r;

    if (!is_placed(event))
        return -EINVAL;
    wait.first = atomic_load(&words->word);
    if ((wait.first & EVENT_SET) != 0)
        return 0;
    r = brood__member(event, &member);
    if (r < 0)
        return r;
    wait.roster = member->roster;
    wait.deaths = brood__roster_deaths(member->roster);
    waiting = waiting_of(member);
    waiting.word = &words->word;
    waiting.sleepers = &words->sleepers;
    waiting.look = look;
    waiting.object = &wait;
    return brood__wait_for(&waiting, timeout_ms);
}
