/* SPDX-License-Identifier: MIT */
/* Messages a second through a hand-written ring under a robust mutex. */
#include "ring.h"

#include "queue.h"

int main(void)
{
    queue_measure_rival(&RING_TRANSPORT);
    return 0;
}
