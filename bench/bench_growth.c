/* SPDX-License-Identifier: MIT */
/*
 * How does the cost grow with the number of workers, of tasks, and of bytes?
 *
 * One to 64 workers: opening the pool, and tiny tasks through it. A thousand to ten million
 * tasks through one group. Nothing to 64 MiB of payload, copied in, copied by the task, and
 * read in place by the caller. The answers are checked as in the programs for one question.
 */
#include "bench.h"

#include <brood/easy.h>

enum { WORKERS_MAX = 64, TASKS_FOR_WORKERS = 200000, WINDOW = 1024 };

static int square(brood_task *task)
{
    const uint64_t *in = task->in;
    uint64_t *out = task->out;

    *out = *in * *in;
    return 0;
}

static double tasks_per_second(brood_pool *pool, uint64_t tasks)
{
    const brood_task_options options = {.out_size = sizeof(uint64_t)};
    BROOD_AUTO(group) *group = NULL;
    const brood_result *result = NULL;
    uint64_t x = 0;
    uint64_t sum = 0;
    const int64_t start_ns = bench_now_ns();

    (void)BROOD_MUST(brood_group_new(&group, pool, &(brood_group_options){.window = WINDOW}));
    for (;;) {
        for (; x < tasks && brood_group_room(group) > 0; x++)
            (void)BROOD_MUST(brood_group_submit(group, square, &x, sizeof x, &options));
        if (BROOD_MUST(brood_group_next(group, BROOD_FOREVER, &result)) == 0)
            break;
        (void)BROOD_MUST(result->verdict);
        sum += *(const uint64_t *)result->data;
    }
    const double seconds = bench_seconds_since(start_ns);
    bench_must(sum == bench_square_sum(tasks), "the sum of the tasks");
    return (double)tasks / seconds;
}

static void measure_workers(unsigned workers)
{
    BROOD_AUTO(pool) *pool = NULL;
    char text[64];
    const int64_t start_ns = bench_now_ns();

    (void)BROOD_MUST(brood_pool_new(&pool, &(brood_pool_options){.workers = workers}));
    const double open_ms = bench_seconds_since(start_ns) * 1000;
    (void)snprintf(text, sizeof text, "%u workers, open", workers);
    bench_emit("growth", text, "ms", open_ms);
    (void)snprintf(text, sizeof text, "%u workers, group", workers);
    bench_emit("growth", text, "tasks/s", tasks_per_second(pool, TASKS_FOR_WORKERS));
}

static void measure_tasks(brood_pool *pool, int exponent)
{
    uint64_t tasks = 1;
    char text[64];

    for (int i = 0; i < exponent; i++)
        tasks *= 10;
    (void)snprintf(text, sizeof text, "10^%d tasks, group", exponent);
    bench_emit("growth", text, "tasks/s", tasks_per_second(pool, tasks));
}

static int echo(brood_task *task)
{
    return brood_task_return(task, task->in, task->in_len);
}

static double echo_ns(brood_pool *pool, const char *data, size_t len)
{
    BROOD_AUTO(future) *future = NULL;
    const brood_result *result = NULL;
    const int64_t start_ns = bench_now_ns();

    (void)BROOD_MUST(brood_pool_submit(pool, echo, len == 0 ? NULL : data, len, NULL, &future));
    (void)BROOD_MUST(brood_future_wait(future, BROOD_FOREVER, &result));
    const double taken_ns = (double)(bench_now_ns() - start_ns);
    (void)BROOD_MUST(result->verdict);
    bench_must(result->len == len, "the length of an echo");
    bench_must(len == 0 || memcmp(result->data, data, len) == 0, "the bytes of an echo");
    return taken_ns;
}

static size_t calls_for(size_t len)
{
    return len <= BENCH_MIB ? 200 : 8;
}

static void measure_payload(brood_pool *pool, const char *name, size_t len)
{
    double taken_ns[200];
    char text[64];
    char *data = BROOD_MUST_HAVE(malloc(len + 1));

    memset(data, 0x5a, len + 1);
    for (size_t i = 0; i < 3; i++)
        (void)echo_ns(pool, data, len);
    for (size_t i = 0; i < calls_for(len); i++)
        taken_ns[i] = echo_ns(pool, data, len);
    (void)snprintf(text, sizeof text, "%s payload, echo", name);
    bench_emit("growth", text, "us", bench_median(taken_ns, calls_for(len)) / 1000);
    free(data);
}

int main(void)
{
    static const struct {
        const char *name;
        size_t len;
    } payloads[] = {{"0 B", 0},
                    {"64 B", 64},
                    {"1 KiB", BENCH_KIB},
                    {"16 KiB", 16 * BENCH_KIB},
                    {"1 MiB", BENCH_MIB},
                    {"16 MiB", 16 * BENCH_MIB},
                    {"64 MiB", 64 * BENCH_MIB}};
    BROOD_AUTO(pool) *pool = NULL;

    for (unsigned workers = 1; workers <= WORKERS_MAX; workers *= 2)
        measure_workers(workers);
    (void)BROOD_MUST(brood_pool_new(&pool, &(brood_pool_options){.workers = 2}));
    for (int exponent = 3; exponent <= 7; exponent++)
        measure_tasks(pool, exponent);
    for (size_t i = 0; i < sizeof payloads / sizeof payloads[0]; i++)
        measure_payload(pool, payloads[i].name, payloads[i].len);
    return 0;
}
