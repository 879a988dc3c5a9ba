/* SPDX-License-Identifier: MIT */
/* One message at a time through ZeroMQ. */
#include "transport_zeromq.h"

#include "latency.h"

int main(void)
{
    latency_measure(&ZEROMQ_TRANSPORT);
    return 0;
}
