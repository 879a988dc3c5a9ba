/* SPDX-License-Identifier: MIT */
/* One message at a time through a hand-written ring under a robust mutex. */
#include "ring.h"

#include "latency.h"

int main(void)
{
    latency_measure(&RING_TRANSPORT);
    return 0;
}
