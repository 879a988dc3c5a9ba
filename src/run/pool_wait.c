/* SPDX-License-Identifier: MIT */
/*
 * Waiting for something of a pool. Whoever waits also drains the done rings, for itself and for
 * everybody else, so a result needs no thread to carry it.
 *
 * A waiter spins for some microseconds first, because a result often comes sooner than a sleep
 * and a wake would take, then sleeps on one word that all waiters share. It is woken by a lane
 * that finished (which found owner_waits set), or by another thread of this process that ended
 * tasks while .waiters was not 0. The word is read before the last look, so no news is missed.
 */
#include "base/clock.h"
#include "ipc/spin.h"
#include "run/pool.h"
#include "sys/kernel.h"

#include <errno.h>

static bool has_news(const struct brood_pool *pool)
{
    const struct dispatch_view *view = &pool->dispatch.view;

    for (uint32_t i = 0; i < view->lane_words; i++)
        if (atomic_load_explicit(&view->control->finished[i], memory_order_relaxed) != 0)
            return true;
    return false;
}

/* Unlocked: looks for news for a while. */
static void spin(const struct brood_pool *pool)
{
    for (unsigned i = 0; i < pool->spins && !has_news(pool); i++)
        spin_pause(i);
}

/* Work that nobody fetches although a lane sleeps: whoever searches, and so keeps others from
 * being woken, may have been stopped. */
static void wake_one_more(struct brood_pool *pool)
{
    int lane = -1;

    if (brood__dispatch_has_ready(&pool->dispatch.view))
        lane = brood__dispatch_wake_idle(&pool->dispatch);
    if (lane >= 0)
        brood__lane_wake(&pool->dispatch.view, (uint32_t)lane);
}

/* Locked before and after; sleeps unless WORD has changed or a lane has news. */
static void sleep_on(struct brood_pool *pool, uint32_t word, int64_t deadline)
{
    struct dispatch_control *control = pool->dispatch.view.control;

    wake_one_more(pool);
    pool->waiters++;
    atomic_store(&control->owner_waits, 1);
    atomic_thread_fence(memory_order_seq_cst);
    if (!has_news(pool)) {
        pool_unlock(pool);
        (void)brood__futex_wait(&control->owner_word, word, deadline);
        pool_lock(pool);
    }
    pool->waiters--;
}

int brood__pool_wait(struct brood_pool *pool, pool_predicate *predicate, const void *context,
                     int64_t deadline)
{
    bool spun = pool->spins == 0;

    for (;;) {
        uint32_t word = atomic_load(&pool->dispatch.view.control->owner_word);

        (void)brood__pool_drain(pool);
        if (predicate(pool, context))
            return 0;
        if (deadline != NEVER && now_ns() >= deadline)
            return -ETIMEDOUT;
        if (spun) {
            sleep_on(pool, word, deadline);
            continue;
        }
        pool_unlock(pool);
        spin(pool);
        pool_lock(pool);
        spun = true;
    }
}

void brood__pool_wake_waiters(struct brood_pool *pool)
{
    struct dispatch_control *control = pool->dispatch.view.control;

    if (pool->waiters == 0)
        return;
    (void)atomic_fetch_add(&control->owner_word, 1);
    brood__futex_wake(&control->owner_word, UINT32_MAX);
}
