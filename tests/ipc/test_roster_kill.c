/* SPDX-License-Identifier: MIT */
/*
 * A participant may be killed, or held up, before any instruction of joining, leaving, looking and
 * falling asleep, and still everybody who sleeps hears of every death, no living one is buried,
 * each death counts once, and all slots come back.
 *
 * In each scene real processes sleep until a certain tag is dead. The kernel wakes one of them for
 * a death; that one is held up, by this program's brood__futex_wait_any(), until the victim has
 * come to its end. So the others depend on what the victim has left, and on the one that was held
 * up.
 *
 * This file is compiled again for each mutant of roster.c and roster_sleep.c (BROOD_MUTANT), in
 * which the sweeps must fail; the tests at the end look whether they do.
 */
#include "harness/report.h"
#include "harness/step.h"
#include "ipc/roster_bed.h"

#include <errno.h>
#include <sched.h>

#ifndef BROOD_MUTANT
#define BROOD_MUTANT 0
#endif

enum { SLEEPERS_MAX = 3 };

/* Behind the board, in the same page. */
struct notes {
    _Atomic uint32_t hold;     /* 1: whoever is woken waits here */
    _Atomic uint32_t woken;    /* how many were */
    _Atomic roster_tag wanted; /* sleepers end when that one is dead */
    _Atomic uint32_t over;     /* or when this is set */
    _Atomic uint32_t heard;    /* how many sleepers have ended */
    _Atomic uint32_t may_go;   /* until then they stay: a leave would wake others */
    _Atomic roster_tag victim;
};

struct scene {
    /* What a test asks for. */
    unsigned slots, sleepers;
    bool dies_first; /* the player is dead before the victim begins, and no sleeper has looked */
    bool is_watched; /* sleepers want the victim's death, not the player's */

    struct bed bed;
    struct notes *notes;
    unsigned player;
    roster_tag me; /* the victim's */
};

static struct gate *note_gates[2];
static struct notes *held_by; /* in sleepers */

int __wrap_brood__futex_wait_any(const struct futex_watch *watches, unsigned count,
                                 int64_t deadline);
int __real_brood__futex_wait_any(const struct futex_watch *watches, unsigned count,
                                 int64_t deadline);

int __wrap_brood__futex_wait_any(const struct futex_watch *watches, unsigned count,
                                 int64_t deadline)
{
    int r = __real_brood__futex_wait_any(watches, count, deadline);

    if (held_by == NULL)
        return r;
    (void)atomic_fetch_add(&held_by->woken, 1);
    brood__futex_wake(&held_by->woken, 1);
    while (atomic_load(&held_by->hold) != 0)
        (void)brood__futex_wait(&held_by->hold, 1, NEVER);
    return r;
}

/* ---- those who sleep ---- */

static bool is_over(const struct scene *scene)
{
    roster_tag wanted = atomic_load(&scene->notes->wanted);

    return atomic_load(&scene->notes->over) != 0 ||
           (wanted != 0 && !brood__roster_alive(scene->bed.roster, wanted));
}

static void sleep_until_over(struct scene *scene, roster_tag me)
{
    for (;;) {
        uint32_t moment = brood__roster_moment(scene->bed.roster);

        if (is_over(scene))
            return;
        (void)brood__roster_sleep(scene->bed.roster, me, &scene->bed.board->word, 0, moment, NEVER);
    }
}

static void start_sleeper(struct scene *scene)
{
    struct bed *bed = &scene->bed;
    unsigned player = bed->players++;

    bed->pids[player] = CHECK_OK(fork());
    if (bed->pids[player] == 0) {
        roster_tag me = bed_join(bed);

        held_by = scene->notes;
        gate_count(bed->joined);
        sleep_until_over(scene, me);
        (void)atomic_fetch_add(&held_by->heard, 1);
        brood__futex_wake(&held_by->heard, UINT32_MAX);
        while (atomic_load(&held_by->may_go) == 0)
            (void)brood__futex_wait(&held_by->may_go, 0, NEVER);
        brood__roster_leave(bed->roster, me);
        _exit(0);
    }
    gate_wait_count(bed->joined, bed->players);
    bed_await_rest(bed->pids[player]);
}

static void await_sleepers_rest(struct scene *scene)
{
    for (unsigned i = 0; i < scene->bed.players; i++)
        if (i != scene->player)
            bed_await_rest(scene->bed.pids[i]);
}

