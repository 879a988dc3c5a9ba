/* SPDX-License-Identifier: MIT */
/*
 * Whoever takes, waits for, or releases a lock may be killed, or held up, before any instruction:
 * nobody is stranded, the next owner is told if one died inside, and nobody is told without a
 * cause.
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

/* The test has the lock, unless the victim was woken as if it had released it. */
static void release_and_look(struct scene *scene)
{
    CHECK(brood_lock_release(&scene->bed->lock) != -EINVAL);
    lock_is_whole(scene);
}

/* ---- killed ---- */

TEST_LIMIT(a_taker_may_die_anywhere, 300)
{
    struct scene scene = {.operate = enter, .look_after = lock_is_whole};

    scene_kill(&scene, "acquire");
}

/* It has been there before: what is done once in a process is done. */
static void join_and_leave(void *memory, void *context)
{
    const struct member *member;

    (void)context;
    CHECK_OK(brood__member(memory, &member));
    brood__member_leave_all();
}

TEST_LIMIT(a_taker_may_die_while_it_joins, 300)
{
    struct scene scene = {.operate = enter_and_leave, .look_after = lock_is_whole};
    struct step_plan plan = scene_plan(&scene, "join, acquire and release");

    plan.prepare = join_and_leave;
    step_kill(&plan);
}

static void one_sleeper(struct scene *scene)
{
    CHECK_EQ(brood_lock_acquire(&scene->bed->lock, 0), 0);
    scene_sleeper(scene, come_and_go);
}

static void two_sleepers(struct scene *scene)
{
    one_sleeper(scene);
    scene_sleeper(scene, come_and_go);
}

/* In the victim: the test's lock becomes its own, and the sleepers go on sleeping. */
static void inherit(struct scene *scene)
{
    struct lock_words *words = lock_words(&scene->bed->lock);
    const struct member *member;

    CHECK_OK(brood__member(words, &member));
    atomic_store(&words->word, member->tag | (atomic_load(&words->word) & LOCK_WAITED));
    scene->bed->values[0] = 1;
}

static void inherit_calmly(struct scene *scene)
{
    inherit(scene);
    atomic_store(&lock_words(&scene->bed->lock)->starving, 0);
}

TEST_LIMIT(a_releaser_may_die_anywhere, 300)
{
    struct scene scene = {.arrange = two_sleepers,
                          .prepare = inherit_calmly,
                          .operate = leave,
                          .look_after = lock_is_whole};

    scene_kill(&scene, "release with two sleepers");
}

TEST_LIMIT(a_releaser_may_die_while_it_grants, 300)
{
    struct scene scene = {
        .arrange = two_sleepers, .prepare = inherit, .operate = leave, .look_after = lock_is_whole};

    scene_kill(&scene, "release with one that starves");
}

TEST_LIMIT(a_waiter_may_die_anywhere, 300)
{
    struct scene scene = {.arrange = one_sleeper, .operate = enter, .look_after = release_and_look};

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
    struct scene scene = {.arrange = one_sleeper,
                          .operate = enter_and_leave,
                          .nap = lock_comes_free,
                          .look_after = release_and_look};

    scene_kill(&scene, "acquire, woken, and release");
}

/* As if the test had granted it to the victim. */
static int lock_is_granted(struct sync_bed *bed, int64_t deadline)
{
    const struct member *member;

    (void)deadline;
    CHECK_OK(brood__member(&bed->lock, &member));
    atomic_store(&lock_words(&bed->lock)->starving, member->tag);
    atomic_store(&lock_words(&bed->lock)->word, member->tag | LOCK_GRANTED | LOCK_WAITED);
    return 0;
}

TEST_LIMIT(one_that_was_granted_the_lock_may_die_anywhere, 300)
{
    struct scene scene = {.arrange = one_sleeper,
                          .operate = enter_and_leave,
                          .nap = lock_is_granted,
                          .look_after = release_and_look};

    scene_kill(&scene, "acquire, granted, and release");
}

/* The test releases it, and it is taken again before the victim, who was woken, could look. Then
 * the victim's time is over. */
