/* SPDX-License-Identifier: MIT */
/* Futures: waiting, asking, polling, letting go. Cancelling is in test_pool_death.c. */
#include "api/pool_kit.h"

#include <sys/epoll.h>

TEST(a_wait_that_times_out_leaves_the_task_running)
{
    struct gate *go = gate_new();
    struct two_gates gates = {NULL, go};
    brood_pool *pool = pool_of(1);
    brood_future *future = submit(pool, task_gates, &gates, sizeof gates, NULL);
    const brood_result *result = (const brood_result *)(uintptr_t)1;
    int64_t start = now_ms();

    CHECK_ERR(brood_future_wait(future, 0, &result), -ETIMEDOUT);
    CHECK_ERR(brood_future_wait(future, 25, &result), -ETIMEDOUT);
    CHECK(now_ms() - start >= 25);
    CHECK_EQ((uintptr_t)result, 1);
    CHECK(!brood_future_ready(future));
    gate_open(go);
    CHECK_EQ(brood_future_wait(future, BROOD_FOREVER, &result), 0);
    CHECK_EQ(result->verdict, 0);
    CHECK(brood_future_ready(future));
    CHECK_EQ(brood_future_wait(future, 0, NULL), 0);
    brood_future_free(future);
    brood_pool_free(pool);
    gate_free(go);
}

TEST(a_result_stays_the_same_until_the_future_is_freed)
{
    brood_pool *pool = pool_of(2);
    long x = 12;
    brood_future *future =
        submit(pool, task_square, &x, sizeof x, &(brood_task_options){.out_size = sizeof x});
    const brood_result *first = result_of(future);

    check_works(pool);
    CHECK_EQ(brood_pool_apply(pool, task_kill_itself, NULL, 0, NULL, 0), BROOD_ECRASHED);
    CHECK_EQ(result_of(future), first);
    CHECK_EQ(*(const long *)first->data, 144);
    brood_future_free(future);
    brood_pool_free(pool);
}

TEST(ready_becomes_true_without_a_wait)
{
    brood_pool *pool = pool_of(1);
    brood_future *future = submit(pool, task_nothing, NULL, 0, NULL);
    int64_t end = now_ms() + TEST_PATIENCE_MS;

    while (!brood_future_ready(future))
        CHECK(now_ms() < end);
    brood_future_free(future);
    brood_pool_free(pool);
}

TEST(a_future_that_is_let_go_does_not_stop_its_task)
{
    struct gate *runs = gate_new(), *go = gate_new(), *ended = gate_new();
    struct two_gates first = {runs, go}, second = {ended, NULL};
    brood_pool *pool = pool_of(1);

    brood_future_free(submit(pool, task_gates, &first, sizeof first, NULL));
    brood_future_free(submit(pool, task_gates, &second, sizeof second, NULL));
    gate_open(go);
    gate_wait(ended);
    CHECK_EQ(brood_pool_join(pool, TEST_PATIENCE_MS), 0);
    CHECK_EQ(stats_of(pool).succeeded, 2);
    brood_pool_free(pool);
    gate_free(runs);
    gate_free(go);
    gate_free(ended);
}

TEST(a_failure_whose_future_was_let_go_is_counted_by_join)
{
    struct gate *go = gate_new();
    struct two_gates gates = {NULL, go};
    brood_pool *pool = pool_of(1);

    CHECK_EQ(brood_pool_submit(pool, task_gates, &gates, sizeof gates, NULL, NULL), 0);
    brood_future_free(submit(pool, task_kill_itself, NULL, 0, NULL));
    gate_open(go);
    CHECK_EQ(brood_pool_join(pool, TEST_PATIENCE_MS), 1);
    brood_pool_free(pool);
    gate_free(go);
}

TEST(a_futures_descriptor_polls_readable_when_the_task_has_ended)
{
    struct gate *go = gate_new();
    struct two_gates gates = {NULL, go};
    brood_pool *pool = pool_of(1);
    brood_future *future = submit(pool, task_gates, &gates, sizeof gates, NULL);
    int fd = CHECK_OK(brood_future_fd(future));

    CHECK_EQ(brood_future_fd(future), fd);
    CHECK(!polls_readable(fd, 0));
    gate_open(go);
    CHECK(polls_readable(fd, TEST_PATIENCE_MS));
    CHECK(brood_future_ready(future));
    CHECK(polls_readable(fd, 0));
    brood_future_free(future);
    future = submit(pool, task_nothing, NULL, 0, NULL);
    CHECK_EQ(result_of(future)->verdict, 0);
    CHECK(polls_readable(CHECK_OK(brood_future_fd(future)), 0));
    brood_future_free(future);
    brood_pool_free(pool);
    gate_free(go);
}

