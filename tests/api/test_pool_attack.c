/* SPDX-License-Identifier: MIT */
/*
 * Tasks and processes that turn against what runs them: against the snapshot, the guardian, the
 * memory they share with their caller, the caller's descriptors. It costs them their own task.
 */
#include "api/pool_kit.h"

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <sys/prctl.h>

/* ---- the snapshot and the guardian are stopped ---- */

static int task_stop_snapshot(brood_task *task)
{
    (void)kill(getppid(), SIGSTOP);
    return task_for_ever(task);
}

TEST(a_timeout_strikes_although_the_snapshot_was_stopped)
{
    const brood_task_options options = {.timeout_ms = 50};
    brood_pool *pool = pool_of(1);
    brood_future *future = submit(pool, task_stop_snapshot, NULL, 0, &options);

    CHECK_EQ(result_of(future)->verdict, BROOD_EDEADLINE);
    brood_future_free(future);
    check_works(pool);
    brood_pool_free(pool);
}

static int stop_guardian(void *argument)
{
    (void)argument;
    (void)kill(getppid(), SIGSTOP);
    for (;;)
        (void)pause();
    return 0;
}

TEST(a_process_is_stopped_in_time_although_its_guardian_was_stopped)
{
    const brood_process_options options = {.timeout_ms = 50};
    brood_process *process = NULL;
    brood_outcome outcome;

    CHECK_OK(brood_process_start(&process, stop_guardian, NULL, 0, &options));
    CHECK_OK(brood_process_join(process, TEST_PATIENCE_MS, &outcome));
    CHECK_EQ(outcome.verdict, BROOD_EDEADLINE);
    brood_process_free(process);
}

static int stop_guardian_and_return(void *argument)
{
    (void)argument;
    (void)kill(getppid(), SIGSTOP);
    return 4;
}

TEST(a_process_that_ends_can_be_joined_although_its_guardian_was_stopped)
{
    brood_process *process = NULL;
    brood_outcome outcome;

    CHECK_OK(brood_process_start(&process, stop_guardian_and_return, NULL, 0, NULL));
    CHECK_OK(brood_process_join(process, TEST_PATIENCE_MS, &outcome));
    CHECK_EQ(outcome.verdict, 4);
    brood_process_free(process);
}

TEST(a_killed_process_can_be_joined_although_its_guardian_was_stopped)
{
    brood_process *process = NULL;
    brood_outcome outcome;

    CHECK_OK(brood_process_start(&process, stop_guardian, NULL, 0, NULL));
    CHECK_OK(brood_process_kill(process));
    CHECK_OK(brood_process_join(process, TEST_PATIENCE_MS, &outcome));
    CHECK_EQ(outcome.signal, SIGKILL);
    brood_process_free(process);
}

/* ---- wild writes ---- */

/* Over everything that is shared by a memory object, but for the code that is needed to die. */
static int scribble_and_abort(void *argument)
{
    FILE *maps = fopen("/proc/self/maps", "re");
    char line[512];
    unsigned long start, end;

    (void)argument;
    if (maps == NULL)
        return 1;
    while (fgets(line, sizeof line, maps) != NULL)
        if (strstr(line, "memfd:brood: process") != NULL &&
            sscanf(line, "%lx-%lx", &start, &end) == 2)
            memset((void *)start, 0x41, 4096); /* the control block */
    abort();
}

TEST(a_process_that_writes_over_its_control_block_harms_only_its_own_report)
{
    brood_process *process = NULL;
    brood_outcome outcome;

    CHECK_OK(brood_process_start(&process, scribble_and_abort, NULL, 0, NULL));
    CHECK_OK(brood_process_join(process, TEST_PATIENCE_MS, &outcome));
    CHECK_EQ(outcome.verdict, BROOD_ECRASHED);
    CHECK_EQ(outcome.signal, SIGABRT);
    brood_process_free(process);
}

/* ---- a child of the task that returns as well ---- */

static int task_return_twice(brood_task *task)
{
    pid_t pid = fork();

    if (pid == 0) {
        (void)brood_task_return(task, "no", 3);
        return -EIO;
    }
    return brood_task_return(task, "yes", 4);
}

TEST(what_a_forked_child_of_a_task_returns_is_nobodys_result)
{
    brood_pool *pool = pool_of(2);

    for (int i = 0; i < 200; i++) {
        brood_future *future = submit(pool, task_return_twice, NULL, 0, NULL);
        const brood_result *result = result_of(future);

        CHECK_EQ(result->verdict, 0);
        CHECK_STR(result->data, "yes");
        brood_future_free(future);
    }
    brood_pool_free(pool);
}

