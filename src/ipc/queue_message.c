/* SPDX-License-Identifier: MIT */
/*
 * Messages in place: reserve and send, take and done.
 *
 *     reserve --> WRITING --- send ---> FULL         take --> READING --- done ---> over
 *                    |                                              |
 *                    +----- done, return --> over                   +--- return, death ---> FULL
 *
 * The message of the user says which cell it has: ticket and word. The word names this thread;
 * should the thread end before the message is done, the cell is repaired like that of any dead one,
 * and the message is an empty shell: its CAS fails, and nothing happens. A forked child has a copy
 * of the message that is right in all its words, and is not its own: the word names a thread of the
 * parent. So whoever ends a message must be that thread, or in one process with it.
 *
 * A death while it is reserved: the cell goes to the next lap, the block (LINKED to it) is free.
 */
#include "ipc/message.h"
#include "ipc/queue.h"

#include "base/clock.h"
#include "ipc/block.h"

#include <errno.h>
#include <string.h>

static void reserved_done(brood_message *message);
static void taken_done(brood_message *message);
static void taken_return(brood_message *message);

static const struct message_kind reserved_kind = {reserved_done, reserved_done};
static const struct message_kind taken_kind = {taken_done, taken_return};

static void set_message(brood_message *message, const struct message_kind *kind, brood_queue *queue,
                        const struct cell_claim *claim)
{
    message->reserved[0] = (uintptr_t)kind;
    message->reserved[1] = (uintptr_t)queue;
    message->reserved[2] = claim->ticket;
    message->reserved[3] = claim->word;
}

static brood_queue *queue_of(const brood_message *message)
{
    return (brood_queue *)(uintptr_t)message->reserved[1];
}

static struct cell_claim claim_of(const brood_message *message)
{
    return brood__cells_claimed(&queue_of(message)->cells, message->reserved[2],
                                message->reserved[3]);
}

/* The thread that has the cell: the low bits of its word. */
static roster_tag owner_of(const brood_message *message)
{
    return message->reserved[3] & (((uint32_t)1 << TAG_BITS) - 1);
}

/* 0: the message may be ended here. -EOWNERDEAD: its handle was freed, and may serve another queue
 * by now, whose tickets are elsewhere; or its thread has ended. BROOD_EFORKED: it is another
 * process's, of which this one has a copy. */
static int check_owner(const brood_message *message)
{
    const struct member *member;
    brood_queue *queue = queue_of(message);
    roster_tag owner = owner_of(message);
    int r = brood__queue_enter(queue, &member);

    if (r < 0)
        return r == BROOD_EHANDLE ? -EOWNERDEAD : r;
    if (!brood__cells_has(&queue->cells, message->reserved[2]))
        return -EOWNERDEAD;
    if (owner == member->tag || brood__member_of_process(queue->shared, owner))
        return 0;
    return brood__roster_alive(member->roster, owner) ? BROOD_EFORKED : -EOWNERDEAD;
}

/* Its block. */
static uint64_t block_of(brood_queue *queue, const struct cell_claim *claim)
{
    uint64_t block;
    size_t len;
    char *data;

    if (atomic_load(&claim->cell->word) != claim->word ||
        brood__queue_locate(queue, claim, &data, &len, &block) < 0)
        return 0;
    return block;
}

/* The message in a cell that the caller has claimed becomes the user's: 0, or BROOD_EABI, and the
 * claim is given up. */
static int hand_out(brood_queue *queue, const struct message_kind *kind,
                    const struct cell_claim *claim, brood_message *out_message)
{
    brood_message message = {0};
    uint64_t block;
    int r;

    set_message(&message, kind, queue, claim);
    r = brood__queue_locate(queue, claim, (char **)&message.data, &message.len, &block);
    if (r < 0)
        brood_message_return(&message);
    else
        *out_message = message;
    return r;
}

/* ---- reserve and send ---- */

