/* SPDX-License-Identifier: MIT */
/* A function over a million doubles. Arrays from brood_pool_alloc() lie in memory that all
 * workers share, so nothing is copied: each worker reads and writes its part in place. */
#include <brood/easy.h>

enum { N = 1000000 };

static int square(brood_task *task)
{
    const double *x = task->in;
    double *y = task->out;

    *y = *x * *x;
    return 0;
}

int main(void)
{
    BROOD_AUTO(pool) *pool = NULL;

    BROOD_MUST(brood_pool_new(&pool, NULL));
    double *x = BROOD_MUST_HAVE(brood_pool_alloc(pool, N * sizeof *x)); /* malloc: copied */
    double *y = BROOD_MUST_HAVE(brood_pool_alloc(pool, N * sizeof *y));
    for (size_t i = 0; i < N; i++)
        x[i] = (double)i;

    int failed = BROOD_MUST(brood_pool_map(pool, square, BROOD_IN(x, N), BROOD_OUT(y, N), NULL));
    printf("%.0f, %d failed\n", y[N - 1], failed);
    return failed != 0;
}
