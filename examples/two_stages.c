/* SPDX-License-Identifier: MIT */
/* Work in two stages: workers take from one queue, put into the next, and only then are done. One
 * of them is killed at the worst moment, between its put and its done. Its message goes to another
 * worker, so nothing is lost, and one answer comes twice. */
#include <brood/easy.h>
#include <signal.h>

enum { WORKERS = 3, ITEMS = 2000, FATAL = 1000 };

struct item {
    int id; /* by which a second one is known */
    long value;
};

struct stages { /* pointers: this is copied for each process, what they point to is not */
    brood_queue *numbers, *squares;
    brood_semaphore *victims; /* how many are still to be killed */
};

static int feed(void *arg)
{
    const struct stages *stages = arg;

    for (int i = 0; i < ITEMS; i++) {
        const struct item item = {.id = i, .value = i};
        BROOD_MUST(brood_queue_put(stages->numbers, &item, sizeof item, BROOD_FOREVER));
    }
    return 0;
}

/* [stages] */
static int work(void *arg)
{
    const struct stages *stages = arg;
    brood_message message;

    while (BROOD_MUST(brood_queue_take(stages->numbers, BROOD_FOREVER, &message)) == 1) {
        struct item item = *(const struct item *)message.data;
        item.value *= item.value;
        BROOD_MUST(brood_queue_put(stages->squares, &item, sizeof item, BROOD_FOREVER));
        if (item.id == FATAL && brood_semaphore_acquire(stages->victims, 0) == 0)
            (void)raise(SIGKILL);
        brood_message_done(&message);
    }
    return 0;
}

static int collect(void *arg)
{
    const struct stages *stages = arg;
    bool seen[ITEMS] = {false};
    int count = 0, doubles = 0;
    struct item item;
    long sum = 0;

    while (BROOD_MUST(brood_queue_get(stages->squares, &item, sizeof item, BROOD_FOREVER)) == 1) {
        if (seen[item.id]) {
            doubles++;
            continue;
        }
        seen[item.id] = true;
        count++;
        sum += item.value;
    }
    printf("%d of %d squares, %d came twice, the sum is %ld\n", count, ITEMS, doubles, sum);
    return count == ITEMS ? 0 : -EIO;
}
/* [stages] */

int main(void)
{
    const brood_queue_options options = {.item_size = sizeof(struct item), .capacity = 100};
    BROOD_AUTO(queue) *numbers = NULL;
    BROOD_AUTO(queue) *squares = NULL;
    brood_semaphore *victims = BROOD_MUST_HAVE(brood_shared_alloc(sizeof *victims));
    brood_process *feeder, *worker[WORKERS], *collector;

    BROOD_MUST(brood_semaphore_init(victims, 1, 0));
    BROOD_MUST(brood_queue_new(&numbers, &options));
    BROOD_MUST(brood_queue_new(&squares, &options));
    const struct stages stages = {numbers, squares, victims};

    BROOD_MUST(brood_process_start(&feeder, feed, &stages, sizeof stages, NULL));
    for (int i = 0; i < WORKERS; i++)
        BROOD_MUST(brood_process_start(&worker[i], work, &stages, sizeof stages, NULL));
    BROOD_MUST(brood_process_start(&collector, collect, &stages, sizeof stages, NULL));

    /* [end] */
    int failed = brood_process_finish(feeder, "feeder") != 0;
    brood_queue_close(numbers); /* a worker gets 0 when all is done, by whomever */
    for (int i = 0; i < WORKERS; i++)
        (void)brood_process_finish(worker[i], "worker"); /* prints how it died */
    brood_queue_close(squares);
    failed += brood_process_finish(collector, "collector") != 0;
    /* [end] */
    brood_shared_free(victims);
    return failed != 0;
}
