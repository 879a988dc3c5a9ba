/* SPDX-License-Identifier: MIT */
/*
 * What a worker does with the shared memory: look for a task, claim it, start it, finish it,
 * sleep. The picture, and what a death at any line leaves, are in dispatch.h.
 *
 *     SEARCHING --claim--> CLAIMED --start--> RUNNING --finish--> SEARCHING
 *         |  ^                |  ^
 *       sleep wake          park (kill_request is set: somebody else's kill is under way)
 *
 * Memory order. Publishing and claiming a cell are release and acquire (the slot's contents
 * travel with it), as are moving and reading done_tail (the result's). Five pairs are "I write
 * mine, then read yours" on both sides and need a full fence between: publish/sleep,
 * publish/search ends, finish/owner_waits, finish/bell_armed, start/kill_request. The fences are
 * explicit, because a sequentially consistent exchange is none for the relaxed reads after it.
 *
 * Wake-ups. A lane that looks for work sets its search bit; while one searches, publishers wake
 * nobody. A searcher that finds a task and was the last one wakes another lane if more is ready
 * (a chain), so a burst still gets all lanes.
 */
#include "ipc/dispatch.h"

#include "base/clock.h"
#include "ipc/spin.h"
#include "sys/kernel.h"

/* Mutants that the crash sweep must catch; see tests/ipc/test_dispatch_kill.c. */
#define MUTANT_NO_KILL_FENCE 1
#define MUTANT_ANONYMOUS_CLAIM 2
#define MUTANT_NO_RECHECK 3
#ifndef BROOD_MUTANT
#define BROOD_MUTANT 0
#endif

static uint64_t lane_bit(const struct lane_self *self)
{
    return (uint64_t)1 << (self->index % 64);
}

static bool any_bit(const _Atomic uint64_t *words, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        if (atomic_load_explicit(&words[i], memory_order_relaxed) != 0)
            return true;
    return false;
}

static void set_bit(struct lane_self *self, _Atomic uint64_t *words)
{
    (void)atomic_fetch_or_explicit(&words[self->index / 64], lane_bit(self), memory_order_seq_cst);
}

static void clear_bit(struct lane_self *self, _Atomic uint64_t *words)
{
    (void)atomic_fetch_and_explicit(&words[self->index / 64], ~lane_bit(self),
                                    memory_order_seq_cst);
}

/* Heads only move forward. */
static void advance_head(struct dispatch_view *view, unsigned ring, uint32_t ticket)
{
    _Atomic uint32_t *head = &view->control->head[ring].ticket;
    uint32_t seen = atomic_load_explicit(head, memory_order_relaxed);

    while ((int32_t)(ticket - seen) > 0)
        if (atomic_compare_exchange_weak_explicit(head, &seen, ticket, memory_order_relaxed,
                                                  memory_order_relaxed))
            return;
}

/* One ring, first ready cell first. The CAS is the claim: nothing after it is needed. */
static uint32_t claim_in(struct lane_self *self, unsigned ring)
{
    struct dispatch_view *view = &self->view;
    uint32_t head = atomic_load_explicit(&view->control->head[ring].ticket, memory_order_relaxed);
    uint32_t ticket = head;

    for (;;) {
        _Atomic uint64_t *cell = ring_cell(view, ring, ticket);
        uint64_t seen = atomic_load_explicit(cell, memory_order_acquire);
        int32_t ahead = (int32_t)(cell_ticket(seen) - ticket);

        if (ahead < 0) { /* nothing was published there yet */
            if (ticket != head)
                advance_head(view, ring, ticket);
            return NO_SLOT;
        }
        if (ahead > 0) { /* the ring went round since we read the head */
            ticket = cell_ticket(seen) - view->ring_size + 1;
            continue;
        }
        if (cell_owner(seen) != CELL_READY) {
            ticket++;
            continue;
        }
#if BROOD_MUTANT == MUTANT_ANONYMOUS_CLAIM
        uint32_t mine = ticket;
        if (!atomic_compare_exchange_strong(&view->control->head[ring].ticket, &mine, ticket + 1))
            return NO_SLOT;
#endif
        if (atomic_compare_exchange_strong_explicit(
                cell, &seen, cell_make(ticket, self->index + 1, cell_slot(seen)),
                memory_order_acq_rel, memory_order_relaxed)) {
            advance_head(view, ring, ticket + 1);
            return cell_slot(seen);
        }
    }
}

