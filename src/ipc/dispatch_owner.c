/* SPDX-License-Identifier: MIT */
/*
 * What the pool does with the shared memory: publish tasks, revoke them, take back the finished,
 * stop a running one, and make a dead lane new. The picture is in dispatch.h.
 *
 * Everything here runs under the pool's lock, in the one process that owns the pool. The
 * private `entries` say which task each slot is: its ring and ticket name one cell. Who has a
 * task stands in that cell; when the ring goes round and the cell is used again, the owner is
 * noted in the entry first. So at every moment each live slot's lane can be named.
 *
 * Nothing read from shared memory is trusted: a slot that comes back must be live and belong to
 * the lane that brings it.
 */
#include "ipc/dispatch.h"

#include "base/memory.h"
#include "sys/kernel.h"

#include <errno.h>
#include <string.h>

#define DISPATCH_MAGIC UINT64_C(0x62726f6f642d3031)
#define DISPATCH_ABI 1

static void init_rings(struct dispatch *dispatch, uint32_t first_ticket)
{
    struct dispatch_view *view = &dispatch->view;

    for (unsigned ring = 0; ring < RINGS; ring++) {
        dispatch->tails[ring] = first_ticket;
        atomic_init(&view->control->head[ring].ticket, first_ticket);
        for (uint32_t i = 0; i < view->ring_size && first_ticket != view->ring_size; i++) {
            uint32_t ticket = first_ticket + i;

            atomic_init(ring_cell(view, ring, ticket),
                        cell_make(ticket - view->ring_size, CELL_REVOKED, 0));
        }
    }
}

int brood__dispatch_init(struct dispatch *dispatch, void *memory, struct dispatch_shape shape,
                         uint32_t first_ticket)
{
    if (shape.lanes == 0 || shape.lanes > LANES_MAX || shape.slots == 0 ||
        shape.slots > SLOTS_MAX || (shape.slots & (shape.slots - 1)) != 0)
        return -EINVAL;
    memset(dispatch, 0, sizeof *dispatch);
    dispatch->entries = brood__alloc_zeroed(shape.slots, sizeof *dispatch->entries);
    dispatch->done_heads = brood__alloc_zeroed(shape.lanes, sizeof *dispatch->done_heads);
    if (dispatch->entries == NULL || dispatch->done_heads == NULL) {
        brood__dispatch_done(dispatch);
        return -ENOMEM;
    }
    brood__dispatch_view(&dispatch->view, memory, shape);
    dispatch->view.control->magic = DISPATCH_MAGIC;
    dispatch->view.control->abi = DISPATCH_ABI;
    dispatch->view.control->shape = shape;
    init_rings(dispatch, first_ticket);
    return 0;
}

void brood__dispatch_done(struct dispatch *dispatch)
{
    brood__free(dispatch->entries);
    brood__free(dispatch->done_heads);
    memset(dispatch, 0, sizeof *dispatch);
}

/* A cell is about to be used again: if the task that it named still runs, note who has it. */
static void note_owner(struct dispatch *dispatch, unsigned ring, uint64_t cell)
{
    struct dispatch_entry *entry;
    uint32_t owner = cell_owner(cell);

    if (owner == CELL_UNUSED || owner == CELL_REVOKED ||
        cell_slot(cell) >= dispatch->view.shape.slots)
        return;
    entry = &dispatch->entries[cell_slot(cell)];
    if (entry->live && entry->ring == ring && entry->ticket == cell_ticket(cell))
        entry->owner = (uint16_t)owner;
}

bool brood__dispatch_publish(struct dispatch *dispatch, uint32_t slot, unsigned ring)
{
    uint32_t ticket = dispatch->tails[ring];
    _Atomic uint64_t *cell = ring_cell(&dispatch->view, ring, ticket);
    uint64_t seen = atomic_load_explicit(cell, memory_order_acquire);
    struct slot *s = &dispatch->view.slots[slot];

    if (cell_owner(seen) == CELL_READY)
        return false;
    note_owner(dispatch, ring, seen);
    dispatch->entries[slot] =
        (struct dispatch_entry){.ticket = ticket, .ring = (uint8_t)ring, .live = true};
    s->ticket = ticket;
    s->ring = (uint16_t)ring;
    atomic_store_explicit(cell, cell_make(ticket, CELL_READY, slot), memory_order_release);
    dispatch->tails[ring] = ticket + 1;
    return true;
}

