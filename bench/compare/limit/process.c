/* SPDX-License-Identifier: MIT */
/* The limit of start and join: one bare fork, exit, wait. */
#include "sizes.h"

#include <sys/wait.h>

static double fork_and_wait_ns(void *context)
{
    int status = 0;
    const int64_t start_ns = bench_now_ns();
    const pid_t pid = fork();

    (void)context;
    if (pid == 0)
        _exit(7);
    bench_must(pid > 0 && waitpid(pid, &status, 0) == pid, "fork and wait");
    const double taken_ns = (double)(bench_now_ns() - start_ns);
    bench_must(WIFEXITED(status) && WEXITSTATUS(status) == 7, "the status of the child");
    return taken_ns;
}

int main(void)
{
    for (enum size_step step = SIZE_SMALL; step <= SIZE_1GIB; step++)
        if (size_reach(step))
            size_measure("process", "limit: fork and wait", step, fork_and_wait_ns, NULL);
    return 0;
}
