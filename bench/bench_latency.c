/* SPDX-License-Identifier: MIT */
/*
 * How long is a message on its way when there is little to do? Through a queue and a pipe whose
 * consumer sleeps, on the producer's CPU or on the other; and through a queue whose consumer asks
 * again and again. The limit program measures the same with a futex and with a bare word.
 */
#include "transport_pipe.h"
#include "transport_queue.h"

#include "latency.h"

int main(void)
{
    latency_measure(&QUEUE_SPINNING);
    latency_measure(&QUEUE_SINGLE);
    latency_measure(&PIPE_COPIED);
    return 0;
}
