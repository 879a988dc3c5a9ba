/* SPDX-License-Identifier: MIT */
/*
 * A semaphore: a count, its maximum, and who sleeps because the count is 0.
 *
 *     acquire:  CAS count -> count - 1, or sleep while it is 0
 *     release:  CAS count -> count + n, wake n
 *
 * Every release wakes as many as it has added, whatever the count was: two releases before the
 * first woken one has run wake two.
 *
 * Deaths: before a CAS nothing has happened, after it everything has. One that adds and is killed
 * before it wakes, or is woken and killed before it takes, wakes all sleepers by dying (roster.h).
 * Units that the dead had taken are gone, as the count has no owners; see bounded_semaphore.c.
 *
 * Orders: taking acquires and adding releases, so what was written before a release is seen by the
 * one that takes its unit. Adding is sequentially consistent besides, for wake_sleepers().
 */
#include <brood/sync.h>

#include "ipc/waiting.h"

#include <errno.h>
#include <string.h>

struct semaphore_words {
    _Atomic uint32_t count; /* a futex word */
    _Atomic uint32_t sleepers;
    uint32_t max; /* 0: INT32_MAX; written by init only */
    uint32_t unused[5];
};
_Static_assert(sizeof(struct semaphore_words) == sizeof(brood_semaphore), "it has other words");

/* Mutants that the crash sweeps must catch; see tests/ipc/test_semaphore_kill.c. */
#define MUTANT_WAKES_FROM_ZERO 51
#ifndef BROOD_MUTANT
#define BROOD_MUTANT 0
#endif

int brood_semaphore_init(brood_semaphore *semaphore, unsigned value, unsigned max)
{
    struct semaphore_words *words = (void *)semaphore;

    max = max == 0 ? INT32_MAX : max;
    if (!is_placed(semaphore) || max > INT32_MAX || value > max)
        return -EINVAL;
    if (!brood__member_writes(semaphore))
        return -EROFS;
    memset(semaphore, 0, sizeof *semaphore);
    words->max = max;
    atomic_store(&words->count, value);
    return 0;
}

static int try_take(void *object)
{
    struct semaphore_words *words = object;
    uint32_t count = atomic_load(&words->count);

    while (count != 0)
        if (atomic_compare_exchange_weak(&words->count, &count, count - 1))
            return 0;
    return WAIT_ON;
}

static __attribute__((noinline)) int wait_and_take(struct semaphore_words *words,
                                                   const struct member *member, int64_t timeout_ms)
{
    static const uint32_t none = 0;
    struct waiting waiting = waiting_of(member);

    waiting.word = &words->count;
    waiting.sleepers = &words->sleepers;
    waiting.look = try_take;
    waiting.object = words;
    waiting.seen = &none;
    return brood__wait_for(&waiting, timeout_ms);
}

int brood_semaphore_acquire(brood_semaphore *semaphore, int64_t timeout_ms)
{
    struct semaphore_words *words = (void *)semaphore;
    const struct member *member;
    int r;

    if (!is_placed(semaphore))
        return -EINVAL;
    r = brood__member(semaphore, &member);
    if (r < 0)
        return r;
    return try_take(words) == 0 ? 0 : wait_and_take(words, member, timeout_ms);
}

int brood_semaphore_release(brood_semaphore *semaphore, unsigned count)
{
    struct semaphore_words *words = (void *)semaphore;
    const struct member *member;
    uint32_t seen, max;
    int r;

    if (!is_placed(semaphore))
        return -EINVAL;
    r = brood__member(semaphore, &member);
    if (r < 0)
        return r;
    max = words->max == 0 ? INT32_MAX : words->max;
    seen = atomic_load_explicit(&words->count, memory_order_relaxed);
    do {
        if (seen > max || count > max - seen)
            return -EOVERFLOW;
    } while (!atomic_compare_exchange_weak(&words->count, &seen, seen + count));
#if BROOD_MUTANT == MUTANT_WAKES_FROM_ZERO
    if (seen != 0)
        return 0;
#endif
    wake_sleepers(&words->count, &words->sleepers, count);
    return 0;
}

int brood_semaphore_value(const brood_semaphore *semaphore)
{
    const struct semaphore_words *words = (const void *)semaphore;
    uint32_t count;

    if (!is_placed(semaphore))
        return -EINVAL;
    count = atomic_load(&words->count);
    return count < INT32_MAX ? (int)count : INT32_MAX;
}