/* The player dies, and one sleeper knows, but has not looked. */
static void kill_player_unnoticed(struct scene *scene)
{
    struct notes *notes = scene->notes;
    int64_t deadline = deadline_in(TEST_PATIENCE_MS);

    await_sleepers_rest(scene);
    atomic_store(&notes->hold, 1);
    atomic_store(&notes->woken, 0);
    bed_kill(&scene->bed, scene->player);
    while (atomic_load(&notes->woken) == 0 && left_ns(deadline) > 0)
        (void)brood__futex_wait(&notes->woken, 0, deadline);
    if (atomic_load(&notes->woken) == 0)
        FAIL("a death wakes nobody");
}

static void let_go(struct scene *scene)
{
    atomic_store(&scene->notes->hold, 0);
    brood__futex_wake(&scene->notes->hold, UINT32_MAX);
}

static void await_all_heard(struct scene *scene)
{
    struct notes *notes = scene->notes;
    int64_t deadline = deadline_in(TEST_PATIENCE_MS);
    uint32_t heard;

    while ((heard = atomic_load(&notes->heard)) < scene->sleepers) {
        if (left_ns(deadline) == 0)
            FAIL("a sleeper is stranded");
        (void)brood__futex_wait(&notes->heard, heard, deadline);
    }
}

static void await_sleepers(struct scene *scene)
{
    await_all_heard(scene);
    atomic_store(&scene->notes->may_go, 1);
    brood__futex_wake(&scene->notes->may_go, UINT32_MAX);
    for (unsigned i = 0; i < scene->bed.players; i++)
        if (scene->bed.pids[i] != 0 && i != scene->player)
            bed_await_end(&scene->bed, i, "a sleeper does not end");
}

/* ---- the scene ---- */

static size_t scene_len(const struct scene *scene)
{
    return bed_len(scene->slots);
}

static void arrange(void *memory, void *context)
{
    struct scene *scene = context;

    scene->bed = bed_over(memory, scene->slots);
    scene->notes = (void *)(scene->bed.board + 1);
    scene->player = bed_player(&scene->bed);
    if (!scene->is_watched)
        atomic_store(&scene->notes->wanted, bed_tag(&scene->bed, scene->player));
    for (unsigned i = 0; i < scene->sleepers; i++)
        start_sleeper(scene);
    if (scene->dies_first)
        kill_player_unnoticed(scene);
}

static void clear(void *memory, void *context)
{
    struct scene *scene = context;

    (void)memory;
    bed_end(&scene->bed);
}

/* In the victim: sleepers know it, and sleep. */
static void take_part(void *memory, void *context)
{
    struct scene *scene = context;

    (void)memory;
    scene->me = bed_join(&scene->bed);
    atomic_store(&scene->notes->victim, scene->me);
    if (scene->is_watched)
        atomic_store(&scene->notes->wanted, scene->me);
    if (!scene->dies_first)
        await_sleepers_rest(scene);
}

/* What it does after joining is done by a participant, so others must hear of its death. */
static void join_and_claim(void *memory, void *context)
{
    struct scene *scene = context;
    roster_tag me = 0;

    (void)memory;
    (void)brood__roster_join(scene->bed.roster, &me);
    atomic_store(&scene->notes->victim, me);
    if (scene->is_watched)
        atomic_store(&scene->notes->wanted, me);
}

static void leave(void *memory, void *context)
{
    struct scene *scene = context;

    (void)memory;
    brood__roster_leave(scene->bed.roster, scene->me);
}

static void look(void *memory, void *context)
{
    struct scene *scene = context;

    (void)memory;
    brood__roster_look(scene->bed.roster);
}

static void fall_asleep(void *memory, void *context)
{
    struct scene *scene = context;

    (void)memory;
    sleep_until_over(scene, scene->me);
}

/* ---- the questions ---- */

static void check_all_slots(struct scene *scene)
{
    struct roster *roster = scene->bed.roster;
    roster_tag tags[16] = {0}, more = 0;

    for (unsigned i = 0; i < scene->slots; i++) {
        tags[i] = bed_join(&scene->bed);
        CHECK(brood__roster_alive(roster, tags[i]));
    }
    CHECK_ERR(brood__roster_join(roster, &more), -EAGAIN);
    for (unsigned i = 0; i < scene->slots; i++)
        brood__roster_leave(roster, tags[i]);
}

static void check_deaths(struct scene *scene, uint32_t least, uint32_t most)
{
    uint32_t deaths;

    brood__roster_look(scene->bed.roster);
    deaths = brood__roster_deaths(scene->bed.roster);
    if (deaths < least || deaths > most)
        FAIL("%u deaths were counted, not %u to %u", deaths, least, most);
}

