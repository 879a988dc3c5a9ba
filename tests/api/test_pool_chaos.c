/* SPDX-License-Identifier: MIT */
/*
 * Everything at once and at random: tasks that return, fail, crash, hang, print, fork and return
 * data of all sizes, with random limits, attempts, priorities and ways of asking, some cancelled,
 * while idle and busy workers are killed or stopped. What must be true of each verdict is known
 * from the task's kind and options; at the end nothing is under way, kept or lost.
 */
#include "api/pool_kit.h"

#include <stdint.h>

enum kind { RETURNS, FAILS, CRASHES, EXITS, HANGS, FORKS, GIVES, CRASHES_ONCE, KINDS };

enum { ROUNDS_MS = 3000, BATCH = 60 };

struct order {
    uint32_t kind;
    uint32_t number;
    uint32_t len;
    char padding[300]; /* too long to travel in the slot, now and then */
};

static unsigned char byte_of(uint32_t number, uint32_t i)
{
    return (unsigned char)(number * 7 + i * 13 + 1);
}

static int give(brood_task *task, const struct order *order)
{
    unsigned char *data = brood_task_alloc(task, order->len);

    if (data == NULL)
        return -ENOMEM;
    for (uint32_t i = 0; i < order->len; i++)
        data[i] = byte_of(order->number, i);
    return 0;
}

static int task_obey(brood_task *task)
{
    const struct order *order = task->in;

    switch ((enum kind)order->kind) {
    case FAILS:
        return -EIO;
    case CRASHES_ONCE:
        if (task->attempt > 0)
            return 0;
        (void)kill(getpid(), SIGKILL);
        return 0;
    case CRASHES:
        abort();
    case EXITS:
        exit(3);
    case HANGS:
        return task_for_ever(task);
    case FORKS:
        if (fork() == 0)
            return task_for_ever(task);
        return 0;
    case GIVES:
        return give(task, order);
    default:
        return 0;
    }
}

struct asked {
    struct order order;
    brood_future *future;
    bool told; /* by a callback */
    int cancelled;
    brood_task_options options;
};

static struct asked asked[BATCH];
static bool killing; /* whether workers are killed from outside in this batch */

static bool is_crash_possible(const struct asked *one)
{
    return killing || one->order.kind == CRASHES || one->order.kind == EXITS ||
           (one->order.kind == CRASHES_ONCE &&
            (one->options.retries == 0 || one->options.deadline_ms != 0));
}

static void check_verdict(const struct asked *one, const brood_result *result)
{
    const bool limited = one->options.deadline_ms != 0 || one->options.timeout_ms != 0;

    CHECK_EQ(result->tag, one);
    if (one->cancelled == 1)
        CHECK_EQ(result->verdict, BROOD_ECANCELLED);
    switch (result->verdict) {
    case 0:
        CHECK(one->order.kind != FAILS && one->order.kind != CRASHES && one->order.kind != EXITS &&
              one->order.kind != HANGS);
        break;
    case -EIO:
        CHECK_EQ(one->order.kind, FAILS);
        break;
    case BROOD_ECRASHED:
        if (!is_crash_possible(one))
            FAIL("kind %u crashed: signal %d, cause %d, code %d, attempts %u of %u",
                 one->order.kind, result->outcome.signal, (int)result->outcome.cause,
                 result->outcome.code, result->outcome.attempts, one->options.retries + 1);
        break;
    case BROOD_ECANCELLED:
        CHECK_EQ(one->cancelled, 1);
        break;
    case BROOD_EDEADLINE:
        CHECK(limited);
        break;
    default:
        FAIL("verdict %d (%s)", result->verdict, brood_strerror(result->verdict));
    }
    CHECK((result->verdict == 0 && one->order.kind == GIVES) == (result->data != NULL));
    for (uint32_t i = 0; result->data != NULL && i < one->order.len; i++)
        CHECK_EQ(((const unsigned char *)result->data)[i], byte_of(one->order.number, i));
}

static void on_done(const brood_result *result, void *context)
{
    struct asked *one = context;

    CHECK(!one->told);
    one->told = true;
    check_verdict(one, result);
}

