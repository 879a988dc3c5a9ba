/* SPDX-License-Identifier: MIT */
/* One message at a time through Boost.Interprocess. */
#include "transport_boost.h"

#include "latency.h"

int main()
{
    const transport boost = boost_transport();

    latency_measure(&boost);
    return 0;
}
