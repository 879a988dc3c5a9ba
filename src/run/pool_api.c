/* SPDX-License-Identifier: MIT */
/*
 * The rest of a pool's public face: its memory, join and dispatch, and what it tells about
 * itself. Callbacks of the user run here, in the thread that asked, without the lock.
 */
#include "base/clock.h"
#include "run/pool.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

void *brood_pool_alloc(brood_pool *pool, size_t len)
{
    uint64_t offset;
    int r;

    if (brood__pool_check(pool) < 0)
        return NULL;
    pool_lock(pool);
    (void)brood__pool_drain(pool);
    r = brood__pool_block_take(pool, len, &offset);
    pool_unlock(pool);
    return r < 0 ? NULL : memset(pool->base + offset, 0, len);
}

void brood_pool_release(brood_pool *pool, void *memory)
{
    uint64_t start;

    if (memory == NULL || brood__pool_check(pool) < 0)
        return;
    pool_lock(pool);
    if (brood__pool_owns(pool, memory, 0) &&
        brood__heap_has(pool->heap, (uint64_t)((char *)memory - pool->base), 0, &start) &&
        pool->base + start == (char *)memory) {
        brood__heap_give(pool->heap, start);
        pool->room_serial++;
        (void)brood__memory_left(pool);
        brood__pool_wake_waiters(pool);
    }
    pool_unlock(pool);
}

static bool idle_or_callbacks(struct brood_pool *pool, const void *context)
{
    (void)context;
    return pool->in_flight == 0 || pool->callbacks.first != NULL;
}

int brood_pool_join(brood_pool *pool, int64_t timeout_ms)
{
    int64_t deadline = deadline_in(timeout_ms);
    int r = brood__pool_check(pool);

    if (r < 0)
        return r;
    pool_lock(pool);
    do {
        r = brood__pool_wait(pool, idle_or_callbacks, NULL, deadline);
        (void)brood__callbacks_run(pool);
    } while (r == 0 && pool->in_flight > 0);
    if (r == 0)
        r = pool->unobserved_failed > INT_MAX ? INT_MAX : (int)pool->unobserved_failed;
    pool_unlock(pool);
    return r;
}

int brood_pool_fd(brood_pool *pool)
{
    int r = brood__pool_check(pool);

    if (r < 0)
        return r;
    pool_lock(pool);
    (void)brood__pool_drain(pool);
    r = brood__event_make(pool, &pool->public_event, pool->callbacks.first != NULL);
    pool_unlock(pool);
    return r;
}

int brood_pool_dispatch(brood_pool *pool)
{
    int r = brood__pool_check(pool);

    if (r < 0)
        return r;
    pool_lock(pool);
    brood__event_clear(pool->public_event);
    (void)brood__pool_drain(pool);
    r = brood__callbacks_run(pool);
    pool_unlock(pool);
    return r;
}

int brood_pool_stats_get(brood_pool *pool, brood_pool_stats *out_stats)
{
    int r = brood__pool_check(pool);

    if (r < 0)
        return r;
    if (out_stats == NULL)
        return -EINVAL;
    pool_lock(pool);
    (void)brood__pool_drain(pool);
    *out_stats = (brood_pool_stats){.submitted = pool->submitted,
                                    .succeeded = pool->succeeded,
                                    .failed = pool->failed,
                                    .retried = pool->retried,
                                    .worker_deaths = pool->deaths,
                                    .workers = pool->alive,
                                    .containment = pool->zygote.containment,
                                    .heap_used = brood__heap_used(pool->heap) + pool->results_held};
    pool_unlock(pool);
    return 0;
}

int brood_pool_pids(brood_pool *pool, int *out, size_t max)
{
    int count = 0;
    int r = brood__pool_check(pool);

    if (r < 0)
        return r;
    if (out == NULL && max > 0)
        return -EINVAL;
    pool_lock(pool);
    for (uint32_t i = 0; i < pool->options.workers; i++) {
        if (pool->workers[i].state == WORKER_NONE || pool->workers[i].state == WORKER_ASKED ||
            pool->workers[i].pid <= 0) /* unknown; a 0 given to kill() would mean ourselves */
            continue;
        if ((size_t)count < max)
            out[count] = pool->workers[i].pid;
        count++;
    }
    pool_unlock(pool);
    return count;
}