/* The player and, if it had joined, the victim are dead. */
static void all_hear_of_it(void *memory, const struct step_victim *victim, void *context)
{
    struct scene *scene = context;
    uint32_t joined = atomic_load(&scene->notes->victim) != 0;

    (void)memory;
    (void)victim;
    /* It was killed before it did anything that others wait for. */
    if (atomic_load(&scene->notes->wanted) == 0) {
        atomic_store(&scene->notes->over, 1);
        bed_ring(&scene->bed);
    }
    let_go(scene);
    await_sleepers(scene);
    bed_kill(&scene->bed, scene->player);
    check_deaths(scene, 1 + joined, 2);
    check_all_slots(scene);
}

/* Whether it left before it was killed, or not. */
static void a_leave_is_heard_of(void *memory, const struct step_victim *victim, void *context)
{
    struct scene *scene = context;

    (void)memory;
    let_go(scene);
    await_sleepers(scene);
    check_deaths(scene, victim->point == 0, victim->finished ? 0 : 1);
    bed_kill(&scene->bed, scene->player);
    check_all_slots(scene);
}

typedef void step_fn(void *memory, void *context);
typedef void oracle_fn(void *memory, const struct step_victim *victim, void *context);

static struct step_plan plan_of(struct scene *scene, step_fn *prepare, step_fn *operation,
                                oracle_fn *oracle)
{
    roster_tag first;
    struct bed bed = bed_open(1);

    /* The first join of a thread goes another way than the next ones; victims are its copies. */
    first = bed_join(&bed);
    brood__roster_leave(bed.roster, first);
    bed_close(&bed);
    return (struct step_plan){.memory_len = scene_len(scene),
                              .setup = arrange,
                              .prepare = prepare,
                              .operation = operation,
                              .oracle = oracle,
                              .teardown = clear,
                              .context = scene,
                              .sample = 60};
}

/* ---- killed ---- */

TEST_LIMIT(a_joiner_may_die_anywhere, 300)
{
    struct scene scene = {.slots = 4, .sleepers = 2, .is_watched = true};
    struct step_plan plan = plan_of(&scene, NULL, join_and_claim, all_hear_of_it);

    step_kill(&plan);
}

TEST_LIMIT(a_joiner_may_die_in_the_place_of_a_dead_one, 300)
{
    struct scene scene = {.slots = 3, .sleepers = 2, .dies_first = true};
    struct step_plan plan = plan_of(&scene, NULL, join_and_claim, all_hear_of_it);

    step_kill(&plan);
}

TEST_LIMIT(a_leaver_may_die_anywhere, 300)
{
    struct scene scene = {.slots = 4, .sleepers = 2, .is_watched = true};
    struct step_plan plan = plan_of(&scene, take_part, leave, a_leave_is_heard_of);

    step_kill(&plan);
}

TEST_LIMIT(who_looks_for_the_dead_may_die_anywhere, 300)
{
    struct scene scene = {.slots = 4, .sleepers = 2, .dies_first = true};
    struct step_plan plan = plan_of(&scene, take_part, look, all_hear_of_it);

    step_kill(&plan);
}

TEST_LIMIT(who_looks_and_takes_no_part_may_die_anywhere, 300)
{
    struct scene scene = {.slots = 4, .sleepers = 2, .dies_first = true};
    struct step_plan plan = plan_of(&scene, NULL, look, all_hear_of_it);

    step_kill(&plan);
}

TEST_LIMIT(who_falls_asleep_may_die_anywhere, 300)
{
    struct scene scene = {.slots = 4, .sleepers = 2, .is_watched = true};
    struct step_plan plan = plan_of(&scene, take_part, fall_asleep, all_hear_of_it);

    step_kill(&plan);
}

TEST_LIMIT(who_meets_a_death_when_falling_asleep_may_die_anywhere, 300)
{
    struct scene scene = {.slots = 4, .sleepers = 2, .dies_first = true};
    struct step_plan plan = plan_of(&scene, take_part, fall_asleep, all_hear_of_it);

    step_kill(&plan);
}

TEST_LIMIT(a_second_joiner_may_die_after_the_first, 300)
{
    struct scene scene = {.slots = 3, .sleepers = 2, .dies_first = true};
    struct step_plan plan = plan_of(&scene, NULL, join_and_claim, NULL);

    plan.oracle = all_hear_of_it;
    plan.repair = look;
    step_kill_repair(&plan);
}

