/* SPDX-License-Identifier: MIT */
/*
 * A condition: a sequence number that every signal increments, and who sleeps on it.
 *
 *     wait:    read .seq and the count of deaths, release the lock, sleep while .seq is the same
 *     signal:  .seq + 1, wake one;   broadcast: wake all
 *
 * The number is read while the caller has the lock, so a signal that is given with the lock held,
 * or after what it tells was written with it held, comes after that and is seen, whether or not the
 * sleep has begun.
 *
 * Deaths: one that signals and is killed before the wake-up, and one that was woken and is killed
 * with it, wake all sleepers of the roster by dying; each then returns BROOD_PEER_DIED, or 0 if
 * the number has changed. A waiter is counted in .sleepers from before its last look, and stays
 * counted if it is killed (waiting.h). Killed in here with the lock held, it is its dead owner.
 */
#include <brood/sync.h>

#include "ipc/lock.h"
#include "ipc/waiting.h"

struct condition_words {
    _Atomic uint32_t seq; /* a futex word */
    _Atomic uint32_t sleepers;
    uint32_t unused[6];
};
_Static_assert(sizeof(struct condition_words) == sizeof(brood_condition), "it has other words");

/* Mutants that the crash sweeps must catch; see tests/ipc/test_sync_kill.c. */
#define MUTANT_WAKES_FIRST 41
#define MUTANT_READS_LATE 42
#ifndef BROOD_MUTANT
#define BROOD_MUTANT 0
#endif

struct condition_wait {
    const struct condition_words *words;
    const struct roster *roster;
    uint32_t seq, deaths;
};

static int look(void *object)
{
    const struct condition_wait *wait = object;

    if (atomic_load(&wait->words->seq) != wait->seq)
        return 0;
    return brood__roster_deaths(wait->roster) != wait->deaths ? BROOD_PEER_DIED : WAIT_ON;
}

static int wait_released(struct condition_words *words, const struct member *member,
                         brood_lock *lock, int64_t timeout_ms)
{
    struct condition_wait wait = {.words = words,
                                  .roster = member->roster,
                                  .seq = atomic_load(&words->seq),
                                  .deaths = brood__roster_deaths(member->roster)};
    struct waiting waiting = waiting_of(member);
    int r = brood_lock_release(lock);

    if (r < 0)
        return r;
#if BROOD_MUTANT == MUTANT_READS_LATE
    wait.seq = atomic_load(&words->seq);
#endif
    waiting.word = &words->seq;
    waiting.sleepers = &words->sleepers;
    waiting.look = look;
    waiting.object = &wait;
    return brood__wait_for(&waiting, timeout_ms);
}

int brood_condition_wait(brood_condition *condition, brood_lock *lock, int64_t timeout_ms)
{
    struct condition_words *words = (void *)condition;
    const struct member *member;
    struct member here;
    int r, taken;

    if (!is_placed(condition) || !is_placed(lock))
        return -EINVAL;
    r = brood__member(lock, &member);
    if (r < 0)
        return r;
    if (!lock_is_mine(atomic_load(&lock_words(lock)->word), member->tag))
        return -EPERM;
    r = brood__member(condition, &member);
    if (r < 0)
        return r;
    here = *member; /* the lock may be in another region, and then is looked up in between */
    r = wait_released(words, &here, lock, timeout_ms);
    if (r < 0 && r != -ETIMEDOUT)
        return r;
    taken = brood_lock_acquire(lock, BROOD_FOREVER);
    return taken != 0 ? taken : r;
}

static void wake(brood_condition *condition, unsigned count)
{
    struct condition_words *words = (void *)condition;
    const struct member *member;

    if (!is_placed(condition))
        return;
    /* Who finds no place on the roster wakes as well; only its death in here would not be
     * noticed. */
    if (brood__member(condition, &member) == -EROFS)
        return;
#if BROOD_MUTANT == MUTANT_WAKES_FIRST
    wake_sleepers(&words->seq, &words->sleepers, count);
    (void)atomic_fetch_add(&words->seq, 1);
#else
    (void)atomic_fetch_add(&words->seq, 1);
    wake_sleepers(&words->seq, &words->sleepers, count);
#endif
}

void brood_condition_signal(brood_condition *condition)
{
    wake(condition, 1);
}

void brood_condition_broadcast(brood_condition *condition)
{
    wake(condition, UINT32_MAX);
}
