/* SPDX-License-Identifier: MIT */
/*
 * Conditions and events between threads and processes: no signal is lost, everybody is woken by a
 * broadcast or a set, and a death wakes those who might wait for the dead. Deaths at each
 * instruction are in test_sync_kill.c.
 */
#include "ipc/sync_bed.h"

#include <errno.h>

enum { CREW = 4, ROUNDS = 5000 };

/* ---- condition ---- */

/* Even ones put a token there, odd ones take it; there is room for one. */
static void put_and_take(struct sync_bed *bed, unsigned index)
{
    for (unsigned i = 0; i < ROUNDS; i++) {
        CHECK_EQ(brood_lock_acquire(&bed->lock, BROOD_FOREVER), 0);
        while (bed->values[0] == (index % 2 == 0 ? 1 : 0))
            CHECK_OK(brood_condition_wait(&bed->condition, &bed->lock, BROOD_FOREVER));
        bed->values[0] = index % 2 == 0;
        bed->values[1]++;
        brood_condition_broadcast(&bed->condition);
        CHECK_EQ(brood_lock_release(&bed->lock), 0);
    }
}

static void tokens_change_hands(struct sync_bed *bed)
{
    bed_crew(bed, CREW, put_and_take);
    CHECK_EQ(bed->values[0], 0);
    CHECK_EQ(bed->values[1], CREW * ROUNDS);
}

TEST_LIMIT(no_broadcast_is_lost, 60)
{
    bed_everywhere(tokens_change_hands);
}

/* Two that wait for their turn: a signal has one to wake, the right one. */
static void take_turns(struct sync_bed *bed, unsigned index)
{
    for (unsigned i = 0; i < ROUNDS; i++) {
        CHECK_EQ(brood_lock_acquire(&bed->lock, BROOD_FOREVER), 0);
        while (bed->values[0] != index)
            CHECK_OK(brood_condition_wait(&bed->condition, &bed->lock, BROOD_FOREVER));
        bed->values[0] = 1 - index;
        CHECK_EQ(brood_lock_release(&bed->lock), 0);
        brood_condition_signal(&bed->condition);
    }
}

static void turns_are_taken(struct sync_bed *bed)
{
    bed_crew(bed, 2, take_turns);
    CHECK_EQ(bed->values[0], 0);
}

TEST_LIMIT(no_signal_is_lost, 60)
{
    bed_everywhere(turns_are_taken);
}

static void wait_wrongly(struct sync_bed *bed, unsigned index)
{
    int64_t start = now_ns();

    (void)index;
    CHECK_ERR(brood_condition_wait(&bed->condition, &bed->lock, BROOD_FOREVER), -EPERM);
    CHECK_EQ(brood_lock_acquire(&bed->lock, BROOD_FOREVER), 0);
    CHECK_ERR(brood_condition_wait(&bed->condition, &bed->lock, 0), -ETIMEDOUT);
    CHECK_ERR(brood_condition_wait(&bed->condition, &bed->lock, 20), -ETIMEDOUT);
    CHECK(now_ns() - start >= 20 * 1000000);
    CHECK_EQ(brood_lock_release(&bed->lock), 0);
}

static void waits_end(struct sync_bed *bed)
{
    bed_crew(bed, 1, wait_wrongly);
}

TEST(a_condition_wait_has_the_lock_again_when_its_time_is_over)
{
    bed_everywhere(waits_end);
    CHECK_ERR(brood_condition_wait(NULL, &(brood_lock){0}, 0), -EINVAL);
    CHECK_ERR(brood_condition_wait(&(brood_condition){0}, NULL, 0), -EINVAL);
    brood_condition_signal(NULL);
    brood_condition_broadcast(NULL);
}

static void just_join(struct sync_bed *bed, unsigned index)
{
    (void)index;
    CHECK_EQ(brood_semaphore_release(&bed->semaphore, 1), 0);
}

static void wait_for_death(struct sync_bed *bed, unsigned index)
{
    int r = 0;

    CHECK_EQ(brood_lock_acquire(&bed->lock, BROOD_FOREVER), 0);
    (void)atomic_fetch_add(&bed->shared[0], 1);
    while (r == 0)
        r = brood_condition_wait(&bed->condition, &bed->lock, BROOD_FOREVER);
    atomic_store(&bed->results[index], r);
    CHECK_EQ(brood_lock_release(&bed->lock), 0);
}

