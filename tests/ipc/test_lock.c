/* SPDX-License-Identifier: MIT */
/*
 * Locks, between threads and processes, in private and shared memory: one at a time, everybody in
 * turn, and whoever follows a dead owner is told. A lock that forgets one of these corrupts what it
 * guards, or stops a program for ever.
 *
 * Deaths at each instruction are in test_lock_kill.c.
 */
#include "harness/gate.h"
#include "ipc/sync_bed.h"

#include <errno.h>

enum { CREW = 4, ROUNDS = 20000 };

static void count_up(struct sync_bed *bed, unsigned index)
{
    (void)index;
    for (unsigned i = 0; i < ROUNDS; i++) {
        CHECK_EQ(brood_lock_acquire(&bed->lock, BROOD_FOREVER), 0);
        bed->values[0]++;
        CHECK_EQ(brood_lock_release(&bed->lock), 0);
    }
}

static void one_at_a_time(struct sync_bed *bed)
{
    bed_crew(bed, CREW, count_up);
    CHECK_EQ(bed->values[0], CREW * ROUNDS);
    CHECK_EQ(brood_lock_owner(&bed->lock, NULL), 0);
}

TEST_LIMIT(a_lock_lets_in_one_at_a_time, 60)
{
    bed_everywhere(one_at_a_time);
}

static void try_what_is_not_mine(struct sync_bed *bed, unsigned index)
{
    int64_t start = now_ns();

    (void)index;
    CHECK_ERR(brood_lock_acquire(&bed->lock, 0), -ETIMEDOUT);
    CHECK_ERR(brood_lock_acquire(&bed->lock, 20), -ETIMEDOUT);
    CHECK(now_ns() - start >= 20 * 1000000);
    CHECK_ERR(brood_lock_release(&bed->lock), -EPERM);
    CHECK_ERR(brood_lock_consistent(&bed->lock), -EPERM);
}

static void only_the_owner_may(struct sync_bed *bed)
{
    CHECK_ERR(brood_lock_release(&bed->lock), -EPERM);
    CHECK_ERR(brood_lock_consistent(&bed->lock), -EPERM);
    CHECK_EQ(brood_lock_acquire(&bed->lock, 0), 0);
    CHECK_ERR(brood_lock_acquire(&bed->lock, BROOD_FOREVER), -EDEADLK);
    CHECK_EQ(brood_lock_consistent(&bed->lock), 0);
    bed_crew(bed, 2, try_what_is_not_mine);
    CHECK_EQ(brood_lock_release(&bed->lock), 0);
    CHECK_EQ(brood_lock_acquire(&bed->lock, INT64_MAX), 0);
    CHECK_EQ(brood_lock_release(&bed->lock), 0);
}

TEST(a_lock_is_released_by_its_owner_only_and_a_wait_ends_at_its_time)
{
    bed_everywhere(only_the_owner_may);
}

TEST(wrong_arguments_are_told)
{
    CHECK_ERR(brood_lock_acquire(NULL, 0), -EINVAL);
    CHECK_ERR(brood_lock_release(NULL), -EINVAL);
    CHECK_ERR(brood_lock_consistent(NULL), -EINVAL);
    CHECK_ERR(brood_lock_owner(NULL, NULL), -EINVAL);
    CHECK_ERR(brood_recursive_lock_acquire(NULL, 0), -EINVAL);
    CHECK_ERR(brood_recursive_lock_release(NULL), -EINVAL);
    CHECK_ERR(brood_recursive_lock_consistent(NULL), -EINVAL);
    CHECK_ERR(brood_recursive_lock_owner(NULL, NULL), -EINVAL);
}

/* ---- deaths ---- */

static void take(struct sync_bed *bed, unsigned index)
{
    bed->results[index] = brood_lock_acquire(&bed->lock, BROOD_FOREVER);
}

static void take_and_give(struct sync_bed *bed, unsigned index)
{
    take(bed, index);
    CHECK_EQ(brood_lock_release(&bed->lock), 0);
}

/* A thread that ends, or a process that is killed, with the lock. */
static void die_with_it(struct sync_bed *bed)
{
    if (bed->kind == BED_PROCESSES)
        bed_victim(bed, 0, take);
    else
        bed_crew(bed, 1, take);
}

