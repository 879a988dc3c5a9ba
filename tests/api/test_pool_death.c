/* SPDX-License-Identifier: MIT */
/*
 * A death costs its own task and nothing else: every way for a task to end its worker, limits of
 * time, further attempts, quarantine, cancelling. Each test ends by showing that the pool works.
 */
#include "api/pool_kit.h"

#include <limits.h>
#include <pthread.h>
#include <sys/resource.h>

/* ---- ways to die ---- */

TEST(each_deadly_signal_is_named_and_costs_one_task)
{
    const int signals[] = {SIGSEGV, SIGBUS,  SIGILL,  SIGFPE,  SIGABRT,  SIGSYS,  SIGTRAP,
                           SIGKILL, SIGTERM, SIGINT,  SIGHUP,  SIGQUIT,  SIGPIPE, SIGALRM,
                           SIGUSR1, SIGUSR2, SIGXCPU, SIGPROF, SIGVTALRM};
    brood_pool *pool = pool_of(2);
    const unsigned count = sizeof signals / sizeof signals[0];

    for (unsigned i = 0; i < count; i++) {
        brood_outcome outcome = outcome_of(pool, task_raise, &signals[i], sizeof signals[i], NULL);

        CHECK_EQ(outcome.verdict, BROOD_ECRASHED);
        CHECK_EQ(outcome.cause, BROOD_SIGNALLED);
        CHECK_EQ(outcome.signal, signals[i]);
        CHECK_EQ(outcome.attempts, 1);
        CHECK(!outcome.quarantined);
    }
    CHECK_EQ(stats_of(pool).worker_deaths, count);
    check_works(pool);
    brood_pool_free(pool);
}

__attribute__((no_sanitize("undefined"))) static int task_null(brood_task *task)
{
    volatile int *nowhere = (volatile int *)(uintptr_t)task->index;

    return *nowhere;
}

static int task_divide(brood_task *task)
{
    volatile int zero = (int)task->index;

    __asm__ volatile("" ::: "memory");
    if (zero == 0)
        (void)raise(SIGFPE);
    return 1 / (zero + 1);
}

static int task_abort(brood_task *task)
{
    (void)task;
    abort();
}

static int task_trap(brood_task *task)
{
    (void)task;
#if defined(__aarch64__) /* where the builtin is a breakpoint, and so a SIGTRAP */
    __asm__ volatile("udf #0");
#endif
    __builtin_trap();
}

__attribute__((noinline)) static int recurse(volatile char *below)
{
    volatile char frame[4096];

    if (*below == 'x') /* never, but only we know */
        return 0;
    frame[0] = 0;
    frame[4095] = 0;
    return recurse(&frame[4095]) + frame[0];
}

static int task_overflow_stack(brood_task *task)
{
    volatile char bottom = 0;

    (void)task;
    return recurse(&bottom);
}

static void expect_crash(brood_pool *pool, brood_task_fn *fn, int signal)
{
    brood_future *future = submit(pool, fn, NULL, 0, NULL);
    const brood_result *result = result_of(future);

    CHECK_EQ(result->verdict, BROOD_ECRASHED);
    CHECK_EQ(result->outcome.cause, BROOD_SIGNALLED);
    CHECK_EQ(result->outcome.signal, signal);
    CHECK(result->data == NULL);
    CHECK_EQ(result->len, 0);
    CHECK(result->outcome.report != NULL && result->outcome.report[0] != '\0');
    brood_future_free(future);
    check_works(pool);
}

TEST(a_real_crash_has_its_signal_and_a_report)
{
    brood_pool *pool = pool_of(1);

    expect_crash(pool, task_null, SIGSEGV);
    expect_crash(pool, task_divide, SIGFPE);
    expect_crash(pool, task_abort, SIGABRT);
    expect_crash(pool, task_trap, SIGILL);
    brood_pool_free(pool);
}

TEST(a_stack_overflow_is_a_crash_with_a_report)
{
    brood_pool *pool;
    struct rlimit stack = {8 << 20, RLIM_INFINITY};

    (void)setrlimit(RLIMIT_STACK, &stack);
    pool = pool_of(1);
    expect_crash(pool, task_overflow_stack, SIGSEGV);
    brood_pool_free(pool);
}

