/* SPDX-License-Identifier: MIT */
/*
 * Processes of brood that end as they should are no deaths to those with whom they shared a lock;
 * those that crash are. Who waits on a condition or an event is told of deaths, so a false one
 * would be a false alarm.
 */
#include "harness/test.h"

#include "ipc/member.h"

#include <brood.h>

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

struct shared {
    brood_lock lock;
    long uses;
};

static struct shared *shared; /* at the same address in copies of this process */

static void use(void)
{
    CHECK_OK(brood_lock_acquire(&shared->lock, BROOD_FOREVER));
    shared->uses++;
    CHECK_OK(brood_lock_release(&shared->lock));
}

static uint32_t deaths(void)
{
    const struct member *member;

    CHECK_OK(brood__member(shared, &member));
    brood__roster_look(member->roster);
    return brood__roster_deaths(member->roster);
}

static int use_and_end(void *how)
{
    use();
    if (*(int *)how == 1)
        exit(0);
    if (*(int *)how == 2)
        (void)raise(SIGKILL);
    return 0;
}

static uint32_t deaths_of_process(int how)
{
    brood_process *process = NULL;
    brood_outcome outcome;
    uint32_t before = deaths();

    CHECK_OK(brood_process_start(&process, use_and_end, &how, sizeof how,
                                 &(brood_process_options){.start = BROOD_START_FORK}));
    CHECK_OK(brood_process_join(process, TEST_PATIENCE_MS, &outcome));
    brood_process_free(process);
    return deaths() - before;
}

TEST(a_process_that_returns_or_exits_is_no_death_and_a_killed_one_is)
{
    shared = brood_shared_alloc(sizeof *shared);
    CHECK(shared != NULL);
    CHECK_EQ(deaths_of_process(0), 0);
    CHECK_EQ(deaths_of_process(1), 0);
    CHECK_EQ(deaths_of_process(2), 1);
    CHECK_EQ(shared->uses, 3);
    brood_shared_free(shared);
}

static int task_use(brood_task *task)
{
    use();
    if (task->in_len > 0)
        (void)raise(SIGKILL);
    return 0;
}

/* Its child returns from the task as well. */
static int task_fork_and_use(brood_task *task)
{
    pid_t pid = fork();

    use();
    if (pid > 0)
        (void)waitpid(pid, NULL, 0);
    return task->in_len > 0;
}

static uint32_t deaths_of_pool(brood_task_fn *fn, size_t in_len)
{
    brood_pool *pool = NULL;
    uint32_t before = deaths();
    const char in[1] = {0};

    CHECK_OK(brood_pool_new(&pool, &(brood_pool_options){.workers = 2}));
    for (int i = 0; i < 4; i++)
        CHECK_OK(brood_pool_submit(pool, fn, in, in_len, NULL, NULL));
    brood_pool_close(pool);
    CHECK_OK(brood_pool_join(pool, TEST_PATIENCE_MS));
    brood_pool_free(pool);
    return deaths() - before;
}

TEST(a_worker_that_is_told_to_leave_is_no_death_and_a_killed_one_is)
{
    shared = brood_shared_alloc(sizeof *shared);
    CHECK(shared != NULL);
    CHECK_EQ(deaths_of_pool(task_use, 0), 0);
    CHECK_EQ(deaths_of_pool(task_use, 1), 4);
    CHECK_EQ(deaths_of_pool(task_fork_and_use, 0), 0);
    brood_shared_free(shared);
}