TEST(descriptors_tell_of_crashes_timeouts_and_cancels_too)
{
    struct gate *runs = gate_new();
    brood_pool *pool = pool_of(1);
    brood_future *crash = submit(pool, task_kill_itself, NULL, 0, NULL);
    brood_future *late, *cancelled;

    CHECK(polls_readable(CHECK_OK(brood_future_fd(crash)), TEST_PATIENCE_MS));
    late = submit(pool, task_for_ever, NULL, 0, &(brood_task_options){.timeout_ms = 20});
    CHECK(polls_readable(CHECK_OK(brood_future_fd(late)), TEST_PATIENCE_MS));
    cancelled = submit(pool, task_for_ever, &runs, sizeof runs, NULL);
    gate_wait(runs);
    CHECK_EQ(brood_future_cancel(cancelled), 1);
    CHECK(polls_readable(CHECK_OK(brood_future_fd(cancelled)), TEST_PATIENCE_MS));
    brood_future_free(crash);
    brood_future_free(late);
    brood_future_free(cancelled);
    brood_pool_free(pool);
    gate_free(runs);
}

TEST(many_futures_in_one_epoll)
{
    enum { TASKS = 100 };
    brood_pool *pool = pool_of(2);
    brood_future *futures[TASKS];
    int epoll = CHECK_OK(epoll_create1(EPOLL_CLOEXEC));

    for (long i = 0; i < TASKS; i++) {
        struct epoll_event event = {.events = EPOLLIN};

        futures[i] =
            submit(pool, task_square, &i, sizeof i, &(brood_task_options){.out_size = sizeof i});
        event.data.u32 = (uint32_t)i;
        CHECK_EQ(epoll_ctl(epoll, EPOLL_CTL_ADD, CHECK_OK(brood_future_fd(futures[i])), &event), 0);
    }
    for (int left = TASKS; left > 0; left--) {
        struct epoll_event event;
        long i;

        CHECK_EQ(epoll_wait(epoll, &event, 1, (int)TEST_PATIENCE_MS), 1);
        i = (long)event.data.u32;
        CHECK(brood_future_ready(futures[i]));
        CHECK_EQ(*(const long *)result_of(futures[i])->data, i * i);
        brood_future_free(futures[i]);
    }
    (void)close(epoll);
    brood_pool_free(pool);
}

static void count_call(const brood_result *result, void *context)
{
    CHECK_EQ(result->verdict, 0);
    ++*(int *)context;
}

TEST(a_future_and_its_callback_are_told_both)
{
    brood_pool *pool = pool_of(1);
    int calls = 0;
    brood_future *future =
        submit(pool, task_nothing, NULL, 0,
               &(brood_task_options){.on_done = count_call, .on_done_context = &calls});

    CHECK_EQ(result_of(future)->verdict, 0);
    CHECK_EQ(calls, 0);
    CHECK_EQ(brood_pool_dispatch(pool), 1);
    CHECK_EQ(calls, 1);
    CHECK_EQ(result_of(future)->verdict, 0);
    brood_future_free(future);
    CHECK_EQ(brood_pool_dispatch(pool), 0);
    brood_pool_free(pool);
}

static void free_own_future(const brood_result *result, void *context)
{
    CHECK_EQ(result->verdict, 0);
    brood_future_free(*(brood_future **)context);
    CHECK_EQ(result->verdict, 0); /* still borrowed for the call */
}

TEST(a_callback_may_free_the_future_of_its_task)
{
    brood_pool *pool = pool_of(1);
    brood_future *future = NULL;

    future = submit(pool, task_nothing, NULL, 0,
                    &(brood_task_options){.on_done = free_own_future, .on_done_context = &future});
    CHECK_EQ(brood_pool_join(pool, TEST_PATIENCE_MS), 0);
    CHECK_ERR(brood_future_wait(future, 0, NULL), BROOD_EHANDLE);
    brood_pool_free(pool);
}
