/* SPDX-License-Identifier: MIT */
/*
 * Ending a pool, always in bounded time, whatever state its processes are in: workers that
 * ignore SIGTERM, that are stopped, a snapshot that is stopped or killed, a parent that is killed.
 * And who may use a pool: forked children, freed and foreign handles, other threads.
 */
#include "api/pool_kit.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/prctl.h>

enum { GRACE_MS = 100, SOON_MS = 4000 };

static int task_ignore_term(brood_task *task)
{
    (void)signal(SIGTERM, SIG_IGN);
    return task_for_ever(task);
}

/* A pool of two of which one runs FN, and has begun to. */
static brood_pool *pool_running(brood_task_fn *fn, struct gate *runs)
{
    brood_pool *pool = pool_with(&(brood_pool_options){.workers = 2, .stop_grace_ms = GRACE_MS});

    CHECK_EQ(brood_pool_submit(pool, fn, &runs, sizeof runs, NULL, NULL), 0);
    gate_wait(runs);
    return pool;
}

static void free_soon(brood_pool *pool, int64_t least_ms)
{
    int64_t start = now_ms();

    brood_pool_free(pool);
    CHECK(now_ms() - start >= least_ms);
    CHECK(now_ms() - start < (int64_t)(SOON_MS * test_time_factor()));
}

TEST(free_ends_workers_that_ignore_sigterm_after_the_grace)
{
    struct gate *runs = gate_new();

    free_soon(pool_running(task_ignore_term, runs), GRACE_MS - 1);
    gate_free(runs);
}

TEST(free_ends_busy_workers_by_sigterm_before_the_grace)
{
    struct gate *runs = gate_new();
    brood_pool *pool = pool_with(&(brood_pool_options){.workers = 1, .stop_grace_ms = 60000});

    CHECK_EQ(brood_pool_submit(pool, task_for_ever, &runs, sizeof runs, NULL, NULL), 0);
    gate_wait(runs);
    free_soon(pool, 0);
    gate_free(runs);
}

TEST(free_ends_idle_workers_at_once)
{
    brood_pool *pool = pool_with(&(brood_pool_options){.workers = 4, .stop_grace_ms = 60000});

    check_works(pool);
    free_soon(pool, 0);
}

TEST(free_ends_stopped_workers)
{
    struct gate *runs = gate_new();
    brood_pool *pool = pool_running(task_for_ever, runs);
    int pids[2];

    CHECK_EQ(brood_pool_pids(pool, pids, 2), 2);
    CHECK_EQ(kill(pids[0], SIGSTOP), 0);
    CHECK_EQ(kill(pids[1], SIGSTOP), 0);
    free_soon(pool, 0);
    gate_free(runs);
}

static void close_nothing(void *state)
{
    (void)state;
}

TEST(free_does_not_wait_long_for_a_stopped_idle_worker_that_should_close)
{
    brood_pool *pool = pool_with(&(brood_pool_options){
        .workers = 1, .worker_close = close_nothing, .stop_grace_ms = GRACE_MS});

    CHECK_EQ(kill(only_pid(pool), SIGSTOP), 0);
    free_soon(pool, GRACE_MS - 1);
}

TEST(free_ends_a_pool_whose_snapshot_is_stopped)
{
    struct gate *runs = gate_new();
    brood_pool *pool = pool_running(task_ignore_term, runs);

    CHECK_EQ(kill(snapshot_of(pool), SIGSTOP), 0);
    free_soon(pool, 0);
    gate_free(runs);
}

