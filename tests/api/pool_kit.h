/* SPDX-License-Identifier: MIT */
/*
 * What the tests of the pool share: opening a pool that must open, tasks that do one simple
 * thing, and looking at processes from outside. A gate made before the pool is in its workers
 * too, so a pointer to it may travel as a task's input.
 */
#ifndef BROOD_TESTS_API_POOL_KIT_H
#define BROOD_TESTS_API_POOL_KIT_H

#include "harness/gate.h"
#include "harness/test.h"

#include <brood.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* Crashes of tasks are meant: they are for the library and the kernel, not for the sanitizer. */
#if TEST_ASAN
__attribute__((visibility("default"))) const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
    return "handle_segv=0:handle_sigbus=0:handle_sigfpe=0:handle_abort=0:handle_sigill=0:"
           "allocator_may_return_null=1";
}
#endif

#if TEST_TSAN
__attribute__((visibility("default"))) const char *__tsan_default_options(void);
const char *__tsan_default_options(void)
{
    return "die_after_fork=0:handle_segv=0:handle_sigbus=0:handle_sigfpe=0:handle_abort=0";
}
#endif

#define KIT __attribute__((unused)) static

enum { MIB = 1 << 20 };

/* ---- pools ---- */

/* A pool that must open. TSan has a thread of its own, which is not the test's fault. */
KIT brood_pool *pool_with(const brood_pool_options *options)
{
    brood_pool *pool = NULL;
    brood_pool_options with = *options;

    with.allow_threads = options->allow_threads || TEST_TSAN;
    CHECK_EQ(brood_pool_new(&pool, &with), 0);
    CHECK(pool != NULL);
    return pool;
}

KIT brood_pool *pool_of(unsigned workers)
{
    return pool_with(&(brood_pool_options){.workers = workers});
}

KIT brood_pool_stats stats_of(brood_pool *pool)
{
    brood_pool_stats stats;

    CHECK_EQ(brood_pool_stats_get(pool, &stats), 0);
    return stats;
}

KIT brood_future *submit(brood_pool *pool, brood_task_fn *fn, const void *in, size_t in_len,
                         const brood_task_options *options)
{
    brood_future *future = NULL;

    CHECK_EQ(brood_pool_submit(pool, fn, in, in_len, options, &future), 0);
    CHECK(future != NULL);
    return future;
}

KIT const brood_result *result_of(brood_future *future)
{
    const brood_result *result = NULL;

    CHECK_EQ(brood_future_wait(future, TEST_PATIENCE_MS, &result), 0);
    CHECK(result != NULL);
    CHECK_EQ(result->verdict, result->outcome.verdict);
    return result;
}

/* The outcome of one task, without its report. */
KIT brood_outcome outcome_of(brood_pool *pool, brood_task_fn *fn, const void *in, size_t in_len,
                             const brood_task_options *options)
{
    brood_future *future = submit(pool, fn, in, in_len, options);
    brood_outcome outcome = result_of(future)->outcome;

    brood_future_free(future);
    outcome.report = NULL;
    return outcome;
}

/* ---- tasks ---- */

KIT int task_square(brood_task *task)
{
    const long *x = task->in;

    *(long *)task->out = *x * *x;
    return 0;
}

KIT int task_nothing(brood_task *task)
{
    (void)task;
    return 0;
}

KIT int task_pid(brood_task *task)
{
    *(int *)task->out = (int)getpid();
    return 0;
}

KIT int task_return_code(brood_task *task)
{
    return *(const int *)task->in;
}

/* In: the number of a signal. */
KIT int task_raise(brood_task *task)
{
    (void)raise(*(const int *)task->in);
    return 0;
}

KIT int task_kill_itself(brood_task *task)
{
    (void)task;
    (void)kill(getpid(), SIGKILL);
    return 0;
}

/* In: two pointers to gates: opened when it runs, and waited for before it ends. */
struct two_gates {
    struct gate *runs, *go;
};

KIT int task_gates(brood_task *task)
{
    const struct two_gates *gates = task->in;

    if (gates->runs != NULL)
        gate_count(gates->runs);
    if (gates->go != NULL && !gate_wait_ms(gates->go, -1))
        return -ETIMEDOUT;
    return 0;
}

/* Runs until it is killed. In: a gate that counts starts, or nothing. */
KIT int task_for_ever(brood_task *task)
{
    if (task->in_len == sizeof(struct gate *))
        gate_count(*(struct gate *const *)task->in);
    while (pause() != 0)
        continue;
    return 0;
}

/* Shows that the pool still works, on all of its workers. */
KIT void check_works(brood_pool *pool)
{
    for (long i = 0; i < 20; i++) {
        long y = 0;

        CHECK_EQ(brood_pool_apply(pool, task_square, &i, sizeof i, &y, sizeof y), 0);
        CHECK_EQ(y, i * i);
    }
}

/* ---- processes, looked at from outside ---- */

KIT int open_pidfd(pid_t pid)
{
    return CHECK_OK((int)syscall(SYS_pidfd_open, pid, 0));
}

/* Until the process is dead, or the test fails. */
KIT void await_death(int pidfd)
{
    struct pollfd fd = {.fd = pidfd, .events = POLLIN};

    CHECK_EQ(poll(&fd, 1, (int)TEST_PATIENCE_MS), 1);
    (void)close(pidfd);
}

KIT bool polls_readable(int fd, int64_t timeout_ms)
{
    struct pollfd pollfd = {.fd = fd, .events = POLLIN};

    return CHECK_OK(poll(&pollfd, 1, (int)timeout_ms)) == 1 && (pollfd.revents & POLLIN) != 0;
}

/* One number of /proc/PID/stat, by its place after the name; 0 is the state. -1: no such. */
KIT long stat_field(pid_t pid, int field)
{
    char path[64], text[1024];
    char *at;
    FILE *file;
    size_t len;

    (void)snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    file = fopen(path, "re");
    if (file == NULL)
        return -1;
    len = fread(text, 1, sizeof text - 1, file);
    (void)fclose(file);
    text[len] = '\0';
    at = strrchr(text, ')');
    if (at == NULL)
        return -1;
    at += 2;
    for (; field > 0; field--)
        at = strchr(at, ' ') + 1;
    return *at >= '0' && *at <= '9' ? strtol(at, NULL, 10) : *at;
}

KIT pid_t parent_of(pid_t pid)
{
    return (pid_t)stat_field(pid, 1);
}

KIT int64_t now_ms(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* The one worker of a pool of one. */
KIT int only_pid(brood_pool *pool)
{
    int pid = 0;

    CHECK_EQ(brood_pool_pids(pool, &pid, 1), 1);
    CHECK(pid > 0);
    return pid;
}

/* The snapshot that the workers are forked from. */
KIT pid_t snapshot_of(brood_pool *pool)
{
    int pid = 0;
    pid_t parent;

    CHECK(brood_pool_pids(pool, &pid, 1) >= 1);
    parent = parent_of(pid);
    CHECK(parent > 1);
    CHECK(parent != getpid());
    return parent;
}

/* A page that this process and all forked from it see. */
KIT void *share(size_t len)
{
    void *memory = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    CHECK(memory != MAP_FAILED);
    return memory;
}

/* Runs FUNCTION in a forked child and waits for it; a CHECK in there fails the test. */
KIT void in_child(void (*function)(void *), void *context)
{
    int status;
    pid_t pid = CHECK_OK(fork());

    if (pid == 0) {
        function(context);
        _exit(0);
    }
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, 0);
}

#endif
