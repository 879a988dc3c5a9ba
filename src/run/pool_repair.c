/* SPDX-License-Identifier: MIT */
/*
 * Births and deaths of workers.
 *
 *     NONE --ask--> ASKED --born--> ALIVE --the kill fence holds--> KILLED
 *       ^             |               |                               |
 *       +--stillborn--+-----died------+-------------died--------------+
 *
 * A worker is dead when the zygote says so: it has waited for it, so its last store is done and
 * what it started is gone. Then, under the lock: take what it had finished; name the task that
 * it ran; end or retry that one; queue again what it had claimed and not begun, silently; make
 * the lane new and ask for the next worker; wake whoever the dead one should have woken.
 *
 * Which cause a task gets when its worker died: the one it was killed for, if it is the task
 * that the kill was for and still in the same call; out of memory if the kernel says so, or if
 * an allocation had just failed under a memory limit; else the signal or exit status.
 *
 * Workers that die before they are ready are a storm in the making: after a few in a row, with
 * growing pauses, the pool is broken and says why, unless other workers still live.
 */
#include "base/clock.h"
#include "base/memory.h"
#include "run/pool.h"
#include "run/worker.h"
#include "sys/crash.h"
#include "sys/kernel.h"
#include "sys/self.h"

#include <errno.h>
#include <sys/wait.h>

enum { BIRTHS_FAILED_MAX = 8, BIRTH_PAUSE_NS = 2000000, LAST_MS = 1000 };

void brood__worker_ask(struct brood_pool *pool, uint32_t lane)
{
    struct worker *worker = &pool->workers[lane];
    struct zygote_birth birth = {.entry = ZYGOTE_WORKER};
    int r;

    if (worker->state != WORKER_NONE || pool->stopping || pool->broken != 0 ||
        brood__pool_is_over(pool))
        return;
    worker->born_due = NEVER;
    r = brood__arena_span_begin(&worker->span, &worker->arena_start, &worker->arena_len);
    if (r == 0) {
        birth.id = worker->birth = (++pool->births << 12) | lane;
        r = brood__worker_ask_birth(pool, lane, &birth);
    }
    if (r == 0) {
        worker->unsent_count = 0; /* of the life before */
        worker->state = WORKER_ASKED;
        return;
    }
    worker->born_due = now_ns() + BIRTH_PAUSE_NS;
    brood__supervisor_poke(pool, worker->born_due);
}

/* After a pause that grows with the number of failures. */
static void ask_later(struct brood_pool *pool, uint32_t lane)
{
    struct worker *worker = &pool->workers[lane];

    worker->born_due =
        now_ns() + ((int64_t)BIRTH_PAUSE_NS << (pool->failed_births < 9 ? pool->failed_births : 9));
    brood__supervisor_poke(pool, worker->born_due);
}

/* A birth came to nothing. */
static void birth_failed(struct brood_pool *pool, uint32_t lane, int error)
{
    pool->failed_births++;
    pool->birth_error = error;
    if (!pool->opened)
        return; /* brood_pool_new() fails */
    if (pool->failed_births >= BIRTHS_FAILED_MAX && pool->alive == 0) {
        brood__pool_break(pool, error);
        return;
    }
    ask_later(pool, lane);
}

static void forget_life(struct brood_pool *pool, uint32_t lane)
{
    struct worker *worker = &pool->workers[lane];

    pool->alive -= worker->state == WORKER_ALIVE || worker->state == WORKER_KILLED;
    worker->state = WORKER_NONE;
    brood__private_remove(worker->pidfd);
    worker->pidfd = brood__fd_close(worker->pidfd);
    worker->kill_id = 0;
    worker->memory_start = -1;
    worker->memory_peak = 0;
    worker->unsent_count = 0;
}

static enum brood_cause cause_of(const struct zygote_event *event)
{
    if (event->reason == ZYGOTE_BY_KERNEL_OOM || event->reason == ZYGOTE_BY_MEMORY)
        return BROOD_OUT_OF_MEMORY;
    if (event->kind != ZYGOTE_DIED)
        return BROOD_LOST;
    return WIFSIGNALED(event->status) ? BROOD_SIGNALLED : BROOD_EXITED;
}

/* Whether LANE was killed for the task that SLOT holds; not for an earlier one in the same slot,
 * which had ended just before the kill. */
static bool was_aimed_at(const struct brood_pool *pool, uint32_t lane, uint32_t slot)
{
    return pool->workers[lane].kill_id == brood__dispatch_id(&pool->dispatch, slot);
}