uint32_t brood__lane_claim(struct lane_self *self)
{
    for (unsigned ring = 0; ring < RINGS; ring++) {
        uint32_t slot = claim_in(self, ring);

        if (slot != NO_SLOT)
            return slot;
    }
    return NO_SLOT;
}

/* The owner asks too, so it ends whatever a lane gone mad wrote: then with true. */
static bool ready_in(const struct dispatch_view *view, unsigned ring)
{
    uint32_t ticket = atomic_load_explicit(&view->control->head[ring].ticket, memory_order_relaxed);

    for (uint32_t i = 0; i < 2 * view->ring_size; i++) {
        uint64_t seen = atomic_load_explicit(ring_cell(view, ring, ticket), memory_order_acquire);
        int32_t ahead = (int32_t)(cell_ticket(seen) - ticket);

        if (ahead < 0)
            return false;
        if (ahead == 0 && cell_owner(seen) == CELL_READY)
            return true;
        ticket = ahead > 0 ? cell_ticket(seen) - view->ring_size + 1 : ticket + 1;
    }
    return true;
}

bool brood__dispatch_has_ready(const struct dispatch_view *view)
{
    for (unsigned ring = 0; ring < RINGS; ring++)
        if (ready_in(view, ring))
            return true;
    return false;
}

void brood__lane_wake(struct dispatch_view *view, uint32_t lane)
{
    (void)atomic_fetch_add_explicit(&view->lanes[lane].wake, 1, memory_order_release);
    brood__futex_wake(&view->lanes[lane].wake, 1);
}

/* The last searcher found something: if there is more, somebody else shall look for it. */
static void pass_on(struct lane_self *self)
{
    struct dispatch_control *control = self->view.control;

    /* With the fence of wake_pick(): who still saw our bit and woke nobody, its task we see. */
    atomic_thread_fence(memory_order_seq_cst);
    if (any_bit(control->search, self->view.lane_words) || !brood__dispatch_has_ready(&self->view))
        return;
    for (uint32_t i = 0; i < self->view.lane_words; i++) {
        uint64_t idle = atomic_load_explicit(&control->idle[i], memory_order_relaxed);
        uint64_t bit = idle & (~idle + 1);

        if (bit != 0 && (atomic_fetch_and(&control->idle[i], ~bit) & bit) != 0) {
            brood__lane_wake(&self->view, i * 64 + (uint32_t)__builtin_ctzll(bit));
            return;
        }
    }
}

static bool stopping(const struct lane_self *self)
{
    return atomic_load_explicit(&self->lane->stop, memory_order_acquire) != 0;
}

/* Spins for a while, as the only one who does. */
static uint32_t search(struct lane_self *self)
{
    struct dispatch_control *control = self->view.control;
    uint32_t slot = NO_SLOT;

    if (self->spins == 0 || any_bit(control->search, self->view.lane_words))
        return NO_SLOT;
    set_bit(self, control->search);
    for (uint32_t i = 0; i < self->spins && slot == NO_SLOT && !stopping(self); i++) {
        spin_pause(i);
        slot = brood__lane_claim(self);
    }
    clear_bit(self, control->search);
    if (slot != NO_SLOT)
        pass_on(self);
    return slot;
}

/* Until somebody adds to our word. The word is read before the last look, so nothing is missed. */
static uint32_t sleep_for_work(struct lane_self *self)
{
    struct dispatch_control *control = self->view.control;
    uint32_t word = atomic_load_explicit(&self->lane->wake, memory_order_acquire);
    uint32_t slot = NO_SLOT;

    set_bit(self, control->idle);
    /* With the fence of wake_pick(): it sees our bit, or we see its task. */
    atomic_thread_fence(memory_order_seq_cst);
#if BROOD_MUTANT != MUTANT_NO_RECHECK
    slot = brood__lane_claim(self);
#endif
    if (slot == NO_SLOT && !stopping(self)) {
        (void)brood__futex_wait(&self->lane->wake, word, NEVER);
        slot = brood__lane_claim(self);
    }
    clear_bit(self, control->idle);
    if (slot != NO_SLOT)
        pass_on(self);
    return slot;
}

uint32_t brood__lane_next(struct lane_self *self)
{
    for (;;) {
        uint32_t slot;

        if (stopping(self))
            return NO_SLOT;
        slot = brood__lane_claim(self);
        if (slot != NO_SLOT)
            return slot;
        self->now = 0;
        slot = search(self);
        if (slot == NO_SLOT)
            slot = sleep_for_work(self);
        if (slot != NO_SLOT)
            return slot;
    }
}

