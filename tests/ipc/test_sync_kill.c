/* SPDX-License-Identifier: MIT */
/*
 * Conditions, events and onces whose users may be killed, or held up, before any instruction:
 * nobody sleeps over what it waits for, and what runs once has run. The others of brood/sync.h have
 * files of their own: test_lock_kill.c, test_semaphore_kill.c, test_barrier_kill.c.
 *
 * This file is compiled again for mutants of the files that it sweeps (BROOD_MUTANT); the tests at
 * the end look whether the sweeps fail then.
 */
#include "ipc/sync_scene.h"

#include <errno.h>

/* ---- condition ---- */

/* Until .values[0] is 1, or somebody has died. */
static void wait_for_value(struct sync_bed *bed, unsigned index)
{
    int r = brood_lock_acquire(&bed->lock, BROOD_FOREVER);

    while (r == 0 && bed->values[0] == 0)
        r = brood_condition_wait(&bed->condition, &bed->lock, BROOD_FOREVER);
    atomic_store(&bed->results[index], r);
    CHECK_EQ(brood_lock_release(&bed->lock), 0);
}

static void wait_as_victim(struct scene *scene)
{
    wait_for_value(scene->bed, SLEEPERS_MAX);
}

static void set_value(struct scene *scene)
{
    CHECK_OK(brood_lock_acquire(&scene->bed->lock, BROOD_FOREVER));
    scene->bed->values[0] = 1;
    CHECK_EQ(brood_lock_release(&scene->bed->lock), 0);
    brood_condition_signal(&scene->bed->condition);
}

static void set_value_for_all(struct scene *scene)
{
    CHECK_OK(brood_lock_acquire(&scene->bed->lock, BROOD_FOREVER));
    scene->bed->values[0] = 1;
    brood_condition_broadcast(&scene->bed->condition);
    CHECK_EQ(brood_lock_release(&scene->bed->lock), 0);
}

static void two_wait_for_value(struct scene *scene)
{
    scene_sleeper(scene, wait_for_value);
    scene_sleeper(scene, wait_for_value);
}

/* By the value, or by the death. */
static void waiters_are_awake(struct scene *scene)
{
    scene_await_sleepers(scene);
    CHECK_OK(brood_lock_acquire(&scene->bed->lock, TEST_PATIENCE_MS));
    CHECK_EQ(brood_lock_release(&scene->bed->lock), 0);
}

TEST_LIMIT(one_that_signals_may_die_anywhere, 300)
{
    struct scene scene = {
        .arrange = two_wait_for_value, .operate = set_value, .look_after = waiters_are_awake};

    scene_kill(&scene, "condition signal");
}

TEST_LIMIT(one_that_broadcasts_may_die_anywhere, 300)
{
    struct scene scene = {.arrange = two_wait_for_value,
                          .operate = set_value_for_all,
                          .look_after = waiters_are_awake};

    scene_kill(&scene, "condition broadcast");
}

TEST_LIMIT(one_that_waits_on_a_condition_may_die_anywhere, 300)
{
    struct scene scene = {
        .arrange = two_wait_for_value, .operate = wait_as_victim, .look_after = waiters_are_awake};

    scene_kill(&scene, "condition wait");
}

/* As if the test had set the value and signalled, and the victim was the one that was woken. */
static int value_comes(struct sync_bed *bed, int64_t deadline)
{
    (void)deadline;
    bed->values[0] = 1;
    (void)atomic_fetch_add((_Atomic uint32_t *)(void *)&bed->condition, 1);
    return 0;
}

TEST_LIMIT(one_that_was_signalled_may_die_anywhere, 300)
{
    struct scene scene = {.arrange = two_wait_for_value,
                          .operate = wait_as_victim,
                          .nap = value_comes,
                          .look_after = waiters_are_awake};

    scene_kill(&scene, "condition wait, signalled");
}

/* Unless the victim has the lock just now. */
static void set_value_if_free(struct scene *scene)
{
    if (brood_lock_acquire(&scene->bed->lock, 0) != 0)
        return;
    scene->bed->values[0] = 1;
    CHECK_EQ(brood_lock_release(&scene->bed->lock), 0);
    brood_condition_signal(&scene->bed->condition);
}

static void value_is_not_slept_over(struct scene *scene)
{
    if (scene->bed->values[0] == 1 && !scene->victim->finished)
        FAIL("the victim sleeps over what it waits for");
}