TEST(a_report_names_the_function_that_crashed)
{
    brood_pool *pool = pool_of(1);
    brood_future *future = submit(pool, task_abort, NULL, 0, NULL);
    const char *report = result_of(future)->outcome.report;

    CHECK(report != NULL);
    CHECK(strstr(report, "SIGABRT") != NULL);
    CHECK(strchr(report, '+') != NULL);
    brood_future_free(future);
    brood_pool_free(pool);
}

TEST(a_sigkill_has_no_report_and_says_so_by_null)
{
    brood_pool *pool = pool_of(1);
    brood_future *future = submit(pool, task_kill_itself, NULL, 0, NULL);

    CHECK_EQ(result_of(future)->outcome.signal, SIGKILL);
    CHECK(result_of(future)->outcome.report == NULL);
    brood_future_free(future);
    brood_pool_free(pool);
}

static int task_exit(brood_task *task)
{
    exit(*(const int *)task->in);
}

static int task_exit_now(brood_task *task)
{
    _exit(*(const int *)task->in);
}

static int task_exit_thread(brood_task *task)
{
    (void)task;
    pthread_exit(NULL);
}

TEST(exit_inside_a_task_is_a_crash_with_its_code)
{
    brood_pool *pool = pool_of(1);
    const int codes[] = {0, 1, 42, 255};

    for (int i = 0; i < 8; i++) {
        brood_outcome outcome = outcome_of(pool, i < 4 ? task_exit : task_exit_now, &codes[i % 4],
                                           sizeof codes[0], NULL);

        CHECK_EQ(outcome.verdict, BROOD_ECRASHED);
        CHECK_EQ(outcome.cause, BROOD_EXITED);
        CHECK_EQ(outcome.code, codes[i % 4]);
        CHECK_EQ(outcome.signal, 0);
    }
    CHECK_EQ(outcome_of(pool, task_exit_thread, NULL, 0, NULL).verdict, BROOD_ECRASHED);
    CHECK_EQ(stats_of(pool).worker_deaths, 9);
    check_works(pool);
    brood_pool_free(pool);
}

TEST(other_tasks_of_a_burst_survive_a_crash_among_them)
{
    brood_pool *pool = pool_of(2);
    brood_future *futures[300];

    for (long i = 0; i < 300; i++)
        futures[i] = submit(pool, i % 10 == 3 ? task_kill_itself : task_square, &i, sizeof i,
                            &(brood_task_options){.out_size = sizeof i});
    for (long i = 0; i < 300; i++) {
        const brood_result *result = result_of(futures[i]);

        if (i % 10 == 3)
            CHECK_EQ(result->verdict, BROOD_ECRASHED);
        else
            CHECK_EQ(*(const long *)result->data, i * i);
        brood_future_free(futures[i]);
    }
    CHECK_EQ(stats_of(pool).worker_deaths, 30);
    brood_pool_free(pool);
}

TEST(an_idle_worker_that_is_killed_is_replaced)
{
    brood_pool *pool = pool_of(2);

    for (int i = 0; i < 10; i++) {
        int pids[2] = {0}, pidfd;

        while (stats_of(pool).workers < 2)
            check_works(pool);
        CHECK_EQ(brood_pool_pids(pool, pids, 2), 2);
        pidfd = open_pidfd(pids[i % 2]);
        CHECK_EQ(kill(pids[i % 2], SIGKILL), 0);
        await_death(pidfd);
        check_works(pool);
    }
    while (stats_of(pool).worker_deaths < 10)
        check_works(pool);
    CHECK_EQ(stats_of(pool).failed, 0);
    brood_pool_free(pool);
}

TEST(a_stopped_worker_delays_only_its_own_task)
{
    struct gate *runs = gate_new(), *go = gate_new();
    struct two_gates gates = {runs, go};
    brood_pool *pool = pool_of(2);
    brood_future *first = submit(pool, task_gates, &gates, sizeof gates, NULL);
    int pids[2] = {0}, other = 0, busy;

    gate_wait(runs);
    CHECK_EQ(brood_pool_pids(pool, pids, 2), 2);
    CHECK_EQ(brood_pool_apply(pool, task_pid, NULL, 0, &other, sizeof other), 0);
    busy = other == pids[0] ? pids[1] : pids[0];
    CHECK_EQ(kill(busy, SIGSTOP), 0);
    gate_open(go);
    for (int i = 0; i < 50; i++)
        check_works(pool);
    CHECK(!brood_future_ready(first));
    CHECK_EQ(kill(busy, SIGCONT), 0);
    CHECK_EQ(result_of(first)->verdict, 0);
    brood_future_free(first);
    brood_pool_free(pool);
    gate_free(runs);
    gate_free(go);
}

