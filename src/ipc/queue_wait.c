/* SPDX-License-Identifier: MIT */
/*
 * Waiting at a queue: for a message, for room, for memory, for everything to be done.
 *
 *     look; look for some microseconds more; then
 *     forever:  arm the bell; look; sleep until it rings, somebody dies or joins, or time is over
 *
 * Whoever slept and then got what it wanted took a ring that was for one. It arms the bell again
 * for those who still sleep, and rings it if there is more already: a burst wakes all, one after
 * the other, and a ring that a dead sleeper took with it is made good by its death (ipc/roster.h).
 *
 * Time is looked at last, so that what came in time is taken: who gives up has looked after its
 * deadline, and took no ring with it that another would need. (A ring that arrived between that
 * look and now woke us from nothing: we did not sleep any more.)
 *
 * Deaths are told once for each handle to those who exchange messages, and once to those who join:
 * a thread that joins does not hear the news in place of the one that gets, for whom the descriptor
 * has become readable.
 *
 * A death leaves nothing here; what the dead were waiting for they do not have.
 */
#include "ipc/queue.h"

#include "base/clock.h"
#include "ipc/block.h"
#include "ipc/spin.h"
#include "sys/kernel.h"

#include <errno.h>

/* Mutants that the kill sweeps must catch. */
#define MUTANT_NO_SECOND_LOOK 16
#define MUTANT_NO_BATON 17
#ifndef BROOD_MUTANT
#define BROOD_MUTANT 0
#endif

/* Whoever was woken and is stopped before it looks keeps a ring that others sleep on for. They look
 * by themselves after so long. */
enum { DOZE_MS = 10000 };

/* ---- deaths ---- */

/* True once for each new death that those with this TOLD have not heard of, if the user wants to
 * know. */
static bool news_of_deaths(brood_queue *queue, _Atomic uint32_t *told)
{
    /* What was told first: so it cannot be later than what is known. */
    uint32_t heard = atomic_load(told);
    uint32_t deaths = brood__roster_deaths(queue->cells.roster);

    if (!queue->report_deaths || deaths == heard ||
        !atomic_compare_exchange_strong(told, &heard, deaths))
        return false;
    brood__queue_looked(queue); /* its descriptor need not tell them again */
    return true;
}

/* Time is over for one who exchanges messages: also who only tries is told of a death, once. */
static int late(brood_queue *queue)
{
    return news_of_deaths(queue, &queue->deaths_told) ? BROOD_EPEER : -ETIMEDOUT;
}

bool brood__queue_has_news(const brood_queue *queue)
{
    return queue->report_deaths &&
           brood__roster_deaths(queue->cells.roster) != atomic_load(&queue->deaths_told);
}

/* Sleeps on BELL, armed as WORD at MOMENT, if nobody died that those are to be told of who exchange
 * messages. */
static int sleep_unless_news(brood_queue *queue, const struct member *member, struct bell *bell,
                             uint32_t word, uint32_t moment, int64_t deadline)
{
    if (news_of_deaths(queue, &queue->deaths_told))
        return BROOD_EPEER;
    return brood__queue_doze(member, bell, word, moment, deadline);
}

int brood__queue_doze(const struct member *member, struct bell *bell, uint32_t word,
                      uint32_t moment, int64_t deadline)
{
    int64_t end = deadline_in(DOZE_MS);
    int r;

    if (end > deadline)
        end = deadline;
    r = brood__roster_sleep(member->roster, member->tag, &bell->word, word, moment, end);
    return r == -ETIMEDOUT && end != deadline ? 0 : r;
}

/* ---- room ---- */

static void pass_on_room(brood_queue *queue)
{
    struct bell *room = &queue->cells.shared->room;

    (void)brood__bell_arm(room);
    if (BROOD_MUTANT == MUTANT_NO_BATON)
        return;
    if (brood__cells_roomy(&queue->cells) || cells_closed(&queue->cells))
        bell_ring(room);
}

static int spin_put(brood_queue *queue, const struct member *member, struct cell_claim *claim)
{
    int r = -EAGAIN;

    for (unsigned i = 0; i < queue->spins && r == -EAGAIN; i++) {
        spin_pause(i);
        r = brood__cells_put(&queue->cells, member->tag, claim);
    }
    return r;
}

static int sleep_put(brood_queue *queue, const struct member *member, int64_t deadline,
                     struct cell_claim *claim)
{
    struct bell *room = &queue->cells.shared->room;

    for (bool slept = false;; slept = true) {
        uint32_t moment = brood__roster_moment(member->roster);
        uint32_t word = brood__bell_arm(room);
        int r = brood__cells_put(&queue->cells, member->tag, claim);

        if (r != -EAGAIN) {
            /* Also if it was closed: the ring of the close was not for those whom an earlier one
             * had left without a flag. */
            if (slept)
                pass_on_room(queue);
            return r;
        }
        if (left_ns(deadline) == 0)
            return late(queue);
        r = sleep_unless_news(queue, member, room, word, moment, deadline);
        if (r < 0 && r != -ETIMEDOUT)
            return r;
    }
}

int brood__queue_claim(brood_queue *queue, const struct member *member, int64_t deadline,
                       struct cell_claim *claim)
{
    int r = brood__cells_put(&queue->cells, member->tag, claim);

    if (r != -EAGAIN)
        return r;
    if (left_ns(deadline) == 0)
        return late(queue);
    r = spin_put(queue, member, claim);
    return r != -EAGAIN ? r : sleep_put(queue, member, deadline, claim);
}