TEST_LIMIT(no_signal_is_slept_over, 300)
{
    struct scene scene = {.operate = wait_as_victim,
                          .meanwhile = set_value_if_free,
                          .look_after = value_is_not_slept_over};

    scene_pause(&scene, "condition wait, and a signal meanwhile");
}

static uint32_t condition_seq(const struct sync_bed *bed)
{
    return atomic_load((const _Atomic uint32_t *)(const void *)&bed->condition);
}

static void wait_for_signal(struct sync_bed *bed, unsigned index)
{
    CHECK_OK(brood_lock_acquire(&bed->lock, BROOD_FOREVER));
    atomic_store(&bed->results[index],
                 brood_condition_wait(&bed->condition, &bed->lock, BROOD_FOREVER));
    CHECK_EQ(brood_lock_release(&bed->lock), 0);
}

static void one_waits_for_signal(struct scene *scene)
{
    scene->bed->values[1] = condition_seq(scene->bed);
    scene_deaf_sleeper(scene, wait_for_signal);
}

static void signal_only(struct scene *scene)
{
    brood_condition_signal(&scene->bed->condition);
}

/* The signal came after the wait had begun. */
static void signal_has_woken(struct scene *scene)
{
    if (condition_seq(scene->bed) != scene->bed->values[1])
        scene_await_sleepers(scene);
}

TEST_LIMIT(one_that_falls_asleep_gets_the_signal_given_meanwhile, 300)
{
    struct scene scene = {
        .operate = signal_only, .meanwhile = one_waits_for_signal, .look_after = signal_has_woken};

    scene_pause(&scene, "condition signal, and one falls asleep meanwhile");
}

/* ---- event ---- */

static void wait_for_event(struct sync_bed *bed, unsigned index)
{
    atomic_store(&bed->results[index], brood_event_wait(&bed->event, BROOD_FOREVER));
}

static void wait_for_event_as_victim(struct scene *scene)
{
    CHECK_OK(brood_event_wait(&scene->bed->event, BROOD_FOREVER));
}

static void set_event(struct scene *scene)
{
    brood_event_set(&scene->bed->event);
}

static void set_and_clear_event(struct scene *scene)
{
    brood_event_set(&scene->bed->event);
    brood_event_clear(&scene->bed->event);
}

static void two_wait_for_event(struct scene *scene)
{
    scene_sleeper(scene, wait_for_event);
    scene_sleeper(scene, wait_for_event);
}

static void event_works(struct scene *scene)
{
    scene_await_sleepers(scene);
    CHECK(brood_event_is_set(&scene->bed->event) || !scene->victim->finished);
    brood_event_set(&scene->bed->event);
    CHECK_EQ(brood_event_wait(&scene->bed->event, 0), 0);
}

TEST_LIMIT(one_that_sets_an_event_may_die_anywhere, 300)
{
    struct scene scene = {
        .arrange = two_wait_for_event, .operate = set_event, .look_after = event_works};

    scene_kill(&scene, "event set");
}

TEST_LIMIT(one_that_waits_for_an_event_may_die_anywhere, 300)
{
    struct scene scene = {.arrange = two_wait_for_event,
                          .operate = wait_for_event_as_victim,
                          .look_after = event_works};

    scene_kill(&scene, "event wait");
}

/* It may come when the event is set and clear again: then it is to sleep. */
static void set_meanwhile(struct scene *scene)
{
    if (((_Atomic uint32_t *)(void *)&scene->bed->event)[1] == 0)
        set_event(scene);
    else
        set_and_clear_event(scene);
}

TEST_LIMIT(no_set_is_slept_over_though_it_is_clear_again, 300)
{
    struct scene scene = {.operate = wait_for_event_as_victim,
                          .meanwhile = set_meanwhile,
                          .look_after = scene_victim_has_finished};

    scene_pause(&scene, "event wait, and a set meanwhile");
}

static void one_waits_for_event(struct scene *scene)
{
    scene_deaf_sleeper(scene, wait_for_event);
}

TEST_LIMIT(one_that_falls_asleep_sees_the_event_set_meanwhile, 300)
{
    struct scene scene = {.operate = set_event,
                          .meanwhile = one_waits_for_event,
                          .look_after = scene_victim_has_finished};

    scene_pause(&scene, "event set, and one falls asleep meanwhile");
}

/* ---- once ---- */

static int run_it(void *argument)
{
    struct sync_bed *bed = argument;

    (void)atomic_fetch_add(&bed->shared[0], 1);
    (void)atomic_fetch_add(&bed->shared[1], 1);
    return 0;
}

static void run_once(struct sync_bed *bed, unsigned index)
{
    atomic_store(&bed->results[index], brood_once_run(&bed->once, run_it, bed, BROOD_FOREVER));
}

