/* SPDX-License-Identifier: MIT */
/*
 * The heap of a pool: blocks never overlap, nothing is lost, budgets hold, and memory that
 * nobody uses goes back to the system. If it did not hold, tasks would read each other's inputs.
 *
 * The model is a list of blocks in use. Each block is stamped at both ends and in the middle
 * when it is taken, and checked when it is given back: an overlap damages a stamp.
 */
#include "harness/test.h"

#include "base/clock.h"
#include "ipc/chunk.h"
#include "ipc/heap.h"
#include "sys/kernel.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define KIB ((uint64_t)1 << 10)
#define MIB ((uint64_t)1 << 20)
#define GIB ((uint64_t)1 << 30)

enum { MODEL_MAX = 3000 };

struct block {
    uint64_t offset, len, stamp;
};

struct bed {
    int fd;
    uint64_t size;
    void *base;
    struct heap *heap;
    struct block blocks[MODEL_MAX];
    size_t count;
};

static struct bed bed;

static void bed_make(uint64_t start, uint64_t len, uint64_t bytes_max)
{
    bed = (struct bed){.size = start + len};
    bed.fd = CHECK_OK(brood__memory_object("test heap", bed.size));
    CHECK_OK(brood__memory_map(&bed.base, bed.fd, 0, bed.size));
    CHECK_OK(brood__heap_new(&bed.heap, bed.fd, NULL, start, len, bytes_max));
}

static void bed_clear(void)
{
    brood__heap_free(bed.heap);
    brood__memory_unmap(bed.base, bed.size);
    brood__fd_close(bed.fd);
}

static uint64_t resident(void)
{
    struct stat status;

    CHECK_OK(fstat(bed.fd, &status));
    return (uint64_t)status.st_blocks * 512;
}

static char *at(uint64_t offset)
{
    return (char *)bed.base + offset;
}

static void stamp(const struct block *block)
{
    if (block->len < sizeof block->stamp) {
        memset(at(block->offset), (int)(block->stamp & 0xFF), block->len);
        return;
    }
    memcpy(at(block->offset + (block->len - 8) / 2), &block->stamp, 8);
    memcpy(at(block->offset + block->len - 8), &block->stamp, 8);
    if (block->len >= 16)
        memcpy(at(block->offset), &block->stamp, 8);
}

static void check_stamp(const struct block *block)
{
    if (block->len < sizeof block->stamp) {
        for (uint64_t i = 0; i < block->len; i++)
            CHECK_EQ((unsigned char)*at(block->offset + i), block->stamp & 0xFF);
        return;
    }
    CHECK(block->len < 16 || memcmp(at(block->offset), &block->stamp, 8) == 0);
    CHECK(memcmp(at(block->offset + block->len - 8), &block->stamp, 8) == 0);
}

static void check_known(const struct block *block)
{
    uint64_t start = 0;
    uint64_t inside = block->len == 0 ? 0 : test_random_below(block->len);

    CHECK(brood__heap_has(bed.heap, block->offset, block->len, &start));
    CHECK_EQ(start, block->offset);
    CHECK(brood__heap_has(bed.heap, block->offset + inside, block->len - inside, &start));
    CHECK_EQ(start, block->offset);
    CHECK(!brood__heap_has(bed.heap, block->offset + inside, UINT64_MAX - inside, NULL));
}

static int model_take(uint64_t len)
{
    struct block block = {.len = len, .stamp = test_random()};
    uint64_t before = brood__heap_used(bed.heap);
    int r = brood__heap_take(bed.heap, len, &block.offset);

    if (r < 0) {
        CHECK_EQ(brood__heap_used(bed.heap), before);
        return r;
    }
    CHECK(block.offset != 0 && block.offset % 64 == 0);
    CHECK(block.offset + block.len <= bed.size);
    CHECK(brood__heap_used(bed.heap) >= before + len);
    bed.blocks[bed.count++] = block;
    stamp(&block);
    check_known(&block);
    return 0;
}

