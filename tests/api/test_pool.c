/* SPDX-License-Identifier: MIT */
/*
 * The pool as its header promises it, while nothing goes wrong: opening, tasks, room, order,
 * callbacks, memory by reference, closing.
 */
#include "api/pool_kit.h"

#include <limits.h>
#include <pthread.h>
#include <sys/resource.h>

/* ---- opening ---- */

TEST(a_pool_opens_with_defaults_and_frees)
{
    brood_pool *pool = NULL;

    CHECK_EQ(brood_pool_new(&pool, NULL), 0);
    CHECK_EQ(stats_of(pool).workers, brood_cpu_count());
    brood_pool_free(pool);
}

TEST(opening_returns_when_all_workers_run)
{
    brood_pool *pool = pool_of(3);
    int pids[4] = {0};

    CHECK_EQ(stats_of(pool).workers, 3);
    CHECK_EQ(brood_pool_pids(pool, pids, 4), 3);
    for (int i = 0; i < 3; i++) {
        CHECK(pids[i] > 0);
        CHECK_EQ(kill(pids[i], 0), 0);
    }
    CHECK_EQ(pids[3], 0);
    CHECK_EQ(brood_pool_pids(pool, pids, 1), 3);
    CHECK_EQ(brood_pool_pids(pool, NULL, 0), 3);
    CHECK_ERR(brood_pool_pids(pool, NULL, 1), -EINVAL);
    brood_pool_free(pool);
}

static void refused(const brood_pool_options *options)
{
    brood_pool *pool = (brood_pool *)(uintptr_t)1;

    CHECK_ERR(brood_pool_new(&pool, options), -EINVAL);
    CHECK_EQ((uintptr_t)pool, 1);
}

TEST(options_out_of_range_are_refused_and_the_output_is_left_alone)
{
    int word;

    CHECK_ERR(brood_pool_new(NULL, NULL), -EINVAL);
    refused(&(brood_pool_options){.workers = 4095});
    refused(&(brood_pool_options){.workers = UINT_MAX});
    refused(&(brood_pool_options){.kind = 2});
    refused(&(brood_pool_options){.kind = -1});
    refused(&(brood_pool_options){.start = 3});
    refused(&(brood_pool_options){.start = -1});
    refused(&(brood_pool_options){.containment = 4});
    refused(&(brood_pool_options){.containment = -1});
    refused(&(brood_pool_options){.context_len = 1});
    refused(&(brood_pool_options){.backlog_max = (1u << 20) + 1});
    refused(&(brood_pool_options){.start = BROOD_START_FORKSERVER, .context = &word});
    for (int i = 0; i < 4; i++) {
        brood_pool_options options = {0};

        options.reserved[i] = 1;
        refused(&options);
    }
}

TEST(the_largest_backlog_works)
{
    brood_pool *pool = pool_with(&(brood_pool_options){.workers = 1, .backlog_max = 1u << 20});

    check_works(pool);
    brood_pool_free(pool);
}

TEST(a_backlog_that_is_no_power_of_two_works)
{
    brood_pool *pool = pool_with(&(brood_pool_options){.workers = 1, .backlog_max = 3});

    for (int i = 0; i < 1000; i++)
        CHECK_EQ(brood_pool_submit(pool, task_nothing, NULL, 0, NULL, NULL), 0);
    CHECK_EQ(brood_pool_join(pool, TEST_PATIENCE_MS), 0);
    brood_pool_free(pool);
}

TEST(free_takes_null_and_preserves_errno)
{
    brood_pool *pool = pool_of(1);

    errno = 42;
    brood_pool_free(NULL);
    brood_pool_free(pool);
    brood_future_free(NULL);
    brood_group_free(NULL);
    brood_pool_release(NULL, NULL);
    CHECK_EQ(errno, 42);
}

TEST(several_pools_work_side_by_side)
{
    brood_pool *pools[3];

    for (int i = 0; i < 3; i++)
        pools[i] = pool_of(1);
    for (int i = 0; i < 3; i++)
        check_works(pools[i]);
    brood_pool_free(pools[1]);
    check_works(pools[0]);
    check_works(pools[2]);
    brood_pool_free(pools[0]);
    brood_pool_free(pools[2]);
}

