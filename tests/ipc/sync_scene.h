/* SPDX-License-Identifier: MIT */
/*
 * A scene for sweeps over the operations of brood/sync.h: a victim that is cut or held up anywhere
 * (harness/step.h), the process of the test, and processes that sleep in an operation and must not
 * be left there.
 *
 *     static void arrange_two_sleepers(struct scene *scene) { ... scene_sleeper(scene, take); ... }
 *
 * The test's process is a participant too. The victim has joined before its operation begins.
 *
 * Whoever ends or dies wakes all sleepers, by the law of the roster; so a wake-up that is missing
 * between the living would hide behind the end of the victim. A deaf sleeper hears nothing but
 * wake-ups of its own word. And a victim may take the wake-up of a moment that no setup could
 * arrange: its .nap is called instead of its first sleep. And who waits long for a lock looks
 * again from time to time, woken or not; a sleeper here does so only if .looks_again is set, as
 * that would mend in time what is broken.
 *
 * Programs with this file are linked with --wrap=brood__roster_sleep.
 */
#ifndef BROOD_TESTS_IPC_SYNC_SCENE_H
#define BROOD_TESTS_IPC_SYNC_SCENE_H

#include "harness/gate.h"
#include "harness/process.h"
#include "harness/report.h"
#include "harness/step.h"
#include "harness/test.h"
#include "ipc/sync_bed.h"

#include "ipc/lock.h"
#include "ipc/waiting.h"

#ifndef BROOD_MUTANT
#define BROOD_MUTANT 0
#endif

enum { SLEEPERS_MAX = 4, NOT_YET = 99999, LONG_SLEEPS = 8 };
enum { STARVING_MAX_NS = 2000000, NEXT_LOOK_MAX_NS = 100000000 }; /* see lock.c */
enum { SLOW_LOOKS = 8, SLOW_STEPS_NS = 2000000000 };

struct scene;
typedef void scene_fn(struct scene *scene);
typedef void sleeper_fn(struct sync_bed *bed, unsigned index);

struct scene {
    /* What a test asks for; all but operate and look_after may be left out. */
    scene_fn *arrange;
    scene_fn *prepare;                                  /* in the victim, not interrupted */
    scene_fn *operate;                                  /* in the victim */
    scene_fn *repair;                                   /* in a second victim */
    scene_fn *meanwhile;                                /* while the victim is held up */
    scene_fn *look_after;                               /* what must hold */
    int (*nap)(struct sync_bed *bed, int64_t deadline); /* instead of the victim's first sleep */

    struct sync_bed *bed;
    const struct step_victim *victim;
    unsigned sleepers;
    pid_t pids[SLEEPERS_MAX];
};

static struct sync_bed *nap_bed;
static unsigned nap_index; /* of the sleeper */
static int (*nap_once)(struct sync_bed *bed, int64_t deadline);
static bool is_deaf;
static struct gate *held_back; /* a deaf sleeper that was woken waits here before it looks */
static bool is_sleeper;
static bool looks_again;

/* Whether a waiter of the lock sleeps until its next look, with nothing else to do then. Before a
 * grant there is. */
static inline bool sleeps_between_looks(const _Atomic uint32_t *word, uint32_t value,
                                        int64_t deadline)
{
    int64_t left = deadline - now_ns();

    return (uintptr_t)word == (uintptr_t)&nap_bed->lock && (value & LOCK_GRANTED) == 0 &&
           left > STARVING_MAX_NS && left <= NEXT_LOOK_MAX_NS;
}

/* On an emulated machine single steps are so slow that the time until the next look at a lock is
 * over before the victim sleeps, and it would look again for ever. Elsewhere nobody looks as often
 * as that before it is seen asleep. */
static inline int64_t not_over_yet(const _Atomic uint32_t *word, int64_t deadline)
{
    static unsigned looks;

    if (is_sleeper || deadline == NEVER || (uintptr_t)word != (uintptr_t)&nap_bed->lock ||
        ++looks <= SLOW_LOOKS)
        return deadline;
    return now_ns() + SLOW_STEPS_NS;
}

int __wrap_brood__roster_sleep(struct roster *roster, roster_tag me, const _Atomic uint32_t *word,
                               uint32_t value, uint32_t moment, int64_t deadline);
int __real_brood__roster_sleep(struct roster *roster, roster_tag me, const _Atomic uint32_t *word,
                               uint32_t value, uint32_t moment, int64_t deadline);

int __wrap_brood__roster_sleep(struct roster *roster, roster_tag me, const _Atomic uint32_t *word,
                               uint32_t value, uint32_t moment, int64_t deadline)
{
    int (*nap)(struct sync_bed * bed, int64_t deadline) = nap_once;

    bool is_between = is_sleeper && sleeps_between_looks(word, value, deadline);

    nap_once = NULL;
    if (nap != NULL)
        return nap(nap_bed, deadline);
    deadline = not_over_yet(word, deadline);
    if (is_between && !looks_again)
        deadline = NEVER;
    if (deadline == NEVER || is_between)
        atomic_store(&nap_bed->shared[LONG_SLEEPS + nap_index], 1);
    if (is_deaf) {
        int r = brood__futex_wait((const void *)(uintptr_t)word, value, deadline);

        if (held_back != NULL && r == 0)
            (void)gate_wait_ms(held_back, -1);
        return r;
    }
    return __real_brood__roster_sleep(roster, me, word, value, moment, deadline);
}

