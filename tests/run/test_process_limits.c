/* SPDX-License-Identifier: MIT */
/*
 * Processes where the system says no, and beside a program that has habits of its own: what is
 * missing is named precisely and leaves nothing, and what the program does with its signals,
 * children, descriptors and output goes on as if brood were not there.
 */
#include "harness/gate.h"
#include "harness/test.h"
#include "run/server.h"

#include <brood/process.h>

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static int return_four(void *arg)
{
    (void)arg;
    return 4;
}

static int run_one(const brood_process_options *options)
{
    brood_process *process = NULL;
    brood_outcome outcome;
    int r = brood_process_start(&process, return_four, NULL, 0, options);

    if (r < 0)
        return r;
    CHECK_OK(brood_process_join(process, TEST_PATIENCE_MS, &outcome));
    brood_process_free(process);
    return outcome.verdict;
}

/* Runs BODY in a child of the test, because it spoils the process. */
static void in_child(void (*body)(void))
{
    int status;
    pid_t pid = fork();

    CHECK_OK(pid);
    if (pid == 0) {
        body();
        _exit(0);
    }
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, 0);
}

/* ---- calls that are forbidden ---- */

static void forbid(unsigned call, unsigned error)
{
    struct sock_filter program[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, call, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | error),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog filter = {.len = sizeof program / sizeof program[0], .filter = program};

    CHECK_OK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
    if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter, 0, 0) < 0)
        _exit(0); /* no filters here: nothing to show */
}

static void without_memfd(void)
{
    forbid(SYS_memfd_create, EPERM);
    CHECK_EQ(run_one(NULL), -EPERM);
}

static void without_pidfd(void)
{
    forbid(SYS_pidfd_open, ENOSYS);
    CHECK_EQ(run_one(NULL), -ENOSYS);
}

static void without_clone(void)
{
#ifdef SYS_fork
    forbid(SYS_fork, EAGAIN); /* which of the two it is, is up to the C library */
#endif
    forbid(SYS_clone, EAGAIN);
    CHECK_EQ(run_one(NULL), -EAGAIN);
}

static void without_signalfd(void)
{
    forbid(SYS_signalfd4, EPERM);
    CHECK_EQ(run_one(NULL), -EPERM);
}

static void without_unshare(void)
{
    brood_process *process = NULL;
    brood_outcome outcome;

    forbid(SYS_unshare, EPERM);
    CHECK_OK(brood_process_start(&process, return_four, NULL, 0,
                                 &(brood_process_options){.containment = BROOD_CONTAIN_NAMESPACE}));
    CHECK_OK(brood_process_join(process, TEST_PATIENCE_MS, &outcome));
    CHECK_EQ(outcome.containment, BROOD_CONTAIN_GROUP);
    CHECK_EQ(outcome.verdict, 4);
    brood_process_free(process);
}

TEST(forbidden_calls_are_named_and_leave_nothing)
{
    in_child(without_memfd);
    in_child(without_pidfd);
    in_child(without_clone);
    in_child(without_signalfd);
}

TEST(a_forbidden_namespace_falls_back_to_a_group_and_says_so)
{
    in_child(without_unshare);
}

/* ---- limits ---- */

static int count_descriptors(void)
{
    int count = 0;

    for (int fd = 0; fd < 256; fd++)
        count += fcntl(fd, F_GETFD) >= 0;
    return count;
}

static void with_few_descriptors(void)
{
    const int before = count_descriptors();
    bool started = false;

    /* From too few for anything to just enough; each failure must name the shortage. */
    for (rlim_t room = 3; room < 40 && !started; room++) {
        struct rlimit limit = {.rlim_cur = room, .rlim_max = 256};
        int r;

        CHECK_OK(setrlimit(RLIMIT_NOFILE, &limit));
        r = run_one(NULL);
        limit.rlim_cur = 256;
        CHECK_OK(setrlimit(RLIMIT_NOFILE, &limit));
        if (r < 0 && r != -EMFILE)
            FAIL("with room for %d descriptors: %s", (int)room, brood_strerror(r));
        started = r == 4;
        CHECK_EQ(count_descriptors(), before);
    }
    CHECK(started);
}

TEST(a_lack_of_descriptors_is_named_and_leaves_nothing)
{
    in_child(with_few_descriptors);
}

enum { SOMEBODY = 64123 };

