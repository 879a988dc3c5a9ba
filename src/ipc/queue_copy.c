/* SPDX-License-Identifier: MIT */
/*
 * Putting and getting by copy: one message, or several items at once.
 *
 * A message that fits in its cell is copied there between claim and publication. A larger one is
 * copied into a block first, so that a cell is under the pen for a moment only; then the block is
 * LINKED to the ticket, and the cell holds its offset.
 *
 * A queue that packs small items gets them by copying out of the cell and claiming afterwards
 * (ipc/cells.c): a getter that dies has got nothing.
 *
 * A death while copying in: the cell goes to the next lap, and a block that was MAKING is free, as
 * is one that is LINKED to a ticket that is over. While copying out: the message is FULL again. A
 * block is given back after its ticket is over, and only if its word is what it was before: others
 * may have found it first.
 *
 * What a cell says of its message comes from other processes: length and place are checked against
 * the cell and the block before anything is copied.
 */
#include "ipc/queue.h"

#include "base/clock.h"
#include "ipc/block.h"

#include <errno.h>
#include <string.h>

/* A mutant that the kill sweeps must catch. */
#define MUTANT_EARLY_FULL 18
#ifndef BROOD_MUTANT
#define BROOD_MUTANT 0
#endif

static void store_len(struct cell *cell, size_t len, uint32_t items)
{
    /* Relaxed: published by the cell's word. */
    atomic_store_explicit(&cell->len, (uint32_t)len, memory_order_relaxed);
    atomic_store_explicit(&cell->items, items, memory_order_relaxed);
}

int brood__queue_locate(const brood_queue *queue, const struct cell_claim *claim, char **out_data,
                        size_t *out_len, uint64_t *out_block)
{
    struct cell *cell = claim->cell;
    size_t len = atomic_load_explicit(&cell->len, memory_order_relaxed);
    uint32_t items = atomic_load_explicit(&cell->items, memory_order_relaxed);
    uint64_t block = 0;

    *out_data = cell->data;
    if ((items & CELL_PLACED) != 0) {
        memcpy(&block, cell->data, sizeof block);
        if (brood__block_len(queue->region, block) < len)
            return BROOD_EABI;
        *out_data = queue->region->base + block;
    } else if (len > queue->cells.shape.room) {
        return BROOD_EABI;
    }
    *out_len = len;
    *out_block = block;
    return 0;
}

/* All who wait for memory want different amounts, so all are told. */
void brood__queue_ring_memory(brood_queue *queue)
{
    /* The block was freed by an access that is not sequentially consistent; pairs with the fence of
     * brood__bell_arm(). */
    atomic_thread_fence(memory_order_seq_cst);
    bell_ring_all(&queue->shared->memory);
}

void brood__queue_give(brood_queue *queue, uint64_t block)
{
    (void)brood__block_give(queue->region, block);
    brood__queue_ring_memory(queue);
}

struct queue_block brood__queue_see_block(const brood_queue *queue, const struct cell_claim *claim,
                                          uint64_t block)
{
    struct queue_block seen = {.offset = block};

    if (block != 0)
        seen.linked = brood__block_linked(queue->region, block, queue->region->root,
                                          brood__cell_low_ticket(claim->ticket));
    return seen;
}

void brood__queue_unblock(brood_queue *queue, const struct queue_block *block)
{
    if (block->offset == 0)
        return;
    (void)brood__block_unlink(queue->region, block->offset, block->linked);
    brood__queue_ring_memory(queue);
}

/* ---- put ---- */

static int put_in_place(brood_queue *queue, const struct member *member, const void *data,
                        size_t len, int64_t deadline)
{
    struct cell_claim claim;
    int r = brood__queue_claim(queue, member, deadline, &claim);

    if (r < 0)
        return r;
    if (BROOD_MUTANT == MUTANT_EARLY_FULL)
        (void)brood__cells_publish(&queue->cells, &claim);
    store_len(claim.cell, len, 1);
    if (len > 0)
        memcpy(claim.cell->data, data, len);
    (void)brood__cells_publish(&queue->cells, &claim);
    return 0;
}

static int put_in_block(brood_queue *queue, const struct member *member, const void *data,
                        size_t len, int64_t deadline)
{
    struct cell_claim claim;
    uint64_t block;
    int r = brood__queue_block(queue, member, len, deadline, &block);

    if (r < 0)
        return r;
    memcpy(queue->region->base + block, data, len);
    r = brood__queue_claim(queue, member, deadline, &claim);
    if (r < 0) {
        brood__queue_give(queue, block);
        return r;
    }
    store_len(claim.cell, len, 1 | CELL_PLACED);
    memcpy(claim.cell->data, &block, sizeof block);
    brood__block_link(queue->region, block, queue->region->root,
                      brood__cell_low_ticket(claim.ticket));
    (void)brood__cells_publish(&queue->cells, &claim);
    return 0;
}

