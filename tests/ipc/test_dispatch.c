/* SPDX-License-Identifier: MIT */
/*
 * What the shared memory between pool and workers does while nobody dies: order, laps of the
 * rings and of the 32-bit tickets, revoking, naming the owner of each task at any time, wakes,
 * mail, and an owner that believes nothing of what a lane gone mad writes.
 *
 * One process plays the owner and all lanes, in turns. Deaths and delays are in
 * test_dispatch_kill.c, real concurrency in test_dispatch_threads.c.
 */
#include "harness/test.h"

#include "base/clock.h"
#include "ipc/dispatch_bed.h"

#include <errno.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

static const struct dispatch_shape shape = {.lanes = 3, .slots = 4};

struct world {
    struct bed bed;
    void *memory;
    struct lane_self lanes[BED_LANES_MAX];
};

static void open_world(struct world *world)
{
    size_t len = (bed_len(shape) + 63) & ~(size_t)63;

    world->memory = aligned_alloc(64, len);
    CHECK(world->memory != NULL);
    memset(world->memory, 0, len);
    bed_open(&world->bed, world->memory, shape);
    for (uint32_t i = 0; i < shape.lanes; i++)
        world->lanes[i] = bed_lane(&world->bed, i);
}

static void close_world(struct world *world)
{
    bed_close(&world->bed);
    free(world->memory);
}

static uint32_t claim(struct world *world, uint32_t lane)
{
    return brood__lane_claim(&world->lanes[lane]);
}

static void run_and_finish(struct world *world, uint32_t lane, uint32_t slot)
{
    brood__lane_start(&world->lanes[lane], slot);
    bed_run(&world->bed, &world->lanes[lane], slot);
    brood__lane_finish(&world->lanes[lane], slot);
}

/* ---- shapes ---- */

TEST(a_shape_that_does_not_fit_is_refused)
{
    const struct dispatch_shape wrong[] = {
        {0, 4}, {1, 0}, {1, 3}, {LANES_MAX + 1, 4}, {1, (uint32_t)SLOTS_MAX * 2}};
    struct dispatch dispatch;

    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        CHECK_ERR(brood__dispatch_init(&dispatch, NULL, wrong[i], 0), -EINVAL);
}

/* A pool starts its tickets at the size of a ring, so that zeroed cells are right as they are. */
TEST(zeroed_cells_are_unused_cells)
{
    static _Alignas(64) char memory[1 << 16];
    struct dispatch dispatch;
    struct lane_self self = {.bell = -1};

    CHECK(brood__dispatch_size(shape) <= sizeof memory);
    CHECK_OK(brood__dispatch_init(&dispatch, memory, shape, 2 * shape.slots));
    self.view = dispatch.view;
    self.lane = dispatch.view.lanes;
    for (uint32_t i = 0; i < 5 * shape.slots; i++) {
        unsigned ring = i % RINGS;

        CHECK(!brood__dispatch_has_ready(&dispatch.view));
        CHECK_EQ(brood__lane_claim(&self), NO_SLOT);
        CHECK(brood__dispatch_publish(&dispatch, i % shape.slots, ring));
        CHECK_EQ(brood__dispatch_lane_of(&dispatch, i % shape.slots), -1);
        CHECK(brood__dispatch_has_ready(&dispatch.view));
        CHECK_EQ(brood__lane_claim(&self), i % shape.slots);
        CHECK_EQ(brood__dispatch_lane_of(&dispatch, i % shape.slots), 0);
        brood__dispatch_take_back(&dispatch, i % shape.slots);
    }
    brood__dispatch_done(&dispatch);
}

/* ---- order ---- */

TEST(tasks_are_claimed_in_order_and_by_priority)
{
    struct world world;

    open_world(&world);
    (void)bed_publish_in(&world.bed, 0, 2);
    (void)bed_publish_in(&world.bed, 1, 1);
    (void)bed_publish_in(&world.bed, 2, 1);
    (void)bed_publish_in(&world.bed, 3, 0);
    CHECK_EQ(claim(&world, 0), 3);
    CHECK_EQ(claim(&world, 1), 1);
    CHECK_EQ(claim(&world, 2), 2);
    CHECK_EQ(claim(&world, 0), 0);
    CHECK_EQ(claim(&world, 0), NO_SLOT);
    close_world(&world);
}

/* Tickets start three before their end, so the first lap goes round it already. */
TEST(rings_and_tickets_go_round)
{
    struct world world;

    open_world(&world);
    for (unsigned lap = 0; lap < 10; lap++)
        bed_check_capacity(&world.bed);
    close_world(&world);
}

