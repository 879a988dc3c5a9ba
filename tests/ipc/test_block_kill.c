/* SPDX-License-Identifier: MIT */
/*
 * Whatever dies where, and whoever is held up where, every chunk that is nobody's can be had again,
 * and no chunk has two owners. If it did not hold, a killed process would cost memory for ever.
 *
 * Steps (harness/step.h) cut or hold up each operation everywhere. This file is compiled again for
 * a mutant of block.c (BROOD_MUTANT), in which it must fail.
 */
#include "harness/report.h"
#include "harness/step.h"
#include "harness/test.h"

#include "ipc/block_bed.h"

#include <stdatomic.h>

#ifndef BROOD_MUTANT
#define BROOD_MUTANT 0
#endif

/* In front of everything: whether the victim got what it wanted. */
struct note {
    _Atomic int result;
};

static struct note *note_of(const struct bed *bed)
{
    return (struct note *)(void *)bed->region.base;
}

/*
 * At first: [ A A ][ passed x3 ][ C ][ dead x4 ][ L L L ][ 11 free ] = 24 chunks, 6 of them used.
 */
enum { USED = 6 };

struct scene {
    struct bed bed;
    uint64_t kept, single, linked;
    unsigned count;      /* chunks that the victim takes */
    unsigned used_after; /* when the operation was done and its process is dead */
    uint64_t offsets[CHUNKS];
    unsigned taken; /* of the offsets, by others meanwhile */
};

static void arrange_scene(void *memory, void *context)
{
    struct scene *scene = context;
    struct bed *bed = &scene->bed;
    uint64_t lost;

    bed_make(bed, memory, CHUNKS);
    scene->kept = keep_chunks(bed, 2);
    scene->single = take_chunks(bed, 3);
    brood__block_link(&bed->region, scene->single, queue_offset, PASSED);
    lost = scene->single;
    scene->single = keep_chunks(bed, 1);
    (void)lose_chunks(bed, 4);
    scene->linked = link_chunks(bed, 3, PASSED + 5);
    /* Only now passed, or the next block would have gone there. */
    CHECK(unlink_block(bed, lost, PASSED));
    CHECK_EQ(link_chunks(bed, 3, PASSED - 1), lost);
    CHECK_EQ(used_chunks(bed), USED);
    scene->taken = 0;
}

static void clear_scene(void *memory, void *context)
{
    struct scene *scene = context;

    (void)memory;
    bed_done(&scene->bed);
}

static void join_roster(void *memory, void *context)
{
    struct scene *scene = context;

    (void)memory;
    CHECK_OK(brood__roster_join(scene->bed.region.roster, &scene->bed.me));
}

/* What a victim does with what it got: a mark in each chunk. */
static void mark(struct scene *scene, uint64_t offset, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++)
        scene->bed.region.base[offset + i * chunk_len()] = 'V';
}

static uint64_t victim_takes(struct scene *scene)
{
    uint64_t offset = 0;
    int r =
        brood__block_take(&scene->bed.region, scene->bed.me, scene->count * chunk_len(), &offset);

    if (r == 0)
        mark(scene, offset, scene->count);
    atomic_store(&note_of(&scene->bed)->result, r);
    return r < 0 ? 0 : offset;
}

static void take_some(void *memory, void *context)
{
    (void)memory;
    (void)victim_takes(context);
}

/* Who comes after a death, and takes what was left. */
static void come_and_take(void *memory, void *context)
{
    join_roster(memory, context);
    take_some(memory, context);
}

static void take_and_keep(void *memory, void *context)
{
    struct scene *scene = context;
    uint64_t offset = victim_takes(scene);

    (void)memory;
    if (offset != 0)
        brood__block_keep(&scene->bed.region, offset);
}

static void take_and_link(void *memory, void *context)
{
    struct scene *scene = context;
    uint64_t offset = victim_takes(scene);

    (void)memory;
    if (offset != 0)
        brood__block_link(&scene->bed.region, offset, queue_offset, PASSED + 9);
}

static void give_single(void *memory, void *context)
{
    struct scene *scene = context;

    (void)memory;
    (void)brood__block_give(&scene->bed.region, scene->single);
}

static void release_kept(void *memory, void *context)
{
    struct scene *scene = context;

    (void)memory;
    (void)brood__block_release(&scene->bed.region, scene->bed.me, scene->kept);
}

static void unlink_linked(void *memory, void *context)
{
    struct scene *scene = context;

    (void)memory;
    (void)unlink_block(&scene->bed, scene->linked, PASSED + 5);
}

/* All that others can get while the victim stands still, and a mark in it. */
static void others_take_all(void *memory, const struct step_victim *victim, void *context)
{
    struct scene *scene = context;

    (void)memory;
    (void)victim;
    scene->taken = take_all(&scene->bed, scene->offsets);
    for (unsigned i = 0; i < scene->taken; i++)
        scene->bed.region.base[scene->offsets[i]] = 'O';
}

static void all_can_be_had(void *memory, const struct step_victim *victim, void *context)
{
    struct scene *scene = context;
    uint64_t used;

    (void)memory;
    for (unsigned i = 0; i < scene->taken; i++)
        CHECK_EQ(scene->bed.region.base[scene->offsets[i]], 'O');
    give_all(&scene->bed, scene->offsets, scene->taken);
    scene->taken = 0;
    used = used_chunks(&scene->bed);
    if (victim->finished && atomic_load(&note_of(&scene->bed)->result) == 0)
        CHECK_EQ(used, scene->used_after);
    else
        CHECK(used == USED || used == scene->used_after);
    check_conserved(&scene->bed);
}

typedef void step_fn(void *memory, void *context);