static void join_only(void *memory, void *context)
{
    struct scene *scene = context;
    roster_tag me = 0;

    (void)memory;
    (void)brood__roster_join(scene->bed.roster, &me);
}

/* Three may be dead: the player, the victim, and the second one. */
static void all_hear_of_all(void *memory, const struct step_victim *victim, void *context)
{
    struct scene *scene = context;

    (void)memory;
    (void)victim;
    let_go(scene);
    await_sleepers(scene);
    check_deaths(scene, 1, 3);
    check_all_slots(scene);
}

TEST_LIMIT(a_joiner_may_die_after_one_who_looked, 300)
{
    struct scene scene = {.slots = 3, .sleepers = 2, .dies_first = true};
    struct step_plan plan = plan_of(&scene, NULL, look, all_hear_of_all);

    plan.repair = join_only;
    step_kill_repair(&plan);
}

/* ---- held up ---- */

static void player_dies(void *memory, const struct step_victim *victim, void *context)
{
    struct scene *scene = context;

    (void)memory;
    (void)victim;
    bed_kill(&scene->bed, scene->player);
    await_all_heard(scene);
}

static void it_was_heard_of(void *memory, const struct step_victim *victim, void *context)
{
    struct scene *scene = context;

    (void)memory;
    if (victim->asleep)
        FAIL("who was held up sleeps over a death");
    await_sleepers(scene);
    check_deaths(scene, 1, 2);
    check_all_slots(scene);
}

TEST_LIMIT(a_death_is_heard_of_by_one_who_is_just_falling_asleep, 300)
{
    struct scene scene = {.slots = 4, .sleepers = 2};
    struct step_plan plan = plan_of(&scene, take_part, fall_asleep, it_was_heard_of);

    plan.meanwhile = player_dies;
    step_pause(&plan);
}

TEST_LIMIT(a_death_while_another_joins_is_heard_of, 300)
{
    struct scene scene = {.slots = 4, .sleepers = 2};
    struct step_plan plan = plan_of(&scene, NULL, join_and_claim, it_was_heard_of);

    plan.meanwhile = player_dies;
    step_pause(&plan);
}

static void others_look(void *memory, const struct step_victim *victim, void *context)
{
    struct scene *scene = context;

    (void)memory;
    (void)victim;
    brood__roster_look(scene->bed.roster);
}

static void nobody_is_dead(void *memory, const struct step_victim *victim, void *context)
{
    struct scene *scene = context;

    (void)memory;
    CHECK(victim->finished);
    await_sleepers(scene);
    check_deaths(scene, 0, 0);
}

TEST_LIMIT(a_leaver_held_up_is_no_death, 300)
{
    struct scene scene = {.slots = 4, .sleepers = 1, .is_watched = true};
    struct step_plan plan = plan_of(&scene, take_part, leave, nobody_is_dead);

    plan.meanwhile = others_look;
    step_pause(&plan);
}

/* The dead player's slot has a new holder, who leaves, and another one, before the victim goes
 * on. */
static void others_come_and_go(void *memory, const struct step_victim *victim, void *context)
{
    struct scene *scene = context;

    (void)memory;
    (void)victim;
    for (int i = 0; i < 3; i++) {
        roster_tag tag = 0;

        if (brood__roster_join(scene->bed.roster, &tag) == 0)
            brood__roster_leave(scene->bed.roster, tag);
    }
    (void)brood__roster_join(scene->bed.roster, &scene->me);
}

static void the_living_live(void *memory, const struct step_victim *victim, void *context)
{
    struct scene *scene = context;

    (void)memory;
    CHECK(victim->finished);
    CHECK(scene->me == 0 || brood__roster_alive(scene->bed.roster, scene->me));
    if (scene->me != 0)
        brood__roster_leave(scene->bed.roster, scene->me);
    scene->me = 0;
    let_go(scene);
    await_sleepers(scene);
    check_deaths(scene, 1, 2);
    check_all_slots(scene);
}

TEST_LIMIT(who_is_held_up_in_a_look_buries_nobody_alive, 300)
{
    struct scene scene = {.slots = 3, .sleepers = 2, .dies_first = true};
    struct step_plan plan = plan_of(&scene, NULL, look, the_living_live);

    plan.meanwhile = others_come_and_go;
    step_pause(&plan);
}

