/* SPDX-License-Identifier: MIT */
/* A thousand guesses, of which the first ten to finish are enough. The others are cancelled:
 * queued ones never start, running ones are stopped. */
#include <brood/easy.h>

struct guess {
    uint64_t seed;
    double score;
};

static int try_seed(brood_task *task)
{
    const uint64_t *seed = task->in;
    struct guess guess = {.seed = *seed, .score = 0};

    for (uint64_t i = 1; i <= 10000; i++)
        guess.score += (double)(*seed * i * 2654435761u % 1000) / 1000;
    return brood_task_return(task, &guess, sizeof guess);
}

int main(void)
{
    BROOD_AUTO(pool) *pool = NULL;
    BROOD_AUTO(group) *group = NULL;
    const brood_result *result;

    BROOD_MUST(brood_pool_new(&pool, NULL));
    BROOD_MUST(brood_group_new(&group, pool, NULL));
    for (uint64_t seed = 0; seed < 1000; seed++)
        BROOD_MUST(brood_group_submit(group, try_seed, &seed, sizeof seed, NULL));

    for (int i = 0; i < 10 && BROOD_MUST(brood_group_next(group, BROOD_FOREVER, &result)); i++) {
        const struct guess *guess = result->data;
        if (guess != NULL)
            printf("seed %llu: %.1f\n", (unsigned long long)guess->seed, guess->score);
    }
    brood_group_cancel(group);
    return 0;
}
