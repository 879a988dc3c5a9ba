/* SPDX-License-Identifier: MIT */
/* Two ends of what the kernel offers: a pipe of bytes, and a pair of sockets that keep messages. */
#include "transports.h"

#include "queue.h"

int main(void)
{
    queue_measure_pair("pipe", &PIPE_TRANSPORT);
    queue_measure_pair("pipe", &SEQPACKET_TRANSPORT);
    return 0;
}
