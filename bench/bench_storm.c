/* SPDX-License-Identifier: MIT */
/*
 * A million tasks, of which ten thousand kill their worker: is each finished exactly once, and
 * how fast is that?
 *
 * Each hundredth task sends itself SIGKILL. In the first round nothing is tried again, so those
 * must come back as crashed by signal 9 and all others with their value; in the second they die
 * at their first attempt only and must succeed at the second. Every execution also counts itself
 * in memory that workers and caller share, so a task that ran twice would show, however its
 * result looked.
 */
#include "bench.h"

#include <brood/easy.h>
#include <signal.h>

enum { TASKS = 1000000, DEADLY_EVERY = 100, DEATHS = TASKS / DEADLY_EVERY, WINDOW = 1024 };

static bool deadly(uint32_t x)
{
    return x % DEADLY_EVERY == DEADLY_EVERY / 2;
}

static int square_or_die(brood_task *task)
{
    const uint32_t x = *(const uint32_t *)task->in;
    uint8_t *const *runs = task->context;
    uint64_t *out = task->out;

    __atomic_fetch_add(&(*runs)[x], 1, __ATOMIC_RELAXED);
    if (deadly(x) && task->attempt == 0)
        (void)raise(SIGKILL);
    *out = (uint64_t)x * x;
    return 0;
}

/* What was seen of each task; the runs are counted by the workers. */
struct ledger {
    uint8_t *runs;
    uint8_t *results;
    unsigned retries;
    unsigned crashed;
};

static void check_result(struct ledger *ledger, const brood_result *result)
{
    const uint32_t x = (uint32_t)result->index;
    const bool dies = deadly(x) && ledger->retries == 0;

    bench_must(ledger->results[x]++ == 0, "a second result for a task");
    if (dies) {
        bench_must(result->verdict == BROOD_ECRASHED, "the verdict of a killed task");
        bench_must(result->outcome.signal == SIGKILL, "the signal of a killed task");
        ledger->crashed++;
        return;
    }
    bench_must(result->verdict == 0, "an innocent task failed");
    bench_must(*(const uint64_t *)result->data == (uint64_t)x * x, "the value of a task");
    bench_must(result->outcome.attempts == 1 + (unsigned)deadly(x), "the number of attempts");
}

static void run_all(brood_pool *pool, struct ledger *ledger)
{
    const brood_task_options options = {.out_size = sizeof(uint64_t), .retries = ledger->retries};
    BROOD_AUTO(group) *group = NULL;
    const brood_result *result = NULL;
    uint32_t x = 0;

    (void)BROOD_MUST(brood_group_new(&group, pool, &(brood_group_options){.window = WINDOW}));
    for (;;) {
        for (; x < TASKS && brood_group_room(group) > 0; x++)
            (void)BROOD_MUST(brood_group_submit(group, square_or_die, &x, sizeof x, &options));
        if (BROOD_MUST(brood_group_next(group, BROOD_FOREVER, &result)) == 0)
            return;
        check_result(ledger, result);
    }
}

static void check_ledger(const struct ledger *ledger, brood_pool *pool)
{
    brood_pool_stats stats = {0};

    (void)BROOD_MUST(brood_pool_stats_get(pool, &stats));
    bench_must(stats.worker_deaths == DEATHS, "the number of deaths");
    bench_must(ledger->crashed == (ledger->retries == 0 ? DEATHS : 0),
               "the number of crashed tasks");
    for (uint32_t x = 0; x < TASKS; x++) {
        bench_must(ledger->results[x] == 1, "a task without a result");
        bench_must(ledger->runs[x] == 1 + (ledger->retries > 0 && deadly(x)),
                   "how often a task ran");
    }
}

static void measure(const char *name, unsigned retries)
{
    BROOD_AUTO(pool) *pool = NULL;
    struct ledger ledger = {
        .runs = bench_shared(TASKS), .results = bench_shared(TASKS), .retries = retries};
    const brood_pool_options options = {
        .workers = 2, .context = &ledger.runs, .context_len = sizeof ledger.runs};

    (void)BROOD_MUST(brood_pool_new(&pool, &options));
    const int64_t start_ns = bench_now_ns();
    run_all(pool, &ledger);
    const double seconds = bench_seconds_since(start_ns);
    check_ledger(&ledger, pool);
    bench_emit("storm", name, "tasks/s", TASKS / seconds);
    (void)munmap(ledger.runs, TASKS);
    (void)munmap(ledger.results, TASKS);
}

int main(void)
{
    measure("10^6 tasks, 10^4 crash", 0);
    measure("10^6 tasks, 10^4 crash once and are retried", 1);
    return 0;
}
