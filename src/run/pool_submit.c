/* SPDX-License-Identifier: MIT */
/*
 * Giving a pool a task: find room, copy the input, publish.
 *
 * Two budgets hold back a caller that is faster than the workers: slots (backlog_max) and bytes
 * of the heap (heap_max). Whoever finds no room drains and waits until something ends. When
 * nothing is under way that could free memory, waiting would be for ever, so it is -ENOMEM.
 *
 * A large input is copied without the lock: its slot and block are taken by then, and nobody
 * else knows of them.
 */
#include "base/clock.h"
#include "base/memory.h"
#include "base/reserved.h"
#include "run/pool.h"
#include "sys/kernel.h"

#include <errno.h>
#include <string.h>

enum { COPY_UNLOCKED_LEN = 32 * 1024 };

static const brood_task_options no_options;

static bool options_ok(const brood_task_options *options)
{
    return reserved_are_zero(options->reserved) && options->priority >= -1 &&
           options->priority <= 1;
}

static unsigned ring_of(const brood_task_options *options)
{
    return (unsigned)(1 - options->priority);
}

int brood__pool_function(struct brood_pool *pool, brood_task_fn *fn, uint64_t *out_there)
{
    uintptr_t there;
    int r;

    if (fn != pool->last_fn) {
        r = brood__zygote_function(&pool->zygote, (uintptr_t)fn, &there);
        if (r < 0)
            return r;
        pool->last_fn = fn;
        pool->last_fn_there = there;
    }
    *out_there = pool->last_fn_there;
    return 0;
}

uint32_t brood__task_take(struct brood_pool *pool)
{
    uint32_t slot = pool->free_slot;

    if (slot == NO_SLOT && brood__pool_more_slots(pool) == 0)
        slot = pool->free_slot;
    if (slot == NO_SLOT)
        return NO_SLOT;
    pool->free_slot = pool->tasks[slot].next_free;
    pool->tasks[slot] =
        (struct task){.state = TASK_FILLING, .timer = NO_TIMER, .deadline = NEVER, .due = NEVER};
    pool->in_flight++;
    return slot;
}

void brood__task_give(struct brood_pool *pool, uint32_t slot)
{
    struct task *task = &pool->tasks[slot];

    if (task->in_block != 0)
        brood__heap_give(pool->heap, task->in_block);
    if (task->out_block != 0)
        brood__heap_give(pool->heap, task->out_block);
    if (task->timeout_ns != 0 && --pool->timed == 0)
        pool->shortest_timeout_ns = NEVER;
    task->state = TASK_FREE;
    brood__timers_set(pool, slot);
    task->next_free = pool->free_slot;
    pool->free_slot = slot;
    pool->in_flight--;
    pool->room_serial++;
    if (task->in_block != 0 || task->out_block != 0)
        (void)brood__memory_left(pool);
    brood__pool_wind_down(pool);
}

static void fill_slot(struct brood_pool *pool, uint32_t slot)
{
    const struct task *task = &pool->tasks[slot];
    struct slot *s = &pool->dispatch.view.slots[slot];

    s->fn = task->fn;
    s->in = task->in;
    s->in_len = task->in_len;
    s->out = task->out;
    s->out_size = task->out_size;
    s->index = task->index;
    s->count = task->count;
    s->flags = task->flags;
    s->attempt = task->attempt;
}

void brood__task_publish(struct brood_pool *pool, uint32_t slot)
{
    struct task *task = &pool->tasks[slot];

    fill_slot(pool, slot);
    if (brood__dispatch_publish(&pool->dispatch, slot, task->ring)) {
        task->state = TASK_QUEUED;
        task->due = NEVER;
    } else { /* cancelled cells fill the ring: lanes walk over them soon */
        task->state = TASK_WAITING;
        task->due = now_ns() + 1000000;
    }
    if (task->timer != NO_TIMER || brood__timers_due(task) != NEVER) {
        brood__timers_set(pool, slot);
        brood__supervisor_poke(pool, brood__timers_due(task));
    }
}

