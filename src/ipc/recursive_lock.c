/* SPDX-License-Identifier: MIT */
/*
 * A lock that its owner may take again: the word of lock.c, and how often its owner has it.
 *
 * The depth is touched by the owner of the word only, so it needs neither atomic sums nor an
 * order: taking and giving the word orders it. Whoever takes the word from another writes 1, so
 * what a dead owner left there is never read. A death between taking the word and that leaves a
 * depth that nobody reads either. The rest is as lock.c says.
 */
#include "ipc/lock.h"

enum { DEPTH_MAX = INT32_MAX };

static void set_depth(struct lock_words *words, uint32_t depth)
{
    atomic_store_explicit(&words->depth, depth, memory_order_relaxed);
}

static int take_again(struct lock_words *words, uint32_t word)
{
    uint32_t depth = atomic_load_explicit(&words->depth, memory_order_relaxed);

    if (depth >= DEPTH_MAX)
        return -EOVERFLOW;
    set_depth(words, depth + 1);
    return (word & LOCK_TORN) != 0 ? BROOD_OWNER_DIED : 0;
}

int brood_recursive_lock_acquire(brood_recursive_lock *lock, int64_t timeout_ms)
{
    struct lock_words *words = lock_words(lock);
    const struct member *member;
    uint32_t word;
    int r;

    if (!is_placed(lock))
        return -EINVAL;
    r = brood__member(lock, &member);
    if (r < 0)
        return r;
    /* Relaxed: only what this thread wrote itself makes the answer yes. */
    word = atomic_load_explicit(&words->word, memory_order_relaxed);
    if (lock_is_mine(word, member->tag))
        return take_again(words, word);
    r = lock_take(words, member, timeout_ms);
    if (r >= 0)
        set_depth(words, 1);
    return r;
}

int brood_recursive_lock_release(brood_recursive_lock *lock)
{
    struct lock_words *words = lock_words(lock);
    const struct member *member;
    uint32_t word, depth;
    int r;

    if (!is_placed(lock))
        return -EINVAL;
    r = brood__member(lock, &member);
    if (r < 0)
        return r;
    word = atomic_load_explicit(&words->word, memory_order_relaxed);
    if (!lock_is_mine(word, member->tag))
        return -EPERM;
    depth = atomic_load_explicit(&words->depth, memory_order_relaxed);
    if (depth > 1)
        set_depth(words, depth - 1);
    else
        lock_give(words, member, word);
    return 0;
}

int brood_recursive_lock_consistent(brood_recursive_lock *lock)
{
    return is_placed(lock) ? brood__lock_mend(lock_words(lock)) : -EINVAL;
}

int brood_recursive_lock_owner(const brood_recursive_lock *lock, brood_owner *out_owner)
{
    return is_placed(lock) ? brood__lock_who(lock_words(lock), out_owner) : -EINVAL;
}