static void model_give(size_t index)
{
    struct block block = bed.blocks[index];

    bed.blocks[index] = bed.blocks[--bed.count];
    check_stamp(&block);
    brood__heap_give(bed.heap, block.offset);
    CHECK(!brood__heap_has(bed.heap, block.offset, block.len, NULL));
}

static void model_give_all(void)
{
    while (bed.count > 0)
        model_give(test_random_below(bed.count));
    CHECK_EQ(brood__heap_used(bed.heap), 0);
}

/* Any order of magnitude is as likely as any other. */
static uint64_t random_len(unsigned bits_max)
{
    return test_random() & (((uint64_t)1 << test_random_below(bits_max + 1)) - 1);
}

static void run_model(unsigned steps, unsigned bits_max)
{
    for (unsigned i = 0; i < steps; i++) {
        bool growing = (i / 700) % 2 == 0;
        bool take = bed.count == 0 || test_random_below(10) < (growing ? 7U : 3U);

        if (take && bed.count < MODEL_MAX)
            (void)model_take(random_len(bits_max));
        else if (bed.count > 0)
            model_give(test_random_below(bed.count));
    }
    for (size_t i = 0; i < bed.count; i++) {
        check_stamp(&bed.blocks[i]);
        check_known(&bed.blocks[i]);
    }
    model_give_all();
}

TEST(blocks_of_any_size_never_overlap)
{
    bed_make(64 * KIB, 64 * GIB, 200 * MIB);
    run_model(20000, 22);
    /* All came back, so one block may have everything. */
    CHECK_OK(model_take(200 * MIB));
    model_give_all();
    bed_clear();
}

TEST(a_small_range_is_shared_tightly)
{
    uint64_t page = brood__page_size();

    bed_make(page, 300 * page, 300 * page);
    run_model(20000, 17);
    CHECK_OK(model_take(300 * page));
    CHECK_ERR(model_take(1), -EAGAIN);
    model_give_all();
    bed_clear();
}

TEST(a_range_of_one_page_works)
{
    uint64_t page = brood__page_size();

    bed_make(0, 2 * page, MIB); /* offset 0 is nobody's, so its page is lost */
    CHECK_OK(model_take(page));
    CHECK_EQ(bed.blocks[0].offset, page);
    CHECK_ERR(model_take(64), -EAGAIN);
    model_give_all();
    for (int i = 0; i < 8; i++)
        CHECK_OK(model_take(page / 8));
    CHECK_ERR(model_take(1), -EAGAIN);
    model_give_all();
    CHECK_ERR(model_take(page + 1), -ENOMEM);
    bed_clear();
}

TEST(budgets_tell_not_now_from_never)
{
    bed_make(MIB, GIB, 10 * MIB);
    CHECK_ERR(model_take(10 * MIB + 1), -ENOMEM);
    CHECK_ERR(model_take(UINT64_MAX), -ENOMEM);
    CHECK_ERR(model_take(UINT64_MAX - 63), -ENOMEM);
    CHECK_OK(model_take(6 * MIB));
    CHECK_ERR(model_take(6 * MIB), -EAGAIN);
    CHECK_OK(model_take(4 * MIB));
    CHECK_ERR(model_take(0), -EAGAIN);
    model_give(0);
    CHECK_OK(model_take(6 * MIB));
    model_give_all();
    bed_clear();
}

/* A size class may be larger than what is left, but a block of bytes_max is always to be had. */
TEST(a_block_of_the_whole_budget_fits_alone)
{
    bed_make(MIB, GIB, 70000);
    CHECK_OK(model_take(70000));
    CHECK_ERR(model_take(1), -EAGAIN);
    model_give_all();
    CHECK_OK(model_take(1));
    CHECK_ERR(model_take(70000), -EAGAIN);
    model_give_all();
    bed_clear();
}

