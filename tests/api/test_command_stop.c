/* SPDX-License-Identifier: MIT */
/*
 * The end of a command is the end of all that it started: when its time is over, when it is stopped
 * or freed, when it ends by itself, and when its caller ends, however it does. The harness looks
 * for processes that are left over after each of these tests.
 */
#include "api/command_kit.h"
#include "harness/gate.h"
#include "harness/process.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* Starts LINE, which must say "ready" first, with these OPTIONS; its stdout is captured. */
struct readiness {
    bool is_ready;
};

static int note_ready(void *arg, int fd, const char *data, size_t len)
{
    struct readiness *readiness = arg;

    (void)fd;
    readiness->is_ready |= memmem(data, len, "ready", 5) != NULL;
    return 0;
}

static brood_command *made_ready(const char *line, const brood_command_options *options)
{
    static struct readiness readiness;
    brood_command_options own = {.nice = 0};
    brood_command *command;

    if (options != NULL)
        own = *options;
    readiness.is_ready = false;
    own.out = (brood_stream){
        .kind = BROOD_CAPTURE, .lines = true, .on_data = note_ready, .arg = &readiness};
    command = started(BROOD_SHELL(line), &own);
    while (!readiness.is_ready)
        CHECK_ERR(brood_command_wait(command, 10, NULL), -ETIMEDOUT);
    return command;
}

/* ---- time ---- */

TEST(who_is_over_its_time_is_stopped)
{
    brood_outcome outcome;

    CHECK_ERR(brood_call(BROOD_ARGV("sleep", "1000"), &(brood_command_options){.timeout_ms = 50},
                         &outcome),
              BROOD_EDEADLINE);
    CHECK_EQ(outcome.cause, BROOD_TIMED_OUT);
    CHECK_EQ(outcome.signal, SIGTERM);
    CHECK(outcome.wall_us >= 50000);
}

TEST(a_wait_has_a_limit_of_its_own)
{
    brood_command *command = started(BROOD_ARGV("sleep", "1000"), NULL);

    CHECK_ERR(brood_command_wait(command, 0, NULL), -ETIMEDOUT);
    CHECK_ERR(brood_command_wait(command, 20, NULL), -ETIMEDOUT);
    CHECK_EQ(brood_command_poll(command, NULL), 0);
    brood_command_free(command);
}

TEST(a_command_that_writes_for_ever_does_not_hold_a_wait)
{
    brood_command *command = started(
        BROOD_ARGV("yes"),
        &(brood_command_options){.out = {.kind = BROOD_CAPTURE, .max = BROOD_KEEP_NOTHING}});

    CHECK_ERR(brood_command_wait(command, 50, NULL), -ETIMEDOUT);
    brood_command_free(command);
}

TEST(processor_time_of_the_whole_tree_is_limited)
{
    brood_outcome outcome;

    CHECK_ERR(brood_call(BROOD_SHELL("(while :; do :; done) & wait"),
                         &(brood_command_options){.cpu_time_ms = 100}, &outcome),
              BROOD_EDEADLINE);
    CHECK(strstr(outcome.report, "CPU") != NULL);
}

TEST(memory_of_the_whole_tree_is_limited)
{
    brood_outcome outcome;

    CHECK_ERR(brood_call(BROOD_SHELL("head -c 400000000 /dev/zero | tail -n 1 | cat; sleep 1000"),
                         &(brood_command_options){.memory_max = 100 << 20,
                                                  .stop_grace_ms = -1,
                                                  .out = {.kind = BROOD_NULL}},
                         &outcome),
              BROOD_EMEMORY);
    CHECK_EQ(outcome.cause, BROOD_OUT_OF_MEMORY);
}

/* ---- who resists ---- */

TEST(who_ignores_the_stop_signal_is_killed_after_the_grace)
{
    brood_outcome outcome;

    CHECK_ERR(brood_call(BROOD_SHELL("trap '' TERM; sleep 1000; sleep 1000"),
                         &(brood_command_options){.timeout_ms = 50, .stop_grace_ms = 50}, &outcome),
              BROOD_EDEADLINE);
    CHECK_EQ(outcome.signal, SIGKILL);
}

TEST(who_has_stopped_itself_is_stopped_too)
{
    brood_outcome outcome;

    CHECK_ERR(brood_call(BROOD_SHELL("kill -STOP $$; sleep 1000"),
                         &(brood_command_options){.timeout_ms = 50, .stop_grace_ms = 50}, &outcome),
              BROOD_EDEADLINE);
}

TEST(without_grace_it_is_killed_at_once)
{
    brood_outcome outcome;

    CHECK_ERR(brood_call(BROOD_ARGV("sleep", "1000"),
                         &(brood_command_options){.timeout_ms = 20, .stop_grace_ms = -1}, &outcome),
              BROOD_EDEADLINE);
    CHECK_EQ(outcome.signal, SIGKILL);
}