TEST(pools_come_and_go)
{
    for (unsigned i = 0; i < 50; i++) {
        brood_pool *pool = pool_of(1 + i % 3);

        if (i % 2 == 0)
            check_works(pool);
        brood_pool_free(pool);
    }
}

TEST(a_pool_opens_while_another_one_works)
{
    struct gate *runs = gate_new(), *go = gate_new();
    struct two_gates gates = {runs, go};
    brood_pool *first = pool_of(1);
    brood_pool *second;

    CHECK_EQ(brood_pool_submit(first, task_gates, &gates, sizeof gates, NULL, NULL), 0);
    gate_wait(runs);
    second = pool_of(1);
    check_works(second);
    gate_open(go);
    CHECK_EQ(brood_pool_join(first, TEST_PATIENCE_MS), 0);
    brood_pool_free(first);
    check_works(second);
    brood_pool_free(second);
    gate_free(runs);
    gate_free(go);
}

/* ---- tasks ---- */

TEST(apply_returns_what_the_task_wrote)
{
    brood_pool *pool = pool_of(2);

    check_works(pool);
    brood_pool_free(pool);
}

TEST(apply_returns_the_tasks_own_verdict)
{
    brood_pool *pool = pool_of(1);
    const int codes[] = {0, 7, INT_MAX, -1, -ENOENT, INT_MIN};

    for (size_t i = 0; i < sizeof codes / sizeof codes[0]; i++)
        CHECK_EQ(brood_pool_apply(pool, task_return_code, &codes[i], sizeof codes[i], NULL, 0),
                 codes[i]);
    CHECK_EQ(stats_of(pool).worker_deaths, 0);
    brood_pool_free(pool);
}

static int task_write_and_fail(brood_task *task)
{
    memset(task->out, 1, task->out_size);
    return -EIO;
}

TEST(apply_leaves_the_output_alone_when_the_task_fails)
{
    brood_pool *pool = pool_of(1);
    char small[8] = "before", large[500] = "before";

    CHECK_ERR(brood_pool_apply(pool, task_write_and_fail, NULL, 0, small, sizeof small), -EIO);
    CHECK_STR(small, "before");
    CHECK_ERR(brood_pool_apply(pool, task_write_and_fail, NULL, 0, large, sizeof large), -EIO);
    CHECK_STR(large, "before");
    brood_pool_free(pool);
}

static int task_out_is_zero(brood_task *task)
{
    const unsigned char *out = task->out;

    for (size_t i = 0; i < task->out_size; i++)
        if (out[i] != 0)
            return -EBADMSG;
    memset(task->out, 0xff, task->out_size);
    return 0;
}

TEST(the_output_is_zero_when_the_task_begins)
{
    brood_pool *pool = pool_of(1);
    char out[3000];

    for (int i = 0; i < 20; i++) {
        CHECK_EQ(brood_pool_apply(pool, task_out_is_zero, NULL, 0, out, 40), 0);
        CHECK_EQ(brood_pool_apply(pool, task_out_is_zero, NULL, 0, out, sizeof out), 0);
    }
    brood_pool_free(pool);
}

static int task_sees_itself(brood_task *task)
{
    const char *text = task->in;

    if (task->in_len != 4 || memcmp(text, "abc", 4) != 0 || (uintptr_t)task->in % 16 != 0)
        return -1;
    if (task->out == NULL || task->out_size != 5 || task->count != 1 || task->index != 0)
        return -2;
    return task->attempt == 0 && task->context == NULL && task->state == NULL ? 0 : -3;
}

static int task_sees_nothing(brood_task *task)
{
    return task->in == NULL && task->in_len == 0 && task->out == NULL && task->out_size == 0 ? 0
                                                                                             : -1;
}

TEST(a_task_sees_what_it_was_given)
{
    brood_pool *pool = pool_of(1);
    char out[5];

    CHECK_EQ(brood_pool_apply(pool, task_sees_itself, "abc", 4, out, 5), 0);
    CHECK_EQ(brood_pool_apply(pool, task_sees_nothing, NULL, 0, NULL, 0), 0);
    brood_pool_free(pool);
}

