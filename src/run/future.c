/* SPDX-License-Identifier: MIT */
/*
 * Futures: the caller's record of one task and its result.
 *
 *     new --submit--> pending --the task ended--> ended --free, or callback done--> (again new)
 *
 * Everybody who asks about a task asks through one of these: a user's handle, a group, or a
 * callback that waits for its turn. The record is freed when neither the user nor the callback
 * holds it; the task itself goes on without.
 *
 * They come in slabs that belong to the pool and are never unmapped, so a freed handle can be
 * recognised for as long as the program runs. A future holds a reference on its pool, whose
 * memory (not its workers) stays until the last future is freed.
 */
#include "base/clock.h"
#include "base/memory.h"
#include "run/pool.h"
#include "sys/kernel.h"
#include "sys/self.h"

#include <errno.h>
#include <string.h>

static struct stable_list futures;

void brood__list_append(struct future_list_ends *list, struct brood_future *future)
{
    future->next = NULL;
    future->previous = list->last;
    if (list->last != NULL)
        list->last->next = future;
    else
        list->first = future;
    list->last = future;
}

void brood__list_remove(struct future_list_ends *list, struct brood_future *future)
{
    if (future->previous != NULL)
        future->previous->next = future->next;
    else
        list->first = future->next;
    if (future->next != NULL)
        future->next->previous = future->previous;
    else
        list->last = future->previous;
    future->previous = future->next = NULL;
}

struct brood_future *brood__future_new(struct brood_pool *pool)
{
    struct brood_future *future = pool->free_futures;

    if (future != NULL) {
        pool->free_futures = future->next;
        memset(future, 0, offsetof(struct brood_future, inline_data));
    } else {
        future = brood__stable_take(&futures, sizeof *future);
        if (future == NULL)
            return NULL;
    }
    future->pool = pool;
    future->slot = NO_SLOT;
    future->event = -1;
    future->magic = FUTURE_MAGIC;
    pool->refs++;
    return future;
}

/* Locked. What its result needed goes back; the record waits for its next use. */
void brood__future_release(struct brood_pool *pool, struct brood_future *future)
{
    future->magic = 0;
    if (future->heap_result != 0 && pool->heap != NULL) {
        brood__heap_give(pool->heap, future->heap_result);
        pool->room_serial++;
        (void)brood__memory_left(pool);
    }
    if (future->arena_result != 0)
        brood__arena_return(pool, future->lane, future->arena_result, future->result.len);
    if (future->heap_result != 0 || future->arena_result != 0)
        brood__pool_wake_waiters(pool);
    future->event = brood__fd_close(future->event);
    brood__free(future->report);
    future->report = NULL;
    future->next = pool->free_futures;
    pool->free_futures = future;
    pool->refs--;
}

/* Gives the kept records to later pools. */
void brood__futures_done(struct brood_pool *pool)
{
    while (pool->free_futures != NULL) {
        struct brood_future *future = pool->free_futures;

        pool->free_futures = future->next;
        brood__stable_give(&futures, future);
    }
}

static void set_outcome(const struct brood_pool *pool, const struct task *task,
                        const struct ending *ending, brood_outcome *outcome)
{
    outcome->verdict = brood__cause_verdict(ending);
    outcome->cause = ending->cause;
    outcome->code = ending->code;
    outcome->signal = ending->signal;
    outcome->attempts = task->attempt + (ending->lane >= 0);
    outcome->containment = pool->zygote.containment;
    outcome->quarantined = task->quarantined;
    outcome->wall_us = ending->wall_us;
    outcome->user_us = ending->user_us;
    outcome->system_us = ending->system_us;
    outcome->peak_rss = ending->peak_rss;
    outcome->report = ending->report;
}

/* Where the bytes are, and who must give them back. */
static void set_data(struct brood_pool *pool, struct brood_future *future, uint32_t slot,
                     const struct ending *ending)
{
    const struct slot *s = &pool->dispatch.view.slots[slot];
    struct task *task = &pool->tasks[slot];
    brood_result *result = &future->result;

    switch ((enum result_kind)ending->kind) {
    case RESULT_NONE:
        return;
    case RESULT_FIXED:
        result->len = task->out_size;
        if (task->out_block != 0) {
            future->heap_result = task->out_block;
            task->out_block = 0;
            result->data = pool->base + future->heap_result;
            return;
        }
        break;
    case RESULT_INLINE:
        result->len = ending->result_len;
        break;
    case RESULT_ARENA:
        result->len = ending->result_len;
        future->arena_result = ending->result;
        future->lane = (uint16_t)ending->lane;
        result->data = pool->base + ending->result;
        return;
    }
    memcpy(future->inline_data, s->inline_out, result->len);
    result->data = future->inline_data;
}