void brood__task_watch(struct brood_pool *pool, uint32_t slot)
{
    struct task *task = &pool->tasks[slot];

    if (task->timeout_ns != 0) {
        pool->timed++;
        if (task->timeout_ns < pool->shortest_timeout_ns)
            pool->shortest_timeout_ns = task->timeout_ns;
        brood__supervisor_poke(pool, now_ns() + task->timeout_ns);
    }
    if (pool->options.memory_max != 0 && pool->supervisor_due == NEVER)
        brood__supervisor_poke(pool, now_ns());
}

/* The input: by reference, in the slot, or in a block. */
static int place_input(struct brood_pool *pool, uint32_t slot, const void *in, size_t in_len)
{
    struct task *task = &pool->tasks[slot];
    char *copy = (char *)pool->dispatch.view.slots[slot].inline_in;
    int r;

    task->in_len = in_len;
    if (in_len == 0)
        return 0;
    if (brood__pool_owns(pool, in, in_len)) {
        task->in = (uint64_t)((const char *)in - pool->base);
        return 0;
    }
    if (in_len > INLINE_IN_MAX) {
        r = brood__pool_block_take(pool, in_len, &task->in_block);
        if (r < 0)
            return r;
        task->in = task->in_block;
        copy = pool->base + task->in;
    }
    if (in_len < COPY_UNLOCKED_LEN) {
        memcpy(copy, in, in_len);
        return 0;
    }
    pool_unlock(pool);
    memcpy(copy, in, in_len);
    pool_lock(pool);
    return pool->closed ? BROOD_ECLOSED : pool->broken != 0 ? BROOD_ELOST : 0;
}

static int place_output(struct brood_pool *pool, uint32_t slot, size_t out_size)
{
    struct task *task = &pool->tasks[slot];
    int r;

    if (out_size == 0)
        return 0;
    task->flags |= SLOT_FIXED;
    task->out_size = out_size;
    if (out_size <= INLINE_OUT_MAX)
        return 0;
    r = brood__pool_block_take(pool, out_size, &task->out_block);
    task->out = task->out_block;
    return r;
}

/* One try. -EAGAIN: no room now. */
static int try_place(struct brood_pool *pool, const struct submission *submission,
                     uint32_t *out_slot)
{
    uint32_t slot;
    int r;

    if (pool->closed)
        return BROOD_ECLOSED;
    if (pool->broken != 0)
        return BROOD_ELOST;
    r = brood__pool_ring(pool, ring_of(submission->options));
    if (r < 0)
        return r;
    if (pool->free_slot == NO_SLOT)
        (void)brood__pool_drain(pool);
    slot = brood__task_take(pool);
    if (slot == NO_SLOT)
        return pool->in_flight == 0 ? -ENOMEM : -EAGAIN;
    r = place_output(pool, slot, submission->options->out_size);
    if (r == 0)
        r = place_input(pool, slot, submission->in, submission->in_len);
    if (r < 0) {
        brood__task_give(pool, slot);
        return r == -EAGAIN && pool->in_flight == 0 ? -ENOMEM : r;
    }
    *out_slot = slot;
    return 0;
}

static bool room_changed(struct brood_pool *pool, const void *serial)
{
    return pool->room_serial != *(const uint32_t *)serial || pool->closed || pool->broken != 0;
}

static int place(struct brood_pool *pool, const struct submission *submission, uint32_t *out_slot)
{
    int64_t wait_ms = submission->options->room_wait_ms;
    int64_t deadline = wait_ms > 0 ? deadline_in(wait_ms) : NEVER;

    for (;;) {
        int r = try_place(pool, submission, out_slot);
        uint32_t serial = pool->room_serial;

        if (r != -EAGAIN || wait_ms < 0)
            return r;
        r = brood__pool_wait(pool, room_changed, &serial, deadline);
        if (r < 0)
            return r;
    }
}

/* A duration that can be added to any moment; 0: none, or so long that it is none. */
int64_t brood__limit_ns(int64_t limit_ms)
{
    return limit_ms > 0 && limit_ms < NEVER / 4 / 1000000 ? limit_ms * 1000000 : 0;
}