TEST(the_input_is_copied_at_submit)
{
    struct gate *go = gate_new();
    brood_pool *pool = pool_of(1);
    struct two_gates gates = {NULL, go};
    long value = 3;
    brood_future *future;

    CHECK_EQ(brood_pool_submit(pool, task_gates, &gates, sizeof gates, NULL, NULL), 0);
    future = submit(pool, task_square, &value, sizeof value,
                    &(brood_task_options){.out_size = sizeof value});
    value = 100;
    gate_open(go);
    CHECK_EQ(*(const long *)result_of(future)->data, 9);
    brood_future_free(future);
    brood_pool_free(pool);
    gate_free(go);
}

TEST(bad_submissions_are_refused)
{
    brood_pool *pool = pool_of(1);
    brood_future *future = (brood_future *)(uintptr_t)1;
    char byte = 0;

    CHECK_ERR(brood_pool_submit(pool, NULL, NULL, 0, NULL, &future), -EINVAL);
    CHECK_ERR(brood_pool_submit(pool, task_nothing, NULL, 1, NULL, &future), -EINVAL);
    CHECK_ERR(brood_pool_submit(pool, task_nothing, NULL, 0, &(brood_task_options){.priority = 2},
                                &future),
              -EINVAL);
    CHECK_ERR(brood_pool_submit(pool, task_nothing, NULL, 0, &(brood_task_options){.priority = -2},
                                &future),
              -EINVAL);
    for (int i = 0; i < 4; i++) {
        brood_task_options options = {0};

        options.reserved[i] = 1;
        CHECK_ERR(brood_pool_submit(pool, task_nothing, NULL, 0, &options, &future), -EINVAL);
    }
    CHECK_ERR(brood_pool_apply(pool, task_nothing, NULL, 0, NULL, 1), -EINVAL);
    CHECK_ERR(brood_pool_submit(pool, task_nothing, &byte, SIZE_MAX, NULL, &future), -ENOMEM);
    CHECK_ERR(brood_pool_submit(pool, task_nothing, &byte, SIZE_MAX - 4095, NULL, &future),
              -ENOMEM);
    CHECK_ERR(brood_pool_submit(pool, task_nothing, NULL, 0,
                                &(brood_task_options){.out_size = SIZE_MAX}, &future),
              -ENOMEM);
    CHECK_ERR(brood_pool_submit(pool, task_nothing, NULL, 0,
                                &(brood_task_options){.out_size = (size_t)1 << 62}, &future),
              -ENOMEM);
    CHECK_EQ((uintptr_t)future, 1);
    CHECK_EQ(stats_of(pool).submitted, 0);
    CHECK_EQ(stats_of(pool).heap_used, 0);
    check_works(pool);
    brood_pool_free(pool);
}

TEST(the_tag_comes_back_and_times_are_measured)
{
    brood_pool *pool = pool_of(1);
    int tag;
    brood_future *future =
        submit(pool, task_nothing, NULL, 0, &(brood_task_options){.tag = &tag, .out_size = 3});
    const brood_result *result = result_of(future);

    CHECK_EQ(result->tag, &tag);
    CHECK_EQ(result->verdict, 0);
    CHECK_EQ(result->outcome.cause, BROOD_RETURNED);
    CHECK_EQ(result->outcome.attempts, 1);
    CHECK_EQ(result->outcome.signal, 0);
    CHECK(result->outcome.wall_us >= 0);
    CHECK_EQ(result->len, 3);
    CHECK(result->data != NULL);
    CHECK(result->outcome.report == NULL);
    CHECK_EQ(result->outcome.containment, stats_of(pool).containment);
    CHECK(!result->outcome.quarantined);
    brood_future_free(future);
    brood_pool_free(pool);
}

TEST(stats_count_what_happened)
{
    brood_pool *pool = pool_of(2);
    int code = -5;
    brood_pool_stats stats;

    check_works(pool);
    CHECK_EQ(brood_pool_apply(pool, task_return_code, &code, sizeof code, NULL, 0), -5);
    CHECK_EQ(brood_pool_apply(pool, task_kill_itself, NULL, 0, NULL, 0), BROOD_ECRASHED);
    stats = stats_of(pool);
    CHECK_EQ(stats.submitted, 22);
    CHECK_EQ(stats.succeeded, 20);
    CHECK_EQ(stats.failed, 2);
    CHECK_EQ(stats.retried, 0);
    CHECK_EQ(stats.worker_deaths, 1);
    CHECK_EQ(stats.heap_used, 0);
    CHECK_ERR(brood_pool_stats_get(pool, NULL), -EINVAL);
    brood_pool_free(pool);
}

