/* SPDX-License-Identifier: MIT */
/*
 * A lane may be killed, or held up, before any of its instructions, and still each task ends
 * exactly once, none is slept over, a kill hits no innocent task, and the memory is as good as new.
 *
 * Lane 0 is the victim, which steps (harness/step.h) cut everywhere. Lane 1, where there is one,
 * is a process that really sleeps on its word. Lane 2 is this process: the others, who go on
 * working while nobody knows of the death. The owner is this process too, with the books and the
 * repair of dispatch_bed.h. The owner's own steps are not cut: with it all its lanes die.
 *
 * Some ways need a task to come at a moment that no setup can arrange: just when a lane falls
 * asleep. There the tasks are published by setup, their cells hidden, and brood__futex_wait(),
 * which this program wraps, shows them, as if the owner had published at that moment.
 *
 * This file is compiled again for each mutant of dispatch_lane.c (BROOD_MUTANT), in which the
 * sweeps must fail; the tests at the end look whether they do.
 */
#include "harness/report.h"
#include "harness/step.h"
#include "harness/test.h"

#include "base/clock.h"
#include "ipc/dispatch_bed.h"
#include "sys/kernel.h"

#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef BROOD_MUTANT
#define BROOD_MUTANT 0
#endif

enum { VICTIM = 0, SLEEPER = 1, OTHERS = 2, CELLS_MAX = BED_SLOTS_MAX };

struct scene {
    /* What a test asks for. */
    unsigned tasks;  /* published by setup */
    unsigned hidden; /* and so many more, hidden until the victim first sleeps */
    uint32_t spins;
    bool sleeper;      /* lane 1 is asleep */
    bool others_first; /* lane 2 does what it can before the death is known */
    bool owner_sleeps; /* on its word and on the bell */

    struct bed bed;
    struct lane_self self; /* the victim's */
    uint32_t slot;         /* of a task that prepare took */
    uint64_t cells[CELLS_MAX];
    unsigned rings[CELLS_MAX];
    uint32_t owner_word;
    int bell;
    pid_t sleeper_pid;
    bool confirmed; /* a kill */
    unsigned began[BED_TASKS_MAX];
};

static const struct dispatch_shape shape = {.lanes = 3, .slots = 4};
static struct scene *hooked; /* in the victim: show its hidden cells at the next sleep */

int __wrap_brood__futex_wait(const void *word, uint32_t value, int64_t deadline);
int __real_brood__futex_wait(const void *word, uint32_t value, int64_t deadline);

/* ---- hidden tasks ---- */

static _Atomic uint64_t *cell_of(struct scene *scene, unsigned i)
{
    return ring_cell(&scene->bed.dispatch.view, scene->rings[i], cell_ticket(scene->cells[i]));
}

static void hide_task(struct scene *scene, unsigned i)
{
    unsigned ring = i % RINGS;
    uint32_t ticket = scene->bed.dispatch.tails[ring];

    scene->rings[i] = ring;
    (void)bed_publish(&scene->bed, ring);
    scene->cells[i] = atomic_load(ring_cell(&scene->bed.dispatch.view, ring, ticket));
    atomic_store(cell_of(scene, i), cell_make(ticket - 2 * shape.slots, CELL_REVOKED, 0));
}

/* Once, whether the victim came so far or not. */
static void show_tasks(struct scene *scene)
{
    for (unsigned i = 0; i < scene->hidden; i++)
        if (cell_ticket(atomic_load(cell_of(scene, i))) != cell_ticket(scene->cells[i]))
            atomic_store(cell_of(scene, i), scene->cells[i]);
}

int __wrap_brood__futex_wait(const void *word, uint32_t value, int64_t deadline)
{
    struct scene *scene = hooked;

    hooked = NULL;
    if (scene == NULL)
        return __real_brood__futex_wait(word, value, deadline);
    show_tasks(scene);
    return 0;
}

/* ---- a lane that sleeps, and must not for ever ---- */

static void start_sleeper(struct scene *scene)
{
    struct dispatch_view *view = &scene->bed.dispatch.view;

    (void)atomic_fetch_or(&view->control->idle[0], 1u << SLEEPER);
    scene->sleeper_pid = CHECK_OK(fork());
    if (scene->sleeper_pid != 0)
        return;
    while (atomic_load(&view->lanes[SLEEPER].wake) == 0)
        (void)__real_brood__futex_wait(&view->lanes[SLEEPER].wake, 0, NEVER);
    /* A wake word that has changed does not wake; only a wake does. */
    _exit(0);
}

