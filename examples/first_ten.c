/* SPDX-License-Identifier: MIT */
/* A thousand guesses, of which the first ten to finish are enough. The others are cancelled:
 * queued ones never start, running ones are stopped. */
#include <brood/easy.h>

struct guess {
    unsigned seed;
    double pi;
};

/* The share of random points of a square that lie within its circle. */
static int guess_pi(brood_task *task)
{
    const unsigned *seed = task->in;
    struct guess guess = {.seed = *seed};
    unsigned state = *seed;

    for (int i = 0; i < 10000; i++) {
        double x = rand_r(&state) / (double)RAND_MAX, y = rand_r(&state) / (double)RAND_MAX;
        guess.pi += x * x + y * y <= 1 ? 4 / 10000.0 : 0;
    }
    return brood_task_return(task, &guess, sizeof guess);
}

int main(void)
{
    BROOD_AUTO(pool) *pool = NULL;
    BROOD_AUTO(group) *group = NULL;
    const brood_result *result;

    BROOD_MUST(brood_pool_new(&pool, NULL));
    BROOD_MUST(brood_group_new(&group, pool, NULL));
    for (unsigned seed = 0; seed < 1000; seed++)
        BROOD_MUST(brood_group_submit(group, guess_pi, &seed, sizeof seed, NULL));

    for (int i = 0; i < 10 && BROOD_MUST(brood_group_next(group, BROOD_FOREVER, &result)); i++) {
        const struct guess *guess = result->data;
        if (guess != NULL)
            printf("seed %u: %.4f\n", guess->seed, guess->pi);
    }
    brood_group_cancel(group);
    return 0;
}
