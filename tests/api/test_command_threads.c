/* SPDX-License-Identifier: MIT */
/*
 * Commands in a program that is not only theirs: it has threads that start others, waits for any
 * child, ignores SIGCHLD, forks, and closes descriptors that it does not know.
 */
#include "api/command_kit.h"

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <unistd.h>

enum { THREADS = 8, ROUNDS = 12, AT_ONCE = 50 };

static void run_threads(void *(*function)(void *arg))
{
    pthread_t threads[THREADS];

    for (intptr_t i = 0; i < THREADS; i++)
        CHECK_EQ(pthread_create(&threads[i], NULL, function, (void *)i), 0);
    for (unsigned i = 0; i < THREADS; i++)
        CHECK_EQ(pthread_join(threads[i], NULL), 0);
}

/* ---- threads ---- */

static void *call_often(void *arg)
{
    for (unsigned i = 0; i < ROUNDS; i++) {
        char line[64];
        char *text = NULL;

        (void)snprintf(line, sizeof line, "exit %d", (int)((intptr_t)arg * ROUNDS + i));
        CHECK_EQ(brood_call(BROOD_SHELL(line), NULL, NULL), (int)((intptr_t)arg * ROUNDS + i));
        CHECK_EQ(brood_check_output(BROOD_ARGV("cat"),
                                    &(brood_command_options){.in = BROOD_TEXT(line)}, &text, NULL),
                 0);
        CHECK_STR(text, line);
        free(text);
    }
    return NULL;
}

TEST_LIMIT(every_thread_gets_its_own_answers, 60)
{
    run_threads(call_often);
}

static void *hold_many(void *arg)
{
    brood_command *commands[AT_ONCE];

    (void)arg;
    for (unsigned i = 0; i < AT_ONCE; i++)
        commands[i] =
            started(BROOD_ARGV("cat"), &(brood_command_options){.in = {.kind = BROOD_PIPE},
                                                                .out = {.kind = BROOD_CAPTURE}});
    for (unsigned i = 0; i < AT_ONCE; i++) {
        CHECK_OK(brood_command_communicate(commands[i], &i, sizeof i, TEST_PATIENCE_MS, NULL));
        CHECK_EQ(brood_command_out(commands[i]).len, sizeof i);
        CHECK(memcmp(brood_command_out(commands[i]).data, &i, sizeof i) == 0);
        brood_command_free(commands[i]);
    }
    return NULL;
}

TEST_LIMIT(hundreds_run_at_once, 60)
{
    run_threads(hold_many);
}

/* 10,000 when every point is to be tried, else some hundreds. */
static unsigned held_by_each(void)
{
    const char *sweep = getenv("BROOD_SWEEP");

    return sweep != NULL && strcmp(sweep, "all") == 0 ? 10000 / THREADS : AT_ONCE;
}

static pthread_barrier_t all_run;

static void *kill_many(void *arg)
{
    const brood_command_options quiet = {
        .in = {.kind = BROOD_NULL}, .out = {.kind = BROOD_NULL}, .err = {.kind = BROOD_NULL}};
    const unsigned count = held_by_each();
    brood_command **commands = calloc(count, sizeof(brood_command *));

    (void)arg;
    CHECK(commands != NULL);
    for (unsigned i = 0; i < count; i++)
        commands[i] = started(BROOD_ARGV("sleep", "1000"), &quiet);
    (void)pthread_barrier_wait(&all_run);
    for (unsigned i = 0; i < count; i++)
        CHECK_OK(brood_command_kill(commands[i]));
    for (unsigned i = 0; i < count; i++) {
        CHECK_EQ(waited(commands[i]).signal, SIGKILL);
        brood_command_free(commands[i]);
    }
    free(commands);
    return NULL;
}

TEST_LIMIT(thousands_that_run_at_once_are_killed_at_once, 400)
{
    CHECK_EQ(pthread_barrier_init(&all_run, NULL, THREADS), 0);
    run_threads(kill_many);
    (void)pthread_barrier_destroy(&all_run);
}

/* If one of the others' pipes were inherited, there would be more. */
static void *list_descriptors(void *arg)
{
    (void)arg;
    for (unsigned i = 0; i < ROUNDS; i++) {
        char *text = NULL;

        CHECK_EQ(brood_check_output(BROOD_ARGV("ls", "/proc/self/fd"), NULL, &text, NULL), 0);
        CHECK_STR(text, "0\n1\n2\n3\n"); /* one is that of the listing */
        free(text);
    }
    return NULL;
}

