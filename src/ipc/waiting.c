/* SPDX-License-Identifier: MIT */
/*
 * The loop in which everything but a lock is waited for.
 *
 *     look --> spin and look --> count in --> [ read moment and word, look, sleep ] --> count out
 *
 * A sleeper is counted before its last look, and whoever changes something does so before it reads
 * the count. So one of them sees the other, and if the change comes after that look, the word is
 * no longer the one that was read before the look, and the kernel refuses the sleep. A word that
 * can come back to a value, such as a count, is slept on as the look saw it.
 *
 * A wake-up that this thread took is never lost: it looks again before it returns, whatever else it
 * has to return. If the look finds nothing, somebody else has what the wake-up was for.
 *
 * Deaths: who is killed in here stays counted. Who was woken and is killed before it looked has
 * taken a wake-up with it; its death wakes all sleepers of the roster (roster.h), and they look.
 */
#include "ipc/waiting.h"

#include "base/clock.h"
#include "ipc/spin.h"
#include "sys/cpu.h"

#include <errno.h>

/* Mutants that the crash sweeps must catch; see tests/ipc/test_semaphore_kill.c. */
#define MUTANT_LATE_WORD 11
#define MUTANT_UNCOUNTED 12
#ifndef BROOD_MUTANT
#define BROOD_MUTANT 0
#endif

unsigned brood__wait_looks(void)
{
    /* Decided once; only how long a wait spins hangs on it. */
    static _Atomic unsigned looks_plus_one;
    unsigned found = atomic_load_explicit(&looks_plus_one, memory_order_relaxed);

    if (found == 0) {
        found = 1 + (brood__cpu_affinity() != 1 ? SPIN_LOOKS : 0);
        atomic_store_explicit(&looks_plus_one, found, memory_order_relaxed);
    }
    return found - 1;
}

static int spin(const struct waiting *waiting)
{
    unsigned looks = brood__wait_looks();
    int r = WAIT_ON;

    for (unsigned i = 0; i < looks && r == WAIT_ON; i++) {
        spin_pause(i);
        r = waiting->look(waiting->object);
    }
    return r;
}

static int look_and_sleep(const struct waiting *waiting, int64_t deadline)
{
    for (;;) {
        uint32_t moment = brood__roster_moment(waiting->roster);
        uint32_t value = atomic_load(waiting->word);
        int r = waiting->look(waiting->object);
        int slept;

        if (r != WAIT_ON)
            return r;
#if BROOD_MUTANT == MUTANT_LATE_WORD
        (void)value;
        value = atomic_load(waiting->word);
#endif
        if (waiting->seen != NULL)
            value = *waiting->seen;
        slept = brood__roster_sleep(waiting->roster, waiting->me, waiting->word, value, moment,
                                    deadline);
        if (slept < 0) {
            r = waiting->look(waiting->object);
            return r != WAIT_ON ? r : slept;
        }
    }
}

int brood__wait_for(const struct waiting *waiting, int64_t timeout_ms)
{
    int r = waiting->look(waiting->object);

    if (r == WAIT_ON && timeout_ms == 0)
        return -ETIMEDOUT;
    if (r == WAIT_ON)
        r = spin(waiting);
    if (r != WAIT_ON)
        return r;
#if BROOD_MUTANT != MUTANT_UNCOUNTED
    (void)atomic_fetch_add(waiting->sleepers, 1);
#endif
    r = look_and_sleep(waiting, deadline_in(timeout_ms));
#if BROOD_MUTANT != MUTANT_UNCOUNTED
    (void)atomic_fetch_sub(waiting->sleepers, 1);
#endif
    return r;
}
