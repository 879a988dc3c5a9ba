/* SPDX-License-Identifier: MIT */
/*
 * The life of a worker: its context, worker_open and worker_close, when it is replaced, and what a
 * task may do to the process that it runs in without harm to other tasks.
 */
#include "api/pool_kit.h"

/* ---- context, worker_open, worker_close ---- */

struct book {
    struct gate *opened, *closed;
    int error, state;
};

static int open_book(const void *context, void **out_state)
{
    const struct book *book = context;

    gate_count(book->opened);
    if (book->error != 0)
        return book->error;
    *out_state = malloc(sizeof(int));
    if (*out_state == NULL)
        return -ENOMEM;
    *(int *)*out_state = book->state;
    return 0;
}

static struct gate *closed_gate;

static void close_book(void *state)
{
    if (*(int *)state == 17)
        gate_count(closed_gate);
    free(state);
}

static int task_read_book(brood_task *task)
{
    const struct book *book = task->context;

    return *(int *)task->state == 17 && book->state == 17 ? 0 : -1;
}

static void begin_book(struct book *book)
{
    book->opened = gate_new();
    book->closed = closed_gate = gate_new();
    book->error = 0;
    book->state = 17;
}

static void end_book(struct book *book)
{
    gate_free(book->opened);
    gate_free(book->closed);
}

TEST(each_worker_opens_once_before_its_first_task_and_closes_at_the_end)
{
    struct book book;
    brood_pool *pool;

    begin_book(&book);
    pool = pool_with(&(brood_pool_options){
        .workers = 3, .context = &book, .worker_open = open_book, .worker_close = close_book});
    CHECK_EQ(gate_counted(book.opened), 3);
    for (int i = 0; i < 50; i++)
        CHECK_EQ(brood_pool_apply(pool, task_read_book, NULL, 0, NULL, 0), 0);
    CHECK_EQ(gate_counted(book.closed), 0);
    brood_pool_free(pool);
    CHECK_EQ(gate_counted(book.opened), 3);
    CHECK_EQ(gate_counted(book.closed), 3);
    end_book(&book);
}

TEST(a_context_with_a_length_is_copied)
{
    struct book book;
    brood_pool *pool;

    begin_book(&book);
    pool = pool_with(&(brood_pool_options){
        .workers = 1, .context = &book, .context_len = sizeof book, .worker_open = open_book});
    book.state = 0;
    CHECK_EQ(brood_pool_apply(pool, task_read_book, NULL, 0, NULL, 0), 0);
    CHECK_EQ(brood_pool_apply(pool, task_kill_itself, NULL, 0, NULL, 0), BROOD_ECRASHED);
    CHECK_EQ(brood_pool_apply(pool, task_read_book, NULL, 0, NULL, 0), 0);
    CHECK_EQ(gate_counted(book.opened), 2);
    brood_pool_free(pool);
    end_book(&book);
}

TEST(a_failing_worker_open_is_an_error_of_new_and_no_storm)
{
    struct book book;
    brood_pool *pool = NULL;

    begin_book(&book);
    book.error = -ENOENT;
    CHECK_ERR(
        brood_pool_new(
            &pool, &(brood_pool_options){.workers = 3, .context = &book, .worker_open = open_book}),
        -ENOENT);
    CHECK(pool == NULL);
    CHECK(gate_counted(book.opened) <= 3);
    end_book(&book);
}

static int crash_at_open(const void *context, void **out_state)
{
    (void)out_state;
    gate_count(((const struct book *)context)->opened);
    abort();
}

static int exit_at_open(const void *context, void **out_state)
{
    (void)out_state;
    gate_count(((const struct book *)context)->opened);
    _exit(0);
}

TEST(a_crashing_worker_open_is_an_error_of_new_and_no_storm)
{
    struct book book;
    brood_pool *pool = NULL;

    begin_book(&book);
    CHECK_ERR(brood_pool_new(&pool, &(brood_pool_options){.workers = 2,
                                                          .context = &book,
                                                          .worker_open = crash_at_open}),
              BROOD_ECRASHED);
    CHECK_ERR(brood_pool_new(&pool, &(brood_pool_options){.workers = 2,
                                                          .context = &book,
                                                          .worker_open = exit_at_open}),
              BROOD_ECRASHED);
    CHECK(pool == NULL);
    CHECK(gate_counted(book.opened) <= 4);
    end_book(&book);
}

static int open_once(const void *context, void **out_state)
{
    const struct book *book = context;

    (void)out_state;
    gate_count(book->opened);
    return gate_counted(book->opened) > 1 ? -EBUSY : 0;
}

