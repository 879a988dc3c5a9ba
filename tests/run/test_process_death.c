/* SPDX-License-Identifier: MIT */
/*
 * Nothing escapes: whatever ends a process, what it started goes with it, also those who left its
 * session and were orphaned on purpose; and whatever ends its parent ends it.
 *
 * The test makes itself the last resort for orphans. "Nothing is left" means that it has waited
 * for everybody there was; a survivor would keep it waiting beyond its limit.
 */
#include "harness/test.h"
#include "run/server.h"

#include <brood/process.h>

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* ---- arrivals: who is there, writes its pid into a pipe of the test ---- */

struct place {
    char path[64]; /* of the pipe's write end, for processes that did not inherit it */
    int fd;        /* of it, if the path is empty */
};

struct arrivals {
    int ends[2];
    struct place place;
};

static void arrivals_open(struct arrivals *arrivals)
{
    CHECK_OK(pipe2(arrivals->ends, O_CLOEXEC));
    (void)snprintf(arrivals->place.path, sizeof arrivals->place.path, "/proc/%d/fd/%d",
                   (int)getpid(), arrivals->ends[1]);
}

static pid_t arrivals_next(const struct arrivals *arrivals)
{
    pid_t pid;

    CHECK_EQ(read(arrivals->ends[0], &pid, sizeof pid), sizeof pid);
    return pid;
}

static void arrivals_await(const struct arrivals *arrivals, int count)
{
    for (int i = 0; i < count; i++)
        (void)arrivals_next(arrivals);
}

static void arrivals_close(const struct arrivals *arrivals)
{
    CHECK_OK(close(arrivals->ends[0]));
    CHECK_OK(close(arrivals->ends[1]));
}

static void arrive(const struct place *place)
{
    const pid_t pid = getpid();
    int fd = place->fd;

    if (place->path[0] != '\0')
        fd = CHECK_OK(open(place->path, O_WRONLY | O_CLOEXEC));
    CHECK_EQ(write(fd, &pid, sizeof pid), sizeof pid);
    CHECK_OK(close(fd));
}

/* ---- scenes ---- */

static void escape(const struct place *place)
{
    if (fork() != 0)
        return;
    if (setsid() > 0 && fork() == 0) {
        arrive(place);
        (void)pause();
    }
    _exit(0);
}

static int stay_with_escapees(void *arg)
{
    const struct place *place = arg;

    escape(place);
    escape(place);
    arrive(place);
    (void)pause();
    return 0;
}

static int leave_escapees(void *arg)
{
    const struct place *place = arg;

    escape(place);
    arrive(place);
    return 3;
}

enum { ALL_THERE = 3 };

static const struct {
    int start, containment;
} ways[] = {
    {BROOD_START_FORK, BROOD_CONTAIN_GROUP},
    {BROOD_START_FORK, BROOD_CONTAIN_NAMESPACE},
    {BROOD_START_FORKSERVER, BROOD_CONTAIN_GROUP},
    {BROOD_START_FORKSERVER, BROOD_CONTAIN_NAMESPACE},
};
enum { WAYS = sizeof ways / sizeof ways[0] };

static brood_process *start_scene(brood_main_fn *scene, const struct place *place, int way,
                                  int64_t timeout_ms)
{
    const brood_process_options options = {
        .start = ways[way].start, .containment = ways[way].containment, .timeout_ms = timeout_ms};
    brood_process *process = NULL;

    CHECK_OK(brood_process_start(&process, scene, place, sizeof *place, &options));
    return process;
}

static void be_last_resort(void)
{
    CHECK_OK(prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0));
}

static void expect_nobody(void)
{
    while (wait(NULL) > 0)
        continue;
    CHECK_EQ(errno, ECHILD);
}

/* ---- the ends of a process ---- */

TEST(what_a_process_leaves_is_gone_when_join_returns)
{
    struct arrivals arrivals;
    brood_outcome outcome;

    be_last_resort();
    arrivals_open(&arrivals);
    for (int way = 0; way < WAYS; way++) {
        brood_process *process = start_scene(leave_escapees, &arrivals.place, way, 0);

        CHECK_OK(brood_process_join(process, TEST_PATIENCE_MS, &outcome));
        CHECK_EQ(outcome.code, 3);
        brood_process_free(process);
        brood__server_stop();
        expect_nobody();
    }
    arrivals_close(&arrivals);
}

TEST(killing_a_process_takes_along_what_it_started)
{
    struct arrivals arrivals;
    brood_outcome outcome;

    be_last_resort();
    arrivals_open(&arrivals);
    for (int way = 0; way < WAYS; way++) {
        brood_process *process = start_scene(stay_with_escapees, &arrivals.place, way, 0);

        arrivals_await(&arrivals, ALL_THERE);
        CHECK_OK(brood_process_kill(process));
        CHECK_OK(brood_process_join(process, TEST_PATIENCE_MS, &outcome));
        CHECK_EQ(outcome.signal, SIGKILL);
        CHECK(outcome.containment == ways[way].containment ||
              outcome.containment == BROOD_CONTAIN_GROUP);
        brood_process_free(process);
        brood__server_stop();
        expect_nobody();
    }
    arrivals_close(&arrivals);
}

