/* SPDX-License-Identifier: MIT */
/*
 * A guard ends its command, and everything that the command started, for every reason there is.
 *
 * This is what a caller relies on when it says that a command is over: nothing of it runs, and
 * nobody holds its pipes. The command's output is such a pipe, held by whatever it started, so the
 * end of that output is the proof. The harness adds that no process is left at all.
 */
#include "guard/launch.h"
#include "harness/process.h"
#include "harness/test.h"

#include <brood/base.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* A family of four: the command, its child, one with a session of its own, and an orphan. */
enum { FAMILY_LEFT = 3 };

static void end_well(struct launch *launch, enum guard_reason reason, unsigned killed)
{
    launch_expect(launch, GUARD_ENDED);
    CHECK_EQ(launch->event.reason, reason);
    CHECK_EQ(launch->event.flags, 0);
    CHECK_EQ(launch->event.leftovers_killed, killed);
    CHECK_EQ(launch->event.leftovers_alive, 0);
    launch_expect_silence(launch);
    launch_done(launch);
}

static bool has_namespaces(struct launch *launch)
{
    return launch->event.containment == BROOD_CONTAIN_NAMESPACE;
}

/* ---- by itself ---- */

TEST(a_command_ends_with_its_own_code)
{
    struct launch launch;

    launch_init(&launch, "exit", "37");
    launch_start(&launch);
    launch_expect(&launch, GUARD_STARTED);
    CHECK_EQ(launch.event.containment, BROOD_CONTAIN_GROUP);
    CHECK_EQ(launch.event.flags, GUARD_TREE_IS_KNOWN | GUARD_TREE_IS_MEASURED);
    CHECK(launch.event.pid > 0);
    launch_expect(&launch, GUARD_ENDED);
    CHECK(WIFEXITED(launch.event.status));
    CHECK_EQ(WEXITSTATUS(launch.event.status), 37);
    CHECK_EQ(launch.event.reason, GUARD_BY_ITSELF);
    CHECK(launch.event.wall_us > 0);
    CHECK(launch.event.command_peak_rss > 0);
    CHECK(launch.event.tree_peak_rss >= launch.event.command_peak_rss);
    launch_done(&launch);
}

TEST(a_command_ends_by_its_own_signal)
{
    struct launch launch;

    launch_init(&launch, "die", "10");
    launch_start(&launch);
    launch_expect(&launch, GUARD_STARTED);
    launch_expect(&launch, GUARD_ENDED);
    CHECK(WIFSIGNALED(launch.event.status));
    CHECK_EQ(WTERMSIG(launch.event.status), SIGUSR1);
    CHECK_EQ(launch.event.reason, GUARD_BY_ITSELF);
    launch_done(&launch);
}

TEST(what_a_command_leaves_is_killed)
{
    struct launch launch;

    launch_init(&launch, "family_exit", "5");
    launch_start(&launch);
    launch_expect(&launch, GUARD_STARTED);
    launch_expect(&launch, GUARD_ENDED);
    CHECK_EQ(WEXITSTATUS(launch.event.status), 5);
    CHECK_EQ(launch.event.reason, GUARD_BY_ITSELF);
    CHECK_EQ(launch.event.leftovers_killed, FAMILY_LEFT);
    CHECK_EQ(launch.event.leftovers_alive, 0);
    launch_expect_silence(&launch);
    launch_done(&launch);
}

TEST(what_a_command_leaves_may_live_on)
{
    struct launch launch;
    char path[64];

    CHECK_OK(prctl(PR_SET_CHILD_SUBREAPER, 1)); /* so that they come to this process */
    launch_init(&launch, "family_exit", "0");
    launch.order.flags = GUARD_LEAVE_LEFTOVERS;
    launch_start(&launch);
    launch_expect(&launch, GUARD_STARTED);
    launch_expect(&launch, GUARD_ENDED);
    CHECK_EQ(launch.event.leftovers_killed, 0);
    launch_done(&launch);
    (void)snprintf(path, sizeof path, "/proc/self/task/%d/children", (int)getpid());
    for (unsigned left = FAMILY_LEFT; left > 0; left--) {
        FILE *file = fopen(path, "re");
        int pid = 0;

        CHECK(file != NULL);
        CHECK_EQ(fscanf(file, "%d", &pid), 1);
        (void)fclose(file);
        CHECK_OK(kill(pid, SIGKILL));
        CHECK_EQ(waitpid(pid, NULL, 0), pid);
    }
}

