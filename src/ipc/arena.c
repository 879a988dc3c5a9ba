/* SPDX-License-Identifier: MIT */
/*
 * Arenas. The worker's side is a heap of its own; the caller's side counts what it holds.
 *
 * One life of a worker allocates in one range. The caller cuts each life into zones and keeps of
 * each zone how many results it holds there and between which bounds they lie:
 *
 *     life      [ zone 0     | zone 1     | zone 2     | ...          ]
 *     held        ###  ##         #                                      count 2, 1, 0
 *     needed     [#######)       [#)
 *
 * So holding and letting go touch one zone and allocate nothing. What the older lives need is
 * the union of those bounds, rounded to pages; the next life gets the largest gap between them.
 *
 * What always holds
 *   - What one life needs is never in the range of a later one. So the newest life whose range
 *     has an offset is the one the offset belongs to.
 *   - Pages of the span outside the running life and outside what older lives need are punched.
 *   - A life that is not the running one holds something, or it would not exist any more.
 *
 * A worker may die anywhere: its allocator dies with it, and what it had taken but not handed
 * over is punched when the next life begins. Offsets and lengths come from workers, so they are
 * checked; a worker that lies about its own range can damage only its own results. Guarded by
 * the pool's lock.
 */
#include "ipc/arena.h"

#include "base/memory.h"
#include "ipc/chunk.h"
#include "ipc/heap.h"
#include "sys/kernel.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

/* ---- worker side ---- */

struct arena {
    struct heap *heap;
};

int brood__arena_new(struct arena **out_arena, int fd, void *base, uint64_t start, uint64_t len)
{
    struct arena *arena = brood__alloc_zeroed(1, sizeof *arena);
    int r;

    if (arena == NULL)
        return -ENOMEM;
    r = brood__heap_new(&arena->heap, fd, base, start, len, len);
    if (r < 0) {
        brood__free(arena);
        return r;
    }
    *out_arena = arena;
    return 0;
}

void brood__arena_free(struct arena *arena)
{
    if (arena == NULL)
        return;
    brood__heap_free(arena->heap);
    brood__free(arena);
}

uint64_t brood__arena_take(struct arena *arena, uint64_t len)
{
    uint64_t offset;

    return brood__heap_take(arena->heap, len, &offset) < 0 ? 0 : offset;
}

void brood__arena_give(struct arena *arena, uint64_t offset)
{
    uint64_t start;

    if (brood__heap_has(arena->heap, offset, 0, &start) && start == offset)
        brood__heap_give(arena->heap, offset);
}

/* ---- caller side ---- */

enum { ZONES = 64 };

struct zone {
    uint64_t low, high; /* results are held in [low, high), if count > 0 */
    uint64_t count;
};

struct arena_life {
    struct arena_life *older;
    uint64_t start, len;
    uint64_t count;
    unsigned zone_shift;
    struct zone zones[ZONES];
};

/* Bytes [low, high), whole pages. */
struct extent {
    uint64_t low, high;
};

void brood__arena_span_init(struct arena_span *span, int fd, uint64_t start, uint64_t len)
{
    *span = (struct arena_span){.fd = fd, .start = start, .len = len};
}

void brood__arena_span_done(struct arena_span *span)
{
    while (span->lives != NULL) {
        struct arena_life *life = span->lives;

        span->lives = life->older;
        brood__free(life);
    }
}

static bool is_inside(const struct arena_life *life, uint64_t offset)
{
    return offset >= life->start && offset - life->start < life->len;
}

static struct zone *zone_at(struct arena_life *life, uint64_t offset)
{
    return &life->zones[(offset - life->start) >> life->zone_shift];
}

static uint64_t page_floor(uint64_t offset)
{
    return offset & ~(brood__page_size() - 1);
}

static uint64_t page_ceiling(uint64_t offset)
{
    return page_floor(offset + brood__page_size() - 1);
}

static struct extent needed(const struct zone *zone)
{
    return (struct extent){.low = page_floor(zone->low), .high = page_ceiling(zone->high)};
}

/* A page that cannot be given back now will be with the next life, or with the object. */
static void punch(const struct arena_span *span, uint64_t low, uint64_t high)
{
    if (low < high)
        (void)brood__memory_punch(span->fd, low, high - low);
}

/* ---- the range of a new life ---- */

static size_t count_needed(const struct arena_span *span)
{
    size_t count = 0;

    for (const struct arena_life *life = span->lives; life != NULL; life = life->older)
        for (unsigned i = 0; i < ZONES; i++)
            count += life->zones[i].count > 0;
    return count;
}

static int compare_extents(const void *left, const void *right)
{
    const struct extent *l = left, *r = right;

    return l->low < r->low ? -1 : l->low > r->low;
}