static int item_that_forks(brood_task *task)
{
    const int *in = task->in;

    if (*in % 10 == 3 && fork() == 0)
        return -EIO;
    *(int *)task->out = *in;
    return 0;
}

TEST(a_forked_child_of_an_item_does_not_go_on_with_the_map)
{
    enum { ITEMS = 100 };
    int in[ITEMS], out[ITEMS] = {0};
    brood_pool *pool = pool_of(2);

    for (int i = 0; i < ITEMS; i++)
        in[i] = i;
    CHECK_EQ(
        brood_pool_map(pool, item_that_forks, BROOD_IN(in, ITEMS), BROOD_OUT(out, ITEMS), NULL), 0);
    CHECK(memcmp(in, out, sizeof in) == 0);
    brood_pool_free(pool);
}

/* ---- the caller closes descriptors that are not its own ---- */

static void free_without_descriptors(void *context)
{
    brood_pool *pool = pool_of(1);

    (void)context;
    CHECK_OK(brood_pool_submit(pool, task_for_ever, NULL, 0, NULL, NULL));
    for (int fd = 3; fd < 64; fd++)
        (void)close(fd);
    brood_pool_free(pool);
}

TEST(free_ends_although_the_program_closed_every_descriptor)
{
    if (TEST_ASAN)
        SKIP("the sanitizer takes the stack of a cancelled thread for one still in use");
    CHECK_EQ(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
    in_child(free_without_descriptors, NULL);
    while (waitpid(-1, NULL, 0) > 0) /* the snapshot ends with the child */
        continue;
}

/* ---- times that cannot be counted ---- */

TEST(an_uncountable_time_is_none)
{
    const int64_t times[] = {INT64_MAX, INT64_MAX / 1000000, INT64_MAX / 1000000 - 1,
                             INT64_MAX / 1000000 - 100};
    brood_pool *pool = pool_of(1);

    for (size_t i = 0; i < sizeof times / sizeof times[0]; i++) {
        const brood_task_options options = {.timeout_ms = times[i], .deadline_ms = times[i]};
        const brood_map_options map = {.timeout_ms = times[i]};
        int number = 5, square = 0;
        brood_future *future = submit(pool, task_nothing, NULL, 0, &options);

        CHECK_EQ(result_of(future)->verdict, 0);
        brood_future_free(future);
        CHECK_EQ(
            brood_pool_map(pool, task_square, BROOD_IN(&number, 1), BROOD_OUT(&square, 1), &map),
            0);
        CHECK_EQ(square, 25);
    }
    brood_pool_free(pool);
}

/* ---- a /proc that counts otherwise ---- */

static int task_leave_stray_and_abort(brood_task *task)
{
    (void)task;
    if (fork() == 0) {
        (void)setsid();
        for (;;)
            (void)pause();
    }
    abort();
}

/* The stray holds the write end of the pipe. */
static void lose_stray(void *context)
{
    int *ends = context;
    brood_pool *pool = pool_of(1);
    char byte;

    CHECK_EQ(brood_pool_apply(pool, task_leave_stray_and_abort, NULL, 0, NULL, 0), BROOD_ECRASHED);
    brood_pool_free(pool);
    (void)close(ends[1]);
    CHECK_EQ(read(ends[0], &byte, 1), 0);
}

TEST(strays_are_found_in_a_pid_namespace_that_kept_the_outer_proc)
{
    int ends[2];
    pid_t outer;
    int status;

    CHECK_EQ(pipe(ends), 0);
    outer = CHECK_OK(fork());
    if (outer == 0) {
        if (unshare(CLONE_NEWPID) < 0 && unshare(CLONE_NEWUSER | CLONE_NEWPID) < 0)
            _exit(77);
        outer = CHECK_OK(fork()); /* the first one in the namespace */
        if (outer == 0) {
            lose_stray(ends);
            _exit(0);
        }
        (void)close(ends[1]);
        CHECK_EQ(waitpid(outer, &status, 0), outer);
        _exit(status != 0);
    }
    (void)close(ends[0]);
    (void)close(ends[1]);
    CHECK_EQ(waitpid(outer, &status, 0), outer);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
        SKIP("no PID namespace to be had");
    CHECK_EQ(status, 0);
}

/* A leftover that is in a namespace of its own, where it has the number 1. */
static int task_leave_deep_stray(brood_task *task)
{
    (void)task;
    if (unshare(CLONE_NEWPID) < 0 && unshare(CLONE_NEWUSER | CLONE_NEWPID) < 0)
        return -EPERM;
    if (fork() == 0) {
        (void)setsid();
        for (;;)
            (void)pause();
    }
    return 0;
}

TEST(a_leftover_in_a_deeper_namespace_is_ended_too)
{
    brood_pool *pool = pool_of(1);
    int ends[2], verdict;
    char byte;

    brood_pool_free(pool);
    CHECK_EQ(pipe(ends), 0);
    pool = pool_of(1);
    (void)close(ends[1]); /* the snapshot, the worker and the stray have it */
    verdict = brood_pool_apply(pool, task_leave_deep_stray, NULL, 0, NULL, 0);
    if (verdict == 0) {
        CHECK_EQ(brood_pool_apply(pool, task_kill_itself, NULL, 0, NULL, 0), BROOD_ECRASHED);
        check_works(pool);
    }
    brood_pool_free(pool);
    CHECK_EQ(read(ends[0], &byte, 1), 0);
    (void)close(ends[0]);
    if (verdict == -EPERM)
        SKIP("no PID namespace to be had");
    CHECK_EQ(verdict, 0);
}

/* ---- handles that were inherited ---- */

static brood_pool *inherited;

static int task_free_inherited(brood_task *task)
{
    brood_pool_free(inherited);
    return brood_task_return(task, "alive", 6);
}

TEST(a_task_that_frees_the_pool_it_inherited_harms_nothing)
{
    brood_future *future;

    inherited = pool_of(1);
    brood_pool_free(inherited);
    inherited = pool_of(1); /* at the same address: the worker has it */
    future = submit(inherited, task_free_inherited, NULL, 0, NULL);
    CHECK_EQ(result_of(future)->verdict, 0);
    CHECK_STR(result_of(future)->data, "alive");
    brood_future_free(future);
    check_works(inherited);
    brood_pool_free(inherited);
}

static brood_process *elder;

static int free_elder(void *argument)
{
    int fds[16];

    (void)argument;
    for (int i = 0; i < 16; i++)
        fds[i] = open("/dev/null", O_RDONLY | O_CLOEXEC);
    brood_process_free(elder);
    for (int i = 0; i < 16; i++)
        if (fcntl(fds[i], F_GETFD) < 0)
            return 1;
    return 0;
}

TEST(a_child_that_frees_an_inherited_handle_closes_nothing_of_its_own)
{
    brood_process *younger = NULL;
    brood_outcome outcome;

    CHECK_OK(brood_process_start(&elder, stop_guardian, NULL, 0, NULL));
    CHECK_OK(brood_process_start(&younger, free_elder, NULL, 0, NULL));
    CHECK_OK(brood_process_join(younger, TEST_PATIENCE_MS, &outcome));
    CHECK_EQ(outcome.verdict, 0);
    brood_process_free(younger);
    brood_process_free(elder);
}

/* ---- a thread that waits for input ---- */

static void *read_line(void *argument)
{
    char line[16];

    (void)argument;
    return fgets(line, sizeof line, stdin);
}

static int return_at_once(void *argument)
{
    (void)argument;
    return 0;
}

TEST(a_thread_that_waits_for_input_keeps_no_process_from_starting)
{
    const brood_process_options options = {.allow_threads = true};
    brood_process *process = NULL;
    pthread_t thread;
    int ends[2];
    int standard = dup(STDIN_FILENO);

    CHECK_EQ(pipe(ends), 0);
    CHECK_OK(dup2(ends[0], STDIN_FILENO));
    CHECK_EQ(pthread_create(&thread, NULL, read_line, NULL), 0);
    for (int i = 0; i < 20; i++) { /* the thread reads by one of them at the latest */
        CHECK_OK(brood_process_start(&process, return_at_once, NULL, 0, &options));
        CHECK_OK(brood_process_join(process, TEST_PATIENCE_MS, NULL));
        brood_process_free(process);
    }
    CHECK_EQ(write(ends[1], "x\n", 2), 2);
    CHECK_EQ(pthread_join(thread, NULL), 0);
    CHECK_OK(dup2(standard, STDIN_FILENO));
    (void)close(standard);
    (void)close(ends[0]);
    (void)close(ends[1]);
}
