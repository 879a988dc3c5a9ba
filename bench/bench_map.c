/* SPDX-License-Identifier: MIT */
/*
 * How many items a second does a map over an array reach, when the function is next to nothing?
 *
 * Squares of doubles, from a thousand to ten million of them: the function called for each item
 * or for ranges (.ranges), the arrays copied or in the pool's memory. The output is cleared
 * before each call and compared after it, outside the clock. The first call in place is shown
 * apart: it is the one in which the workers meet pages they have never touched.
 */
#include "map.h"

#include <brood/easy.h>

static int square(brood_task *task)
{
    const double *in = task->in;
    double *out = task->out;

    *out = *in * *in;
    return 0;
}

static int square_range(brood_task *task)
{
    const double *in = task->in;
    double *out = task->out;

    for (size_t i = 0; i < task->count; i++)
        out[i] = in[i] * in[i];
    return 0;
}

struct way {
    brood_pool *pool;
    bool ranges;
};

static void map_with_pool(void *context, const double *in, double *out, size_t count)
{
    const struct way *way = context;
    const brood_map_options options = {.ranges = way->ranges};

    bench_must(BROOD_MUST(brood_pool_map(way->pool, way->ranges ? square_range : square,
                                         BROOD_IN(in, count), BROOD_OUT(out, count), &options)) ==
                   0,
               "some items failed");
}

static void measure_in_place(struct way *way, const char *name, size_t count)
{
    double *in = BROOD_MUST_HAVE(brood_pool_alloc(way->pool, count * sizeof *in));
    double *out = BROOD_MUST_HAVE(brood_pool_alloc(way->pool, count * sizeof *out));

    map_measure(name, map_with_pool, way, in, out, count);
    brood_pool_release(way->pool, in);
    brood_pool_release(way->pool, out);
}

static void measure_copied(struct way *way, const char *name, size_t count)
{
    double *in = BROOD_MUST_HAVE(malloc(count * sizeof *in));
    double *out = BROOD_MUST_HAVE(malloc(count * sizeof *out));

    map_measure(name, map_with_pool, way, in, out, count);
    free(in);
    free(out);
}

static void measure_in_new_pool(bool ranges, bool in_place, size_t count)
{
    BROOD_AUTO(pool) *pool = NULL;
    char name[64];

    (void)BROOD_MUST(brood_pool_new(&pool, &(brood_pool_options){.workers = 2}));
    (void)snprintf(name, sizeof name, "%s, %s", ranges ? "ranges" : "items",
                   in_place ? "in place" : "copied");
    struct way way = {.pool = pool, .ranges = ranges};
    (in_place ? measure_in_place : measure_copied)(&way, name, count);
}

int main(void)
{
    for (size_t count = MAP_ITEMS_MIN; count <= MAP_ITEMS_MAX; count *= 10)
        for (int way = 0; way < 4; way++)
            measure_in_new_pool((way & 1) != 0, (way & 2) != 0, count);
    return 0;
}
