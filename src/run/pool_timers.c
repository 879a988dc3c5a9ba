/* SPDX-License-Identifier: MIT */
/*
 * When the supervisor must look at which task: a binary heap of slots by due time. A task is in
 * it at most once, at the moment its retry is due or its deadline is over, whatever is first.
 * The heap has room for every slot from the start, so setting a timer cannot fail.
 */
#include "base/clock.h"
#include "base/memory.h"
#include "run/pool.h"

#include <errno.h>

int brood__timers_init(struct pool_timers *timers, uint32_t slots)
{
    timers->slots = brood__alloc_zeroed(slots, sizeof *timers->slots);
    timers->count = 0;
    return timers->slots == NULL ? -ENOMEM : 0;
}

void brood__timers_done(struct pool_timers *timers)
{
    brood__free(timers->slots);
    timers->slots = NULL;
    timers->count = 0;
}

/* WAITING tasks and those that could not be stopped yet are due at .due. */
int64_t brood__timers_due(const struct task *task)
{
    int64_t due = NEVER;

    if (task->state == TASK_FREE)
        return NEVER;
    if (task->state == TASK_WAITING || task->stop != 0)
        due = task->due;
    return task->stop == 0 && task->deadline < due ? task->deadline : due;
}

static void place(struct brood_pool *pool, uint32_t at, uint32_t slot)
{
    pool->timers.slots[at] = slot;
    pool->tasks[slot].timer = at;
}

static int64_t due_at(const struct brood_pool *pool, uint32_t at)
{
    return brood__timers_due(&pool->tasks[pool->timers.slots[at]]);
}

static void sift_up(struct brood_pool *pool, uint32_t at)
{
    uint32_t slot = pool->timers.slots[at];
    int64_t due = brood__timers_due(&pool->tasks[slot]);

    while (at > 0 && due_at(pool, (at - 1) / 2) > due) {
        place(pool, at, pool->timers.slots[(at - 1) / 2]);
        at = (at - 1) / 2;
    }
    place(pool, at, slot);
}

static void sift_down(struct brood_pool *pool, uint32_t at)
{
    uint32_t slot = pool->timers.slots[at];
    int64_t due = brood__timers_due(&pool->tasks[slot]);

    for (;;) {
        uint32_t child = 2 * at + 1;

        if (child >= pool->timers.count)
            break;
        if (child + 1 < pool->timers.count && due_at(pool, child + 1) < due_at(pool, child))
            child++;
        if (due_at(pool, child) >= due)
            break;
        place(pool, at, pool->timers.slots[child]);
        at = child;
    }
    place(pool, at, slot);
}

void brood__timers_set(struct brood_pool *pool, uint32_t slot)
{
    struct task *task = &pool->tasks[slot];
    uint32_t at = task->timer;
    bool wanted = brood__timers_due(task) != NEVER;

    if (at == NO_TIMER && !wanted)
        return;
    if (at == NO_TIMER) {
        at = pool->timers.count++;
        place(pool, at, slot);
    } else if (!wanted) {
        uint32_t last = pool->timers.slots[--pool->timers.count];

        task->timer = NO_TIMER;
        if (last == slot)
            return;
        place(pool, at, last);
        slot = last;
    }
    sift_up(pool, at);
    sift_down(pool, pool->tasks[slot].timer);
}

uint32_t brood__timers_first(const struct brood_pool *pool)
{
    return pool->timers.count == 0 ? NO_SLOT : pool->timers.slots[0];
}