static int lock_slips_away(struct sync_bed *bed, int64_t deadline)
{
    struct lock_words *words = lock_words(&bed->lock);

    (void)atomic_fetch_and(&words->word, ~LOCK_WAITED);
    atomic_store(&words->starving, 0); /* the sleeper came just now */
    while (now_ns() < deadline)
        continue;
    return -ETIMEDOUT;
}

TEST_LIMIT(one_that_gives_up_may_die_anywhere, 300)
{
    struct scene scene = {.arrange = one_sleeper,
                          .operate = enter_for_a_moment,
                          .nap = lock_slips_away,
                          .look_after = release_and_look};

    scene_kill(&scene, "acquire, woken too late");
}

static void die_inside(struct sync_bed *bed, unsigned index)
{
    (void)index;
    CHECK_OK(brood_lock_acquire(&bed->lock, BROOD_FOREVER));
    bed->values[0] = 1;
}

static void owned_by_the_dead(struct scene *scene)
{
    bed_victim(scene->bed, 0, die_inside);
}

/* Does not write that nobody is inside: only a repair makes it whole again. */
static void take_over(struct scene *scene)
{
    volatile uint64_t *inside = &scene->bed->values[0];

    CHECK_EQ(brood_lock_acquire(&scene->bed->lock, BROOD_FOREVER), BROOD_OWNER_DIED);
    *inside = 0;
    CHECK_EQ(brood_lock_consistent(&scene->bed->lock), 0);
    *inside = 1;
    leave(scene);
}

TEST_LIMIT(one_that_takes_over_from_the_dead_may_die_anywhere, 300)
{
    struct scene scene = {
        .arrange = owned_by_the_dead, .operate = take_over, .look_after = lock_is_whole};

    scene_kill(&scene, "acquire after a death, repair and release");
}

TEST_LIMIT(two_may_die_one_after_the_other, 300)
{
    struct scene scene = {.arrange = one_sleeper,
                          .operate = enter_and_leave,
                          .repair = enter_and_leave,
                          .nap = lock_comes_free,
                          .look_after = release_and_look};

    scene_kill_repair(&scene, "acquire and release");
}

/* ---- held up ---- */

/* Late enough for the victim to starve: it does not look again after a millisecond of sleep. */
static void release(struct scene *scene)
{
    int64_t end = now_ns() + 2000000;

    while (now_ns() < end)
        continue;
    CHECK_EQ(brood_lock_release(&scene->bed->lock), 0);
}

static void victim_has_finished(struct scene *scene)
{
    if (!scene->victim->finished)
        FAIL("the victim sleeps, and the lock is free");
    lock_is_whole(scene);
}

static void held(struct scene *scene)
{
    CHECK_EQ(brood_lock_acquire(&scene->bed->lock, 0), 0);
}

TEST_LIMIT(no_release_is_slept_over, 300)
{
    struct scene scene = {.arrange = held,
                          .operate = enter_and_leave,
                          .meanwhile = release,
                          .look_after = victim_has_finished};

    scene_pause(&scene, "acquire, and a release meanwhile");
}

static void one_falls_asleep(struct scene *scene)
{
    scene_deaf_sleeper(scene, pass_through);
}

TEST_LIMIT(a_release_wakes_one_that_falls_asleep_meanwhile, 300)
{
    struct scene scene = {.prepare = enter,
                          .operate = leave,
                          .meanwhile = one_falls_asleep,
                          .look_after = lock_is_whole};

    scene_pause(&scene, "release, and one falls asleep meanwhile");
}

/* The second one is woken by the first, who was woken by the victim. */
static void two_deaf_sleepers(struct scene *scene)
{
    CHECK_EQ(brood_lock_acquire(&scene->bed->lock, 0), 0);
    scene_deaf_sleeper(scene, come_and_go);
    scene_deaf_sleeper(scene, come_and_go);
}

static void nothing(struct scene *scene)
{
    (void)scene;
}

TEST_LIMIT(each_that_was_woken_wakes_the_next, 300)
{
    struct scene scene = {.arrange = two_deaf_sleepers,
                          .prepare = inherit_calmly,
                          .operate = leave,
                          .meanwhile = nothing,
                          .look_after = lock_is_whole};

    scene_pause(&scene, "release with two sleepers");
}

