/* SPDX-License-Identifier: MIT */
/*
 * What the files of the roster share: how it lies in memory, and what roster.c knows of the dead
 * that a sleeper must ask (roster_sleep.c).
 */
#ifndef BROOD_SRC_IPC_ROSTER_INSIDE_H
#define BROOD_SRC_IPC_ROSTER_INSIDE_H

#include "ipc/roster.h"

#include <linux/futex.h>
#include <pthread.h>

enum { SLOT_MASK = 0xfff };

struct roster_slot {
    _Alignas(64) pthread_mutex_t life;
    _Atomic uint32_t generation;
    _Atomic int32_t pid, tid;  /* tid 0: it is leaving, or has left */
    _Atomic uint32_t farewell; /* the generation whose end is no news; even: none */
    _Atomic uint64_t note;
};

struct roster {
    _Alignas(64) uint32_t slots;
    uint32_t slots_inverted; /* all bits of .slots, so that damage to either shows */
    _Atomic uint32_t moment;
    _Atomic uint64_t burial;   /* {deaths:36 | tag:28}; tag 0: none is under way */
    _Atomic uint32_t next;     /* where the next joiner looks first; a hint */
    _Atomic uint32_t reach;    /* no slot from here on was ever joined */
    _Atomic uint32_t watchman; /* tag of the sleeper that looks for all, or 0; a futex word */
    struct roster_slot slot[];
};

/* Slots that anybody may have; whatever the shared words say, no more than fit. */
unsigned brood__roster_reach(const struct roster *roster);

/* The word of the slot's life lock: see word_alive(). */
_Atomic uint32_t *brood__roster_life(const struct roster *roster, unsigned index);

static inline bool word_alive(uint32_t word)
{
    return (word & FUTEX_TID_MASK) != 0 && (word & FUTEX_OWNER_DIED) == 0;
}

/* If the holder of a slot is gone, it is buried, and everybody is told. True: this call began that.
 * MINE: the caller has locked the slot, so whoever has held it is gone. */
bool brood__roster_bury(struct roster *roster, unsigned index, bool mine);
/* Ends the burial that is under way. True: there was one. */
bool brood__roster_end_burial(struct roster *roster);

#endif