/* ---- sleepers ---- */

/* Until the sleeper has ended, or sleeps for long. */
static inline void scene_await_rest(struct scene *scene, unsigned index)
{
    bool sleeps_long;
    char state;

    do {
        brood__yield();
        sleeps_long = atomic_load(&scene->bed->shared[LONG_SLEEPS + index]) != 0;
        state = process_state(scene->pids[index]);
    } while (state != 'Z' && !(sleeps_long && state == 'S'));
}

static inline void scene_start(struct scene *scene, sleeper_fn *work)
{
    unsigned index = scene->sleepers;

    CHECK(index < SLEEPERS_MAX);
    atomic_store(&scene->bed->results[index], NOT_YET);
    atomic_store(&scene->bed->shared[LONG_SLEEPS + index], 0);
    nap_index = index;
    is_sleeper = true;
    scene->pids[index] = bed_fork(scene->bed, index, work);
    is_sleeper = false;
    scene->sleepers++;
    scene_await_rest(scene, index);
}

static inline void scene_sleeper(struct scene *scene, sleeper_fn *work)
{
    is_deaf = false;
    scene_start(scene, work);
}

static inline void scene_deaf_sleeper(struct scene *scene, sleeper_fn *work)
{
    is_deaf = true;
    scene_start(scene, work);
    is_deaf = false;
}

/* All have ended, and well. */
static inline void scene_await_sleepers(struct scene *scene)
{
    for (unsigned i = 0; i < scene->sleepers; i++) {
        int status;

        if (scene->pids[i] == 0)
            continue;
        if (!process_has_ended(scene->pids[i], TEST_PATIENCE_MS))
            FAIL("sleeper %u is stranded", i);
        CHECK_EQ(waitpid(scene->pids[i], &status, 0), scene->pids[i]);
        CHECK_EQ(status, 0);
        scene->pids[i] = 0;
    }
}

/* What must hold for a victim that was held up, and then had all it needs. */
static inline void scene_victim_has_finished(struct scene *scene)
{
    if (!scene->victim->finished)
        FAIL("the victim sleeps over what it waits for");
    scene_await_sleepers(scene);
}

static inline int scene_result(const struct scene *scene, unsigned index)
{
    return atomic_load(&scene->bed->results[index]);
}

/* ---- the plan ---- */

static inline void scene_setup(void *memory, void *context)
{
    struct scene *scene = context;

    scene->bed = bed_make(memory, BED_PROCESSES);
    scene->sleepers = 0;
    (void)brood__wait_looks(); /* on one CPU, so that nobody spins */
    is_deaf = false;
    looks_again = false;
    nap_bed = scene->bed;
    nap_once = NULL;
    if (scene->arrange != NULL)
        scene->arrange(scene);
}

static inline void scene_join(void *memory, void *context)
{
    struct scene *scene = context;
    const struct member *member;

    CHECK_OK(brood__member(memory, &member));
    /* A join wakes all sleepers; they are to be asleep again when the operation begins. */
    for (unsigned i = 0; i < scene->sleepers; i++)
        while (process_state(scene->pids[i]) == 'R')
            brood__yield();
    nap_once = scene->nap;
    if (scene->prepare != NULL)
        scene->prepare(scene);
}

static inline void scene_operate(void *memory, void *context)
{
    struct scene *scene = context;

    (void)memory;
    scene->operate(scene);
}

/* Joining is part of what may be cut here. */
static inline void scene_repair(void *memory, void *context)
{
    struct scene *scene = context;

    (void)memory;
    scene->repair(scene);
}

static inline void scene_meanwhile(void *memory, const struct step_victim *victim, void *context)
{
    struct scene *scene = context;

    (void)memory;
    scene->victim = victim;
    scene->meanwhile(scene);
}

static inline void scene_oracle(void *memory, const struct step_victim *victim, void *context)
{
    struct scene *scene = context;

    (void)memory;
    scene->victim = victim;
    scene->look_after(scene);
}

static inline void scene_teardown(void *memory, void *context)
{
    struct scene *scene = context;

    (void)memory;
    for (unsigned i = 0; i < scene->sleepers; i++)
        if (scene->pids[i] != 0)
            bed_kill(scene->pids[i]);
    bed_unmake(scene->bed);
}

static inline struct step_plan scene_plan(struct scene *scene, const char *name)
{
    return (struct step_plan){.memory_len = bed_len(),
                              .setup = scene_setup,
                              .prepare = scene_join,
                              .operation = scene_operate,
                              .repair = scene_repair,
                              .meanwhile = scene->meanwhile != NULL ? scene_meanwhile : NULL,
                              .oracle = scene_oracle,
                              .teardown = scene_teardown,
                              .context = scene,
                              .name = name};
}

static inline void scene_kill(struct scene *scene, const char *name)
{
    struct step_plan plan = scene_plan(scene, name);

    step_kill(&plan);
}

static inline void scene_pause(struct scene *scene, const char *name)
{
    struct step_plan plan = scene_plan(scene, name);

    step_pause(&plan);
}

static inline void scene_kill_repair(struct scene *scene, const char *name)
{
    struct step_plan plan = scene_plan(scene, name);

    step_kill_repair(&plan);
}

#endif
