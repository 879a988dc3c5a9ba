/* SPDX-License-Identifier: MIT */
/*
 * What does a mebibyte cost on its way through a task?
 *
 * The task copies its megabyte of input to a megabyte of result, so the floor is one memcpy.
 * In place, input and result lie in the pool's memory and nothing else is copied; copied, the
 * caller's memory is. Each call marks every page anew and looks for the marks in the result.
 */
#include "payload.h"

#include <brood/easy.h>

struct in_place {
    brood_pool *pool;
    char *in, *out;
};

static int return_copy(brood_task *task)
{
    void *data = brood_task_alloc(task, task->in_len);

    if (data == NULL)
        return -ENOMEM;
    memcpy(data, task->in, task->in_len);
    return 0;
}

static int fill_out(brood_task *task)
{
    memcpy(task->out, task->in, task->in_len);
    return 0;
}

static double by_reference(void *context, uint64_t mark)
{
    struct in_place *place = context;
    BROOD_AUTO(future) *future = NULL;
    const brood_result *result = NULL;

    payload_mark(place->in, mark);
    const int64_t start_ns = bench_now_ns();
    (void)BROOD_MUST(
        brood_pool_submit(place->pool, return_copy, place->in, PAYLOAD_LEN, NULL, &future));
    (void)BROOD_MUST(brood_future_wait(future, BROOD_FOREVER, &result));
    const double taken_ns = (double)(bench_now_ns() - start_ns);
    bench_must(result->len == PAYLOAD_LEN, "the length of the result");
    payload_check(result->data, mark);
    return taken_ns;
}

struct megabyte {
    char bytes[PAYLOAD_LEN];
};

static double by_map_of_one(void *context, uint64_t mark)
{
    struct in_place *place = context;
    struct megabyte *in = (struct megabyte *)(void *)place->in;
    struct megabyte *out = (struct megabyte *)(void *)place->out;

    payload_mark(place->in, mark);
    const int64_t start_ns = bench_now_ns();
    bench_must(BROOD_MUST(brood_pool_map(place->pool, fill_out, BROOD_IN(in, 1), BROOD_OUT(out, 1),
                                         NULL)) == 0,
               "the item failed");
    const double taken_ns = (double)(bench_now_ns() - start_ns);
    payload_check(place->out, mark);
    return taken_ns;
}

static double by_copy(void *context, uint64_t mark)
{
    struct in_place *place = context;

    payload_mark(place->in, mark);
    const int64_t start_ns = bench_now_ns();
    (void)BROOD_MUST(
        brood_pool_apply(place->pool, fill_out, place->in, PAYLOAD_LEN, place->out, PAYLOAD_LEN));
    const double taken_ns = (double)(bench_now_ns() - start_ns);
    payload_check(place->out, mark);
    return taken_ns;
}

int main(void)
{
    BROOD_AUTO(pool) *pool = NULL;

    (void)BROOD_MUST(brood_pool_new(&pool, &(brood_pool_options){.workers = 2}));
    struct in_place shared = {.pool = pool,
                              .in = BROOD_MUST_HAVE(brood_pool_alloc(pool, PAYLOAD_LEN)),
                              .out = BROOD_MUST_HAVE(brood_pool_alloc(pool, PAYLOAD_LEN))};
    payload_measure("in place, result by reference", by_reference, &shared);
    payload_measure("in place, map of one", by_map_of_one, &shared);
    struct in_place own = {.pool = pool,
                           .in = BROOD_MUST_HAVE(malloc(PAYLOAD_LEN)),
                           .out = BROOD_MUST_HAVE(malloc(PAYLOAD_LEN))};
    payload_measure("copied in and out", by_copy, &own);
    free(own.in);
    free(own.out);
    return 0;
}
