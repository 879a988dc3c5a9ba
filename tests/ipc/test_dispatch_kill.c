/* SPDX-License-Identifier: MIT */
/*
 * A lane may be killed, or held up, before any of its instructions, and still each task ends
 * exactly once, none is slept over, a kill hits no innocent task, and the memory is as good as new.
 *
 * Lane 0 is the victim, which steps (harness/step.h) cut everywhere. Lane 1, where there is one,
 * is a process that really sleeps on its word. Lane 2 is this process: the others, who go on
 * working while nobody knows of the death. The owner is this process too, with the books and the
 * repair of dispatch_bed.h. The owner's steps are held up but not cut: its lanes die with it.
 *
 * Some ways need a task to come at a moment that no setup can arrange: just when a lane falls
 * asleep. There the tasks are published by setup, their cells hidden, and brood__futex_wait(),
 * which this program wraps, shows them, as if the owner had published at that moment.
 *
 * This file is compiled again for each mutant of dispatch_lane.c (BROOD_MUTANT), in which the
 * sweeps must fail; the tests at the end look whether they do.
 */
#include "harness/process.h"
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
    if (scene->sleeper_pid != 0) {
        process_await_rest(scene->sleeper_pid);
        return;
    }
    while (atomic_load(&view->lanes[SLEEPER].wake) == 0)
        (void)__real_brood__futex_wait(&view->lanes[SLEEPER].wake, 0, NEVER);
    /* A wake word that has changed does not wake; only a wake does. */
    _exit(0);
}