int brood__dispatch_wake_idle(struct dispatch *dispatch)
{
    struct dispatch_control *control = dispatch->view.control;

    for (uint32_t i = 0; i < dispatch->view.lane_words; i++) {
        uint64_t idle = atomic_load_explicit(&control->idle[i], memory_order_relaxed);
        uint64_t bit = idle & (~idle + 1);
        uint32_t lane = i * 64 + (bit == 0 ? 0 : (uint32_t)__builtin_ctzll(bit));

        if (bit == 0 || lane >= dispatch->view.shape.lanes)
            continue;
        if ((atomic_fetch_and(&control->idle[i], ~bit) & bit) != 0)
            return (int)lane;
    }
    return -1;
}

int brood__dispatch_wake_pick(struct dispatch *dispatch)
{
    /* Between the task and the bits of lanes; the other side is in sleep_for_work(), pass_on(). */
    atomic_thread_fence(memory_order_seq_cst);
    for (uint32_t i = 0; i < dispatch->view.lane_words; i++)
        if (atomic_load_explicit(&dispatch->view.control->search[i], memory_order_relaxed) != 0)
            return -1;
    return brood__dispatch_wake_idle(dispatch);
}

bool brood__dispatch_revoke(struct dispatch *dispatch, uint32_t slot)
{
    struct dispatch_entry *entry = &dispatch->entries[slot];
    uint64_t ready = cell_make(entry->ticket, CELL_READY, slot);

    if (!entry->live || entry->owner != 0)
        return false;
    if (!atomic_compare_exchange_strong_explicit(
            ring_cell(&dispatch->view, entry->ring, entry->ticket), &ready,
            cell_make(entry->ticket, CELL_REVOKED, slot), memory_order_acq_rel,
            memory_order_relaxed))
        return false;
    entry->live = false;
    return true;
}

int brood__dispatch_lane_of(const struct dispatch *dispatch, uint32_t slot)
{
    const struct dispatch_entry *entry = &dispatch->entries[slot];
    uint32_t owner = entry->owner;

    if (!entry->live)
        return -1;
    if (owner == 0) {
        uint64_t seen = atomic_load_explicit(ring_cell(&dispatch->view, entry->ring, entry->ticket),
                                             memory_order_acquire);

        if (cell_ticket(seen) != entry->ticket || cell_slot(seen) != slot)
            return -1; /* only a lane gone mad writes such a cell */
        owner = cell_owner(seen);
    }
    return owner == CELL_UNUSED || owner > dispatch->view.shape.lanes ? -1 : (int)owner - 1;
}

uint64_t brood__dispatch_take_finished(struct dispatch *dispatch, uint32_t word)
{
    _Atomic uint64_t *finished = &dispatch->view.control->finished[word];
    uint64_t bits;

    if (atomic_load_explicit(finished, memory_order_relaxed) == 0)
        return 0;
    bits = atomic_exchange_explicit(finished, 0, memory_order_seq_cst);
    /* Between the bits and done_tail; the other side is in tell_owner(). */
    atomic_thread_fence(memory_order_seq_cst);
    if (word == dispatch->view.shape.lanes / 64)
        bits &= ((uint64_t)1 << (dispatch->view.shape.lanes % 64)) - 1;
    return bits;
}

bool brood__dispatch_drain(struct dispatch *dispatch, uint32_t lane, uint32_t *out_slot,
                           bool *out_broken)
{
    const struct dispatch_view *view = &dispatch->view;
    uint32_t head = dispatch->done_heads[lane];
    uint32_t tail = atomic_load_explicit(&view->lanes[lane].done_tail, memory_order_acquire);
    uint32_t slot;

    if (tail == head)
        return false;
    slot = atomic_load_explicit(
        &view->done[(size_t)lane * view->shape.slots + (head & (view->shape.slots - 1))],
        memory_order_relaxed);
    if (tail - head > view->shape.slots || slot >= view->shape.slots ||
        brood__dispatch_lane_of(dispatch, slot) != (int)lane) {
        *out_broken = true;
        return false;
    }
    dispatch->done_heads[lane] = head + 1;
    dispatch->entries[slot].live = false;
    *out_slot = slot;
    return true;
}

uint64_t brood__dispatch_id(const struct dispatch *dispatch, uint32_t slot)
{
    const struct dispatch_entry *entry = &dispatch->entries[slot];

    return task_id(entry->ticket, entry->ring, slot);
}