TEST_LIMIT(nothing_is_inherited_though_others_start_commands, 60)
{
    run_threads(list_descriptors);
}

static void *wait_for_it(void *arg)
{
    CHECK_EQ(waited(arg).signal, SIGUSR1);
    return NULL;
}

TEST(another_thread_may_ask_and_signal_beside_a_wait)
{
    brood_command *command = started(BROOD_ARGV("sleep", "1000"), NULL);
    pthread_t thread;

    CHECK_EQ(pthread_create(&thread, NULL, wait_for_it, command), 0);
    CHECK_EQ(brood_command_poll(command, NULL), 0);
    CHECK(brood_command_pid(command) > 0);
    CHECK_EQ(brood_command_signal(command, SIGUSR1, false), 0);
    while (brood_command_poll(command, NULL) == 0)
        (void)sched_yield();
    CHECK_EQ(pthread_join(thread, NULL), 0);
    brood_command_free(command);
}

/* ---- other children ---- */

static _Atomic bool enough;

static void *wait_for_any_child(void *arg)
{
    (void)arg;
    while (!enough)
        (void)waitpid(-1, NULL, WNOHANG);
    return NULL;
}

static void call_some(void)
{
    for (int i = 0; i < 20; i++) {
        char line[64];

        (void)snprintf(line, sizeof line, "exit %d", i);
        CHECK_EQ(brood_call(BROOD_SHELL(line), NULL, NULL), i);
    }
    CHECK_ERR(brood_call(BROOD_ARGV("/no/program"), NULL, NULL), -ENOENT);
}

TEST(who_waits_for_any_child_takes_nothing_away)
{
    pthread_t thread;

    CHECK_EQ(pthread_create(&thread, NULL, wait_for_any_child, NULL), 0);
    call_some();
    enough = true;
    CHECK_EQ(pthread_join(thread, NULL), 0);
}

TEST(ignored_deaths_of_children_are_told_all_the_same)
{
    (void)signal(SIGCHLD, SIG_IGN);
    call_some();
    (void)signal(SIGCHLD, SIG_DFL);
}

TEST(a_child_of_ones_own_is_not_waited_for)
{
    pid_t pid = fork();
    int status = 0;

    if (pid == 0)
        _exit(12);
    call_some();
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(WEXITSTATUS(status), 12);
}

/* ---- forks and strangers ---- */

TEST(a_forked_copy_is_refused_and_the_original_goes_on)
{
    brood_command *command = started(
        BROOD_ARGV("cat"), &(brood_command_options){.in = {.kind = BROOD_PIPE}, .out = CAPTURED});
    int status;
    pid_t pid = fork();

    if (pid == 0) {
        CHECK_ERR(brood_command_wait(command, 0, NULL), BROOD_EFORKED);
        CHECK_ERR(brood_command_poll(command, NULL), BROOD_EFORKED);
        CHECK_ERR(brood_command_kill(command), BROOD_EFORKED);
        CHECK_ERR(brood_command_stop(command), BROOD_EFORKED);
        CHECK_ERR(brood_command_pid(command), BROOD_EFORKED);
        CHECK_ERR(brood_command_fd(command, 0), BROOD_EFORKED);
        brood_command_free(command);
        check_output("echo mine", NULL, "mine\n");
        _exit(0);
    }
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, 0);
    CHECK_OK(brood_command_communicate(command, "x", 1, TEST_PATIENCE_MS, NULL));
    CHECK_STR(brood_command_out(command).data, "x");
    brood_command_free(command);
}

TEST(who_closes_all_descriptors_may_go_on)
{
    pid_t pid = fork();
    int status;

    if (pid == 0) {
        CHECK_EQ(brood_call(BROOD_ARGV("true"), NULL, NULL), 0);
        for (int fd = 3; fd < 100; fd++)
            (void)close(fd);
        for (int fd = 3; fd < 20; fd++)
            (void)open("/dev/null", O_RDONLY | O_CLOEXEC);
        CHECK_EQ(brood_call(BROOD_SHELL("exit 6"), NULL, NULL), 6);
        _exit(0);
    }
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, 0);
}

TEST(many_one_after_another_leave_no_descriptor)
{
    int before, after;

    CHECK_EQ(brood_call(BROOD_ARGV("true"), NULL, NULL), 0);
    before = dup(0);
    for (int i = 0; i < 100; i++)
        CHECK_EQ(brood_call(BROOD_ARGV("true"), NULL, NULL), 0);
    after = dup(0);
    CHECK_EQ(after, before + 1);
    (void)close(before);
    (void)close(after);
}