/* ---- join ---- */

TEST(join_says_how_many_failures_nobody_asked_about)
{
    brood_pool *pool = pool_of(2);
    int bad = -1, good = 3;
    brood_future *future;

    CHECK_EQ(brood_pool_join(pool, 0), 0);
    for (int i = 0; i < 5; i++) {
        CHECK_EQ(brood_pool_submit(pool, task_return_code, &bad, sizeof bad, NULL, NULL), 0);
        CHECK_EQ(brood_pool_submit(pool, task_return_code, &good, sizeof good, NULL, NULL), 0);
    }
    CHECK_EQ(brood_pool_submit(pool, task_kill_itself, NULL, 0, NULL, NULL), 0);
    future = submit(pool, task_return_code, &bad, sizeof bad, NULL);
    CHECK_EQ(brood_pool_join(pool, TEST_PATIENCE_MS), 6);
    CHECK_EQ(brood_pool_join(pool, 0), 6);
    brood_future_free(future);
    brood_pool_free(pool);
}

TEST(join_times_out_while_a_task_runs)
{
    struct gate *go = gate_new();
    struct two_gates gates = {NULL, go};
    brood_pool *pool = pool_of(1);

    CHECK_EQ(brood_pool_submit(pool, task_gates, &gates, sizeof gates, NULL, NULL), 0);
    CHECK_ERR(brood_pool_join(pool, 0), -ETIMEDOUT);
    CHECK_ERR(brood_pool_join(pool, 20), -ETIMEDOUT);
    gate_open(go);
    CHECK_EQ(brood_pool_join(pool, BROOD_FOREVER), 0);
    brood_pool_free(pool);
    gate_free(go);
}

/* ---- callbacks ---- */

struct called {
    pthread_t thread;
    brood_pool *pool;
    int count, failed, depth;
};

static void on_done(const brood_result *result, void *context)
{
    struct called *called = context;

    CHECK(pthread_equal(called->thread, pthread_self()));
    CHECK_EQ(result->tag, called);
    called->count++;
    called->failed += result->verdict < 0;
}

TEST(callbacks_run_only_in_dispatch_and_join_and_only_here)
{
    brood_pool *pool = pool_of(2);
    struct called called = {.thread = pthread_self()};
    brood_task_options options = {.on_done = on_done, .on_done_context = &called, .tag = &called};
    int code = -1, fd = CHECK_OK(brood_pool_fd(pool));
    brood_future *future;

    CHECK(!polls_readable(fd, 0));
    CHECK_EQ(brood_pool_dispatch(pool), 0);
    future = submit(pool, task_return_code, &code, sizeof code, &options);
    CHECK_EQ(result_of(future)->verdict, -1);
    brood_future_free(future);
    check_works(pool);
    CHECK_EQ(called.count, 0);
    CHECK(polls_readable(fd, TEST_PATIENCE_MS));
    CHECK_EQ(brood_pool_dispatch(pool), 1);
    CHECK_EQ(called.count, 1);
    CHECK_EQ(called.failed, 1);
    CHECK(!polls_readable(fd, 0));
    for (int i = 0; i < 100; i++)
        CHECK_EQ(brood_pool_submit(pool, task_nothing, NULL, 0, &options, NULL), 0);
    CHECK_EQ(brood_pool_join(pool, TEST_PATIENCE_MS), 0);
    CHECK_EQ(called.count, 101);
    CHECK_EQ(called.failed, 1);
    brood_pool_free(pool);
}

TEST(the_pools_descriptor_wakes_an_event_loop)
{
    brood_pool *pool = pool_of(2);
    struct called called = {.thread = pthread_self()};
    brood_task_options options = {.on_done = on_done, .on_done_context = &called, .tag = &called};
    int fd = CHECK_OK(brood_pool_fd(pool));

    CHECK_EQ(brood_pool_fd(pool), fd);
    for (int i = 0; i < 500; i++)
        CHECK_EQ(brood_pool_submit(pool, i % 100 == 7 ? task_kill_itself : task_nothing, NULL, 0,
                                   &options, NULL),
                 0);
    while (called.count < 500) {
        CHECK(polls_readable(fd, TEST_PATIENCE_MS));
        (void)CHECK_OK(brood_pool_dispatch(pool));
    }
    CHECK_EQ(called.failed, 5);
    brood_pool_free(pool);
}

