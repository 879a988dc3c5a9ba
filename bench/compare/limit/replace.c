/* SPDX-License-Identifier: MIT */
/* The limit of a replacement: one bare fork, until the child's first store is seen. */
#include "sizes.h"

#include <stdatomic.h>
#include <sys/wait.h>

static double fork_and_answer_ns(void *context)
{
    _Atomic int *answer = context;
    const int64_t start_ns = bench_now_ns();

    atomic_store(answer, 0);
    const pid_t pid = fork();
    if (pid == 0) {
        atomic_store(answer, 9);
        _exit(0);
    }
    bench_must(pid > 0, "fork");
    while (atomic_load(answer) != 9)
        (void)sched_yield();
    const double taken_ns = (double)(bench_now_ns() - start_ns);
    (void)waitpid(pid, NULL, 0);
    return taken_ns;
}

int main(void)
{
    _Atomic int *answer = bench_shared(sizeof *answer);

    for (enum size_step step = SIZE_SMALL; step <= SIZE_1GIB; step++)
        if (size_reach(step))
            size_measure("replace", "limit: fork and answer", step, fork_and_answer_ns, answer);
    return 0;
}
