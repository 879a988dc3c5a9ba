/* SPDX-License-Identifier: MIT */
/*
 * Time sums. Inside brood a moment is nanoseconds of the monotonic clock, and a deadline is
 * such a moment or NEVER. Durations in milliseconds exist only at the public edge. All sums
 * saturate, so a huge timeout is no timeout instead of an overflow.
 */
#ifndef BROOD_SRC_BASE_CLOCK_H
#define BROOD_SRC_BASE_CLOCK_H

#include <stdint.h>
#include <time.h>

#define NEVER INT64_MAX

static inline int64_t now_ns(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* START + TIMEOUT_MS, or NEVER for a negative or uncountable timeout. */
static inline int64_t deadline_after(int64_t start_ns, int64_t timeout_ms)
{
    if (timeout_ms < 0 || timeout_ms > (NEVER - start_ns) / 1000000)
        return NEVER;
    return start_ns + timeout_ms * 1000000;
}

static inline int64_t deadline_in(int64_t timeout_ms)
{
    return timeout_ms < 0 ? NEVER : deadline_after(now_ns(), timeout_ms);
}

/* How long until DEADLINE, at least 0; NEVER stays NEVER. */
static inline int64_t left_ns(int64_t deadline)
{
    int64_t now;

    if (deadline == NEVER)
        return NEVER;
    now = now_ns();
    return deadline > now ? deadline - now : 0;
}

#endif
