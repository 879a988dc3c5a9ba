/* SPDX-License-Identifier: MIT */
/*
 * A bell: something to be told of, and those who sleep until then: {seq:31 | somebody sleeps:1}.
 *
 *     sleeper:  v = brood__bell_arm(b); looks again; sleeps while the word is v
 *     other:    makes the news visible; bell_ring(b)
 *
 * The flag is cleared by the ring, so whoever slept and got something arms it again for the others,
 * and looks whether there is more. A ring costs one load while nobody sleeps.
 */
#ifndef BROOD_SRC_IPC_BELL_H
#define BROOD_SRC_IPC_BELL_H

#include <stdatomic.h>
#include <stdint.h>

struct bell {
    _Alignas(64) _Atomic uint32_t word;
};

/* What the word is now: sleep while it is that. */
uint32_t brood__bell_arm(struct bell *bell);
/* If it is armed, COUNT sleepers are woken. */
void brood__bell_ring_slow(struct bell *bell, unsigned count);
/* Everybody, also those whom an earlier ring has left asleep without a flag. */
void brood__bell_ring_out(struct bell *bell);

/* One sleeper. The news are stored sequentially consistent before, and so is the sleeper's flag
 * before its second look: either we see the flag, or it sees the news. */
static inline void bell_ring(struct bell *bell)
{
    if ((atomic_load(&bell->word) & 1) != 0)
        brood__bell_ring_slow(bell, 1);
}

/* The same for all sleepers. */
static inline void bell_ring_all(struct bell *bell)
{
    if ((atomic_load(&bell->word) & 1) != 0)
        brood__bell_ring_slow(bell, INT32_MAX);
}

#endif
