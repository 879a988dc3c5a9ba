/* SPDX-License-Identifier: MIT */
/*
 * Stopping tasks: cancel, deadline, timeout, memory limit.
 *
 * A task that waits ends at once. A queued one is revoked, which is a race with the lanes that
 * one CAS decides. A running one is killed with its worker, through the kill fence of
 * dispatch.h, so that no other task can be hit. Between a lane's claim and its start the task
 * can be neither revoked nor killed: it is marked, and the supervisor tries again soon; whatever
 * result it brings meanwhile is dropped if the cause is a cancel.
 *
 * The first cause stays, but for a cancel, which comes over all others.
 */
#include "base/clock.h"
#include "run/pool.h"
#include "sys/kernel.h"

enum { TRY_AGAIN_NS = 500000 };

void brood__worker_signal(struct worker *worker, int signo)
{
    if (worker->pidfd >= 0)
        (void)brood__pidfd_signal(worker->pidfd, signo);
}

static void end_stopped(struct brood_pool *pool, uint32_t slot, enum brood_cause cause)
{
    const struct ending ending = {.cause = cause, .lane = -1};

    brood__task_end(pool, slot, &ending);
}

/* The fence holds: LANE runs SLOT and will start nothing else. */
static void kill_worker(struct brood_pool *pool, uint32_t lane, uint32_t slot)
{
    struct worker *worker = &pool->workers[lane];

    worker->state = WORKER_KILLED;
    worker->kill_id = brood__dispatch_id(&pool->dispatch, slot);
    brood__worker_signal(worker, SIGKILL);
    (void)brood__pidfd_signal(pool->zygote.pidfd, SIGCONT); /* it must run to tell of the death */
}

static bool kill_running(struct brood_pool *pool, uint32_t slot)
{
    int lane = brood__dispatch_lane_of(&pool->dispatch, slot);

    if (lane >= 0 && pool->workers[lane].kill_id == brood__dispatch_id(&pool->dispatch, slot))
        return true; /* it is being killed for this already */
    if (lane < 0 || pool->workers[lane].state != WORKER_ALIVE ||
        !brood__dispatch_kill(&pool->dispatch, (uint32_t)lane, slot))
        return false;
    kill_worker(pool, (uint32_t)lane, slot);
    return true;
}

void brood__task_stop(struct brood_pool *pool, uint32_t slot, enum brood_cause cause)
{
    struct task *task = &pool->tasks[slot];

    if (task->state == TASK_FREE || task->state == TASK_FILLING)
        return;
    if (task->stop == 0 || cause == BROOD_CANCELLED) /* which also forbids further attempts */
        task->stop = (int32_t)cause;
    if (task->state == TASK_WAITING || brood__dispatch_revoke(&pool->dispatch, slot)) {
        end_stopped(pool, slot, (enum brood_cause)task->stop);
        return;
    }
    if (brood__dispatch_lane_of(&pool->dispatch, slot) < 0) {
        /* Neither ready nor taken: a task wrote over the words by which tasks are found, and nobody
         * can tell who has which. All end as lost. */
        (void)brood__pidfd_signal(pool->zygote.pidfd, SIGKILL);
        return;
    }
    task->due = kill_running(pool, slot) ? NEVER : now_ns() + TRY_AGAIN_NS;
    brood__timers_set(pool, slot);
    brood__supervisor_poke(pool, task->due);
}

bool brood__pool_is_over(const struct brood_pool *pool)
{
    return pool->closed && pool->in_flight == 0 && pool->maps == 0;
}

void brood__pool_wind_down(struct brood_pool *pool)
{
    if (!brood__pool_is_over(pool) || pool->stopping)
        return;
    for (uint32_t lane = 0; lane < pool->dispatch.view.shape.lanes; lane++) {
        atomic_store(&pool->dispatch.view.lanes[lane].stop, 1);
        brood__lane_wake(&pool->dispatch.view, lane);
    }
}
