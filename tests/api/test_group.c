/* SPDX-License-Identifier: MIT */
/* Groups: order, window, cancelling, polling, freeing at any moment. */
#include "api/pool_kit.h"

static brood_group *group_of(brood_pool *pool, const brood_group_options *options)
{
    brood_group *group = NULL;

    CHECK_EQ(brood_group_new(&group, pool, options), 0);
    CHECK(group != NULL);
    return group;
}

static const brood_result *next_of(brood_group *group)
{
    const brood_result *result = NULL;

    CHECK_EQ(brood_group_next(group, TEST_PATIENCE_MS, &result), 1);
    CHECK(result != NULL);
    return result;
}

static void submit_squares(brood_group *group, long count)
{
    for (long i = 0; i < count; i++)
        CHECK_EQ(brood_group_submit(group, task_square, &i, sizeof i,
                                    &(brood_task_options){.out_size = sizeof i}),
                 0);
}

TEST(bad_groups_are_refused)
{
    brood_pool *pool = pool_of(1);
    brood_group *group = (brood_group *)(uintptr_t)1;
    const brood_result *result;

    CHECK_ERR(brood_group_new(NULL, pool, NULL), -EINVAL);
    for (int i = 0; i < 4; i++) {
        brood_group_options options = {0};

        options.reserved[i] = 1;
        CHECK_ERR(brood_group_new(&group, pool, &options), -EINVAL);
    }
    CHECK_EQ((uintptr_t)group, 1);
    group = group_of(pool, NULL);
    CHECK_ERR(brood_group_next(group, 0, NULL), -EINVAL);
    CHECK_EQ(brood_group_next(group, 0, &result), 0);
    CHECK_ERR(brood_group_submit(group, NULL, NULL, 0, NULL), -EINVAL);
    CHECK_ERR(brood_group_submit(
                  group, task_nothing, NULL, 0,
                  &(brood_task_options){.on_done = (brood_done_fn *)(uintptr_t)&task_nothing}),
              -EINVAL);
    CHECK_ERR(
        brood_group_submit(group, task_nothing, NULL, 0, &(brood_task_options){.reserved = {1}}),
        -EINVAL);
    brood_group_free(group);
    brood_pool_free(pool);
}

TEST(an_unordered_group_gives_each_result_once_with_its_index)
{
    enum { TASKS = 5000 };
    static bool seen[TASKS];
    brood_pool *pool = pool_of(2);
    brood_group *group = group_of(pool, NULL);
    const brood_result *result;
    int r, count = 0;

    CHECK_EQ(brood_group_room(group), SIZE_MAX);
    submit_squares(group, TASKS);
    while ((r = CHECK_OK(brood_group_next(group, TEST_PATIENCE_MS, &result))) == 1) {
        CHECK(result->index < TASKS);
        CHECK(!seen[result->index]);
        seen[result->index] = true;
        CHECK_EQ(*(const long *)result->data, (long)(result->index * result->index));
        count++;
    }
    CHECK_EQ(count, TASKS);
    CHECK_EQ(brood_group_next(group, BROOD_FOREVER, &result), 0);
    brood_group_free(group);
    brood_pool_free(pool);
}

TEST(an_unordered_group_gives_the_first_that_ends_first)
{
    struct gate *go = gate_new();
    struct two_gates gates = {NULL, go};
    brood_pool *pool = pool_of(2);
    brood_group *group = group_of(pool, NULL);
    const brood_result *result;

    CHECK_EQ(brood_group_submit(group, task_gates, &gates, sizeof gates, NULL), 0);
    CHECK_EQ(brood_group_submit(group, task_nothing, NULL, 0, NULL), 0);
    CHECK_EQ(next_of(group)->index, 1);
    CHECK_ERR(brood_group_next(group, 0, &result), -ETIMEDOUT);
    CHECK_ERR(brood_group_next(group, 20, &result), -ETIMEDOUT);
    gate_open(go);
    CHECK_EQ(next_of(group)->index, 0);
    brood_group_free(group);
    brood_pool_free(pool);
    gate_free(go);
}

TEST(an_ordered_group_gives_results_in_the_order_of_inputs)
{
    enum { TASKS = 2000 };
    brood_pool *pool = pool_of(2);
    brood_group *group = group_of(pool, &(brood_group_options){.ordered = true});

    submit_squares(group, TASKS);
    for (uint64_t i = 0; i < TASKS; i++) {
        const brood_result *result = next_of(group);

        CHECK_EQ(result->index, i);
        CHECK_EQ(*(const long *)result->data, (long)(i * i));
    }
    brood_group_free(group);
    brood_pool_free(pool);
}