static void with_few_processes(void)
{
    struct rlimit limit = {.rlim_cur = 1, .rlim_max = 8};
    int r;

    CHECK_OK(setgid(SOMEBODY));
    CHECK_OK(setuid(SOMEBODY));
    CHECK_OK(setrlimit(RLIMIT_NPROC, &limit));
    CHECK_EQ(run_one(NULL), -EAGAIN); /* not even the guardian */
    limit.rlim_cur = 2;
    CHECK_OK(setrlimit(RLIMIT_NPROC, &limit));
    r = run_one(NULL); /* the guardian, but no child */
    CHECK_EQ(r, -EAGAIN);
    limit.rlim_cur = 3;
    CHECK_OK(setrlimit(RLIMIT_NPROC, &limit));
    CHECK_EQ(run_one(NULL), 4);
}

TEST(a_lack_of_processes_is_named_and_leaves_nothing)
{
    if (getuid() != 0)
        SKIP("needs root to become somebody without other processes");
    in_child(with_few_processes);
}

/* ---- the program's habits ---- */

static void without_standard_streams(void)
{
    for (int fd = 0; fd < 3; fd++)
        (void)close(fd);
    if (run_one(NULL) != 4 ||
        run_one(&(brood_process_options){.start = BROOD_START_FORKSERVER}) != 4)
        _exit(1);
    for (int fd = 0; fd < 3; fd++) {
        if (fcntl(fd, F_GETFD) >= 0)
            _exit(2);
    }
    brood__server_stop();
}

TEST(closed_standard_streams_are_no_obstacle)
{
    in_child(without_standard_streams);
}

static void ignoring_children(void)
{
    (void)signal(SIGCHLD, SIG_IGN);
    for (int i = 0; i < 20; i++)
        CHECK_EQ(run_one(NULL), 4);
    CHECK_EQ(run_one(&(brood_process_options){.containment = BROOD_CONTAIN_NAMESPACE}), 4);
    CHECK_EQ(run_one(&(brood_process_options){.start = BROOD_START_FORKSERVER}), 4);
    brood__server_stop();
}

TEST(a_program_may_ignore_sigchld)
{
    in_child(ignoring_children);
}

TEST(a_program_may_wait_for_all_children)
{
    for (int i = 0; i < 20; i++) {
        brood_process *process = NULL;
        brood_outcome outcome;

        CHECK_OK(brood_process_start(&process, return_four, NULL, 0, NULL));
        while (wait(NULL) > 0) /* takes our guardian */
            continue;
        CHECK_OK(brood_process_join(process, TEST_PATIENCE_MS, &outcome));
        CHECK_EQ(outcome.verdict, 4);
        brood_process_free(process);
    }
}

TEST(children_of_the_program_are_not_waited_for)
{
    int status;
    pid_t own = fork();

    if (own == 0)
        _exit(17);
    for (int i = 0; i < 5; i++)
        CHECK_EQ(run_one(NULL), 4);
    CHECK_EQ(waitpid(own, &status, 0), own);
    CHECK_EQ(WEXITSTATUS(status), 17);
}

static volatile sig_atomic_t handled;

static void handle(int signo)
{
    handled = signo;
}

static int raise_user_signal(void *arg)
{
    struct sigaction action;
    sigset_t mask;

    (void)arg;
    CHECK_OK(sigprocmask(SIG_BLOCK, NULL, &mask));
    for (int signo = 1; signo < 32; signo++)
        CHECK_EQ(sigismember(&mask, signo), 0);
    CHECK_OK(sigaction(SIGUSR2, NULL, &action));
    CHECK(action.sa_handler == SIG_IGN);
    (void)raise(SIGUSR1);
    return 0;
}

