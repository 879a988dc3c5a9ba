/* SPDX-License-Identifier: MIT */
/*
 * Arenas: results that users still hold survive the worker that wrote them and every later life
 * of its lane, and what nobody holds any more is given back.
 *
 * The model is a list of results that are held, each stamped, over many lives. A life that got
 * memory in use by an earlier one would damage a stamp.
 */
#include "harness/test.h"

#include "ipc/arena.h"
#include "ipc/chunk.h"
#include "sys/kernel.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#define KIB ((uint64_t)1 << 10)
#define MIB ((uint64_t)1 << 20)
#define GIB ((uint64_t)1 << 30)

enum { HELD_MAX = 4000 };

struct result {
    uint64_t offset, len, stamp;
    unsigned life;
};

struct bed {
    int fd;
    uint64_t size;
    void *base;
    struct arena_span span;
    struct arena *arena; /* of the running life */
    uint64_t start, len; /* of the running life */
    unsigned life;
    struct result held[HELD_MAX];
    size_t count;
};

static struct bed bed;

static void bed_make(uint64_t start, uint64_t len)
{
    bed = (struct bed){.size = start + len};
    bed.fd = CHECK_OK(brood__memory_object("test arena", bed.size));
    CHECK_OK(brood__memory_map(&bed.base, bed.fd, 0, bed.size));
    brood__arena_span_init(&bed.span, bed.fd, start, len);
}

static void bed_clear(void)
{
    brood__arena_free(bed.arena);
    brood__arena_span_done(&bed.span);
    brood__memory_unmap(bed.base, bed.size);
    brood__fd_close(bed.fd);
}

static uint64_t resident(void)
{
    struct stat status;

    CHECK_OK(fstat(bed.fd, &status));
    return (uint64_t)status.st_blocks * 512;
}

/* The worker dies, with all that it knew, and another begins. */
static void begin_life(void)
{
    brood__arena_free(bed.arena);
    bed.arena = NULL;
    CHECK_OK(brood__arena_span_begin(&bed.span, &bed.start, &bed.len));
    CHECK(bed.start >= bed.span.start && bed.len <= bed.span.len);
    CHECK(bed.start + bed.len <= bed.span.start + bed.span.len);
    for (size_t i = 0; i < bed.count; i++)
        CHECK(bed.held[i].offset + bed.held[i].len <= bed.start ||
              bed.held[i].offset >= bed.start + bed.len);
    CHECK_OK(brood__arena_new(&bed.arena, bed.fd, bed.base, bed.start, bed.len));
    bed.life++;
}

static bool make_result(uint64_t len, bool hand_over)
{
    struct result result = {.len = len, .stamp = test_random(), .life = bed.life};

    result.offset = brood__arena_take(bed.arena, len);
    if (result.offset == 0)
        return false;
    CHECK(result.offset % 64 == 0);
    CHECK(result.offset >= bed.start && result.offset + len <= bed.start + bed.len);
    memcpy((char *)bed.base + result.offset, &result.stamp, 8);
    memcpy((char *)bed.base + result.offset + len - 8, &result.stamp, 8);
    if (hand_over) {
        CHECK(brood__arena_span_hold(&bed.span, result.offset, len));
        bed.held[bed.count++] = result;
    }
    return true;
}

static void let_go(size_t index)
{
    struct result result = bed.held[index];
    bool running;

    bed.held[index] = bed.held[--bed.count];
    CHECK(memcmp((char *)bed.base + result.offset, &result.stamp, 8) == 0);
    CHECK(memcmp((char *)bed.base + result.offset + result.len - 8, &result.stamp, 8) == 0);
    running = brood__arena_span_release(&bed.span, result.offset);
    CHECK_EQ(running, result.life == bed.life);
    if (running)
        brood__arena_give(bed.arena, result.offset);
}

static void let_go_all(void)
{
    while (bed.count > 0)
        let_go(test_random_below(bed.count));
}

static uint64_t random_len(unsigned bits_max)
{
    return 16 + (test_random() & (((uint64_t)1 << test_random_below(bits_max + 1)) - 1));
}

TEST(results_survive_any_number_of_lives)
{
    bed_make(64 * KIB, 8 * GIB);
    for (unsigned life = 0; life < 60; life++) {
        begin_life();
        for (unsigned i = 0; i < 300; i++) {
            bool keep = test_random_below(10) < 8;

            if (test_random_below(100) < 55 && bed.count < HELD_MAX)
                CHECK(make_result(random_len(19), keep));
            else if (bed.count > 0)
                let_go(test_random_below(bed.count));
        }
        if (life % 20 == 19)
            let_go_all();
    }
    let_go_all();
    bed_clear();
}