TEST(a_pool_without_its_snapshot_ends_its_tasks_as_lost_and_keeps_results)
{
    struct gate *runs = gate_new();
    brood_pool *pool = pool_with(&(brood_pool_options){.workers = 1});
    long x = 5;
    brood_future *done =
        submit(pool, task_square, &x, sizeof x, &(brood_task_options){.out_size = sizeof x});
    brood_future *running, *queued;
    const brood_result *result;

    CHECK_EQ(result_of(done)->verdict, 0);
    running = submit(pool, task_for_ever, &runs, sizeof runs, &(brood_task_options){.retries = 9});
    queued = submit(pool, task_nothing, NULL, 0, NULL);
    gate_wait(runs);
    CHECK_EQ(kill(snapshot_of(pool), SIGKILL), 0);
    result = result_of(running);
    CHECK_EQ(result->verdict, BROOD_ELOST);
    CHECK_EQ(result->outcome.cause, BROOD_LOST);
    CHECK_EQ(result_of(queued)->verdict, BROOD_ELOST);
    CHECK_EQ(*(const long *)result_of(done)->data, 25);
    CHECK_ERR(brood_pool_submit(pool, task_nothing, NULL, 0, NULL, NULL), BROOD_ELOST);
    CHECK_ERR(brood_pool_apply(pool, task_nothing, NULL, 0, NULL, 0), BROOD_ELOST);
    CHECK_EQ(brood_pool_join(pool, TEST_PATIENCE_MS), 0);
    CHECK_EQ(stats_of(pool).workers, 0);
    brood_future_free(running);
    brood_future_free(queued);
    brood_future_free(done);
    free_soon(pool, 0);
    gate_free(runs);
}

TEST(a_map_whose_snapshot_is_killed_returns_lost)
{
    brood_pool *pool = pool_with(&(brood_pool_options){.workers = 2});
    struct gate *runs = gate_new();
    pid_t snapshot = snapshot_of(pool);
    pid_t killer = CHECK_OK(fork());
    int verdicts[100];

    if (killer == 0) {
        (void)kill(snapshot, SIGKILL);
        _exit(0);
    }
    CHECK_ERR(brood_pool_map(pool, task_for_ever, brood_in_of(NULL, 0, 100), BROOD_NO_OUT,
                             &(brood_map_options){.verdicts = verdicts}),
              BROOD_ELOST);
    CHECK_EQ(waitpid(killer, NULL, 0), killer);
    brood_pool_free(pool);
    gate_free(runs);
}

TEST(a_full_backlog_whose_snapshot_is_killed_lets_go_of_who_waits)
{
    struct gate *runs = gate_new();
    brood_pool *pool = pool_with(&(brood_pool_options){.workers = 1, .backlog_max = 1});
    pid_t snapshot = snapshot_of(pool), killer;

    CHECK_EQ(brood_pool_submit(pool, task_for_ever, &runs, sizeof runs, NULL, NULL), 0);
    gate_wait(runs);
    killer = CHECK_OK(fork());
    if (killer == 0) {
        (void)kill(snapshot, SIGKILL);
        _exit(0);
    }
    CHECK_ERR(brood_pool_submit(pool, task_nothing, NULL, 0, NULL, NULL), BROOD_ELOST);
    CHECK_EQ(waitpid(killer, NULL, 0), killer);
    CHECK_EQ(brood_pool_join(pool, TEST_PATIENCE_MS), 1);
    brood_pool_free(pool);
    gate_free(runs);
}

TEST(results_and_groups_outlive_the_pool)
{
    brood_pool *pool = pool_of(1);
    long x = 4;
    brood_future *small =
        submit(pool, task_square, &x, sizeof x, &(brood_task_options){.out_size = sizeof x});
    brood_future *large =
        submit(pool, task_square, &x, sizeof x, &(brood_task_options){.out_size = 5000});
    brood_future *running = submit(pool, task_for_ever, NULL, 0, NULL);
    brood_group *group = NULL;
    const brood_result *result;

    CHECK_EQ(brood_group_new(&group, pool, NULL), 0);
    CHECK_EQ(brood_group_submit(group, task_for_ever, NULL, 0, NULL), 0);
    CHECK_EQ(result_of(large)->verdict, 0);
    brood_pool_free(pool);
    CHECK_EQ(*(const long *)result_of(small)->data, 16);
    CHECK_EQ(*(const long *)result_of(large)->data, 16);
    CHECK_EQ(result_of(running)->verdict, BROOD_ECANCELLED);
    CHECK_EQ(brood_future_cancel(running), 0);
    CHECK(polls_readable(CHECK_OK(brood_future_fd(running)), 0));
    CHECK_EQ(brood_group_next(group, 0, &result), 1);
    CHECK_EQ(result->verdict, BROOD_ECANCELLED);
    CHECK_EQ(brood_group_next(group, 0, &result), 0);
    CHECK(brood_group_submit(group, task_nothing, NULL, 0, NULL) < 0);
    CHECK_ERR(brood_pool_submit(pool, task_nothing, NULL, 0, NULL, NULL), BROOD_EHANDLE);
    brood_group_free(group);
    brood_future_free(small);
    brood_future_free(large);
    brood_future_free(running);
}

