/* SPDX-License-Identifier: MIT */
/*
 * Map: one function over an array, in chunks that are ordinary tasks with a range.
 *
 *     array:  [done ........][chunk][chunk][chunk][not yet emitted ............]
 *
 * The caller's thread emits chunks ahead of the lanes (two for each) and waits. A chunk is a
 * quarter of a lane's share of what is left, so the last ones are small; what measured items
 * cost sets the smallest worth sending.
 *
 * An item that fails ends the attempt of its chunk, whether it returned an error or died: the
 * items before it are final, it has failed (or is tried again), and the same task goes on
 * behind it. The lane notes how far it is before each item, so nothing is done twice.
 *
 * Arrays in the pool's memory are used in place. Others are copied chunk by chunk, input when
 * emitted, output when the whole chunk is over.
 */
#include "base/clock.h"
#include "base/memory.h"
#include "base/reserved.h"
#include "run/pool.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

enum { CHUNK_NS = 50000, CHUNK_COPY_LEN = 256 * 1024, AHEAD = 2 };

struct map_run {
    struct brood_pool *pool;
    uint64_t fn;
    brood_in in;
    brood_out out;
    const brood_map_options *options;
    size_t next; /* first item not emitted */
    uint32_t outstanding;
    uint64_t failed;
    int error;      /* why the rest cannot run */
    bool cancelled; /* by stop_on_fail */
    bool in_place, out_in_place;
    double item_ns;                   /* as measured, or 0 */
    struct future_list_ends failures; /* for on_fail */
};

static const brood_map_options no_options;

/* ---- failures ---- */

static void note_failure(struct map_run *run, uint32_t slot, const struct ending *ending)
{
    const struct task *task = &run->pool->tasks[slot];
    int verdict = brood__cause_verdict(ending);
    struct brood_future *future;

    run->failed++;
    if (run->options->verdicts != NULL)
        run->options->verdicts[task->index] = verdict;
    if (!run->out_in_place && run->out.items != NULL)
        memset(run->pool->base + task->out, 0, run->out.item_size);
    if (run->options->stop_on_fail)
        run->cancelled = true;
    if (ending->cause == BROOD_CANCELLED) /* called off: nobody needs to be told one by one */
        return;
    future = run->options->on_fail == NULL ? NULL : brood__future_new(run->pool);
    if (future == NULL)
        return;
    future->result.verdict = verdict;
    future->result.index = task->index;
    future->result.outcome =
        (brood_outcome){.verdict = verdict,
                        .cause = ending->cause,
                        .code = ending->code,
                        .signal = ending->signal,
                        .attempts = task->attempt + (ending->lane >= 0),
                        .containment = run->pool->zygote.containment,
                        .quarantined = brood__died(ending) && task->attempt < run->options->retries,
                        .wall_us = ending->wall_us,
                        .peak_rss = ending->peak_rss};
    if (ending->report != NULL)
        future->report = brood__copy_string(ending->report);
    future->result.outcome.report = future->report;
    brood__list_append(&run->failures, future);
}

/* Tells the caller, in its thread and unlocked. */
static void tell_failures(struct map_run *run)
{
    while (run->failures.first != NULL) {
        struct brood_future *future = run->failures.first;

        brood__list_remove(&run->failures, future);
        pool_unlock(run->pool);
        run->options->on_fail(&future->result, run->options->on_fail_context);
        pool_lock(run->pool);
        brood__future_release(run->pool, future);
    }
}

/* ---- chunks ---- */

/* ITEMS of the chunk are behind it. */
static void advance(const struct map_run *run, struct task *task, uint32_t items)
{
    task->index += items;
    task->count -= items;
    task->in += run->in.items == NULL ? 0 : items * run->in.item_size;
    task->in_len = task->count * run->in.item_size;
    task->out += run->out.items == NULL ? 0 : items * run->out.item_size;
    task->out_size = task->count * run->out.item_size;
}

/* The chunk is over: its output, the slot and its blocks go where they belong. */
static void finish_chunk(struct map_run *run, uint32_t slot)
{
    const struct task *task = &run->pool->tasks[slot];

    if (task->out_block != 0) {
        uint64_t done = task->out - task->out_block;
        char *to = (char *)run->out.items + task->index * run->out.item_size - done;

        memcpy(to, run->pool->base + task->out_block, done);
    }
    run->outstanding--;
    brood__task_give(run->pool, slot);
}

static void fail_items(struct map_run *run, uint32_t slot, uint32_t items,
                       const struct ending *ending)
{
    for (uint32_t i = 0; i < items; i++) {
        note_failure(run, slot, ending);
        advance(run, &run->pool->tasks[slot], 1);
    }
}

static void measure(struct map_run *run, const struct ending *ending, uint32_t items)
{
    double each = (double)ending->wall_us * 1000.0 / (items == 0 ? 1 : items) + 0.01;

    if (ending->lane >= 0 && ending->cause == BROOD_RETURNED && each >= 0)
        run->item_ns = run->item_ns == 0 ? each : (3 * run->item_ns + each) / 4;
}