TEST(a_pool_whose_replacements_cannot_open_is_lost_and_not_hung)
{
    struct book book;
    brood_pool *pool;

    begin_book(&book);
    pool =
        pool_with(&(brood_pool_options){.workers = 1, .context = &book, .worker_open = open_once});
    CHECK_EQ(brood_pool_apply(pool, task_kill_itself, NULL, 0, NULL, 0), BROOD_ECRASHED);
    CHECK_ERR(brood_pool_apply(pool, task_nothing, NULL, 0, NULL, 0), BROOD_ELOST);
    CHECK(gate_counted(book.opened) < 30);
    CHECK_ERR(brood_pool_submit(pool, task_nothing, NULL, 0, NULL, NULL), BROOD_ELOST);
    brood_pool_free(pool);
    end_book(&book);
}

TEST(a_worker_is_replaced_after_so_many_tasks)
{
    struct book book;
    brood_pool *pool;
    int pids[20];

    begin_book(&book);
    pool = pool_with(&(brood_pool_options){.workers = 1,
                                           .worker_tasks_max = 5,
                                           .context = &book,
                                           .worker_open = open_book,
                                           .worker_close = close_book});
    for (int i = 0; i < 20; i++) {
        CHECK_EQ(brood_pool_apply(pool, task_pid, NULL, 0, &pids[i], sizeof(int)), 0);
        CHECK_EQ(pids[i] == pids[i / 5 * 5], true);
        CHECK(i < 5 || pids[i] != pids[i - 5]);
    }
    CHECK_EQ(stats_of(pool).worker_deaths, 0);
    CHECK(gate_counted(book.closed) >= 3);
    brood_pool_free(pool);
    end_book(&book);
}

/* ---- what tasks do to their workers ---- */

TEST(a_hundred_workers_open_die_and_are_replaced)
{
    enum { MANY = 100 };
    brood_pool *pool = pool_of(MANY);
    int pids[MANY];

    CHECK_EQ(brood_pool_pids(pool, pids, MANY), MANY);
    check_works(pool);
    for (int i = 0; i < MANY; i++)
        CHECK_EQ(kill(pids[i], SIGKILL), 0);
    check_works(pool);
    while (stats_of(pool).worker_deaths < MANY)
        check_works(pool);
    CHECK_EQ(stats_of(pool).failed, 0);
    brood_pool_free(pool);
}

static int task_fork_and_both_return(brood_task *task)
{
    pid_t pid = fork();

    if (pid != 0)
        *(int *)task->out = (int)getpid();
    return pid < 0 ? -errno : 0;
}

TEST(a_child_that_returns_from_a_task_is_no_second_worker)
{
    brood_pool *pool = pool_of(1);
    int pid = only_pid(pool);

    for (int i = 0; i < 50; i++) {
        int answer = 0;

        CHECK_EQ(brood_pool_apply(pool, task_fork_and_both_return, NULL, 0, &answer, sizeof answer),
                 0);
        CHECK_EQ(answer, pid);
        check_works(pool);
    }
    CHECK_EQ(stats_of(pool).worker_deaths, 0);
    CHECK_EQ(stats_of(pool).failed, 0);
    brood_pool_free(pool);
}

static int task_exec(brood_task *task)
{
    (void)task;
    (void)execl("/bin/sh", "sh", "-c", "exit 0", (char *)NULL);
    return -errno;
}

TEST(a_task_that_executes_another_program_has_crashed)
{
    brood_pool *pool = pool_of(1);
    brood_outcome outcome = outcome_of(pool, task_exec, NULL, 0, NULL);

    CHECK_EQ(outcome.verdict, BROOD_ECRASHED);
    CHECK_EQ(outcome.cause, BROOD_EXITED);
    CHECK_EQ(outcome.code, 0);
    check_works(pool);
    brood_pool_free(pool);
}

static int task_many_children(brood_task *task)
{
    (void)task;
    for (int i = 0; i < 100; i++) {
        pid_t pid = fork();

        if (pid < 0)
            return -errno;
        if (pid == 0) {
            if (i % 2 == 0)
                (void)setsid();
            if (i % 3 == 0 && fork() != 0)
                _exit(0);
            for (;;)
                (void)pause();
        }
    }
    return 0;
}

static int task_has_no_children(brood_task *task)
{
    (void)task;
    return waitpid(-1, NULL, WNOHANG) < 0 && errno == ECHILD ? 0 : -EEXIST;
}

