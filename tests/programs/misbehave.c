/* SPDX-License-Identifier: MIT */
/*
 * Tests that must fail, each for a reason of its own, and some that must not.
 *
 * harness/test_runner.c starts this program and looks at the verdicts. All that lingers here
 * sleeps in pause() and is to be killed by the runner. Sweeps that must find something are in
 * misbehave_sweep.c.
 */
#include "harness/gate.h"
#include "harness/test.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

static void linger(void)
{
    for (;;)
        (void)pause();
}

TEST(behaves)
{
    CHECK_EQ(CHECK_OK(1), 1);
    (void)puts("output of a test that passes");
}

TEST(skips_for_a_reason)
{
    SKIP("because of %s", "the weather");
}

TEST(fails_a_check)
{
    (void)puts("output of a test that fails");
    CHECK_EQ(2 + 2, 5);
}

TEST(leaks_a_descriptor)
{
    CHECK_OK(open("/dev/null", O_RDONLY | O_CLOEXEC));
}

TEST(swaps_a_descriptor)
{
    CHECK_OK(dup2(CHECK_OK(open("/dev/zero", O_RDONLY | O_CLOEXEC)), 0));
    (void)close(3);
}

TEST(leaks_a_mapping)
{
    int fd = CHECK_OK(memfd_create("leak", MFD_CLOEXEC));

    CHECK_OK(ftruncate(fd, 4096));
    CHECK(mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0) != MAP_FAILED);
    (void)close(fd);
}

static void *thread_main(void *context)
{
    (void)context;
    linger();
    return NULL;
}

TEST(leaks_a_thread)
{
    pthread_t thread;

    CHECK_EQ(pthread_create(&thread, NULL, thread_main, NULL), 0);
}

TEST(leaks_memory)
{
    static void *volatile memory;

    if (!TEST_ASAN)
        SKIP("only the address sanitizer sees it");
    memory = malloc(1000);
    CHECK(memory != NULL);
    memory = NULL;
}

TEST(leaks_a_child)
{
    if (CHECK_OK(fork()) == 0)
        linger();
}

TEST(leaks_a_zombie)
{
    pid_t pid = CHECK_OK(fork());
    siginfo_t info;

    if (pid == 0)
        _exit(0);
    CHECK_OK(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT));
}

/* A process without parent, in a session of its own, until it is killed; or until it DIES. */
static void leave_daemon(bool dies)
{
    struct gate *gate = gate_new();
    pid_t pid = CHECK_OK(fork());

    if (pid == 0) {
        (void)setsid();
        if (fork() == 0) {
            if (dies)
                (void)prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
            gate_open(gate);
            linger();
        }
        gate_wait(gate);
        _exit(0);
    }
    CHECK_EQ(waitpid(pid, NULL, 0), pid);
    gate_free(gate);
}

TEST(leaves_a_daemon)
{
    leave_daemon(false);
}

/* Its death is under way when the test returns. The runner waits for it, and blames nobody. */
TEST(orphan_that_dies_is_no_leak)
{
    leave_daemon(true);
}

static void leave_file(const char *folder)
{
    char path[512];

    (void)snprintf(path, sizeof path, "%s/forgotten", folder);
    (void)close(CHECK_OK(open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600)));
}

TEST(leaves_a_file)
{
    leave_file(getenv("TMPDIR"));
}

TEST(leaves_shared_memory)
{
    if (strcmp(getenv("BROOD_TEST_OWN_SHM"), "1") != 0)
        SKIP("no /dev/shm of our own");
    leave_file("/dev/shm");
}

TEST_LIMIT(hangs, 1)
{
    linger();
}

/* The one that hangs in a stopped group, ignoring what can be ignored. */
TEST_LIMIT(stopped_child, 1)
{
    pid_t pid = CHECK_OK(fork());

    if (pid == 0) {
        (void)signal(SIGTERM, SIG_IGN);
        (void)setsid();
        (void)raise(SIGSTOP);
    }
    CHECK_EQ(waitpid(pid, NULL, 0), pid);
}

TEST(crashes)
{
    (void)raise(SIGKILL);
}

TEST(exits)
{
    exit(0);
}

/* The parent would wait for ever; and the child has closed all it could have told it by. */
TEST(fails_in_a_child)
{
    pid_t pid = CHECK_OK(fork());

    if (pid == 0) {
        for (int fd = 0; fd < 64; fd++)
            (void)close(fd);
        (void)setsid();
        CHECK_EQ(1, 2);
    }
    linger();
}

TEST(child_returns)
{
    pid_t pid = CHECK_OK(fork());

    if (pid != 0)
        (void)waitpid(pid, NULL, 0);
}

TEST(child_skips)
{
    pid_t pid = CHECK_OK(fork());

    if (pid == 0)
        SKIP("not for a child to say");
    (void)waitpid(pid, NULL, 0);
}

static void *failing_thread(void *context)
{
    CHECK_ERR(0, -1);
    return context;
}

TEST(fails_in_a_thread)
{
    pthread_t thread;

    CHECK_EQ(pthread_create(&thread, NULL, failing_thread, NULL), 0);
    linger();
}

TEST(gate_stays_closed)
{
    struct gate *gate = gate_new();

    CHECK(!gate_wait_ms(gate, 1));
    gate_free(gate);
}

TEST(draws_a_number)
{
    FAIL("drew %d", (int)test_random_below(1000000));
}
