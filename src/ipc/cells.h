/* SPDX-License-Identifier: MIT */
/*
 * The cells of a queue: a bounded ring, many producers, many consumers, and no lock.
 *
 *     EMPTY(t) -CAS-> WRITING(t, me) -store-> FULL(t) -CAS-> READING(t, me) -store-> EMPTY(t+N)
 *                          |                    ^                 |
 *                 me dead: anybody CAS          +-- me dead: anybody CAS
 *                          v
 *                      EMPTY(t+N)
 *
 * Tickets count the messages; ticket t has cell t mod N. The word of a cell is the truth, and names
 * the owner while somebody works on it. Where the head and the tail are is only a hint.
 *
 * In a queue that packs, a cell holds several items of a fixed size. They are got by copying, and
 * then one CAS from FULL to FULL with a later item as its first, or to EMPTY(t+N): nobody is in
 * between.
 *
 * Works on plain memory and rings the bells; who sleeps where is in ipc/queue_wait.c.
 */
#ifndef BROOD_SRC_IPC_CELLS_H
#define BROOD_SRC_IPC_CELLS_H

#include "ipc/bell.h"
#include "ipc/roster.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    CELLS_MAX = 1 << 20,
    CELL_STRIDE_MIN = 128,
    PACK_MAX = 62,
    /* Live cells under somebody's pen that a consumer walks past. */
    SKIPPED_MAX = 64
};
#define CELL_PLACED 0x80000000U

struct cell {
    _Atomic uint64_t word;  /* {ticket, low:28 | state:2 | first:6 | tag:28, or ticket, high:28} */
    _Atomic uint32_t len;   /* bytes of the message, or of one item; relaxed: see .word */
    _Atomic uint32_t items; /* at least 1; CELL_PLACED: the data are the offset of a block */
    char data[];            /* .room bytes */
};

struct cells {
    _Atomic uint32_t closed;
    _Alignas(64) _Atomic uint64_t tail; /* hints: no ticket before it can be claimed (got) */
    _Alignas(64) _Atomic uint64_t head;
    struct bell filled, room, done;
};

/* Fixed when made. What is shared is checked against it when opened. */
struct cells_shape {
    uint32_t count;
    uint32_t stride; /* bytes from cell to cell */
    uint32_t room;   /* bytes of a message in place */
    uint32_t pack;   /* items of a cell, at most */
};

/* Of this process: no pointer here is shared. */
struct cells_view {
    struct cells *shared;
    char *first;
    struct cells_shape shape;
    uint32_t mask; /* count - 1 if that is a power of two, else 0 */
    struct roster *roster;
};

/* A cell that is WRITING or READING by the caller. */
struct cell_claim {
    struct cell *cell;
    uint64_t ticket;
    uint64_t word; /* as it is while we have it */
};

/* The shape for messages of any size (0) or of ITEM_SIZE; PACKS: several small ones in a cell. */
struct cells_shape brood__cells_shape(uint32_t count, size_t item_size, bool packs);
size_t brood__cells_len(const struct cells_shape *shape); /* of the cells, without struct cells */
void brood__cells_view(struct cells_view *view, struct cells *shared, char *first,
                       const struct cells_shape *shape, struct roster *roster);
/* Over zeroed memory. START: the first ticket. */
void brood__cells_init(const struct cells_view *view, uint64_t start);

/* 0: CLAIM is WRITING; -EAGAIN: full; BROOD_ECLOSED. */
int brood__cells_put(const struct cells_view *view, roster_tag me, struct cell_claim *claim);
/* After .len and .items are set and the data written. False: the claim is no longer the caller's;
 * it was made by a thread that ended, and has been repaired. */
bool brood__cells_publish(const struct cells_view *view, const struct cell_claim *claim);
/* A claim that will hold no message. */
void brood__cells_void(const struct cells_view *view, const struct cell_claim *claim);

/* 0: CLAIM is READING, and others may overtake; -EAGAIN: nothing to get, and *OUT_PENDING says
 * whether something may still come from those who are at a cell. */
int brood__cells_get(const struct cells_view *view, roster_tag me, struct cell_claim *claim,
                     bool *out_pending);
/* Where .pack is more than 1: copies the next items, COUNT at most, all of one cell, and they are
 * gone. How many; -EAGAIN as above; BROOD_EABI. Whoever dies in here has got nothing or all. */
int brood__cells_copy(const struct cells_view *view, char *to, size_t item_size, unsigned count,
                      bool *out_pending);
/* COUNT items into a claimed cell, where .pack is more than 1. */
void brood__cell_store(struct cell *cell, const char *from, size_t item_size, unsigned count);
/* The message is GONE, and the cell for the next lap; or it goes back. False: as for publish. */
bool brood__cells_finish(const struct cells_view *view, const struct cell_claim *claim, bool gone);
/* The claim that WORD was when it was made, at TICKET. */
struct cell_claim brood__cells_claimed(const struct cells_view *view, uint64_t ticket,
                                       uint64_t word);

/* Whether TICKET may be one that somebody has claimed. */
bool brood__cells_has(const struct cells_view *view, uint64_t ticket);
/* The first ticket that nobody has claimed, for the moment. */
uint64_t brood__cells_end(const struct cells_view *view);
/* Whether nothing before TICKET is in the ring or at somebody's. */
bool brood__cells_passed_all(const struct cells_view *view, uint64_t ticket);
/* Whether the ticket with these low bits is over. */
bool brood__cells_passed(const struct cells_view *view, uint32_t low_ticket);
uint32_t brood__cell_low_ticket(uint64_t ticket);
/* Items that nobody has taken. */
uint64_t brood__cells_size(const struct cells_view *view);
/* Whether a get would find something now. */
bool brood__cells_ready(const struct cells_view *view);
/* Whether a get would find the end: closed, and nothing is in it or may come back. */
bool brood__cells_ended(const struct cells_view *view);
/* Whether a put would find room. */
bool brood__cells_roomy(const struct cells_view *view);
void brood__cells_close(const struct cells_view *view);

static inline bool cells_closed(const struct cells_view *view)
{
    return atomic_load(&view->shared->closed) != 0;
}

#endif
