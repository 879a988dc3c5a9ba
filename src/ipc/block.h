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
 * who looks for memory takes them. The words of further chunks only point to the first one and count
 * as long as that one says so: so a block becomes free by one store.
 */
#ifndef BROOD_SRC_IPC_BLOCK_H
#define BROOD_SRC_IPC_BLOCK_H

#include "ipc/region.h"
#include "ipc/roster.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* LEN bytes, with pages, contents unspecified, MAKING(me). 0 and the offset; -EAGAIN: no such run is
 * free now; -ENOMEM: the system has no pages; -EMSGSIZE: larger than the region ever has. */
int brood__block_take(struct region *region, roster_tag me, uint64_t len, uint64_t *out_offset);
/* MAKING(me) -> KEPT. */
void brood__block_keep(struct region *region, uint64_t offset);
/* MAKING(me) -> LINKED: it lives as long as PASSED(region, offset_of_queue, ticket) is false. */
void brood__block_link(struct region *region, uint64_t offset, uint64_t queue, uint32_t ticket);
/* Any state -> FREE; an offset that is no block's first is ignored: false. */
bool brood__block_give(struct region *region, uint64_t offset);
/* Bytes of the block that starts at OFFSET, rounded to pages; 0: none does. */
uint64_t brood__block_len(const struct region *region, uint64_t offset);
/* Bytes in blocks. */
uint64_t brood__block_used(const struct region *region);

/* Of the queue (ipc/queue.c): whether TICKET of the queue at offset QUEUE of REGION is over, so that
 * what is LINKED to it is nobody's. True too if there is no such queue. */
bool brood__queue_passed(const struct region *region, uint64_t queue, uint32_t ticket);

#endif