TEST(who_stops_its_guard_is_stopped_all_the_same)
{
    const brood_command_options options = {.timeout_ms = 200, .stop_grace_ms = -1};

    CHECK_EQ(brood_call(BROOD_SHELL("kill -STOP $PPID; exec sleep 1000"), &options, NULL),
             BROOD_EDEADLINE);
}

TEST(who_stops_its_guard_and_ends_does_not_hold_a_call_beyond_its_time)
{
    const brood_command_options options = {.timeout_ms = 200};
    int r = brood_call(BROOD_SHELL("kill -STOP $PPID; exit 5"), &options, NULL);

    CHECK(r == 5 || r == BROOD_EDEADLINE);
}

TEST(a_stop_signal_of_ones_own_is_heard)
{
    brood_command *command =
        made_ready("trap 'echo bye; exit 3' USR1; echo ready; while :; do sleep 0.01; done",
                   &(brood_command_options){.stop_signal = SIGUSR1});

    CHECK_EQ(brood_command_stop(command), 0);
    CHECK_EQ(waited(command).cause, BROOD_CANCELLED);
    CHECK_EQ(brood_command_outcome(command)->verdict, BROOD_ECANCELLED);
    CHECK_STR(brood_command_out(command).data, "ready\nbye\n");
    CHECK_ERR(brood_command_stop(command), -ESRCH);
    brood_command_free(command);
}

/* ---- what is left behind ---- */

static void leave_behind(const char *line)
{
    brood_command *command = NULL;
    brood_outcome outcome;

    CHECK_EQ(brood_run(&command, BROOD_SHELL(line), NULL), 0);
    outcome = *brood_command_outcome(command);
    CHECK_STR(brood_command_out(command).data, "done\n");
    CHECK(outcome.report != NULL && strstr(outcome.report, "were killed") != NULL);
    brood_command_free(command);
}

TEST(what_holds_the_pipe_does_not_hold_the_wait)
{
    leave_behind("sleep 1000 & echo done");
    leave_behind("(trap '' TERM HUP; sleep 1000; :) & echo done");
}

TEST(what_left_the_session_and_was_forked_twice_is_found)
{
    leave_behind("setsid sleep 1000 & echo done");
    leave_behind("(setsid sh -c 'sleep 1000 & sleep 1000 &' &) & wait; echo done");
    leave_behind("(sh -c 'kill -STOP $$' & ) ; sleep 1000 & echo done");
}

TEST(what_is_to_live_on_does)
{
    brood_command *command = NULL;
    pid_t pid;
    int pidfd;

    CHECK_EQ(brood_run(&command, BROOD_SHELL("sleep 1000 & echo $!"),
                       &(brood_command_options){.leave_running = true}),
             0);
    pid = (pid_t)strtol(brood_command_out(command).data, NULL, 10);
    brood_command_free(command);
    pidfd = (int)CHECK_OK(syscall(SYS_pidfd_open, pid, 0));
    CHECK(process_state(pid) != 'Z');
    CHECK_EQ(kill(pid, SIGKILL), 0);
    (void)close(pidfd);
}

/* ---- on request ---- */

TEST(kill_is_a_death_by_signal)
{
    brood_command *command = made_ready("sleep 1000 & echo ready; wait", NULL);

    CHECK_EQ(brood_command_kill(command), 0);
    CHECK_EQ(waited(command).cause, BROOD_SIGNALLED);
    CHECK_EQ(brood_command_outcome(command)->signal, SIGKILL);
    CHECK_ERR(brood_command_kill(command), -ESRCH);
    CHECK_ERR(brood_command_terminate(command), -ESRCH);
    CHECK_ERR(brood_command_signal(command, 0, false), -ESRCH);
    brood_command_free(command);
}

TEST(terminate_may_be_handled)
{
    brood_command *command =
        made_ready("trap 'exit 9' TERM; echo ready; while :; do sleep 0.01; done", NULL);

    CHECK_EQ(brood_command_signal(command, 0, false), 0);
    CHECK_ERR(brood_command_signal(command, -1, false), -EINVAL);
    CHECK_ERR(brood_command_signal(command, 65, false), -EINVAL);
    CHECK_EQ(brood_command_terminate(command), 0);
    CHECK_EQ(waited(command).code, 9);
    brood_command_free(command);
}

TEST(a_signal_reaches_the_command_or_its_tree)
{
    const char *line = "trap 'echo parent' USR1;"
                       "(trap 'echo child; exit' USR1; echo ready; while :; do sleep 0.01; done) &"
                       "wait; wait; exit 0";
    brood_command *command = made_ready(line, NULL);

    CHECK_EQ(brood_command_signal(command, SIGUSR1, true), 0);
    CHECK_EQ(waited(command).cause, BROOD_EXITED);
    CHECK(strstr(brood_command_out(command).data, "parent\n") != NULL);
    CHECK(strstr(brood_command_out(command).data, "child\n") != NULL);
    brood_command_free(command);
}

