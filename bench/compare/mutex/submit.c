/* SPDX-License-Identifier: MIT */
/* Tiny tasks one by one through a hand-written pool under a robust mutex, in a window. */
#include "pool.h"

enum { TASKS = 400000 };

int main(void)
{
    struct pool *pool = pool_new();
    uint64_t sum = 0;
    uint64_t taken = 0;
    const int64_t start_ns = bench_now_ns();

    for (uint64_t x = 0; x < TASKS; x++)
        while (!pool_submit(pool, x)) {
            sum += pool_take(pool);
            taken++;
        }
    for (; taken < TASKS; taken++)
        sum += pool_take(pool);
    const double seconds = bench_seconds_since(start_ns);
    pool_free(pool);
    bench_must(sum == bench_square_sum(TASKS), "the sum of the tasks");
    bench_emit("submit", "robust mutex pool", "tasks/s", TASKS / seconds);
    return 0;
}
