/* SPDX-License-Identifier: MIT */
/*
 * Supervises one test.
 *
 *     runner (subreaper) -- test process, leader of its group -- whatever the test starts
 *
 * The runner sleeps on one futex word in the record. A failing check anywhere below changes it,
 * and so does the runner's own handler of SIGCHLD; there is no descriptor that a test could close
 * and no moment at which a change could be lost. The wait ends at the test's limit.
 *
 * What always holds: when runner_run() returns, this process has no child. All that the test
 * started and left is either dead with it or has become our child, as we are the subreaper; a
 * process that still ran is a failure of the test, and killed.
 *
 * If the runner itself dies, the test process dies too (parent-death signal).
 *
 * Not here: what is asked inside the test's process (check.c, leftover.c), and the list (main.c).
 */
#include "harness/runner.h"

#include "harness/leftover.h"
#include "harness/record.h"

#include <errno.h>
#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static bool has_own_shm;

static void child_changed(int signo)
{
    (void)signo;
    record_event();
}

/* Programs of other people, and other tests at the same time, use the common /dev/shm, so what
 * appears there can be blamed on a test only if it has one to itself. */
static bool take_own_shm(void)
{
    return unshare(CLONE_NEWNS) == 0 && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
           mount("tmpfs", "/dev/shm", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777") == 0;
}

void runner_prepare(void)
{
    struct sigaction action = {.sa_handler = child_changed, .sa_flags = SA_RESTART};

    (void)record_get();
    (void)prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
    (void)sigaction(SIGCHLD, &action, NULL);
    has_own_shm = take_own_shm();
    (void)setenv("BROOD_TEST_OWN_SHM", has_own_shm ? "1" : "0", 1);
}

static void call_test(void *context)
{
    const struct test_case *test = context;

    test->function();
}

static void reset_signals(void)
{
    sigset_t none;

    for (int signo = 1; signo < NSIG; signo++)
        if (signo != SIGKILL && signo != SIGSTOP)
            (void)signal(signo, SIG_DFL);
    (void)sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
}

/* Sanitizers have handlers of their own for crashes, which stay. */
static void reset_child_signal(void)
{
    if (TEST_ASAN || TEST_TSAN)
        (void)signal(SIGCHLD, SIG_DFL);
    else
        reset_signals();
}

static __attribute__((noreturn)) void be_the_test(const struct test_case *test, pid_t runner,
                                                  const char *folder, int output_fd)
{
    struct test_case copy = *test;

    (void)setpgid(0, 0);
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    if (getppid() != runner)
        _exit(1);
    reset_child_signal();
    (void)dup2(output_fd, 1);
    (void)dup2(output_fd, 2);
    (void)close(output_fd);
    (void)setenv("TMPDIR", folder, 1);
    random_start(test_seed(), test->name);
    run_as_owner(call_test, &copy, true);
}

/* ---- waiting ---- */

static struct timespec moment_in(double seconds)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    t.tv_sec += (time_t)seconds;
    t.tv_nsec += (long)((seconds - (double)(time_t)seconds) * 1e9);
    if (t.tv_nsec >= 1000000000) {
        t.tv_nsec -= 1000000000;
        t.tv_sec++;
    }
    return t;
}

static bool has_ended(pid_t pid)
{
    siginfo_t info = {0};

    return waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) != 0 || info.si_pid != 0;
}

/* Until the test's process has ended or its fate is known: true; false: over its limit. */
static bool wait_for_test(pid_t pid, double limit_s)
{
    struct record *record = record_get();
    const struct timespec deadline = moment_in(limit_s);

    for (;;) {
        uint32_t events = atomic_load(&record->events);

        if (has_ended(pid) || atomic_load(&record->state) == RECORD_FAILED)
            return true;
        if (syscall(SYS_futex, &record->events, FUTEX_WAIT_BITSET, events, &deadline, NULL,
                    FUTEX_BITSET_MATCH_ANY) != 0 &&
            errno == ETIMEDOUT)
            return has_ended(pid);
    }
}

/* ---- judging ---- */

static void fail_with(struct outcome *out, const char *text)
{
    size_t len = strlen(out->text);

    out->verdict = FAILED;
    (void)snprintf(out->text + len, sizeof out->text - len, "%s%s", len == 0 ? "" : "\n", text);
}