/* What is known of the end of the task that LANE ran. */
static struct ending ending_of(struct brood_pool *pool, uint32_t lane, uint32_t slot,
                               const struct zygote_event *event)
{
    struct lane *l = &pool->dispatch.view.lanes[lane];
    struct crash_record *record = brood__pool_crash(pool, lane);
    const struct task *task = &pool->tasks[slot];
    struct ending ending = {.cause = cause_of(event), .lane = (int)lane};
    int64_t started = atomic_load(&l->started_ns);
    int crash_signal, crash_errno;

    if (event->kind == ZYGOTE_DIED && WIFSIGNALED(event->status))
        ending.signal = WTERMSIG(event->status);
    if (event->kind == ZYGOTE_DIED && WIFEXITED(event->status))
        ending.code = WEXITSTATUS(event->status);
    if (started > 0 && started <= now_ns())
        ending.wall_us = (now_ns() - started) / 1000;
    ending.peak_rss = event->peak_rss;
    ending.items_done = atomic_load(&l->progress);
    if (task->stop == BROOD_CANCELLED || (task->stop != 0 && was_aimed_at(pool, lane, slot)))
        ending.cause = (enum brood_cause)task->stop;
    else if (brood__crash_seen(record, &crash_signal, &crash_errno)) {
        if (crash_errno == ENOMEM && pool->options.memory_max != 0)
            ending.cause = BROOD_OUT_OF_MEMORY;
        if (task->future != NULL || task->map != NULL)
            ending.report = brood__crash_report(record);
    }
    return ending;
}

/* The attempt is over and with it its worker: again, or that was it. */
static void attempt_died(struct brood_pool *pool, uint32_t slot, const struct ending *ending)
{
    struct task *task = &pool->tasks[slot];
    bool left = task->attempt + 1 < task->attempts_max && now_ns() < task->deadline;

    task->strikes++;
    if (task->map != NULL || !left || !brood__died(ending) ||
        task->strikes >= pool->options.strikes_max) {
        task->quarantined = left && brood__died(ending);
        brood__task_end(pool, slot, ending);
        return;
    }
    brood__free(ending->report);
    pool->retried++;
    task->attempt++;
    task->stop = 0;
    if (task->retry_delay_ns == 0) {
        brood__task_publish(pool, slot);
        return;
    }
    task->state = TASK_WAITING;
    task->due = now_ns() + task->retry_delay_ns;
    brood__timers_set(pool, slot);
    brood__supervisor_poke(pool, brood__timers_due(task));
}

/* It had not begun, or its call is not the one that the kill was for: nobody needs to know. */
static void queue_again(struct brood_pool *pool, uint32_t slot)
{
    struct task *task = &pool->tasks[slot];

    if (task->stop == BROOD_CANCELLED || (task->stop != 0 && now_ns() >= task->deadline)) {
        const struct ending ending = {.cause = (enum brood_cause)task->stop, .lane = -1};

        brood__task_end(pool, slot, &ending);
        return;
    }
    task->stop = 0;
    brood__task_publish(pool, slot);
}

/* Whether the kill of LANE was for an item of SLOT that is over by now. */
static bool kill_missed(const struct brood_pool *pool, uint32_t lane, uint32_t slot)
{
    const struct worker *worker = &pool->workers[lane];

    return pool->tasks[slot].stop == BROOD_TIMED_OUT && was_aimed_at(pool, lane, slot) &&
           (pool->tasks[slot].flags & SLOT_ITEMS) != 0 &&
           atomic_load(&pool->dispatch.view.lanes[lane].progress) != worker->kill_progress;
}

static void task_of_dead(struct brood_pool *pool, uint32_t lane, uint32_t slot, bool ran,
                         const struct zygote_event *event)
{
    bool parked = pool->workers[lane].kill_id != 0 && !was_aimed_at(pool, lane, slot);
    struct ending ending;

    brood__dispatch_take_back(&pool->dispatch, slot);
    if (!ran || parked) {
        queue_again(pool, slot);
        return;
    }
    ending = ending_of(pool, lane, slot, event);
    if (kill_missed(pool, lane, slot))
        ending.cause = BROOD_PENDING; /* a chunk of a map: it goes on at this item */
    attempt_died(pool, slot, &ending);
}

static void end_life(struct brood_pool *pool, uint32_t lane, const struct zygote_event *event)
{
    uint32_t running = brood__dispatch_running(&pool->dispatch, lane);

    for (uint32_t slot = 0; slot < pool->tasks_max; slot++)
        if (pool->tasks[slot].state == TASK_QUEUED &&
            brood__dispatch_lane_of(&pool->dispatch, slot) == (int)lane)
            task_of_dead(pool, lane, slot, slot == running, event);
    brood__crash_clear(brood__pool_crash(pool, lane));
    brood__lane_reset(&pool->dispatch, lane);
    forget_life(pool, lane);
}

/* The dead may have swallowed a wake that was meant for work or for a waiter. */
static void heal_wakes(struct brood_pool *pool)
{
    brood__dispatch_heal_heads(&pool->dispatch);
    brood__dispatch_heal(&pool->dispatch.view);
    brood__pool_wake_waiters(pool);
}

/* Results of a lane are there though it died before it could say so. */
static void look_at_lane(struct brood_pool *pool, uint32_t lane)
{
    (void)atomic_fetch_or(&pool->dispatch.view.control->finished[lane / 64],
                          (uint64_t)1 << (lane % 64));
}

