/* SPDX-License-Identifier: MIT */
/* The limit of opening a pool of two: three bare forks, as many exits, three waits. */
#include "sizes.h"

#include <sys/wait.h>

enum { FORKS = 3 };

static double forks_ns(void *context)
{
    pid_t pids[FORKS];
    int status = 0;
    const int64_t start_ns = bench_now_ns();

    (void)context;
    for (int i = 0; i < FORKS; i++) {
        pids[i] = fork();
        bench_must(pids[i] >= 0, "fork");
        if (pids[i] == 0)
            _exit(7);
    }
    for (int i = 0; i < FORKS; i++) {
        bench_must(waitpid(pids[i], &status, 0) == pids[i], "wait");
        bench_must(WIFEXITED(status) && WEXITSTATUS(status) == 7, "the status of a child");
    }
    return (double)(bench_now_ns() - start_ns);
}

int main(void)
{
    for (enum size_step step = SIZE_SMALL; step <= SIZE_1GIB; step++)
        if (size_reach(step))
            size_measure("open", "limit: three forks", step, forks_ns, NULL);
    return 0;
}
