/* SPDX-License-Identifier: MIT */
/*
 * What a process is from the outside: it runs a function elsewhere, can be asked, signalled and
 * waited for any number of times, and says how it ended. Under both start methods.
 */
#include "harness/gate.h"
#include "harness/test.h"
#include "run/server.h"

#include <brood/process.h>

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static const int starts[] = {BROOD_START_FORK, BROOD_START_FORKSERVER};
enum { STARTS = 2 };

static brood_process *start_with(brood_main_fn *fn, const void *arg, size_t arg_len,
                                 const brood_process_options *options)
{
    brood_process *process = NULL;

    CHECK_OK(brood_process_start(&process, fn, arg, arg_len, options));
    CHECK(process != NULL);
    return process;
}

static brood_outcome joined(brood_process *process)
{
    brood_outcome outcome;

    CHECK_OK(brood_process_join(process, TEST_PATIENCE_MS, &outcome));
    return outcome;
}

static int return_number(void *arg)
{
    return *(int *)arg;
}

static int sleep_for_ever(void *arg)
{
    (void)arg;
    while (pause() < 0)
        continue;
    return 0;
}

TEST(what_the_function_returns_is_the_code_whole)
{
    for (int i = 0; i < STARTS; i++) {
        const int number = -123456;
        brood_process *process = start_with(return_number, &number, sizeof number,
                                            &(brood_process_options){.start = starts[i]});
        brood_outcome outcome = joined(process);
        int code = 0;

        CHECK_EQ(outcome.cause, BROOD_RETURNED);
        CHECK_EQ(outcome.code, number);
        CHECK_EQ(outcome.verdict, number);
        CHECK_EQ(outcome.signal, 0);
        CHECK_EQ(outcome.attempts, 1);
        CHECK_EQ(outcome.containment, BROOD_CONTAIN_GROUP);
        CHECK(outcome.wall_us > 0);
        CHECK_EQ(brood_process_exit_code(process, &code), 1);
        CHECK_EQ(code, number & 0xff);
        brood_process_free(process);
    }
    brood__server_stop();
}

static int exit_in_the_middle(void *arg)
{
    (void)arg;
    exit(7);
}

TEST(exit_is_told_from_return)
{
    brood_process *process = start_with(exit_in_the_middle, NULL, 0, NULL);
    brood_outcome outcome = joined(process);

    CHECK_EQ(outcome.cause, BROOD_EXITED);
    CHECK_EQ(outcome.code, 7);
    CHECK_EQ(outcome.verdict, 7);
    brood_process_free(process);
}

static int crash(void *arg)
{
    (void)arg;
    abort();
}

TEST(a_crash_names_its_signal_and_place)
{
    for (int i = 0; i < STARTS; i++) {
        brood_process *process =
            start_with(crash, NULL, 0, &(brood_process_options){.start = starts[i]});
        brood_outcome outcome = joined(process);
        int code = 0;

        CHECK_EQ(outcome.cause, BROOD_SIGNALLED);
        CHECK_EQ(outcome.verdict, BROOD_ECRASHED);
        CHECK_EQ(outcome.signal, SIGABRT);
        if (!TEST_ASAN && !TEST_TSAN)
            CHECK(outcome.report != NULL && strstr(outcome.report, "SIGABRT") != NULL);
        CHECK_EQ(brood_process_exit_code(process, &code), 1);
        CHECK_EQ(code, -SIGABRT);
        brood_process_free(process);
    }
    brood__server_stop();
}

static int add_in_place(void *arg)
{
    int *numbers = arg;

    return numbers[0] + numbers[1];
}

static int is_aligned(void *arg)
{
    return (uintptr_t)arg % _Alignof(max_align_t) == 0;
}

TEST(an_argument_is_copied_and_a_pointer_is_handed_on)
{
    int numbers[2] = {40, 2};
    brood_process *copied = start_with(add_in_place, numbers, sizeof numbers, NULL);
    brood_process *pointed = start_with(add_in_place, numbers, 0, NULL);
    brood_process *aligned = start_with(is_aligned, "abc", 3, NULL);

    CHECK_EQ(joined(aligned).code, 1);
    brood_process_free(aligned);
    CHECK_EQ(joined(copied).code, 42);
    CHECK_EQ(joined(pointed).code, 42);
    brood_process_free(copied);
    brood_process_free(pointed);
}

