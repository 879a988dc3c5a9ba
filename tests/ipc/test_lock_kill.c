/* SPDX-License-Identifier: MIT */
/*
 * Whoever takes, waits for, or releases a lock may be killed, or held up, before any instruction:
 * nobody is stranded, the next owner is told if one died inside, and nobody is told without a cause.
 *
 * The victim writes to .values[0] whether it is inside: from after it got the lock until before it
 * releases it. So an oracle knows when the notice must come.
 *
 * This file is compiled again for each mutant of lock.c (BROOD_MUTANT), in which the sweeps must
 * fail; the tests at the end look whether they do.
 */
#include "harness/gate.h"
#include "ipc/sync_scene.h"

#include "ipc/lock.h"

#include <errno.h>

static struct gate *gates[3];
enum { STARVES = 0, LEAVE = 1, STAYS = 2 };

/* ---- what participants do ---- */

static void enter(struct scene *scene)
{
    volatile uint64_t *inside = &scene->bed->values[0];

    if (brood_lock_acquire(&scene->bed->lock, BROOD_FOREVER) >= 0)
        *inside = 1;
}

static void leave(struct scene *scene)
{
    volatile uint64_t *inside = &scene->bed->values[0];

    *inside = 0;
    CHECK_EQ(brood_lock_release(&scene->bed->lock), 0);
}

static void enter_and_leave(struct scene *scene)
{
    enter(scene);
    leave(scene);
}

static void enter_for_a_moment(struct scene *scene)
{
    volatile uint64_t *inside = &scene->bed->values[0];

    if (brood_lock_acquire(&scene->bed->lock, 1) >= 0)
        *inside = 1;
}

/* Whoever is told repairs. */
static void pass_through(struct sync_bed *bed, unsigned index)
{
    int r = brood_lock_acquire(&bed->lock, BROOD_FOREVER);

    if (r == BROOD_OWNER_DIED)
        CHECK_EQ(brood_lock_consistent(&bed->lock), 0);
    CHECK_EQ(brood_lock_release(&bed->lock), 0);
    atomic_store(&bed->results[index], r);
}

/* As pass_through(), without repair. */
static void come_and_go(struct sync_bed *bed, unsigned index)
{
    int r = brood_lock_acquire(&bed->lock, BROOD_FOREVER);

    CHECK_EQ(brood_lock_release(&bed->lock), 0);
    atomic_store(&bed->results[index], r);
}

/* ---- what must hold ---- */

/* The test gets the lock; it or a sleeper before it was told, if somebody had died inside. */
static void lock_is_whole(struct scene *scene)
{
    bool inside = scene->bed->values[0] == 1;
    bool told = false;
    int r;

    scene_await_sleepers(scene);
    r = brood_lock_acquire(&scene->bed->lock, TEST_PATIENCE_MS);
    if (r == -ETIMEDOUT)
        FAIL("the lock is not to be had");
    CHECK_OK(r);
    told = r == BROOD_OWNER_DIED;
    for (unsigned i = 0; i < scene->sleepers; i++)
        told = told || scene_result(scene, i) == BROOD_OWNER_DIED;
    if (inside && !told)
        FAIL("the owner died inside, and nobody is told");
    CHECK_EQ(brood_lock_consistent(&scene->bed->lock), 0);
    CHECK_EQ(brood_lock_release(&scene->bed->lock), 0);
    CHECK_EQ(brood_lock_acquire(&scene->bed->lock, 0), 0);
    CHECK_EQ(brood_lock_release(&scene->bed->lock), 0);
}

/* The test has the lock itself. */
static void release_and_look(struct scene *scene)
{
    CHECK_EQ(brood_lock_release(&scene->bed->lock), 0);
    lock_is_whole(scene);
}

/* ---- killed ---- */

TEST_LIMIT(a_taker_may_die_anywhere, 300)
{
    struct scene scene = {.operate = enter, .look_after = lock_is_whole};

    scene_kill(&scene, "acquire");
}

TEST_LIMIT(a_taker_may_die_before_it_has_joined, 300)
{
    struct scene scene = {.operate = enter_and_leave, .look_after = lock_is_whole};
    struct step_plan plan = scene_plan(&scene, "join, acquire and release");

    plan.prepare = NULL;
    step_kill(&plan);
}

static void two_sleepers(struct scene *scene)
{
    CHECK_EQ(brood_lock_acquire(&scene->bed->lock, 0), 0);
    scene_sleeper(scene, come_and_go);
    scene_sleeper(scene, come_and_go);
    /* The victim is to have it, and they are to sleep: nobody is woken. */
    atomic_store(&lock_words(&scene->bed->lock)->word, LOCK_WAITED);
    atomic_store(&lock_words(&scene->bed->lock)->starving, 0);
}

TEST_LIMIT(a_releaser_may_die_anywhere, 300)
{
    struct scene scene = {
        .arrange = two_sleepers, .prepare = enter, .operate = leave, .look_after = lock_is_whole};

    scene_kill(&scene, "release with two sleepers");
}

static void held_with_sleeper(struct scene *scene)
{
    CHECK_EQ(brood_lock_acquire(&scene->bed->lock, 0), 0);
    scene_sleeper(scene, come_and_go);
}

TEST_LIMIT(a_waiter_may_die_anywhere, 300)
{
    struct scene scene = {
        .arrange = held_with_sleeper, .operate = enter, .look_after = release_and_look};

    scene_kill(&scene, "acquire of a lock that is held");
}

/* As if the test had released it and woken the victim. */
static int lock_comes_free(struct sync_bed *bed, int64_t deadline)
{
    (void)deadline;
    atomic_store(&lock_words(&bed->lock)->word, 0);
    return 0;
}

TEST_LIMIT(a_woken_waiter_may_die_anywhere, 300)
{
    struct scene scene = {.arrange = held_with_sleeper,
                          .operate = enter,
                          .nap = lock_comes_free,
                          .look_after = lock_is_whole};

    /* Killed before it slept, it leaves the lock with the test. */
    scene.look_after = release_and_look;
    scene.look_after = lock_is_whole;
    scene.repair = NULL;
    scene_kill(&scene, "acquire, woken");
}
