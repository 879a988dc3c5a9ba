/* SPDX-License-Identifier: MIT */
/*
 * What a guard does where the system lacks something: /proc, or calls of younger kernels.
 *
 * It must start the command all the same, say how little it can promise, and keep that.
 */
#include "guard/launch.h"
#include "harness/test.h"

#include <brood/base.h>

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* FUNCTION in a process of its own, as there is no way back from what it does to itself. */
static void apart(void (*function)(void))
{
    pid_t pid = CHECK_OK(fork());
    int status = -1;

    if (pid == 0) {
        function();
        _exit(0);
    }
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, 0);
}

/* ---- without /proc ---- */

static void skip_without_root(void)
{
    if (geteuid() != 0)
        SKIP("it takes root to hide /proc");
}

static void hide_proc(struct launch *launch)
{
    launch->guard_path = launch_guard_file();
    CHECK_OK(unshare(CLONE_NEWNS));
    CHECK_OK(mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL));
    CHECK_OK(mount("none", "/proc", "tmpfs", 0, NULL));
}

static void shell(struct launch *launch, const char *script)
{
    launch_init(launch, "-c", script);
    launch->paths[0] = "/bin/sh";
    launch->argv[0] = "sh";
    launch->environment[0] = "PATH=/usr/bin:/bin";
    hide_proc(launch);
}

static void leave_one_in_the_group(void)
{
    struct launch launch;

    shell(&launch, "sleep 1000 & exit 3");
    launch.order.flags = GUARD_OWN_GROUP;
    launch_start(&launch);
    launch_expect(&launch, GUARD_STARTED);
    CHECK_EQ(launch.event.containment, BROOD_CONTAIN_GROUP);
    CHECK_EQ(launch.event.flags, 0);
    launch_expect(&launch, GUARD_ENDED);
    CHECK_EQ(WEXITSTATUS(launch.event.status), 3);
    CHECK_EQ(launch.event.leftovers_killed, 1);
    CHECK_EQ(launch.event.leftovers_alive, 0);
    launch_expect_silence(&launch);
    launch_done(&launch);
    CHECK_OK(unlink(launch.guard_path));
}

TEST(without_proc_a_group_is_killed_with_its_command)
{
    skip_without_root();
    apart(leave_one_in_the_group);
}

static void time_out_in_a_group(void)
{
    struct launch launch;

    shell(&launch, "trap '' TERM; sleep 1000 & while true; do sleep 1000; done");
    launch.order.flags = GUARD_OWN_GROUP;
    launch.order.timeout_ms = 50;
    launch.order.stop_grace_ms = 50;
    launch_start(&launch);
    launch_expect(&launch, GUARD_STARTED);
    launch_expect(&launch, GUARD_ENDED);
    CHECK_EQ(launch.event.reason, GUARD_BY_TIMEOUT);
    CHECK_EQ(WTERMSIG(launch.event.status), SIGKILL);
    launch_expect_silence(&launch);
    launch_done(&launch);
    CHECK_OK(unlink(launch.guard_path));
}

TEST(without_proc_a_group_is_stopped_as_a_whole)
{
    skip_without_root();
    apart(time_out_in_a_group);
}

static void say_how_little(void)
{
    struct launch launch;

    shell(&launch, "exit 6");
    launch_start(&launch);
    launch_expect(&launch, GUARD_STARTED);
    CHECK_EQ(launch.event.containment, BROOD_CONTAIN_CHILD);
    CHECK_EQ(launch.event.flags, 0);
    launch_expect(&launch, GUARD_ENDED);
    CHECK_EQ(WEXITSTATUS(launch.event.status), 6);
    launch_done(&launch);
    CHECK_OK(unlink(launch.guard_path));
}

TEST(without_proc_and_group_only_the_command_is_promised)
{
    skip_without_root();
    apart(say_how_little);
}

static void insist(void)
{
    struct launch launch;

    shell(&launch, "exit 6");
    launch.order.flags = GUARD_CONTAIN_OR_FAIL;
    launch_start(&launch);
    launch_expect(&launch, GUARD_NOT_STARTED);
    CHECK_EQ(launch.event.step, GUARD_STEP_NAMESPACE);
    CHECK_EQ(launch.event.error, ENOSYS);
    launch_done(&launch);
    CHECK_OK(unlink(launch.guard_path));
}

TEST(without_proc_who_insists_gets_nothing)
{
    skip_without_root();
    apart(insist);
}

/* ---- on an older kernel ---- */

#define REFUSE(number, error)                                                                      \
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (number), 0, 1),                                           \
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (error))

static void forget_calls(void)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        REFUSE(434, ENOSYS), /* pidfd_open */
        REFUSE(424, ENOSYS), /* pidfd_send_signal */
        REFUSE(436, ENOSYS), /* close_range */
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    const struct sock_fprog program = {.len = sizeof code / sizeof code[0], .filter = code};

    CHECK_OK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
    CHECK_OK(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program));
    CHECK_EQ(syscall(436, 1000, 1000, 0), -1);
}