TEST(only_the_command_is_looked_after_if_no_more_is_wanted)
{
    struct launch launch;

    launch_init(&launch, "hold", NULL);
    launch.order.containment = BROOD_CONTAIN_CHILD;
    launch_start(&launch);
    launch_await_ready(&launch);
    CHECK_EQ(launch.event.containment, BROOD_CONTAIN_CHILD);
    CHECK_EQ(launch.event.flags & GUARD_TREE_IS_KNOWN, 0);
    launch_ask(&launch, GUARD_REQUEST_STOP, 0, GUARD_WHOM_COMMAND);
    end_well(&launch, GUARD_BY_REQUEST, 0);
}

TEST(the_guard_holds_no_pipe_of_its_command)
{
    struct launch launch;

    launch_init(&launch, "silent", NULL);
    launch_start(&launch);
    launch_expect(&launch, GUARD_STARTED);
    launch_expect_silence(&launch); /* while the command runs */
    launch_ask(&launch, GUARD_REQUEST_KILL, 0, GUARD_WHOM_COMMAND);
    end_well(&launch, GUARD_BY_REQUEST, 0);
}

/* ---- stopping ---- */

TEST(a_stop_asks_before_it_kills)
{
    struct launch launch;

    launch_init(&launch, "catch", NULL);
    launch_start(&launch);
    launch_await_ready(&launch);
    launch_ask(&launch, GUARD_REQUEST_STOP, 0, GUARD_WHOM_COMMAND);
    launch_expect(&launch, GUARD_ENDED);
    CHECK(WIFEXITED(launch.event.status));
    CHECK_EQ(WEXITSTATUS(launch.event.status), SIGTERM);
    CHECK_EQ(launch.event.reason, GUARD_BY_REQUEST);
    launch_done(&launch);
}

TEST(a_stop_takes_the_signal_that_it_is_told)
{
    struct launch launch;

    launch_init(&launch, "catch", NULL);
    launch.order.stop_signal = SIGHUP;
    launch_start(&launch);
    launch_await_ready(&launch);
    launch_ask(&launch, GUARD_REQUEST_STOP, SIGUSR2, GUARD_WHOM_COMMAND);
    launch_expect(&launch, GUARD_ENDED);
    CHECK_EQ(WEXITSTATUS(launch.event.status), SIGUSR2);
    launch_done(&launch);
}

TEST(a_stop_kills_who_does_not_listen)
{
    struct launch launch;

    launch_init(&launch, "ignore", NULL);
    launch.order.stop_grace_ms = 50;
    launch_start(&launch);
    launch_await_ready(&launch);
    launch_ask(&launch, GUARD_REQUEST_STOP, 0, GUARD_WHOM_COMMAND);
    launch_expect(&launch, GUARD_ENDED);
    CHECK_EQ(WTERMSIG(launch.event.status), SIGKILL);
    CHECK_EQ(launch.event.reason, GUARD_BY_REQUEST);
    CHECK(launch.event.wall_us >= 50000);
    launch_expect_silence(&launch);
    launch_done(&launch);
}

TEST(a_stop_reaches_the_whole_tree)
{
    struct launch launch;

    launch_init(&launch, "family_hold", NULL);
    launch_start(&launch);
    launch_await_ready(&launch);
    launch_ask(&launch, GUARD_REQUEST_STOP, 0, GUARD_WHOM_COMMAND);
    launch_expect(&launch, GUARD_ENDED);
    CHECK_EQ(WTERMSIG(launch.event.status), SIGTERM);
    CHECK_EQ(launch.event.leftovers_killed, 0); /* they had heard */
    launch_expect_silence(&launch);
    launch_done(&launch);
}

TEST(a_stop_kills_a_whole_tree_that_does_not_listen)
{
    struct launch launch;

    launch_init(&launch, "family_ignore", NULL);
    launch.order.stop_grace_ms = 50;
    launch_start(&launch);
    launch_await_ready(&launch);
    launch_ask(&launch, GUARD_REQUEST_STOP, 0, GUARD_WHOM_COMMAND);
    end_well(&launch, GUARD_BY_REQUEST, FAMILY_LEFT);
}

