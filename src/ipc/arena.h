/* SPDX-License-Identifier: MIT */
/*
 * An arena: where one life of one worker puts results of unknown size.
 *
 *     caller:  [------- span of one lane ---------------------------------]
 *              [held by results of an earlier life][ this life's arena    ]
 *
 * The allocator of a life is private memory of its worker; the caller gives blocks back through
 * the mailbox of the lane. When the worker dies its arena is retired: results of it that users
 * still hold stay valid, counted by the caller, and the range serves a later life when none is
 * left. So nothing shared can be left half-changed by a death.
 *
 * Blocks are named by their offset in the memory object.
 */
#ifndef BROOD_SRC_IPC_ARENA_H
#define BROOD_SRC_IPC_ARENA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- worker side: one life ---- */

struct arena;
int brood__arena_new(struct arena **out_arena, int fd, void *base, uint64_t start, uint64_t len);
void brood__arena_free(struct arena *arena);
/* LEN bytes aligned to 64, or 0: no room, or the system has no memory (pages are committed). */
uint64_t brood__arena_take(struct arena *arena, uint64_t len);
/* Large blocks give their pages back, but for a few that stay warm. A wrong offset is ignored. */
void brood__arena_give(struct arena *arena, uint64_t offset);

/* ---- caller side: the lives of one lane's span. Zeroed memory is not one; init first. ---- */

struct arena_span {
    int fd;
    uint64_t start, len;
    struct arena_life *lives; /* newest first */
};
void brood__arena_span_init(struct arena_span *span, int fd, uint64_t start, uint64_t len);
void brood__arena_span_done(struct arena_span *span);
/* Begins a life: the largest part of the span that no held block of earlier lives needs. 0 and
 * the range, or -ENOMEM. The life before is retired. */
int brood__arena_span_begin(struct arena_span *span, uint64_t *out_start, uint64_t *out_len);
/* A result of the life that runs now arrived at [OFFSET, OFFSET + LEN): true and it is held, or
 * false if that is not inside this life's range. */
bool brood__arena_span_hold(struct arena_span *span, uint64_t offset, uint64_t len);
/* Lets go of a held result. True: it belongs to the running life, tell its worker; false: its
 * life is over (and the range is punched when it was the last). */
bool brood__arena_span_release(struct arena_span *span, uint64_t offset);

#endif
