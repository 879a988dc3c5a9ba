/* SPDX-License-Identifier: MIT */
/* Tiny tasks one by one into a oneTBB task group of two threads: no isolation. */
#include "bench.h"

#include <numeric>
#include <oneapi/tbb/global_control.h>
#include <oneapi/tbb/task_group.h>
#include <vector>

int main()
{
    const uint64_t tasks = 1000000;
    tbb::global_control two(tbb::global_control::max_allowed_parallelism, 2);
    std::vector<uint64_t> results(tasks);
    tbb::task_group group;
    const int64_t start_ns = bench_now_ns();

    for (uint64_t x = 0; x < tasks; x++)
        group.run([&results, x] { results[x] = x * x; });
    group.wait();
    const double seconds = bench_seconds_since(start_ns);
    bench_must(std::accumulate(results.begin(), results.end(), uint64_t(0)) ==
                   bench_square_sum(tasks),
               "the sum of the tasks");
    bench_emit("submit", "oneTBB task_group", "tasks/s", double(tasks) / seconds);
    return 0;
}