/* One cell of up to COUNT items: how many, or a negative error. */
static int put_cell(brood_queue *queue, const struct member *member, const char *items,
                    unsigned count, int64_t deadline)
{
    unsigned pack = queue->cells.shape.pack;
    unsigned n = count < pack ? count : pack;
    struct cell_claim claim;
    int r = brood__queue_claim(queue, member, deadline, &claim);

    if (r < 0)
        return r;
    if (BROOD_MUTANT == MUTANT_EARLY_FULL)
        (void)brood__cells_publish(&queue->cells, &claim);
    brood__cell_store(claim.cell, items, queue->item_size, n);
    (void)brood__cells_publish(&queue->cells, &claim);
    return (int)n;
}

static int check_len(const brood_queue *queue, const void *data, size_t len)
{
    if (data == NULL && len > 0)
        return -EINVAL;
    if ((queue->item_size != 0 && len != queue->item_size) || len > UINT32_MAX)
        return -EMSGSIZE;
    return 0;
}

int brood_queue_put(brood_queue *queue, const void *data, size_t len, int64_t timeout_ms)
{
    const struct member *member;
    int r = brood__queue_enter(queue, &member);

    if (r == 0)
        r = check_len(queue, data, len);
    if (r < 0)
        return r;
    if (queue->cells.shape.pack > 1) {
        r = put_cell(queue, member, data, 1, deadline_in(timeout_ms));
        return r < 0 ? r : 0;
    }
    if (len <= queue->cells.shape.room)
        return put_in_place(queue, member, data, len, deadline_in(timeout_ms));
    return put_in_block(queue, member, data, len, deadline_in(timeout_ms));
}

int brood_queue_put_many(brood_queue *queue, const void *items, unsigned count, int64_t timeout_ms)
{
    int64_t deadline = deadline_in(timeout_ms);
    const struct member *member;
    const char *from = items;
    unsigned done = 0;
    int r = brood__queue_enter(queue, &member);

    if (r < 0)
        return r;
    if (items == NULL || count == 0 || count > INT32_MAX || queue->item_size == 0)
        return -EINVAL;
    while (done < count) {
        if (queue->cells.shape.pack > 1)
            r = put_cell(queue, member, from, count - done, deadline);
        else if (queue->item_size <= queue->cells.shape.room)
            r = put_in_place(queue, member, from, queue->item_size, deadline);
        else
            r = put_in_block(queue, member, from, queue->item_size, deadline);
        if (r < 0)
            break;
        r = r == 0 ? 1 : r;
        done += (unsigned)r;
        from += (size_t)r * queue->item_size;
        deadline = 0; /* the rest without waiting */
    }
    return done > 0 ? (int)done : r;
}

/* ---- get ---- */

/* A claimed message of LEN bytes: 1, or a negative error, and it is back. */
static int copy_out(brood_queue *queue, const struct cell_claim *claim, void *data, size_t len)
{
    struct queue_block seen;
    uint64_t block;
    size_t message_len;
    char *from;
    int r = brood__queue_locate(queue, claim, &from, &message_len, &block);

    if (r == 0 && message_len != len)
        r = -EMSGSIZE;
    if (r < 0) {
        (void)brood__cells_finish(&queue->cells, claim, false);
        return r;
    }
    if (len > 0 && data != NULL)
        memcpy(data, from, len);
    seen = brood__queue_see_block(queue, claim, block);
    (void)brood__cells_finish(&queue->cells, claim, true);
    brood__queue_unblock(queue, &seen);
    return 1;
}

/* One message; or up to COUNT items of a queue that packs them, of one cell. */
static int get_cell(brood_queue *queue, const struct member *member, void *data, size_t len,
                    unsigned count, int64_t deadline)
{
    struct cell_claim claim;
    struct fetch fetch = {.claim = &claim};
    int r;

    if (queue->cells.shape.pack > 1) {
        if (len != queue->item_size)
            return -EMSGSIZE;
        fetch.to = data;
        fetch.count = count;
    }
    r = brood__queue_fetch(queue, member, &fetch, deadline);
    return r == 1 && fetch.to == NULL ? copy_out(queue, &claim, data, len) : r;
}

int brood_queue_get(brood_queue *queue, void *data, size_t len, int64_t timeout_ms)
{
    const struct member *member;
    int r = brood__queue_enter(queue, &member);

    if (r == 0 && data == NULL && len > 0)
        r = -EINVAL;
    if (r < 0)
        return r;
    r = get_cell(queue, member, data, len, 1, deadline_in(timeout_ms));
    brood__queue_looked(queue);
    return r;
}

int brood_queue_get_many(brood_queue *queue, void *items, unsigned count, int64_t timeout_ms)
{
    int64_t deadline = deadline_in(timeout_ms);
    const struct member *member;
    char *to = items;
    unsigned done = 0;
    int r = brood__queue_enter(queue, &member);

    if (r < 0)
        return r;
    if (items == NULL || count == 0 || count > INT32_MAX || queue->item_size == 0)
        return -EINVAL;
    while (done < count) {
        r = get_cell(queue, member, to, queue->item_size, count - done, deadline);
        if (r <= 0)
            break;
        done += (unsigned)r;
        to += (size_t)r * queue->item_size;
        deadline = 0; /* the rest without waiting */
    }
    brood__queue_looked(queue);
    return done > 0 ? (int)done : r;
}