TEST(a_stopped_command_hears_too)
{
    struct launch launch;

    launch_init(&launch, "stop", NULL);
    launch_start(&launch);
    launch_await_ready(&launch);
    while (process_state(launch.event.pid) != 'T')
        (void)sched_yield();
    launch_ask(&launch, GUARD_REQUEST_STOP, 0, GUARD_WHOM_COMMAND);
    launch_expect(&launch, GUARD_ENDED);
    CHECK_EQ(WTERMSIG(launch.event.status), SIGTERM);
    launch_done(&launch);
}

TEST(a_kill_does_not_ask)
{
    struct launch launch;

    launch_init(&launch, "family_ignore", NULL);
    launch_start(&launch);
    launch_await_ready(&launch);
    launch_ask(&launch, GUARD_REQUEST_KILL, 0, GUARD_WHOM_COMMAND);
    end_well(&launch, GUARD_BY_REQUEST, FAMILY_LEFT);
}

TEST(a_kill_cuts_a_grace_short)
{
    struct launch launch;

    launch_init(&launch, "ignore", NULL);
    launch.order.stop_grace_ms = -1;
    launch_start(&launch);
    launch_await_ready(&launch);
    launch_ask(&launch, GUARD_REQUEST_STOP, 0, GUARD_WHOM_COMMAND);
    launch_ask(&launch, GUARD_REQUEST_KILL, 0, GUARD_WHOM_COMMAND);
    end_well(&launch, GUARD_BY_REQUEST, 0);
}

TEST(a_signal_goes_to_the_command_alone)
{
    struct launch launch;

    launch_init(&launch, "catch", NULL);
    launch_start(&launch);
    launch_await_ready(&launch);
    launch_ask(&launch, GUARD_REQUEST_SIGNAL, SIGUSR1, GUARD_WHOM_COMMAND);
    launch_expect(&launch, GUARD_ENDED);
    CHECK_EQ(WEXITSTATUS(launch.event.status), SIGUSR1);
    CHECK_EQ(launch.event.reason, GUARD_BY_ITSELF);
    launch_done(&launch);
}

TEST(a_signal_goes_to_the_whole_tree)
{
    struct launch launch;

    launch_init(&launch, "family_hold", NULL);
    launch_start(&launch);
    launch_await_ready(&launch);
    launch_ask(&launch, GUARD_REQUEST_SIGNAL, SIGUSR1, GUARD_WHOM_TREE);
    launch_expect(&launch, GUARD_ENDED);
    CHECK_EQ(WTERMSIG(launch.event.status), SIGUSR1);
    launch_expect_silence(&launch);
    launch_done(&launch);
}

TEST(requests_that_make_no_sense_are_dropped)
{
    const struct guard_request wrong[] = {
        {.version = 9, .kind = GUARD_REQUEST_KILL},
        {.version = GUARD_VERSION, .kind = GUARD_REQUEST_KILL, .reserved = 1},
        {.version = GUARD_VERSION, .kind = GUARD_REQUEST_SIGNAL, .signal = 65},
        {.version = GUARD_VERSION, .kind = GUARD_REQUEST_SIGNAL, .signal = -1},
        {.version = GUARD_VERSION, .kind = GUARD_REQUEST_SIGNAL, .signal = 9, .whom = 7},
        {.version = GUARD_VERSION, .kind = 77},
    };
    struct launch launch;

    launch_init(&launch, "catch", NULL);
    launch_start(&launch);
    launch_await_ready(&launch);
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        CHECK_EQ(send(launch.control, &wrong[i], sizeof wrong[i], 0), sizeof wrong[i]);
    CHECK_EQ(send(launch.control, wrong, 5, 0), 5);
    CHECK_EQ(send(launch.control, wrong, sizeof wrong, 0), sizeof wrong);
    launch_ask(&launch, GUARD_REQUEST_SIGNAL, SIGUSR1, GUARD_WHOM_COMMAND);
    launch_expect(&launch, GUARD_ENDED);
    CHECK_EQ(WEXITSTATUS(launch.event.status), SIGUSR1);
    launch_done(&launch);
}