TEST(an_ordered_group_waits_for_the_first)
{
    struct gate *go = gate_new();
    struct two_gates gates = {NULL, go};
    brood_pool *pool = pool_of(2);
    brood_group *group = group_of(pool, &(brood_group_options){.ordered = true});
    const brood_result *result;
    int fd = CHECK_OK(brood_group_fd(group));

    CHECK_EQ(brood_group_submit(group, task_gates, &gates, sizeof gates, NULL), 0);
    for (int i = 0; i < 10; i++)
        CHECK_EQ(brood_group_submit(group, i % 2 ? task_nothing : task_kill_itself, NULL, 0, NULL),
                 0);
    CHECK_ERR(brood_group_next(group, 50, &result), -ETIMEDOUT);
    CHECK(!polls_readable(fd, 0));
    gate_open(go);
    for (uint64_t i = 0; i < 11; i++) {
        CHECK(polls_readable(fd, TEST_PATIENCE_MS));
        CHECK_EQ(brood_group_next(group, 0, &result), 1);
        CHECK_EQ(result->index, i);
        CHECK_EQ(result->verdict, i == 0 || i % 2 == 0 ? 0 : BROOD_ECRASHED);
    }
    brood_group_free(group);
    brood_pool_free(pool);
    gate_free(go);
}

static int task_index(brood_task *task)
{
    *(uint64_t *)task->out = task->index;
    return 0;
}

TEST(a_task_sees_its_index_in_the_group)
{
    brood_pool *pool = pool_of(2);
    brood_group *group = group_of(pool, NULL);

    for (int i = 0; i < 10; i++)
        CHECK_EQ(brood_group_submit(group, task_index, NULL, 0,
                                    &(brood_task_options){.out_size = sizeof(uint64_t)}),
                 0);
    for (int i = 0; i < 10; i++) {
        const brood_result *result = next_of(group);

        CHECK_EQ(*(const uint64_t *)result->data, result->index);
    }
    brood_group_free(group);
    brood_pool_free(pool);
}

TEST(the_window_limits_what_is_submitted_and_not_taken)
{
    brood_pool *pool = pool_of(2);
    brood_group *group = group_of(pool, &(brood_group_options){.window = 3});
    const brood_result *result;
    int submitted = 0, taken = 0;

    CHECK_EQ(brood_group_room(group), 3);
    while (taken < 500) {
        while (brood_group_room(group) > 0 && submitted < 500) {
            CHECK_EQ(brood_group_submit(group, task_nothing, NULL, 0, NULL), 0);
            submitted++;
        }
        if (submitted < 500)
            CHECK_ERR(brood_group_submit(group, task_nothing, NULL, 0, NULL), -EAGAIN);
        CHECK(submitted - taken <= 3);
        CHECK_EQ(brood_group_next(group, TEST_PATIENCE_MS, &result), 1);
        taken++;
    }
    CHECK_EQ(brood_group_room(group), 3);
    brood_group_free(group);
    brood_pool_free(pool);
}

TEST(a_group_larger_than_the_backlog_waits_for_room_by_itself)
{
    brood_pool *pool = pool_with(&(brood_pool_options){.workers = 2, .backlog_max = 8});
    brood_group *group = group_of(pool, NULL);

    submit_squares(group, 1000);
    for (int i = 0; i < 1000; i++)
        CHECK_EQ(next_of(group)->verdict, 0);
    brood_group_free(group);
    brood_pool_free(pool);
}

TEST(a_result_is_borrowed_until_the_next_one_is_taken)
{
    brood_pool *pool = pool_of(1);
    brood_group *group = group_of(pool, &(brood_group_options){.ordered = true});
    brood_task_options options = {.out_size = 100000};
    const brood_result *result;
    long x = 7;
    uint64_t used;

    for (int i = 0; i < 2; i++)
        CHECK_EQ(brood_group_submit(group, task_square, &x, sizeof x, &options), 0);
    result = next_of(group);
    CHECK_EQ(brood_pool_join(pool, TEST_PATIENCE_MS), 0);
    check_works(pool);
    CHECK_EQ(*(const long *)result->data, 49);
    used = stats_of(pool).heap_used;
    (void)next_of(group);
    CHECK(stats_of(pool).heap_used < used);
    CHECK_EQ(brood_group_next(group, 0, &result), 0);
    CHECK_EQ(stats_of(pool).heap_used, 0);
    brood_group_free(group);
    brood_pool_free(pool);
}

