/* SPDX-License-Identifier: MIT */
/* A map with two oneTBB threads and automatic chunks: no isolation, no crash survived. */
#include "map.h"

#include <oneapi/tbb/global_control.h>
#include <oneapi/tbb/parallel_for.h>
#include <vector>

static void map_with_tbb(void *, const double *in, double *out, size_t count)
{
    tbb::parallel_for(size_t(0), count, [=](size_t i) { out[i] = in[i] * in[i]; });
}

int main()
{
    tbb::global_control two(tbb::global_control::max_allowed_parallelism, 2);

    for (size_t count = MAP_ITEMS_MIN; count <= MAP_ITEMS_MAX; count *= 10) {
        std::vector<double> in(count);
        std::vector<double> out(count);

        map_measure("oneTBB parallel_for", map_with_tbb, nullptr, in.data(), out.data(), count);
    }
    return 0;
}