/* ---- messages ---- */

/* What was got, 0 at the end, -EAGAIN or an error. Closed is looked at first: then nothing comes
 * behind our scan. */
static int look(brood_queue *queue, const struct member *member, const struct fetch *fetch)
{
    bool closed = cells_closed(&queue->cells);
    bool pending = false;
    int r;

    if (fetch->to != NULL)
        r = brood__cells_copy(&queue->cells, fetch->to, queue->item_size, fetch->count, &pending);
    else
        r = brood__cells_get(&queue->cells, member->tag, fetch->claim, &pending);
    if (r == -EAGAIN)
        return closed && !pending ? 0 : -EAGAIN;
    return r == 0 ? 1 : r;
}

static void pass_on_filled(brood_queue *queue)
{
    struct bell *filled = &queue->cells.shared->filled;

    (void)brood__bell_arm(filled);
    if (BROOD_MUTANT == MUTANT_NO_BATON)
        return;
    if (brood__cells_ready(&queue->cells) || cells_closed(&queue->cells))
        bell_ring(filled);
}

static int spin_get(brood_queue *queue, const struct member *member, const struct fetch *fetch)
{
    int r = -EAGAIN;

    for (unsigned i = 0; i < queue->spins && r == -EAGAIN; i++) {
        spin_pause(i);
        r = look(queue, member, fetch);
    }
    return r;
}

static int sleep_get(brood_queue *queue, const struct member *member, const struct fetch *fetch,
                     int64_t deadline)
{
    struct bell *filled = &queue->cells.shared->filled;

    for (bool slept = false;; slept = true) {
        uint32_t moment = brood__roster_moment(member->roster);
        uint32_t word = brood__bell_arm(filled);
        int r = -EAGAIN;

        if (BROOD_MUTANT != MUTANT_NO_SECOND_LOOK || slept)
            r = look(queue, member, fetch);
        if (r != -EAGAIN) {
            if (slept)
                pass_on_filled(queue);
            return r;
        }
        if (left_ns(deadline) == 0)
            return late(queue);
        r = sleep_unless_news(queue, member, filled, word, moment, deadline);
        if (r < 0 && r != -ETIMEDOUT)
            return r;
    }
}

int brood__queue_fetch(brood_queue *queue, const struct member *member, const struct fetch *fetch,
                       int64_t deadline)
{
    int r = look(queue, member, fetch);

    if (r != -EAGAIN)
        return r;
    if (left_ns(deadline) == 0)
        return late(queue);
    r = spin_get(queue, member, fetch);
    return r != -EAGAIN ? r : sleep_get(queue, member, fetch, deadline);
}

/* ---- memory ----
 *
 * Who wants several chunks and gives the first back, because another was faster with the next,
 * tells nobody: all who wait would do so in turn, and never sleep. One who needs less than that
 * looks when the next message is done, or after DOZE_MS. */

/* What blocks there may be besides the root. Waiting for more would have no end. */
static uint64_t memory_of(const brood_queue *queue)
{
    const struct region *region = queue->region;
    uint64_t root_len = brood__block_len(region, region->root);
    uint64_t len = (uint64_t)region->chunk_count << region->chunk_shift;

    return len > root_len ? len - root_len : 0;
}

int brood__queue_block(brood_queue *queue, const struct member *member, size_t len,
                       int64_t deadline, uint64_t *out_offset)
{
    struct bell *memory = &queue->shared->memory;
    int r;

    if (len > memory_of(queue))
        return -EMSGSIZE;
    r = brood__block_take(queue->region, member->tag, len, out_offset);
    if (r == -ENOMEM)
        brood__queue_ring_memory(queue); /* what we had for a moment is free again */
    while (r == -EAGAIN) {
        uint32_t moment = brood__roster_moment(member->roster);
        uint32_t word = brood__bell_arm(memory);

        /* All who wait here are woken at once: they want different things. */
        r = brood__block_take(queue->region, member->tag, len, out_offset);
        if (r == -ENOMEM)
            brood__queue_ring_memory(queue); /* what we had for a moment is free again */
        if (r != -EAGAIN)
            return r;
        if (cells_closed(&queue->cells))
            return BROOD_ECLOSED;
        if (left_ns(deadline) == 0)
            return late(queue);
        r = sleep_unless_news(queue, member, memory, word, moment, deadline);
        if (r < 0 && r != -ETIMEDOUT)
            return r;
        r = -EAGAIN;
    }
    return r;
}

/* ---- everything ---- */

int brood_queue_join(brood_queue *queue, int64_t timeout_ms)
{
    int64_t deadline = deadline_in(timeout_ms);
    const struct member *member;
    struct bell *done;
    uint64_t end;
    int r = brood__queue_enter(queue, &member);

    if (r < 0)
        return r;
    done = &queue->cells.shared->done;
    end = brood__cells_end(&queue->cells);
    for (bool slept = false;; slept = true) {
        uint32_t moment = brood__roster_moment(member->roster);
        uint32_t word = brood__bell_arm(done);

        if (brood__cells_passed_all(&queue->cells, end)) {
            /* There may be others, and they may wait for no more than we did. */
            if (slept)
                brood__bell_ring_slow(done, INT32_MAX);
            return 0;
        }
        if (news_of_deaths(queue, &queue->deaths_joins))
            return BROOD_EPEER;
        if (left_ns(deadline) == 0)
            return -ETIMEDOUT;
        r = brood__queue_doze(member, done, word, moment, deadline);
        if (r < 0 && r != -ETIMEDOUT)
            return r;
    }
}