/* The id that the owner knows the task by. Its ticket stands in the cell we took; our own claim
 * keeps the owner from changing the slot, so the slot carries a copy of ring and ticket. */
static uint64_t id_of(const struct lane_self *self, uint32_t slot)
{
    const struct slot *s = &self->view.slots[slot];

    return task_id(s->ticket, s->ring, slot);
}

void brood__lane_start(struct lane_self *self, uint32_t slot)
{
    struct lane *lane = self->lane;

    atomic_store_explicit(&lane->progress, 0, memory_order_relaxed);
    atomic_store_explicit(&lane->started_ns, self->now != 0 ? self->now : now_ns(),
                          memory_order_relaxed);
    self->now = 0;
    atomic_store_explicit(&lane->running, id_of(self, slot), memory_order_release);
#if BROOD_MUTANT != MUTANT_NO_KILL_FENCE
    /* With the fence of kill(): it sees what we run now, or we see its request. */
    atomic_thread_fence(memory_order_seq_cst);
    for (;;) {
        uint32_t word = atomic_load_explicit(&lane->wake, memory_order_acquire);

        if (atomic_load_explicit(&lane->kill_request, memory_order_acquire) == 0)
            return;
        (void)brood__futex_wait(&lane->wake, word, NEVER);
    }
#endif
}

/* A task may have closed the bell, and opened a file of its own by that number: then the lane
 * leaves, which tells the owner as well. */
static void ring_bell(struct lane_self *self)
{
    uint64_t one = 1;

    if (self->bell_inode == 0 || brood__fd_inode(self->bell) == self->bell_inode)
        (void)brood__fd_write(self->bell, &one, sizeof one);
    else
        atomic_store_explicit(&self->lane->stop, 1, memory_order_release);
}

/* Tells the owner's threads and its event loop, if they want to know. */
static void tell_owner(struct lane_self *self)
{
    struct dispatch_control *control = self->view.control;
    _Atomic uint64_t *finished = &control->finished[self->index / 64];

    /* With the fence of take_finished(): a bit that we still see set is taken after our news, and
     * whoever takes it sees them. Bit and owner_waits (bell_armed) need no fence of ours between:
     * both accesses are sequentially consistent, and the owner has its fence. */
    atomic_thread_fence(memory_order_seq_cst);
    if ((atomic_load_explicit(finished, memory_order_relaxed) & lane_bit(self)) == 0)
        set_bit(self, control->finished);
    if (atomic_load(&control->owner_waits) != 0 && atomic_exchange(&control->owner_waits, 0) != 0) {
        (void)atomic_fetch_add(&control->owner_word, 1);
        brood__futex_wake(&control->owner_word, UINT32_MAX);
    }
    if (atomic_load(&control->bell_armed) != 0 && atomic_exchange(&control->bell_armed, 0) != 0)
        ring_bell(self);
}

void brood__lane_finish(struct lane_self *self, uint32_t slot)
{
    struct lane *lane = self->lane;
    uint32_t tail = atomic_load_explicit(&lane->done_tail, memory_order_relaxed);
    _Atomic uint32_t *ring = self->view.done + (size_t)self->index * self->view.shape.slots;

    atomic_store_explicit(&ring[tail & (self->view.shape.slots - 1)], slot, memory_order_relaxed);
    atomic_store_explicit(&lane->done_tail, tail + 1, memory_order_release);
    atomic_store_explicit(&lane->running, 0, memory_order_release);
    tell_owner(self);
}

void brood__lane_announce(struct lane_self *self, enum lane_state state, int open_error)
{
    atomic_store_explicit(&self->lane->open_error, open_error, memory_order_relaxed);
    atomic_store_explicit(&self->lane->state, state, memory_order_release);
    tell_owner(self);
}

uint64_t brood__lane_mail_take(struct lane_self *self)
{
    struct lane *lane = self->lane;
    uint32_t tail = atomic_load_explicit(&lane->mail_tail, memory_order_relaxed);
    uint64_t offset;

    if (tail == atomic_load_explicit(&lane->mail_head, memory_order_acquire))
        return 0;
    offset = atomic_load_explicit(&lane->mail[tail % MAIL_MAX], memory_order_relaxed);
    atomic_store_explicit(&lane->mail_tail, tail + 1, memory_order_release);
    return offset;
}
