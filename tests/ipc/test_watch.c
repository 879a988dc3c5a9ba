/* SPDX-License-Identifier: MIT */
/*
 * A watch makes a descriptor of something in shared memory. Promise: it is readable when there is
 * something, is not when there is nothing, costs nothing while nothing happens, misses nothing,
 * and goes away whenever it is told to, also in a forked child.
 *
 * The object here is a count of things in memory that children share.
 */
#include "harness/gate.h"
#include "harness/sweep.h"
#include "harness/test.h"

#include "base/clock.h"
#include "ipc/watch.h"
#include "sys/kernel.h"
#include "sys/self.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MEMORY_LEN = 4096 };

struct store {
    _Atomic uint32_t count;
    _Atomic uint32_t waits; /* how often the watch slept or tried to */
};

static void store_wait(void *object, int64_t deadline)
{
    struct store *store = object;

    atomic_fetch_add(&store->waits, 1);
    (void)brood__futex_wait(&store->count, 0, deadline);
}

static bool store_ready(void *object)
{
    return atomic_load(&((struct store *)object)->count) != 0;
}

static void store_wake(void *object)
{
    brood__futex_wake(&((struct store *)object)->count, UINT32_MAX);
}

static const struct watch_calls calls = {store_wait, store_ready, store_wake};

static struct store *new_store(void)
{
    void *memory = NULL;

    CHECK_OK(brood__memory_map_family(&memory, MEMORY_LEN));
    return memory;
}

static void free_store(struct store *store)
{
    brood__memory_unmap(store, MEMORY_LEN);
}

static void add(struct store *store, uint32_t count)
{
    atomic_fetch_add(&store->count, count);
    store_wake(store);
}

static void take(struct store *store, struct watch *watch, uint32_t count)
{
    atomic_fetch_sub(&store->count, count);
    brood__watch_again(watch);
}

static bool is_readable(struct watch *watch, int64_t timeout_ms)
{
    struct pollfd waited = {.fd = brood__watch_now(watch), .events = POLLIN};

    return CHECK_OK(brood__fd_wait(&waited, 1, deadline_in(timeout_ms))) > 0;
}

static struct watch *new_watch(struct store *store)
{
    struct watch *watch = NULL;

    CHECK_OK(brood__watch_new(&watch, &calls, store));
    return watch;
}

TEST(it_is_readable_as_long_as_there_is_something)
{
    struct store *store = new_store();
    struct watch *watch = new_watch(store);

    CHECK(!is_readable(watch, 0));
    add(store, 2);
    CHECK(is_readable(watch, TEST_PATIENCE_MS));
    take(store, watch, 1);
    CHECK(is_readable(watch, 0));
    take(store, watch, 1);
    CHECK(!is_readable(watch, 0));
    add(store, 1);
    CHECK(is_readable(watch, TEST_PATIENCE_MS));
    brood__watch_free(watch);
    free_store(store);
}

TEST(what_was_there_before_the_watch_is_seen)
{
    struct store *store = new_store();
    struct watch *watch;

    add(store, 1);
    watch = new_watch(store);
    CHECK(is_readable(watch, TEST_PATIENCE_MS));
    brood__watch_free(watch);
    free_store(store);
}

/* Each round makes it go from nothing to something at once: a look that comes too early misses
 * it. */
TEST(nothing_is_missed_between_processes)
{
    enum { ROUNDS = 5000 };
    struct store *store = new_store();
    struct watch *watch = new_watch(store);
    int status;
    pid_t pid = CHECK_OK(fork());

    if (pid == 0) {
        for (int i = 0; i < ROUNDS; i++)
            add(store, 1);
        _exit(0);
    }
    for (int got = 0; got < ROUNDS;) {
        uint32_t count;

        CHECK(is_readable(watch, TEST_PATIENCE_MS));
        count = atomic_load(&store->count);
        got += (int)count;
        take(store, watch, count);
    }
    CHECK(!is_readable(watch, 0));
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, 0);
    brood__watch_free(watch);
    free_store(store);
}

TEST(it_does_not_run_while_what_it_shows_is_not_taken)
{
    struct store *store = new_store();
    struct watch *watch = new_watch(store);
    uint32_t waits;

    add(store, 1);
    CHECK(is_readable(watch, TEST_PATIENCE_MS));
    waits = atomic_load(&store->waits);
    for (int i = 0; i < 1000; i++) {
        brood__watch_again(watch);
        store_wake(store);
    }
    CHECK_EQ(atomic_load(&store->waits), waits);
    brood__watch_free(watch);
    free_store(store);
}

TEST(it_can_be_freed_at_any_moment)
{
    struct store *store = new_store();

    for (int round = 0; round < 500; round++) {
        struct watch *watch = new_watch(store);

        if (round % 3 == 0)
            add(store, 1);
        brood__watch_free(watch);
        atomic_store(&store->count, 0);
    }
    brood__watch_free(NULL);
    free_store(store);
}

TEST(a_forked_child_frees_its_copy_and_watches_anew)
{
    struct store *store = new_store();
    struct watch *watch = new_watch(store);
    int status;
    pid_t pid = CHECK_OK(fork());

    if (pid == 0) {
        struct watch *own;

        brood__watch_again(watch);
        brood__watch_free(watch);
        own = new_watch(store);
        add(store, 1);
        CHECK(is_readable(own, TEST_PATIENCE_MS));
        brood__watch_free(own);
        _exit(0);
    }
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, 0);
    CHECK(is_readable(watch, TEST_PATIENCE_MS));
    brood__watch_free(watch);
    free_store(store);
}

TEST(it_is_no_thread_that_forbids_a_fork)
{
    struct store *store = new_store();
    struct watch *watch = new_watch(store);

    if (TEST_TSAN)
        SKIP("it has a thread of its own");
    for (int round = 0; round < 50; round++) {
        pid_t pid = CHECK_OK(brood__fork_guarded(false));

        if (pid == 0)
            _exit(0);
        add(store, 1);
        CHECK(is_readable(watch, TEST_PATIENCE_MS));
        take(store, watch, 1);
        CHECK_EQ(waitpid(pid, NULL, 0), pid);
    }
    brood__watch_free(watch);
    free_store(store);
}

static void watch_once(void *unused)
{
    void *memory = NULL;
    struct watch *watch;
    int r = brood__memory_map_family(&memory, MEMORY_LEN);

    (void)unused;
    if (r < 0)
        return;
    r = brood__watch_new(&watch, &calls, memory);
    if (r == 0) {
        add(memory, 1);
        brood__watch_again(watch);
        brood__watch_free(watch);
    } else {
        CHECK(r == -ENOMEM || r == -EMFILE || r == -EAGAIN);
    }
    free_store(memory);
}

TEST_LIMIT(a_failing_call_is_told_and_leaves_nothing, 60)
{
    sweep_faults(watch_once, NULL, NULL);
}