/* ---- limits ---- */

TEST(a_timeout_stops_a_command)
{
    struct launch launch;

    launch_init(&launch, "family_hold", NULL);
    launch.order.timeout_ms = 100;
    launch_start(&launch);
    launch_expect(&launch, GUARD_STARTED);
    launch_expect(&launch, GUARD_ENDED);
    CHECK_EQ(launch.event.reason, GUARD_BY_TIMEOUT);
    CHECK(launch.event.wall_us >= 100000);
    CHECK_EQ(WTERMSIG(launch.event.status), SIGTERM);
    launch_expect_silence(&launch);
    launch_done(&launch);
}

TEST(too_much_memory_kills_a_command)
{
    struct launch launch;

    launch_init(&launch, "eat", "200");
    launch.order.memory_max = 64 << 20;
    launch_start(&launch);
    launch_expect(&launch, GUARD_STARTED);
    launch_expect(&launch, GUARD_ENDED);
    CHECK_EQ(launch.event.reason, GUARD_BY_MEMORY);
    CHECK(launch.event.tree_peak_memory > 64 << 20);
    CHECK_EQ(WTERMSIG(launch.event.status), SIGKILL);
    launch_done(&launch);
}

TEST(little_memory_is_seen_and_let_be)
{
    struct launch launch;

    launch_init(&launch, "eat", "20");
    launch.order.memory_max = 200 << 20;
    launch.order.timeout_ms = 300;
    launch_start(&launch);
    launch_await_ready(&launch);
    launch_expect(&launch, GUARD_ENDED);
    CHECK_EQ(launch.event.reason, GUARD_BY_TIMEOUT);
    CHECK(launch.event.tree_peak_memory >= 18 << 20);
    CHECK(launch.event.tree_peak_memory < 100 << 20);
    launch_done(&launch);
}

TEST(too_much_cpu_time_stops_a_command)
{
    struct launch launch;

    launch_init(&launch, "burn", NULL);
    launch.order.cpu_time_max_ms = 100;
    launch_start(&launch);
    launch_await_ready(&launch);
    launch_expect(&launch, GUARD_ENDED);
    CHECK_EQ(launch.event.reason, GUARD_BY_CPU_TIME);
    CHECK(launch.event.command_user_us + launch.event.command_system_us >= 80000);
    launch_done(&launch);
}

TEST_LIMIT(a_fork_bomb_loses, 60)
{
    struct launch launch;

    launch_init(&launch, "bomb", "400");
    launch_start(&launch);
    launch_await_ready(&launch);
    launch_ask(&launch, GUARD_REQUEST_KILL, 0, GUARD_WHOM_COMMAND);
    launch_expect(&launch, GUARD_ENDED);
    CHECK_EQ(launch.event.leftovers_alive, 0);
    CHECK(launch.event.leftovers_killed > 0);
    launch_expect_silence(&launch);
    launch_done(&launch);
}

/* ---- deaths of others ---- */

TEST(the_end_of_the_socket_kills_everything)
{
    struct launch launch;

    launch_init(&launch, "family_ignore", NULL);
    launch_start(&launch);
    launch_await_ready(&launch);
    (void)close(launch.control);
    launch_expect_silence(&launch);
    CHECK_EQ(waitpid(launch.guard, NULL, 0), launch.guard);
    (void)close(launch.output);
}

/* Of a process that is not our child. */
static void await_end_of(int pidfd)
{
    struct pollfd watched = {.fd = pidfd, .events = POLLIN};

    CHECK_EQ(poll(&watched, 1, (int)TEST_PATIENCE_MS), 1);
    (void)close(pidfd);
}

/* The caller is a process between this one and the guard. */
static void be_a_caller(struct launch *launch, const int *tell)
{
    launch_start(launch);
    launch_await_ready(launch);
    CHECK_EQ(write(tell[1], &launch->guard, sizeof launch->guard), sizeof launch->guard);
    for (;;)
        (void)pause();
}

