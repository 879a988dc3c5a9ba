/* SPDX-License-Identifier: MIT */
/* Messages a second through Boost.Interprocess. */
#include "transport_boost.h"

#include "queue.h"

int main()
{
    const transport boost = boost_transport();

    queue_measure_rival(&boost);
    return 0;
}
