/* SPDX-License-Identifier: MIT */
/*
 * Semaphores and bounded semaphores: never more inside than there are units, none is lost or made
 * up, and a unit of the dead is had again. Deaths at each instruction are in test_sync_kill.c.
 */
#include "ipc/sync_bed.h"

#include <errno.h>

enum { CREW = 4, UNITS = 2, ROUNDS = 20000 };

static void come_in(struct sync_bed *bed)
{
    uint64_t inside = atomic_fetch_add(&bed->shared[0], 1) + 1;

    CHECK(inside <= UNITS);
    (void)atomic_fetch_add(&bed->shared[1], 1);
    (void)atomic_fetch_sub(&bed->shared[0], 1);
}

static void share_units(struct sync_bed *bed, unsigned index)
{
    (void)index;
    for (unsigned i = 0; i < ROUNDS; i++) {
        CHECK_EQ(brood_semaphore_acquire(&bed->semaphore, BROOD_FOREVER), 0);
        come_in(bed);
        CHECK_EQ(brood_semaphore_release(&bed->semaphore, 1), 0);
    }
}

static void no_more_than_units(struct sync_bed *bed)
{
    CHECK_OK(brood_semaphore_init(&bed->semaphore, UNITS, UNITS));
    bed_crew(bed, CREW, share_units);
    CHECK_EQ(atomic_load(&bed->shared[1]), CREW * ROUNDS);
    CHECK_EQ(brood_semaphore_value(&bed->semaphore), UNITS);
    CHECK_ERR(brood_semaphore_release(&bed->semaphore, 1), -EOVERFLOW);
}

TEST_LIMIT(a_semaphore_lets_in_as_many_as_it_counts, 60)
{
    bed_everywhere(no_more_than_units);
}

static void give_and_take(struct sync_bed *bed, unsigned index)
{
    for (unsigned i = 0; i < ROUNDS; i++)
        if (index % 2 == 0)
            CHECK_EQ(brood_semaphore_acquire(&bed->semaphore, BROOD_FOREVER), 0);
        else if (i % 4 == 0)
            CHECK_EQ(brood_semaphore_release(&bed->semaphore, 4), 0);
}

static void all_are_signalled(struct sync_bed *bed)
{
    bed_crew(bed, CREW, give_and_take);
    CHECK_EQ(brood_semaphore_value(&bed->semaphore), 0);
}

TEST_LIMIT(a_zeroed_semaphore_counts_signals_from_zero, 60)
{
    bed_everywhere(all_are_signalled);
}

TEST(wrong_numbers_are_told)
{
    brood_semaphore semaphore = {0};
    brood_bounded_semaphore bounded = {0};

    CHECK_ERR(brood_semaphore_init(NULL, 0, 0), -EINVAL);
    CHECK_ERR(brood_semaphore_init(&semaphore, 3, 2), -EINVAL);
    CHECK_ERR(brood_semaphore_init(&semaphore, 0, 1u << 31), -EINVAL);
    CHECK_ERR(brood_semaphore_acquire(NULL, 0), -EINVAL);
    CHECK_ERR(brood_semaphore_release(NULL, 1), -EINVAL);
    CHECK_ERR(brood_semaphore_value(NULL), -EINVAL);
    CHECK_EQ(brood_semaphore_release(&semaphore, 0), 0);
    CHECK_EQ(brood_semaphore_release(&semaphore, INT32_MAX), 0);
    CHECK_ERR(brood_semaphore_release(&semaphore, 1), -EOVERFLOW);
    CHECK_EQ(brood_semaphore_value(&semaphore), INT32_MAX);
    CHECK_ERR(brood_bounded_semaphore_init(NULL, 1), -EINVAL);
    CHECK_ERR(brood_bounded_semaphore_init(&bounded, 0), -EINVAL);
    CHECK_ERR(brood_bounded_semaphore_init(&bounded, BROOD_UNITS_MAX + 1), -EINVAL);
    CHECK_ERR(brood_bounded_semaphore_acquire(NULL, 0), -EINVAL);
    CHECK_ERR(brood_bounded_semaphore_acquire(&bounded, 0), -EINVAL);
    CHECK_ERR(brood_bounded_semaphore_release(NULL), -EINVAL);
    CHECK_ERR(brood_bounded_semaphore_release(&bounded), -EINVAL);
    CHECK_ERR(brood_bounded_semaphore_value(NULL), -EINVAL);
}

