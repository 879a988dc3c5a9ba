/* SPDX-License-Identifier: MIT */
/* Messages a second through rings whose users spin. */
#include "rings.h"

#include "queue.h"

int main(void)
{
    queue_measure_rival(&MPMC_TRANSPORT);
    queue_measure_rival(&SPSC_TRANSPORT);
    return 0;
}
