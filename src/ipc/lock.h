/* SPDX-License-Identifier: MIT */
/* What lies in a brood_lock and a brood_recursive_lock, and taking and giving it. See lock.c. */
#ifndef BROOD_SRC_IPC_LOCK_H
#define BROOD_SRC_IPC_LOCK_H

#include "ipc/member.h"
#include "ipc/roster.h"
#include "sys/kernel.h"

#include <brood/sync.h>

#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct lock_words {
    _Atomic uint32_t word;     /* {WAITED:1 | TORN:1 | GRANTED:1 | 0:1 | tag:28}, a futex word */
    _Atomic uint32_t starving; /* tag of the waiter that the next release serves, or 0 */
    _Atomic uint32_t depth;    /* recursive: how often its owner has it; the owner's alone */
    uint32_t unused[5];
};
_Static_assert(sizeof(struct lock_words) == sizeof(brood_lock), "a lock has other words");
_Static_assert(sizeof(struct lock_words) == sizeof(brood_recursive_lock), "it has other words");

/* A mutant that the crash sweeps must catch; the others are in lock.c. */
#define MUTANT_NO_WAKE 21
#ifndef BROOD_MUTANT
#define BROOD_MUTANT 0
#endif

#define LOCK_WAITED ((uint32_t)1 << 31)  /* somebody may sleep: who releases wakes one */
#define LOCK_TORN ((uint32_t)1 << 30)    /* an owner died inside, and nobody has repaired since */
#define LOCK_GRANTED ((uint32_t)1 << 29) /* handed to TAG, who has not taken it yet */
#define LOCK_TAG (((uint32_t)1 << TAG_BITS) - 1)

static inline struct lock_words *lock_words(const void *lock)
{
    return (struct lock_words *)(uintptr_t)lock;
}

static inline bool lock_is_mine(uint32_t word, roster_tag me)
{
    return (word & (LOCK_TAG | LOCK_GRANTED)) == me;
}

int brood__lock_take_slowly(struct lock_words *lock, const struct member *member,
                            int64_t timeout_ms);
void brood__lock_grant(struct lock_words *lock, const struct member *member, uint32_t word);
/* As the public functions of those names. */
int brood__lock_mend(struct lock_words *lock);
int brood__lock_who(struct lock_words *lock, brood_owner *out_owner);

/* 0, BROOD_OWNER_DIED, -EDEADLK or -ETIMEDOUT. */
static inline int lock_take(struct lock_words *lock, const struct member *member,
                            int64_t timeout_ms)
{
    uint32_t seen = 0;

    /* Acquire, with the release of lock_give(): what the last owner wrote is seen. */
    if (__builtin_expect(atomic_compare_exchange_strong_explicit(&lock->word, &seen, member->tag,
                                                                 memory_order_acquire,
                                                                 memory_order_relaxed),
                         1))
        return 0;
    return brood__lock_take_slowly(lock, member, timeout_ms);
}

/* The caller has it, and has read WORD since. */
static inline void lock_give(struct lock_words *lock, const struct member *member, uint32_t word)
{
    /* Relaxed: who starves and is overlooked here is seen by a later release; it sleeps with
     * WAITED set, so there will be one. */
    if (__builtin_expect(atomic_load_explicit(&lock->starving, memory_order_relaxed) != 0, 0)) {
        brood__lock_grant(lock, member, word);
        return;
    }
    /* TORN is changed by owners only, so it is still as in WORD; WAITED may have come since. */
    word = atomic_exchange_explicit(&lock->word, word & LOCK_TORN, memory_order_release);
#if BROOD_MUTANT != MUTANT_NO_WAKE
    if (__builtin_expect((word & LOCK_WAITED) != 0, 0))
        brood__futex_wake(&lock->word, 1);
#else
    (void)word;
#endif
}

#endif