/* Whoever sleeps without an idle bit is never picked, so it must have been woken. */
static void check_sleeper(struct scene *scene)
{
    struct dispatch_view *view = &scene->bed.dispatch.view;
    int lane;

    (void)bed_publish(&scene->bed, 1);
    lane = brood__dispatch_wake_pick(&scene->bed.dispatch);
    if (lane >= 0)
        brood__lane_wake(view, (uint32_t)lane);
    process_await_end(scene->sleeper_pid, "a lane sleeps, and no new task wakes it");
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
        atomic_store(&scene->bed.dispatch.view.control->owner_waits, 1);
        atomic_store(&scene->bed.dispatch.view.control->bell_armed, 1);
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

/* Without the clock, whose way through the kernel's page differs from call to call. */
static void start_timed(void *memory, void *context)
{
    struct scene *scene = context;

    scene->self.now = 1;
    start_one(memory, context);
}

static void claim_and_start(void *memory, void *context)
{
    claim_one(memory, context);
    start_timed(memory, context);
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

static void take_mail(void *memory, void *context)
{
    struct scene *scene = context;

    (void)memory;
    while (brood__lane_mail_take(&scene->self) != 0)
        continue;
}

static void announce(void *memory, void *context)
{
    struct scene *scene = context;

    (void)memory;
    brood__lane_announce(&scene->self, LANE_READY, 0);
}

/* A worker's life, until it sleeps. */
static void work(void *memory, void *context)
{
    struct scene *scene = context;

    while ((scene->slot = brood__lane_next(&scene->self)) != NO_SLOT) {
        start_timed(memory, context);
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
    scene->bed.is_quick = scene->others_first;
    scene->bed.quick_lane = OTHERS;
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
typedef void oracle_fn(void *memory, const struct step_victim *victim, void *context);

static struct step_plan plan_of(struct scene *scene, step_fn *operation, oracle_fn *oracle,
                                const char *name)
{
    return (struct step_plan){.memory_len = bed_len(shape),
                              .setup = arrange_scene,
                              .operation = operation,
                              .oracle = oracle,
                              .teardown = clear_scene,
                              .context = scene,
                              .name = name};
}

static void kill_in(struct scene *scene, step_fn *prepare, step_fn *operation, const char *name)
{
    struct step_plan plan = plan_of(scene, operation, all_is_repaired, name);

    plan.prepare = prepare;
    step_kill(&plan);
}

TEST_LIMIT(a_lane_may_die_in_a_claim, 300)
{
    struct scene scene = {.tasks = 3};

    kill_in(&scene, NULL, claim_one, "claim");
}

TEST_LIMIT(a_lane_may_die_between_claim_and_start, 300)
{
    struct scene scene = {.tasks = 2};

    kill_in(&scene, NULL, claim_and_start, "claim and start");
}

TEST_LIMIT(a_lane_may_die_in_a_start, 300)
{
    struct scene scene = {.tasks = 2};

    kill_in(&scene, claim_one, start_one, "start");
}

TEST_LIMIT(a_lane_may_die_in_a_finish, 300)
{
    struct scene scene = {.tasks = 2};

    kill_in(&scene, claim_and_start, finish_one, "finish");
}

TEST_LIMIT(a_lane_may_die_before_it_tells_the_owner, 300)
{
    struct scene scene = {.tasks = 1, .owner_sleeps = true};

    kill_in(&scene, claim_and_start, finish_one, "finish with a sleeping owner");
}

TEST_LIMIT(a_lane_may_die_anywhere_in_its_work, 600)
{
    struct scene scene = {.tasks = 4, .spins = 2};

    kill_in(&scene, NULL, work, "four tasks, search and sleep");
}

TEST_LIMIT(a_lane_may_die_in_its_work_while_others_go_on, 600)
{
    struct scene scene = {.tasks = 3, .spins = 2, .others_first = true};

    kill_in(&scene, NULL, work, "three tasks, search and sleep, others go on");
}

/* It was woken for two tasks and passes one on to the sleeper: it may die when it has taken the
 * sleeper's bit and not yet woken it. */
TEST_LIMIT(a_wake_that_dies_with_its_giver_strands_nobody, 600)
{
    struct scene scene = {.hidden = 2, .sleeper = true};

    kill_in(&scene, hook_sleep, work, "a wake passed on");
}

/* The same, and nothing is left to do when the death is known. */
TEST_LIMIT(a_sleeper_whose_wake_died_is_not_forgotten, 600)
{
    struct scene scene = {.hidden = 2, .sleeper = true, .others_first = true};

    kill_in(&scene, hook_sleep, work, "a wake passed on, work done by others");
}

TEST_LIMIT(a_searcher_that_dies_strands_nobody, 600)
{
    struct scene scene = {.hidden = 1, .spins = 3, .sleeper = true};

    kill_in(&scene, NULL, work, "a search with a sleeper");
}

static void arrange_mail(void *memory, void *context)
{
    struct scene *scene = context;

    arrange_scene(memory, context);
    for (uint64_t offset = 1; offset <= 3; offset++)
        CHECK(brood__lane_mail(&scene->bed.dispatch.view, VICTIM, offset));
}

static void mail_is_repaired(void *memory, const struct step_victim *victim, void *context)
{
    struct scene *scene = context;
    struct lane_self self = bed_lane(&scene->bed, VICTIM);

    all_is_repaired(memory, victim, context);
    CHECK_EQ(brood__lane_mail_take(&self), 0);
    for (uint64_t offset = 1; offset <= MAIL_MAX; offset++)
        CHECK(brood__lane_mail(&scene->bed.dispatch.view, VICTIM, offset));
    CHECK(!brood__lane_mail(&scene->bed.dispatch.view, VICTIM, 99));
    for (uint64_t offset = 1; offset <= MAIL_MAX; offset++)
        CHECK_EQ(brood__lane_mail_take(&self), offset);
}

TEST_LIMIT(a_lane_may_die_while_it_reads_its_mail, 300)
{
    struct scene scene = {.tasks = 1};
    struct step_plan plan = plan_of(&scene, take_mail, mail_is_repaired, "mail");

    plan.setup = arrange_mail;
    step_kill(&plan);
}

static void announced_or_not(void *memory, const struct step_victim *victim, void *context)
{
    struct scene *scene = context;
    struct dispatch_view *view = &scene->bed.dispatch.view;
    uint32_t state = atomic_load(&view->lanes[VICTIM].state);

    CHECK(state == LANE_EMPTY || state == LANE_READY);
    if (victim->finished) {
        CHECK_EQ(state, LANE_READY);
        CHECK_EQ(brood__dispatch_take_finished(&scene->bed.dispatch, 0), 1u << VICTIM);
        CHECK_EQ(atomic_load(&view->control->owner_waits), 0);
    }
    all_is_repaired(memory, victim, context);
    CHECK_EQ(atomic_load(&view->lanes[VICTIM].state), LANE_EMPTY);
}

TEST_LIMIT(a_lane_may_die_while_it_announces_itself, 300)
{
    struct scene scene = {.tasks = 1};
    struct step_plan plan = plan_of(&scene, announce, announced_or_not, "announce");

    step_kill(&plan);
}

/* ---- held up ---- */

static void pause_work(struct scene *scene, oracle_fn *meanwhile, oracle_fn *oracle,
                       const char *name)
{
    struct step_plan plan = plan_of(scene, work, oracle, name);

    plan.meanwhile = meanwhile;
    step_pause(&plan);
}

static void publish_and_wake(struct scene *scene, unsigned ring)
{
    int lane;

    (void)bed_publish(&scene->bed, ring);
    lane = brood__dispatch_wake_pick(&scene->bed.dispatch);
    if (lane >= 0)
        brood__lane_wake(&scene->bed.dispatch.view, (uint32_t)lane);
}

static void publish_meanwhile(void *memory, const struct step_victim *victim, void *context)
{
    (void)memory;
    (void)victim;
    publish_and_wake(context, 2);
}

/* The victim sleeps and nobody helped it. */
static void all_is_done(void *memory, const struct step_victim *victim, void *context)
{
    struct scene *scene = context;

    (void)memory;
    CHECK(victim->asleep);
    bed_drain(&scene->bed);
    if (brood__dispatch_has_ready(&scene->bed.dispatch.view))
        FAIL("a lane sleeps over a task");
    bed_check_ends(&scene->bed);
    bed_repair(&scene->bed, VICTIM);
    bed_check_capacity(&scene->bed);
}

TEST_LIMIT(no_task_is_slept_over, 600)
{
    struct scene scene = {.tasks = 0};

    pause_work(&scene, publish_meanwhile, all_is_done, "a lane that goes to sleep");
}

TEST_LIMIT(a_search_sleeps_over_no_task, 600)
{
    struct scene scene = {.tasks = 1, .spins = 3};

    pause_work(&scene, publish_meanwhile, all_is_done, "a search");
}

/* Whatever an owner may do: take results, use their slots again, revoke, publish more. */
static void own_meanwhile(void *memory, const struct step_victim *victim, void *context)
{
    struct scene *scene = context;

    (void)memory;
    bed_drain(&scene->bed);
    for (uint32_t slot = 0; slot < shape.slots; slot += 2)
        if (scene->bed.task_of[slot] != NO_SLOT)
            bed_revoke(&scene->bed, slot);
    while (bed_has_room(&scene->bed))
        publish_and_wake(scene, victim->point % RINGS);
}

TEST_LIMIT(revoke_drain_and_publish_fit_between_any_two_steps, 600)
{
    struct scene scene = {.tasks = 3, .spins = 1};

    pause_work(&scene, own_meanwhile, all_is_done, "work, with a busy owner");
}

/* Lane 1 dies with one task begun and one not, and the others work, while the victim is held up. */
static void others_meanwhile(void *memory, const struct step_victim *victim, void *context)
{
    struct scene *scene = context;
    struct lane_self self = bed_lane(&scene->bed, SLEEPER);
    uint32_t slot = brood__lane_claim(&self);

    (void)memory;
    (void)victim;
    if (slot != NO_SLOT) {
        brood__lane_start(&self, slot);
        (void)atomic_fetch_add(&scene->bed.witness->began[scene->bed.task_of[slot]], 1);
    }
    (void)brood__lane_claim(&self);
    bed_repair(&scene->bed, SLEEPER);
    publish_and_wake(scene, 0);
}

TEST_LIMIT(a_death_of_another_does_not_disturb, 600)
{
    struct scene scene = {.tasks = 3, .spins = 1};

    pause_work(&scene, others_meanwhile, all_is_done, "work, with a death beside it");
}

/* ---- the news reaches an owner that falls asleep ---- */

/* As run/pool_wait.c and the supervisor do. */
static void owner_falls_asleep(void *memory, const struct step_victim *victim, void *context)
{
    struct scene *scene = context;
    struct dispatch_control *control = scene->bed.dispatch.view.control;

    (void)memory;
    (void)victim;
    scene->owner_word = atomic_load(&control->owner_word);
    bed_drain(&scene->bed);
    atomic_store(&control->owner_waits, 1);
    atomic_store(&control->bell_armed, 1);
    atomic_thread_fence(memory_order_seq_cst);
    bed_drain(&scene->bed);
}

static void owner_is_awake(void *memory, const struct step_victim *victim, void *context)
{
    struct scene *scene = context;
    struct dispatch_control *control = scene->bed.dispatch.view.control;
    bool knew = scene->bed.tasks[0].end == BED_DONE;
    struct pollfd fd = {.fd = scene->bell, .events = POLLIN};

    (void)memory;
    CHECK(victim->finished);
    if (!knew) {
        CHECK(atomic_load(&control->owner_word) != scene->owner_word);
        CHECK_EQ(atomic_load(&control->owner_waits), 0);
        CHECK_EQ(brood__fd_wait(&fd, 1, 0), 1);
    }
    bed_drain(&scene->bed);
    bed_check_ends(&scene->bed);
}

TEST_LIMIT(no_owner_sleeps_over_a_result, 600)
{
    struct scene scene = {.tasks = 1, .owner_sleeps = true};
    struct step_plan plan =
        plan_of(&scene, finish_one, owner_is_awake, "finish, with an owner that falls asleep");

    plan.prepare = claim_and_start;
    plan.meanwhile = owner_falls_asleep;
    step_pause(&plan);
}

/* ---- the kill fence ---- */

/* The owner aims at each task that it knows the victim to have, until a kill is confirmed. */
static void aim(void *memory, const struct step_victim *victim, void *context)
{
    struct scene *scene = context;
    struct dispatch *dispatch = &scene->bed.dispatch;

    (void)memory;
    (void)victim;
    for (uint32_t slot = 0; slot < shape.slots && !scene->confirmed; slot++)
        if (brood__dispatch_lane_of(dispatch, slot) == VICTIM &&
            brood__dispatch_kill(dispatch, VICTIM, slot)) {
            scene->confirmed = true;
            scene->bed.killed_id = brood__dispatch_id(dispatch, slot);
        }
    for (unsigned task = 0; task < scene->bed.task_count; task++)
        scene->began[task] = atomic_load(&scene->bed.witness->began[task]);
}

/* That the task which was aimed at begins is no harm. */
static void check_innocents(const struct scene *scene)
{
    uint64_t killed = (scene->bed.killed_id - 1) & (SLOTS_MAX - 1);

    for (unsigned task = 0; task < scene->bed.task_count; task++)
        if (scene->bed.tasks[task].slot != killed &&
            scene->began[task] != atomic_load(&scene->bed.witness->began[task]))
            FAIL("a kill for task in slot %u hits task %u", (unsigned)killed, task);
}

static void no_innocent_is_hit(void *memory, const struct step_victim *victim, void *context)
{
    struct scene *scene = context;

    (void)memory;
    CHECK(victim->asleep);
    if (!scene->confirmed) {
        all_is_done(memory, victim, context);
        return;
    }
    check_innocents(scene);
    bed_repair(&scene->bed, VICTIM);
    bed_do_all(&scene->bed, VICTIM);
    bed_check_ends(&scene->bed);
    bed_check_capacity(&scene->bed);
}

TEST_LIMIT(a_kill_hits_no_innocent, 600)
{
    struct scene scene = {.tasks = 3};

    pause_work(&scene, aim, no_innocent_is_hit, "work, with a kill");
}

/* The other way round: the owner is held up while it aims at the first task of lane 1, a process
 * that meanwhile finishes it and goes on to the second. */

static void arrange_duel(void *memory, void *context)
{
    struct scene *scene = context;

    arrange_scene(memory, context);
    scene->self = bed_lane(&scene->bed, SLEEPER);
    claim_and_start(memory, context);
}

static void own_kill(void *memory, void *context)
{
    struct scene *scene = context;

    (void)memory;
    atomic_store(&scene->bed.witness->answer,
                 1 + brood__dispatch_kill(&scene->bed.dispatch, SLEEPER, scene->slot));
}

static void lane_goes_on(void *memory, const struct step_victim *victim, void *context)
{
    struct scene *scene = context;

    (void)victim;
    scene->sleeper_pid = CHECK_OK(fork());
    if (scene->sleeper_pid == 0) {
        finish_one(memory, context);
        claim_and_start(memory, context);
        _exit(0);
    }
    process_await_rest(scene->sleeper_pid);
}

static void kill_is_fair(void *memory, const struct step_victim *victim, void *context)
{
    struct scene *scene = context;
    bool confirmed = atomic_load(&scene->bed.witness->answer) == 2;

    (void)memory;
    CHECK(victim->finished);
    if (!confirmed)
        process_await_end(scene->sleeper_pid, "a kill was withdrawn, and its lane still waits");
    CHECK_EQ(atomic_load(&scene->bed.witness->began[1]), !confirmed);
}

TEST_LIMIT(an_owner_held_up_in_a_kill_is_fair, 600)
{
    struct scene scene = {.tasks = 2};
    struct step_plan plan =
        plan_of(&scene, own_kill, kill_is_fair, "a kill, with a lane that goes on");

    plan.setup = arrange_duel;
    plan.meanwhile = lane_goes_on;
    step_pause(&plan);
}

/* And held up between showing a task and waking a lane, which meanwhile falls asleep. */
static void own_publish(void *memory, void *context)
{
    struct scene *scene = context;
    int lane;

    (void)memory;
    show_tasks(scene);
    lane = brood__dispatch_wake_pick(&scene->bed.dispatch);
    if (lane >= 0)
        brood__lane_wake(&scene->bed.dispatch.view, (uint32_t)lane);
}

static void lane_looks(void *memory, const struct step_victim *victim, void *context)
{
    struct scene *scene = context;

    (void)victim;
    scene->sleeper_pid = CHECK_OK(fork());
    if (scene->sleeper_pid == 0) {
        scene->slot = brood__lane_next(&scene->self);
        start_one(memory, context);
        _exit(0);
    }
    process_await_rest(scene->sleeper_pid);
}

static void task_is_begun(void *memory, const struct step_victim *victim, void *context)
{
    struct scene *scene = context;

    (void)memory;
    CHECK(victim->finished);
    process_await_end(scene->sleeper_pid, "a lane sleeps over a task");
    CHECK_EQ(atomic_load(&scene->bed.witness->began[0]), 1);
}

TEST_LIMIT(an_owner_held_up_in_a_publish_strands_nobody, 600)
{
    struct scene scene = {.hidden = 1, .spins = 2};
    struct step_plan plan =
        plan_of(&scene, own_publish, task_is_begun, "a publish, with a lane that falls asleep");

    plan.meanwhile = lane_looks;
    step_pause(&plan);
}

/* ---- sweeps that must fail ---- */

#if BROOD_MUTANT == 0

TEST(no_kill_fence_is_caught)
{
    report_must_catch("dispatch_no_kill_fence", "a_kill_hits_no_innocent", "hits task");
}

TEST(a_claim_that_moves_the_head_first_is_caught)
{
    report_must_catch("dispatch_anonymous_claim", "a_lane_may_die_in_a_claim", "ended 0 times");
}

TEST(a_sleep_without_a_second_look_is_caught)
{
    report_must_catch("dispatch_no_recheck", "no_task_is_slept_over", "a lane sleeps over a task");
}

#endif
