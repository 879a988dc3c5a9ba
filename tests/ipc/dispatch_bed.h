/* SPDX-License-Identifier: MIT */
/*
 * A pool without a pool: the owner's books and lanes for tests of ipc/dispatch.h.
 *
 * The books note, for each task, how often it ended and how. A task is a number; its input is a
 * stamp made of it and its result another, so that a result that belongs to another task, or to
 * another attempt, is seen. Death and repair are those of run/pool_repair.c, in the same order:
 * drain, name the running task, end it or queue again, reset the lane, heal the wakes.
 *
 * What lanes tell the test directly (which tasks they began) stands behind the dispatch in the
 * same memory: see struct witness.
 */
#ifndef BROOD_TESTS_IPC_DISPATCH_BED_H
#define BROOD_TESTS_IPC_DISPATCH_BED_H

#include "harness/test.h"

#include "ipc/dispatch.h"

#include <string.h>

enum { BED_TASKS_MAX = 256, BED_LANES_MAX = 3, BED_SLOTS_MAX = 8 };
/* Close enough to the end that each test of three tasks and more goes round it. */
#define BED_FIRST_TICKET (UINT32_MAX - 2)

enum bed_end { BED_PENDING = 0, BED_DONE, BED_CRASHED, BED_REVOKED };

struct bed_task {
    enum bed_end end;
    unsigned ends;   /* must become 1 */
    unsigned queued; /* how often it was published */
    uint32_t slot;
};

/* Written by victims, read by the test after their death or sleep. */
struct witness {
    _Atomic unsigned began[BED_TASKS_MAX];
    _Atomic int answer; /* free for a test */
};

struct bed {
    struct dispatch dispatch;
    struct dispatch_shape shape;
    struct witness *witness;
    struct bed_task tasks[BED_TASKS_MAX];
    unsigned task_count;
    uint32_t task_of[BED_SLOTS_MAX]; /* NO_SLOT: the slot is free */
    uint64_t killed_id;              /* the task that a kill was confirmed for, or 0 */
    bool broken;
    bool is_quick; /* quick_lane takes what a repair queues again before its end */
    uint32_t quick_lane;
};

static inline size_t bed_len(struct dispatch_shape shape)
{
    return brood__dispatch_size(shape) + sizeof(struct witness);
}

/* MEMORY is zeroed. */
static inline void bed_open(struct bed *bed, void *memory, struct dispatch_shape shape)
{
    *bed = (struct bed){.shape = shape};
    CHECK(shape.slots <= BED_SLOTS_MAX && shape.lanes <= BED_LANES_MAX);
    CHECK_OK(brood__dispatch_init(&bed->dispatch, memory, shape, BED_FIRST_TICKET));
    bed->witness = (void *)((char *)memory + brood__dispatch_size(shape));
    for (uint32_t slot = 0; slot < shape.slots; slot++)
        bed->task_of[slot] = NO_SLOT;
}

static inline void bed_close(struct bed *bed)
{
    brood__dispatch_done(&bed->dispatch);
}

static inline struct lane_self bed_lane(struct bed *bed, uint32_t lane)
{
    return (struct lane_self){.view = bed->dispatch.view,
                              .lane = &bed->dispatch.view.lanes[lane],
                              .index = lane,
                              .bell = -1};
}

static inline uint64_t bed_input(uint32_t task)
{
    return UINT64_C(0x1000) + task;
}

static inline uint64_t bed_result(uint64_t input)
{
    return input * 3 + 1;
}

/* ---- the owner ---- */

static inline void bed_end(struct bed *bed, uint32_t slot, enum bed_end end)
{
    struct bed_task *task;

    CHECK(slot < bed->shape.slots && bed->task_of[slot] < bed->task_count);
    task = &bed->tasks[bed->task_of[slot]];
    task->end = end;
    task->ends++;
    bed->task_of[slot] = NO_SLOT;
}

/* In SLOT, which is free. */
static inline uint32_t bed_publish_in(struct bed *bed, uint32_t slot, unsigned ring)
{
    uint32_t task = bed->task_count++;

    CHECK(task < BED_TASKS_MAX);
    CHECK_EQ(bed->task_of[slot], NO_SLOT);
    bed->task_of[slot] = task;
    bed->tasks[task] = (struct bed_task){.slot = slot, .queued = 1};
    bed->dispatch.view.slots[slot].index = bed_input(task);
    bed->dispatch.view.slots[slot].result = 0;
    CHECK(brood__dispatch_publish(&bed->dispatch, slot, ring));
    return task;
}

static inline bool bed_has_room(const struct bed *bed)
{
    for (uint32_t slot = 0; slot < bed->shape.slots; slot++)
        if (bed->task_of[slot] == NO_SLOT)
            return true;
    return false;
}

static inline uint32_t bed_publish(struct bed *bed, unsigned ring)
{
    for (uint32_t slot = 0; slot < bed->shape.slots; slot++)
        if (bed->task_of[slot] == NO_SLOT)
            return bed_publish_in(bed, slot, ring);
    FAIL("no free slot");
}