TEST(those_who_wait_on_a_condition_are_told_of_a_death)
{
    struct sync_bed *bed = bed_open(BED_PROCESSES);
    pid_t pids[2];

    for (unsigned i = 0; i < 2; i++)
        pids[i] = bed_fork(bed, i, wait_for_death);
    while (atomic_load(&bed->shared[0]) < 2)
        brood__yield();
    /* Once we get the lock, they have released it. */
    CHECK_EQ(brood_lock_acquire(&bed->lock, BROOD_FOREVER), 0);
    CHECK_EQ(brood_lock_release(&bed->lock), 0);
    bed_victim(bed, 0, just_join);
    for (unsigned i = 0; i < 2; i++) {
        CHECK_EQ(waitpid(pids[i], NULL, 0), pids[i]);
        CHECK_EQ(bed->results[i], BROOD_PEER_DIED);
    }
    bed_close(bed);
}

TEST(a_condition_and_its_lock_may_lie_in_different_memories)
{
    struct sync_bed *here = bed_open(BED_THREADS);
    struct sync_bed *there = bed_open(BED_THREADS);

    CHECK_EQ(brood_lock_acquire(&there->lock, 0), 0);
    CHECK_ERR(brood_condition_wait(&here->condition, &there->lock, 5), -ETIMEDOUT);
    CHECK_EQ(brood_lock_release(&there->lock), 0);
    bed_close(here);
    bed_close(there);
}

/* ---- event ---- */

static void wait_for_start(struct sync_bed *bed, unsigned index)
{
    atomic_store(&bed->results[index], 7);
    (void)atomic_fetch_add(&bed->shared[0], 1);
    atomic_store(&bed->results[index], brood_event_wait(&bed->event, BROOD_FOREVER));
    CHECK_EQ(bed->values[0], 42);
}

static void all_start(struct sync_bed *bed)
{
    struct bed_member crew[CREW];

    bed->work = wait_for_start;
    for (unsigned i = 0; i < CREW; i++)
        bed_start(&crew[i], bed, i);
    while (atomic_load(&bed->shared[0]) < CREW)
        brood__yield();
    bed->values[0] = 42;
    brood_event_set(&bed->event);
    for (unsigned i = 0; i < CREW; i++) {
        bed_await(&crew[i]);
        CHECK_EQ(bed->results[i], 0);
    }
    CHECK_EQ(brood_event_wait(&bed->event, 0), 0);
    brood_event_set(&bed->event);
    CHECK(brood_event_is_set(&bed->event));
    brood_event_clear(&bed->event);
    brood_event_clear(&bed->event);
    CHECK(!brood_event_is_set(&bed->event));
    CHECK_ERR(brood_event_wait(&bed->event, 0), -ETIMEDOUT);
    CHECK_ERR(brood_event_wait(&bed->event, 5), -ETIMEDOUT);
}

TEST(a_set_lets_all_go)
{
    bed_everywhere(all_start);
    CHECK_ERR(brood_event_wait(NULL, 0), -EINVAL);
    CHECK(!brood_event_is_set(NULL));
    brood_event_set(NULL);
    brood_event_clear(NULL);
}

TEST(those_who_wait_for_an_event_are_told_of_a_death)
{
    struct sync_bed *bed = bed_open(BED_PROCESSES);
    pid_t pid = bed_fork(bed, 0, wait_for_start);

    bed->values[0] = 42;
    while (atomic_load(&bed->shared[0]) == 0)
        brood__yield();
    bed_await_rest(pid);
    bed_victim(bed, 0, just_join);
    CHECK_EQ(waitpid(pid, NULL, 0), pid);
    CHECK_EQ(bed->results[0], BROOD_EPEER);
    bed_close(bed);
}

/* ---- damage ---- */

TEST(a_damaged_condition_or_event_is_an_error_or_works)
{
    struct sync_bed *bed = bed_open(BED_PROCESSES);

    CHECK_EQ(brood_lock_acquire(&bed->lock, 0), 0);
    for (unsigned i = 0; i < 500; i++) {
        bed_damage(&bed->condition, sizeof bed->condition);
        bed_damage(&bed->event, sizeof bed->event);
        CHECK_ERR(brood_condition_wait(&bed->condition, &bed->lock, 0), -ETIMEDOUT);
        brood_condition_signal(&bed->condition);
        brood_condition_broadcast(&bed->condition);
        CHECK(brood_event_wait(&bed->event, 0) ==
              (brood_event_is_set(&bed->event) ? 0 : -ETIMEDOUT));
        brood_event_set(&bed->event);
        CHECK_EQ(brood_event_wait(&bed->event, 0), 0);
    }
    CHECK_EQ(brood_lock_release(&bed->lock), 0);
    bed_close(bed);
}