/* A head is a hint: it may be late by whole laps. */
TEST(a_late_head_is_caught_up)
{
    struct world world;

    open_world(&world);
    bed_check_capacity(&world.bed);
    for (uint32_t late = 0; late < 8 * shape.slots; late++) {
        struct dispatch *dispatch = &world.bed.dispatch;
        uint32_t slot;

        (void)bed_publish(&world.bed, 1);
        atomic_store(&dispatch->view.control->head[1].ticket, dispatch->tails[1] - late);
        CHECK_EQ(brood__dispatch_has_ready(&dispatch->view), late > 0);
        atomic_store(&dispatch->view.control->head[1].ticket, dispatch->tails[1] - late - 1);
        CHECK(brood__dispatch_has_ready(&dispatch->view));
        slot = claim(&world, 1);
        CHECK(slot != NO_SLOT);
        CHECK_EQ(claim(&world, 1), NO_SLOT);
        CHECK_EQ(atomic_load(&dispatch->view.control->head[1].ticket), dispatch->tails[1]);
        run_and_finish(&world, 1, slot);
        bed_drain(&world.bed);
    }
    bed_check_ends(&world.bed);
    close_world(&world);
}

TEST(revoked_cells_can_fill_a_ring)
{
    struct world world;
    struct dispatch *dispatch = &world.bed.dispatch;

    open_world(&world);
    (void)bed_publish_in(&world.bed, 0, 1);
    for (uint32_t i = 1; i < 2 * shape.slots; i++) {
        (void)bed_publish_in(&world.bed, 1, 1);
        bed_revoke(&world.bed, 1);
    }
    CHECK(!brood__dispatch_publish(dispatch, 1, 1));
    CHECK(!dispatch->entries[1].live);
    CHECK_EQ(claim(&world, 0), 0);
    (void)bed_publish_in(&world.bed, 1, 1);
    CHECK_EQ(claim(&world, 1), 1);
    CHECK_EQ(brood__dispatch_lane_of(dispatch, 0), 0);
    run_and_finish(&world, 0, 0);
    run_and_finish(&world, 1, 1);
    bed_drain(&world.bed);
    bed_check_ends(&world.bed);
    close_world(&world);
}

/* ---- who has a task ---- */

TEST(a_task_is_revoked_or_claimed)
{
    struct world world;
    struct dispatch *dispatch = &world.bed.dispatch;

    open_world(&world);
    (void)bed_publish_in(&world.bed, 0, 1);
    (void)bed_publish_in(&world.bed, 1, 1);
    CHECK_EQ(claim(&world, 2), 0);
    CHECK(!brood__dispatch_revoke(dispatch, 0));
    CHECK_EQ(brood__dispatch_lane_of(dispatch, 0), 2);
    CHECK_EQ(brood__dispatch_lane_of(dispatch, 1), -1);
    CHECK(brood__dispatch_revoke(dispatch, 1));
    CHECK(!brood__dispatch_revoke(dispatch, 1));
    CHECK_EQ(brood__dispatch_lane_of(dispatch, 1), -1);
    CHECK(!brood__dispatch_has_ready(&dispatch->view));
    CHECK_EQ(claim(&world, 0), NO_SLOT);
    close_world(&world);
}

/* Two tasks last for laps and laps of all rings, which use their cells again and again. */
TEST(the_lane_of_a_long_task_stays_known)
{
    struct world world;
    struct dispatch *dispatch = &world.bed.dispatch;

    open_world(&world);
    (void)bed_publish_in(&world.bed, 3, 1);
    (void)bed_publish_in(&world.bed, 2, 1);
    CHECK_EQ(claim(&world, 1), 3);
    CHECK_EQ(claim(&world, 2), 2);
    brood__lane_start(&world.lanes[1], 3);
    for (unsigned i = 0; i < 100; i++) {
        (void)bed_publish(&world.bed, i % RINGS);
        (void)bed_publish(&world.bed, 1);
        bed_do_all(&world.bed, 0);
        CHECK_EQ(brood__dispatch_lane_of(dispatch, 3), 1);
        CHECK_EQ(brood__dispatch_lane_of(dispatch, 2), 2);
        CHECK_EQ(brood__dispatch_running(dispatch, 1), 3);
        CHECK_EQ(brood__dispatch_running(dispatch, 2), NO_SLOT);
        CHECK(!brood__dispatch_revoke(dispatch, 3));
    }
    bed_run(&world.bed, &world.lanes[1], 3);
    brood__lane_finish(&world.lanes[1], 3);
    CHECK_EQ(brood__dispatch_running(dispatch, 1), NO_SLOT);
    bed_repair(&world.bed, 2);
    bed_do_all(&world.bed, 0);
    bed_check_ends(&world.bed);
    close_world(&world);
}

