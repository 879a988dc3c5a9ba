/* SPDX-License-Identifier: MIT */
/*
 * Bells: see ipc/bell.h. Here is what costs more than a load.
 *
 *     silent --arm--> armed --ring: seq + 1, wake--> silent
 *
 * The flag is no hint: it may be set in vain, but is never missing while somebody sleeps, unless
 * the one who cleared it is about to wake one of the sleepers, or is dead. The ring is one CAS, so
 * of several at once one wakes, and who armed in between keeps its flag or sees another word and
 * does not sleep. A sleeper is a process that may be killed with a ring in its hands that was for
 * one: therefore it rings on when it leaves (ipc/queue_wait.c), and who is on the roster sleeps by
 * brood__roster_sleep(), which wakes all when one of them dies, and all after a dead ringer.
 *
 * Orders: arming and ringing are sequentially consistent, and so must the news be, and the second
 * look at it; where one of those is weaker, a fence stands with it.
 */
#include "ipc/bell.h"

#include "sys/kernel.h"

uint32_t brood__bell_arm(struct bell *bell)
{
    uint32_t word = atomic_fetch_or(&bell->word, 1) | 1;

    /* For sleepers whose look is no sequentially consistent load, such as of a block's word. It
     * pairs with the fence of who rings after a store like that: brood__queue_ring_memory(). */
    atomic_thread_fence(memory_order_seq_cst);
    return word;
}

void brood__bell_ring_slow(struct bell *bell, unsigned count)
{
    uint32_t word = atomic_load(&bell->word);

    while ((word & 1) != 0)
        if (atomic_compare_exchange_weak(&bell->word, &word, (word + 2) & ~(uint32_t)1)) {
            brood__futex_wake(&bell->word, count);
            return;
        }
}

void brood__bell_ring_out(struct bell *bell)
{
    (void)brood__bell_arm(bell);
    brood__bell_ring_slow(bell, INT32_MAX);
}