static void all_are_told(struct sync_bed *bed)
{
    brood_owner owner = {0};

    /* The test takes part before, so that it does not get the slot of the dead. */
    CHECK_EQ(brood_lock_owner(&bed->lock, NULL), 0);
    die_with_it(bed);
    CHECK_EQ(brood_lock_owner(&bed->lock, &owner), 1);
    CHECK(owner.dead && owner.pid != 0);
    CHECK_EQ(owner.tid != 0, bed->kind == BED_PROCESSES); /* a thread leaves when it ends */
    for (unsigned i = 0; i < 3; i++) {
        bed_crew(bed, 1, take_and_give);
        CHECK_EQ(bed->results[0], BROOD_OWNER_DIED);
    }
    CHECK_EQ(brood_lock_acquire(&bed->lock, 0), BROOD_OWNER_DIED);
    CHECK_EQ(brood_lock_consistent(&bed->lock), 0);
    CHECK_EQ(brood_lock_release(&bed->lock), 0);
    bed_crew(bed, 2, take_and_give);
    CHECK_EQ(bed->results[0], 0);
    CHECK_EQ(bed->results[1], 0);
}

TEST(every_owner_is_told_of_a_death_until_one_has_repaired)
{
    bed_everywhere(all_are_told);
}

static void sleepers_are_served(struct sync_bed *bed)
{
    struct bed_member sleepers[3];
    pid_t victim = CHECK_OK(fork());

    bed->work = take_and_give;
    if (victim == 0) {
        take(bed, 15);
        (void)atomic_fetch_add(&bed->shared[0], 1);
        for (;;)
            (void)pause();
    }
    while (atomic_load(&bed->shared[0]) == 0)
        brood__yield();
    for (unsigned i = 0; i < 3; i++) {
        bed_start(&sleepers[i], bed, i);
        if (bed->kind == BED_PROCESSES)
            bed_await_rest(sleepers[i].pid);
    }
    bed_kill(victim);
    for (unsigned i = 0; i < 3; i++) {
        bed_await(&sleepers[i]);
        CHECK_EQ(bed->results[i], BROOD_OWNER_DIED);
    }
}

TEST(those_who_sleep_get_the_lock_of_the_dead)
{
    for (enum bed_kind kind = BED_THREADS; kind < BED_KINDS; kind++) {
        struct sync_bed *bed = bed_open(kind);

        sleepers_are_served(bed);
        bed_close(bed);
    }
}

static void *take_in_thread(void *argument)
{
    struct sync_bed *bed = argument;

    CHECK_EQ(brood_lock_acquire(&bed->lock, BROOD_FOREVER), 0);
    (void)atomic_fetch_add(&bed->shared[0], 1);
    while (atomic_load(&bed->shared[1]) == 0)
        brood__yield();
    CHECK_EQ(brood_lock_release(&bed->lock), 0);
    return NULL;
}

static void inherit(struct sync_bed *bed, brood_lock *mine)
{
    CHECK_EQ(brood_lock_acquire(&bed->lock, BROOD_FOREVER), BROOD_OWNER_DIED);
    CHECK_EQ(brood_lock_release(&bed->lock), 0);
    CHECK_ERR(brood_lock_acquire(mine, 0), -EDEADLK);
    CHECK_EQ(brood_lock_release(mine), 0);
    CHECK_EQ(brood_lock_acquire(mine, 0), 0);
    _exit(0);
}

TEST(a_forked_child_finds_the_private_locks_of_other_threads_ownerless)
{
    struct sync_bed *bed = calloc(1, sizeof *bed);
    brood_lock mine = {0};
    pthread_t thread;
    pid_t pid;
    int status;

    CHECK_EQ(brood_lock_acquire(&mine, 0), 0);
    CHECK_EQ(pthread_create(&thread, NULL, take_in_thread, bed), 0);
    while (atomic_load(&bed->shared[0]) == 0)
        brood__yield();
    pid = CHECK_OK(fork());
    if (pid == 0)
        inherit(bed, &mine);
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, 0);
    CHECK_ERR(brood_lock_acquire(&bed->lock, 0), -ETIMEDOUT);
    atomic_store(&bed->shared[1], 1);
    CHECK_EQ(pthread_join(thread, NULL), 0);
    CHECK_EQ(brood_lock_release(&mine), 0);
    free(bed);
}

