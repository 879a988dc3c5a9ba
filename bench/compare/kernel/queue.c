/* SPDX-License-Identifier: MIT */
/* Messages a second through what the kernel offers. */
#include "transports.h"

#include "queue.h"

int main(void)
{
    queue_measure_rival(&PIPE_TRANSPORT);
    queue_measure_rival(&SEQPACKET_TRANSPORT);
    queue_measure_rival(&MQ_TRANSPORT);
    return 0;
}
