/* SPDX-License-Identifier: MIT */
/*
 * Where the parts of a dispatch are in its memory. The picture and the law are in dispatch.h;
 * what the owner does in dispatch_owner.c, what a lane does in dispatch_lane.c.
 *
 *     control | lanes | cells of 3 rings | slots | done rings
 *
 * A ring has twice as many cells as there are slots, so that a ring is full only when cancelled
 * cells fill it. A done ring has a place for every slot, so it never overflows.
 */
#include "ipc/dispatch.h"

_Static_assert(sizeof(struct slot) == 256, "a slot is four cache lines");
_Static_assert(sizeof(struct lane) % 64 == 0, "lanes share no cache line");
_Static_assert(offsetof(struct slot, inline_in) == 64, "line 1: small inputs");
_Static_assert(offsetof(struct slot, verdict) == 128, "line 2: written by the lane");
_Static_assert((int)LANES_MAX < (int)CELL_REVOKED && (int)LANES_MAX <= LANE_WORDS * 64,
               "lanes fit");

static size_t round_line(size_t len)
{
    return (len + 63) & ~(size_t)63;
}

static size_t cells_len(struct dispatch_shape shape)
{
    return (size_t)RINGS * 2 * shape.slots * sizeof(uint64_t);
}

size_t brood__dispatch_size(struct dispatch_shape shape)
{
    return sizeof(struct dispatch_control) + shape.lanes * sizeof(struct lane) +
           round_line(cells_len(shape)) + shape.slots * sizeof(struct slot) +
           round_line((size_t)shape.lanes * shape.slots * sizeof(uint32_t));
}

void brood__dispatch_view(struct dispatch_view *out_view, void *memory, struct dispatch_shape shape)
{
    char *at = memory;

    out_view->shape = shape;
    out_view->ring_size = 2 * shape.slots;
    out_view->lane_words = (shape.lanes + 63) / 64;
    out_view->control = (void *)at;
    at += sizeof(struct dispatch_control);
    out_view->lanes = (void *)at;
    at += shape.lanes * sizeof(struct lane);
    out_view->cells = (void *)at;
    at += round_line(cells_len(shape));
    out_view->slots = (void *)at;
    at += shape.slots * sizeof(struct slot);
    out_view->done = (void *)at;
}