static int sum_bytes(void *arg)
{
    const unsigned char *bytes = arg;
    int sum = 0;

    for (size_t i = 0; i < ((size_t)8 << 20); i++)
        sum += bytes[i];
    return sum;
}

TEST(an_argument_may_be_large)
{
    const size_t len = (size_t)8 << 20;
    unsigned char *bytes = malloc(len);

    CHECK(bytes != NULL);
    memset(bytes, 3, len);
    for (int i = 0; i < STARTS; i++) {
        brood_process *process =
            start_with(sum_bytes, bytes, len, &(brood_process_options){.start = starts[i]});

        CHECK_EQ(joined(process).code, 3 << 23);
        brood_process_free(process);
    }
    free(bytes);
    brood__server_stop();
}

TEST(wrong_requests_are_refused)
{
    const brood_process_options bad_start = {.start = 77};
    const brood_process_options bad_containment = {.containment = 4};
    const brood_process_options bad_reserved = {.reserved = {0, 1}};
    const brood_process_options server = {.start = BROOD_START_FORKSERVER};
    brood_process *process = NULL;
    int number = 0;

    CHECK_ERR(brood_process_start(NULL, crash, NULL, 0, NULL), -EINVAL);
    CHECK_ERR(brood_process_start(&process, NULL, NULL, 0, NULL), -EINVAL);
    CHECK_ERR(brood_process_start(&process, crash, NULL, 0, &bad_start), -EINVAL);
    CHECK_ERR(brood_process_start(&process, crash, NULL, 0, &bad_containment), -EINVAL);
    CHECK_ERR(brood_process_start(&process, crash, NULL, 0, &bad_reserved), -EINVAL);
    CHECK_ERR(brood_process_start(&process, crash, &number, 0, &server), -EINVAL);
    CHECK_ERR(brood_process_start(&process, crash, &number, SIZE_MAX - 3, NULL), -ENOMEM);
    CHECK_ERR(brood_process_start(&process, crash, &number, SIZE_MAX / 2 - 9, NULL), -ENOMEM);
    CHECK(process == NULL);
}

TEST(a_timeout_of_for_ever_is_none)
{
    const brood_process_options options = {.timeout_ms = BROOD_FOREVER};
    brood_process *process = NULL;

    CHECK_OK(brood_process_start(&process, crash, NULL, 0, &options));
    CHECK_EQ(joined(process).cause, BROOD_SIGNALLED);
    brood_process_free(process);
}

TEST(join_waits_no_longer_than_told_and_again_and_again)
{
    brood_process *process = start_with(sleep_for_ever, NULL, 0, NULL);
    brood_outcome outcome;
    int code;

    CHECK_ERR(brood_process_join(process, 0, &outcome), -ETIMEDOUT);
    CHECK_ERR(brood_process_join(process, 20, &outcome), -ETIMEDOUT);
    CHECK_EQ(brood_process_alive(process), 1);
    CHECK_EQ(brood_process_exit_code(process, &code), 0);
    CHECK_OK(brood_process_terminate(process));
    for (int i = 0; i < 3; i++) {
        outcome = joined(process);
        CHECK_EQ(outcome.signal, SIGTERM);
        CHECK_EQ(brood_process_alive(process), 0);
        CHECK_ERR(brood_process_kill(process), -ESRCH);
    }
    brood_process_free(process);
}

struct ready {
    struct gate *gate;
};

static int ignore_terminate(void *arg)
{
    struct ready *ready = arg;

    (void)signal(SIGTERM, SIG_IGN);
    gate_open(ready->gate);
    return sleep_for_ever(NULL);
}

TEST(kill_ends_what_ignores_terminate)
{
    struct ready ready = {.gate = gate_new()};
    brood_process *process = start_with(ignore_terminate, &ready, sizeof ready, NULL);

    gate_wait(ready.gate);
    CHECK_OK(brood_process_terminate(process));
    CHECK_ERR(brood_process_join(process, 20, NULL), -ETIMEDOUT);
    CHECK_OK(brood_process_kill(process));
    CHECK_EQ(joined(process).signal, SIGKILL);
    brood_process_free(process);
    gate_free(ready.gate);
}

