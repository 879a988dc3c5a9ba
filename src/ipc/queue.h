/* SPDX-License-Identifier: MIT */
/*
 * A queue as this process has it, and the waiting of those who put and get.
 *
 *     root block of the region:  [ struct queue_shared | cells ............ ]
 *     other blocks:              messages that do not fit in a cell, LINKED to their ticket
 */
#ifndef BROOD_SRC_IPC_QUEUE_H
#define BROOD_SRC_IPC_QUEUE_H

#include "base/handle.h"
#include "ipc/bell.h"
#include "ipc/cells.h"
#include "ipc/member.h"
#include "ipc/region.h"

#include <brood/queue.h>

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct watch;

struct queue_shared {
    uint32_t magic;
    struct cells_shape shape;
    uint64_t item_size;
    uint32_t report_deaths;
    struct bell memory; /* rung when a block is free again */
    struct cells cells;
};

struct brood_queue {
    void *link; /* of sys/stable.h */
    _Atomic uint64_t magic;
    struct region *region;
    struct queue_shared *shared;
    struct cells_view cells;
    size_t item_size;
    bool report_deaths;
    unsigned spins;
    _Atomic uint32_t deaths_told;  /* to those who exchange messages */
    _Atomic uint32_t deaths_joins; /* to those who join */
    _Atomic(struct watch *) watch;
    _Atomic uint64_t watch_self; /* the process whose thread it is */
};
HANDLE_BEGINS(struct brood_queue);

/* 0 and the calling thread's membership, or BROOD_EHANDLE, -EAGAIN, -ENOMEM. */
int brood__queue_enter(const brood_queue *queue, const struct member **out_member);

/* A cell to write, in WRITING: 0, or -ETIMEDOUT, BROOD_ECLOSED, BROOD_EPEER. */
int brood__queue_claim(brood_queue *queue, const struct member *member, int64_t deadline,
                       struct cell_claim *claim);
/* What a getter wants: a cell to read; or, with TO, up to COUNT items of a queue that packs
 * them. */
struct fetch {
    struct cell_claim *claim;
    char *to;
    unsigned count;
};
/* 1, or how many items; 0 at the end; or -ETIMEDOUT, BROOD_EPEER, BROOD_EABI. */
int brood__queue_fetch(brood_queue *queue, const struct member *member, const struct fetch *fetch,
                       int64_t deadline);
/* A block for a large message: 0 and its offset, or -ETIMEDOUT, BROOD_ECLOSED, -EMSGSIZE,
 * -ENOMEM. */
int brood__queue_block(brood_queue *queue, const struct member *member, size_t len,
                       int64_t deadline, uint64_t *out_offset);
/* The sleep itself, which now and then ends without cause. */
int brood__queue_doze(const struct member *member, struct bell *bell, uint32_t word,
                      uint32_t moment, int64_t deadline);
/* Whether a get that waits would end with BROOD_EPEER. */
bool brood__queue_has_news(const brood_queue *queue);

/* The message in a claimed cell: 0, and where it is and how long; BROOD_EABI. *OUT_BLOCK is its
 * block, or 0. */
int brood__queue_locate(const brood_queue *queue, const struct cell_claim *claim, char **out_data,
                        size_t *out_len, uint64_t *out_block);
/* A block that holds no message after all is free. */
void brood__queue_give(brood_queue *queue, uint64_t block);
/* A block is free again. */
void brood__queue_ring_memory(brood_queue *queue);
/* The block of a claimed message, looked up before its ticket is over, and free after that. A
 * BLOCK of 0 is none. */
struct queue_block {
    uint64_t offset;
    uint64_t linked; /* of brood__block_linked() */
};
struct queue_block brood__queue_see_block(const brood_queue *queue, const struct cell_claim *claim,
                                          uint64_t block);
void brood__queue_unblock(brood_queue *queue, const struct queue_block *block);
/* Whether get would not wait. */
bool brood__queue_ready(const brood_queue *queue);
/* Something was taken, or there was nothing to: the descriptor follows. */
void brood__queue_looked(brood_queue *queue);

#endif