/* Whether the item (or range) that failed gets another attempt. */
static bool again(struct map_run *run, struct task *task, const struct ending *ending)
{
    if (!brood__died(ending) || task->attempt >= run->options->retries ||
        task->attempt + 1 >= run->pool->options.strikes_max)
        return false;
    task->attempt++;
    run->pool->retried++;
    return true;
}

static bool over_for_good(const struct map_run *run, const struct ending *ending)
{
    return ending->cause == BROOD_CANCELLED || ending->cause == BROOD_LOST || run->cancelled;
}

/* Publishes and wakes a lane: the one that brought it back may sleep by now. */
static void go_on(struct brood_pool *pool, uint32_t slot)
{
    int lane;

    brood__task_publish(pool, slot);
    lane = brood__dispatch_wake_pick(&pool->dispatch);
    if (lane >= 0)
        brood__lane_wake(&pool->dispatch.view, (uint32_t)lane);
}

void brood__map_chunk_ended(struct brood_pool *pool, uint32_t slot, const struct ending *ending)
{
    struct task *task = &pool->tasks[slot];
    struct map_run *run = task->map;
    bool items = (task->flags & SLOT_ITEMS) != 0;
    bool well = ending->cause == BROOD_RETURNED && ending->code >= 0;
    uint32_t done = well ? task->count : 0;
    const struct ending cancelled = {.cause = BROOD_CANCELLED, .lane = -1};

    if (items && !well && ending->items_done <= task->count) /* all: it died just after the last */
        done = (uint32_t)ending->items_done;
    measure(run, ending, done + !well);
    if (done > 0) {
        advance(run, task, done);
        task->attempt = 0;
    }
    task->stop = 0;
    if (!well && task->count > 0 && ending->cause != BROOD_PENDING && !again(run, task, ending)) {
        fail_items(run, slot, items ? 1 : task->count, ending);
        task->attempt = 0;
    }
    brood__free(ending->report);
    if (task->count > 0 && over_for_good(run, ending))
        fail_items(run, slot, task->count, run->cancelled ? &cancelled : ending);
    pool->succeeded += task->count == 0;
    if (task->count > 0)
        go_on(pool, slot);
    else
        finish_chunk(run, slot);
}

static size_t chunk_items(const struct map_run *run)
{
    size_t lanes = run->pool->dispatch.view.shape.lanes;
    size_t left = run->in.count - run->next;
    size_t least = run->in.count / (16 * lanes) + 1;
    size_t items = left / (4 * lanes);
    size_t item_len = run->in_place ? 0 : run->in.item_size;

    if (run->item_ns > 0)
        least = run->item_ns >= CHUNK_NS ? 1 : (size_t)(CHUNK_NS / run->item_ns);
    if (!run->out_in_place && run->out.item_size > item_len)
        item_len = run->out.item_size;
    if (items < least)
        items = least;
    if (item_len > 0 && items > CHUNK_COPY_LEN / item_len)
        items = CHUNK_COPY_LEN / item_len;
    if (items > UINT32_MAX)
        items = UINT32_MAX;
    if (items == 0)
        items = 1;
    return items < left ? items : left;
}

static int place_input(struct map_run *run, struct task *task, size_t items)
{
    const char *from = (const char *)run->in.items + run->next * run->in.item_size;
    int r;

    task->in_len = items * run->in.item_size;
    if (task->in_len == 0)
        return 0;
    if (run->in_place) {
        task->in = (uint64_t)(from - run->pool->base);
        return 0;
    }
    r = brood__pool_block_take(run->pool, task->in_len, &task->in_block);
    if (r == 0) {
        task->in = task->in_block;
        memcpy(run->pool->base + task->in, from, task->in_len);
    }
    return r;
}

static int place_output(struct map_run *run, struct task *task, size_t items)
{
    const char *to = (const char *)run->out.items + run->next * run->out.item_size;
    int r;

    task->out_size = items * run->out.item_size;
    if (task->out_size == 0)
        return 0;
    task->flags |= SLOT_FIXED;
    if (run->out_in_place) {
        task->out = (uint64_t)(to - run->pool->base);
        return 0;
    }
    r = brood__pool_block_take(run->pool, task->out_size, &task->out_block);
    task->out = task->out_block;
    if (r == 0)
        memset(run->pool->base + task->out, 0, task->out_size);
    return r;
}