TEST(a_cancelled_group_gives_back_all_its_tasks_and_no_others)
{
    struct gate *runs = gate_new(), *go = gate_new();
    struct two_gates gates = {runs, go};
    brood_pool *pool = pool_of(2);
    brood_group *group = group_of(pool, NULL), *other = group_of(pool, NULL);
    const brood_result *result;

    CHECK_EQ(brood_group_submit(other, task_gates, &gates, sizeof gates, NULL), 0);
    gate_wait(runs);
    for (int i = 0; i < 50; i++) {
        CHECK_EQ(brood_group_submit(group, task_for_ever, &runs, i == 0 ? sizeof runs : 0,
                                    &(brood_task_options){.retries = 3}),
                 0);
        CHECK_EQ(brood_group_submit(other, task_nothing, NULL, 0, NULL), 0);
    }
    gate_wait_count(runs, 2);
    brood_group_cancel(group);
    for (int i = 0; i < 50; i++)
        CHECK_EQ(next_of(group)->verdict, BROOD_ECANCELLED);
    CHECK_EQ(brood_group_next(group, 0, &result), 0);
    gate_open(go);
    for (int i = 0; i < 51; i++)
        CHECK_EQ(next_of(other)->verdict, 0);
    CHECK_EQ(stats_of(pool).worker_deaths, 1);
    submit_squares(group, 10);
    for (int i = 0; i < 10; i++)
        CHECK_EQ(next_of(group)->verdict, 0);
    brood_group_free(group);
    brood_group_free(other);
    brood_pool_free(pool);
    gate_free(runs);
    gate_free(go);
}

TEST(a_group_that_is_freed_stops_its_tasks_and_waits_for_that)
{
    struct gate *runs = gate_new();
    brood_pool *pool = pool_of(2);

    for (int round = 0; round < 20; round++) {
        brood_group *group = group_of(pool, &(brood_group_options){.ordered = round % 2 == 0});

        CHECK_EQ(brood_group_submit(group, task_for_ever, &runs, sizeof runs,
                                    &(brood_task_options){.retries = 3, .timeout_ms = 5}),
                 0);
        submit_squares(group, 20);
        if (round % 3 == 0)
            gate_wait_count(runs, gate_counted(runs) + (gate_counted(runs) == 0));
        brood_group_free(group);
    }
    CHECK_EQ(brood_pool_join(pool, 0), 0);
    check_works(pool);
    brood_pool_free(pool);
    gate_free(runs);
}

TEST(the_groups_descriptor_is_readable_just_when_next_would_not_wait)
{
    struct gate *go = gate_new();
    struct two_gates gates = {NULL, go};
    brood_pool *pool = pool_of(1);
    brood_group *group = group_of(pool, NULL);
    const brood_result *result;
    int fd = CHECK_OK(brood_group_fd(group));

    CHECK_EQ(brood_group_fd(group), fd);
    CHECK(polls_readable(fd, 0)); /* next says at once that there is nothing */
    CHECK_EQ(brood_group_submit(group, task_gates, &gates, sizeof gates, NULL), 0);
    CHECK(!polls_readable(fd, 0));
    CHECK_EQ(brood_group_submit(group, task_nothing, NULL, 0, NULL), 0);
    gate_open(go);
    CHECK(polls_readable(fd, TEST_PATIENCE_MS));
    CHECK_EQ(brood_group_next(group, 0, &result), 1);
    CHECK(polls_readable(fd, TEST_PATIENCE_MS));
    CHECK_EQ(brood_group_next(group, 0, &result), 1);
    CHECK(polls_readable(fd, 0));
    CHECK_EQ(brood_group_next(group, 0, &result), 0);
    brood_group_free(group);
    brood_pool_free(pool);
    gate_free(go);
}

TEST(a_group_in_an_event_loop_sees_every_result)
{
    enum { TASKS = 400 };
    brood_pool *pool = pool_of(2);
    brood_group *group = group_of(pool, NULL);
    const brood_result *result;
    int fd = CHECK_OK(brood_group_fd(group)), count = 0, crashed = 0, r;

    for (int i = 0; i < TASKS; i++)
        CHECK_EQ(brood_group_submit(group, i % 50 == 20 ? task_kill_itself : task_nothing, NULL, 0,
                                    NULL),
                 0);
    while (count < TASKS) {
        CHECK(polls_readable(fd, TEST_PATIENCE_MS));
        while ((r = brood_group_next(group, 0, &result)) == 1) {
            count++;
            crashed += result->verdict == BROOD_ECRASHED;
        }
        CHECK(r == 0 || r == -ETIMEDOUT);
    }
    CHECK_EQ(crashed, TASKS / 50);
    brood_group_free(group);
    brood_pool_free(pool);
}

TEST(failures_in_a_group_are_not_counted_by_join)
{
    brood_pool *pool = pool_of(1);
    brood_group *group = group_of(pool, NULL);

    CHECK_EQ(brood_group_submit(group, task_kill_itself, NULL, 0, NULL), 0);
    CHECK_EQ(brood_pool_join(pool, TEST_PATIENCE_MS), 0);
    CHECK_EQ(next_of(group)->verdict, BROOD_ECRASHED);
    brood_group_free(group);
    brood_pool_free(pool);
}