static void come_too_late(struct sync_bed *bed, unsigned index)
{
    int64_t start = now_ns();

    (void)index;
    CHECK_ERR(brood_semaphore_acquire(&bed->semaphore, 0), -ETIMEDOUT);
    CHECK_ERR(brood_semaphore_acquire(&bed->semaphore, 10), -ETIMEDOUT);
    CHECK_ERR(brood_bounded_semaphore_acquire(&bed->bounded, 0), -ETIMEDOUT);
    CHECK_ERR(brood_bounded_semaphore_acquire(&bed->bounded, 10), -ETIMEDOUT);
    CHECK(now_ns() - start >= 20 * 1000000);
    CHECK_ERR(brood_bounded_semaphore_release(&bed->bounded), -EPERM);
}

static void waits_end(struct sync_bed *bed)
{
    CHECK_OK(brood_bounded_semaphore_init(&bed->bounded, 1));
    CHECK_EQ(brood_bounded_semaphore_acquire(&bed->bounded, 0), 0);
    bed_crew(bed, 2, come_too_late);
    CHECK_EQ(brood_bounded_semaphore_release(&bed->bounded), 0);
}

TEST(a_wait_for_a_unit_ends_at_its_time)
{
    bed_everywhere(waits_end);
}

/* ---- bounded ---- */

static void share_bounded(struct sync_bed *bed, unsigned index)
{
    (void)index;
    for (unsigned i = 0; i < ROUNDS; i++) {
        CHECK_EQ(brood_bounded_semaphore_acquire(&bed->bounded, BROOD_FOREVER), 0);
        come_in(bed);
        CHECK_EQ(brood_bounded_semaphore_release(&bed->bounded), 0);
    }
}

static void no_more_than_bounded(struct sync_bed *bed)
{
    CHECK_OK(brood_bounded_semaphore_init(&bed->bounded, UNITS));
    bed_crew(bed, CREW, share_bounded);
    CHECK_EQ(atomic_load(&bed->shared[1]), CREW * ROUNDS);
    CHECK_EQ(brood_bounded_semaphore_value(&bed->bounded), UNITS);
}

TEST_LIMIT(a_bounded_semaphore_lets_in_as_many_as_it_has_units, 60)
{
    bed_everywhere(no_more_than_bounded);
}

TEST(one_thread_may_have_all_units)
{
    brood_bounded_semaphore bounded;

    CHECK_OK(brood_bounded_semaphore_init(&bounded, BROOD_UNITS_MAX));
    for (unsigned i = 0; i < BROOD_UNITS_MAX; i++)
        CHECK_EQ(brood_bounded_semaphore_acquire(&bounded, 0), 0);
    CHECK_ERR(brood_bounded_semaphore_acquire(&bounded, 0), -ETIMEDOUT);
    CHECK_EQ(brood_bounded_semaphore_value(&bounded), 0);
    for (unsigned i = 0; i < BROOD_UNITS_MAX; i++)
        CHECK_EQ(brood_bounded_semaphore_release(&bounded), 0);
    CHECK_ERR(brood_bounded_semaphore_release(&bounded), -EPERM);
}

static void take_all(struct sync_bed *bed, unsigned index)
{
    (void)index;
    for (unsigned i = 0; i < UNITS; i++)
        CHECK_EQ(brood_bounded_semaphore_acquire(&bed->bounded, BROOD_FOREVER), 0);
}

