/* SPDX-License-Identifier: MIT */
/*
 * What does it cost to run one function in a process of its own: start, join, free?
 *
 * By fork and by the fork server, in programs of several sizes; the limit is a bare fork and a
 * wait. The first start of the fork server, which starts the server too, is shown apart.
 */
#include "bench.h"
#include "sizes.h"

#include <brood/easy.h>

enum { CODE = 7 };

static int nothing(void *arg)
{
    (void)arg;
    return CODE;
}

static double start_and_join_ns(void *context)
{
    const brood_process_options options = {.start = *(const int *)context};
    brood_process *process = NULL;
    brood_outcome outcome = {0};
    const int64_t start_ns = bench_now_ns();

    (void)BROOD_MUST(brood_process_start(&process, nothing, NULL, 0, &options));
    (void)BROOD_MUST(brood_process_join(process, BROOD_FOREVER, &outcome));
    brood_process_free(process);
    const double taken_ns = (double)(bench_now_ns() - start_ns);
    bench_must(outcome.cause == BROOD_RETURNED && outcome.code == CODE, "the outcome of a process");
    return taken_ns;
}

int main(int argc, char **argv)
{
    int fork_start = BROOD_START_FORK;
    int forkserver_start = BROOD_START_FORKSERVER;

    brood_init(argc, argv);
    for (enum size_step step = SIZE_SMALL; step <= SIZE_1GIB; step++) {
        if (!size_reach(step))
            break;
        size_measure("process", "fork", step, start_and_join_ns, &fork_start);
        if (step == SIZE_SMALL)
            bench_emit("process", "forkserver, first", "ms",
                       start_and_join_ns(&forkserver_start) / 1e6);
        size_measure("process", "forkserver", step, start_and_join_ns, &forkserver_start);
    }
    return 0;
}