TEST(addresses_run_out_as_not_now)
{
    uint64_t page = brood__page_size();

    bed_make(page, 64 * page, UINT64_MAX);
    CHECK_OK(model_take(40 * page));
    CHECK_ERR(model_take(40 * page), -EAGAIN);
    CHECK_ERR(model_take(65 * page), -ENOMEM);
    model_give_all();
    CHECK_OK(model_take(64 * page));
    model_give_all();
    bed_clear();
}

TEST(offsets_that_are_no_block_are_refused)
{
    bed_make(MIB, GIB, GIB);
    CHECK(!brood__heap_has(bed.heap, 0, 0, NULL));
    CHECK(!brood__heap_has(bed.heap, MIB, 0, NULL));
    CHECK_OK(model_take(100));
    CHECK_OK(model_take(100));
    CHECK(!brood__heap_has(bed.heap, bed.blocks[0].offset - 1, 2, NULL));
    CHECK(!brood__heap_has(bed.heap, bed.blocks[0].offset, 256, NULL));
    CHECK(!brood__heap_has(bed.heap, bed.blocks[0].offset + 300, 1, NULL));
    CHECK(!brood__heap_has(bed.heap, UINT64_MAX, 1, NULL));
    CHECK(!brood__heap_has(bed.heap, UINT64_MAX, UINT64_MAX, NULL));
    CHECK(!brood__heap_has(bed.heap, 2 * GIB, 1, NULL));
    for (unsigned i = 0; i < 100000; i++) {
        uint64_t offset = random_len(63);
        uint64_t start;

        if (brood__heap_has(bed.heap, offset, test_random(), &start))
            CHECK(start <= offset && offset - start < 128);
    }
    model_give_all();
    bed_clear();
}

TEST(memory_that_nobody_uses_goes_back)
{
    bed_make(MIB, 16 * GIB, 16 * GIB);
    for (unsigned i = 0; i < 100; i++)
        CHECK_OK(model_take(3 * MIB));
    CHECK(resident() >= 300 * MIB);
    model_give_all();
    CHECK(resident() <= 70 * MIB);
    bed_clear();
    bed_make(MIB, 16 * GIB, 16 * GIB);
    for (unsigned i = 0; i < 2000; i++)
        CHECK_OK(model_take(100 * KIB));
    CHECK(resident() >= 195 * MIB);
    model_give_all();
    CHECK(resident() <= 70 * MIB);
    bed_clear();
}

static void burst(unsigned count, uint64_t len)
{
    for (unsigned i = 0; i < count; i++)
        CHECK_OK(model_take(len));
    model_give_all();
}

TEST(bursts_that_come_again_find_their_memory_warm)
{
    bed_make(MIB, 16 * GIB, 16 * GIB);
    burst(20, 8 * MIB);
    CHECK(resident() <= 70 * MIB);
    burst(20, 8 * MIB);
    CHECK(resident() >= 150 * MIB);
    for (unsigned i = 0; i < 2000; i++) { /* but not for ever */
        burst(1, 8 * MIB);
        if (resident() <= 70 * MIB)
            break;
    }
    CHECK(resident() <= 70 * MIB);
    bed_clear();
}

TEST(small_blocks_do_not_commit_large_memory)
{
    bed_make(MIB, 16 * GIB, 16 * GIB);
    CHECK_OK(model_take(8));
    CHECK(resident() <= 64 * KIB);
    CHECK_OK(model_take(4 * KIB));
    CHECK(resident() <= 128 * KIB);
    CHECK_OK(model_take(5 * MIB));
    CHECK(resident() <= 128 * KIB + 5 * MIB);
    model_give_all();
    bed_clear();
}