static void worker_died(struct brood_pool *pool, uint32_t lane, const struct zygote_event *event)
{
    struct lane *l = &pool->dispatch.view.lanes[lane];
    uint32_t state, open_error;
    bool watched = pool->workers[lane].pidfd >= 0; /* else it was sent away for that */
    bool in_order = WIFEXITED(event->status) && WEXITSTATUS(event->status) == 0;

    look_at_lane(pool, lane);
    (void)brood__pool_drain(pool);
    state = atomic_load(&l->state);
    open_error = (uint32_t)atomic_load(&l->open_error);
    in_order = in_order && state == LANE_LEAVING;
    pool->deaths += !in_order && state != LANE_FAILED;
    end_life(pool, lane, event);
    if (state == LANE_FAILED)
        birth_failed(pool, lane, (int)open_error < 0 ? (int)open_error : BROOD_ECRASHED);
    else if (state == LANE_EMPTY)
        birth_failed(pool, lane, BROOD_ECRASHED);
    else if (watched)
        brood__worker_ask(pool, lane);
    else
        ask_later(pool, lane);
    heal_wakes(pool);
}

static void worker_born(struct brood_pool *pool, uint32_t lane, const struct zygote_event *event)
{
    struct worker *worker = &pool->workers[lane];

    worker->state = WORKER_ALIVE;
    worker->pidfd = event->pidfd;
    if (event->pidfd >= 0)
        (void)brood__private_add(event->pidfd);
    worker->pid = event->pid;
    worker->memory_start = -1;
    pool->alive++;
    if (event->pidfd < 0) { /* what cannot be killed must leave */
        pool->failed_births++;
        pool->birth_error = event->error;
        atomic_store(&pool->dispatch.view.lanes[lane].stop, 1);
        brood__lane_wake(&pool->dispatch.view, lane);
    }
    if (brood__dispatch_has_ready(&pool->dispatch.view))
        brood__lane_wake(&pool->dispatch.view, lane);
    brood__pool_wake_waiters(pool);
}

/* No task can run any more: end them all, and say why. */
void brood__pool_break(struct brood_pool *pool, int error)
{
    const struct zygote_event gone = {.kind = ZYGOTE_GONE};
    const struct ending lost = {.cause = BROOD_LOST, .code = error, .lane = -1};

    pool->broken = error;
    for (uint32_t lane = 0; lane < pool->dispatch.view.shape.lanes; lane++)
        look_at_lane(pool, lane);
    (void)brood__pool_drain(pool);
    for (uint32_t lane = 0; lane < pool->dispatch.view.shape.lanes; lane++)
        if (pool->workers[lane].state != WORKER_NONE)
            end_life(pool, lane, &gone);
    for (uint32_t slot = 0; slot < pool->tasks_max; slot++) {
        struct task *task = &pool->tasks[slot];

        if (task->state == TASK_FREE || task->state == TASK_FILLING)
            continue;
        if (task->state == TASK_QUEUED)
            brood__dispatch_take_back(&pool->dispatch, slot);
        brood__task_end(pool, slot, &lost);
    }
    brood__pool_wake_waiters(pool);
}

static void kill_with_group(struct brood_pool *pool, uint32_t lane)
{
    if (pool->zygote.containment != BROOD_CONTAIN_CHILD && pool->workers[lane].pidfd >= 0)
        (void)brood__pidfd_signal_group(pool->workers[lane].pidfd, SIGKILL);
    brood__worker_signal(&pool->workers[lane], SIGKILL);
}

/* The zygote's children die with it, but a moment later, and not if they changed their user. Then
 * nobody writes any more into memory that is given back. */
static void kill_rest(struct brood_pool *pool)
{
    int64_t deadline = deadline_in(LAST_MS);

    for (uint32_t lane = 0; lane < pool->dispatch.view.shape.lanes; lane++)
        kill_with_group(pool, lane);
    for (uint32_t lane = 0; lane < pool->dispatch.view.shape.lanes; lane++) {
        struct pollfd fd = {.fd = pool->workers[lane].pidfd, .events = POLLIN};

        if (fd.fd >= 0)
            (void)brood__fd_wait(&fd, 1, deadline);
    }
}

void brood__pool_event(struct brood_pool *pool, const struct zygote_event *event)
{
    uint32_t lane = (uint32_t)(event->id & 0xfff);
    bool ours = lane < pool->dispatch.view.shape.lanes && pool->workers[lane].birth == event->id;

    switch ((enum zygote_event_kind)event->kind) {
    case ZYGOTE_BORN:
        if (ours)
            worker_born(pool, lane, event);
        else
            brood__fd_close(event->pidfd);
        break;
    case ZYGOTE_STILLBORN:
        if (ours) {
            pool->workers[lane].state = WORKER_NONE;
            birth_failed(pool, lane, event->error);
            brood__pool_wake_waiters(pool);
        }
        break;
    case ZYGOTE_DIED:
        if (ours)
            worker_died(pool, lane, event);
        break;
    case ZYGOTE_GONE:
        pool->zygote_gone = true;
        kill_rest(pool);
        brood__pool_break(pool, BROOD_ELOST);
        break;
    }
}