/* ---- who has it ---- */

static void is_seen(struct sync_bed *bed, unsigned index)
{
    brood_owner owner = {0};

    (void)index;
    CHECK_EQ(brood_lock_owner(&bed->lock, &owner), 1);
    CHECK_EQ(owner.pid, (int)bed->values[0]);
    CHECK_EQ(owner.tid, (int)bed->values[1]);
    CHECK(!owner.dead);
}

static void others_see_me(struct sync_bed *bed)
{
    CHECK_EQ(brood_lock_owner(&bed->lock, NULL), 0);
    CHECK_EQ(brood_lock_acquire(&bed->lock, 0), 0);
    bed->values[0] = (uint64_t)getpid();
    bed->values[1] = (uint64_t)gettid();
    bed_crew(bed, 1, is_seen);
    CHECK_EQ(brood_lock_release(&bed->lock), 0);
}

TEST(others_can_ask_who_has_it)
{
    bed_everywhere(others_see_me);
}

/* ---- fairness ---- */

enum { TURNS = 100, HOGGED_MAX = 50000000 };

/* 0 takes the lock whenever it can and never pauses; the others want it from time to time. */
static void hog_or_want(struct sync_bed *bed, unsigned index)
{
    uint64_t worst = 0;

    for (unsigned i = 0; index == 0 ? atomic_load(&bed->shared[0]) < CREW - 1 : i < TURNS; i++) {
        uint64_t before = atomic_load(&bed->shared[1]);

        CHECK_EQ(brood_lock_acquire(&bed->lock, BROOD_FOREVER), 0);
        if (index == 0)
            (void)atomic_fetch_add(&bed->shared[1], 1);
        else if (atomic_load(&bed->shared[1]) - before > worst)
            worst = atomic_load(&bed->shared[1]) - before;
        CHECK_EQ(brood_lock_release(&bed->lock), 0);
    }
    if (index == 0)
        return;
    (void)atomic_fetch_add(&bed->shared[0], 1);
    if (worst > atomic_load(&bed->shared[2]))
        atomic_store(&bed->shared[2], worst);
}

static void nobody_starves(struct sync_bed *bed)
{
    bed_crew(bed, CREW, hog_or_want);
    test_note("the longest wait was %llu turns of a hog that had %llu",
              (unsigned long long)atomic_load(&bed->shared[2]),
              (unsigned long long)atomic_load(&bed->shared[1]));
    CHECK(atomic_load(&bed->shared[2]) < HOGGED_MAX);
}

TEST_LIMIT(a_hog_does_not_starve_the_others, 60)
{
    bed_everywhere(nobody_starves);
}

static void hammer(struct sync_bed *bed, unsigned index)
{
    while (atomic_load(&bed->shared[index]) < ROUNDS * 10 || atomic_load(&bed->shared[8]) < CREW) {
        CHECK_EQ(brood_lock_acquire(&bed->lock, BROOD_FOREVER), 0);
        if (atomic_fetch_add(&bed->shared[index], 1) + 1 == ROUNDS * 10)
            (void)atomic_fetch_add(&bed->shared[8], 1);
        CHECK_EQ(brood_lock_release(&bed->lock), 0);
    }
}

/* The fastest goes on until the slowest has its number. */
static void all_get_a_share(struct sync_bed *bed)
{
    uint64_t most = 0, least = UINT64_MAX;

    bed_crew(bed, CREW, hammer);
    for (unsigned i = 0; i < CREW; i++) {
        uint64_t turns = atomic_load(&bed->shared[i]);

        most = turns > most ? turns : most;
        least = turns < least ? turns : least;
    }
    test_note("shares between %llu and %llu", (unsigned long long)least, (unsigned long long)most);
    CHECK(most / least < 1000);
}

TEST_LIMIT(all_who_hammer_a_lock_get_a_share, 60)
{
    bed_everywhere(all_get_a_share);
}

