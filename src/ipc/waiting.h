/* SPDX-License-Identifier: MIT */
/*
 * How a thread waits for something in shared memory: look, spin a little, look again, sleep.
 *
 * Whoever has something of this kind shows how to look at it, names a futex word that changes with
 * it, and a word that counts those who sleep. Locks have a loop of their own (lock.c): there a flag
 * in the word says that somebody sleeps, so that nobody's death makes every later release dearer.
 */
#ifndef BROOD_SRC_IPC_WAITING_H
#define BROOD_SRC_IPC_WAITING_H

#include "ipc/member.h"
#include "ipc/roster.h"
#include "sys/kernel.h"

#include <limits.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* What a look says when it found nothing; no result of brood is like it. */
enum { WAIT_ON = INT_MAX };

struct waiting {
    struct roster *roster;
    roster_tag me;
    /* Whoever makes a look succeed changes WORD with that or after it, and then calls
     * wake_sleepers(). SLEEPERS is never less than those who sleep: who is killed asleep stays
     * counted, and costs a system call each time from then on, nothing else. */
    const _Atomic uint32_t *word;
    _Atomic uint32_t *sleepers;
    int (*look)(void *object); /* WAIT_ON, or what brood__wait_for() returns */
    void *object;
    /* What WORD was in the last look that said WAIT_ON; NULL if WORD never has a value twice. Else
     * it may go away from a value after it was read, be looked at, and come back to it. */
    const uint32_t *seen;
};

static inline struct waiting waiting_of(const struct member *member)
{
    return (struct waiting){.roster = member->roster, .me = member->tag};
}

/* What a look returned; or -ETIMEDOUT. A timeout of 0 looks once. */
int brood__wait_for(const struct waiting *waiting, int64_t timeout_ms);

/* How often to look before sleeping; 0 where there is one CPU. */
unsigned brood__wait_looks(void);

/* Both accesses here, WORD's change before it and those of brood__wait_for() are sequentially
 * consistent: either this sees the sleeper counted, or the sleeper's look sees the change. */
static inline void wake_sleepers(const _Atomic uint32_t *word, const _Atomic uint32_t *sleepers,
                                 unsigned count)
{
    if (atomic_load(sleepers) != 0)
        brood__futex_wake((const void *)(uintptr_t)word, count);
}

#endif
