/* SPDX-License-Identifier: MIT */
/*
 * Sweeps that must find something, and their correct twins that must not.
 *
 * harness/test_sweep.c looks at the verdicts. The scenarios are small, and call the seams that
 * the library calls; each twin differs from its mutant by the one mistake.
 */
#include "base/memory.h"
#include "harness/gate.h"
#include "harness/sweep.h"
#include "harness/test.h"
#include "sys/kernel.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

struct holder {
    int fd;
    int event;
    char *name;
};

/* ---- faults ---- */

static int holder_open(struct holder *holder, bool leaks)
{
    holder->event = -1;
    holder->name = NULL;
    holder->fd = brood__fd_open("/dev/null", 0);
    if (holder->fd < 0)
        return holder->fd;
    holder->event = brood__fd_event();
    if (holder->event < 0 && leaks)
        return holder->event;
    holder->name = holder->event < 0 ? NULL : brood__copy_string("holder");
    if (holder->name != NULL)
        return 0;
    holder->fd = brood__fd_close(holder->fd);
    if (holder->event < 0)
        return holder->event;
    holder->event = brood__fd_close(holder->event);
    return -ENOMEM;
}

static void holder_close(struct holder *holder)
{
    holder->fd = brood__fd_close(holder->fd);
    holder->event = brood__fd_close(holder->event);
    brood__free(holder->name);
}

static void open_and_close(void *context)
{
    const bool *leaks = context;
    struct holder holder;
    int r = holder_open(&holder, *leaks);

    CHECK(r == 0 || r == -EMFILE || r == -ENOMEM);
    if (r == 0)
        holder_close(&holder);
}

TEST(faults_find_nothing)
{
    bool leaks = false;

    sweep_faults(open_and_close, &leaks, NULL);
}

TEST(faults_find_a_leak)
{
    bool leaks = true;

    sweep_faults(open_and_close, &leaks, NULL);
}

static void ignore_an_error(void *context)
{
    uint64_t one = 1;
    int fd = brood__fd_event();

    (void)context;
    if (fd < 0)
        return;
    (void)brood__fd_write(fd, &one, sizeof one);
    CHECK_EQ(brood__fd_read(fd, &one, sizeof one), 8);
    brood__fd_close(fd);
}

TEST(faults_find_an_ignored_error)
{
    sweep_faults(ignore_an_error, NULL, &(struct sweep_options){.except = "read"});
}

static void crash_without_memory(void *context)
{
    char *memory = brood__alloc(16);

    (void)context;
    memset(memory, 1, 16);
    brood__free(memory);
}

TEST(faults_find_a_crash)
{
    sweep_faults(crash_without_memory, NULL, NULL);
}

static void hang_without_event(void *context)
{
    int fd = brood__fd_event();

    (void)context;
    while (fd < 0)
        (void)pause();
    brood__fd_close(fd);
}

TEST(faults_find_a_hang)
{
    sweep_faults(hang_without_event, NULL, &(struct sweep_options){.limit_ms = 300});
}

/* The points of a program that is executed anew; it ends with 3 if its call fails. */
static void execute_anew(void *context)
{
    const char *path = test_program("passes_a_point");
    int status;
    pid_t pid = CHECK_OK(fork());

    (void)context;
    if (pid == 0) {
        (void)execl(path, path, (char *)NULL);
        FAIL("no program %s", path);
    }
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK(WIFSIGNALED(status) || WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == 3);
    CHECK(WIFEXITED(status) || WTERMSIG(status) == SIGKILL);
}

static const struct sweep_options only_server = {.roles = 1U << ROLE_SERVER};

TEST(faults_follow_into_a_new_program)
{
    sweep_faults(execute_anew, NULL, &only_server);
}

TEST(kills_follow_into_a_new_program)
{
    sweep_kills(execute_anew, NULL, &only_server);
}

/* ---- kills ---- */

struct pair {
    unsigned first;
    unsigned second;
};

/* Two steps that belong together, and points between them at which the worker may die. */
static __attribute__((noreturn)) void raise_pair(struct pair *pair)
{
    brood__fault_role(ROLE_WORKER);
    pair->first++;
    BROOD_MARK("between");
    pair->second++;
    brood__fd_close(brood__fd_event());
    _exit(0);
}

static void raise_and_repair(void *context)
{
    const bool *repairs = context;
    struct pair *pair =
        mmap(NULL, sizeof *pair, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    int status;
    pid_t pid;

    CHECK(pair != MAP_FAILED);
    pid = CHECK_OK(brood__fork());
    if (pid == 0)
        raise_pair(pair);
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    if (WIFSIGNALED(status) && *repairs)
        pair->second = pair->first;
    CHECK_EQ(pair->first, pair->second);
    (void)munmap(pair, sizeof *pair);
}

TEST(kills_find_nothing)
{
    bool repairs = true;

    sweep_kills(raise_and_repair, &repairs, NULL);
}

TEST(kills_find_a_missing_repair)
{
    bool repairs = false;

    sweep_kills(raise_and_repair, &repairs, NULL);
}

/* A child that must not outlive its parent. The mutant forgets to arm its own death. */
static void keep_a_child(void *context)
{
    const bool *arms = context;
    struct gate *armed = gate_new();
    pid_t caller = getpid();
    pid_t pid = CHECK_OK(brood__fork());

    if (pid == 0) {
        brood__fault_role(ROLE_WORKER);
        if (*arms && (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != caller))
            _exit(1);
        gate_open(armed);
        for (;;)
            (void)pause();
    }
    gate_wait(armed);
    brood__fd_close(brood__fd_event());
    CHECK_OK(kill(pid, SIGKILL));
    CHECK_EQ(waitpid(pid, NULL, 0), pid);
    gate_free(armed);
}

static const struct sweep_options kill_the_caller = {.roles = 1U << ROLE_CALLER, .limit_ms = 300};

TEST(caller_dies_and_all_with_it)
{
    bool arms = true;

    sweep_kills(keep_a_child, &arms, &kill_the_caller);
}

TEST(caller_dies_and_leaves_a_child)
{
    bool arms = false;

    sweep_kills(keep_a_child, &arms, &kill_the_caller);
}

static void watch(void *context)
{
    (void)context;
    FAIL("the observer saw it");
}

TEST(observer_is_asked)
{
    bool repairs = true;

    sweep_kills(raise_and_repair, &repairs, &(struct sweep_options){.observer = watch});
}