/* A waiter that starves is stopped; the release that hands it the lock does not know that. */
TEST(a_stopped_waiter_does_not_keep_what_it_was_granted)
{
    struct sync_bed *bed = bed_open(BED_PROCESSES);
    pid_t waiter;

    CHECK_EQ(brood_lock_acquire(&bed->lock, 0), 0);
    waiter = bed_fork(bed, 0, take_and_give);
    while (((const _Atomic uint32_t *)&bed->lock)[1] == 0) /* .starving */
        brood__yield();
    CHECK_OK(kill(waiter, SIGSTOP));
    CHECK_EQ(waitpid(waiter, NULL, WUNTRACED), waiter);
    CHECK_EQ(brood_lock_release(&bed->lock), 0);
    CHECK_EQ(brood_lock_acquire(&bed->lock, TEST_PATIENCE_MS), 0);
    CHECK_EQ(brood_lock_release(&bed->lock), 0);
    CHECK_OK(kill(waiter, SIGCONT));
    CHECK_EQ(waitpid(waiter, NULL, 0), waiter);
    CHECK_EQ(bed->results[0], 0);
    bed_close(bed);
}

/* The time of the one that comes by is over long before the grant is old. */
TEST(one_whose_time_is_over_leaves_a_fresh_grant_alone)
{
    struct sync_bed *bed = bed_open(BED_PROCESSES);
    pid_t waiter;

    CHECK_EQ(brood_lock_acquire(&bed->lock, 0), 0);
    waiter = bed_fork(bed, 0, take_and_give);
    while (((const _Atomic uint32_t *)&bed->lock)[1] == 0) /* .starving */
        brood__yield();
    CHECK_OK(kill(waiter, SIGSTOP));
    CHECK_EQ(waitpid(waiter, NULL, WUNTRACED), waiter);
    CHECK_EQ(brood_lock_release(&bed->lock), 0);
    CHECK_ERR(brood_lock_acquire(&bed->lock, 5), -ETIMEDOUT);
    CHECK(((const _Atomic uint32_t *)&bed->lock)[1] != 0);
    CHECK_OK(kill(waiter, SIGCONT));
    CHECK_EQ(waitpid(waiter, NULL, 0), waiter);
    CHECK_EQ(bed->results[0], 0);
    bed_close(bed);
}

/* ---- storms ---- */

enum { STORM_CREW = 4, STORM_KILLS = 100 };

/* Two counters that are equal outside, and are made equal by whoever follows a death. */
static void storm(struct sync_bed *bed, unsigned index)
{
    (void)index;
    for (;;) {
        int r = brood_lock_acquire(&bed->lock, BROOD_FOREVER);

        CHECK_OK(r);
        if (r == BROOD_OWNER_DIED) {
            bed->values[1] = bed->values[0];
            (void)atomic_fetch_add(&bed->shared[0], 1);
            CHECK_EQ(brood_lock_consistent(&bed->lock), 0);
        }
        CHECK_EQ(bed->values[0], bed->values[1]);
        bed->values[0]++;
        bed->values[1]++;
        CHECK_EQ(brood_lock_release(&bed->lock), 0);
    }
}

TEST_LIMIT(a_storm_of_kills_and_stops_leaves_the_lock_whole, 60)
{
    struct sync_bed *bed = bed_open(BED_PROCESSES);
    pid_t pids[STORM_CREW];
    int r;

    for (unsigned i = 0; i < STORM_CREW; i++)
        pids[i] = bed_fork(bed, i, storm);
    for (unsigned i = 0; i < STORM_KILLS; i++) {
        uint64_t goal = *(volatile uint64_t *)&bed->values[0] + test_random_below(20000);
        unsigned victim = (unsigned)test_random_below(STORM_CREW);

        while (*(volatile uint64_t *)&bed->values[0] < goal)
            brood__yield();
        CHECK_OK(kill(pids[(victim + 1) % STORM_CREW], SIGSTOP));
        bed_kill(pids[victim]);
        pids[victim] = bed_fork(bed, victim, storm);
        CHECK_OK(kill(pids[(victim + 1) % STORM_CREW], SIGCONT));
    }
    for (unsigned i = 0; i < STORM_CREW; i++)
        bed_kill(pids[i]);
    r = CHECK_OK(brood_lock_acquire(&bed->lock, TEST_PATIENCE_MS));
    CHECK(r == BROOD_OWNER_DIED || bed->values[0] == bed->values[1]);
    test_note("%llu turns, %llu owners died inside", (unsigned long long)bed->values[0],
              (unsigned long long)atomic_load(&bed->shared[0]));
    CHECK_EQ(brood_lock_release(&bed->lock), 0);
    bed_close(bed);
}