static int place(brood_queue *queue, const struct member *member, struct cell_claim *claim,
                 size_t len, int64_t deadline)
{
    uint64_t block = 0;
    bool placed = len > queue->cells.shape.room;
    int r = 0;

    if (placed)
        r = brood__queue_block(queue, member, len, deadline, &block);
    if (r < 0)
        return r;
    r = brood__queue_claim(queue, member, deadline, claim);
    if (r < 0) {
        if (placed)
            brood__queue_give(queue, block);
        return r;
    }
    atomic_store_explicit(&claim->cell->len, (uint32_t)len, memory_order_relaxed);
    atomic_store_explicit(&claim->cell->items, placed ? 1 | CELL_PLACED : 1, memory_order_relaxed);
    if (placed) {
        memcpy(claim->cell->data, &block, sizeof block);
        brood__block_link(queue->region, block, queue->region->root,
                          brood__cell_low_ticket(claim->ticket));
    }
    return 0;
}

int brood_queue_reserve(brood_queue *queue, size_t len, int64_t timeout_ms,
                        brood_message *out_message)
{
    struct cell_claim claim = {0};
    const struct member *member;
    int r = brood__queue_enter(queue, &member);

    if (r == 0 && (out_message == NULL || queue->cells.shape.pack > 1))
        r = -EINVAL;
    if (r == 0 && ((queue->item_size != 0 && len != queue->item_size) || len > UINT32_MAX))
        r = -EMSGSIZE;
    if (r == 0)
        r = place(queue, member, &claim, len, deadline_in(timeout_ms));
    return r < 0 ? r : hand_out(queue, &reserved_kind, &claim, out_message);
}

int brood_queue_send(brood_queue *queue, brood_message *message)
{
    struct cell_claim claim;
    const struct member *member;
    uint32_t len;
    int r = brood__queue_enter(queue, &member);

    if (r < 0)
        return r;
    if (message == NULL || message->reserved[0] != (uintptr_t)&reserved_kind ||
        queue_of(message) != queue)
        return -EINVAL;
    claim = claim_of(message);
    r = check_owner(message);
    if (r == 0 && atomic_load(&claim.cell->word) != claim.word)
        r = -EOWNERDEAD;
    if (r == -EOWNERDEAD)
        memset(message, 0, sizeof *message);
    if (r < 0)
        return r;
    len = atomic_load_explicit(&claim.cell->len, memory_order_relaxed);
    if (message->len > len || (queue->item_size != 0 && message->len != len))
        return -EMSGSIZE;
    if (cells_closed(&queue->cells)) {
        brood_message_done(message);
        return BROOD_ECLOSED;
    }
    atomic_store_explicit(&claim.cell->len, (uint32_t)message->len, memory_order_relaxed);
    r = brood__cells_publish(&queue->cells, &claim) ? 0 : -EOWNERDEAD;
    memset(message, 0, sizeof *message);
    return r;
}

static void reserved_done(brood_message *message)
{
    brood_queue *queue = queue_of(message);
    struct cell_claim claim;
    struct queue_block block;

    if (check_owner(message) < 0)
        return;
    claim = claim_of(message);
    block = brood__queue_see_block(queue, &claim, block_of(queue, &claim));
    brood__cells_void(&queue->cells, &claim);
    brood__queue_unblock(queue, &block);
}

/* ---- take and done ---- */

int brood_queue_take(brood_queue *queue, int64_t timeout_ms, brood_message *out_message)
{
    struct cell_claim claim = {0};
    const struct member *member;
    int r = brood__queue_enter(queue, &member);

    if (r == 0 && (out_message == NULL || queue->cells.shape.pack > 1))
        r = -EINVAL;
    if (r < 0)
        return r;
    r = brood__queue_fetch(queue, member, &(struct fetch){.claim = &claim},
                           deadline_in(timeout_ms));
    brood__queue_looked(queue);
    if (r != 1)
        return r;
    r = hand_out(queue, &taken_kind, &claim, out_message);
    return r < 0 ? r : 1;
}

static void taken_done(brood_message *message)
{
    brood_queue *queue = queue_of(message);
    struct cell_claim claim;
    struct queue_block block;

    if (check_owner(message) < 0)
        return;
    claim = claim_of(message);
    block = brood__queue_see_block(queue, &claim, block_of(queue, &claim));
    if (brood__cells_finish(&queue->cells, &claim, true))
        brood__queue_unblock(queue, &block);
}

static void taken_return(brood_message *message)
{
    struct cell_claim claim;

    if (check_owner(message) < 0)
        return;
    claim = claim_of(message);
    (void)brood__cells_finish(&queue_of(message)->cells, &claim, false);
}
