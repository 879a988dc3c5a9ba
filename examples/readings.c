/* SPDX-License-Identifier: MIT */
/* Three producers, one consumer, and an end that everybody sees: the parent closes the queue when
 * the producers are done, the consumer gets what is left, and then 0. */
#include <brood/easy.h>

struct reading {
    int sensor;
    double value;
};

static brood_queue *queue; /* opened before the children start, so each of them has it */

static int produce(void *arg)
{
    const int *sensor = arg;

    for (int i = 0; i < 1000; i++) {
        const struct reading reading = {*sensor, i * 0.5};
        BROOD_MUST(brood_queue_put(queue, &reading, sizeof reading, BROOD_FOREVER));
    }
    return 0;
}

static int consume(void *arg)
{
    struct reading reading;
    double sum = 0;

    while (BROOD_MUST(brood_queue_get(queue, &reading, sizeof reading, BROOD_FOREVER)) == 1)
        sum += reading.value;
    printf("%s: %.0f\n", (const char *)arg, sum);
    return 0;
}

int main(void)
{
    brood_process *producer[3], *consumer;
    int failed = 0;

    BROOD_MUST(
        brood_queue_new(&queue, &(brood_queue_options){.item_size = sizeof(struct reading)}));
    for (int i = 0; i < 3; i++)
        BROOD_MUST(brood_process_start(&producer[i], produce, &i, sizeof i, NULL));
    BROOD_MUST(brood_process_start(&consumer, consume, "sum", sizeof "sum", NULL));

    for (int i = 0; i < 3; i++)
        failed += brood_process_finish(producer[i], "producer") != 0;
    brood_queue_close(queue);
    failed += brood_process_finish(consumer, "consumer") != 0;
    brood_queue_free(queue);
    return failed != 0;
}