TEST(the_block_given_last_is_taken_first)
{
    const uint64_t lens[] = {64, 4000, 200 * KIB, 8 * MIB};

    bed_make(MIB, 16 * GIB, 16 * GIB);
    for (unsigned i = 0; i < sizeof lens / sizeof lens[0]; i++) {
        uint64_t first, second, again;

        CHECK_OK(brood__heap_take(bed.heap, lens[i], &first));
        CHECK_OK(brood__heap_take(bed.heap, lens[i], &second));
        brood__heap_give(bed.heap, second);
        brood__heap_give(bed.heap, first);
        CHECK_OK(brood__heap_take(bed.heap, lens[i], &again));
        CHECK_EQ(again, first);
        brood__heap_give(bed.heap, again);
    }
    bed_clear();
}

/* Runs of different sizes are cut and merged, so holes of one size serve another. */
TEST(holes_merge)
{
    uint64_t page = brood__page_size();
    uint64_t offsets[64];

    bed_make(page, 64 * page, UINT64_MAX);
    for (unsigned i = 0; i < 64; i++)
        CHECK_OK(brood__heap_take(bed.heap, page, &offsets[i]));
    for (unsigned i = 10; i < 30; i++)
        brood__heap_give(bed.heap, offsets[10 + i * 7 % 20]);
    CHECK_OK(brood__heap_take(bed.heap, 20 * page, &offsets[10]));
    CHECK_ERR(brood__heap_take(bed.heap, 1, &offsets[0]), -EAGAIN);
    bed_clear();
}

TEST(a_commit_that_fails_changes_nothing)
{
    int null = CHECK_OK(brood__fd_open("/dev/null", O_RDWR));
    int object;

    bed_make(MIB, GIB, GIB);
    object = CHECK_OK(brood__fd_duplicate(bed.fd));
    CHECK_OK(model_take(5 * MIB));
    CHECK_OK(dup3(null, bed.fd, O_CLOEXEC));
    CHECK(model_take(64) < 0);
    CHECK(model_take(100 * KIB) < 0);
    CHECK(model_take(20 * MIB) < 0);
    model_give_all(); /* cannot punch either, and that is nobody's trouble */
    CHECK_OK(dup3(object, bed.fd, O_CLOEXEC));
    CHECK_OK(model_take(64));
    CHECK_OK(model_take(100 * KIB));
    CHECK_OK(model_take(100 * MIB));
    model_give_all();
    brood__fd_close(object);
    brood__fd_close(null);
    bed_clear();
}

TEST(wrong_ranges_are_refused)
{
    struct heap *heap = NULL;

    CHECK_ERR(brood__heap_new(&heap, -1, NULL, 1, MIB, MIB), -EINVAL);
    CHECK_ERR(brood__heap_new(&heap, -1, NULL, MIB, 0, MIB), -EINVAL);
    CHECK_ERR(brood__heap_new(&heap, -1, NULL, MIB, 100, MIB), -EINVAL);
    CHECK_ERR(brood__heap_new(&heap, -1, NULL, UINT64_MAX - MIB + 1, MIB, MIB), -EINVAL);
    CHECK_ERR(brood__heap_new(&heap, -1, NULL, MIB, UINT64_MAX - MIB + 1, MIB), -EINVAL);
    CHECK(heap == NULL);
    brood__heap_free(NULL);
}

/* Not a bench: only a guard against a hot path that makes calls or searches. */
TEST(taking_and_giving_is_cheap)
{
    enum { ROUNDS = 1000000 };
    uint64_t sum = 0;
    int64_t begin, end;

    bed_make(MIB, GIB, GIB);
    for (unsigned i = 0; i < 500; i++)
        CHECK_OK(model_take(256));
    begin = now_ns();
    for (unsigned i = 0; i < ROUNDS; i++) {
        uint64_t offset;

        CHECK_OK(brood__heap_take(bed.heap, 64 + i % 4096, &offset));
        sum += offset;
        brood__heap_give(bed.heap, offset);
    }
    end = now_ns();
    CHECK(sum != 0);
    printf("take and give: %lld ns\n", (long long)((end - begin) / ROUNDS));
    CHECK((double)(end - begin) / ROUNDS < 1000 * test_time_factor());
    model_give_all();
    bed_clear();
}
