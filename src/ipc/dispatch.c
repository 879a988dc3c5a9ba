/* SPDX-License-Identifier: MIT */
/*
 * Where the parts of a dispatch are in its memory. The picture and the law are in dispatch.h;
 * what the owner does in dispatch_owner.c, what a lane does in dispatch_lane.c.
 *
 *     control | lanes | done rings | cells of the normal, low, high ring | slots
 *     <------------- needed at once -------------->
 *
 * A ring has twice as many cells as there are slots, so that a ring is full only when cancelled
 * cells fill it. A done ring has a place for every slot, so it never overflows.
 */
#include "ipc/dispatch.h"

_Static_assert(sizeof(struct slot) == 256, "a slot is four cache lines");
_Static_assert(sizeof(struct lane) % 64 == 0, "lanes share no cache line");
_Static_assert(offsetof(struct slot, inline_in) == 64, "line 1: small inputs");
_Static_assert(offsetof(struct slot, verdict) == 128, "line 2: written by the lane");
_Static_assert((int)LANES_MAX < (int)CELL_READY && (int)LANES_MAX <= LANE_WORDS * 64, "lanes fit");

static size_t round_line(size_t len)
{
    return (len + 63) & ~(size_t)63;
}

static size_t ring_len(struct dispatch_shape shape)
{
    return 2 * (size_t)shape.slots * sizeof(uint64_t);
}

static size_t done_start(struct dispatch_shape shape)
{
    return sizeof(struct dispatch_control) + shape.lanes * sizeof(struct lane);
}

static size_t cells_start(struct dispatch_shape shape)
{
    return done_start(shape) + round_line((size_t)shape.lanes * shape.slots * sizeof(uint32_t));
}

void brood__dispatch_ring_part(struct dispatch_shape shape, unsigned ring, size_t *out_start,
                               size_t *out_len)
{
    *out_start = cells_start(shape) + ring_place(ring) * ring_len(shape);
    *out_len = ring_len(shape);
}

size_t brood__dispatch_core_size(struct dispatch_shape shape)
{
    return cells_start(shape) + ring_len(shape);
}

size_t brood__dispatch_slot_start(struct dispatch_shape shape, uint32_t slot)
{
    return cells_start(shape) + round_line(RINGS * ring_len(shape)) + slot * sizeof(struct slot);
}

size_t brood__dispatch_size(struct dispatch_shape shape)
{
    return brood__dispatch_slot_start(shape, shape.slots);
}

void brood__dispatch_view(struct dispatch_view *out_view, void *memory, struct dispatch_shape shape)
{
    char *start = memory;

    out_view->shape = shape;
    out_view->ring_size = 2 * shape.slots;
    out_view->lane_words = (shape.lanes + 63) / 64;
    out_view->control = (void *)start;
    out_view->lanes = (void *)(start + sizeof(struct dispatch_control));
    out_view->done = (void *)(start + done_start(shape));
    out_view->cells = (void *)(start + cells_start(shape));
    out_view->slots = (void *)(start + brood__dispatch_slot_start(shape, 0));
}
