/* SPDX-License-Identifier: MIT */
/*
 * How long does one task take, from the call to its result?
 *
 * Back to back, when the worker still looks out for work; and after a pause, when it has gone
 * to sleep and must be woken. What remains after a pause is mostly the kernel's wake-up and the
 * idle CPU's, which the limit program measures in the same way in the same run.
 */
#include "bench.h"
#include "roundtrip.h"

#include <brood/easy.h>

static int square(brood_task *task)
{
    const uint64_t *in = task->in;
    uint64_t *out = task->out;

    *out = *in * *in;
    return 0;
}

static uint64_t apply(void *context, uint64_t x)
{
    uint64_t y = 0;

    (void)BROOD_MUST(brood_pool_apply(context, square, &x, sizeof x, &y, sizeof y));
    return y;
}

static uint64_t submit_and_wait(void *context, uint64_t x)
{
    const brood_task_options options = {.out_size = sizeof x};
    const brood_result *result = NULL;
    BROOD_AUTO(future) *future = NULL;

    (void)BROOD_MUST(brood_pool_submit(context, square, &x, sizeof x, &options, &future));
    (void)BROOD_MUST(brood_future_wait(future, BROOD_FOREVER, &result));
    (void)BROOD_MUST(result->verdict);
    return *(const uint64_t *)result->data;
}

int main(void)
{
    BROOD_AUTO(pool) *pool = NULL;

    (void)BROOD_MUST(brood_pool_new(&pool, &(brood_pool_options){.workers = 2}));
    roundtrip_measure("apply", apply, pool);
    roundtrip_measure("submit and wait", submit_and_wait, pool);
    return 0;
}
