/* SPDX-License-Identifier: MIT */
/*
 * The floor under a round trip: a cache line there and back between two spinning processes; and
 * a futex wake there and back between two that sleep, or of which only the worker sleeps.
 */
#include "pingpong.h"

#include "roundtrip.h"

static uint64_t answer(uint64_t x)
{
    return x * x;
}

static uint64_t ask(void *context, uint64_t x)
{
    return pingpong_ask(context, x);
}

static void measure(const char *name, bool worker_sleeps, bool caller_sleeps)
{
    struct pingpong *pair = pingpong_start(answer, worker_sleeps, caller_sleeps);

    roundtrip_measure(name, ask, pair);
    pingpong_stop(pair);
}

int main(void)
{
    measure("limit: futex, both sleep", true, true);
    measure("limit: futex, worker sleeps", true, false);
    measure("limit: spinning", false, false);
    return 0;
}
