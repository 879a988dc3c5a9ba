/* SPDX-License-Identifier: MIT */
/*
 * One way to time a round trip, for brood and the rivals in C and C++ alike: back to back, and
 * after pauses long enough for every worker to sleep. Each answer is compared.
 */
#ifndef BROOD_BENCH_ROUNDTRIP_H
#define BROOD_BENCH_ROUNDTRIP_H

#include "bench.h"

enum { ROUNDTRIPS = 50000, PAUSED_ROUNDTRIPS = 100, ROUNDTRIP_PAUSE_US = 5000 };

/* Returns the square of X, computed elsewhere. */
typedef uint64_t roundtrip_fn(void *context, uint64_t x);

static inline double roundtrip_ns(roundtrip_fn *square, void *context, uint64_t x)
{
    const int64_t start_ns = bench_now_ns();
    const uint64_t y = square(context, x);
    const double taken_ns = (double)(bench_now_ns() - start_ns);

    bench_must(y == x * x, "the answer of a round trip");
    return taken_ns;
}

static inline void roundtrip_measure(const char *name, roundtrip_fn *square, void *context)
{
    static double taken_ns[ROUNDTRIPS];
    char text[128];

    for (uint64_t x = 0; x < ROUNDTRIPS / 10; x++)
        (void)roundtrip_ns(square, context, x);
    for (uint64_t x = 0; x < ROUNDTRIPS; x++)
        taken_ns[x] = roundtrip_ns(square, context, x);
    (void)snprintf(text, sizeof text, "%s, back to back", name);
    bench_emit_latency("roundtrip", text, taken_ns, ROUNDTRIPS);
    for (uint64_t x = 0; x < PAUSED_ROUNDTRIPS; x++) {
        bench_pause_us(ROUNDTRIP_PAUSE_US);
        taken_ns[x] = roundtrip_ns(square, context, x);
    }
    (void)snprintf(text, sizeof text, "%s, after a pause", name);
    bench_emit_latency("roundtrip", text, taken_ns, PAUSED_ROUNDTRIPS);
}

#endif