/* All that any life needs, by address: *OUT_EXTENTS, to be freed, and how many. */
static int collect_needed(const struct arena_span *span, struct extent **out_extents,
                          size_t *out_count)
{
    size_t count = count_needed(span);
    struct extent *extents = brood__alloc_zeroed(count, sizeof *extents);
    size_t filled = 0;

    if (extents == NULL)
        return -ENOMEM;
    for (const struct arena_life *life = span->lives; life != NULL; life = life->older)
        for (unsigned i = 0; i < ZONES; i++)
            if (life->zones[i].count > 0)
                extents[filled++] = needed(&life->zones[i]);
    qsort(extents, count, sizeof *extents, compare_extents);
    *out_extents = extents;
    *out_count = count;
    return 0;
}

static void keep_larger(struct extent *best, uint64_t low, uint64_t high)
{
    if (high > low && high - low > best->high - best->low)
        *best = (struct extent){.low = low, .high = high};
}

static int largest_gap(const struct arena_span *span, struct extent *out_gap)
{
    struct extent *extents;
    struct extent best = {0};
    uint64_t position = span->start;
    size_t count;
    int r = collect_needed(span, &extents, &count);

    if (r < 0)
        return r;
    for (size_t i = 0; i < count; i++) {
        keep_larger(&best, position, extents[i].low);
        if (extents[i].high > position)
            position = extents[i].high;
    }
    keep_larger(&best, position, span->start + span->len);
    brood__free(extents);
    if (best.high == best.low)
        return -ENOMEM;
    *out_gap = best;
    return 0;
}

/* Ends the running life, if there is one: keeps what it holds and punches the rest. */
static void retire(struct arena_span *span)
{
    struct arena_life *life = span->lives;
    uint64_t position;

    if (life == NULL)
        return;
    position = life->start;
    for (unsigned i = 0; i < ZONES; i++) {
        struct extent extent;

        if (life->zones[i].count == 0)
            continue;
        extent = needed(&life->zones[i]);
        punch(span, position, extent.low);
        if (extent.high > position)
            position = extent.high;
    }
    punch(span, position, life->start + life->len);
    if (life->count == 0) {
        span->lives = life->older;
        brood__free(life);
    }
}

int brood__arena_span_begin(struct arena_span *span, uint64_t *out_start, uint64_t *out_len)
{
    struct arena_life *life = brood__alloc_zeroed(1, sizeof *life);
    struct extent gap;
    int r;

    if (life == NULL)
        return -ENOMEM;
    r = largest_gap(span, &gap);
    if (r < 0) {
        brood__free(life);
        return r;
    }
    retire(span);
    life->start = gap.low;
    life->len = gap.high - gap.low;
    while ((life->len - 1) >> life->zone_shift >= ZONES)
        life->zone_shift++;
    life->older = span->lives;
    span->lives = life;
    *out_start = life->start;
    *out_len = life->len;
    return 0;
}

/* ---- results ---- */

bool brood__arena_span_hold(struct arena_span *span, uint64_t offset, uint64_t len)
{
    struct arena_life *life = span->lives;
    uint64_t high = offset + (len == 0 ? 1 : len);
    struct zone *zone;

    if (life == NULL || !is_inside(life, offset) || len > life->len - (offset - life->start))
        return false;
    zone = zone_at(life, offset);
    if (zone->count == 0) {
        zone->low = offset;
        zone->high = high;
    }
    if (offset < zone->low)
        zone->low = offset;
    if (high > zone->high)
        zone->high = high;
    zone->count++;
    life->count++;
    return true;
}

/* Punches what the last result of ZONE needed, but for what other zones of the life need. */
static void punch_zone(const struct arena_span *span, const struct arena_life *life,
                       const struct zone *zone)
{
    struct extent extent = needed(zone);

    for (unsigned i = 0; i < ZONES; i++) {
        const struct zone *other = &life->zones[i];
        struct extent kept = needed(other);

        if (other->count == 0 || other == zone || kept.high <= extent.low ||
            kept.low >= extent.high)
            continue;
        if (other > zone)
            extent.high = kept.low < extent.high ? kept.low : extent.high;
        else
            extent.low = kept.high > extent.low ? kept.high : extent.low;
    }
    punch(span, extent.low, extent.high);
}

static void forget(struct arena_span *span, struct arena_life *life)
{
    struct arena_life **link = &span->lives;

    while (*link != life)
        link = &(*link)->older;
    *link = life->older;
    brood__free(life);
}

bool brood__arena_span_release(struct arena_span *span, uint64_t offset)
{
    struct arena_life *life = span->lives;
    struct zone *zone;

    while (life != NULL && !is_inside(life, offset))
        life = life->older;
    assert(life != NULL);
    zone = zone_at(life, offset);
    assert(zone->count > 0);
    zone->count--;
    life->count--;
    if (life == span->lives)
        return true;
    if (zone->count == 0)
        punch_zone(span, life, zone);
    if (life->count == 0)
        forget(span, life);
    return false;
}
