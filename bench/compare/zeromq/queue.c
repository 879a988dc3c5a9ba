/* SPDX-License-Identifier: MIT */
/* Messages a second through ZeroMQ. */
#include "transport_zeromq.h"

#include "queue.h"

int main(void)
{
    queue_measure_rival(&ZEROMQ_TRANSPORT);
    return 0;
}
