/* SPDX-License-Identifier: MIT */
/*
 * A pool whose calls into the kernel and the allocator fail, and whose processes die, at each
 * point in turn. Promise: every call returns a precise error or does its work; each task that
 * was accepted ends exactly once, with its right result or a verdict that says what went wrong;
 * nothing is left.
 */
#include "harness/sweep.h"
#include "harness/test.h"
#include "run/server.h"

#include <brood.h>
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

enum { TASKS = 24, ITEMS = 300, LARGE = 300 * 1024 };

static char large[LARGE];
static int items_in[ITEMS], items_out[ITEMS];

/* Which errors a call may give when something below it fails. */
static void check_known(int error)
{
    static const int known[] = {-ENOMEM, -EMFILE,     -ENFILE,        -EAGAIN,        -ENOSYS,
                                -EPERM,  -EPIPE,      -EIO,           -EINVAL,        -ESRCH,
                                -ECHILD, -EBADF,      BROOD_ELOST,    BROOD_ECRASHED, -EINTR,
                                -ENOENT, BROOD_EINIT, BROOD_ETHREADS, -ENOSPC};

    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (known[i] == error)
            return;
    FAIL("unexpected error %d", error);
}

/* Even ones double their number, odd ones return their large input. */
static int echo(brood_task *task)
{
    int number;

    if (task->in_len == sizeof number) {
        memcpy(&number, task->in, sizeof number);
        number *= 2;
        return brood_task_return(task, &number, sizeof number);
    }
    return brood_task_return(task, task->in, task->in_len);
}

static int die(brood_task *task)
{
    (void)task;
    return raise(SIGKILL);
}

static int add_one(brood_task *task)
{
    const int *in = task->in;
    int *out = task->out;

    *out = *in + 1;
    return 0;
}

static void check_result(const brood_result *result)
{
    int number;

    if (result->verdict < 0) {
        check_known(result->verdict);
        return;
    }
    CHECK(result->data != NULL);
    if (result->index % 2 == 1) {
        CHECK_EQ(result->len, LARGE);
        CHECK(memcmp(result->data, large, LARGE) == 0);
        return;
    }
    CHECK_EQ(result->len, sizeof number);
    memcpy(&number, result->data, sizeof number);
    CHECK_EQ(number, (int)result->index * 2);
}

static void use_group(brood_pool *pool)
{
    brood_group *group = NULL;
    const brood_result *result;
    unsigned accepted = 0, taken = 0;
    int r = brood_group_new(&group, pool, &(brood_group_options){.ordered = true});

    if (r < 0) {
        check_known(r);
        return;
    }
    for (int i = 0; i < TASKS; i++) {
        r = brood_group_submit(group, echo, i % 2 ? (const void *)large : &i,
                               i % 2 ? sizeof large : sizeof i, NULL);
        if (r < 0)
            check_known(r);
        if (r < 0)
            break; /* the index of the later ones would no longer be their number */
        accepted++;
    }
    while (brood_group_next(group, TEST_PATIENCE_MS, &result) == 1) {
        CHECK_EQ(result->index, taken);
        check_result(result);
        taken++;
    }
    CHECK_EQ(taken, accepted);
    brood_group_free(group);
}

static void use_map(brood_pool *pool)
{
    int r;

    for (int i = 0; i < ITEMS; i++)
        items_in[i] = i;
    memset(items_out, 0, sizeof items_out);
    r = brood_pool_map(pool, add_one, BROOD_IN(items_in, ITEMS), BROOD_OUT(items_out, ITEMS), NULL);
    if (r < 0)
        check_known(r);
    for (int i = 0; i < ITEMS; i++) {
        CHECK(items_out[i] == i + 1 || items_out[i] == 0);
        r -= r > 0 && items_out[i] == 0;
    }
    CHECK(r <= 0);
}

static void use_future(brood_pool *pool)
{
    const brood_task_options options = {.retries = 1, .timeout_ms = 60000};
    const brood_result *result;
    brood_future *future;
    int r = brood_pool_submit(pool, die, NULL, 0, &options, &future);

    if (r < 0) {
        check_known(r);
        return;
    }
    CHECK_OK(brood_future_wait(future, TEST_PATIENCE_MS, &result));
    check_known(result->verdict);
    brood_future_free(future);
}

static void use_pool(const brood_pool_options *options)
{
    brood_pool *pool = NULL;
    int r = brood_pool_new(&pool, options);

    if (r < 0) {
        check_known(r);
        return;
    }
    use_group(pool);
    use_future(pool);
    use_map(pool);
    r = brood_pool_join(pool, TEST_PATIENCE_MS);
    CHECK_EQ(r, 0); /* everybody asked for everything */
    brood_pool_free(pool);
}

static void scenario(void *context)
{
    use_pool(context);
    brood__server_stop(); /* it serves until the program ends */
}

TEST_LIMIT(a_pool_survives_every_failing_call, 600)
{
    brood_pool_options options = {.workers = 2};

    sweep_faults(scenario, &options, &(struct sweep_options){.sample = 80});
}

TEST_LIMIT(a_pool_of_a_fork_server_survives_every_failing_call, 600)
{
    brood_pool_options options = {.workers = 2, .start = BROOD_START_FORKSERVER};

    sweep_faults(scenario, &options, &(struct sweep_options){.sample = 60});
}

TEST_LIMIT(a_pool_in_a_namespace_survives_every_failing_call, 600)
{
    brood_pool_options options = {.workers = 2, .containment = BROOD_CONTAIN_NAMESPACE};

    sweep_faults(scenario, &options, &(struct sweep_options){.sample = 40});
}

TEST_LIMIT(a_pool_survives_the_death_of_any_process_at_any_point, 600)
{
    brood_pool_options options = {.workers = 2};

    sweep_kills(scenario, &options, &(struct sweep_options){.sample = 60});
}

TEST_LIMIT(nothing_of_a_pool_survives_its_caller, 600)
{
    brood_pool_options options = {.workers = 2};

    sweep_kills(
        scenario, &options,
        &(struct sweep_options){.sample = 60, .roles = 1 << ROLE_CALLER | 1 << ROLE_SUPERVISOR});
}
