/* SPDX-License-Identifier: MIT */
/* One task at a time into a oneTBB task group; the waiting thread may run it itself. */
#include "roundtrip.h"

#include <oneapi/tbb/global_control.h>
#include <oneapi/tbb/task_group.h>

static uint64_t square(void *context, uint64_t x)
{
    auto *group = static_cast<tbb::task_group *>(context);
    uint64_t y = 0;

    group->run([&y, x] { y = x * x; });
    group->wait();
    return y;
}

int main()
{
    tbb::global_control two(tbb::global_control::max_allowed_parallelism, 2);
    tbb::task_group group;

    roundtrip_measure("oneTBB task_group", square, &group);
    return 0;
}
