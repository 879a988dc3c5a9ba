/* SPDX-License-Identifier: MIT */
/*
 * Calls of brood/sync.h on what cannot be used: nothing at all, a place that no such struct can
 * have, and memory that this process can only read. Promise: an error, or nothing, and never a
 * crash, a wait or a change.
 */
#include "harness/gate.h"
#include "harness/test.h"

#include <brood/region.h>
#include <brood/sync.h>

#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

/* One of each. All zero but for those that need their numbers. */
struct things {
    brood_lock lock;
    brood_recursive_lock recursive;
    brood_condition condition;
    brood_semaphore semaphore;
    brood_bounded_semaphore bounded;
    brood_event event;
    brood_barrier barrier;
    brood_once once;
};

enum { VALUE = 3, UNITS = 2, PARTIES = 2 };

static int count_run(void *arg)
{
    ++*(int *)arg;
    return 0;
}

/* Where they are; not as members of one struct, as that may be where none can be. */
struct places {
    brood_lock *lock;
    brood_recursive_lock *recursive;
    brood_condition *condition;
    brood_semaphore *semaphore;
    brood_bounded_semaphore *bounded;
    brood_event *event;
    brood_barrier *barrier;
    brood_once *once;
};

static struct places places_from(uintptr_t start)
{
    return (struct places){.lock = (void *)(start + offsetof(struct things, lock)),
                           .recursive = (void *)(start + offsetof(struct things, recursive)),
                           .condition = (void *)(start + offsetof(struct things, condition)),
                           .semaphore = (void *)(start + offsetof(struct things, semaphore)),
                           .bounded = (void *)(start + offsetof(struct things, bounded)),
                           .event = (void *)(start + offsetof(struct things, event)),
                           .barrier = (void *)(start + offsetof(struct things, barrier)),
                           .once = (void *)(start + offsetof(struct things, once))};
}

/* All that return an int return ERROR; those that look, too, if LOOKS. */
static void everything_fails(const struct places *places, int error, bool looks)
{
    int runs = 0;

    CHECK_ERR(brood_lock_acquire(places->lock, BROOD_FOREVER), error);
    CHECK_ERR(brood_lock_release(places->lock), error);
    CHECK_ERR(brood_lock_consistent(places->lock), error);
    CHECK_ERR(brood_lock_owner(places->lock, NULL), error);
    CHECK_ERR(brood_recursive_lock_acquire(places->recursive, BROOD_FOREVER), error);
    CHECK_ERR(brood_recursive_lock_release(places->recursive), error);
    CHECK_ERR(brood_recursive_lock_consistent(places->recursive), error);
    CHECK_ERR(brood_recursive_lock_owner(places->recursive, NULL), error);
    CHECK_ERR(brood_condition_wait(places->condition, places->lock, BROOD_FOREVER), error);
    CHECK_ERR(brood_semaphore_init(places->semaphore, 1, 1), error);
    CHECK_ERR(brood_semaphore_acquire(places->semaphore, BROOD_FOREVER), error);
    CHECK_ERR(brood_semaphore_release(places->semaphore, 1), error);
    CHECK_ERR(brood_bounded_semaphore_init(places->bounded, 1), error);
    CHECK_ERR(brood_bounded_semaphore_acquire(places->bounded, BROOD_FOREVER), error);
    CHECK_ERR(brood_bounded_semaphore_release(places->bounded), error);
    CHECK_ERR(brood_bounded_semaphore_value(places->bounded), error);
    CHECK_ERR(brood_event_wait(places->event, BROOD_FOREVER), error);
    CHECK_ERR(brood_barrier_init(places->barrier, 1), error);
    CHECK_ERR(brood_barrier_wait(places->barrier, BROOD_FOREVER), error);
    CHECK_ERR(brood_once_run(places->once, count_run, &runs, BROOD_FOREVER), error);
    CHECK_EQ(runs, 0);
    if (!looks)
        return;
    CHECK_ERR(brood_semaphore_value(places->semaphore), error);
    CHECK_ERR(brood_barrier_waiting(places->barrier), error);
    CHECK(!brood_event_is_set(places->event));
    CHECK(!brood_barrier_broken(places->barrier));
}

/* Those that return nothing. */
static void nothing_happens(const struct places *places)
{
    brood_condition_signal(places->condition);
    brood_condition_broadcast(places->condition);
    brood_event_set(places->event);
    brood_event_clear(places->event);
    brood_barrier_abort(places->barrier);
    brood_barrier_reset(places->barrier);
}

static void init(struct things *things)
{
    CHECK_OK(brood_semaphore_init(&things->semaphore, VALUE, 0));
    CHECK_OK(brood_bounded_semaphore_init(&things->bounded, UNITS));
    CHECK_OK(brood_barrier_init(&things->barrier, PARTIES));
}