static inline void bed_drain_lane(struct bed *bed, uint32_t lane)
{
    uint32_t slot;

    while (brood__dispatch_drain(&bed->dispatch, lane, &slot, &bed->broken)) {
        const struct slot *s = &bed->dispatch.view.slots[slot];

        CHECK_EQ(s->result, bed_result(bed_input(bed->task_of[slot])));
        bed_end(bed, slot, BED_DONE);
    }
}

/* As a waiter does: only lanes that have told. */
static inline void bed_drain(struct bed *bed)
{
    uint64_t bits = brood__dispatch_take_finished(&bed->dispatch, 0);

    for (; bits != 0; bits &= bits - 1)
        bed_drain_lane(bed, (uint32_t)__builtin_ctzll(bits));
    CHECK(!bed->broken);
}

static inline void bed_revoke(struct bed *bed, uint32_t slot)
{
    if (brood__dispatch_revoke(&bed->dispatch, slot))
        bed_end(bed, slot, BED_REVOKED);
}

/* ---- a lane ---- */

/* What a task function does. */
static inline void bed_run(struct bed *bed, const struct lane_self *self, uint32_t slot)
{
    struct slot *s = &self->view.slots[slot];

    (void)atomic_fetch_add(&bed->witness->began[s->index - bed_input(0)], 1);
    s->result = bed_result(s->index);
}

static inline bool bed_do_one(struct bed *bed, struct lane_self *self)
{
    uint32_t slot = brood__lane_claim(self);

    if (slot == NO_SLOT)
        return false;
    brood__lane_start(self, slot);
    bed_run(bed, self, slot);
    brood__lane_finish(self, slot);
    return true;
}

/* LANE, in this process, does all there is. */
static inline void bed_do_all(struct bed *bed, uint32_t lane)
{
    struct lane_self self = bed_lane(bed, lane);

    while (bed_do_one(bed, &self))
        bed_drain(bed);
    bed_drain(bed);
}

/* ---- a death ---- */

/* Whether the task in SLOT died with its lane, which said that it runs RUNNING: not if the lane
 * was parked before it by a kill that was for another one. */
static inline bool bed_died_with(const struct bed *bed, uint32_t slot, uint32_t running)
{
    return slot == running &&
           (bed->killed_id == 0 || bed->killed_id == brood__dispatch_id(&bed->dispatch, slot));
}

/* The process of LANE is dead. A task that it had begun died with it; one that it had only
 * claimed must not have begun. */
static inline void bed_repair(struct bed *bed, uint32_t lane)
{
    uint32_t running;

    bed_drain_lane(bed, lane);
    CHECK(!bed->broken);
    running = brood__dispatch_running(&bed->dispatch, lane);
    for (uint32_t slot = 0; slot < bed->shape.slots; slot++) {
        uint32_t task = bed->task_of[slot];

        if (task == NO_SLOT || brood__dispatch_lane_of(&bed->dispatch, slot) != (int)lane)
            continue;
        if (bed_died_with(bed, slot, running)) {
            brood__dispatch_take_back(&bed->dispatch, slot);
            bed_end(bed, slot, BED_CRASHED);
            continue;
        }
        brood__dispatch_take_back(&bed->dispatch, slot);
        CHECK_EQ(atomic_load(&bed->witness->began[task]), 0);
        bed->tasks[task].queued++;
        CHECK(brood__dispatch_publish(&bed->dispatch, slot, 1));
    }
    bed->killed_id = 0;
    brood__lane_reset(&bed->dispatch, lane);
    if (bed->is_quick)
        bed_do_all(bed, bed->quick_lane);
    brood__dispatch_heal(&bed->dispatch.view);
}

/* ---- the questions ---- */

/* Each task ended once, and began no more often than it should. */
static inline void bed_check_ends(const struct bed *bed)
{
    for (uint32_t task = 0; task < bed->task_count; task++) {
        const struct bed_task *t = &bed->tasks[task];
        unsigned began = atomic_load(&bed->witness->began[task]);

        if (t->ends != 1)
            FAIL("task %u ended %u times, was queued %u times and begun %u times", task, t->ends,
                 t->queued, began);
        if ((t->end == BED_DONE && began != 1) || (t->end == BED_REVOKED && began != 0) ||
            began > 1)
            FAIL("task %u began %u times and ended as %d", task, began, (int)t->end);
    }
}

/* All slots, cells, rings and lanes can be used, for two laps of the rings. */
static inline void bed_check_capacity(struct bed *bed)
{
    for (unsigned lap = 0; lap < 4; lap++) {
        for (uint32_t i = 0; i < bed->shape.slots; i++)
            (void)bed_publish(bed, (lap + i) % RINGS);
        CHECK(!bed_has_room(bed));
        for (uint32_t i = 0; i < bed->shape.slots; i++) {
            struct lane_self self = bed_lane(bed, (lap + i) % bed->shape.lanes);

            CHECK(bed_do_one(bed, &self));
        }
        bed_drain(bed);
    }
    bed_check_ends(bed);
}

#endif
