/* SPDX-License-Identifier: MIT */
/*
 * How many tiny tasks a second go through a pool of two, given one by one?
 *
 * The task squares a number. Four ways to ask for it, as programs do: a window of futures waited
 * for in order; all futures first and then their results; a group that gives results as they
 * come; callbacks. Every way adds the results up, and the sum must be right.
 */
#include "bench.h"

#include <brood/easy.h>

enum { TASKS = 1000000, FUTURES_AT_ONCE = 200000, WINDOW = 1024 };

static const brood_task_options fixed_size = {.out_size = sizeof(uint64_t)};

static int square(brood_task *task)
{
    const uint64_t *in = task->in;
    uint64_t *out = task->out;

    *out = *in * *in;
    return 0;
}

static uint64_t value_of(const brood_result *result)
{
    (void)BROOD_MUST(result->verdict);
    bench_must(result->len == sizeof(uint64_t), "the length of a result");
    return *(const uint64_t *)result->data;
}

static uint64_t finish(brood_future *future)
{
    const brood_result *result = NULL;

    (void)BROOD_MUST(brood_future_wait(future, BROOD_FOREVER, &result));
    const uint64_t value = value_of(result);
    brood_future_free(future);
    return value;
}

static brood_future *start(brood_pool *pool, uint64_t x)
{
    brood_future *future = NULL;

    (void)BROOD_MUST(brood_pool_submit(pool, square, &x, sizeof x, &fixed_size, &future));
    return future;
}

static uint64_t by_window_of_futures(brood_pool *pool, uint64_t tasks)
{
    brood_future *window[WINDOW] = {NULL};
    uint64_t sum = 0;

    for (uint64_t x = 0; x < tasks; x++) {
        if (x >= WINDOW)
            sum += finish(window[x % WINDOW]);
        window[x % WINDOW] = start(pool, x);
    }
    for (uint64_t x = tasks - WINDOW; x < tasks; x++)
        sum += finish(window[x % WINDOW]);
    return sum;
}

static uint64_t by_all_futures_first(brood_pool *pool, uint64_t tasks)
{
    brood_future **futures = calloc(tasks, sizeof(brood_future *));
    uint64_t sum = 0;

    bench_must(futures != NULL, "no memory");
    for (uint64_t x = 0; x < tasks; x++)
        futures[x] = start(pool, x);
    for (uint64_t x = 0; x < tasks; x++)
        sum += finish(futures[x]);
    free(futures);
    return sum;
}

static uint64_t by_group(brood_pool *pool, uint64_t tasks)
{
    BROOD_AUTO(group) *group = NULL;
    const brood_result *result = NULL;
    uint64_t x = 0;
    uint64_t sum = 0;

    (void)BROOD_MUST(brood_group_new(&group, pool, &(brood_group_options){.window = WINDOW}));
    for (;;) {
        for (; x < tasks && brood_group_room(group) > 0; x++)
            (void)BROOD_MUST(brood_group_submit(group, square, &x, sizeof x, &fixed_size));
        if (BROOD_MUST(brood_group_next(group, BROOD_FOREVER, &result)) == 0)
            return sum;
        sum += value_of(result);
    }
}

static void add(const brood_result *result, void *context)
{
    *(uint64_t *)context += value_of(result);
}

static uint64_t by_callbacks(brood_pool *pool, uint64_t tasks)
{
    uint64_t sum = 0;
    const brood_task_options options = {
        .out_size = sizeof(uint64_t), .on_done = add, .on_done_context = &sum};

    for (uint64_t x = 0; x < tasks; x++) {
        (void)BROOD_MUST(brood_pool_submit(pool, square, &x, sizeof x, &options, NULL));
        if (x % WINDOW == 0)
            (void)BROOD_MUST(brood_pool_dispatch(pool));
    }
    (void)BROOD_MUST(brood_pool_join(pool, BROOD_FOREVER));
    return sum;
}

static void measure(const char *name, uint64_t (*run)(brood_pool *, uint64_t), uint64_t tasks)
{
    BROOD_AUTO(pool) *pool = NULL;

    (void)BROOD_MUST(brood_pool_new(&pool, &(brood_pool_options){.workers = 2}));
    (void)run(pool, 2 * WINDOW);
    const int64_t start_ns = bench_now_ns();
    const uint64_t sum = run(pool, tasks);
    const double seconds = bench_seconds_since(start_ns);
    bench_must(sum == bench_square_sum(tasks), name);
    bench_emit("submit", name, "tasks/s", (double)tasks / seconds);
}

int main(void)
{
    measure("futures", by_window_of_futures, TASKS);
    measure("all futures first", by_all_futures_first, FUTURES_AT_ONCE);
    measure("group", by_group, TASKS);
    measure("callbacks", by_callbacks, TASKS);
    return 0;
}
