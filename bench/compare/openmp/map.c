/* SPDX-License-Identifier: MIT */
/* A map with two OpenMP threads and a static schedule: no isolation, no crash survived. */
#include "map.h"

#include <omp.h>

static void map_with_openmp(void *context, const double *in, double *out, size_t count)
{
    (void)context;
#pragma omp parallel for schedule(static)
    for (size_t i = 0; i < count; i++)
        out[i] = in[i] * in[i];
}

int main(void)
{
    omp_set_num_threads(2);
    for (size_t count = MAP_ITEMS_MIN; count <= MAP_ITEMS_MAX; count *= 10) {
        double *in = malloc(count * sizeof *in);
        double *out = malloc(count * sizeof *out);

        bench_must(in != NULL && out != NULL, "no memory");
        map_measure("OpenMP static", map_with_openmp, NULL, in, out, count);
        free(in);
        free(out);
    }
    return 0;
}
