/* SPDX-License-Identifier: MIT */
/*
 * How many messages a second go through a queue, between how many, and of what size?
 *
 * Copied in and out, message by message and in batches; and by reference, where the producer
 * writes in place what the consumer reads in place, so that the bytes of payload a second say how
 * much is handed over, and nothing is copied. The harness marks and compares the first and the
 * last word of each message, as it does for all rivals.
 */
#include "transport_queue.h"

#include "queue.h"

/* Everything but one to one. */
static void measure_crowds(const struct transport *transport, size_t len)
{
    for (int i = 0; i < QUEUE_CROWD_COUNT; i++)
        queue_measure("queue", transport, len, QUEUE_CROWDS[i]);
}

static void measure_batches(size_t len)
{
    queue_measure("queue", &QUEUE_BATCHES, len, QUEUE_PAIR);
    queue_measure("queue", &QUEUE_BATCHES, len, QUEUE_PAIR_APART);
    measure_crowds(&QUEUE_BATCHES, len);
}

static void measure_by_reference(size_t len)
{
    queue_measure("queue", &QUEUE_BY_REFERENCE, len, QUEUE_PAIR);
    queue_measure("queue", &QUEUE_BY_REFERENCE, len, QUEUE_PAIR_APART);
    queue_measure("queue", &QUEUE_BY_REFERENCE, len, QUEUE_CROWDS[0]);
}

int main(void)
{
    queue_measure_pair("queue", &QUEUE_SINGLE);
    for (int i = 0; i < QUEUE_SIZE_COUNT; i++)
        measure_crowds(&QUEUE_SINGLE, QUEUE_SIZES[i]);
    measure_batches(8);
    measure_batches(64);
    for (int i = 0; i < QUEUE_SIZE_COUNT; i++)
        if (QUEUE_SIZES[i] >= 64 * BENCH_KIB)
            measure_by_reference(QUEUE_SIZES[i]);
    return 0;
}