TEST_LIMIT(who_is_held_up_in_a_join_takes_nobodys_slot, 300)
{
    struct scene scene = {.slots = 3, .sleepers = 2, .dies_first = true};
    struct step_plan plan = plan_of(&scene, NULL, join_only, the_living_live);

    plan.meanwhile = others_come_and_go;
    step_pause(&plan);
}

enum { NOTE = 77 };

static void leave_when_the_gate_opens(struct bed *bed, roster_tag me)
{
    brood__roster_note(bed->roster, me, NOTE);
    gate_count(bed->joined);
    gate_wait(note_gates[0]);
    brood__roster_leave(bed->roster, me);
    gate_open(note_gates[1]);
    bed_wait_for_ever(bed, me);
}

static void one_with_a_note(void *memory, void *context)
{
    struct scene *scene = context;

    scene->bed = bed_over(memory, scene->slots);
    for (unsigned i = 0; i < 2; i++)
        note_gates[i] = gate_new();
    scene->player = bed_start(&scene->bed, leave_when_the_gate_opens);
    gate_wait_count(scene->bed.joined, 2);
}

static void look_for_the_note(void *memory, void *context)
{
    struct scene *scene = context;

    (void)memory;
    atomic_store(&scene->bed.board->answers[0], brood__roster_dead_note(scene->bed.roster, NOTE));
}

static void it_leaves(void *memory, const struct step_victim *victim, void *context)
{
    (void)memory;
    (void)victim;
    (void)context;
    gate_open(note_gates[0]);
    gate_wait(note_gates[1]);
}

static void no_dead_one_had_it(void *memory, const struct step_victim *victim, void *context)
{
    struct scene *scene = context;

    (void)memory;
    CHECK(victim->finished);
    if (atomic_load(&scene->bed.board->answers[0]) != 0)
        FAIL("one that left is taken for dead");
}

static void clear_with_gates(void *memory, void *context)
{
    clear(memory, context);
    for (unsigned i = 0; i < 2; i++)
        gate_free(note_gates[i]);
}

static void step_over_a_leave(struct scene *scene)
{
    struct step_plan plan = plan_of(scene, NULL, look_for_the_note, no_dead_one_had_it);

    plan.setup = one_with_a_note;
    plan.teardown = clear_with_gates;
    plan.meanwhile = it_leaves;
    step_pause(&plan);
}

TEST_LIMIT(who_leaves_while_its_note_is_looked_for_is_not_dead, 300)
{
    struct scene scene = {.slots = 3};

    step_over_a_leave(&scene);
}

/* ---- two things at once ---- */

TEST(a_death_is_told_by_one_whose_word_has_changed_too)
{
    struct scene scene = {.slots = 4, .sleepers = 3, .dies_first = true};
    size_t len = scene_len(&scene);
    void *memory = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    CHECK(memory != MAP_FAILED);
    arrange(memory, &scene);
    atomic_store(&scene.bed.board->word, 1);
    let_go(&scene);
    await_sleepers(&scene);
    check_deaths(&scene, 1, 1);
    clear(memory, &scene);
    CHECK_OK(munmap(memory, len));
}

/* ---- sweeps that must fail ---- */

#if BROOD_MUTANT == 0

TEST_LIMIT(a_join_that_nobody_is_told_of_is_caught, 120)
{
    report_must_catch("roster_silent_join", "a_joiner_may_die_anywhere", "stranded");
}

TEST_LIMIT(a_burial_that_nobody_is_told_of_is_caught, 120)
{
    report_must_catch("roster_silent_burial", "who_looks_and_takes_no_part_may_die_anywhere",
                      "stranded");
}

TEST_LIMIT(a_watcher_that_the_kernel_does_not_know_of_is_caught, 120)
{
    report_must_catch("roster_no_waiters_bit", "who_falls_asleep_may_die_anywhere", "stranded");
}

TEST_LIMIT(a_sleeper_that_looks_at_lives_only_is_caught, 120)
{
    report_must_catch("roster_looks_at_life_only",
                      "a_death_is_told_by_one_whose_word_has_changed_too", "stranded");
}

TEST_LIMIT(a_burial_that_is_over_before_it_is_told_is_caught, 120)
{
    report_must_catch("roster_buries_before_telling", "a_joiner_may_die_in_the_place_of_a_dead_one",
                      "stranded");
}

TEST_LIMIT(a_leave_that_is_over_before_it_is_told_is_caught, 120)
{
    report_must_catch("roster_leaves_before_telling", "a_leaver_may_die_anywhere", "stranded");
}

#endif