TEST(a_kill_is_confirmed_for_the_running_task_only)
{
    struct world world;
    struct dispatch *dispatch = &world.bed.dispatch;
    struct lane *lane;
    uint32_t word;

    open_world(&world);
    lane = world.lanes[0].lane;
    (void)bed_publish_in(&world.bed, 0, 1);
    (void)bed_publish_in(&world.bed, 1, 1);
    CHECK_EQ(claim(&world, 0), 0);
    word = atomic_load(&lane->wake);
    CHECK(!brood__dispatch_kill(dispatch, 0, 0)); /* not begun */
    CHECK_EQ(atomic_load(&lane->kill_request), 0);
    CHECK(atomic_load(&lane->wake) != word); /* it may have parked */
    brood__lane_start(&world.lanes[0], 0);
    CHECK(!brood__dispatch_kill(dispatch, 0, 1));
    CHECK(brood__dispatch_kill(dispatch, 0, 0));
    CHECK_EQ(atomic_load(&lane->kill_request), brood__dispatch_id(dispatch, 0));
    atomic_store(&lane->kill_request, 0);
    bed_run(&world.bed, &world.lanes[0], 0);
    brood__lane_finish(&world.lanes[0], 0);
    CHECK(!brood__dispatch_kill(dispatch, 0, 0)); /* over */
    close_world(&world);
}

/* ---- wakes, stop, mail ---- */

TEST(one_sleeper_is_woken_unless_somebody_searches)
{
    struct world world;
    struct dispatch_control *control;

    open_world(&world);
    control = world.bed.dispatch.view.control;
    CHECK_EQ(brood__dispatch_wake_pick(&world.bed.dispatch), -1);
    atomic_store(&control->idle[0], 6);
    atomic_store(&control->search[0], 1);
    CHECK_EQ(brood__dispatch_wake_pick(&world.bed.dispatch), -1);
    atomic_store(&control->search[0], 0);
    CHECK_EQ(brood__dispatch_wake_pick(&world.bed.dispatch), 1);
    CHECK_EQ(brood__dispatch_wake_pick(&world.bed.dispatch), 2);
    CHECK_EQ(brood__dispatch_wake_pick(&world.bed.dispatch), -1);
    close_world(&world);
}

TEST(a_lane_that_is_asked_to_stop_takes_no_task)
{
    struct world world;

    open_world(&world);
    (void)bed_publish(&world.bed, 1);
    atomic_store(&world.lanes[0].lane->stop, 1);
    CHECK_EQ(brood__lane_next(&world.lanes[0]), NO_SLOT);
    CHECK(brood__lane_next(&world.lanes[1]) != NO_SLOT);
    close_world(&world);
}

TEST(mail_comes_in_order_and_is_never_lost)
{
    struct world world;
    uint64_t sent = 0;
    uint64_t taken = 0;

    open_world(&world);
    for (unsigned i = 0; i < 1000; i++) {
        while (test_random_below(4) != 0)
            sent += brood__lane_mail(&world.bed.dispatch.view, 1, sent + 1);
        CHECK(sent - taken <= MAIL_MAX);
        while (taken < sent && test_random_below(5) != 0)
            CHECK_EQ(brood__lane_mail_take(&world.lanes[1]), ++taken);
    }
    while (taken < sent)
        CHECK_EQ(brood__lane_mail_take(&world.lanes[1]), ++taken);
    CHECK_EQ(brood__lane_mail_take(&world.lanes[1]), 0);
    CHECK_EQ(brood__lane_mail_take(&world.lanes[0]), 0);
    close_world(&world);
}

/* ---- a lane gone mad ---- */

static bool is_broken(struct world *world, uint32_t lane)
{
    bool broken = false;
    uint32_t slot = NO_SLOT;

    CHECK(!brood__dispatch_drain(&world->bed.dispatch, lane, &slot, &broken));
    CHECK_EQ(slot, NO_SLOT);
    return broken;
}

static void push_done(struct world *world, uint32_t lane, uint32_t slot)
{
    struct lane *l = world->lanes[lane].lane;
    uint32_t tail = atomic_load(&l->done_tail);

    atomic_store(&world->bed.dispatch.view.done[lane * shape.slots + tail % shape.slots], slot);
    atomic_store(&l->done_tail, tail + 1);
}