/* ---- damage ---- */

TEST(a_damaged_lock_is_an_error_or_a_lock)
{
    struct sync_bed *bed = bed_open(BED_PROCESSES);

    for (unsigned i = 0; i < 2000; i++) {
        brood_owner owner;
        int r;

        bed_damage(&bed->lock, sizeof bed->lock);
        bed_damage(&bed->recursive, sizeof bed->recursive);
        CHECK_OK(brood_lock_owner(&bed->lock, &owner));
        r = brood_lock_acquire(&bed->lock, 1);
        CHECK(r >= 0 || r == -ETIMEDOUT || r == -EDEADLK);
        CHECK_EQ(brood_lock_release(&bed->lock), r == -ETIMEDOUT ? -EPERM : 0);
        r = brood_recursive_lock_acquire(&bed->recursive, 1);
        CHECK(r >= 0 || r == -ETIMEDOUT || r == -EOVERFLOW);
        CHECK_EQ(brood_recursive_lock_release(&bed->recursive), r == -ETIMEDOUT ? -EPERM : 0);
    }
    bed_close(bed);
}

/* ---- the recursive one ---- */

static void count_up_deeply(struct sync_bed *bed, unsigned index)
{
    (void)index;
    for (unsigned i = 0; i < ROUNDS / 4; i++) {
        for (unsigned depth = 0; depth < 3; depth++)
            CHECK_EQ(brood_recursive_lock_acquire(&bed->recursive, BROOD_FOREVER), 0);
        bed->values[0]++;
        for (unsigned depth = 0; depth < 3; depth++)
            CHECK_EQ(brood_recursive_lock_release(&bed->recursive), 0);
    }
}

static void deep_one_at_a_time(struct sync_bed *bed)
{
    bed_crew(bed, CREW, count_up_deeply);
    CHECK_EQ(bed->values[0], CREW * (ROUNDS / 4));
    CHECK_EQ(brood_recursive_lock_owner(&bed->recursive, NULL), 0);
    CHECK_ERR(brood_recursive_lock_release(&bed->recursive), -EPERM);
}

TEST_LIMIT(a_recursive_lock_is_free_after_as_many_releases, 60)
{
    bed_everywhere(deep_one_at_a_time);
}

static void take_twice(struct sync_bed *bed, unsigned index)
{
    bed->results[index] = brood_recursive_lock_acquire(&bed->recursive, BROOD_FOREVER);
    CHECK_OK(brood_recursive_lock_acquire(&bed->recursive, BROOD_FOREVER));
}

TEST(who_follows_a_dead_owner_of_a_recursive_lock_has_it_once)
{
    struct sync_bed *bed = bed_open(BED_PROCESSES);

    bed_victim(bed, 0, take_twice);
    CHECK_EQ(brood_recursive_lock_acquire(&bed->recursive, 0), BROOD_OWNER_DIED);
    CHECK_EQ(brood_recursive_lock_acquire(&bed->recursive, 0), BROOD_OWNER_DIED);
    CHECK_EQ(brood_recursive_lock_consistent(&bed->recursive), 0);
    CHECK_EQ(brood_recursive_lock_acquire(&bed->recursive, 0), 0);
    for (unsigned i = 0; i < 3; i++)
        CHECK_EQ(brood_recursive_lock_release(&bed->recursive), 0);
    CHECK_ERR(brood_recursive_lock_release(&bed->recursive), -EPERM);
    bed_victim(bed, 0, take_twice);
    CHECK_EQ(bed->results[0], 0);
    bed_close(bed);
}