static void submit_again(const brood_result *result, void *context)
{
    struct called *called = context;
    brood_task_options options = {.on_done = submit_again, .on_done_context = called};
    long x = 6, y = 0;

    (void)result;
    called->count++;
    CHECK_EQ(brood_pool_apply(called->pool, task_square, &x, sizeof x, &y, sizeof y), 0);
    CHECK_EQ(y, 36);
    if (called->count < 5)
        CHECK_EQ(brood_pool_submit(called->pool, task_nothing, NULL, 0, &options, NULL), 0);
}

TEST(a_callback_may_use_the_pool_and_join_waits_for_what_it_adds)
{
    brood_pool *pool = pool_of(1);
    struct called called = {.pool = pool};
    brood_task_options options = {.on_done = submit_again, .on_done_context = &called};

    CHECK_EQ(brood_pool_submit(pool, task_nothing, NULL, 0, &options, NULL), 0);
    CHECK_EQ(brood_pool_join(pool, TEST_PATIENCE_MS), 0);
    CHECK_EQ(called.count, 5);
    brood_pool_free(pool);
}

TEST(a_pool_freed_with_callbacks_untold_never_tells_them)
{
    brood_pool *pool = pool_of(1);
    struct called called = {.thread = pthread_self()};
    brood_task_options options = {.on_done = on_done, .on_done_context = &called, .tag = &called};

    CHECK_EQ(brood_pool_submit(pool, task_nothing, NULL, 0, &options, NULL), 0);
    CHECK_EQ(brood_pool_submit(pool, task_for_ever, NULL, 0, &options, NULL), 0);
    brood_pool_free(pool);
    CHECK_EQ(called.count, 0);
}

/* ---- order and room ---- */

static int task_note_order(brood_task *task)
{
    struct {
        _Atomic int *counter;
        int *order;
    } const *in = task->in;

    *in->order = ++*in->counter;
    return 0;
}

TEST(higher_priorities_start_first)
{
    struct gate *runs = gate_new(), *go = gate_new();
    struct two_gates gates = {runs, go};
    int *order = share(4096);
    struct {
        _Atomic int *counter;
        int *order;
    } in = {(_Atomic int *)(order + 100), NULL};
    const int priorities[6] = {-1, 0, 1, -1, 0, 1};
    const int expected[6] = {5, 3, 1, 6, 4, 2};
    brood_pool *pool = pool_of(1);

    CHECK_EQ(brood_pool_submit(pool, task_gates, &gates, sizeof gates, NULL, NULL), 0);
    gate_wait(runs);
    for (int i = 0; i < 6; i++) {
        in.order = &order[i];
        CHECK_EQ(brood_pool_submit(pool, task_note_order, &in, sizeof in,
                                   &(brood_task_options){.priority = priorities[i]}, NULL),
                 0);
    }
    gate_open(go);
    CHECK_EQ(brood_pool_join(pool, TEST_PATIENCE_MS), 0);
    for (int i = 0; i < 6; i++)
        CHECK_EQ(order[i], expected[i]);
    brood_pool_free(pool);
    gate_free(runs);
    gate_free(go);
    CHECK_EQ(munmap(order, 4096), 0);
}

/* A pool of one worker that is busy until GO opens. */
static brood_pool *busy_pool(const brood_pool_options *options, struct gate *go)
{
    struct gate *runs = gate_new();
    struct two_gates gates = {runs, go};
    brood_pool *pool = pool_with(options);

    CHECK_EQ(brood_pool_submit(pool, task_gates, &gates, sizeof gates, NULL, NULL), 0);
    gate_wait(runs);
    gate_free(runs);
    return pool;
}