/* ---- time ---- */

TEST(a_task_over_its_timeout_is_stopped_and_says_so)
{
    brood_pool *pool = pool_of(1);
    int64_t start = now_ms();
    brood_outcome outcome =
        outcome_of(pool, task_for_ever, NULL, 0, &(brood_task_options){.timeout_ms = 50});

    CHECK_EQ(outcome.verdict, BROOD_EDEADLINE);
    CHECK_EQ(outcome.cause, BROOD_TIMED_OUT);
    CHECK_EQ(outcome.attempts, 1);
    CHECK(outcome.wall_us >= 50000);
    CHECK(now_ms() - start >= 50);
    CHECK_EQ(stats_of(pool).worker_deaths, 1);
    check_works(pool);
    brood_pool_free(pool);
}

static int task_spin(brood_task *task)
{
    sigset_t all;

    (void)task;
    (void)sigfillset(&all);
    (void)sigprocmask(SIG_BLOCK, &all, NULL);
    for (volatile bool go_on = true; go_on;)
        continue;
    return 0;
}

TEST(a_task_that_blocks_all_signals_and_spins_is_stopped)
{
    brood_pool *pool = pool_of(1);

    CHECK_EQ(outcome_of(pool, task_spin, NULL, 0, &(brood_task_options){.timeout_ms = 20}).verdict,
             BROOD_EDEADLINE);
    check_works(pool);
    brood_pool_free(pool);
}

TEST(the_timeout_counts_from_the_start_and_not_from_submit)
{
    struct gate *go = gate_new();
    struct two_gates gates = {NULL, go};
    brood_pool *pool = pool_of(1);
    brood_future *timed;

    CHECK_EQ(brood_pool_submit(pool, task_gates, &gates, sizeof gates, NULL, NULL), 0);
    timed = submit(pool, task_nothing, NULL, 0, &(brood_task_options){.timeout_ms = 1000});
    CHECK_ERR(brood_future_wait(timed, 1200, NULL), -ETIMEDOUT);
    gate_open(go);
    CHECK_EQ(result_of(timed)->verdict, 0);
    brood_future_free(timed);
    brood_pool_free(pool);
    gate_free(go);
}

TEST(a_queued_task_over_its_deadline_never_starts)
{
    struct gate *go = gate_new(), *never = gate_new();
    struct two_gates gates = {NULL, go}, late = {never, NULL};
    brood_pool *pool = pool_of(1);
    brood_future *future;

    CHECK_EQ(brood_pool_submit(pool, task_gates, &gates, sizeof gates, NULL, NULL), 0);
    future = submit(pool, task_gates, &late, sizeof late, &(brood_task_options){.deadline_ms = 30});
    CHECK_EQ(result_of(future)->verdict, BROOD_EDEADLINE);
    CHECK_EQ(result_of(future)->outcome.attempts, 0);
    gate_open(go);
    check_works(pool);
    CHECK(!gate_is_open(never));
    brood_future_free(future);
    brood_pool_free(pool);
    gate_free(go);
    gate_free(never);
}

TEST(the_deadline_is_over_all_attempts)
{
    struct gate *runs = gate_new();
    brood_pool *pool = pool_with(&(brood_pool_options){.workers = 1, .strikes_max = 1000000});
    brood_outcome outcome =
        outcome_of(pool, task_for_ever, &runs, sizeof runs,
                   &(brood_task_options){.timeout_ms = 30, .deadline_ms = 200, .retries = 1000});

    CHECK_EQ(outcome.verdict, BROOD_EDEADLINE);
    CHECK(outcome.attempts > 1);
    CHECK(outcome.attempts < 10);
    CHECK_EQ(gate_counted(runs), outcome.attempts);
    check_works(pool);
    outcome = outcome_of(pool, task_for_ever, NULL, 0, &(brood_task_options){.deadline_ms = 30});
    CHECK_EQ(outcome.verdict, BROOD_EDEADLINE);
    CHECK_EQ(outcome.attempts, 1);
    brood_pool_free(pool);
    gate_free(runs);
}

