/* SPDX-License-Identifier: MIT */
/* One task at a time through a hand-written pool under a robust mutex. */
#include "pool.h"

#include "roundtrip.h"

static uint64_t square(void *context, uint64_t x)
{
    struct pool *pool = context;

    bench_must(pool_submit(pool, x), "no room");
    return pool_take(pool);
}

int main(void)
{
    struct pool *pool = pool_new();

    roundtrip_measure("robust mutex pool", square, pool);
    pool_free(pool);
    return 0;
}
