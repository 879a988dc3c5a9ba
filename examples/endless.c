/* SPDX-License-Identifier: MIT */
/* An input without end. The group's window keeps 64 tasks under way: room() says how many more
 * may be submitted, so this loop is the generator. Results come in the order of the inputs. */
#include <brood/easy.h>

static int is_prime(brood_task *task)
{
    const uint64_t *n = task->in;
    bool *prime = task->out;

    *prime = *n > 1;
    for (uint64_t d = 2; d * d <= *n && *prime; d++)
        *prime = *n % d != 0;
    return 0;
}

int main(void)
{
    const uint64_t start = 1000000000000;
    const brood_task_options each = {.out_size = sizeof(bool)};
    BROOD_AUTO(pool) *pool = NULL;
    BROOD_AUTO(group) *group = NULL;
    const brood_result *result;
    uint64_t n = start;

    BROOD_MUST(brood_pool_new(&pool, NULL));
    BROOD_MUST(
        brood_group_new(&group, pool, &(brood_group_options){.window = 64, .ordered = true}));
    for (int found = 0; found < 10;) {
        for (; brood_group_room(group) > 0; n++)
            BROOD_MUST(brood_group_submit(group, is_prime, &n, sizeof n, &each));
        BROOD_MUST(brood_group_next(group, BROOD_FOREVER, &result));
        const bool *prime = result->data;
        if (prime != NULL && *prime) {
            printf("%llu\n", (unsigned long long)(start + result->index));
            found++;
        }
    }
    return 0; /* the group cancels what it has under way */
}