TEST(many_timeouts_hit_only_the_slow)
{
    brood_pool *pool = pool_of(2);
    brood_future *futures[200];

    for (long i = 0; i < 200; i++)
        futures[i] = submit(
            pool, i % 40 == 7 ? task_for_ever : task_square, &i, i % 40 == 7 ? 0 : sizeof i,
            &(brood_task_options){.out_size = sizeof i, .timeout_ms = i % 40 == 7 ? 20 : 60000});
    for (long i = 0; i < 200; i++) {
        CHECK_EQ(result_of(futures[i])->verdict, i % 40 == 7 ? BROOD_EDEADLINE : 0);
        brood_future_free(futures[i]);
    }
    brood_pool_free(pool);
}

TEST(enormous_times_are_no_limit)
{
    brood_pool *pool = pool_of(1);
    brood_task_options options = {.timeout_ms = INT64_MAX,
                                  .deadline_ms = INT64_MAX,
                                  .retry_delay_ms = INT64_MAX,
                                  .room_wait_ms = INT64_MAX};

    CHECK_EQ(outcome_of(pool, task_nothing, NULL, 0, &options).verdict, 0);
    CHECK_EQ(brood_pool_join(pool, INT64_MAX), 0);
    brood_pool_free(pool);
}

/* ---- further attempts ---- */

/* In: after how many attempts it succeeds, and a gate that counts them. */
struct stubborn {
    unsigned deaths;
    struct gate *runs;
};

static int task_stubborn(brood_task *task)
{
    const struct stubborn *in = task->in;

    gate_count(in->runs);
    if (task->attempt < in->deaths)
        (void)kill(getpid(), SIGKILL);
    *(unsigned *)task->out = task->attempt;
    return 0;
}

static brood_outcome stubborn(brood_pool *pool, unsigned deaths, unsigned *runs,
                              const brood_task_options *options, struct gate *gate)
{
    struct stubborn in = {deaths, gate};
    uint32_t before = gate_counted(gate);
    brood_task_options with = *options;
    brood_outcome outcome;

    with.out_size = sizeof(unsigned);
    outcome = outcome_of(pool, task_stubborn, &in, sizeof in, &with);
    *runs = gate_counted(gate) - before;
    return outcome;
}

TEST(a_task_that_crashes_is_tried_again_as_often_as_asked)
{
    struct gate *gate = gate_new();
    brood_pool *pool = pool_with(&(brood_pool_options){.workers = 1, .strikes_max = 100});
    unsigned runs;
    brood_outcome outcome;

    outcome = stubborn(pool, 2, &runs, &(brood_task_options){.retries = 2}, gate);
    CHECK_EQ(outcome.verdict, 0);
    CHECK_EQ(outcome.attempts, 3);
    CHECK_EQ(runs, 3);
    outcome = stubborn(pool, 3, &runs, &(brood_task_options){.retries = 2}, gate);
    CHECK_EQ(outcome.verdict, BROOD_ECRASHED);
    CHECK_EQ(outcome.attempts, 3);
    CHECK_EQ(outcome.signal, SIGKILL);
    CHECK(!outcome.quarantined);
    CHECK_EQ(runs, 3);
    outcome = stubborn(pool, 1, &runs, &(brood_task_options){.retries = 0}, gate);
    CHECK_EQ(outcome.attempts, 1);
    CHECK_EQ(runs, 1);
    CHECK_EQ(stats_of(pool).retried, 4);
    CHECK_EQ(stats_of(pool).worker_deaths, 6);
    brood_pool_free(pool);
    gate_free(gate);
}

TEST(a_task_is_tried_again_after_a_timeout)
{
    struct gate *runs = gate_new();
    brood_pool *pool = pool_of(1);
    brood_outcome outcome = outcome_of(pool, task_for_ever, &runs, sizeof runs,
                                       &(brood_task_options){.timeout_ms = 20, .retries = 1});

    CHECK_EQ(outcome.verdict, BROOD_EDEADLINE);
    CHECK_EQ(outcome.attempts, 2);
    CHECK_EQ(gate_counted(runs), 2);
    brood_pool_free(pool);
    gate_free(runs);
}