TEST(a_full_backlog_holds_submit_back)
{
    struct gate *go = gate_new();
    brood_pool *pool = busy_pool(&(brood_pool_options){.workers = 1, .backlog_max = 4}, go);
    brood_task_options at_once = {.room_wait_ms = -1}, soon = {.room_wait_ms = 30};
    int64_t start;

    for (int i = 0; i < 3; i++)
        CHECK_EQ(brood_pool_submit(pool, task_nothing, NULL, 0, &at_once, NULL), 0);
    CHECK_ERR(brood_pool_submit(pool, task_nothing, NULL, 0, &at_once, NULL), -EAGAIN);
    start = now_ms();
    CHECK_ERR(brood_pool_submit(pool, task_nothing, NULL, 0, &soon, NULL), -ETIMEDOUT);
    CHECK(now_ms() - start >= 29);
    gate_open(go);
    for (int i = 0; i < 100; i++)
        CHECK_EQ(brood_pool_submit(pool, task_nothing, NULL, 0, NULL, NULL), 0);
    CHECK_EQ(brood_pool_join(pool, TEST_PATIENCE_MS), 0);
    CHECK_EQ(stats_of(pool).submitted, 104);
    brood_pool_free(pool);
    gate_free(go);
}

TEST(a_full_heap_holds_submit_back)
{
    struct gate *go = gate_new();
    brood_pool *pool =
        busy_pool(&(brood_pool_options){.workers = 1, .heap_max = 4 * (uint64_t)MIB}, go);
    brood_task_options at_once = {.room_wait_ms = -1};
    char *data = calloc(1, 8 * MIB);
    int taken = 0, r;

    while ((r = brood_pool_submit(pool, task_nothing, data, MIB, &at_once, NULL)) == 0)
        CHECK(++taken <= 4);
    CHECK_ERR(r, -EAGAIN);
    CHECK(taken >= 3);
    CHECK(stats_of(pool).heap_used <= 4 * (uint64_t)MIB);
    CHECK_EQ(brood_pool_submit(pool, task_nothing, data, 64, &at_once, NULL), 0);
    CHECK_ERR(brood_pool_submit(pool, task_nothing, data, 8 * MIB, NULL, NULL), -ENOMEM);
    gate_open(go);
    for (int i = 0; i < 20; i++)
        CHECK_EQ(brood_pool_submit(pool, task_nothing, data, MIB, NULL, NULL), 0);
    CHECK_EQ(brood_pool_join(pool, TEST_PATIENCE_MS), 0);
    CHECK_EQ(stats_of(pool).heap_used, 0);
    brood_pool_free(pool);
    gate_free(go);
    free(data);
}

TEST(an_input_that_can_never_fit_is_no_memory)
{
    brood_pool *pool = pool_with(&(brood_pool_options){.workers = 1, .heap_max = MIB});
    char *data = calloc(1, 2 * MIB);

    CHECK_ERR(brood_pool_submit(pool, task_nothing, data, 2 * MIB, NULL, NULL), -ENOMEM);
    CHECK_ERR(brood_pool_submit(pool, task_nothing, NULL, 0,
                                &(brood_task_options){.out_size = 2 * MIB}, NULL),
              -ENOMEM);
    check_works(pool);
    brood_pool_free(pool);
    free(data);
}

TEST(results_that_are_kept_fill_the_heap_as_an_error_and_not_a_hang)
{
    brood_pool *pool = pool_with(&(brood_pool_options){.workers = 1, .heap_max = 2 * MIB});
    brood_future *futures[8] = {NULL};
    brood_task_options options = {.out_size = MIB / 2};
    int count = 0, r = 0;

    while (count < 8 && r == 0) {
        r = brood_pool_submit(pool, task_out_is_zero, NULL, 0, &options, &futures[count]);
        if (r == 0)
            CHECK_EQ(result_of(futures[count++])->verdict, 0);
    }
    CHECK_ERR(r, -ENOMEM);
    CHECK(count >= 3);
    brood_future_free(futures[--count]);
    CHECK_EQ(brood_pool_submit(pool, task_out_is_zero, NULL, 0, &options, NULL), 0);
    CHECK_EQ(brood_pool_join(pool, TEST_PATIENCE_MS), 0);
    while (count > 0)
        brood_future_free(futures[--count]);
    CHECK_EQ(stats_of(pool).heap_used, 0);
    brood_pool_free(pool);
}

/* ---- memory by reference ---- */

static int task_fill_in_place(brood_task *task)
{
    unsigned char *bytes = (unsigned char *)(uintptr_t)task->in;

    for (size_t i = 0; i < task->in_len; i++)
        bytes[i] = (unsigned char)(i * 7);
    return 0;
}