static void one_deaf_sleeper(struct scene *scene)
{
    CHECK_EQ(brood_lock_acquire(&scene->bed->lock, 0), 0);
    scene_deaf_sleeper(scene, come_and_go);
}

TEST_LIMIT(one_that_gives_up_passes_its_wake_up_on, 300)
{
    struct scene scene = {.arrange = one_deaf_sleeper,
                          .operate = enter_for_a_moment,
                          .nap = lock_slips_away,
                          .meanwhile = nothing,
                          .look_after = release_and_look};

    scene_pause(&scene, "acquire, woken too late");
}

/* ---- a grant that comes too late ---- */

/* The first sleep ends at once, in time to starve. In the second one its time is over, but nobody
 * tells it before the gate is open. */
static int oversleep(struct sync_bed *bed, int64_t deadline)
{
    if (atomic_load(&lock_words(&bed->lock)->starving) == 0) {
        nap_once = oversleep;
    } else {
        gate_open(gates[STARVES]);
        gate_wait(gates[LEAVE]);
    }
    while (now_ns() < deadline)
        continue;
    return -ETIMEDOUT;
}

/* Stays on the roster, awake for everything but the lock. */
static void starve_and_leave(struct sync_bed *bed, unsigned index)
{
    int r;

    nap_once = oversleep;
    r = brood_lock_acquire(&bed->lock, (int64_t)(40 * test_time_factor()));
    if (r >= 0)
        CHECK_EQ(brood_lock_release(&bed->lock), 0);
    atomic_store(&bed->results[index], r);
    gate_open(gates[STAYS]);
    for (;;)
        (void)pause();
}

static void one_starves(struct scene *scene)
{
    for (unsigned i = 0; i < 3; i++)
        gates[i] = gate_new();
    CHECK_EQ(brood_lock_acquire(&scene->bed->lock, 0), 0);
    scene->pids[0] = bed_fork(scene->bed, 0, starve_and_leave);
    scene->sleepers = 1;
    gate_wait(gates[STARVES]);
}

static void it_gives_up(struct scene *scene)
{
    (void)scene;
    gate_open(gates[LEAVE]);
    gate_wait(gates[STAYS]);
}

/* The waiter lives, and is not interested any more. */
static void lock_is_to_be_had(struct scene *scene)
{
    pid_t waiter = scene->pids[0];

    scene->pids[0] = 0;
    lock_is_whole(scene);
    bed_kill(waiter);
    for (unsigned i = 0; i < 3; i++)
        gate_free(gates[i]);
}

TEST_LIMIT(a_grant_that_comes_too_late_keeps_the_lock_from_nobody, 300)
{
    struct scene scene = {.arrange = one_starves,
                          .prepare = inherit,
                          .operate = leave,
                          .meanwhile = it_gives_up,
                          .look_after = lock_is_to_be_had};

    scene_pause(&scene, "release, and one that starves gives up meanwhile");
}

/* ---- fairness ---- */

/* The test is awake and takes it back at once; those who starve cannot even run. */
TEST(whoever_starves_is_before_the_one_that_just_had_it)
{
    struct scene scene = {.bed = bed_open(BED_PROCESSES)};

    nap_bed = scene.bed;
    two_sleepers(&scene);
    for (unsigned i = 0; i < scene.sleepers; i++) {
        CHECK_OK(kill(scene.pids[i], SIGSTOP));
        CHECK_EQ(waitpid(scene.pids[i], NULL, WUNTRACED), scene.pids[i]);
    }
    CHECK(atomic_load(&lock_words(&scene.bed->lock)->starving) != 0);
    CHECK_EQ(brood_lock_release(&scene.bed->lock), 0);
    if (brood_lock_acquire(&scene.bed->lock, 0) != -ETIMEDOUT)
        FAIL("one that starves is passed over");
    for (unsigned i = 0; i < scene.sleepers; i++)
        CHECK_OK(kill(scene.pids[i], SIGCONT));
    scene.victim = NULL;
    lock_is_whole(&scene);
    bed_close(scene.bed);
}

/* The first one is woken, and held up before it looks. The test takes the lock and gives it back,
 * and neither time sees that the second one sleeps. */