TEST(free_ends_what_runs)
{
    brood_command *command =
        made_ready("trap '' TERM; setsid sleep 1000 & echo ready; sleep 1000", NULL);
    pid_t pid = brood_command_pid(command);

    errno = 77;
    brood_command_free(command);
    CHECK_EQ(errno, 77);
    CHECK_EQ(process_state(pid), '?');
    brood_command_free(NULL);
}

TEST(a_freed_handle_is_told_from_a_live_one)
{
    brood_command *command = started(BROOD_ARGV("true"), NULL);

    brood_command_free(command);
    CHECK_ERR(brood_command_wait(command, 0, NULL), BROOD_EHANDLE);
    CHECK_ERR(brood_command_poll(NULL, NULL), BROOD_EHANDLE);
    CHECK_ERR(brood_command_kill(command), BROOD_EHANDLE);
    CHECK_ERR(brood_command_stop(command), BROOD_EHANDLE);
    CHECK_ERR(brood_command_pid(command), BROOD_EHANDLE);
    CHECK_ERR(brood_command_fd(command, 0), BROOD_EHANDLE);
    CHECK_ERR(brood_command_poll_fd(command), BROOD_EHANDLE);
    CHECK_ERR(brood_command_communicate(command, NULL, 0, 0, NULL), BROOD_EHANDLE);
    CHECK_STR(brood_command_out(command).data, "");
    CHECK_EQ(brood_command_outcome(command)->cause, BROOD_PENDING);
    brood_command_free(command);
}

/* ---- the end of others ---- */

static pid_t parent_of(pid_t pid)
{
    char path[64], text[512] = "";
    int fd, parent = 0;

    (void)snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    CHECK(read(fd, text, sizeof text - 1) > 0);
    (void)close(fd);
    CHECK_EQ(sscanf(strrchr(text, ')') + 1, " %*c %d", &parent), 1);
    return parent;
}

TEST(a_guard_that_is_killed_takes_the_command_along)
{
    brood_command *command = made_ready("echo ready; exec sleep 1000", NULL);
    pid_t pid = brood_command_pid(command);
    int pidfd = (int)CHECK_OK(syscall(SYS_pidfd_open, pid, 0));
    brood_outcome outcome;

    CHECK_EQ(kill(parent_of(pid), SIGKILL), 0);
    outcome = waited(command);
    CHECK_EQ(outcome.cause, BROOD_LOST);
    CHECK_EQ(outcome.verdict, BROOD_ELOST);
    CHECK(strstr(outcome.report, "guard") != NULL);
    brood_command_free(command);
    process_await_end(pid, "the command outlived its guard");
    (void)close(pidfd);
}

/* All that the caller leaves comes to us, and must come dead. */
static void await_all(void)
{
    while (waitpid(-1, NULL, 0) > 0)
        continue;
    CHECK_EQ(errno, ECHILD);
}

/* A caller in a process of its own, which has a command with descendants and then does END. */
static void caller_ends(void (*end)(void))
{
    int ends[2];
    pid_t pid = 0;

    CHECK_EQ(pipe2(ends, O_CLOEXEC), 0);
    CHECK_EQ(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
    if (fork() == 0) {
        brood_command *command =
            made_ready("trap '' TERM HUP; setsid sleep 1000 & echo ready; sleep 1000", NULL);

        pid = brood_command_pid(command);
        CHECK_EQ(write(ends[1], &pid, sizeof pid), sizeof pid);
        end();
        _exit(0);
    }
    CHECK_EQ(read(ends[0], &pid, sizeof pid), sizeof pid);
    (void)close(ends[0]);
    (void)close(ends[1]);
}

static void kill_myself(void)
{
    (void)raise(SIGKILL);
}

static struct gate *copies_may_go;

static unsigned count_children(void)
{
    char path[64], text[512] = "";
    unsigned count = 0;
    int fd;

    (void)snprintf(path, sizeof path, "/proc/self/task/%d/children", (int)getpid());
    fd = open(path, O_RDONLY | O_CLOEXEC);
    CHECK(read(fd, text, sizeof text - 1) >= 0);
    (void)close(fd);
    for (const char *c = text; *c != '\0'; c++)
        count += *c == ' ';
    return count;
}

/* A copy of all descriptors lives on in a child of the caller: there is no end of the socket. */
static void fork_and_kill_myself(void)
{
    if (fork() == 0) {
        gate_wait(copies_may_go);
        _exit(0);
    }
    (void)raise(SIGKILL);
}

static void return_at_once(void)
{
}

TEST(a_caller_that_ends_leaves_nothing)
{
    caller_ends(return_at_once);
    await_all();
    caller_ends(kill_myself);
    await_all();
}

TEST(a_caller_that_ends_leaves_nothing_though_its_child_has_copies)
{
    copies_may_go = gate_new();
    caller_ends(fork_and_kill_myself);
    for (unsigned alive = 0; alive != 1;) { /* but for the copy */
        CHECK(waitpid(-1, NULL, 0) > 0);
        alive = count_children();
    }
    gate_open(copies_may_go);
    await_all();
    gate_free(copies_may_go);
}