TEST(pool_memory_is_zeroed_aligned_and_seen_in_place)
{
    brood_pool *pool = pool_of(1);
    unsigned char *memory = brood_pool_alloc(pool, 100000);

    CHECK(memory != NULL);
    CHECK_EQ((uintptr_t)memory % 64, 0);
    for (int i = 0; i < 100000; i++)
        CHECK_EQ(memory[i], 0);
    CHECK(stats_of(pool).heap_used >= 100000);
    CHECK_EQ(brood_pool_apply(pool, task_fill_in_place, memory + 1000, 5000, NULL, 0), 0);
    CHECK_EQ(memory[999], 0);
    CHECK_EQ(memory[1003], 21);
    CHECK_EQ(memory[6000], 0);
    CHECK_EQ(brood_pool_apply(pool, task_fill_in_place, memory + 99999, 1, NULL, 0), 0);
    brood_pool_release(pool, memory + 1);
    brood_pool_release(pool, NULL);
    CHECK(stats_of(pool).heap_used >= 100000);
    brood_pool_release(pool, memory);
    CHECK_EQ(stats_of(pool).heap_used, 0);
    CHECK(brood_pool_alloc(pool, SIZE_MAX) == NULL);
    CHECK(brood_pool_alloc(NULL, 1) == NULL);
    memory = brood_pool_alloc(pool, 0);
    brood_pool_release(pool, memory);
    brood_pool_release(pool, &pool);
    brood_pool_free(pool);
}

/* ---- closing ---- */

TEST(a_closed_pool_finishes_what_it_has_and_takes_no_more)
{
    struct gate *go = gate_new();
    brood_pool *pool = busy_pool(&(brood_pool_options){.workers = 1}, go);
    brood_future *queued = submit(pool, task_nothing, NULL, 0, NULL);
    long items[3] = {1, 2, 3};

    brood_pool_close(pool);
    brood_pool_close(pool);
    CHECK_ERR(brood_pool_submit(pool, task_nothing, NULL, 0, NULL, NULL), BROOD_ECLOSED);
    CHECK_ERR(brood_pool_apply(pool, task_nothing, NULL, 0, NULL, 0), BROOD_ECLOSED);
    CHECK_ERR(brood_pool_map(pool, task_nothing, BROOD_IN(items, 3), BROOD_NO_OUT, NULL),
              BROOD_ECLOSED);
    gate_open(go);
    CHECK_EQ(result_of(queued)->verdict, 0);
    CHECK_EQ(brood_pool_join(pool, TEST_PATIENCE_MS), 0);
    brood_future_free(queued);
    brood_pool_free(pool);
    gate_free(go);
}

TEST(workers_of_a_closed_pool_end_when_all_is_done)
{
    struct gate *go = gate_new();
    brood_pool *pool = busy_pool(&(brood_pool_options){.workers = 2}, go);
    int pids[2] = {0}, pidfds[2];

    CHECK_EQ(brood_pool_pids(pool, pids, 2), 2);
    for (int i = 0; i < 2; i++)
        pidfds[i] = open_pidfd(pids[i]);
    brood_pool_close(pool);
    gate_open(go);
    for (int i = 0; i < 2; i++)
        await_death(pidfds[i]);
    CHECK_EQ(brood_pool_join(pool, TEST_PATIENCE_MS), 0);
    CHECK_EQ(stats_of(pool).worker_deaths, 0);
    brood_pool_free(pool);
    gate_free(go);
}

static void *submit_one(void *pool)
{
    static int result;

    result = brood_pool_submit(pool, task_nothing, NULL, 0, NULL, NULL);
    return &result;
}

TEST(close_wakes_who_waits_for_room)
{
    struct gate *go = gate_new();
    brood_pool *pool = busy_pool(&(brood_pool_options){.workers = 1, .backlog_max = 1}, go);
    pthread_t thread;
    void *result;

    CHECK_EQ(pthread_create(&thread, NULL, submit_one, pool), 0);
    brood_pool_close(pool);
    CHECK_EQ(pthread_join(thread, &result), 0);
    CHECK_EQ(*(int *)result, BROOD_ECLOSED);
    gate_open(go);
    brood_pool_free(pool);
    gate_free(go);
}
