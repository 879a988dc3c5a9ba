/* SPDX-License-Identifier: MIT */
/*
 * Programs of four sizes in one: what starts processes is measured as the program starts, then
 * 16 MiB, 1 GiB and 4 GiB larger. Rivals in C use the same steps.
 */
#ifndef BROOD_BENCH_SIZES_H
#define BROOD_BENCH_SIZES_H

#include "bench.h"

enum size_step { SIZE_SMALL, SIZE_16MIB, SIZE_1GIB, SIZE_4GIB, SIZE_COUNT };

struct size_row {
    const char *name;
    size_t len;
    size_t calls;
};

static inline struct size_row size_row(enum size_step step)
{
    static const struct size_row rows[SIZE_COUNT] = {{"small", 0, 25},
                                                     {"16 MiB", 16 * BENCH_MIB, 25},
                                                     {"1 GiB", BENCH_GIB, 5},
                                                     {"4 GiB", 4 * BENCH_GIB, 5}};
    return rows[step];
}

/* Grows this process to STEP; steps come in order. False: this machine has not the memory. */
static inline bool size_reach(enum size_step step)
{
    const size_t len =
        size_row(step).len - (step > 0 ? size_row((enum size_step)(step - 1)).len : 0);

    if (len == 0)
        return true;
    if (!bench_memory_allows(len)) {
        fprintf(stderr, "bench: too little memory for %s\n", size_row(step).name);
        return false;
    }
    bench_grow(len);
    return true;
}

/* Prints "NAME, <size>": the median of some calls of ONCE, in milliseconds. */
static inline void size_measure(const char *bench, const char *name, enum size_step step,
                                double (*once_ns)(void *context), void *context)
{
    double taken_ns[64];
    char text[128];
    const struct size_row row = size_row(step);

    for (size_t i = 0; i < row.calls; i++)
        taken_ns[i] = once_ns(context);
    (void)snprintf(text, sizeof text, "%s, %s", name, row.name);
    bench_emit(bench, text, "ms", bench_median(taken_ns, row.calls) / 1e6);
}

#endif