TEST(an_error_returned_is_never_tried_again)
{
    brood_pool *pool = pool_of(1);
    int code = -EIO;
    brood_outcome outcome =
        outcome_of(pool, task_return_code, &code, sizeof code, &(brood_task_options){.retries = 5});

    CHECK_EQ(outcome.verdict, -EIO);
    CHECK_EQ(outcome.attempts, 1);
    CHECK_EQ(stats_of(pool).retried, 0);
    brood_pool_free(pool);
}

TEST(the_next_attempt_waits_for_its_delay)
{
    struct gate *gate = gate_new();
    brood_pool *pool = pool_with(&(brood_pool_options){.workers = 1, .strikes_max = 100});
    int64_t start = now_ms();
    unsigned runs;
    brood_outcome outcome =
        stubborn(pool, 2, &runs, &(brood_task_options){.retries = 2, .retry_delay_ms = 60}, gate);

    CHECK_EQ(outcome.verdict, 0);
    CHECK(now_ms() - start >= 120);
    brood_pool_free(pool);
    gate_free(gate);
}

TEST(a_task_that_waits_for_its_next_attempt_can_be_cancelled_at_once)
{
    struct gate *gate = gate_new();
    struct stubborn in = {100, gate};
    brood_pool *pool = pool_of(1);
    brood_future *future =
        submit(pool, task_stubborn, &in, sizeof in,
               &(brood_task_options){
                   .retries = 1, .retry_delay_ms = 1000000, .out_size = sizeof(unsigned)});

    while (stats_of(pool).retried == 0)
        check_works(pool);
    CHECK_EQ(brood_future_cancel(future), 1);
    CHECK(brood_future_ready(future));
    CHECK_EQ(result_of(future)->verdict, BROOD_ECANCELLED);
    CHECK_EQ(result_of(future)->outcome.attempts, 1);
    brood_future_free(future);
    brood_pool_free(pool);
    gate_free(gate);
}

TEST(a_task_that_ended_too_many_workers_is_put_in_quarantine)
{
    struct gate *gate = gate_new();
    brood_pool *pool = pool_of(1);
    unsigned runs;
    brood_outcome outcome = stubborn(pool, 100, &runs, &(brood_task_options){.retries = 50}, gate);

    CHECK_EQ(outcome.verdict, BROOD_ECRASHED);
    CHECK(outcome.quarantined);
    CHECK_EQ(outcome.attempts, 3);
    CHECK_EQ(runs, 3);
    check_works(pool);
    brood_pool_free(pool);
    pool = pool_with(&(brood_pool_options){.workers = 1, .strikes_max = 1});
    outcome = stubborn(pool, 100, &runs, &(brood_task_options){.retries = UINT_MAX}, gate);
    CHECK(outcome.quarantined);
    CHECK_EQ(runs, 1);
    brood_pool_free(pool);
    gate_free(gate);
}

/* ---- cancel ---- */

TEST(a_queued_task_that_is_cancelled_never_starts)
{
    struct gate *runs = gate_new(), *go = gate_new(), *never = gate_new();
    struct two_gates gates = {runs, go}, other = {never, NULL};
    brood_pool *pool = pool_of(1);
    brood_future *future;

    CHECK_EQ(brood_pool_submit(pool, task_gates, &gates, sizeof gates, NULL, NULL), 0);
    gate_wait(runs);
    future = submit(pool, task_gates, &other, sizeof other, NULL);
    CHECK_EQ(brood_future_cancel(future), 1);
    CHECK(brood_future_ready(future));
    CHECK_EQ(result_of(future)->outcome.cause, BROOD_CANCELLED);
    CHECK_EQ(result_of(future)->outcome.attempts, 0);
    gate_open(go);
    check_works(pool);
    CHECK(!gate_is_open(never));
    CHECK_EQ(stats_of(pool).worker_deaths, 0);
    brood_future_free(future);
    brood_pool_free(pool);
    gate_free(runs);
    gate_free(go);
    gate_free(never);
}