TEST(handlers_are_reset_in_the_child_and_untouched_here)
{
    struct sigaction before[32], after;
    sigset_t mask, mask_after;
    brood_process *process = NULL;
    brood_outcome outcome;

    (void)signal(SIGUSR1, handle);
    (void)signal(SIGUSR2, SIG_IGN);
    CHECK_OK(sigemptyset(&mask));
    CHECK_OK(sigaddset(&mask, SIGUSR1));
    CHECK_OK(sigaddset(&mask, SIGINT));
    CHECK_OK(sigprocmask(SIG_SETMASK, &mask, NULL));
    for (int signo = 1; signo < 32; signo++)
        CHECK_OK(sigaction(signo, NULL, &before[signo]));

    CHECK_OK(brood_process_start(&process, raise_user_signal, NULL, 0, NULL));
    CHECK_OK(brood_process_join(process, TEST_PATIENCE_MS, &outcome));
    CHECK_EQ(outcome.signal, SIGUSR1);
    brood_process_free(process);

    for (int signo = 1; signo < 32; signo++) {
        CHECK_OK(sigaction(signo, NULL, &after));
        CHECK(after.sa_handler == before[signo].sa_handler);
    }
    CHECK_OK(sigprocmask(SIG_SETMASK, NULL, &mask_after));
    CHECK_EQ(memcmp(&mask, &mask_after, sizeof(unsigned long)), 0);
    CHECK_EQ(handled, 0);
}

static int write_to_pipe(void *arg)
{
    const int *ends = arg;

    CHECK_OK(close(ends[0]));
    CHECK_EQ(write(ends[1], "hello", 5), 5);
    return 0;
}

/* The guardian must not hold the write end: the reader would wait for it in vain. */
TEST(a_pipe_to_the_child_ends_with_the_child)
{
    brood_process *process = NULL;
    char text[16];
    int ends[2];

    CHECK_OK(pipe(ends));
    CHECK_OK(brood_process_start(&process, write_to_pipe, ends, sizeof ends, NULL));
    CHECK_OK(close(ends[1]));
    CHECK_EQ(read(ends[0], text, sizeof text), 5);
    CHECK_EQ(read(ends[0], text, sizeof text), 0);
    CHECK_OK(close(ends[0]));
    brood_process_free(process);
}

static int pause_until_signal(void *arg)
{
    (void)arg;
    (void)pause();
    return 0;
}

static int count_own_descriptors(void *arg)
{
    (void)arg;
    return count_descriptors();
}

TEST(no_descriptor_of_one_process_leaks_into_another)
{
    brood_process *waiting[4], *process = NULL;
    brood_outcome alone, beside_others;

    CHECK_OK(brood_process_start(&process, count_own_descriptors, NULL, 0, NULL));
    CHECK_OK(brood_process_join(process, TEST_PATIENCE_MS, &alone));
    brood_process_free(process);
    for (int i = 0; i < 4; i++)
        CHECK_OK(brood_process_start(&waiting[i], pause_until_signal, NULL, 0, NULL));
    CHECK_OK(brood_process_start(&process, count_own_descriptors, NULL, 0, NULL));
    CHECK_OK(brood_process_join(process, TEST_PATIENCE_MS, &beside_others));
    brood_process_free(process);
    for (int i = 0; i < 4; i++)
        brood_process_free(waiting[i]);
    CHECK_EQ(beside_others.code, alone.code);
}

/* ---- output ---- */

static int print_line(void *arg)
{
    printf("child %d\n", *(int *)arg);
    return 0;
}

static void print_with_children(void)
{
    printf("parent before\n");
    for (int i = 0; i < 3; i++) {
        brood_process *process = NULL;

        CHECK_OK(brood_process_start(
            &process, print_line, &i, sizeof i,
            &(brood_process_options){.start = i == 1 ? BROOD_START_FORKSERVER : BROOD_START_FORK}));
        CHECK_OK(brood_process_join(process, TEST_PATIENCE_MS, NULL));
        printf("parent %d\n", i);
        brood_process_free(process);
    }
    brood__server_stop();
    (void)fflush(stdout);
}

TEST(no_line_is_printed_twice_or_lost)
{
    const char *expected =
        "parent before\nchild 0\nparent 0\nchild 1\nparent 1\nchild 2\nparent 2\n";
    char text[512];
    size_t len = 0;
    ssize_t r;
    int ends[2], status;
    pid_t pid;

    CHECK_OK(pipe(ends));
    pid = fork();
    if (pid == 0) {
        CHECK_OK(dup2(ends[1], STDOUT_FILENO));
        CHECK_EQ(setvbuf(stdout, NULL, _IOFBF, 4096), 0);
        print_with_children();
        _exit(0);
    }
    CHECK_OK(close(ends[1]));
    while ((r = read(ends[0], text + len, sizeof text - 1 - len)) > 0)
        len += (size_t)r;
    text[len] = '\0';
    CHECK_OK(close(ends[0]));
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, 0);
    CHECK_STR(text, expected);
}