static void units_come_back(struct sync_bed *bed)
{
    CHECK_OK(brood_bounded_semaphore_init(&bed->bounded, UNITS));
    if (bed->kind == BED_PROCESSES)
        bed_victim(bed, 0, take_all);
    else
        bed_crew(bed, 1, take_all);
    CHECK_EQ(brood_bounded_semaphore_value(&bed->bounded), UNITS);
    CHECK_EQ(brood_bounded_semaphore_acquire(&bed->bounded, 0), BROOD_OWNER_DIED);
    CHECK_EQ(brood_bounded_semaphore_release(&bed->bounded), 0);
}

TEST(units_of_the_dead_are_had_again_and_the_next_one_is_told)
{
    bed_everywhere(units_come_back);
}

/* ---- storm ---- */

enum { STORM_CREW = 4, STORM_KILLS = 100 };

static void share_for_ever(struct sync_bed *bed, unsigned index)
{
    (void)index;
    for (;;) {
        CHECK_OK(brood_bounded_semaphore_acquire(&bed->bounded, BROOD_FOREVER));
        (void)atomic_fetch_add(&bed->shared[1], 1);
        CHECK_EQ(brood_bounded_semaphore_release(&bed->bounded), 0);
    }
}

TEST_LIMIT(a_storm_of_kills_loses_no_unit, 60)
{
    struct sync_bed *bed = bed_open(BED_PROCESSES);
    pid_t pids[STORM_CREW];

    CHECK_OK(brood_bounded_semaphore_init(&bed->bounded, UNITS));
    for (unsigned i = 0; i < STORM_CREW; i++)
        pids[i] = bed_fork(bed, i, share_for_ever);
    for (unsigned i = 0; i < STORM_KILLS; i++) {
        uint64_t goal = atomic_load(&bed->shared[1]) + test_random_below(5000);
        unsigned victim = (unsigned)test_random_below(STORM_CREW);

        while (atomic_load(&bed->shared[1]) < goal)
            brood__yield();
        bed_kill(pids[victim]);
        pids[victim] = bed_fork(bed, victim, share_for_ever);
    }
    for (unsigned i = 0; i < STORM_CREW; i++)
        bed_kill(pids[i]);
    CHECK_EQ(brood_bounded_semaphore_value(&bed->bounded), UNITS);
    test_note("%llu turns", (unsigned long long)atomic_load(&bed->shared[1]));
    bed_close(bed);
}

/* ---- damage ---- */

TEST(a_damaged_semaphore_is_an_error_or_a_semaphore)
{
    struct sync_bed *bed = bed_open(BED_PROCESSES);

    for (unsigned i = 0; i < 500; i++) {
        int r;

        bed_damage(&bed->semaphore, sizeof bed->semaphore);
        r = brood_semaphore_acquire(&bed->semaphore, 0);
        CHECK(r == 0 || r == -ETIMEDOUT);
        r = brood_semaphore_release(&bed->semaphore, 1);
        CHECK(r == 0 || r == -EOVERFLOW);
        CHECK_OK(brood_semaphore_value(&bed->semaphore));
        bed_damage(&bed->bounded, sizeof bed->bounded);
        r = brood_bounded_semaphore_acquire(&bed->bounded, 0);
        CHECK(r >= 0 || r == -ETIMEDOUT || r == -EINVAL || r == BROOD_EABI);
        r = brood_bounded_semaphore_release(&bed->bounded);
        CHECK(r == 0 || r == -EPERM || r == -EINVAL || r == BROOD_EABI);
    }
    for (unsigned units = 1; units <= BROOD_UNITS_MAX; units++) {
        CHECK_OK(brood_bounded_semaphore_init(&bed->bounded, units));
        bed_damage((char *)&bed->bounded + 32, sizeof bed->bounded - 32);
        CHECK_OK(brood_bounded_semaphore_acquire(&bed->bounded, 0));
        CHECK_EQ(brood_bounded_semaphore_release(&bed->bounded), 0);
    }
    bed_close(bed);
}