TEST(a_running_task_that_is_cancelled_is_killed)
{
    struct gate *runs = gate_new();
    brood_pool *pool = pool_of(1);
    brood_future *future =
        submit(pool, task_for_ever, &runs, sizeof runs, &(brood_task_options){.retries = 5});

    gate_wait(runs);
    CHECK_EQ(brood_future_cancel(future), 1);
    CHECK_EQ(result_of(future)->verdict, BROOD_ECANCELLED);
    CHECK_EQ(result_of(future)->outcome.cause, BROOD_CANCELLED);
    CHECK_EQ(result_of(future)->outcome.attempts, 1);
    CHECK_EQ(brood_future_cancel(future), 0);
    CHECK_EQ(stats_of(pool).worker_deaths, 1);
    CHECK_EQ(gate_counted(runs), 1);
    check_works(pool);
    brood_future_free(future);
    brood_pool_free(pool);
    gate_free(runs);
}

TEST(a_stopped_task_can_be_cancelled)
{
    struct gate *runs = gate_new();
    brood_pool *pool = pool_of(1);
    brood_future *future = submit(pool, task_for_ever, &runs, sizeof runs, NULL);

    gate_wait(runs);
    CHECK_EQ(kill(only_pid(pool), SIGSTOP), 0);
    CHECK_EQ(brood_future_cancel(future), 1);
    CHECK_EQ(result_of(future)->verdict, BROOD_ECANCELLED);
    brood_future_free(future);
    check_works(pool);
    brood_pool_free(pool);
    gate_free(runs);
}

TEST(an_ended_task_cannot_be_cancelled)
{
    brood_pool *pool = pool_of(1);
    brood_future *future = submit(pool, task_nothing, NULL, 0, NULL);

    CHECK_EQ(result_of(future)->verdict, 0);
    CHECK_EQ(brood_future_cancel(future), 0);
    CHECK_EQ(result_of(future)->verdict, 0);
    brood_future_free(future);
    brood_pool_free(pool);
}

/* Cancels at random moments: whatever was not cancelled must succeed, whatever cancel promised
 * must be so, and nothing runs twice. */
TEST_LIMIT(cancels_at_random_moments_never_hit_an_innocent_task, 60)
{
    enum { ROUNDS = 150, TASKS = 40 };
    brood_pool *pool = pool_of(2);
    unsigned promised = 0;

    for (int round = 0; round < ROUNDS; round++) {
        brood_future *futures[TASKS];
        int cancelled[TASKS] = {0};

        for (long i = 0; i < TASKS; i++)
            futures[i] = submit(pool, task_square, &i, sizeof i,
                                &(brood_task_options){.out_size = sizeof i});
        for (int i = 0; i < 4; i++) {
            uint64_t which = test_random_below(TASKS);

            for (volatile uint64_t spin = test_random_below(3000); spin > 0; spin--)
                continue;
            if (cancelled[which] == 0)
                cancelled[which] = CHECK_OK(brood_future_cancel(futures[which]));
        }
        for (long i = 0; i < TASKS; i++) {
            const brood_result *result = result_of(futures[i]);

            CHECK_EQ(result->verdict, cancelled[i] ? BROOD_ECANCELLED : 0);
            if (!cancelled[i])
                CHECK_EQ(*(const long *)result->data, i * i);
            promised += cancelled[i] != 0;
            brood_future_free(futures[i]);
        }
    }
    CHECK(promised > 0);
    CHECK_EQ(stats_of(pool).failed, promised);
    check_works(pool);
    brood_pool_free(pool);
}

TEST_LIMIT(a_promised_cancel_holds_for_tasks_that_die_time_out_and_retry, 60)
{
    brood_pool *pool = pool_with(&(brood_pool_options){.workers = 2, .strikes_max = 1000000});

    for (int round = 0; round < 150; round++) {
        brood_future *futures[6];

        for (int i = 0; i < 6; i++)
            futures[i] = submit(
                pool, i % 2 == 0 ? task_kill_itself : task_for_ever, NULL, 0,
                &(brood_task_options){.retries = UINT_MAX, .timeout_ms = i % 2 == 0 ? 0 : 1});
        for (volatile uint64_t spin = test_random_below(1000000); spin > 0; spin--)
            continue;
        for (int i = 0; i < 6; i++)
            CHECK_EQ(brood_future_cancel(futures[i]), 1);
        for (int i = 0; i < 6; i++) {
            CHECK_EQ(result_of(futures[i])->verdict, BROOD_ECANCELLED);
            brood_future_free(futures[i]);
        }
    }
    check_works(pool);
    brood_pool_free(pool);
}
