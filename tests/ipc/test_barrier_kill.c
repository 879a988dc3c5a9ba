/* SPDX-License-Identifier: MIT */
/*
 * Whoever waits at a barrier, breaks it or resets it may be killed, or held up, before any
 * instruction: those who wait go through if all had arrived, and are told that it is broken if one
 * of them died; nobody waits for the dead, and no dead arrival lets others through.
 *
 * This file is compiled again for each mutant of barrier.c (BROOD_MUTANT); the tests at the end
 * look whether the sweeps fail then.
 */
#include "ipc/sync_scene.h"

#include <errno.h>

enum { PARTIES = 3 };

static void wait_there(struct sync_bed *bed, unsigned index)
{
    atomic_store(&bed->results[index], brood_barrier_wait(&bed->barrier, BROOD_FOREVER));
}

static void wait_as_victim(struct scene *scene)
{
    wait_there(scene->bed, SLEEPERS_MAX);
}

static void new_barrier(struct scene *scene)
{
    CHECK_OK(brood_barrier_init(&scene->bed->barrier, PARTIES));
}

static void one_waits(struct scene *scene)
{
    new_barrier(scene);
    scene_sleeper(scene, wait_there);
}

static void two_wait(struct scene *scene)
{
    one_waits(scene);
    scene_sleeper(scene, wait_there);
}

/* After a reset all can meet there again, whoever has died before. */
static void it_can_be_used_again(struct scene *scene)
{
    brood_barrier_reset(&scene->bed->barrier);
    scene_await_sleepers(scene);
    scene->sleepers = 0;
    for (unsigned round = 0; round < 2; round++) {
        scene_sleeper(scene, wait_there);
        scene_sleeper(scene, wait_there);
        CHECK_EQ(brood_barrier_wait(&scene->bed->barrier, TEST_PATIENCE_MS), 2);
        scene_await_sleepers(scene);
        CHECK_EQ(scene_result(scene, 2 * round) + scene_result(scene, 2 * round + 1), 1);
    }
}

/* ---- killed ---- */

/* Alone the victim is never through, so both go through or neither. */
static void both_have_the_same_fate(struct scene *scene)
{
    int first, second;

    /* If it died before it noted that it comes, they wait for another: the test gives up for it.
     * */
    if (!brood_barrier_broken(&scene->bed->barrier) &&
        brood_barrier_waiting(&scene->bed->barrier) == 2)
        CHECK(brood_barrier_wait(&scene->bed->barrier, TEST_PATIENCE_MS) != -ETIMEDOUT);
    scene_await_sleepers(scene);
    first = scene_result(scene, 0);
    second = scene_result(scene, 1);
    CHECK((first == 0 && second == 1) || (first == BROOD_EBROKEN && second == BROOD_EBROKEN));
    CHECK(first == 0 || !scene->victim->finished);
    it_can_be_used_again(scene);
}

TEST_LIMIT(the_last_to_arrive_may_die_anywhere, 300)
{
    struct scene scene = {
        .arrange = two_wait, .operate = wait_as_victim, .look_after = both_have_the_same_fate};

    scene_kill(&scene, "barrier wait as the last of three");
}

/* Arrived or not, with a dead one among them they are not all here. */
static void nobody_goes_through(struct scene *scene)
{
    bool arrived = brood_barrier_waiting(&scene->bed->barrier) == 1;
    int r;

    scene_sleeper(scene, wait_there);
    r = brood_barrier_wait(&scene->bed->barrier, arrived ? TEST_PATIENCE_MS : 0);
    if (r >= 0)
        FAIL("a dead arrival is counted");
    CHECK(!arrived || r == BROOD_EBROKEN);
    CHECK(brood_barrier_broken(&scene->bed->barrier));
    scene_await_sleepers(scene);
    CHECK_EQ(scene_result(scene, 0), BROOD_EBROKEN);
    CHECK_EQ(brood_barrier_wait(&scene->bed->barrier, 0), BROOD_EBROKEN);
    it_can_be_used_again(scene);
}

TEST_LIMIT(no_dead_arrival_is_counted, 300)
{
    struct scene scene = {
        .arrange = new_barrier, .operate = wait_as_victim, .look_after = nobody_goes_through};

    scene_kill(&scene, "barrier wait as the first of three");
}

static void two_parties(struct scene *scene)
{
    CHECK_OK(brood_barrier_init(&scene->bed->barrier, 2));
}

static void the_last_is_told(struct scene *scene)
{
    bool arrived = brood_barrier_waiting(&scene->bed->barrier) == 1;
    int r = brood_barrier_wait(&scene->bed->barrier, arrived ? TEST_PATIENCE_MS : 0);

    if (r >= 0)
        FAIL("a dead arrival is counted");
    CHECK(r == BROOD_EBROKEN || !arrived);
}

TEST_LIMIT(no_dead_arrival_lets_the_last_one_through, 300)
{
    struct scene scene = {
        .arrange = two_parties, .operate = wait_as_victim, .look_after = the_last_is_told};

    scene_kill(&scene, "barrier wait as the first of two");
}

