/* SPDX-License-Identifier: MIT */
/*
 * One way to time a map, for brood and the rivals in C and C++ alike: squares of doubles, the
 * output cleared before and compared after each call, outside the clock.
 */
#ifndef BROOD_BENCH_MAP_H
#define BROOD_BENCH_MAP_H

#include "bench.h"

#define MAP_ITEMS_MIN ((size_t)1000)
#define MAP_ITEMS_MAX ((size_t)10000000)

enum { MAP_CALLS_MIN = 4, MAP_CALLS_MAX = 200, MAP_BUDGET_MS = 60 };

typedef void map_fn(void *context, const double *in, double *out, size_t count);

static inline double map_call_ns(map_fn *map, void *context, double *in, double *out, size_t count)
{
    size_t wrong = 0;

    memset(out, 0, count * sizeof *out);
    const int64_t start_ns = bench_now_ns();
    map(context, in, out, count);
    const double taken_ns = (double)(bench_now_ns() - start_ns);
    for (size_t i = 0; i < count; i++)
        wrong += (size_t)(out[i] < (double)(i + 1) * (double)(i + 1)) |
                 (size_t)(out[i] > (double)(i + 1) * (double)(i + 1));
    bench_must(wrong == 0, "an item of a map");
    return taken_ns;
}

static inline void map_emit(const char *name, const char *which, size_t count, double taken_ns)
{
    char text[128];

    (void)snprintf(text, sizeof text, "%s, 10^%d%s", name, (int)lround(log10((double)count)),
                   which);
    bench_emit("map", text, "items/s", (double)count / taken_ns * 1e9);
}

/* Prints the first call and the median of the others. */
static inline void map_measure(const char *name, map_fn *map, void *context, double *in,
                               double *out, size_t count)
{
    double taken_ns[MAP_CALLS_MAX];
    size_t calls = 0;

    for (size_t i = 0; i < count; i++)
        in[i] = (double)(i + 1);
    const double first_ns = map_call_ns(map, context, in, out, count);
    const int64_t start_ns = bench_now_ns();
    while (calls < MAP_CALLS_MAX &&
           (calls < MAP_CALLS_MIN || bench_now_ns() - start_ns < MAP_BUDGET_MS * (int64_t)1000000))
        taken_ns[calls++] = map_call_ns(map, context, in, out, count);
    map_emit(name, ", first call", count, first_ns);
    map_emit(name, "", count, bench_median(taken_ns, calls));
}

#endif