uint32_t brood__dispatch_running(const struct dispatch *dispatch, uint32_t lane)
{
    uint64_t id = atomic_load_explicit(&dispatch->view.lanes[lane].running, memory_order_acquire);
    uint32_t slot = (uint32_t)(id - 1) & (SLOTS_MAX - 1);

    if (id == 0 || slot >= dispatch->view.shape.slots || !dispatch->entries[slot].live ||
        brood__dispatch_id(dispatch, slot) != id ||
        brood__dispatch_lane_of(dispatch, slot) != (int)lane)
        return NO_SLOT;
    return slot;
}

bool brood__dispatch_kill(struct dispatch *dispatch, uint32_t lane, uint32_t slot)
{
    struct lane *l = &dispatch->view.lanes[lane];
    uint64_t id = brood__dispatch_id(dispatch, slot);

    atomic_store_explicit(&l->kill_request, id, memory_order_release);
    /* Between our request and what it runs; the other side is in brood__lane_start(). */
    atomic_thread_fence(memory_order_seq_cst);
    if (atomic_load_explicit(&l->running, memory_order_acquire) == id)
        return true;
    atomic_store_explicit(&l->kill_request, 0, memory_order_release);
    brood__lane_wake(&dispatch->view, lane);
    return false;
}

void brood__lane_reset(struct dispatch *dispatch, uint32_t lane)
{
    struct dispatch_view *view = &dispatch->view;
    struct lane *l = &view->lanes[lane];
    uint64_t bit = (uint64_t)1 << (lane % 64);

    (void)atomic_fetch_and(&view->control->idle[lane / 64], ~bit);
    (void)atomic_fetch_and(&view->control->search[lane / 64], ~bit);
    (void)atomic_fetch_and(&view->control->finished[lane / 64], ~bit);
    atomic_store(&l->done_tail, 0);
    atomic_store(&l->state, LANE_EMPTY);
    atomic_store(&l->open_error, 0);
    atomic_store(&l->running, 0);
    atomic_store(&l->progress, 0);
    atomic_store(&l->kill_request, 0);
    atomic_store(&l->stop, 0);
    atomic_store(&l->mail_head, 0);
    atomic_store(&l->mail_tail, 0);
    dispatch->done_heads[lane] = 0;
}

/* All of them, whether there is work or not: who passes a wake on takes the sleeper's idle bit
 * first, so if it died then, the sleeper is never picked again. Awake, it sets its bit anew. */
void brood__dispatch_heal(struct dispatch_view *view)
{
    /* Hints may hold anything, if the dead one had lost its mind: those awake set theirs anew. */
    for (uint32_t i = 0; i < LANE_WORDS; i++) {
        atomic_store(&view->control->idle[i], 0);
        atomic_store(&view->control->search[i], 0);
    }
    for (uint32_t lane = 0; lane < view->shape.lanes; lane++)
        brood__lane_wake(view, lane);
}

static uint32_t oldest_live(const struct dispatch *dispatch, unsigned ring)
{
    uint32_t oldest = dispatch->tails[ring];

    for (uint32_t slot = 0; slot < dispatch->view.shape.slots; slot++) {
        const struct dispatch_entry *entry = &dispatch->entries[slot];

        if (entry->live && entry->ring == ring && (int32_t)(entry->ticket - oldest) < 0)
            oldest = entry->ticket;
    }
    return oldest;
}

void brood__dispatch_heal_heads(struct dispatch *dispatch)
{
    for (unsigned ring = 0; ring < RINGS; ring++) {
        _Atomic uint32_t *head = &dispatch->view.control->head[ring].ticket;

        if ((int32_t)(atomic_load(head) - dispatch->tails[ring]) > 0)
            atomic_store(head, oldest_live(dispatch, ring));
    }
}

bool brood__lane_mail(struct dispatch_view *view, uint32_t lane, uint64_t offset)
{
    struct lane *l = &view->lanes[lane];
    uint32_t head = atomic_load_explicit(&l->mail_head, memory_order_relaxed);

    if (head - atomic_load_explicit(&l->mail_tail, memory_order_acquire) >= MAIL_MAX)
        return false;
    atomic_store_explicit(&l->mail[head % MAIL_MAX], offset, memory_order_relaxed);
    atomic_store_explicit(&l->mail_head, head + 1, memory_order_release);
    return true;
}

void brood__dispatch_take_back(struct dispatch *dispatch, uint32_t slot)
{
    dispatch->entries[slot].live = false;
}
