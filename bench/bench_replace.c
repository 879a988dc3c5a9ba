/* SPDX-License-Identifier: MIT */
/*
 * How soon does a new worker work, after the old one is known to be dead?
 *
 * A pool of one is killed by SIGKILL. The clock starts when the death can be known by anybody,
 * that is when the worker's pidfd polls readable, and stops when the next task has come back,
 * necessarily from the replacement. Fork and fork server, in programs of four sizes.
 */
#include "bench.h"
#include "sizes.h"

#include <brood/easy.h>
#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>

static int square(brood_task *task)
{
    const int *in = task->in;
    int *out = task->out;

    *out = *in * *in;
    return 0;
}

static int only_worker(brood_pool *pool)
{
    int pid = 0;

    while (BROOD_MUST(brood_pool_pids(pool, &pid, 1)) == 0)
        bench_relax();
    bench_must(pid > 0, "the worker's pid is not known");
    return pid;
}

static void kill_and_see_it_dead(int pid)
{
    const int fd = (int)syscall(SYS_pidfd_open, pid, 0);
    struct pollfd death = {.fd = fd, .events = POLLIN};

    bench_must(fd >= 0, "no pidfd");
    bench_must(kill(pid, SIGKILL) == 0, "the worker cannot be killed");
    bench_must(poll(&death, 1, -1) == 1, "poll");
    (void)close(fd);
}

static double replacement_ns(void *context)
{
    brood_pool *pool = context;
    const int old_pid = only_worker(pool);
    const int x = 3;
    int y = 0;

    kill_and_see_it_dead(old_pid);
    const int64_t start_ns = bench_now_ns();
    (void)BROOD_MUST(brood_pool_apply(pool, square, &x, sizeof x, &y, sizeof y));
    const double taken_ns = (double)(bench_now_ns() - start_ns);
    bench_must(y == 9, "the answer of the replacement");
    bench_must(only_worker(pool) != old_pid, "the worker was not replaced");
    return taken_ns;
}

static void measure(const char *name, int start, enum size_step step)
{
    BROOD_AUTO(pool) *pool = NULL;

    (void)BROOD_MUST(brood_pool_new(&pool, &(brood_pool_options){.workers = 1, .start = start}));
    (void)replacement_ns(pool);
    size_measure("replace", name, step, replacement_ns, pool);
}

int main(int argc, char **argv)
{
    brood_init(argc, argv);
    for (enum size_step step = SIZE_SMALL; step < SIZE_COUNT; step++) {
        if (!size_reach(step))
            break;
        if (step < SIZE_4GIB)
            measure("fork", BROOD_START_FORK, step);
        measure("forkserver", BROOD_START_FORKSERVER, step);
    }
    return 0;
}
