/* SPDX-License-Identifier: MIT */
/*
 * The supervisor: the one thread that a pool adds to its program. It acts on what nobody waits
 * for: births and deaths (from the zygote's channel), deadlines and retries (the timer heap),
 * time and memory limits of running tasks, and the public event descriptors.
 *
 * It sleeps in one poll, without a time when nothing is limited, so an idle pool wakes nothing.
 * Whoever sets an earlier date pokes it through an eventfd. It works between helper_work_begin
 * and _end, so that a fork elsewhere in the program finds it at rest, and it touches no stdio.
 *
 * A running task's time is looked up where its lane notes it. A task that starts after a look
 * cannot be over its time before the shortest timeout in flight has passed again, so that is
 * the latest next look. In the same way, memory cannot be filled faster than the machine can
 * fault it in, which says when to look at a worker's size next.
 */
#include "base/clock.h"
#include "base/fault.h"
#include "run/pool.h"
#include "sys/kernel.h"
#include "sys/self.h"
#include "sys/usage.h"

#include <errno.h>

enum { LAST_WAIT_S = 2 };

static int64_t earlier(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

void brood__event_ring(int event)
{
    uint64_t one = 1;

    if (event >= 0)
        (void)brood__fd_write(event, &one, sizeof one);
}

void brood__event_clear(int event)
{
    uint64_t count;

    if (event >= 0)
        (void)brood__fd_read(event, &count, sizeof count);
}

void brood__supervisor_poke(struct brood_pool *pool, int64_t due)
{
    if (due >= pool->supervisor_due)
        return;
    pool->supervisor_due = due;
    brood__event_ring(pool->control);
}

void brood__pool_watch(struct brood_pool *pool)
{
    pool->watched = true;
    brood__event_ring(pool->control);
}

static void run_timer(struct brood_pool *pool, uint32_t slot)
{
    struct task *task = &pool->tasks[slot];

    if (task->stop != 0)
        brood__task_stop(pool, slot, (enum brood_cause)task->stop);
    else if (now_ns() >= task->deadline)
        brood__task_stop(pool, slot, BROOD_TIMED_OUT);
    else
        brood__task_publish(pool, slot);
}

/* All timers that are due; when the next one is. */
static int64_t run_timers(struct brood_pool *pool)
{
    int64_t now = now_ns();
    bool ran = false;
    uint32_t slot;

    while ((slot = brood__timers_first(pool)) != NO_SLOT &&
           brood__timers_due(&pool->tasks[slot]) <= now) {
        run_timer(pool, slot);
        ran = true;
    }
    if (ran) {
        int lane = brood__dispatch_wake_pick(&pool->dispatch);

        if (lane >= 0)
            brood__lane_wake(&pool->dispatch.view, (uint32_t)lane);
        brood__pool_wake_waiters(pool);
    }
    return slot == NO_SLOT ? NEVER : brood__timers_due(&pool->tasks[slot]);
}

/* Stops SLOT, which LANE runs, if it is over its time; else says when it will be. */
static int64_t check_time(struct brood_pool *pool, uint32_t lane, uint32_t slot)
{
    struct lane *l = &pool->dispatch.view.lanes[lane];
    struct task *task = &pool->tasks[slot];
    uint64_t progress = atomic_load(&l->progress);
    int64_t started = atomic_load(&l->started_ns);
    int64_t now = now_ns();

    if (task->timeout_ns == 0 || task->stop != 0)
        return NEVER;
    if (started > now)
        started = now;
    if (started + task->timeout_ns > now)
        return started + task->timeout_ns;
    if (atomic_load(&l->progress) == progress &&
        brood__dispatch_running(&pool->dispatch, lane) == slot) {
        pool->workers[lane].kill_progress = progress; /* the item that is meant */
        brood__task_stop(pool, slot, BROOD_TIMED_OUT);
    }
    return NEVER;
}

/* The same for its worker's memory. */
static int64_t check_memory(struct brood_pool *pool, uint32_t lane, uint32_t slot)
{
    struct worker *worker = &pool->workers[lane];
    int64_t now = now_ns();
    int64_t used;
    uint64_t growth;

    if (worker->pid <= 0)
        return NEVER;
    if (worker->memory_start >= 0 && now < worker->memory_due)
        return worker->memory_due;
    used = brood__usage_private(worker->pid);
    if (used < 0)
        return now + 1000000000;
    if (worker->memory_start < 0)
        worker->memory_start = pool->memory_base != 0 ? (int64_t)pool->memory_base : used;
    growth = used > worker->memory_start ? (uint64_t)(used - worker->memory_start) : 0;
    if (growth > worker->memory_peak)
        worker->memory_peak = growth;
    if (growth > pool->options.memory_max && slot != NO_SLOT)
        brood__task_stop(pool, slot, BROOD_OUT_OF_MEMORY);
    worker->memory_due = now + brood__usage_look_again_ns(growth >= pool->options.memory_max
                                                              ? 0
                                                              : pool->options.memory_max - growth);
    return worker->memory_due;
}

/* All limits of running tasks; when to look again. */
static int64_t check_limits(struct brood_pool *pool)
{
    bool by_memory = pool->options.memory_max != 0 && pool->in_flight > 0;
    int64_t due = NEVER;

    if (pool->timed == 0 && !by_memory)
        return NEVER;
    if (pool->timed > 0)
        due = now_ns() + pool->shortest_timeout_ns;
    for (uint32_t lane = 0; lane < pool->dispatch.view.shape.lanes; lane++) {
        uint32_t slot;

        if (pool->workers[lane].state != WORKER_ALIVE)
            continue;
        slot = brood__dispatch_running(&pool->dispatch, lane);
        if (slot != NO_SLOT)
            due = earlier(due, check_time(pool, lane, slot));
        if (by_memory)
            due = earlier(due, check_memory(pool, lane, slot));
    }
    return due;
}

/* Births that had to be put off. */
static int64_t run_births(struct brood_pool *pool)
{
    int64_t due = NEVER;

    for (uint32_t lane = 0; lane < pool->dispatch.view.shape.lanes; lane++) {
        struct worker *worker = &pool->workers[lane];

        if (worker->state != WORKER_NONE || worker->born_due == NEVER)
            continue;
        if (worker->born_due <= now_ns())
            brood__worker_ask(pool, lane);
        else
            due = earlier(due, worker->born_due);
    }
    return due;
}

static void hear_zygote(struct brood_pool *pool)
{
    struct zygote_event event;

    while (!pool->zygote_gone && brood__zygote_next(&pool->zygote, 0, &event) == 1)
        brood__pool_event(pool, &event);
}

static void hear_bell(struct brood_pool *pool)
{
    brood__event_clear(pool->bell);
    do {
        atomic_store(&pool->dispatch.view.control->bell_armed, 1);
        atomic_thread_fence(memory_order_seq_cst);
    } while (brood__pool_drain(pool) > 0);
}

static bool work(struct brood_pool *pool)
{
    int64_t due;
    bool go_on;

    brood__helper_work_begin();
    pool_lock(pool);
    brood__event_clear(pool->control);
    pool->supervisor_due = NEVER;
    hear_zygote(pool);
    due = run_timers(pool);
    due = earlier(due, check_limits(pool));
    due = earlier(due, run_births(pool));
    if (pool->watched)
        hear_bell(pool);
    pool->supervisor_due = earlier(pool->supervisor_due, due);
    go_on = pool->supervisor_runs;
    pool_unlock(pool);
    brood__helper_work_end();
    return go_on;
}

static void *supervise(void *argument)
{
    struct brood_pool *pool = argument;
    int ignored;

    (void)pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &ignored);
    brood__fault_role(ROLE_SUPERVISOR);
    while (work(pool)) {
        struct pollfd fds[3] = {
            {.fd = pool->control, .events = POLLIN},
            {.fd = pool->zygote_gone ? -1 : pool->zygote.channel, .events = POLLIN},
            {.fd = pool->bell, .events = POLLIN}};
        int64_t due;

        pool_lock(pool);
        due = pool->supervisor_due;
        pool_unlock(pool);
        (void)pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, &ignored);
        (void)brood__fd_wait(fds, 3, due);
        (void)pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &ignored);
    }
    return NULL;
}