/* ---- the parent dies ---- */

/* In memory that all of them see. */
struct family {
    _Atomic pid_t worker, daemon;
};

struct orphaned {
    struct gate *ready;
    struct family *pids;
};

static int task_leave_grandchild(brood_task *task)
{
    const struct orphaned *in = task->in;
    pid_t pid = fork();

    if (pid == 0) {
        (void)setsid();
        if (fork() != 0)
            _exit(0);
        gate_open(in->ready);
        return task_for_ever(task);
    }
    return task_for_ever(task);
}

/* All of them hold the write end of a pipe, so its end is the end of the last of them. */
static void parent_killed(int containment)
{
    struct orphaned in = {gate_new(), NULL};
    int ends[2];
    char byte;
    pid_t parent;

    CHECK_EQ(pipe2(ends, O_CLOEXEC), 0);
    CHECK_EQ(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
    parent = CHECK_OK(fork());
    if (parent == 0) {
        brood_pool *pool =
            pool_with(&(brood_pool_options){.workers = 2, .containment = containment});

        CHECK_EQ(brood_pool_submit(pool, task_leave_grandchild, &in, sizeof in, NULL, NULL), 0);
        CHECK_EQ(brood_pool_join(pool, BROOD_FOREVER), 0);
        _exit(1);
    }
    (void)close(ends[1]);
    gate_wait(in.ready);
    CHECK_EQ(kill(parent, SIGKILL), 0);
    CHECK_EQ(waitpid(parent, NULL, 0), parent);
    CHECK_EQ(read(ends[0], &byte, 1), 0);
    while (waitpid(-1, NULL, 0) > 0) /* the snapshot, and what guards it, end last */
        continue;
    (void)close(ends[0]);
    gate_free(in.ready);
}

TEST(the_parents_death_takes_workers_and_escaped_grandchildren_along)
{
    parent_killed(BROOD_CONTAIN_GROUP);
}

TEST(the_parents_death_takes_the_whole_namespace_along)
{
    parent_killed(BROOD_CONTAIN_NAMESPACE);
}

/* ---- grandchildren ---- */

static int task_daemon(brood_task *task)
{
    const struct orphaned *in = task->in;
    pid_t pid = fork();

    if (pid == 0) {
        (void)setsid();
        if (fork() != 0)
            _exit(0);
        in->pids->daemon = getpid();
        gate_open(in->ready);
        for (;;)
            (void)pause();
    }
    (void)waitpid(pid, NULL, 0);
    gate_wait(in->ready);
    return 0;
}

static int task_is_gone(brood_task *task)
{
    const struct orphaned *in = task->in;
    int status;

    if (kill(in->pids->daemon, 0) == 0 || errno != ESRCH)
        return -EEXIST;
    return waitpid(-1, &status, WNOHANG) < 0 && errno == ECHILD ? 0 : -ECHILD;
}

static int task_daemon_and_die(brood_task *task)
{
    (void)task_daemon(task);
    return task_kill_itself(task);
}

static void daemon_is_gone(int containment, brood_task_fn *fn)
{
    struct orphaned in = {gate_new(), share(4096)};
    brood_pool *pool = pool_with(&(brood_pool_options){.workers = 1, .containment = containment});

    CHECK_EQ(stats_of(pool).containment, containment);
    CHECK_EQ(brood_pool_apply(pool, fn, &in, sizeof in, NULL, 0),
             fn == task_daemon ? 0 : BROOD_ECRASHED);
    CHECK(in.pids->daemon > 0);
    CHECK_EQ(brood_pool_apply(pool, task_is_gone, &in, sizeof in, NULL, 0), 0);
    CHECK_EQ(outcome_of(pool, task_nothing, NULL, 0, NULL).containment, containment);
    brood_pool_free(pool);
    gate_free(in.ready);
    CHECK_EQ(munmap(in.pids, 4096), 0);
}

TEST(a_daemon_that_a_task_left_is_gone_when_the_next_task_begins)
{
    daemon_is_gone(BROOD_CONTAIN_GROUP, task_daemon);
}

TEST(a_daemon_is_gone_when_its_worker_has_died)
{
    daemon_is_gone(BROOD_CONTAIN_GROUP, task_daemon_and_die);
}

static bool namespaces_work(void)
{
    brood_pool *pool =
        pool_with(&(brood_pool_options){.workers = 1, .containment = BROOD_CONTAIN_NAMESPACE});
    bool work = stats_of(pool).containment == BROOD_CONTAIN_NAMESPACE;

    brood_pool_free(pool);
    return work;
}

TEST(a_namespace_takes_daemons_along)
{
    if (!namespaces_work())
        SKIP("no PID namespaces here");
    daemon_is_gone(BROOD_CONTAIN_NAMESPACE, task_daemon);
    daemon_is_gone(BROOD_CONTAIN_NAMESPACE, task_daemon_and_die);
}

TEST(workers_in_a_namespace_work_crash_and_are_named_as_seen_here)
{
    brood_pool *pool =
        pool_with(&(brood_pool_options){.workers = 2, .containment = BROOD_CONTAIN_NAMESPACE});
    int pids[2], signal = SIGABRT, pidfd;

    check_works(pool);
    CHECK_EQ(outcome_of(pool, task_raise, &signal, sizeof signal, NULL).signal, SIGABRT);
    signal = SIGTERM;
    CHECK_EQ(outcome_of(pool, task_raise, &signal, sizeof signal, NULL).signal, SIGTERM);
    while (stats_of(pool).workers < 2)
        check_works(pool);
    CHECK_EQ(brood_pool_pids(pool, pids, 2), 2);
    pidfd = open_pidfd(pids[0]);
    CHECK_EQ(kill(pids[0], SIGKILL), 0);
    await_death(pidfd);
    check_works(pool);
    brood_pool_free(pool);
}

TEST(containment_child_works_too)
{
    brood_pool *pool =
        pool_with(&(brood_pool_options){.workers = 1, .containment = BROOD_CONTAIN_CHILD});

    check_works(pool);
    CHECK_EQ(stats_of(pool).containment, BROOD_CONTAIN_CHILD);
    CHECK_EQ(outcome_of(pool, task_kill_itself, NULL, 0, NULL).containment, BROOD_CONTAIN_CHILD);
    check_works(pool);
    brood_pool_free(pool);
}

static struct family *kept;

static int open_with_child(const void *context, void **out_state)
{
    pid_t pid = fork();

    (void)context;
    (void)out_state;
    if (pid == 0)
        for (;;)
            (void)pause();
    kept->daemon = pid;
    return pid < 0 ? -errno : 0;
}

static int task_child_lives(brood_task *task)
{
    (void)task;
    return kill(kept->daemon, 0) == 0 && waitpid(kept->daemon, NULL, WNOHANG) == 0 ? 0 : -ESRCH;
}

TEST(what_worker_open_started_stays_and_ends_with_the_pool)
{
    brood_pool *pool;
    int pidfd;

    kept = share(4096);
    pool = pool_with(&(brood_pool_options){.workers = 1, .worker_open = open_with_child});
    for (int i = 0; i < 3; i++)
        CHECK_EQ(brood_pool_apply(pool, task_child_lives, NULL, 0, NULL, 0), 0);
    pidfd = open_pidfd(kept->daemon);
    brood_pool_free(pool);
    await_death(pidfd);
    CHECK_EQ(munmap(kept, 4096), 0);
}

/* ---- handles ---- */

struct handles {
    brood_pool *pool;
    brood_future *future;
    brood_group *group;
};

static void use_in_child(void *context)
{
    struct handles *h = context;
    brood_group *group = NULL;
    brood_pool_stats stats;
    const brood_result *result;
    int pid;

    CHECK_ERR(brood_pool_submit(h->pool, task_nothing, NULL, 0, NULL, NULL), BROOD_EFORKED);
    CHECK_ERR(brood_pool_apply(h->pool, task_nothing, NULL, 0, NULL, 0), BROOD_EFORKED);
    CHECK_ERR(brood_pool_map(h->pool, task_nothing, brood_in_of(NULL, 0, 3), BROOD_NO_OUT, NULL),
              BROOD_EFORKED);
    CHECK_ERR(brood_pool_join(h->pool, 0), BROOD_EFORKED);
    CHECK_ERR(brood_pool_fd(h->pool), BROOD_EFORKED);
    CHECK_ERR(brood_pool_dispatch(h->pool), BROOD_EFORKED);
    CHECK_ERR(brood_pool_stats_get(h->pool, &stats), BROOD_EFORKED);
    CHECK_ERR(brood_pool_pids(h->pool, &pid, 1), BROOD_EFORKED);
    CHECK(brood_pool_alloc(h->pool, 1) == NULL);
    CHECK_ERR(brood_future_wait(h->future, 0, &result), BROOD_EFORKED);
    CHECK_ERR(brood_future_cancel(h->future), BROOD_EFORKED);
    CHECK_ERR(brood_future_fd(h->future), BROOD_EFORKED);
    CHECK(!brood_future_ready(h->future));
    CHECK_ERR(brood_group_new(&group, h->pool, NULL), BROOD_EFORKED);
    CHECK_ERR(brood_group_submit(h->group, task_nothing, NULL, 0, NULL), BROOD_EFORKED);
    CHECK_ERR(brood_group_next(h->group, 0, &result), BROOD_EFORKED);
    CHECK_ERR(brood_group_fd(h->group), BROOD_EFORKED);
    CHECK_EQ(brood_group_room(h->group), 0);
    brood_group_cancel(h->group);
    brood_pool_close(h->pool);
    brood_group_free(h->group);
    brood_future_free(h->future);
    brood_pool_free(h->pool);
    brood_pool_free(h->pool);
    h->pool = pool_of(1); /* its own pool works */
    check_works(h->pool);
    brood_pool_free(h->pool);
}

TEST(a_forked_child_is_refused_and_may_free)
{
    struct handles h = {.pool = pool_of(1)};

    h.future = submit(h.pool, task_nothing, NULL, 0, NULL);
    CHECK_EQ(brood_group_new(&h.group, h.pool, NULL), 0);
    CHECK_EQ(brood_group_submit(h.group, task_nothing, NULL, 0, NULL), 0);
    in_child(use_in_child, &h);
    check_works(h.pool);
    CHECK_EQ(result_of(h.future)->verdict, 0);
    brood_future_free(h.future);
    brood_group_free(h.group);
    brood_pool_free(h.pool);
}

TEST(foreign_and_freed_handles_are_refused)
{
    static uint64_t zeros[512];
    void *foreign = zeros;
    brood_pool *pool = pool_of(1);
    brood_future *future = submit(pool, task_nothing, NULL, 0, NULL);
    brood_group *group = NULL;
    const brood_result *result;
    brood_pool_stats stats;

    CHECK_EQ(brood_group_new(&group, pool, NULL), 0);
    CHECK_ERR(brood_pool_submit(foreign, task_nothing, NULL, 0, NULL, NULL), BROOD_EHANDLE);
    CHECK_ERR(brood_pool_submit(NULL, task_nothing, NULL, 0, NULL, NULL), BROOD_EHANDLE);
    CHECK_ERR(brood_pool_submit((brood_pool *)(void *)future, task_nothing, NULL, 0, NULL, NULL),
              BROOD_EHANDLE);
    CHECK_ERR(brood_future_wait(foreign, 0, &result), BROOD_EHANDLE);
    CHECK_ERR(brood_future_wait((brood_future *)(void *)pool, 0, &result), BROOD_EHANDLE);
    CHECK_ERR(brood_group_next(foreign, 0, &result), BROOD_EHANDLE);
    CHECK_ERR(brood_group_next(NULL, 0, &result), BROOD_EHANDLE);
    CHECK_ERR(brood_group_new(&group, NULL, NULL), BROOD_EHANDLE);
    CHECK_EQ(brood_group_room(NULL), 0);
    brood_pool_free(foreign);
    brood_future_free(foreign);
    brood_group_free(foreign);
    brood_future_free(future);
    CHECK_ERR(brood_future_wait(future, 0, &result), BROOD_EHANDLE);
    CHECK_ERR(brood_future_cancel(future), BROOD_EHANDLE);
    CHECK_ERR(brood_future_fd(future), BROOD_EHANDLE);
    CHECK(!brood_future_ready(future));
    brood_future_free(future);
    brood_group_free(group);
    CHECK_ERR(brood_group_next(group, 0, &result), BROOD_EHANDLE);
    CHECK_ERR(brood_group_fd(group), BROOD_EHANDLE);
    brood_group_cancel(group);
    brood_group_free(group);
    check_works(pool);
    brood_pool_free(pool);
    CHECK_ERR(brood_pool_submit(pool, task_nothing, NULL, 0, NULL, NULL), BROOD_EHANDLE);
    CHECK_ERR(brood_pool_join(pool, 0), BROOD_EHANDLE);
    CHECK_ERR(brood_pool_dispatch(pool), BROOD_EHANDLE);
    CHECK_ERR(brood_pool_fd(pool), BROOD_EHANDLE);
    CHECK_ERR(brood_pool_stats_get(pool, &stats), BROOD_EHANDLE);
    brood_pool_close(pool);
    brood_pool_free(pool);
}

/* ---- threads ---- */

static void *wait_for_gate(void *gate)
{
    gate_wait(gate);
    return NULL;
}

TEST(a_program_with_other_threads_is_refused_unless_it_insists)
{
    struct gate *gate = gate_new();
    brood_pool *pool = NULL;
    pthread_t thread;

    if (TEST_TSAN)
        SKIP("the sanitizer has a thread of its own");
    CHECK_EQ(pthread_create(&thread, NULL, wait_for_gate, gate), 0);
    CHECK_ERR(brood_pool_new(&pool, &(brood_pool_options){.workers = 1}), BROOD_ETHREADS);
    CHECK(pool == NULL);
    pool = pool_with(&(brood_pool_options){.workers = 1, .allow_threads = true});
    check_works(pool);
    brood_pool_free(pool);
    gate_open(gate);
    CHECK_EQ(pthread_join(thread, NULL), 0);
    pool = pool_of(1);
    brood_pool_free(pool);
    gate_free(gate);
}

static void *submit_many(void *argument)
{
    brood_pool *pool = argument;

    for (long i = 0; i < 2000; i++) {
        long y = 0;

        if (i % 4 == 0) {
            CHECK_EQ(brood_pool_apply(pool, task_square, &i, sizeof i, &y, sizeof y), 0);
            CHECK_EQ(y, i * i);
        } else {
            CHECK_EQ(brood_pool_submit(pool, task_nothing, NULL, 0, NULL, NULL), 0);
        }
    }
    return NULL;
}

TEST(many_threads_may_submit_to_one_pool)
{
    brood_pool *pool = pool_with(&(brood_pool_options){.workers = 2, .backlog_max = 64});
    pthread_t threads[4];

    for (int i = 0; i < 4; i++)
        CHECK_EQ(pthread_create(&threads[i], NULL, submit_many, pool), 0);
    for (int i = 0; i < 4; i++)
        CHECK_EQ(pthread_join(threads[i], NULL), 0);
    CHECK_EQ(brood_pool_join(pool, TEST_PATIENCE_MS), 0);
    CHECK_EQ(stats_of(pool).succeeded, 8000);
    brood_pool_free(pool);
}

static void *wait_for_future(void *future)
{
    CHECK_EQ(brood_future_wait(future, TEST_PATIENCE_MS, NULL), 0);
    return NULL;
}

TEST(several_threads_may_wait_for_one_future)
{
    struct gate *go = gate_new();
    struct two_gates gates = {NULL, go};
    brood_pool *pool = pool_of(1);
    brood_future *future = submit(pool, task_gates, &gates, sizeof gates, NULL);
    pthread_t threads[4];

    for (int i = 0; i < 4; i++)
        CHECK_EQ(pthread_create(&threads[i], NULL, wait_for_future, future), 0);
    gate_open(go);
    for (int i = 0; i < 4; i++)
        CHECK_EQ(pthread_join(threads[i], NULL), 0);
    brood_future_free(future);
    brood_pool_free(pool);
    gate_free(go);
}
