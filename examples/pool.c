/* SPDX-License-Identifier: MIT */
/* Five tasks on four workers: the fifth starts when one of the first four has ended, in the
 * process that became free. */
#include <brood/easy.h>
#include <time.h>
#include <unistd.h>

static int long_time_task(brood_task *task)
{
    const int *name = task->in;
    long ms;

    srandom((unsigned)getpid() * 5 + (unsigned)*name); /* workers are copies: seeded before the */
    ms = random() % 3000;                              /* fork, all would draw the same */
    printf("Run task %d (%d)...\n", *name, (int)getpid());
    nanosleep(&(struct timespec){ms / 1000, ms % 1000 * 1000000}, NULL);
    printf("Task %d runs %.2f seconds.\n", *name, (double)ms / 1000);
    return 0;
}

int main(void)
{
    BROOD_AUTO(pool) *pool = NULL;

    setvbuf(stdout, NULL, _IOLBF, BUFSIZ); /* each line at once, also into a pipe */
    printf("Parent process %d.\n", (int)getpid());
    BROOD_MUST(brood_pool_new(&pool, &(brood_pool_options){.workers = 4}));
    printf("Waiting for all subprocesses done...\n");
    for (int i = 0; i < 5; i++)
        BROOD_MUST(brood_pool_submit(pool, long_time_task, &i, sizeof i, NULL, NULL));
    brood_pool_close(pool);
    int failed = BROOD_MUST(brood_pool_join(pool, BROOD_FOREVER));
    printf("All subprocesses done.\n");
    return failed != 0;
}