TEST(freeing_a_process_takes_along_what_it_started)
{
    struct arrivals arrivals;

    be_last_resort();
    arrivals_open(&arrivals);
    for (int way = 0; way < WAYS; way++) {
        brood_process *process = start_scene(stay_with_escapees, &arrivals.place, way, 0);

        arrivals_await(&arrivals, ALL_THERE);
        brood_process_free(process);
        brood__server_stop();
        expect_nobody();
    }
    arrivals_close(&arrivals);
}

TEST(a_time_limit_takes_along_what_it_started)
{
    struct arrivals arrivals;
    brood_outcome outcome;

    be_last_resort();
    arrivals_open(&arrivals);
    for (int way = 0; way < WAYS; way++) {
        brood_process *process = start_scene(stay_with_escapees, &arrivals.place, way, 60);

        CHECK_OK(brood_process_join(process, TEST_PATIENCE_MS, &outcome));
        CHECK_EQ(outcome.verdict, BROOD_EDEADLINE);
        brood_process_free(process);
        brood__server_stop();
        expect_nobody();
    }
    arrivals_close(&arrivals);
}

TEST(contained_in_child_alone_others_are_left_alone)
{
    struct arrivals arrivals;
    brood_process *process = NULL;
    brood_outcome outcome;
    pid_t child, escapee;

    be_last_resort();
    arrivals_open(&arrivals);
    CHECK_OK(brood_process_start(&process, leave_escapees, &arrivals.place, sizeof(struct place),
                                 &(brood_process_options){.containment = BROOD_CONTAIN_CHILD}));
    CHECK_OK(brood_process_join(process, TEST_PATIENCE_MS, &outcome));
    CHECK_EQ(outcome.containment, BROOD_CONTAIN_CHILD);
    child = brood_process_pid(process);
    brood_process_free(process);
    escapee = arrivals_next(&arrivals);
    if (escapee == child)
        escapee = arrivals_next(&arrivals);
    CHECK_OK(kill(escapee, SIGKILL));
    expect_nobody();
    arrivals_close(&arrivals);
}

/* ---- the end of the parent ---- */

/* A program that starts a process and waits for it. */
static pid_t start_program(const struct place *place, int way)
{
    pid_t pid = fork();

    if (pid == 0) {
        brood_process *process = start_scene(stay_with_escapees, place, way, 0);

        _exit(brood_process_join(process, BROOD_FOREVER, NULL));
    }
    CHECK_OK(pid);
    return pid;
}

TEST(nothing_survives_a_killed_parent)
{
    struct arrivals arrivals;

    be_last_resort();
    arrivals_open(&arrivals);
    for (int way = 0; way < WAYS; way++) {
        pid_t program = start_program(&arrivals.place, way);

        arrivals_await(&arrivals, ALL_THERE);
        CHECK_OK(kill(program, SIGKILL));
        expect_nobody();
    }
    arrivals_close(&arrivals);
}

static void wait_a_random_moment(uint64_t at_most_ns)
{
    struct timespec moment = {.tv_nsec = (long)test_random_below(at_most_ns)};

    (void)nanosleep(&moment, NULL);
}

/* Where it strikes is up to the clock; the sweeps of test_zygote.c take every point in turn. */
TEST_LIMIT(nothing_survives_a_parent_killed_at_any_moment, 60)
{
    struct arrivals arrivals;

    be_last_resort();
    arrivals_open(&arrivals);
    for (int i = 0; i < 160; i++) {
        pid_t program = start_program(&arrivals.place, i % WAYS);

        wait_a_random_moment(i % WAYS < 2 ? 3000000 : 9000000);
        CHECK_OK(kill(program, SIGKILL));
        expect_nobody();
    }
    arrivals_close(&arrivals);
}

TEST(nothing_survives_a_parent_whose_group_is_killed)
{
    struct arrivals arrivals;

    be_last_resort();
    arrivals_open(&arrivals);
    for (int way = 0; way < WAYS; way++) {
        pid_t program = fork();

        if (program == 0) {
            brood_process *process;

            CHECK_OK(setpgid(0, 0));
            process = start_scene(stay_with_escapees, &arrivals.place, way, 0);
            _exit(brood_process_join(process, BROOD_FOREVER, NULL));
        }
        arrivals_await(&arrivals, ALL_THERE);
        CHECK_OK(kill(-program, SIGKILL));
        expect_nobody();
    }
    arrivals_close(&arrivals);
}

