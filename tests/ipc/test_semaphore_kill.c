/* SPDX-License-Identifier: MIT */
/*
 * Semaphores whose users may be killed, or held up, before any instruction: nobody sleeps over a
 * unit, and none of a bounded semaphore is lost with its owner.
 *
 * This file is compiled again for mutants of the files that it sweeps (BROOD_MUTANT); the tests at
 * the end look whether the sweeps fail then.
 */
#include "ipc/sync_scene.h"

#include <errno.h>

static void nothing(struct scene *scene)
{
    (void)scene;
}

/* ---- semaphore ---- */

static void take_unit(struct sync_bed *bed, unsigned index)
{
    atomic_store(&bed->results[index], brood_semaphore_acquire(&bed->semaphore, BROOD_FOREVER));
}

static void acquire_unit(struct scene *scene)
{
    CHECK_EQ(brood_semaphore_acquire(&scene->bed->semaphore, BROOD_FOREVER), 0);
}

static void release_unit(struct scene *scene)
{
    CHECK_EQ(brood_semaphore_release(&scene->bed->semaphore, 1), 0);
}

static void two_units(struct scene *scene)
{
    CHECK_OK(brood_semaphore_init(&scene->bed->semaphore, 2, 2));
}

static void one_or_two_are_left(struct scene *scene)
{
    int value = brood_semaphore_value(&scene->bed->semaphore);

    CHECK(value == 1 || value == 2);
    CHECK(value == 1 || !scene->victim->finished);
    for (; value > 0; value--)
        CHECK_EQ(brood_semaphore_acquire(&scene->bed->semaphore, 0), 0);
    CHECK_ERR(brood_semaphore_acquire(&scene->bed->semaphore, 0), -ETIMEDOUT);
}

TEST_LIMIT(one_that_takes_a_unit_may_die_anywhere, 300)
{
    struct scene scene = {
        .arrange = two_units, .operate = acquire_unit, .look_after = one_or_two_are_left};

    scene_kill(&scene, "semaphore acquire");
}

static void no_units_and_a_sleeper(struct scene *scene)
{
    CHECK_OK(brood_semaphore_init(&scene->bed->semaphore, 0, 0));
    scene_sleeper(scene, take_unit);
}

/* Nobody sleeps while there is a unit. Then the test gives the one that may be missing. */
static void units_are_not_slept_over(struct scene *scene)
{
    int64_t end = deadline_in(TEST_PATIENCE_MS);

    while (brood_semaphore_value(&scene->bed->semaphore) > 0) {
        if (now_ns() > end)
            FAIL("somebody sleeps, and there is a unit");
        brood__yield();
    }
    if (!scene->victim->finished)
        CHECK_EQ(brood_semaphore_release(&scene->bed->semaphore, 1), 0);
    scene_await_sleepers(scene);
}

TEST_LIMIT(one_that_gives_a_unit_may_die_anywhere, 300)
{
    struct scene scene = {.arrange = no_units_and_a_sleeper,
                          .operate = release_unit,
                          .look_after = units_are_not_slept_over};

    scene_kill(&scene, "semaphore release");
}

TEST_LIMIT(one_that_waits_for_a_unit_may_die_anywhere, 300)
{
    struct scene scene = {.arrange = no_units_and_a_sleeper,
                          .operate = acquire_unit,
                          .look_after = units_are_not_slept_over};

    scene_kill(&scene, "semaphore acquire, asleep");
}

/* As if the test had released a unit and woken the victim. */
static int unit_comes(struct sync_bed *bed, int64_t deadline)
{
    (void)deadline;
    (void)atomic_fetch_add((_Atomic uint32_t *)(void *)&bed->semaphore, 1);
    return 0;
}

/* The victim has the unit, or the sleeper. */
static void unit_is_not_slept_over(struct scene *scene)
{
    int64_t end = deadline_in(TEST_PATIENCE_MS);

    while (brood_semaphore_value(&scene->bed->semaphore) > 0) {
        if (now_ns() > end)
            FAIL("somebody sleeps, and there is a unit");
        brood__yield();
    }
    if (!process_has_ended(scene->pids[0], 0))
        CHECK_EQ(brood_semaphore_release(&scene->bed->semaphore, 1), 0);
    scene_await_sleepers(scene);
}

TEST_LIMIT(one_that_was_woken_for_a_unit_may_die_anywhere, 300)
{
    struct scene scene = {.arrange = no_units_and_a_sleeper,
                          .operate = acquire_unit,
                          .nap = unit_comes,
                          .look_after = unit_is_not_slept_over};

    scene_kill(&scene, "semaphore acquire, woken");
}