TEST(nobody_sleeps_for_long_because_another_was_stopped_when_it_was_woken)
{
    struct scene scene = {.bed = bed_open(BED_PROCESSES)};
    struct lock_words *words = lock_words(&scene.bed->lock);
    struct gate *gate = gate_new();

    nap_bed = scene.bed;
    CHECK_EQ(brood_lock_acquire(&scene.bed->lock, 0), 0);
    atomic_store(&words->starving, atomic_load(&words->word) & LOCK_TAG); /* neither of them */
    looks_again = true;
    held_back = gate;
    scene_deaf_sleeper(&scene, come_and_go);
    held_back = NULL;
    scene_deaf_sleeper(&scene, come_and_go);
    atomic_store(&words->starving, 0);
    CHECK_EQ(brood_lock_release(&scene.bed->lock), 0);
    CHECK_OK(brood_lock_acquire(&scene.bed->lock, TEST_PATIENCE_MS));
    CHECK_EQ(brood_lock_release(&scene.bed->lock), 0);
    if (!process_has_ended(scene.pids[1], TEST_PATIENCE_MS))
        FAIL("the second sleeper is stranded");
    gate_open(gate);
    scene_await_sleepers(&scene);
    gate_free(gate);
    bed_close(scene.bed);
}

/* ---- the recursive one ---- */

static void enter_twice_and_leave(struct scene *scene)
{
    volatile uint64_t *inside = &scene->bed->values[0];

    for (unsigned i = 0; i < 2; i++)
        CHECK_OK(brood_recursive_lock_acquire(&scene->bed->recursive, BROOD_FOREVER));
    *inside = 1;
    CHECK_EQ(brood_recursive_lock_release(&scene->bed->recursive), 0);
    *inside = 0;
    CHECK_EQ(brood_recursive_lock_release(&scene->bed->recursive), 0);
}

static void recursive_is_whole(struct scene *scene)
{
    int r = brood_recursive_lock_acquire(&scene->bed->recursive, TEST_PATIENCE_MS);

    CHECK_OK(r);
    CHECK(r == BROOD_OWNER_DIED || scene->bed->values[0] == 0);
    CHECK_EQ(brood_recursive_lock_consistent(&scene->bed->recursive), 0);
    CHECK_EQ(brood_recursive_lock_release(&scene->bed->recursive), 0);
    CHECK_ERR(brood_recursive_lock_release(&scene->bed->recursive), -EPERM);
    CHECK_EQ(brood_recursive_lock_owner(&scene->bed->recursive, NULL), 0);
}

TEST_LIMIT(the_owner_of_a_recursive_lock_may_die_anywhere, 300)
{
    struct scene scene = {.operate = enter_twice_and_leave, .look_after = recursive_is_whole};

    scene_kill(&scene, "two acquires and two releases");
}

/* ---- sweeps that must fail ---- */

#if BROOD_MUTANT == 0

TEST(a_release_without_a_wake_up_is_caught)
{
    report_must_catch("lock_no_wake", "a_release_wakes_one_that_falls_asleep_meanwhile",
                      "stranded");
}

TEST(a_sleep_without_a_second_look_is_caught)
{
    report_must_catch("lock_no_second_look", "no_release_is_slept_over", "the lock is free");
}

TEST(one_that_takes_the_lock_and_forgets_the_sleepers_is_caught)
{
    report_must_catch("lock_forgets_sleepers", "each_that_was_woken_wakes_the_next", "stranded");
}

TEST(one_that_follows_the_dead_without_notice_is_caught)
{
    report_must_catch("lock_forgets_the_dead", "a_taker_may_die_anywhere", "nobody is told");
}

TEST(a_grant_that_holds_for_one_who_left_is_caught)
{
    report_must_catch("lock_grant_holds", "a_grant_that_comes_too_late_keeps_the_lock_from_nobody",
                      "not to be had");
}

TEST(a_release_that_grants_nothing_is_caught)
{
    report_must_catch("lock_no_grant", "whoever_starves_is_before_the_one_that_just_had_it",
                      "one that starves is passed over");
}

TEST(one_that_gives_up_with_a_wake_up_is_caught)
{
    report_must_catch("lock_gives_up_silently", "one_that_gives_up_passes_its_wake_up_on",
                      "stranded");
}

#endif
