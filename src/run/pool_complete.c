/* SPDX-License-Identifier: MIT */
/*
 * The end of a task: from the done ring of a lane to whoever asked for the result.
 *
 * What a lane wrote is copied once, checked, and then believed: a result must lie inside the
 * memory that this life of the lane was given. A lane whose words make no sense is killed, and
 * its task ends like any task whose worker died.
 *
 * A result is where it was made: up to 64 bytes in the slot, copied into the future; a fixed
 * size in a heap block that goes from the task to the future; anything else in the lane's
 * arena, held until the future is freed.
 */
#include "base/memory.h"
#include "run/pool.h"

#include <errno.h>
#include <signal.h>
#include <string.h>

int brood__cause_verdict(const struct ending *ending)
{
    switch (ending->cause) {
    case BROOD_RETURNED:
    case BROOD_NOT_STARTED:
        return ending->code;
    case BROOD_EXITED:
    case BROOD_SIGNALLED:
        return BROOD_ECRASHED;
    case BROOD_TIMED_OUT:
        return BROOD_EDEADLINE;
    case BROOD_CANCELLED:
        return BROOD_ECANCELLED;
    case BROOD_OUT_OF_MEMORY:
        return BROOD_EMEMORY;
    case BROOD_PENDING:
    case BROOD_LOST:
        break;
    }
    return BROOD_ELOST;
}

bool brood__died(const struct ending *ending)
{
    return ending->cause == BROOD_SIGNALLED || ending->cause == BROOD_EXITED ||
           ending->cause == BROOD_TIMED_OUT || ending->cause == BROOD_OUT_OF_MEMORY;
}

/* The lane learns that a result came back; what its mailbox does not hold waits here. If not
 * even that has room, the lane leaves after its task: its whole arena goes with it. */
static void send_back(struct brood_pool *pool, uint32_t lane, uint64_t offset)
{
    struct worker *worker = &pool->workers[lane];

    while (worker->unsent_count > 0 &&
           brood__lane_mail(&pool->dispatch.view, lane, worker->unsent[worker->unsent_count - 1]))
        worker->unsent_count--;
    if (worker->unsent_count == 0 && brood__lane_mail(&pool->dispatch.view, lane, offset))
        return;
    if (worker->unsent_count == worker->unsent_room) {
        size_t room = worker->unsent_room == 0 ? 64 : 2 * worker->unsent_room;
        uint64_t *more = brood__realloc(worker->unsent, room * sizeof *more);

        if (more == NULL) {
            atomic_store(&pool->dispatch.view.lanes[lane].stop, 1);
            return;
        }
        worker->unsent = more;
        worker->unsent_room = room;
    }
    worker->unsent[worker->unsent_count++] = offset;
}

uint64_t brood__memory_left(struct brood_pool *pool)
{
    uint64_t used = brood__heap_used(pool->heap) + pool->results_held;
    uint64_t left = used < pool->options.heap_max ? pool->options.heap_max - used : 0;

    atomic_store_explicit(&pool->dispatch.view.control->memory_left, left, memory_order_relaxed);
    return left;
}

int brood__pool_block_take(struct brood_pool *pool, uint64_t len, uint64_t *out_offset)
{
    int r;

    if (len <= pool->options.heap_max && len > brood__memory_left(pool))
        return -EAGAIN;
    r = brood__heap_take(pool->heap, len, out_offset);
    (void)brood__memory_left(pool);
    return r;
}

void brood__arena_return(struct brood_pool *pool, uint32_t lane, uint64_t offset, uint64_t len)
{
    pool->results_held -= len;
    pool->room_serial++;
    if (pool->heap != NULL)
        (void)brood__memory_left(pool);
    if (pool->workers != NULL && brood__arena_span_release(&pool->workers[lane].span, offset))
        send_back(pool, lane, offset);
}

