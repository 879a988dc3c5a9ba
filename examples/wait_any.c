/* SPDX-License-Identifier: MIT */
/* Waiting for an answer, or for the end of the one that owes it. The news of an end may be faster
 * than the last message, so what is left is got afterwards. */
#include <brood/easy.h>
#include <signal.h>

static int answer(void *arg)
{
    brood_queue *answers = arg;

    for (long n = 1; n <= 3; n++) {
        const long square = n * n;
        BROOD_MUST(brood_queue_put(answers, &square, sizeof square, BROOD_FOREVER));
    }
    return raise(SIGKILL); /* there should have been a fourth */
}

static void print_all(brood_queue *answers)
{
    long square;

    while (brood_queue_get(answers, &square, sizeof square, 0) == 1)
        printf("Answer: %ld\n", square);
}

int main(void)
{
    BROOD_AUTO(queue) *answers = NULL;
    BROOD_AUTO(process) *child = NULL;
    brood_outcome outcome;

    BROOD_MUST(brood_queue_new(&answers, &(brood_queue_options){.item_size = sizeof(long)}));
    BROOD_MUST(brood_process_start(&child, answer, answers, 0, NULL));

    void *const objects[] = {answers, child};
    while (BROOD_MUST(brood_wait_any(objects, 2, BROOD_FOREVER)) == 0)
        print_all(answers);
    print_all(answers);
    BROOD_MUST(brood_process_join(child, BROOD_FOREVER, &outcome));
    brood_outcome_print(stdout, "The child", &outcome);
    return 0;
}