int brood__supervisor_start(struct brood_pool *pool)
{
    sigset_t old;
    int r;

    if (BROOD_FAULT("pthread_create"))
        return -EAGAIN;
    brood__helper_started();
    pool->supervisor_runs = true;
    (void)brood__mask_block_all(&old);
    r = -pthread_create(&pool->supervisor, NULL, supervise, pool);
    brood__mask_restore(&old);
    if (r < 0) {
        pool->supervisor_runs = false;
        brood__helper_ended();
    }
    return r;
}

/* A program that closed all descriptors, ours too, has silenced the eventfd. The thread sleeps
 * then, and asleep it may be cancelled: it holds nothing. */
static void join_supervisor(struct brood_pool *pool)
{
    struct timespec end;

    (void)clock_gettime(CLOCK_REALTIME, &end);
    end.tv_sec += LAST_WAIT_S;
    if (pthread_timedjoin_np(pool->supervisor, NULL, &end) == 0)
        return;
    (void)pthread_cancel(pool->supervisor);
    (void)pthread_join(pool->supervisor, NULL);
}

void brood__supervisor_stop(struct brood_pool *pool)
{
    if (!pool->supervisor_runs)
        return;
    pool_lock(pool);
    pool->supervisor_runs = false;
    brood__event_ring(pool->control);
    pool_unlock(pool);
    join_supervisor(pool);
    brood__helper_ended();
}