TEST_LIMIT(no_unit_is_slept_over, 300)
{
    struct scene scene = {.operate = acquire_unit,
                          .meanwhile = release_unit,
                          .look_after = scene_victim_has_finished};

    scene_pause(&scene, "semaphore acquire, and a release meanwhile");
}

static void one_waits_for_a_unit(struct scene *scene)
{
    scene_deaf_sleeper(scene, take_unit);
}

TEST_LIMIT(one_that_falls_asleep_gets_the_unit_given_meanwhile, 300)
{
    struct scene scene = {.operate = release_unit,
                          .meanwhile = one_waits_for_a_unit,
                          .look_after = scene_victim_has_finished};

    scene_pause(&scene, "semaphore release, and one falls asleep meanwhile");
}

/* The first sleeper is woken, but has not looked yet, when the victim gives the second unit. */
static void two_sleepers_one_slow(struct scene *scene)
{
    struct gate *gate = gate_new();

    held_back = gate;
    scene_deaf_sleeper(scene, take_unit);
    held_back = NULL;
    scene_deaf_sleeper(scene, take_unit);
    CHECK_EQ(brood_semaphore_release(&scene->bed->semaphore, 1), 0);
    held_back = gate; /* for second_is_awake(); the test itself is not deaf */
}

static void second_is_awake(struct scene *scene)
{
    if (!process_has_ended(scene->pids[1], TEST_PATIENCE_MS))
        FAIL("the second sleeper is stranded");
    gate_open(held_back);
    scene_await_sleepers(scene);
    gate_free(held_back);
    held_back = NULL;
}

TEST_LIMIT(each_release_wakes_one_though_another_unit_is_there, 300)
{
    struct scene scene = {.arrange = two_sleepers_one_slow,
                          .operate = release_unit,
                          .meanwhile = nothing,
                          .look_after = second_is_awake};

    scene_pause(&scene, "second semaphore release");
}

/* ---- bounded semaphore ---- */

enum { UNITS = 2 };

static void take_bounded(struct sync_bed *bed, unsigned index)
{
    atomic_store(&bed->results[index],
                 brood_bounded_semaphore_acquire(&bed->bounded, BROOD_FOREVER));
}

static void take_and_give_bounded(struct sync_bed *bed, unsigned index)
{
    take_bounded(bed, index);
    CHECK_EQ(brood_bounded_semaphore_release(&bed->bounded), 0);
}

static void acquire_bounded(struct scene *scene)
{
    CHECK_OK(brood_bounded_semaphore_acquire(&scene->bed->bounded, BROOD_FOREVER));
}

static void release_bounded(struct scene *scene)
{
    CHECK_EQ(brood_bounded_semaphore_release(&scene->bed->bounded), 0);
}

static void acquire_and_release_bounded(struct scene *scene)
{
    acquire_bounded(scene);
    release_bounded(scene);
}

static void bounded_units(struct scene *scene)
{
    CHECK_OK(brood_bounded_semaphore_init(&scene->bed->bounded, UNITS));
}

/* The test may have some itself. */
static void all_units_are_there(struct scene *scene)
{
    while (brood_bounded_semaphore_release(&scene->bed->bounded) == 0)
        continue;
    scene_await_sleepers(scene);
    CHECK_EQ(brood_bounded_semaphore_value(&scene->bed->bounded), UNITS);
    for (unsigned i = 0; i < UNITS; i++)
        CHECK_OK(brood_bounded_semaphore_acquire(&scene->bed->bounded, 0));
    CHECK_ERR(brood_bounded_semaphore_acquire(&scene->bed->bounded, 0), -ETIMEDOUT);
}

TEST_LIMIT(a_unit_of_the_dead_comes_back, 300)
{
    struct scene scene = {.arrange = bounded_units,
                          .operate = acquire_and_release_bounded,
                          .look_after = all_units_are_there};

    scene_kill(&scene, "bounded acquire and release");
}

static void one_bounded_and_a_sleeper(struct scene *scene)
{
    bounded_units(scene);
    acquire_bounded(scene);
    acquire_bounded(scene);
    scene_sleeper(scene, take_and_give_bounded);
    scene_sleeper(scene, take_and_give_bounded);
}

/* In the victim: one of the test's units becomes its own. */
static void inherit_bounded(struct scene *scene)
{
    _Atomic uint32_t *owner = (_Atomic uint32_t *)(void *)&scene->bed->bounded + 8;
    const struct member *member;

    CHECK_OK(brood__member(owner, &member));
    atomic_store(owner, member->tag);
}

static void sleepers_got_it(struct scene *scene)
{
    scene_await_sleepers(scene);
    all_units_are_there(scene);
}