TEST(a_nonsense_count_of_results_is_refused)
{
    const uint32_t nonsense[] = {shape.slots + 1, 1000000, INT32_MAX, UINT32_MAX};
    struct world world;

    open_world(&world);
    (void)bed_publish(&world.bed, 1);
    CHECK_EQ(claim(&world, 0), 0);
    for (size_t i = 0; i < sizeof nonsense / sizeof nonsense[0]; i++) {
        atomic_store(&world.lanes[0].lane->done_tail, nonsense[i]);
        CHECK(is_broken(&world, 0));
    }
    close_world(&world);
}

TEST(a_result_of_a_foreign_slot_is_refused)
{
    struct world world;
    uint32_t slots[] = {1, 2, 3, shape.slots, UINT32_MAX};

    open_world(&world);
    for (uint32_t slot = 0; slot < 3; slot++)
        (void)bed_publish_in(&world.bed, slot, 1);
    CHECK_EQ(claim(&world, 0), 0);
    CHECK_EQ(claim(&world, 1), 1); /* another's; 2 nobody has; 3 is free */
    for (size_t i = 0; i < sizeof slots / sizeof slots[0]; i++) {
        push_done(&world, 0, slots[i]);
        CHECK(is_broken(&world, 0));
        atomic_store(&world.lanes[0].lane->done_tail, 0);
    }
    run_and_finish(&world, 0, 0);
    bed_drain(&world.bed);
    push_done(&world, 0, 0); /* the same once more */
    CHECK(is_broken(&world, 0));
    close_world(&world);
}

TEST(a_lane_runs_only_what_it_has)
{
    struct world world;
    struct dispatch *dispatch = &world.bed.dispatch;

    open_world(&world);
    (void)bed_publish_in(&world.bed, 0, 1);
    (void)bed_publish_in(&world.bed, 1, 1);
    CHECK_EQ(claim(&world, 0), 0);
    atomic_store(&world.lanes[1].lane->running, brood__dispatch_id(dispatch, 0));
    CHECK_EQ(brood__dispatch_running(dispatch, 1), NO_SLOT);
    atomic_store(&world.lanes[1].lane->running, brood__dispatch_id(dispatch, 1));
    CHECK_EQ(brood__dispatch_running(dispatch, 1), NO_SLOT);
    for (unsigned i = 0; i < 10000; i++) {
        atomic_store(&world.lanes[1].lane->running, test_random());
        CHECK_EQ(brood__dispatch_running(dispatch, 1), NO_SLOT);
    }
    close_world(&world);
}

/* Whatever stands in cells, hints and lanes: the owner answers, within its own memory. */
TEST(the_owner_survives_random_words)
{
    struct world world;
    struct dispatch *dispatch = &world.bed.dispatch;

    open_world(&world);
    bed_check_capacity(&world.bed);
    for (uint32_t slot = 0; slot < shape.slots; slot++)
        (void)bed_publish_in(&world.bed, slot, slot % RINGS);
    for (unsigned round = 0; round < 3000; round++) {
        uint32_t slot = (uint32_t)test_random_below(shape.slots);
        bool broken = false;

        for (uint32_t i = 0; i < RINGS * dispatch->view.ring_size; i++)
            atomic_store(&dispatch->view.cells[i], test_random() & ~(test_random() << 32));
        atomic_store(&dispatch->view.control->head[round % RINGS].ticket, (uint32_t)test_random());
        atomic_store(&dispatch->view.control->idle[0], test_random());
        atomic_store(&dispatch->view.control->search[0], test_random_below(2));
        atomic_store(&dispatch->view.control->finished[0], test_random());
        atomic_store(&world.lanes[0].lane->done_tail, (uint32_t)test_random_below(6));
        (void)brood__dispatch_has_ready(&dispatch->view);
        CHECK(brood__dispatch_wake_pick(dispatch) < (int)shape.lanes);
        CHECK(brood__dispatch_lane_of(dispatch, slot) < (int)shape.lanes);
        CHECK(brood__dispatch_take_finished(dispatch, 0) < 1u << shape.lanes);
        (void)brood__dispatch_revoke(dispatch, slot);
        (void)brood__dispatch_drain(dispatch, 0, &slot, &broken);
        CHECK(slot < shape.slots);
        (void)brood__dispatch_publish(dispatch, slot, round % RINGS);
    }
    close_world(&world);
}