TEST(signals_are_checked)
{
    brood_process *process = start_with(sleep_for_ever, NULL, 0, NULL);

    CHECK_ERR(brood_process_signal(process, 1000), -EINVAL);
    CHECK_OK(brood_process_signal(process, SIGUSR1));
    CHECK_EQ(joined(process).signal, SIGUSR1);
    brood_process_free(process);
}

TEST(a_stopped_child_is_joined_in_vain_and_freed_in_time)
{
    brood_process *process = start_with(sleep_for_ever, NULL, 0, NULL);

    CHECK_OK(brood_process_signal(process, SIGSTOP));
    CHECK_ERR(brood_process_join(process, 20, NULL), -ETIMEDOUT);
    brood_process_free(process);
}

TEST(the_descriptor_is_readable_when_it_has_ended)
{
    brood_process *process = start_with(sleep_for_ever, NULL, 0, NULL);
    struct pollfd fd = {.fd = CHECK_OK(brood_process_fd(process)), .events = POLLIN};

    CHECK_EQ(poll(&fd, 1, 0), 0);
    CHECK_OK(brood_process_kill(process));
    CHECK_EQ(poll(&fd, 1, (int)TEST_PATIENCE_MS), 1);
    CHECK_OK(brood_process_join(process, 0, NULL));
    CHECK_EQ(poll(&fd, 1, 0), 1);
    brood_process_free(process);
}

TEST(a_time_limit_is_kept)
{
    for (int i = 0; i < STARTS; i++) {
        brood_process *process =
            start_with(sleep_for_ever, NULL, 0,
                       &(brood_process_options){.start = starts[i], .timeout_ms = 30});
        brood_outcome outcome = joined(process);

        CHECK_EQ(outcome.cause, BROOD_TIMED_OUT);
        CHECK_EQ(outcome.verdict, BROOD_EDEADLINE);
        CHECK_EQ(outcome.signal, SIGKILL);
        CHECK(outcome.wall_us >= 30000);
        brood_process_free(process);
    }
    brood__server_stop();
}

/* So that the compiler cannot see that nobody reads it. */
static void use(void *memory)
{
    __asm__ volatile("" : : "r"(memory) : "memory");
}

static int grow_step_by_step(void *arg)
{
    (void)arg;
    for (;;) {
        char *more = malloc(1 << 20);

        if (more == NULL)
            abort();
        memset(more, 1, 1 << 20);
        use(more);
    }
}

static int grow_at_once(void *arg)
{
    const size_t len = (size_t)8 << 30;
    char *more = malloc(len);

    (void)arg;
    use(more);
    *(volatile char *)more = 1; /* NULL */
    return sleep_for_ever(NULL);
}

TEST(a_memory_limit_is_kept)
{
    const brood_process_options options = {.memory_max = 32 << 20};
    brood_main_fn *const hogs[] = {grow_step_by_step, grow_at_once};

    if (TEST_ASAN || TEST_TSAN)
        SKIP("a sanitizer's own memory is not the task's");
    for (int i = 0; i < 2; i++) {
        brood_process *process = start_with(hogs[i], NULL, 0, &options);
        brood_outcome outcome = joined(process);

        CHECK_EQ(outcome.cause, BROOD_OUT_OF_MEMORY);
        CHECK_EQ(outcome.verdict, BROOD_EMEMORY);
        brood_process_free(process);
    }
}

static int use_memory(void *arg)
{
    const size_t len = (size_t)24 << 20;
    char *memory = malloc(len);

    (void)arg;
    if (memory == NULL)
        return 1;
    memset(memory, 1, len);
    use(memory);
    return ((volatile char *)memory)[len - 1] == 1 ? 0 : 2;
}

TEST(peak_memory_is_growth_not_inheritance)
{
    const size_t len = (size_t)200 << 20;
    char *ballast = malloc(len);
    brood_process *process;
    brood_outcome outcome;

    if (TEST_ASAN || TEST_TSAN)
        SKIP("a sanitizer's own memory is not the task's");
    CHECK(ballast != NULL);
    memset(ballast, 1, len);
    process = start_with(use_memory, NULL, 0, NULL);
    outcome = joined(process);
    CHECK_EQ(outcome.code, 0);
    CHECK(outcome.peak_rss > (uint64_t)23 << 20);
    CHECK(outcome.peak_rss < (uint64_t)48 << 20);
    brood_process_free(process);
    free(ballast);
}

