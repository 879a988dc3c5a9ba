/* SPDX-License-Identifier: MIT */
/* One function in a process of its own: start it, wait for it. The library flushes stdout where
 * a fork would double it, so the lines come once and in order, at a terminal and into a pipe. */
#include <brood/easy.h>
#include <unistd.h>

static int run_child(void *arg)
{
    const char *name = arg; /* its own copy of what main gave */

    printf("Run child process %s (%d)...\n", name, (int)getpid());
    return 0;
}

int main(void)
{
    BROOD_AUTO(process) *child = NULL;
    brood_outcome outcome;

    printf("Parent process %d.\n", (int)getpid());
    printf("Child process will start.\n");
    BROOD_MUST(brood_process_start(&child, run_child, "test", sizeof "test", NULL));
    BROOD_MUST(brood_process_join(child, BROOD_FOREVER, &outcome));
    printf("Child process end.\n");
    return outcome.verdict != 0;
}