TEST(the_death_of_the_caller_kills_everything)
{
    struct launch launch;
    int tell[2], output[2], watched;
    pid_t caller, guard;
    char byte;

    launch_init(&launch, "family_ignore", NULL);
    CHECK_OK(pipe2(tell, O_CLOEXEC));
    CHECK_OK(pipe2(output, O_CLOEXEC));
    /* Held by the family as their descriptor 5. */
    launch.order.fd_count = 1;
    launch.fds[0] = (struct guard_fd){.from = 7, .to = 5};
    launch.give[0] = output[1] = launch_lift(output[1]);
    caller = CHECK_OK(fork());
    if (caller == 0)
        be_a_caller(&launch, tell);
    CHECK_EQ(read(tell[0], &guard, sizeof guard), sizeof guard);
    watched = CHECK_OK((int)syscall(SYS_pidfd_open, guard, 0));
    (void)close(output[1]);
    CHECK_OK(kill(caller, SIGKILL));
    CHECK_EQ(waitpid(caller, NULL, 0), caller);
    CHECK_EQ(read(output[0], &byte, 1), 0);
    (void)close(output[0]);
    (void)close(tell[0]);
    (void)close(tell[1]);
    await_end_of(watched);
}

TEST(the_death_of_the_caller_is_learned_by_its_pidfd_too)
{
    struct launch launch;
    pid_t caller = CHECK_OK(fork());
    int fd;

    if (caller == 0) {
        for (;;)
            (void)pause();
    }
    fd = launch_lift(CHECK_OK((int)syscall(SYS_pidfd_open, caller, 0)));
    launch_init(&launch, "family_ignore", NULL);
    launch.order.caller_fd = 9;
    launch.give_caller = fd;
    launch_start(&launch);
    launch_await_ready(&launch);
    CHECK_OK(kill(caller, SIGKILL));
    end_well(&launch, GUARD_BY_CALLER_GONE, FAMILY_LEFT);
    CHECK_EQ(waitpid(caller, NULL, 0), caller);
    (void)close(fd);
}

TEST(a_command_may_outlive_its_caller)
{
    struct launch launch;
    char text[64];
    int input[2];

    CHECK_OK(pipe2(input, O_CLOEXEC));
    launch_init(&launch, NULL, NULL);
    launch.paths[0] = "/bin/sh";
    launch.argv[0] = "sh";
    launch.argv[1] = "-c";
    launch.argv[2] = "read word; echo $word";
    launch.input = input[0] = launch_lift(input[0]);
    launch.order.flags = GUARD_OUTLIVE_CALLER;
    launch_start(&launch);
    launch_expect(&launch, GUARD_STARTED);
    (void)close(launch.control);
    CHECK_EQ(write(input[1], "alive\n", 6), 6);
    launch_read_all(&launch, text, sizeof text);
    CHECK_STR(text, "alive\n");
    CHECK_EQ(waitpid(launch.guard, NULL, 0), launch.guard);
    (void)close(launch.output);
    (void)close(input[0]);
    (void)close(input[1]);
}

TEST(the_death_of_the_guard_kills_the_command)
{
    struct launch launch;

    launch_init(&launch, "ignore", NULL);
    launch_start(&launch);
    launch_await_ready(&launch);
    CHECK_OK(kill(launch.guard, SIGKILL));
    CHECK(!launch_hear(&launch));
    launch_expect_silence(&launch);
    CHECK_EQ(waitpid(launch.guard, NULL, 0), launch.guard);
    (void)waitpid(launch.event.pid, NULL, 0); /* if it came to us */
    (void)close(launch.control);
    (void)close(launch.output);
}

TEST(signals_of_the_terminal_do_not_end_the_guard)
{
    const int signals[] = {SIGINT, SIGQUIT, SIGHUP, SIGTERM, SIGTSTP, SIGPIPE, SIGALRM, SIGUSR1};
    struct launch launch;

    launch_init(&launch, "hold", NULL);
    launch_start(&launch);
    launch_await_ready(&launch);
    CHECK_EQ(getpgid(launch.event.pid), getpgid(0));
    CHECK_EQ(getpgid(launch.guard), launch.guard);
    for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++)
        CHECK_OK(kill(launch.guard, signals[i]));
    launch_ask(&launch, GUARD_REQUEST_STOP, 0, GUARD_WHOM_COMMAND);
    end_well(&launch, GUARD_BY_REQUEST, 0);
}

/* ---- namespaces ---- */

