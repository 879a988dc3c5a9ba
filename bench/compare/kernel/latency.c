/* SPDX-License-Identifier: MIT */
/* One message at a time through what the kernel offers. */
#include "transports.h"

#include "latency.h"

int main(void)
{
    latency_measure(&PIPE_TRANSPORT);
    latency_measure(&SEQPACKET_TRANSPORT);
    latency_measure(&MQ_TRANSPORT);
    return 0;
}