/* Whoever sleeps without an idle bit is never picked, so it must have been woken. */
static void check_sleeper(struct scene *scene)
{
    struct dispatch_view *view = &scene->bed.dispatch.view;
    struct pollfd fd = {.fd = CHECK_OK(brood__pidfd_open(scene->sleeper_pid)), .events = POLLIN};
    int lane;

    (void)bed_publish(&scene->bed, 1);
    lane = brood__dispatch_wake_pick(&scene->bed.dispatch);
    if (lane >= 0)
        brood__lane_wake(view, (uint32_t)lane);
    if (brood__fd_wait(&fd, 1, deadline_in(TEST_PATIENCE_MS)) != 1)
        FAIL("a lane sleeps, and no new task wakes it");
    brood__fd_close(fd.fd);
}

static void end_sleeper(struct scene *scene)
{
    if (scene->sleeper_pid == 0)
        return;
    (void)kill(scene->sleeper_pid, SIGKILL);
    (void)waitpid(scene->sleeper_pid, NULL, 0);
    scene->sleeper_pid = 0;
}

/* ---- the scene ---- */

static void arrange_scene(void *memory, void *context)
{
    struct scene *scene = context;

    bed_open(&scene->bed, memory, shape);
    for (unsigned i = 0; i < scene->tasks; i++)
        (void)bed_publish(&scene->bed, i % RINGS);
    for (unsigned i = 0; i < scene->hidden; i++)
        hide_task(scene, i);
    scene->self = bed_lane(&scene->bed, VICTIM);
    scene->self.spins = scene->spins;
    scene->confirmed = false;
    scene->bell = -1;
    if (scene->owner_sleeps) {
        scene->bell = scene->self.bell = CHECK_OK(brood__fd_event());
        scene->owner_word = atomic_load(&scene->bed.dispatch.view.control->owner_word);
    }
    if (scene->sleeper)
        start_sleeper(scene);
}

static void clear_scene(void *memory, void *context)
{
    struct scene *scene = context;

    (void)memory;
    end_sleeper(scene);
    scene->bell = brood__fd_close(scene->bell);
    bed_close(&scene->bed);
}

/* ---- what victims do ---- */

static void claim_one(void *memory, void *context)
{
    struct scene *scene = context;

    (void)memory;
    scene->slot = brood__lane_claim(&scene->self);
}

static void start_one(void *memory, void *context)
{
    struct scene *scene = context;

    (void)memory;
    brood__lane_start(&scene->self, scene->slot);
    bed_run(&scene->bed, &scene->self, scene->slot);
}

static void claim_and_start(void *memory, void *context)
{
    claim_one(memory, context);
    start_one(memory, context);
}

static void finish_one(void *memory, void *context)
{
    struct scene *scene = context;

    (void)memory;
    brood__lane_finish(&scene->self, scene->slot);
}

static void hook_sleep(void *memory, void *context)
{
    struct scene *scene = context;

    (void)memory;
    hooked = scene->hidden > 0 ? scene : NULL;
}

/* A worker's life, until it sleeps. */
static void work(void *memory, void *context)
{
    struct scene *scene = context;

    while ((scene->slot = brood__lane_next(&scene->self)) != NO_SLOT) {
        start_one(memory, context);
        finish_one(memory, context);
    }
}

/* ---- after a death ---- */

static void all_is_repaired(void *memory, const struct step_victim *victim, void *context)
{
    struct scene *scene = context;

    (void)memory;
    (void)victim;
    show_tasks(scene);
    if (scene->others_first)
        bed_do_all(&scene->bed, OTHERS);
    bed_repair(&scene->bed, VICTIM);
    if (scene->sleeper) {
        bed_do_all(&scene->bed, OTHERS);
        check_sleeper(scene);
    }
    bed_do_all(&scene->bed, VICTIM);
    bed_check_ends(&scene->bed);
    bed_check_capacity(&scene->bed);
}

typedef void step_fn(void *memory, void *context);

static void kill_in(struct scene *scene, step_fn *prepare, step_fn *operation,
                    const char *name)
{
    step_kill(&(struct step_plan){.memory_len = bed_len(shape),
                                  .setup = arrange_scene,
                                  .prepare = prepare,
                                  .operation = operation,
                                  .oracle = all_is_repaired,
                                  .teardown = clear_scene,
                                  .context = scene,
                                  .name = name});
}

TEST_LIMIT(a_lane_may_die_in_a_claim, 300)
{
    struct scene scene = {.tasks = 3};

    kill_in(&scene, NULL, claim_one, "claim");
}
