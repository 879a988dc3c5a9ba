/* SPDX-License-Identifier: MIT */
/* Four processes count in one number. Without the lock some of the steps would be lost, because
 * "read, add one, write" of one process falls between those of another. */
#include <brood/easy.h>

enum { PROCESSES = 4, STEPS = 10000 };

typedef BROOD_VALUE(long) counter;

static int count(void *arg)
{
    counter *steps = arg;

    for (int i = 0; i < STEPS; i++) {
        BROOD_MUST(brood_lock_acquire(&steps->lock, BROOD_FOREVER));
        steps->value++;
        BROOD_MUST(brood_lock_release(&steps->lock));
    }
    return 0;
}

int main(void)
{
    counter *steps =
        BROOD_MUST_HAVE(brood_shared_alloc(sizeof *steps)); /* zeroed: a free lock, 0 */
    brood_process *child[PROCESSES];
    int failed = 0;

    for (int i = 0; i < PROCESSES; i++)
        BROOD_MUST(brood_process_start(&child[i], count, steps, 0, NULL));
    for (int i = 0; i < PROCESSES; i++)
        failed += brood_process_finish(child[i], "counter") != 0;
    printf("%d processes counted to %ld\n", PROCESSES, steps->value);
    brood_shared_free(steps);
    return failed != 0;
}
