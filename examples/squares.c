/* SPDX-License-Identifier: MIT */
/* Three workers square what comes from a queue and add it up under a lock: a program that many have
 * written in Python, where it reads the same. */
#include <brood/easy.h>

enum { WORKERS = 3, NUMBERS = 1000 };

typedef BROOD_VALUE(long) counter;

/* [args] */
struct args { /* pointers: this is copied for each worker, what they point to is not */
    brood_queue *tasks;
    counter *total;
};
/* [args] */

static int square(void *arg)
{
    const struct args *args = arg;
    long n;

    while (BROOD_MUST(brood_queue_get(args->tasks, &n, sizeof n, BROOD_FOREVER)) == 1) {
        BROOD_MUST(brood_lock_acquire(&args->total->lock, BROOD_FOREVER));
        args->total->value += n * n;
        BROOD_MUST(brood_lock_release(&args->total->lock));
    }
    return 0;
}

int main(void)
{
    BROOD_AUTO(queue) *tasks = NULL;
    brood_process *worker[WORKERS];

    BROOD_MUST(brood_queue_new(&tasks, &(brood_queue_options){.item_size = sizeof(long)}));
    counter *total = BROOD_MUST_HAVE(brood_shared_alloc(sizeof *total));
    const struct args args = {tasks, total};

    for (int i = 0; i < WORKERS; i++)
        BROOD_MUST(brood_process_start(&worker[i], square, &args, sizeof args, NULL));
    for (long n = 1; n <= NUMBERS; n++)
        BROOD_MUST(brood_queue_put(tasks, &n, sizeof n, BROOD_FOREVER));
    brood_queue_close(tasks); /* for all of them, however many there are */
    for (int i = 0; i < WORKERS; i++)
        brood_process_finish(worker[i], "worker");
    printf("sum of squares: %ld\n", total->value);
    brood_shared_free(total);
    return 0;
}