/* What the user does not get goes back at once. */
static void drop_result(struct brood_pool *pool, const struct ending *ending)
{
    if (ending->kind == RESULT_ARENA)
        brood__arena_return(pool, (uint32_t)ending->lane, ending->result, ending->result_len);
}

void brood__task_end(struct brood_pool *pool, uint32_t slot, const struct ending *ending)
{
    struct task *task = &pool->tasks[slot];
    bool well = brood__cause_verdict(ending) >= 0;

    if (task->map != NULL) {
        drop_result(pool, ending); /* a map's results are its array of outputs */
        brood__map_chunk_ended(pool, slot, ending);
        return;
    }
    pool->succeeded += well;
    pool->failed += !well;
    if (task->future != NULL) {
        brood__future_end(pool, slot, ending);
    } else {
        pool->unobserved_failed += !well;
        drop_result(pool, ending);
        brood__free(ending->report);
    }
    brood__task_give(pool, slot);
}

/* Reads what the lane wrote, once. False: it cannot be true. */
static bool read_result(struct brood_pool *pool, uint32_t slot, uint32_t lane,
                        struct ending *out_ending)
{
    const struct slot *s = &pool->dispatch.view.slots[slot];
    struct ending ending = {.cause = BROOD_RETURNED,
                            .code = s->verdict,
                            .items_done = s->items_done,
                            .wall_us = s->wall_ns / 1000,
                            .user_us = s->user_us,
                            .system_us = s->system_us,
                            .peak_rss = s->peak_rss,
                            .kind = s->kind,
                            .result = s->result,
                            .result_len = s->result_len,
                            .lane = (int)lane};

    *out_ending = ending;
    if (((pool->tasks[slot].flags & SLOT_FIXED) != 0) != (ending.kind == RESULT_FIXED))
        return false;
    switch (ending.kind) {
    case RESULT_NONE:
    case RESULT_FIXED:
        return true;
    case RESULT_INLINE:
        return ending.result_len <= INLINE_OUT_MAX;
    case RESULT_ARENA:
        if (!brood__arena_span_hold(&pool->workers[lane].span, ending.result, ending.result_len))
            return false;
        pool->results_held += ending.result_len;
        (void)brood__memory_left(pool);
        return true;
    default:
        return false;
    }
}

/* A lane brought SLOT back. */
static void take_result(struct brood_pool *pool, uint32_t slot, uint32_t lane, bool *out_broken)
{
    struct ending ending;

    if (!read_result(pool, slot, lane, &ending)) {
        *out_broken = true;
        ending.cause = BROOD_LOST;
        ending.kind = RESULT_NONE;
    }
    if (pool->tasks[slot].stop == BROOD_CANCELLED || ending.code < 0) {
        drop_result(pool, &ending);
        ending.kind = RESULT_NONE;
    }
    if (pool->tasks[slot].stop == BROOD_CANCELLED)
        ending.cause = BROOD_CANCELLED;
    brood__task_end(pool, slot, &ending);
}

static unsigned drain_lane(struct brood_pool *pool, uint32_t lane)
{
    bool broken = false;
    unsigned count = 0;
    uint32_t slot;

    while (brood__dispatch_drain(&pool->dispatch, lane, &slot, &broken)) {
        take_result(pool, slot, lane, &broken);
        count++;
    }
    if (atomic_load(&pool->dispatch.view.lanes[lane].state) == LANE_READY)
        pool->failed_births = 0;
    if (broken)
        brood__worker_signal(&pool->workers[lane], SIGKILL);
    return count;
}

unsigned brood__pool_drain(struct brood_pool *pool)
{
    unsigned count = 0;

    for (uint32_t i = 0; i < pool->dispatch.view.lane_words; i++) {
        uint64_t bits = brood__dispatch_take_finished(&pool->dispatch, i);

        for (; bits != 0; bits &= bits - 1)
            count += drain_lane(pool, i * 64 + (uint32_t)__builtin_ctzll(bits));
    }
    if (count > 0)
        brood__pool_wake_waiters(pool);
    return count;
}