static void run_as_victim(struct scene *scene)
{
    run_once(scene->bed, SLEEPERS_MAX);
}

/* What a death left half done is told to the one that runs it again. */
static void it_has_run(struct scene *scene)
{
    uint64_t begun, ended;
    int r;

    scene_await_sleepers(scene);
    r = CHECK_OK(brood_once_run(&scene->bed->once, run_it, scene->bed, TEST_PATIENCE_MS));
    begun = atomic_load(&scene->bed->shared[0]);
    ended = atomic_load(&scene->bed->shared[1]);
    if (ended == 0)
        FAIL("it is done, and has not run");
    CHECK(begun <= 2 && ended <= 2);
    for (unsigned i = 0; i < scene->sleepers; i++)
        r |= scene_result(scene, i);
    CHECK(begun == 1 || r == BROOD_OWNER_DIED);
    CHECK(begun == 1 || !scene->victim->finished);
    CHECK_EQ(brood_once_run(&scene->bed->once, run_it, scene->bed, 0), 0);
}

TEST_LIMIT(one_that_runs_something_once_may_die_anywhere, 300)
{
    struct scene scene = {.operate = run_as_victim, .look_after = it_has_run};

    scene_kill(&scene, "once");
}

static void begin_and_stop(struct sync_bed *bed, unsigned index)
{
    (void)index;
    CHECK_EQ(brood_once_run(&bed->once, run_it, bed, 0), -EDEADLK);
}

/* The test runs it, as far as the word says. */
static void somebody_runs_it(struct scene *scene)
{
    const struct member *member;

    CHECK_OK(brood__member(scene->bed, &member));
    atomic_store((_Atomic uint32_t *)(void *)&scene->bed->once, member->tag);
    begin_and_stop(scene->bed, 0);
    scene_sleeper(scene, run_once);
}

/* The test's attempt fails. */
static void fail_and_look(struct scene *scene)
{
    _Atomic uint32_t *words = (_Atomic uint32_t *)(void *)&scene->bed->once;
    const struct member *member;
    uint32_t mine;

    CHECK_OK(brood__member(words, &member));
    mine = member->tag;
    if (atomic_compare_exchange_strong(&words[0], &mine, 0))
        brood__futex_wake(words, 1);
    it_has_run(scene);
}

TEST_LIMIT(one_that_waits_for_the_end_of_a_once_may_die_anywhere, 300)
{
    struct scene scene = {
        .arrange = somebody_runs_it, .operate = run_as_victim, .look_after = fail_and_look};

    scene_kill(&scene, "once, run by another");
}

static int attempt_fails(struct sync_bed *bed, int64_t deadline)
{
    (void)deadline;
    atomic_store((_Atomic uint32_t *)(void *)&bed->once, 0);
    return 0;
}

TEST_LIMIT(one_that_was_woken_to_run_it_may_die_anywhere, 300)
{
    struct scene scene = {.arrange = somebody_runs_it,
                          .operate = run_as_victim,
                          .nap = attempt_fails,
                          .look_after = fail_and_look};

    scene_kill(&scene, "once, after a failure of another");
}

static void another_comes(struct scene *scene)
{
    scene_deaf_sleeper(scene, run_once);
}

TEST_LIMIT(one_that_falls_asleep_sees_the_end_of_a_once, 300)
{
    struct scene scene = {.operate = run_as_victim,
                          .meanwhile = another_comes,
                          .look_after = scene_victim_has_finished};

    scene_pause(&scene, "once, and one falls asleep meanwhile");
}

/* ---- sweeps that must fail ---- */

#if BROOD_MUTANT == 0

TEST(a_signal_that_wakes_before_it_changes_is_caught)
{
    report_must_catch("sync_wakes_first", "one_that_falls_asleep_gets_the_signal_given_meanwhile",
                      "stranded");
}

TEST(a_wait_that_begins_after_the_release_is_caught)
{
    report_must_catch("sync_reads_late", "no_signal_is_slept_over",
                      "the victim sleeps over what it waits for");
}

TEST(a_waiter_that_forgets_a_short_set_is_caught)
{
    report_must_catch("sync_forgets_sets", "no_set_is_slept_over_though_it_is_clear_again",
                      "the victim sleeps over what it waits for");
}

TEST(a_once_that_is_done_before_it_has_run_is_caught)
{
    report_must_catch("sync_done_first", "one_that_runs_something_once_may_die_anywhere",
                      "it is done, and has not run");
}

#endif