TEST(calls_without_an_object_are_refused)
{
    struct things things = {0};
    int runs = 0;

    CHECK_ERR(brood_lock_acquire(NULL, 0), -EINVAL);
    CHECK_ERR(brood_lock_release(NULL), -EINVAL);
    CHECK_ERR(brood_lock_consistent(NULL), -EINVAL);
    CHECK_ERR(brood_lock_owner(NULL, NULL), -EINVAL);
    CHECK_ERR(brood_recursive_lock_acquire(NULL, 0), -EINVAL);
    CHECK_ERR(brood_recursive_lock_release(NULL), -EINVAL);
    CHECK_ERR(brood_recursive_lock_consistent(NULL), -EINVAL);
    CHECK_ERR(brood_recursive_lock_owner(NULL, NULL), -EINVAL);
    CHECK_ERR(brood_condition_wait(NULL, &things.lock, 0), -EINVAL);
    CHECK_ERR(brood_condition_wait(&things.condition, NULL, 0), -EINVAL);
    CHECK_ERR(brood_semaphore_init(NULL, 0, 0), -EINVAL);
    CHECK_ERR(brood_semaphore_acquire(NULL, 0), -EINVAL);
    CHECK_ERR(brood_semaphore_release(NULL, 1), -EINVAL);
    CHECK_ERR(brood_semaphore_value(NULL), -EINVAL);
    CHECK_ERR(brood_bounded_semaphore_init(NULL, 1), -EINVAL);
    CHECK_ERR(brood_bounded_semaphore_acquire(NULL, 0), -EINVAL);
    CHECK_ERR(brood_bounded_semaphore_release(NULL), -EINVAL);
    CHECK_ERR(brood_bounded_semaphore_value(NULL), -EINVAL);
    CHECK_ERR(brood_event_wait(NULL, 0), -EINVAL);
    CHECK(!brood_event_is_set(NULL));
    CHECK_ERR(brood_barrier_init(NULL, 1), -EINVAL);
    CHECK_ERR(brood_barrier_wait(NULL, 0), -EINVAL);
    CHECK_ERR(brood_barrier_waiting(NULL), -EINVAL);
    CHECK(!brood_barrier_broken(NULL));
    CHECK_ERR(brood_once_run(NULL, count_run, &runs, 0), -EINVAL);
    CHECK_ERR(brood_once_run(&things.once, NULL, &runs, 0), -EINVAL);
    brood_condition_signal(NULL);
    brood_condition_broadcast(NULL);
    brood_event_set(NULL);
    brood_event_clear(NULL);
    brood_barrier_abort(NULL);
    brood_barrier_reset(NULL);
    CHECK_EQ(runs, 0);
}

/* The kernel sleeps on aligned words only. */
TEST(calls_on_a_place_that_is_not_aligned_are_refused_and_change_nothing)
{
    static const char zeros[sizeof(struct things) + 8];
    static uint64_t memory[sizeof zeros / 8];
    const struct places places = places_from((uintptr_t)memory + 2);

    everything_fails(&places, -EINVAL, true);
    nothing_happens(&places);
    CHECK(memcmp(memory, zeros, sizeof memory) == 0);
}

/* ---- memory that can only be read ---- */

/* Seen by a child that was forked before the region. */
struct errand {
    struct gate *told, *looked, *set;
    brood_ref ref;
};

static void only_read(struct things *things)
{
    const struct places places = places_from((uintptr_t)things);
    struct things before = *things;

    everything_fails(&places, -EROFS, false);
    nothing_happens(&places);
    CHECK_EQ(brood_semaphore_value(&things->semaphore), VALUE);
    CHECK_EQ(brood_barrier_waiting(&things->barrier), 0);
    CHECK(!brood_barrier_broken(&things->barrier));
    CHECK(!brood_event_is_set(&things->event));
    CHECK(memcmp(things, &before, sizeof before) == 0);
}

static void go_on_errand(struct errand *errand)
{
    brood_region *region = NULL;
    brood_lock own = {{0}};
    struct things *things;
    int runs = 0;

    gate_wait(errand->told);
    CHECK_OK(brood_region_open(&region, errand->ref));
    things = brood_region_at(region, errand->ref);
    CHECK(things != NULL);
    only_read(things);
    /* Private memory is as good as ever, and does not make the other any better. */
    CHECK_OK(brood_lock_acquire(&own, 0));
    only_read(things);
    CHECK_OK(brood_lock_release(&own));
    gate_open(errand->looked);
    gate_wait(errand->set);
    CHECK(brood_event_is_set(&things->event));
    CHECK_OK(brood_event_wait(&things->event, BROOD_FOREVER));
    CHECK_OK(brood_once_run(&things->once, count_run, &runs, BROOD_FOREVER));
    CHECK_EQ(runs, 0);
    brood_region_free(region);
    _exit(0);
}

static void do_what_the_other_sees(struct things *things)
{
    int runs = 0;

    CHECK_OK(brood_lock_acquire(&things->lock, 0));
    CHECK_OK(brood_lock_release(&things->lock));
    brood_event_set(&things->event);
    CHECK_OK(brood_once_run(&things->once, count_run, &runs, 0));
    CHECK_EQ(runs, 1);
}

TEST(in_memory_that_can_only_be_read_what_changes_is_refused_and_what_looks_works)
{
    struct errand *errand =
        mmap(NULL, sizeof *errand, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    brood_region *region = NULL;
    struct things *things;
    int status;
    pid_t pid;

    CHECK(errand != MAP_FAILED);
    *errand = (struct errand){.told = gate_new(), .looked = gate_new(), .set = gate_new()};
    pid = CHECK_OK(fork());
    if (pid == 0)
        go_on_errand(errand);
    CHECK_OK(brood_region_new(
        &region, &(brood_region_options){.size_max = 1 << 20, .readonly_elsewhere = true}));
    things = brood_region_alloc(region, sizeof *things);
    CHECK(things != NULL);
    init(things);
    errand->ref = brood_region_ref(region, things);
    gate_open(errand->told);
    gate_wait(errand->looked);
    do_what_the_other_sees(things);
    gate_open(errand->set);
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, 0);
    gate_free(errand->told);
    gate_free(errand->looked);
    gate_free(errand->set);
    CHECK_OK(munmap(errand, sizeof *errand));
    brood_region_free(region);
}
