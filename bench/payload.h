/* SPDX-License-Identifier: MIT */
/*
 * One way to time a megabyte through a task, for brood and the limits alike: each call marks
 * every page of the input with a new number, and finds it in every page of the result.
 */
#ifndef BROOD_BENCH_PAYLOAD_H
#define BROOD_BENCH_PAYLOAD_H

#include "bench.h"

#define PAYLOAD_LEN BENCH_MIB

enum { PAYLOAD_CALLS = 1500 };

static inline void payload_mark(char *memory, uint64_t mark)
{
    for (size_t i = 0; i < PAYLOAD_LEN; i += BENCH_PAGE)
        memcpy(memory + i, &mark, sizeof mark);
}

static inline void payload_check(const char *memory, uint64_t mark)
{
    for (size_t i = 0; i < PAYLOAD_LEN; i += BENCH_PAGE)
        bench_must(memcmp(memory + i, &mark, sizeof mark) == 0, "a page of the result");
}

/* ONCE returns the nanoseconds that its call took. */
static inline void payload_measure(const char *name, double (*once_ns)(void *, uint64_t),
                                   void *context)
{
    static double taken_ns[PAYLOAD_CALLS];

    for (uint64_t i = 0; i < PAYLOAD_CALLS / 10; i++)
        (void)once_ns(context, i + 1);
    for (uint64_t i = 0; i < PAYLOAD_CALLS; i++)
        taken_ns[i] = once_ns(context, i + 1);
    bench_emit_latency("payload", name, taken_ns, PAYLOAD_CALLS);
}

#endif