TEST(a_hundred_children_of_a_task_are_gone_when_the_next_begins)
{
    brood_pool *pool = pool_of(1);

    for (int i = 0; i < 3; i++) {
        CHECK_EQ(brood_pool_apply(pool, task_many_children, NULL, 0, NULL, 0), 0);
        CHECK_EQ(brood_pool_apply(pool, task_has_no_children, NULL, 0, NULL, 0), 0);
    }
    CHECK_EQ(stats_of(pool).worker_deaths, 0);
    brood_pool_free(pool);
}

static int task_print_into_closed_pipe(brood_task *task)
{
    int ends[2];

    (void)task;
    if (pipe(ends) != 0)
        return -errno;
    (void)close(ends[0]);
    (void)dup2(ends[1], 1);
    (void)close(ends[1]);
    printf("nobody reads this\n");
    return 0;
}

TEST(a_task_that_prints_into_a_closed_pipe_fails_alone)
{
    brood_pool *pool = pool_of(1);
    brood_outcome outcome = outcome_of(pool, task_print_into_closed_pipe, NULL, 0, NULL);

    CHECK_EQ(outcome.verdict, BROOD_ECRASHED);
    CHECK_EQ(outcome.signal, SIGPIPE);
    check_works(pool);
    brood_pool_free(pool);
}

static int task_change_user(brood_task *task)
{
    struct gate *runs = *(struct gate *const *)task->in;

    if (setuid(65534) != 0)
        return -errno;
    gate_open(runs);
    for (;;)
        (void)pause();
}

TEST(a_worker_that_changed_its_user_dies_with_the_snapshot)
{
    struct gate *runs = gate_new();
    brood_pool *pool;
    int pidfd;
    brood_future *future;

    if (geteuid() != 0)
        SKIP("only root can become somebody else");
    pool = pool_of(1);
    pidfd = open_pidfd(only_pid(pool));
    future = submit(pool, task_change_user, &runs, sizeof runs, NULL);
    gate_wait(runs);
    CHECK_EQ(kill(snapshot_of(pool), SIGKILL), 0);
    CHECK_EQ(result_of(future)->verdict, BROOD_ELOST);
    await_death(pidfd);
    brood_future_free(future);
    brood_pool_free(pool);
    gate_free(runs);
}

TEST(when_a_task_is_lost_its_worker_is_dead)
{
    for (int i = 0; i < 10; i++) {
        struct gate *runs = gate_new();
        brood_pool *pool = pool_of(2);
        brood_future *future = submit(pool, task_for_ever, &runs, sizeof runs, NULL);
        int pids[2], pidfds[2];

        gate_wait(runs);
        CHECK_EQ(brood_pool_pids(pool, pids, 2), 2);
        for (int k = 0; k < 2; k++)
            pidfds[k] = open_pidfd(pids[k]);
        CHECK_EQ(kill(snapshot_of(pool), SIGKILL), 0);
        CHECK_EQ(result_of(future)->verdict, BROOD_ELOST);
        for (int k = 0; k < 2; k++) {
            CHECK(polls_readable(pidfds[k], 0));
            (void)close(pidfds[k]);
        }
        brood_future_free(future);
        brood_pool_free(pool);
        gate_free(runs);
    }
}

/* ---- a task that closes what is not its own, as code written for daemons does ---- */

static int task_close_all(brood_task *task)
{
    (void)task;
    for (int fd = 3; fd < 256; fd++)
        (void)close(fd);
    return 0;
}

static int task_echo(brood_task *task)
{
    return brood_task_return(task, task->in, task->in_len);
}

static void count_echo(const brood_result *result, void *context)
{
    CHECK_EQ(result->verdict, 0);
    CHECK_EQ(result->len, 100000);
    ++*(int *)context;
}

TEST(a_task_that_closes_every_descriptor_harms_no_other)
{
    static const char data[100000];
    brood_pool *pool = pool_of(1);
    int count = 0, fd = CHECK_OK(brood_pool_fd(pool));
    brood_task_options options = {.on_done = count_echo, .on_done_context = &count};

    CHECK_EQ(brood_pool_apply(pool, task_close_all, NULL, 0, NULL, 0), 0);
    for (int i = 0; i < 5; i++)
        CHECK_EQ(brood_pool_submit(pool, task_echo, data, sizeof data, &options, NULL), 0);
    while (count < 5) {
        CHECK(polls_readable(fd, TEST_PATIENCE_MS));
        CHECK_OK(brood_pool_dispatch(pool));
    }
    CHECK_EQ(brood_pool_apply(pool, task_kill_itself, NULL, 0, NULL, 0), BROOD_ECRASHED);
    check_works(pool);
    brood_pool_free(pool);
}
