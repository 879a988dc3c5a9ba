/* SPDX-License-Identifier: MIT */
/*
 * How many messages, and how many bytes a second, go through a pipe? Messages are got in memory of
 * the receiver's, or taken in memory of their own; and a stream of bytes is written and read.
 */
#include "transport_pipe.h"

#include "queue.h"

int main(void)
{
    queue_measure_pair("pipe", &PIPE_COPIED);
    for (int i = 0; i < QUEUE_SIZE_COUNT; i++)
        if (QUEUE_SIZES[i] >= 64 * BENCH_KIB)
            queue_measure("pipe", &PIPE_TAKEN, QUEUE_SIZES[i], QUEUE_PAIR_APART);
    queue_measure_pair("pipe", &PIPE_STREAM);
    return 0;
}
