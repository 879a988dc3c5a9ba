/* SPDX-License-Identifier: MIT */
/*
 * The limit of a map between processes: two pinned processes that spin, shared memory, each
 * half of the array in one go. Beyond the caches this is what the memory gives.
 */
#include "pingpong.h"

#include "map.h"

/* Set before the fork; the worker finds the second half of both arrays behind it. */
static double *shared_in, *shared_out;

static void square_range(size_t from, size_t to)
{
    const double *in = shared_in;
    double *out = shared_out;

    for (size_t i = from; i < to; i++)
        out[i] = in[i] * in[i];
}

static uint64_t second_half(uint64_t count)
{
    square_range(count / 2, count);
    return count;
}

static void map_by_halves(void *context, const double *in, double *out, size_t count)
{
    struct pingpong *pair = context;

    (void)in;
    (void)out;
    pair->turn++;
    pair->question = count;
    pingpong_tell(&pair->asked, pair->turn, false);
    square_range(0, count / 2);
    pingpong_await(&pair->answered, pair->turn, false);
}

int main(void)
{
    shared_in = bench_shared(MAP_ITEMS_MAX * sizeof *shared_in);
    shared_out = bench_shared(MAP_ITEMS_MAX * sizeof *shared_out);
    struct pingpong *pair = pingpong_start(second_half, false, false);

    for (size_t count = MAP_ITEMS_MIN; count <= MAP_ITEMS_MAX; count *= 10)
        map_measure("limit: two spinning halves", map_by_halves, pair, shared_in, shared_out,
                    count);
    pingpong_stop(pair);
    return 0;
}