/* Sends the next chunk. -EAGAIN: no room now. */
static int emit(struct map_run *run)
{
    struct brood_pool *pool = run->pool;
    size_t items = chunk_items(run);
    uint32_t slot = brood__task_take(pool);
    struct task *task;
    int r;

    if (slot == NO_SLOT)
        return pool->in_flight == 0 ? -ENOMEM : -EAGAIN;
    task = &pool->tasks[slot];
    r = place_input(run, task, items);
    if (r == 0)
        r = place_output(run, task, items);
    if (r < 0) {
        brood__task_give(pool, slot);
        return r == -EAGAIN && pool->in_flight == 0 ? -ENOMEM : r;
    }
    task->map = run;
    task->fn = run->fn;
    task->ring = 1;
    task->index = run->next;
    task->count = (uint32_t)items;
    task->flags |= run->options->ranges ? 0 : SLOT_ITEMS;
    task->timeout_ns = brood__limit_ns(run->options->timeout_ms);
    if (task->timeout_ns != 0)
        task->flags |= SLOT_TIMED;
    run->next += items;
    run->outstanding++;
    pool->submitted++;
    brood__task_watch(pool, slot);
    go_on(pool, slot);
    return 0;
}

/* What stop_on_fail calls off: chunks that no lane has yet. */
static void revoke_queued(struct map_run *run)
{
    const struct ending cancelled = {.cause = BROOD_CANCELLED, .lane = -1};
    struct brood_pool *pool = run->pool;

    for (uint32_t slot = 0; slot < pool->tasks_max; slot++)
        if (pool->tasks[slot].map == run && pool->tasks[slot].state == TASK_QUEUED &&
            brood__dispatch_revoke(&pool->dispatch, slot))
            brood__map_chunk_ended(pool, slot, &cancelled);
}

/* ---- the caller ---- */

/* Items that were never sent. */
static void fail_rest(struct map_run *run, int verdict)
{
    for (; run->next < run->in.count; run->next++) {
        run->failed++;
        if (run->options->verdicts != NULL)
            run->options->verdicts[run->next] = verdict;
    }
}

static bool has_changed(struct brood_pool *pool, const void *context)
{
    return pool->room_serial != *(const uint32_t *)context;
}

static void emit_ahead(struct map_run *run)
{
    uint32_t ahead = AHEAD * run->pool->dispatch.view.shape.lanes;
    int r = 0;

    while (r == 0 && run->next < run->in.count && run->outstanding < ahead && run->error == 0) {
        if (run->cancelled) {
            fail_rest(run, BROOD_ECANCELLED);
            return;
        }
        r = run->pool->broken != 0 ? BROOD_ELOST : emit(run);
    }
    if (r < 0 && r != -EAGAIN)
        run->error = r;
}

static int run_map(struct map_run *run)
{
    struct brood_pool *pool = run->pool;

    for (;;) {
        uint32_t seen;

        emit_ahead(run);
        seen = pool->room_serial; /* after the attempt, which itself gives back what it took */
        if (run->cancelled)
            revoke_queued(run);
        tell_failures(run);
        if (run->outstanding == 0 && (run->next == run->in.count || run->error != 0))
            break;
        if (pool->room_serial == seen)
            (void)brood__pool_wait(pool, has_changed, &seen, NEVER);
    }
    tell_failures(run);
    if (run->error == 0 && pool->broken != 0 && run->failed > 0)
        run->error = BROOD_ELOST;
    if (run->error != 0) {
        fail_rest(run, run->error);
        return run->error;
    }
    return run->failed > INT_MAX ? INT_MAX : (int)run->failed;
}

static int check_arrays(const brood_in *in, const brood_out *out, const brood_map_options *options)
{
    if (!reserved_are_zero(options->reserved))
        return -EINVAL;
    if (in->items == NULL && in->item_size > 0 && in->count > 0)
        return -EINVAL;
    if (out->items != NULL && (out->count < in->count || out->item_size == 0))
        return -EINVAL;
    if (in->item_size != 0 && in->count > SIZE_MAX / 2 / in->item_size)
        return -EINVAL;
    if (out->item_size != 0 && out->count > SIZE_MAX / 2 / out->item_size)
        return -EINVAL;
    return 0;
}

int brood_pool_map(brood_pool *pool, brood_task_fn *fn, brood_in in, brood_out out,
                   const brood_map_options *options)
{
    struct map_run run = {.pool = pool, .in = in, .out = out, .options = options};
    int r = brood__pool_check(pool);

    if (r < 0)
        return r;
    if (options == NULL)
        run.options = &no_options;
    r = fn == NULL ? -EINVAL : check_arrays(&in, &out, run.options);
    if (r < 0)
        return r;
    if (out.items == NULL)
        run.out = BROOD_NO_OUT;
    if (run.options->verdicts != NULL)
        memset(run.options->verdicts, 0, in.count * sizeof *run.options->verdicts);
    pool_lock(pool);
    run.in_place = in.items != NULL && brood__pool_owns(pool, in.items, in.count * in.item_size);
    run.out_in_place =
        out.items != NULL && brood__pool_owns(pool, out.items, in.count * out.item_size);
    r = pool->closed ? BROOD_ECLOSED : brood__pool_function(pool, fn, &run.fn);
    if (r == 0) {
        pool->maps++;
        r = run_map(&run);
        pool->maps--;
        brood__pool_wind_down(pool);
    }
    pool_unlock(pool);
    return r;
}