/* ---- names, current, parent, children ---- */

static int describe_self(void *arg)
{
    const pid_t parent = *(pid_t *)arg;
    brood_process *self = brood_process_current();
    brood_process *above = brood_process_parent();

    CHECK_STR(brood_process_name(self), "worker bee");
    CHECK_EQ(brood_process_pid(self), getpid());
    CHECK_EQ(brood_process_daemon(self), 1);
    CHECK_EQ(brood_process_alive(self), 1);
    CHECK_ERR(brood_process_join(self, 0, NULL), BROOD_EHANDLE);
    CHECK(above != NULL);
    CHECK_EQ(brood_process_pid(above), parent);
    CHECK_EQ(brood_process_alive(above), 1);
    CHECK(brood_process_fd(above) > 2);
    CHECK_ERR(brood_process_kill(above), BROOD_EHANDLE);
    CHECK_EQ(brood_process_children(NULL, 0), 0);
    brood_process_free(above);
    brood_process_free(self);
    return 0;
}

TEST(a_process_knows_itself_and_its_parent)
{
    const pid_t pid = getpid();

    CHECK_STR(brood_process_name(brood_process_current()), "main");
    CHECK_EQ(brood_process_pid(brood_process_current()), pid);
    CHECK(brood_process_parent() == NULL);
    for (int i = 0; i < STARTS; i++) {
        brood_process *process = start_with(
            describe_self, &pid, sizeof pid,
            &(brood_process_options){.start = starts[i], .name = "worker bee", .daemon = true});

        CHECK_STR(brood_process_name(process), "worker bee");
        CHECK_EQ(brood_process_daemon(process), 1);
        CHECK_EQ(joined(process).cause, BROOD_RETURNED);
        brood_process_free(process);
    }
    brood__server_stop();
}

static int return_pid(void *arg)
{
    (void)arg;
    return getpid();
}

TEST(the_pid_is_the_childs_and_default_names_count)
{
    brood_process *first = start_with(return_pid, NULL, 0, NULL);
    brood_process *second = start_with(return_pid, NULL, 0, NULL);

    CHECK_STR(brood_process_name(first), "process-1");
    CHECK_STR(brood_process_name(second), "process-2");
    CHECK_EQ(joined(first).code, brood_process_pid(first));
    CHECK_EQ(joined(second).code, brood_process_pid(second));
    brood_process_free(first);
    brood_process_free(second);
}

TEST(live_children_are_listed_oldest_first)
{
    brood_process *made[3], *listed[3];

    for (int i = 0; i < 3; i++)
        made[i] = start_with(sleep_for_ever, NULL, 0, NULL);
    CHECK_EQ(brood_process_children(listed, 1), 3);
    CHECK(listed[0] == made[0]);
    CHECK_OK(brood_process_kill(made[1]));
    (void)joined(made[1]);
    CHECK_EQ(brood_process_children(listed, 3), 2);
    CHECK(listed[0] == made[0] && listed[1] == made[2]);
    for (int i = 0; i < 3; i++)
        brood_process_free(made[i]);
    CHECK_EQ(brood_process_children(listed, 3), 0);
}

TEST(join_all_waits_for_all_but_daemons_and_ends_those)
{
    const int zero = 0;
    brood_process *daemon =
        start_with(sleep_for_ever, NULL, 0, &(brood_process_options){.daemon = true});
    brood_process *slow = start_with(sleep_for_ever, NULL, 0, NULL);
    brood_process *quick = start_with(return_number, &zero, sizeof zero, NULL);

    CHECK_ERR(brood_process_join_all(20), -ETIMEDOUT);
    CHECK_EQ(brood_process_alive(daemon), 1);
    CHECK_OK(brood_process_kill(slow));
    CHECK_OK(brood_process_join_all(TEST_PATIENCE_MS));
    CHECK_EQ(brood_process_alive(daemon), 0);
    CHECK_EQ(joined(daemon).signal, SIGKILL);
    brood_process_free(daemon);
    brood_process_free(slow);
    brood_process_free(quick);
}

/* ---- handles ---- */

