/* SPDX-License-Identifier: MIT */
/* Messages a second through nng. */
#include "transport_nng.h"

#include "queue.h"

int main(void)
{
    queue_measure_rival(&NNG_TRANSPORT);
    return 0;
}
