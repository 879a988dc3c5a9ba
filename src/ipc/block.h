/* SPDX-License-Identifier: MIT */
/*
 * Blocks of a region: taken and given back by any participant, without a lock to die with.
 *
 * The memory of a region is chunks of one page; a block is a run of them. One word for each chunk
 * is the truth. The word of the first chunk names the owner:
 *
 *     FREE --CAS--> MAKING(tag) --store--> KEPT                          a block of the user's
 *                        |                   |
 *                        +---store--> LINKED(queue, ticket)              a message's memory
 *                                            |
 *     FREE <--CAS--------- any of them ------+
 *
 * MAKING of a dead tag, and LINKED to a ticket that its queue has passed, are free again: anybody
 * who looks for memory takes them. The words of further chunks only point to the first one and
 * count as long as that one says so: so a block becomes free by one store.
 */
#ifndef BROOD_SRC_IPC_BLOCK_H
#define BROOD_SRC_IPC_BLOCK_H

#include "ipc/region.h"
#include "ipc/roster.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What is known of one chunk, in the table of the region. All zero: free, never used. */
struct block_entry {
    _Atomic uint64_t word;   /* the truth: see ipc/block.c */
    _Atomic uint32_t count;  /* of a first chunk: chunks of its block */
    _Atomic uint32_t queue;  /* of a first chunk that is LINKED: the first chunk of the queue */
    _Atomic uint32_t serial; /* counts the blocks that began here */
    uint32_t unused;
};

/* In the head of the region. All zero is true. */
struct block_hints {
    _Alignas(64) _Atomic uint32_t ready; /* so many entries of the table have pages; only grows */
    _Alignas(64) _Atomic uint32_t low;   /* no chunk below is free, perhaps */
    _Atomic uint32_t warm;   /* chunks of large blocks that were released with their pages */
    _Atomic uint32_t shared; /* of ipc/shared.c: not fewer than there are blocks */
};

/* LEN bytes, with pages, contents unspecified, MAKING(me). 0 and the offset; -EAGAIN: no such run
 * is free now; -ENOMEM: the system has no pages; -EMSGSIZE: larger than the region ever has. */
int brood__block_take(struct region *region, roster_tag me, uint64_t len, uint64_t *out_offset);
/* The same, zeroed. */
int brood__block_take_zeroed(struct region *region, roster_tag me, uint64_t len,
                             uint64_t *out_offset);
/* MAKING(me) -> KEPT. */
void brood__block_keep(struct region *region, uint64_t offset);
/* MAKING(me) -> LINKED: it lives as long as brood__queue_passed(region, QUEUE, TICKET) is false.
 * QUEUE is the offset of a block. */
void brood__block_link(struct region *region, uint64_t offset, uint64_t queue, uint32_t ticket);
/* What to hand to unlink() after the ticket is over; asked for before, while the block cannot be
 * anybody else's. 0: it is not LINKED to this ticket. */
uint64_t brood__block_linked(const struct region *region, uint64_t offset, uint64_t queue,
                             uint32_t ticket);
/* LINKED as it was then -> FREE, else nothing: others may have found the block and taken it since,
 * and it may have the same low ticket again. */
bool brood__block_unlink(struct region *region, uint64_t offset, uint64_t linked);
/* KEPT -> FREE, else nothing: false. A large one, of at least BLOCK_PUNCH_LEN_MIN, gives its pages
 * back to the system if large ones of more than BLOCK_WARM_LEN_MAX would be kept for later, and ME
 * is not 0 (a death on the way leaves it MAKING(me)). */
enum { BLOCK_PUNCH_LEN_MIN = 1 << 20, BLOCK_WARM_LEN_MAX = 64 << 20 };
bool brood__block_release(struct region *region, roster_tag me, uint64_t offset);
/* Any state -> FREE; an offset that is no block's first is ignored: false. Only for who owns it: a
 * block LINKED to a ticket that has passed may be somebody else's. */
bool brood__block_give(struct region *region, uint64_t offset);
/* Bytes of the block that starts at OFFSET, rounded to pages; 0: none does. */
uint64_t brood__block_len(const struct region *region, uint64_t offset);
/* Bytes in blocks. */
uint64_t brood__block_used(const struct region *region);

/* Of the queue (ipc/queue.c): whether TICKET of the queue at offset QUEUE of REGION is over, so
 * that what is LINKED to it is nobody's. True too if there is no such queue. */
bool brood__queue_passed(const struct region *region, uint64_t queue, uint32_t ticket);

#endif