void brood__future_end(struct brood_pool *pool, uint32_t slot, const struct ending *ending)
{
    struct brood_future *future = pool->tasks[slot].future;

    set_outcome(pool, &pool->tasks[slot], ending, &future->result.outcome);
    future->result.verdict = future->result.outcome.verdict;
    future->report = ending->report;
    if (future->result.verdict >= 0)
        set_data(pool, future, slot, ending);
    future->slot = NO_SLOT;
    atomic_store_explicit(&future->ended, 1, memory_order_release);
    brood__event_ring(future->event);
    if (future->group != NULL) {
        brood__group_ended(future);
    } else if (future->held_by_callback) {
        brood__list_append(&pool->callbacks, future);
        brood__event_ring(pool->public_event);
    } else if (!future->held_by_user) {
        pool->unobserved_failed += future->result.verdict < 0;
        brood__future_release(pool, future);
    }
}

bool brood__future_ended(struct brood_pool *pool, const void *future)
{
    (void)pool;
    return atomic_load_explicit(&((const struct brood_future *)future)->ended,
                                memory_order_acquire) != 0;
}

static int check(const struct brood_future *future)
{
    if (future == NULL || future->magic != FUTURE_MAGIC || !future->held_by_user)
        return BROOD_EHANDLE;
    return future->pool->self == brood__self() ? 0 : BROOD_EFORKED;
}

int brood_future_wait(brood_future *future, int64_t timeout_ms, const brood_result **out_result)
{
    int r = check(future);

    if (r < 0)
        return r;
    if (!brood__future_ended(future->pool, future)) {
        pool_lock(future->pool);
        r = brood__pool_wait(future->pool, brood__future_ended, future, deadline_in(timeout_ms));
        pool_unlock(future->pool);
    }
    if (r == 0 && out_result != NULL)
        *out_result = &future->result;
    return r;
}

bool brood_future_ready(brood_future *future)
{
    if (check(future) < 0)
        return false;
    if (!brood__future_ended(future->pool, future)) {
        pool_lock(future->pool);
        (void)brood__pool_drain(future->pool);
        pool_unlock(future->pool);
    }
    return brood__future_ended(future->pool, future);
}

int brood_future_cancel(brood_future *future)
{
    struct brood_pool *pool;
    int r = check(future);

    if (r < 0)
        return r;
    pool = pool_lock(future->pool);
    (void)brood__pool_drain(pool);
    if (future->slot != NO_SLOT) {
        brood__task_stop(pool, future->slot, BROOD_CANCELLED);
        brood__pool_wake_waiters(pool);
        r = future->slot == NO_SLOT ? future->result.verdict == BROOD_ECANCELLED
                                    : pool->tasks[future->slot].stop == BROOD_CANCELLED;
    }
    pool_unlock(pool);
    return r;
}

/* The eventfd at EVENT, made at the first call; rung at once if READY. */
int brood__event_make(struct brood_pool *pool, int *event, bool ready)
{
    if (*event < 0) {
        int fd = brood__fd_event();

        if (fd < 0)
            return fd;
        *event = fd;
        brood__pool_watch(pool);
        if (ready)
            brood__event_ring(fd);
    }
    return *event;
}

int brood_future_fd(brood_future *future)
{
    struct brood_pool *pool;
    int r = check(future);

    if (r < 0)
        return r;
    pool = pool_lock(future->pool);
    (void)brood__pool_drain(pool);
    r = brood__event_make(pool, &future->event, brood__future_ended(pool, future));
    pool_unlock(pool);
    return r;
}

void brood_future_free(brood_future *future)
{
    struct brood_pool *pool;
    int saved = errno;

    if (check(future) < 0) /* in a forked child the memory is a copy: leave it */
        return;
    pool = future->pool;
    pool_lock(pool);
    if (!future->held_by_user) { /* another thread was first */
        pool_unlock(pool);
        return;
    }
    future->held_by_user = false;
    if (brood__future_ended(pool, future) && !future->held_by_callback)
        brood__future_release(pool, future);
    brood__pool_unref_unlock(pool);
    errno = saved;
}

/* Locked before and after, not while a callback runs. How many ran. */
int brood__callbacks_run(struct brood_pool *pool)
{
    int count = 0;

    while (pool->callbacks.first != NULL) {
        struct brood_future *future = pool->callbacks.first;

        brood__list_remove(&pool->callbacks, future);
        pool_unlock(pool);
        future->on_done(&future->result, future->on_done_context);
        pool_lock(pool);
        future->held_by_callback = false;
        if (!future->held_by_user)
            brood__future_release(pool, future);
        count++;
    }
    return count;
}
