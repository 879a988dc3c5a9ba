/* SPDX-License-Identifier: MIT */
/*
 * A region arranged by hand in plain memory, with few chunks, so that everything meets. Which
 * tickets have passed is said by a number here instead of a queue: programs that include this wrap
 * brood__queue_passed().
 */
#ifndef BROOD_TESTS_IPC_BLOCK_BED_H
#define BROOD_TESTS_IPC_BLOCK_BED_H

#include "harness/test.h"

#include "ipc/block.h"
#include "ipc/chunk.h"
#include "sys/kernel.h"

#include <errno.h>
#include <stdatomic.h>

enum { SLOTS = 16, CHUNKS = 24, PASSED = 10, MANY_CHUNKS = 600 };

/* Where ROOT, the offset of a queue, would be. */
static uint64_t queue_offset;

bool __wrap_brood__queue_passed(const struct region *region, uint64_t queue, uint32_t ticket);

/* What a thread does when it is asking for the COUNTDOWN-th time. */
static _Thread_local unsigned countdown;
static _Thread_local void (*at_zero)(void);

bool __wrap_brood__queue_passed(const struct region *region, uint64_t queue, uint32_t ticket)
{
    (void)region;
    if (countdown > 0 && --countdown == 0)
        at_zero();
    return queue != queue_offset || ticket < PASSED;
}

/* ---- a region by hand ---- */

struct bed {
    struct region region;
    roster_tag me;
};

static inline uint64_t ceil_page(uint64_t len)
{
    return (len + brood__page_size() - 1) & ~(brood__page_size() - 1);
}

static inline uint64_t chunk_len(void)
{
    return brood__page_size();
}

static inline struct region region_over(void *memory, uint32_t chunk_count)
{
    struct region region = {.fd = -1, .base = memory, .number = 1, .kind = REGION_PLAIN};
    uint64_t page = brood__page_size();

    region.hints = (struct block_hints *)((char *)memory + 64);
    region.slots = SLOTS;
    region.roster = (struct roster *)((char *)memory + page);
    region.table = page + ceil_page(brood__roster_len(SLOTS));
    region.chunks = region.table + ceil_page(chunk_count * sizeof(struct block_entry));
    region.chunk_count = chunk_count;
    region.chunk_shift = (unsigned)__builtin_ctzll(page);
    region.len = region.chunks + chunk_count * page;
    return region;
}

static inline uint64_t bed_len(uint32_t chunk_count)
{
    return region_over(NULL, chunk_count).len;
}

static inline void bed_make(struct bed *bed, void *memory, uint32_t chunk_count)
{
    bed->region = region_over(memory, chunk_count);
    brood__roster_init(bed->region.roster, SLOTS);
    CHECK_OK(brood__roster_join(bed->region.roster, &bed->me));
    queue_offset = bed->region.chunks;
}

static inline void bed_done(struct bed *bed)
{
    brood__roster_leave(bed->region.roster, bed->me);
}

static inline void *bed_new(struct bed *bed, uint32_t chunk_count)
{
    void *memory = NULL;

    CHECK_OK(brood__memory_map_family(&memory, bed_len(chunk_count)));
    bed_make(bed, memory, chunk_count);
    return memory;
}

static inline void bed_free(struct bed *bed)
{
    bed_done(bed);
    brood__memory_unmap(bed->region.base, bed->region.len);
}

static inline uint64_t take_chunks(struct bed *bed, uint64_t count)
{
    uint64_t offset = 0;

    CHECK_OK(brood__block_take(&bed->region, bed->me, count * chunk_len(), &offset));
    return offset;
}

static inline uint64_t keep_chunks(struct bed *bed, uint64_t count)
{
    uint64_t offset = take_chunks(bed, count);

    brood__block_keep(&bed->region, offset);
    return offset;
}

static inline uint64_t link_chunks(struct bed *bed, uint64_t count, uint32_t ticket)
{
    uint64_t offset = take_chunks(bed, count);

    brood__block_link(&bed->region, offset, queue_offset, ticket);
    return offset;
}

static inline bool unlink_block(struct bed *bed, uint64_t offset, uint32_t ticket)
{
    uint64_t linked = brood__block_linked(&bed->region, offset, queue_offset, ticket);

    return brood__block_unlink(&bed->region, offset, linked);
}

/* Of somebody who is gone. */
static inline uint64_t lose_chunks(struct bed *bed, uint64_t count)
{
    roster_tag me;
    uint64_t offset = 0;

    CHECK_OK(brood__roster_join(bed->region.roster, &me));
    CHECK_OK(brood__block_take(&bed->region, me, count * chunk_len(), &offset));
    brood__roster_leave(bed->region.roster, me);
    return offset;
}

static inline uint64_t used_chunks(const struct bed *bed)
{
    return brood__block_used(&bed->region) / chunk_len();
}

/* Takes all that can be had, chunk by chunk; how many. */
static inline unsigned take_all(struct bed *bed, uint64_t *offsets)
{
    unsigned count = 0;
    int r;

    while ((r = brood__block_take(&bed->region, bed->me, 1, &offsets[count])) == 0) {
        brood__block_keep(&bed->region, offsets[count++]);
        CHECK(count <= bed->region.chunk_count);
    }
    CHECK_EQ(r, -EAGAIN);
    return count;
}

static inline void give_all(struct bed *bed, const uint64_t *offsets, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        CHECK(brood__block_release(&bed->region, bed->me, offsets[i]));
}

/* Nothing is lost: what is not used can be had, as chunks and in one piece. */
static inline void check_conserved(struct bed *bed)
{
    uint64_t offsets[MANY_CHUNKS + 1];
    uint64_t used = used_chunks(bed);
    unsigned got = take_all(bed, offsets);

    CHECK_EQ(used + got, bed->region.chunk_count);
    CHECK_EQ(used_chunks(bed), bed->region.chunk_count);
    give_all(bed, offsets, got);
    CHECK_EQ(used_chunks(bed), used);
    if (used == 0)
        CHECK(brood__block_give(&bed->region, take_chunks(bed, bed->region.chunk_count)));
}

#endif