static struct step_plan plan_of(struct scene *scene, step_fn *operation, const char *name)
{
    return (struct step_plan){.memory_len = bed_len(CHUNKS),
                              .setup = arrange_scene,
                              .prepare = join_roster,
                              .operation = operation,
                              .oracle = all_can_be_had,
                              .teardown = clear_scene,
                              .context = scene,
                              .name = name};
}

static void cut(unsigned count, step_fn *operation, unsigned used_after, const char *name)
{
    struct scene scene = {.count = count, .used_after = used_after};
    struct step_plan plan = plan_of(&scene, operation, name);

    step_kill(&plan);
}

static void hold_up(unsigned count, step_fn *operation, unsigned used_after, const char *name)
{
    struct scene scene = {.count = count, .used_after = used_after};
    struct step_plan plan = plan_of(&scene, operation, name);

    plan.meanwhile = others_take_all;
    step_pause(&plan);
}

static void cut_twice(unsigned count, step_fn *operation, unsigned used_after, const char *name)
{
    struct scene scene = {.count = count, .used_after = used_after};
    struct step_plan plan = plan_of(&scene, operation, name);

    plan.repair = come_and_take;
    step_kill_repair(&plan);
}

TEST_LIMIT(a_death_in_a_take_loses_no_chunk, 120)
{
    cut(1, take_some, USED, "take 1");
    cut(3, take_some, USED, "take 3");
    cut(9, take_some, USED, "take 9");
    cut(CHUNKS - USED, take_some, USED, "take too many");
}

/* Nothing was taken, lost or linked before, so that the mutant fails by its claim alone. */
static void arrange_nothing(void *memory, void *context)
{
    struct scene *scene = context;

    bed_make(&scene->bed, memory, CHUNKS);
    scene->taken = 0;
}

TEST_LIMIT(a_death_in_a_first_take_loses_no_chunk, 120)
{
    struct scene scene = {.count = 3};
    struct step_plan plan = plan_of(&scene, take_some, "first take");

    plan.setup = arrange_nothing;
    step_kill(&plan);
}

TEST_LIMIT(a_death_in_handing_on_leaves_a_block_or_none, 120)
{
    cut(4, take_and_keep, USED + 4, "keep");
    cut(2, take_and_link, USED + 2, "link");
}

TEST_LIMIT(a_death_in_giving_back_leaves_a_block_or_none, 120)
{
    cut(0, give_single, USED - 1, "give");
    cut(0, release_kept, USED - 2, "release");
    cut(0, unlink_linked, USED - 3, "unlink");
}

TEST_LIMIT(who_is_held_up_in_a_take_shares_no_chunk_with_others, 120)
{
    hold_up(1, take_and_keep, USED + 1, "take 1, held up");
    hold_up(3, take_and_keep, USED + 3, "take 3, held up");
    hold_up(9, take_and_keep, USED + 9, "take 9, held up");
    hold_up(2, take_and_link, USED + 2, "link, held up");
}

TEST_LIMIT(who_is_held_up_in_giving_back_gives_nobody_elses, 120)
{
    hold_up(0, give_single, USED - 1, "give, held up");
    hold_up(0, release_kept, USED - 2, "release, held up");
    hold_up(0, unlink_linked, USED - 3, "unlink, held up");
}

TEST_LIMIT(a_death_after_a_death_loses_no_chunk, 120)
{
    cut_twice(3, take_some, USED, "take 3, and again");
    cut_twice(9, take_some, USED, "take 9, and again");
}

/* ---- a large block, which loses its pages while it is released ---- */

enum { LARGE = 280, LARGE_ROOM = 300 };

static void arrange_large(void *memory, void *context)
{
    struct scene *scene = context;

    bed_make(&scene->bed, memory, LARGE_ROOM);
    scene->kept = keep_chunks(&scene->bed, LARGE);
    for (uint64_t i = 0; i < LARGE; i++)
        scene->bed.region.base[scene->kept + i * chunk_len()] = 'x';
    atomic_store(&scene->bed.region.hints->warm, UINT32_MAX / 2);
}

static void large_is_whole_or_free(void *memory, const struct step_victim *victim, void *context)
{
    struct scene *scene = context;
    struct bed *bed = &scene->bed;
    uint64_t used = used_chunks(bed);
    uint64_t offset;

    (void)memory;
    CHECK(used == 0 || (used == LARGE && !victim->finished));
    if (used == LARGE)
        CHECK(brood__block_release(&bed->region, 0, scene->kept));
    CHECK_OK(brood__block_take_zeroed(&bed->region, bed->me, LARGE_ROOM * chunk_len(), &offset));
    for (uint64_t i = 0; i < LARGE_ROOM; i++)
        CHECK_EQ(bed->region.base[offset + i * chunk_len()], 0);
    CHECK(brood__block_give(&bed->region, offset));
    check_conserved(bed);
}

TEST_LIMIT(a_death_in_releasing_a_large_block_leaves_it_or_none, 120)
{
    struct scene scene = {0};

    step_kill(&(struct step_plan){.memory_len = bed_len(LARGE_ROOM),
                                  .setup = arrange_large,
                                  .prepare = join_roster,
                                  .operation = release_kept,
                                  .oracle = large_is_whole_or_free,
                                  .teardown = clear_scene,
                                  .context = &scene,
                                  .name = "release of a large block"});
}

#if BROOD_MUTANT == 0
/* ---- the sweeps see what they are there for ---- */

TEST_LIMIT(a_claim_that_names_nobody_is_caught, 120)
{
    report_must_catch("block_anonymous_claim", "a_death_in_a_first_take_loses_no_chunk",
                      "killed before instruction");
}
#endif