static void submit_one(brood_pool *pool, struct asked *one, uint32_t number)
{
    const uint32_t lens[] = {0, 10, 64, 65, 1000, 70000};
    bool short_input = test_random_below(2) == 0;

    *one = (struct asked){.order = {.kind = (uint32_t)test_random_below(KINDS),
                                    .number = number,
                                    .len = lens[1 + test_random_below(5)]}};
    if (one->order.kind == HANGS && test_random_below(8) != 0)
        one->order.kind = RETURNS;
    one->options = (brood_task_options){.tag = one,
                                        .priority = (int)test_random_below(3) - 1,
                                        .retries = (unsigned)test_random_below(3)};
    if (test_random_below(4) == 0)
        one->options.retry_delay_ms = 1 + (int64_t)test_random_below(5);
    if (test_random_below(6) == 0)
        one->options.deadline_ms = 1 + (int64_t)test_random_below(20);
    if (one->order.kind == HANGS || test_random_below(6) == 0)
        one->options.timeout_ms = 1 + (int64_t)test_random_below(10);
    if (test_random_below(3) == 0) {
        one->options.on_done = on_done;
        one->options.on_done_context = one;
    }
    CHECK_EQ(brood_pool_submit(pool, task_obey, &one->order,
                               short_input ? offsetof(struct order, padding) : sizeof one->order,
                               &one->options, &one->future),
             0);
}

static void disturb(brood_pool *pool)
{
    int pids[3] = {0}, count = CHECK_OK(brood_pool_pids(pool, pids, 3));

    if (count > 0)
        (void)kill(pids[test_random_below((uint64_t)count)], SIGKILL);
}

/* In some order: waits, cancels, looks, lets go. */
static void take_one(brood_pool *pool, struct asked *one)
{
    switch (test_random_below(5)) {
    case 0:
        one->cancelled = CHECK_OK(brood_future_cancel(one->future));
        break;
    case 1:
        (void)brood_future_ready(one->future);
        break;
    case 2:
        CHECK_OK(brood_future_fd(one->future));
        CHECK_OK(brood_pool_dispatch(pool));
        break;
    default:
        break;
    }
    if (one->options.on_done == NULL && test_random_below(10) == 0) {
        brood_future_free(one->future); /* nobody will know */
        return;
    }
    check_verdict(one, result_of(one->future));
    brood_future_free(one->future);
}

static uint32_t run_batch(brood_pool *pool, uint32_t number)
{
    killing = test_random_below(2) == 0;
    for (int i = 0; i < BATCH; i++) {
        submit_one(pool, &asked[i], number++);
        if (killing && test_random_below(20) == 0)
            disturb(pool);
    }
    for (int i = 0; i < BATCH; i++)
        take_one(pool, &asked[(i * 7 + 3) % BATCH]);
    CHECK_OK(brood_pool_join(pool, TEST_PATIENCE_MS));
    for (int i = 0; i < BATCH; i++)
        CHECK_EQ(asked[i].told, asked[i].options.on_done != NULL);
    return number;
}

static void chaos(const brood_pool_options *options)
{
    brood_pool *pool = pool_with(options);
    const int64_t end = now_ms() + ROUNDS_MS;
    uint32_t number = 0;
    brood_pool_stats stats;

    while (now_ms() < end)
        number = run_batch(pool, number);
    stats = stats_of(pool);
    CHECK_EQ(stats.submitted, number);
    CHECK_EQ(stats.succeeded + stats.failed, number);
    CHECK_EQ(stats.heap_used, 0);
    check_works(pool);
    printf("%u tasks, %llu deaths, %llu failed, %llu retried\n", number,
           (unsigned long long)stats.worker_deaths, (unsigned long long)stats.failed,
           (unsigned long long)stats.retried);
    brood_pool_free(pool);
}

TEST_LIMIT(chaos_in_a_small_pool, 60)
{
    chaos(&(brood_pool_options){.workers = 2, .strikes_max = 100});
}

TEST_LIMIT(chaos_with_little_room, 60)
{
    chaos(&(brood_pool_options){.workers = 3, .backlog_max = 5, .heap_max = MIB});
}

TEST_LIMIT(chaos_in_a_namespace, 60)
{
    chaos(&(brood_pool_options){.workers = 2,
                                .containment = BROOD_CONTAIN_NAMESPACE,
                                .worker_tasks_max = 7,
                                .memory_max = 1u << 30});
}