static void kill_a_family_the_old_way(void)
{
    struct launch launch;

    launch_init(&launch, "family_ignore", NULL);
    forget_calls();
    launch_start(&launch);
    launch_await_ready(&launch);
    CHECK_EQ(launch.event.containment, BROOD_CONTAIN_GROUP);
    launch_ask(&launch, GUARD_REQUEST_KILL, 0, GUARD_WHOM_COMMAND);
    launch_expect(&launch, GUARD_ENDED);
    CHECK_EQ(launch.event.leftovers_killed, 3);
    launch_expect_silence(&launch);
    launch_done(&launch);
}

TEST(without_pidfds_a_tree_is_killed_all_the_same)
{
    apart(kill_a_family_the_old_way);
}

static void close_the_old_way(void)
{
    struct launch launch;
    char shown[4096];
    int inherited = CHECK_OK(fcntl(STDOUT_FILENO, F_DUPFD, 50)); /* by the guard */

    launch_init(&launch, "show", NULL);
    forget_calls();
    launch_start(&launch);
    launch_expect(&launch, GUARD_STARTED);
    launch_read_all(&launch, shown, sizeof shown);
    CHECK_EQ(strncmp(shown, "fds=0,1,2,\n", 11), 0);
    launch_expect(&launch, GUARD_ENDED);
    launch_done(&launch);
    (void)close(inherited);
}

TEST(without_close_range_descriptors_are_closed_all_the_same)
{
    apart(close_the_old_way);
}

/* ---- calls that fail ---- */

static const struct refusal {
    unsigned number, first_argument;
    unsigned error;
    uint64_t flags;
    enum guard_step step;
} refusals[] = {
    {SYS_setsid, 0, EPERM, GUARD_NEW_SESSION, GUARD_STEP_SESSION},
    {SYS_setpgid, 0, EACCES, GUARD_OWN_GROUP, GUARD_STEP_GROUP},
    {SYS_prctl, PR_SET_NO_NEW_PRIVS, EINVAL, GUARD_NO_NEW_PRIVS, GUARD_STEP_PRIVILEGES},
    {SYS_prctl, PR_SET_PDEATHSIG, EINVAL, 0, GUARD_STEP_PARENT},
    {SYS_rt_sigaction, SIGPIPE, EINVAL, 0, GUARD_STEP_SIGNALS},
#if defined(__GLIBC__) && defined(__x86_64__) /* others start the guard itself by this call */
    {SYS_clone, CLONE_VM | CLONE_VFORK | SIGCHLD, EAGAIN, 0, GUARD_STEP_SPAWN},
#endif
};
static const struct refusal *refused;

static void refuse_one(void)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, refused->number, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[0])),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, refused->first_argument, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | refused->error),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    const struct sock_fprog program = {.len = sizeof code / sizeof code[0], .filter = code};

    CHECK_OK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
    CHECK_OK(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program));
}

static void start_against_a_refusal(void)
{
    struct launch launch;

    launch_init(&launch, "exit", "2");
    launch.order.flags = refused->flags;
    refuse_one();
    launch_start(&launch);
    launch_expect(&launch, GUARD_NOT_STARTED);
    CHECK_EQ(launch.event.step, refused->step);
    CHECK_EQ(launch.event.error, refused->error);
    launch_expect_silence(&launch);
    launch_done(&launch);
}

TEST(each_call_that_fails_is_said)
{
    for (size_t i = 0; i < sizeof refusals / sizeof refusals[0]; i++) {
        refused = &refusals[i];
        apart(start_against_a_refusal);
    }
}

/* ---- without namespaces ---- */

static void refuse_namespaces(void)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clone, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[0])),
        BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, CLONE_NEWPID, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    const struct sock_fprog program = {.len = sizeof code / sizeof code[0], .filter = code};

    CHECK_OK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
    CHECK_OK(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program));
}

static void take_the_lesser(void)
{
    struct launch launch;

    launch_init(&launch, "family_exit", "2");
    launch.order.containment = BROOD_CONTAIN_NAMESPACE;
    refuse_namespaces();
    launch_start(&launch);
    launch_expect(&launch, GUARD_STARTED);
    CHECK_EQ(launch.event.containment, BROOD_CONTAIN_GROUP);
    launch_expect(&launch, GUARD_ENDED);
    CHECK_EQ(launch.event.leftovers_killed, 3);
    launch_expect_silence(&launch);
    launch_done(&launch);
    launch_init(&launch, "exit", "2");
    launch.order.containment = BROOD_CONTAIN_NAMESPACE;
    launch.order.flags = GUARD_CONTAIN_OR_FAIL;
    launch_start(&launch);
    launch_expect(&launch, GUARD_NOT_STARTED);
    CHECK_EQ(launch.event.step, GUARD_STEP_NAMESPACE);
    CHECK_EQ(launch.event.error, EPERM);
    launch_done(&launch);
}

TEST(without_namespaces_the_tree_is_what_there_is)
{
    apart(take_the_lesser);
}