TEST_LIMIT(one_that_gives_back_a_unit_may_die_anywhere, 300)
{
    struct scene scene = {.arrange = one_bounded_and_a_sleeper,
                          .prepare = inherit_bounded,
                          .operate = release_bounded,
                          .look_after = sleepers_got_it};

    scene_kill(&scene, "bounded release");
}

TEST_LIMIT(one_that_sleeps_for_a_bounded_unit_may_die_anywhere, 300)
{
    struct scene scene = {.arrange = one_bounded_and_a_sleeper,
                          .operate = acquire_bounded,
                          .look_after = all_units_are_there};

    scene_kill(&scene, "bounded acquire, asleep");
}

static int bounded_unit_comes(struct sync_bed *bed, int64_t deadline)
{
    _Atomic uint32_t *words = (_Atomic uint32_t *)(void *)&bed->bounded;

    (void)deadline;
    atomic_store(&words[8 + UNITS - 1], 0);
    (void)atomic_fetch_add(&words[0], 1);
    return 0;
}

TEST_LIMIT(one_that_was_woken_for_a_bounded_unit_may_die_anywhere, 300)
{
    struct scene scene = {.arrange = one_bounded_and_a_sleeper,
                          .operate = acquire_bounded,
                          .nap = bounded_unit_comes,
                          .look_after = all_units_are_there};

    scene_kill(&scene, "bounded acquire, woken");
}

static void all_bounded_are_mine(struct scene *scene)
{
    bounded_units(scene);
    acquire_bounded(scene);
    acquire_bounded(scene);
}

TEST_LIMIT(no_bounded_unit_is_slept_over, 300)
{
    struct scene scene = {.arrange = all_bounded_are_mine,
                          .operate = acquire_bounded,
                          .meanwhile = release_bounded,
                          .look_after = scene_victim_has_finished};

    scene_pause(&scene, "bounded acquire, and a release meanwhile");
}

/* The test gives back the unit that the victim looks at last; then the victim's time is over. */
static int bounded_unit_comes_late(struct sync_bed *bed, int64_t deadline)
{
    (void)bounded_unit_comes(bed, deadline);
    return -ETIMEDOUT;
}

static void acquire_bounded_in_time(struct scene *scene)
{
    CHECK_EQ(brood_bounded_semaphore_acquire(&scene->bed->bounded, 1), 0);
}

/* The test looks at that unit first: the other one becomes free before this one is taken. */
static void the_free_one_changes(struct scene *scene)
{
    release_bounded(scene);
    acquire_bounded(scene);
}

TEST_LIMIT(one_that_gives_up_has_overlooked_no_unit, 300)
{
    struct scene scene = {.arrange = all_bounded_are_mine,
                          .operate = acquire_bounded_in_time,
                          .nap = bounded_unit_comes_late,
                          .meanwhile = the_free_one_changes,
                          .look_after = scene_victim_has_finished};

    scene_pause(&scene, "bounded acquire whose time is over, and the free unit changes");
}

static void one_waits_for_a_bounded_unit(struct scene *scene)
{
    scene_deaf_sleeper(scene, take_bounded);
}

TEST_LIMIT(one_that_falls_asleep_gets_the_bounded_unit_given_meanwhile, 300)
{
    struct scene scene = {.arrange = all_bounded_are_mine,
                          .prepare = inherit_bounded,
                          .operate = release_bounded,
                          .meanwhile = one_waits_for_a_bounded_unit,
                          .look_after = scene_victim_has_finished};

    scene_pause(&scene, "bounded release, and one falls asleep meanwhile");
}

/* ---- sweeps that must fail ---- */

#if BROOD_MUTANT == 0

TEST(a_sleep_on_a_word_that_was_read_late_is_caught)
{
    report_must_catch("sync_late_word", "no_bounded_unit_is_slept_over",
                      "the victim sleeps over what it waits for");
}

TEST(a_sleeper_that_is_not_counted_is_caught)
{
    report_must_catch("sync_uncounted",
                      "one_that_falls_asleep_gets_the_bounded_unit_given_meanwhile", "stranded");
}

TEST(a_release_that_wakes_from_zero_only_is_caught)
{
    report_must_catch("sync_wakes_from_zero", "each_release_wakes_one_though_another_unit_is_there",
                      "stranded");
}

TEST(a_release_that_tells_before_it_gives_is_caught)
{
    report_must_catch("sync_tells_first",
                      "one_that_falls_asleep_gets_the_bounded_unit_given_meanwhile", "stranded");
}

TEST(units_that_stay_with_the_dead_are_caught)
{
    report_must_catch("sync_keeps_the_dead", "a_unit_of_the_dead_comes_back", "== UNITS");
}

#endif