TEST(after_the_last_result_the_whole_span_is_free_again)
{
    bed_make(64 * KIB, GIB);
    for (unsigned life = 0; life < 10; life++) {
        begin_life();
        for (unsigned i = 0; i < 20; i++)
            CHECK(make_result(random_len(22), i % 3 != 0));
    }
    CHECK(resident() > 20 * MIB);
    let_go_all();
    begin_life();
    CHECK_EQ(bed.start, 64 * KIB);
    CHECK_EQ(bed.len, GIB);
    CHECK_EQ(resident(), 0);
    bed_clear();
}

TEST(what_a_dead_worker_had_not_handed_over_is_given_back)
{
    bed_make(64 * KIB, GIB);
    begin_life();
    CHECK(make_result(50 * MIB, false));
    CHECK(make_result(100, true));
    CHECK(make_result(50 * MIB, false));
    CHECK(resident() >= 100 * MIB);
    begin_life();
    CHECK(resident() <= 64 * KIB);
    let_go_all();
    CHECK_EQ(resident(), 0);
    bed_clear();
}

TEST(results_of_a_life_that_is_over_are_punched_one_by_one)
{
    bed_make(64 * KIB, GIB);
    begin_life();
    for (unsigned i = 0; i < 10; i++)
        CHECK(make_result(50 * MIB, true));
    begin_life();
    CHECK(resident() >= 500 * MIB);
    while (bed.count > 1)
        let_go(0);
    CHECK(resident() <= 100 * MIB);
    let_go_all();
    CHECK_EQ(resident(), 0);
    bed_clear();
}

TEST(lies_of_a_worker_are_refused)
{
    bed_make(64 * KIB, 64 * MIB);
    CHECK(!brood__arena_span_hold(&bed.span, MIB, 1));
    begin_life();
    CHECK(!brood__arena_span_hold(&bed.span, 0, 1));
    CHECK(!brood__arena_span_hold(&bed.span, bed.start - 1, 10));
    CHECK(!brood__arena_span_hold(&bed.span, bed.start, bed.len + 1));
    CHECK(!brood__arena_span_hold(&bed.span, bed.start + 1, bed.len));
    CHECK(!brood__arena_span_hold(&bed.span, bed.start + bed.len, 0));
    CHECK(!brood__arena_span_hold(&bed.span, bed.start + 64, UINT64_MAX - 10));
    CHECK(!brood__arena_span_hold(&bed.span, UINT64_MAX, UINT64_MAX));
    for (unsigned i = 0; i < 100; i++) {
        uint64_t offset = test_random() >> test_random_below(64);

        if (brood__arena_span_hold(&bed.span, offset, test_random() >> test_random_below(64)))
            CHECK(brood__arena_span_release(&bed.span, offset));
    }
    bed_clear();
}

/* The same place handed over twice: two holds, two releases, and nothing else is touched. */
TEST(a_result_handed_over_twice_is_held_twice)
{
    bed_make(64 * KIB, 64 * MIB);
    begin_life();
    CHECK(make_result(MIB, true));
    CHECK(brood__arena_span_hold(&bed.span, bed.held[0].offset, MIB));
    begin_life();
    CHECK(!brood__arena_span_release(&bed.span, bed.held[0].offset));
    CHECK(memcmp((char *)bed.base + bed.held[0].offset, &bed.held[0].stamp, 8) == 0);
    let_go_all();
    CHECK_EQ(resident(), 0);
    bed_clear();
}

TEST(a_wrong_offset_given_to_an_arena_is_ignored)
{
    uint64_t block;

    bed_make(64 * KIB, GIB);
    begin_life();
    block = brood__arena_take(bed.arena, 1000);
    CHECK(block != 0);
    brood__arena_give(bed.arena, block + 64);
    brood__arena_give(bed.arena, 0);
    brood__arena_give(bed.arena, UINT64_MAX);
    brood__arena_give(bed.arena, block);
    brood__arena_give(bed.arena, block);
    CHECK_EQ(brood__arena_take(bed.arena, 1000), block);
    CHECK_EQ(brood__arena_take(bed.arena, UINT64_MAX), 0);
    CHECK_EQ(brood__arena_take(bed.arena, 2 * GIB), 0);
    bed_clear();
}

TEST(a_span_that_is_all_held_has_no_room_for_a_life)
{
    uint64_t page = brood__page_size();
    uint64_t start, len;

    bed_make(page, 8 * page);
    begin_life();
    for (unsigned i = 0; i < 8; i++)
        CHECK(make_result(page, true));
    CHECK_ERR(brood__arena_span_begin(&bed.span, &start, &len), -ENOMEM);
    let_go(3); /* the life is still the running one */
    let_go_all();
    begin_life();
    CHECK_EQ(bed.len, 8 * page);
    bed_clear();
}

TEST(a_crash_storm_with_every_result_kept_stays_possible)
{
    bed_make(64 * KIB, 16 * GIB);
    for (unsigned life = 0; life < 2000; life++) {
        begin_life();
        CHECK(make_result(64, true));
    }
    CHECK(bed.len > 8 * GIB);
    let_go_all();
    CHECK(resident() <= 128 * KIB);
    bed_clear();
}
