/* SPDX-License-Identifier: MIT */
/*
 * What does a pool of two cost from opening to closing, with one task in between?
 *
 * A fork copies the page tables of the program that forks, so the program grows as it measures:
 * as it starts, then by 16 MiB, 1 GiB and, for the fork server alone, 4 GiB. The first pool of
 * a fork server starts the server too and is shown apart.
 */
#include "bench.h"
#include "sizes.h"

#include <brood/easy.h>

static int square(brood_task *task)
{
    const int *in = task->in;
    int *out = task->out;

    *out = *in * *in;
    return 0;
}

static double cycle_ns(void *context)
{
    const int *start = context;
    const int x = 3;
    int y = 0;
    brood_pool *pool = NULL;
    const int64_t start_ns = bench_now_ns();

    (void)BROOD_MUST(brood_pool_new(&pool, &(brood_pool_options){.workers = 2, .start = *start}));
    (void)BROOD_MUST(brood_pool_apply(pool, square, &x, sizeof x, &y, sizeof y));
    brood_pool_free(pool);
    const double taken_ns = (double)(bench_now_ns() - start_ns);
    bench_must(y == 9, "the answer of the task");
    return taken_ns;
}

int main(int argc, char **argv)
{
    int fork_start = BROOD_START_FORK;
    int forkserver_start = BROOD_START_FORKSERVER;

    brood_init(argc, argv);
    for (enum size_step step = SIZE_SMALL; step < SIZE_COUNT; step++) {
        if (!size_reach(step))
            break;
        if (step < SIZE_4GIB)
            size_measure("open", "fork", step, cycle_ns, &fork_start);
        if (step == SIZE_SMALL)
            bench_emit("open", "forkserver, first", "ms", cycle_ns(&forkserver_start) / 1e6);
        size_measure("open", "forkserver", step, cycle_ns, &forkserver_start);
    }
    return 0;
}
