/* SPDX-License-Identifier: MIT */
/*
 * Which roster an address belongs to, and who the calling thread is in it.
 *
 * Mapped regions are listed here; any other address belongs to a private roster, between the
 * threads of this process. The calling thread joins on its first use, and leaves when it ends.
 * The first call costs a search and perhaps a join, the next ones with the same region two
 * comparisons. In a forked child the thread is a new participant, and the private roster is new.
 */
#ifndef BROOD_SRC_IPC_MEMBER_H
#define BROOD_SRC_IPC_MEMBER_H

#include "ipc/roster.h"
#include "sys/self.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct member {
    uint64_t self; /* brood__self() of the process it is in; 0: nothing here */
    uintptr_t base;
    size_t len; /* 0: the private roster */
    struct roster *roster;
    roster_tag tag;
    bool is_private; /* an address is a place of its own; else the distance from .base is one */
    uint32_t
        lists; /* of the private one: brood__member_lists when the page at .base was in no region */
};

/* The last membership this thread used, of a region and the private one. */
extern _Thread_local struct member brood__member_region;
extern _Thread_local struct member brood__member_private;
/* How many regions were ever listed. */
extern _Atomic uint32_t brood__member_lists;

int brood__member_slow(const void *address, const struct member **out_member);

/* 0 and *OUT_MEMBER, valid until the next call in this thread; -EAGAIN: the roster is full, or this
 * thread is in as many as it can be (2000), or the program has no pthread key left;
 * -EROFS: ADDRESS is in a region that this process can only read; -ENOMEM. */
static inline int brood__member(const void *address, const struct member **out_member)
{
    const struct member *member = &brood__member_region;
    uint64_t self = brood__self();

    if ((uintptr_t)address - member->base < member->len && member->self == self) {
        *out_member = member;
        return 0;
    }
    member = &brood__member_private;
    if ((uintptr_t)address - member->base < member->len && member->self == self &&
        member->lists == atomic_load_explicit(&brood__member_lists, memory_order_acquire)) {
        *out_member = member;
        return 0;
    }
    return brood__member_slow(address, out_member);
}

/* Whether OBJECT may be one of brood/sync.h: the kernel sleeps on aligned words only. */
static inline bool is_placed(const void *object)
{
    return object != NULL && (uintptr_t)object % _Alignof(uint64_t) == 0;
}

bool brood__member_writes_slow(const void *address);

/* False: ADDRESS is in a region that this process can only read. Joins nothing. */
static inline bool brood__member_writes(const void *address)
{
    const struct member *region = &brood__member_region, *private = &brood__member_private;
    uint64_t self = brood__self();

    /* Whoever has joined can write. */
    if ((uintptr_t)address - region->base < region->len && region->self == self)
        return true;
    if ((uintptr_t)address - private->base < private->len && private->self == self &&
        private->lists == atomic_load_explicit(&brood__member_lists, memory_order_acquire))
        return true;
    return brood__member_writes_slow(address);
}

/* Whether TAG, in the roster that ADDRESS belongs to, is a thread of this process. */
bool brood__member_of_process(const void *address, roster_tag tag);

/* For a region: lists [BASE, BASE + LEN) with its roster, or NULL: it can only be read here. 0 or
 * -ENOMEM. */
int brood__member_list(const void *base, size_t len, struct roster *roster);
/* The calling thread leaves that roster, and the range is no longer listed. True: no other thread
 * of this process is in it, and it may be unmapped; false: as long as this process lives some
 * thread may be, and DONE(context) is called when the last one has left. */
bool brood__member_unlist(const void *base, void (*done)(void *context), void *context);

/* The calling thread leaves every roster. */
void brood__member_leave_all(void);
/* Before _exit(), so that no end of a thread of this process is a death: as exit() does. */
void brood__member_end_process(void);

#endif
