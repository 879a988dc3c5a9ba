/* SPDX-License-Identifier: MIT */
/* One message at a time through nng. */
#include "transport_nng.h"

#include "latency.h"

int main(void)
{
    latency_measure(&NNG_TRANSPORT);
    return 0;
}