TEST(freed_and_foreign_handles_are_refused)
{
    uint64_t foreign[128] = {0};
    brood_process *process = start_with(return_pid, NULL, 0, NULL);
    int code;

    brood_process_free(process);
    CHECK_ERR(brood_process_join(process, 0, NULL), BROOD_EHANDLE);
    CHECK_ERR(brood_process_alive(process), BROOD_EHANDLE);
    CHECK_ERR(brood_process_pid(process), BROOD_EHANDLE);
    CHECK_ERR(brood_process_fd(process), BROOD_EHANDLE);
    CHECK_ERR(brood_process_daemon(process), BROOD_EHANDLE);
    CHECK_ERR(brood_process_exit_code(process, &code), BROOD_EHANDLE);
    CHECK_STR(brood_process_name(process), NULL);
    brood_process_free(process);
    CHECK_ERR(brood_process_alive((brood_process *)(void *)foreign), BROOD_EHANDLE);
    CHECK_ERR(brood_process_alive(NULL), BROOD_EHANDLE);
    brood_process_free(NULL);
}

TEST(a_users_fork_owns_no_handles_but_may_start_its_own)
{
    const int nine = 9;
    brood_process *process = start_with(sleep_for_ever, NULL, 0, NULL);
    int status;
    pid_t pid = fork();

    if (pid == 0) {
        brood_process *own;

        CHECK_ERR(brood_process_join(process, 0, NULL), BROOD_EFORKED);
        CHECK_ERR(brood_process_kill(process), BROOD_EFORKED);
        CHECK_ERR(brood_process_alive(process), BROOD_EFORKED);
        CHECK_EQ(brood_process_children(NULL, 0), 0);
        brood_process_free(process);
        own = start_with(return_number, &nine, sizeof nine, NULL);
        CHECK_EQ(joined(own).code, 9);
        brood_process_free(own);
        _exit(0);
    }
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, 0);
    CHECK_EQ(brood_process_alive(process), 1);
    brood_process_free(process);
}

static int start_another(void *arg)
{
    brood_process *inner = start_with(return_number, arg, sizeof(int), NULL);
    int code = joined(inner).code;

    brood_process_free(inner);
    return code + 1;
}

TEST(a_process_may_start_processes)
{
    const int one = 1;
    brood_process *process = start_with(start_another, &one, sizeof one, NULL);

    CHECK_EQ(joined(process).code, 2);
    brood_process_free(process);
}

/* ---- threads ---- */

static void *wait_at_gate(void *gate)
{
    gate_wait(gate);
    return NULL;
}

TEST(fork_is_refused_beside_threads_unless_insisted)
{
    struct gate *gate = gate_new();
    brood_process *process = NULL;
    const int five = 5;
    pthread_t thread;

    CHECK_EQ(pthread_create(&thread, NULL, wait_at_gate, gate), 0);
    CHECK_ERR(brood_process_start(&process, return_number, &five, sizeof five, NULL),
              BROOD_ETHREADS);
    process = start_with(return_number, &five, sizeof five,
                         &(brood_process_options){.allow_threads = true});
    CHECK_EQ(joined(process).code, 5);
    brood_process_free(process);
    process = start_with(return_number, &five, sizeof five,
                         &(brood_process_options){.start = BROOD_START_FORKSERVER});
    CHECK_EQ(joined(process).code, 5);
    brood_process_free(process);
    gate_open(gate);
    CHECK_EQ(pthread_join(thread, NULL), 0);
    process = start_with(return_number, &five, sizeof five, NULL);
    CHECK_EQ(joined(process).code, 5);
    brood_process_free(process);
    gate_free(gate);
    brood__server_stop();
}

static void *join_it(void *process)
{
    CHECK_EQ(joined(process).signal, SIGKILL);
    return NULL;
}

TEST(a_join_is_not_disturbed_by_questions_of_other_threads)
{
    brood_process *process = start_with(sleep_for_ever, NULL, 0, NULL);
    pthread_t thread;

    CHECK_EQ(pthread_create(&thread, NULL, join_it, process), 0);
    CHECK_OK(brood_process_kill(process));
    while (brood_process_alive(process) == 1)
        CHECK(brood_process_pid(process) > 0);
    CHECK_EQ(pthread_join(thread, NULL), 0);
    brood_process_free(process);
}
