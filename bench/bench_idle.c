/* SPDX-License-Identifier: MIT */
/*
 * What does a pool cost while it has nothing to do?
 *
 * A pool of two that has worked is left alone for three seconds. The CPU time and the context
 * switches of all its processes, and of every thread the library may have in this one, are read
 * before and after, from what the kernel counts itself. Both should not move at all.
 */
#include "bench.h"
#include "idle.h"

#include <brood/easy.h>

enum { TASKS = 1000 };

static int square(brood_task *task)
{
    const int *in = task->in;
    int *out = task->out;

    *out = *in * *in;
    return 0;
}

static void work_a_little(brood_pool *pool)
{
    for (int x = 0; x < TASKS; x++) {
        int y = 0;

        (void)BROOD_MUST(brood_pool_apply(pool, square, &x, sizeof x, &y, sizeof y));
        bench_must(y == x * x, "the answer of a task");
    }
}

int main(void)
{
    BROOD_AUTO(pool) *pool = NULL;

    (void)BROOD_MUST(brood_pool_new(&pool, &(brood_pool_options){.workers = 2}));
    work_a_little(pool);
    idle_measure("idle", "pool of 2");
    work_a_little(pool);
    return 0;
}
