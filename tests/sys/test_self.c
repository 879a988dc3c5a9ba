/* SPDX-License-Identifier: MIT */
/*
 * Who a process is: a forked child has another number than its parent, however it was forked, and
 * threads are counted without those that were joined. What a guarded fork promises: brood's own
 * threads rest meanwhile, and the child starts with clean locks and without private descriptors.
 */
#include "harness/gate.h"
#include "harness/test.h"
#include "sys/kernel.h"
#include "sys/self.h"

#include <brood/base.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static void expect_success(pid_t pid)
{
    int status;

    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, 0);
}

TEST(a_number_stays_and_a_child_has_another)
{
    uint64_t mine = brood__self();
    pid_t pid;

    CHECK(mine != 0);
    CHECK_EQ(brood__self(), mine);
    pid = fork();
    if (pid == 0) {
        uint64_t childs = brood__self();

        CHECK(childs != mine && childs != 0);
        CHECK_EQ(brood__self(), childs);
        _exit(0);
    }
    expect_success(pid);
    CHECK_EQ(brood__self(), mine);
}

TEST(a_child_of_a_raw_clone_has_another_number_too)
{
    uint64_t mine = brood__self();
    pid_t pid = (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);

    if (pid == 0)
        _exit(brood__self() != mine ? 0 : 1);
    expect_success(pid);
}

static void *nothing(void *unused)
{
    return unused;
}

TEST(a_thread_just_joined_is_not_counted)
{
    CHECK_EQ(brood__thread_count(), 1);
    for (int i = 0; i < 300; i++) {
        pthread_t thread;

        CHECK_EQ(pthread_create(&thread, NULL, nothing, NULL), 0);
        CHECK_EQ(pthread_join(thread, NULL), 0);
        CHECK_EQ(brood__thread_count(), 1);
    }
}

struct helper {
    struct gate *begun;
    atomic_bool stop;
    atomic_uint inside;
};

static void *help(void *context)
{
    struct helper *helper = context;

    gate_open(helper->begun);
    while (!atomic_load(&helper->stop)) {
        brood__helper_work_begin();
        atomic_fetch_add(&helper->inside, 1);
        (void)sched_yield();
        atomic_fetch_sub(&helper->inside, 1);
        brood__helper_work_end();
    }
    return NULL;
}

TEST(a_guarded_fork_finds_helpers_at_rest)
{
    struct helper helper = {.begun = gate_new()};
    pthread_t thread;

    brood__helper_started();
    CHECK_EQ(pthread_create(&thread, NULL, help, &helper), 0);
    gate_wait(helper.begun);
    for (int i = 0; i < 100; i++) {
        pid_t pid = brood__fork_guarded(false);

        CHECK_OK(pid);
        if (pid == 0) {
            bool at_rest = atomic_load(&helper.inside) == 0;

            brood__helper_work_begin(); /* the gate is open and nobody's */
            brood__helper_work_end();
            _exit(at_rest && brood__thread_count() == 1 ? 0 : 1);
        }
        expect_success(pid);
    }
    atomic_store(&helper.stop, true);
    CHECK_EQ(pthread_join(thread, NULL), 0);
    brood__helper_ended();
    gate_free(helper.begun);
}

static void *wait_at_gate(void *gate)
{
    gate_wait(gate);
    return NULL;
}

TEST(a_guarded_fork_refuses_a_threaded_program)
{
    struct gate *gate = gate_new();
    pthread_t thread;
    pid_t pid;

    CHECK_EQ(pthread_create(&thread, NULL, wait_at_gate, gate), 0);
    CHECK_ERR(brood__fork_guarded(false), BROOD_ETHREADS);
    pid = brood__fork_guarded(true);
    if (pid == 0)
        _exit(0);
    expect_success(pid);
    gate_open(gate);
    CHECK_EQ(pthread_join(thread, NULL), 0);
    gate_free(gate);
}

TEST(private_descriptors_do_not_pass_a_guarded_fork)
{
    int kept = brood__fd_event(), private = brood__fd_event();
    pid_t pid;

    CHECK_OK(kept);
    CHECK_OK(private);
    CHECK_OK(brood__private_add(private));
    pid = brood__fork_guarded(false);
    if (pid == 0)
        _exit(fcntl(private, F_GETFD) < 0 && fcntl(kept, F_GETFD) >= 0 ? 0 : 1);
    expect_success(pid);
    brood__private_remove(private);
    brood__fd_close(private);
    brood__fd_close(kept);
}

static struct own_lock lock = OWN_LOCK;
static unsigned renewals;

static void renew(void)
{
    renewals++;
}

TEST(a_lock_held_during_a_fork_is_free_in_the_child)
{
    unsigned before;
    pid_t pid;

    brood__own_lock(&lock, renew);
    before = renewals;
    pid = fork();
    if (pid == 0) {
        brood__own_lock(&lock, renew);
        brood__own_unlock(&lock);
        _exit(renewals == before + 1 ? 0 : 1);
    }
    expect_success(pid);
    brood__own_unlock(&lock);
    brood__own_lock(&lock, renew);
    CHECK_EQ(renewals, before);
    brood__own_unlock(&lock);
}