static void start_in_namespace(struct launch *launch, const char *verb, const char *argument)
{
    launch_init(launch, verb, argument);
    launch->order.containment = BROOD_CONTAIN_NAMESPACE;
    launch_start(launch);
}

TEST(a_namespace_takes_the_whole_tree_along)
{
    struct launch launch;

    start_in_namespace(&launch, "family_exit", "4");
    launch_expect(&launch, GUARD_STARTED);
    launch_expect(&launch, GUARD_ENDED);
    CHECK_EQ(WEXITSTATUS(launch.event.status), 4);
    CHECK_EQ(launch.event.leftovers_killed, FAMILY_LEFT);
    CHECK_EQ(launch.event.leftovers_alive, 0);
    launch_expect_silence(&launch);
    launch_done(&launch);
}

TEST(a_namespace_is_stopped_by_the_same_policy)
{
    struct launch launch;

    start_in_namespace(&launch, "family_hold", NULL);
    launch_await_ready(&launch);
    if (!has_namespaces(&launch))
        SKIP("no namespace is to be had");
    CHECK(launch.event.pid > 2); /* ours, not that of inside */
    CHECK_OK(kill(launch.event.pid, 0));
    launch_ask(&launch, GUARD_REQUEST_STOP, 0, GUARD_WHOM_COMMAND);
    launch_expect(&launch, GUARD_ENDED);
    CHECK_EQ(WTERMSIG(launch.event.status), SIGTERM);
    CHECK_EQ(launch.event.reason, GUARD_BY_REQUEST);
    CHECK(launch.event.tree_user_us + launch.event.tree_system_us >= 0);
    launch_expect_silence(&launch);
    launch_done(&launch);
}

TEST(a_namespace_ends_with_the_guard)
{
    struct launch launch;
    pid_t init;

    start_in_namespace(&launch, "family_ignore", NULL);
    launch_await_ready(&launch);
    CHECK_OK(kill(launch.guard, SIGKILL));
    launch_expect_silence(&launch);
    CHECK_EQ(waitpid(launch.guard, NULL, 0), launch.guard);
    do { /* the init, if it came to us */
        init = waitpid(-1, NULL, WNOHANG);
    } while (init > 0);
    (void)close(launch.control);
    (void)close(launch.output);
}

TEST(a_bomb_in_a_namespace_loses)
{
    struct launch launch;

    start_in_namespace(&launch, "bomb", "400");
    launch_await_ready(&launch);
    launch_ask(&launch, GUARD_REQUEST_KILL, 0, GUARD_WHOM_COMMAND);
    launch_expect(&launch, GUARD_ENDED);
    CHECK_EQ(launch.event.leftovers_alive, 0);
    launch_expect_silence(&launch);
    launch_done(&launch);
}

TEST(a_command_that_is_missing_is_missing_in_a_namespace_too)
{
    struct launch launch;

    launch_init(&launch, NULL, NULL);
    launch.paths[0] = "/nonexistent/program";
    launch.order.containment = BROOD_CONTAIN_NAMESPACE;
    launch_start(&launch);
    launch_expect(&launch, GUARD_NOT_STARTED);
    CHECK_EQ(launch.event.step, GUARD_STEP_EXEC);
    CHECK_EQ(launch.event.error, ENOENT);
    launch_done(&launch);
}

/* ---- many ---- */

static unsigned count_fds(void)
{
    DIR *folder = opendir("/proc/self/fd");
    unsigned count = 0;

    CHECK(folder != NULL);
    while (readdir(folder) != NULL)
        count++;
    (void)closedir(folder);
    return count;
}

TEST_LIMIT(a_thousand_commands_leave_nothing, 120)
{
    unsigned before = count_fds();

    for (unsigned i = 0; i < 1000; i++) {
        struct launch launch;

        launch_init(&launch, "exit", "0");
        launch.paths[0] = "/bin/true";
        launch_start(&launch);
        launch_expect(&launch, GUARD_STARTED);
        end_well(&launch, GUARD_BY_ITSELF, 0);
    }
    CHECK_EQ(count_fds(), before);
    CHECK_EQ(waitpid(-1, NULL, WNOHANG), -1);
    CHECK_EQ(errno, ECHILD);
}