/* The pid of some descendant called NAME, as the kernel lists it below PARENT. */
static pid_t find_child(pid_t parent, const char *name)
{
    char path[64], text[256] = "", comm[32] = "";
    FILE *file;

    (void)snprintf(path, sizeof path, "/proc/%d/task/%d/children", (int)parent, (int)parent);
    file = fopen(path, "re");
    CHECK(file != NULL);
    (void)fgets(text, sizeof text, file);
    (void)fclose(file);
    for (char *at = text; *at != '\0';) {
        pid_t pid = (pid_t)strtol(at, &at, 10);

        at += *at == ' ';
        (void)snprintf(path, sizeof path, "/proc/%d/comm", (int)pid);
        file = fopen(path, "re");
        if (file == NULL)
            continue;
        (void)fgets(comm, sizeof comm, file);
        (void)fclose(file);
        comm[strcspn(comm, "\n")] = '\0';
        if (strcmp(comm, name) == 0)
            return pid;
    }
    return 0;
}

TEST(a_stopped_guardian_cleans_up_when_the_parent_dies)
{
    struct arrivals arrivals;
    pid_t program, guardian;

    be_last_resort();
    arrivals_open(&arrivals);
    program = start_program(&arrivals.place, 0);
    arrivals_await(&arrivals, ALL_THERE);
    guardian = find_child(program, "brood: zygote");
    CHECK(guardian > 0);
    CHECK_OK(kill(guardian, SIGSTOP));
    CHECK_OK(kill(program, SIGKILL));
    expect_nobody();
    arrivals_close(&arrivals);
}

/* ---- the end of the guardian ---- */

static int wait_for_signal(void *arg)
{
    arrive(arg);
    (void)pause();
    return 0;
}

TEST(a_killed_guardian_takes_the_child_along_and_the_outcome_says_lost)
{
    struct arrivals arrivals;

    be_last_resort();
    arrivals_open(&arrivals);
    for (int way = 0; way < 2; way++) {
        brood_process *process = start_scene(wait_for_signal, &arrivals.place, way, 0);
        pid_t guardian = find_child(getpid(), "brood: zygote");
        brood_outcome outcome;

        arrivals_await(&arrivals, 1);
        CHECK(guardian > 0);
        CHECK_OK(kill(guardian, SIGKILL));
        CHECK_OK(brood_process_join(process, TEST_PATIENCE_MS, &outcome));
        CHECK_EQ(outcome.cause, BROOD_LOST);
        CHECK_EQ(outcome.verdict, BROOD_ELOST);
        brood_process_free(process);
        expect_nobody();
    }
    arrivals_close(&arrivals);
}

TEST(a_stopped_guardian_does_not_hold_up_free)
{
    struct arrivals arrivals;
    brood_process *process;

    be_last_resort();
    arrivals_open(&arrivals);
    process = start_scene(stay_with_escapees, &arrivals.place, 0, 0);
    arrivals_await(&arrivals, ALL_THERE);
    CHECK_OK(kill(find_child(getpid(), "brood: zygote"), SIGSTOP));
    brood_process_free(process);
    expect_nobody();
    arrivals_close(&arrivals);
}

TEST(a_killed_server_is_replaced_and_its_processes_live_on)
{
    struct arrivals arrivals;
    brood_process *first, *second;

    arrivals_open(&arrivals);
    first = start_scene(wait_for_signal, &arrivals.place, 2, 0);
    arrivals_await(&arrivals, 1);
    CHECK_OK(kill(find_child(getpid(), "brood: server"), SIGKILL));
    second = start_scene(wait_for_signal, &arrivals.place, 2, 0);
    arrivals_await(&arrivals, 1);
    CHECK_EQ(brood_process_alive(first), 1);
    CHECK_EQ(brood_process_alive(second), 1);
    brood_process_free(first);
    brood_process_free(second);
    brood__server_stop();
    arrivals_close(&arrivals);
}

/* ---- as somebody without privileges ---- */

enum { NOBODY = 65534 };

TEST(nothing_survives_a_parent_without_privileges)
{
    struct arrivals arrivals;

    if (getuid() != 0)
        SKIP("not root, so the other tests have shown it");
    be_last_resort();
    arrivals_open(&arrivals);
    for (int way = 0; way < 2; way++) {
        pid_t program = fork();

        if (program == 0) {
            brood_process *process;

            CHECK_OK(setgroups(0, NULL));
            CHECK_OK(setgid(NOBODY));
            CHECK_OK(setuid(NOBODY));
            /* As if executed anew; else its /proc belongs to root. */
            CHECK_OK(prctl(PR_SET_DUMPABLE, 1, 0, 0, 0));
            arrivals.place = (struct place){.fd = arrivals.ends[1]};
            process = start_scene(stay_with_escapees, &arrivals.place, way, 0);
            _exit(brood_process_join(process, BROOD_FOREVER, NULL));
        }
        arrivals_await(&arrivals, ALL_THERE);
        CHECK_OK(kill(program, SIGKILL));
        expect_nobody();
    }
    arrivals_close(&arrivals);
}