static void judge_status(int status, struct outcome *out)
{
    char text[128];

    if (WIFSIGNALED(status))
        (void)snprintf(text, sizeof text, "killed by signal %d (%s)", WTERMSIG(status),
                       strsignal(WTERMSIG(status)));
    else
        (void)snprintf(text, sizeof text, "ended by exit(%d) inside the test, or by a sanitizer",
                       WEXITSTATUS(status));
    fail_with(out, text);
}

static void judge(int status, struct outcome *out)
{
    const struct record *record = record_get();
    uint32_t state = atomic_load(&record->state);

    out->verdict = PASSED;
    out->text[0] = '\0';
    if (state == RECORD_FAILED || state == RECORD_WRITING)
        fail_with(out, record->message);
    else if (state == RECORD_SKIPPED) {
        out->verdict = SKIPPED;
        (void)snprintf(out->text, sizeof out->text, "%s", record->message);
    } else if (state != RECORD_FINISHED || !WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        judge_status(status, out);
        if (record->where[0] != '\0')
            fail_with(out, record->where);
    }
}

static void judge_limit(double limit_s, struct outcome *out)
{
    char names[1024];
    char text[1280];

    descendants_describe(names, sizeof names);
    (void)snprintf(text, sizeof text, "still running after %.0f s: %s", limit_s, names);
    fail_with(out, text);
    if (record_get()->where[0] != '\0')
        fail_with(out, record_get()->where);
}

/* A test that has failed is not asked what its processes did not get round to clean. */
static void judge_folder(const char *path, const char *kind, struct outcome *out)
{
    char names[1024];
    char text[1280];

    folder_list(path, names, sizeof names);
    if (names[0] == '\0' || out->verdict == FAILED)
        return;
    (void)snprintf(text, sizeof text, "left behind %s: %s", kind, names);
    fail_with(out, text);
}

static void empty_shm(void)
{
    if (!has_own_shm)
        return;
    folder_remove("/dev/shm"); /* the mount point itself stays */
}

/* ---- one test ---- */

static pid_t start_test(const struct test_case *test, const char *folder, int output_fd)
{
    pid_t runner = getpid();
    pid_t pid;

    (void)fflush(NULL);
    pid = fork();
    if (pid == 0)
        be_the_test(test, runner, folder, output_fd);
    if (pid > 0)
        (void)setpgid(pid, pid);
    return pid;
}

static void supervise(const struct test_case *test, pid_t pid, struct outcome *out)
{
    double limit_s = test->limit_s * test_time_factor();
    bool in_time = wait_for_test(pid, limit_s);
    char orphans[1024];
    char text[1280];
    int status = 0;

    out->verdict = PASSED;
    out->text[0] = '\0';
    if (!in_time)
        judge_limit(limit_s, out);
    if (!in_time || !has_ended(pid) || atomic_load(&record_get()->state) != RECORD_FINISHED) {
        (void)kill(-pid, SIGKILL);
        (void)kill(pid, SIGKILL);
    }
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (in_time)
        judge(status, out);
    if (!orphans_reap(0, orphans, sizeof orphans) && out->verdict != FAILED) {
        (void)snprintf(text, sizeof text, "left behind: %s", orphans);
        fail_with(out, text);
    }
}

void runner_run(const struct test_case *test, struct outcome *out)
{
    const char *parent = getenv("TMPDIR");
    char folder[256];
    pid_t pid;

    record_reset();
    (void)snprintf(folder, sizeof folder, "%s/brood-test-XXXXXX",
                   parent == NULL || *parent == '\0' ? "/tmp" : parent);
    out->output_fd = memfd_create("test-output", MFD_CLOEXEC);
    if (out->output_fd < 0 || mkdtemp(folder) == NULL) {
        (void)snprintf(out->text, sizeof out->text, "harness: %s", strerror(errno));
        out->verdict = FAILED;
        return;
    }
    pid = start_test(test, folder, out->output_fd);
    if (pid < 0) {
        out->text[0] = '\0';
        fail_with(out, "harness: no process to be had");
    } else
        supervise(test, pid, out);
    judge_folder(folder, "in $TMPDIR", out);
    folder_remove(folder);
    if (has_own_shm)
        judge_folder("/dev/shm", "in /dev/shm", out);
    empty_shm();
}

void runner_run_in_place(const struct test_case *test)
{
    record_reset();
    record_get()->in_place = true;
    random_start(test_seed(), test->name);
    test->function();
    (void)printf("returned: %s\n", test->name);
}