static void take_options(struct brood_pool *pool, uint32_t slot, const brood_task_options *options)
{
    struct task *task = &pool->tasks[slot];

    task->ring = (uint8_t)ring_of(options);
    task->attempts_max = options->retries == UINT32_MAX ? UINT32_MAX : options->retries + 1;
    task->timeout_ns = brood__limit_ns(options->timeout_ms);
    if (options->retry_delay_ms > 0) /* uncountable: in centuries */
        task->retry_delay_ns = brood__limit_ns(options->retry_delay_ms) != 0
                                   ? brood__limit_ns(options->retry_delay_ms)
                                   : NEVER / 4;
    if (options->deadline_ms > 0)
        task->deadline = deadline_in(options->deadline_ms);
}

static void take_future(struct brood_pool *pool, uint32_t slot, const struct submission *submission,
                        struct brood_future *future)
{
    const brood_task_options *options = submission->options;

    pool->tasks[slot].future = future;
    future->slot = slot;
    future->held_by_user = submission->wants_future;
    future->on_done = options->on_done;
    future->on_done_context = options->on_done_context;
    future->held_by_callback = options->on_done != NULL;
    future->result.tag = options->tag;
    if (submission->group != NULL) {
        future->group = submission->group;
        future->result.index = submission->group->submitted++;
        submission->group->untaken++;
        brood__list_append(&submission->group->live, future);
        pool->tasks[slot].index = future->result.index;
    }
}

static int submit_locked(struct brood_pool *pool, const struct submission *submission,
                         struct brood_future **out_future)
{
    struct brood_future *future = NULL;
    uint64_t there;
    uint32_t slot;
    int r = brood__pool_function(pool, submission->fn, &there);

    if (r < 0)
        return r;
    if (submission->wants_future || submission->group != NULL ||
        submission->options->on_done != NULL) {
        future = brood__future_new(pool);
        if (future == NULL)
            return -ENOMEM;
    }
    r = place(pool, submission, &slot);
    if (r < 0) {
        if (future != NULL)
            brood__future_release(pool, future);
        return r;
    }
    pool->tasks[slot].fn = there;
    pool->tasks[slot].count = 1;
    take_options(pool, slot, submission->options);
    if (future != NULL)
        take_future(pool, slot, submission, future);
    pool->submitted++;
    brood__task_watch(pool, slot);
    brood__task_publish(pool, slot);
    if (out_future != NULL)
        *out_future = future;
    return 0;
}

int brood__pool_submit(struct brood_pool *pool, const struct submission *submission,
                       struct brood_future **out_future)
{
    struct submission checked = *submission;
    int lane = -1;
    int r;

    if (checked.options == NULL)
        checked.options = &no_options;
    if (checked.fn == NULL || (checked.in == NULL && checked.in_len > 0) ||
        !options_ok(checked.options))
        return -EINVAL;
    pool_lock(pool);
    r = submit_locked(pool, &checked, out_future);
    if (r == 0)
        lane = brood__dispatch_wake_pick(&pool->dispatch);
    pool_unlock(pool);
    if (lane >= 0)
        brood__lane_wake(&pool->dispatch.view, (uint32_t)lane);
    return r;
}

int brood_pool_submit(brood_pool *pool, brood_task_fn *fn, const void *in, size_t in_len,
                      const brood_task_options *options, brood_future **out_future)
{
    const struct submission submission = {.fn = fn,
                                          .in = in,
                                          .in_len = in_len,
                                          .options = options,
                                          .wants_future = out_future != NULL};
    int r = brood__pool_check(pool);

    return r < 0 ? r : brood__pool_submit(pool, &submission, out_future);
}

int brood_pool_apply(brood_pool *pool, brood_task_fn *fn, const void *in, size_t in_len, void *out,
                     size_t out_size)
{
    const brood_task_options options = {.out_size = out_size};
    const brood_result *result;
    brood_future *future;
    int r;

    if (out == NULL && out_size > 0)
        return -EINVAL;
    r = brood_pool_submit(pool, fn, in, in_len, &options, &future);
    if (r < 0)
        return r;
    r = brood_future_wait(future, BROOD_FOREVER, &result);
    if (r == 0) {
        r = result->verdict;
        if (r >= 0 && out_size > 0)
            memcpy(out, result->data, out_size);
    }
    brood_future_free(future);
    return r;
}