/* The one that waited first learns of the death by itself, if the victim had arrived. */
static void the_other_is_told(struct scene *scene)
{
    if (brood_barrier_waiting(&scene->bed->barrier) < 2 &&
        !brood_barrier_broken(&scene->bed->barrier))
        brood_barrier_abort(&scene->bed->barrier);
    scene_await_sleepers(scene);
    CHECK_EQ(scene_result(scene, 0), BROOD_EBROKEN);
    it_can_be_used_again(scene);
}

TEST_LIMIT(those_who_wait_are_told_of_a_death, 300)
{
    struct scene scene = {
        .arrange = one_waits, .operate = wait_as_victim, .look_after = the_other_is_told};

    scene_kill(&scene, "barrier wait as the second of three");
}

static void wait_a_moment(struct scene *scene)
{
    CHECK(brood_barrier_wait(&scene->bed->barrier, 1) < 0);
}

static int time_is_over(struct sync_bed *bed, int64_t deadline)
{
    (void)bed;
    (void)deadline;
    return -ETIMEDOUT;
}

TEST_LIMIT(one_whose_time_is_over_may_die_anywhere, 300)
{
    struct scene scene = {.arrange = one_waits,
                          .operate = wait_a_moment,
                          .nap = time_is_over,
                          .look_after = the_other_is_told};

    scene_kill(&scene, "barrier wait that ends by time");
}

static void abort_it(struct scene *scene)
{
    brood_barrier_abort(&scene->bed->barrier);
}

/* The victim was no party. */
static void aborted_or_not(struct scene *scene)
{
    if (!brood_barrier_broken(&scene->bed->barrier)) {
        CHECK(!scene->victim->finished);
        brood_barrier_abort(&scene->bed->barrier);
    }
    scene_await_sleepers(scene);
    CHECK_EQ(scene_result(scene, 0), BROOD_EBROKEN);
    CHECK_EQ(scene_result(scene, 1), BROOD_EBROKEN);
    it_can_be_used_again(scene);
}

TEST_LIMIT(one_that_aborts_may_die_anywhere, 300)
{
    struct scene scene = {.arrange = two_wait, .operate = abort_it, .look_after = aborted_or_not};

    scene_kill(&scene, "barrier abort");
}

static void reset_it(struct scene *scene)
{
    brood_barrier_reset(&scene->bed->barrier);
}

static void reset_or_not(struct scene *scene)
{
    if (brood_barrier_waiting(&scene->bed->barrier) != 0) {
        CHECK(!scene->victim->finished);
        brood_barrier_reset(&scene->bed->barrier);
    }
    CHECK(!brood_barrier_broken(&scene->bed->barrier));
    scene_await_sleepers(scene);
    CHECK_EQ(scene_result(scene, 0), BROOD_EBROKEN);
    CHECK_EQ(scene_result(scene, 1), BROOD_EBROKEN);
    it_can_be_used_again(scene);
}

TEST_LIMIT(one_that_resets_may_die_anywhere, 300)
{
    struct scene scene = {.arrange = two_wait, .operate = reset_it, .look_after = reset_or_not};

    scene_kill(&scene, "barrier reset");
}

TEST_LIMIT(two_may_die_at_a_barrier, 300)
{
    struct scene scene = {.arrange = one_waits,
                          .operate = wait_as_victim,
                          .repair = reset_it,
                          .look_after = it_can_be_used_again};

    scene_kill_repair(&scene, "barrier wait, and reset");
}

/* ---- held up ---- */

static void another_arrives(struct scene *scene)
{
    scene_deaf_sleeper(scene, wait_there);
}

static void both_are_through(struct scene *scene)
{
    if (!scene->victim->finished)
        FAIL("the victim sleeps, and all have arrived");
    scene_await_sleepers(scene);
    CHECK_EQ(scene_result(scene, 0) + scene_result(scene, SLEEPERS_MAX), 1);
}

TEST_LIMIT(two_that_meet_at_a_barrier_go_through, 300)
{
    struct scene scene = {.arrange = two_parties,
                          .operate = wait_as_victim,
                          .meanwhile = another_arrives,
                          .look_after = both_are_through};

    scene_pause(&scene, "barrier wait, and another arrives meanwhile");
}

/* ---- sweeps that must fail ---- */

#if BROOD_MUTANT == 0

TEST(a_barrier_that_counts_the_dead_is_caught)
{
    report_must_catch("barrier_counts_the_dead", "no_dead_arrival_lets_the_last_one_through",
                      "a dead arrival is counted");
}

TEST(a_note_that_comes_too_late_is_caught)
{
    report_must_catch("barrier_notes_late", "no_dead_arrival_lets_the_last_one_through",
                      "a dead arrival is counted");
}

TEST(a_wait_for_the_dead_is_caught)
{
    report_must_catch("barrier_waits_for_the_dead", "those_who_wait_are_told_of_a_death",
                      "stranded");
}

#endif
