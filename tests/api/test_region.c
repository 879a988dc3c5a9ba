/* SPDX-License-Identifier: MIT */
/*
 * Shared memory as a program uses it: children see it, refs carry it to processes that never were
 * near it, and nothing is left when the last one has ended.
 *
 * A process "elsewhere" is one that was forked before the region existed, so all it can have is the
 * ref. The harness looks for descriptors and mappings that are left.
 */
#include "harness/gate.h"
#include "harness/sweep.h"
#include "harness/test.h"

#include <brood/region.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define MIB ((size_t)1 << 20)

static const brood_region_options small = {.size_max = 4 * MIB, .participants_max = 16};

static bool is_zero(const char *memory, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (memory[i] != 0)
            return false;
    return true;
}

static void must_end_well(pid_t pid)
{
    int status = 0;

    CHECK_OK(waitpid(pid, &status, 0));
    CHECK_EQ(status, 0);
}

static bool is_nothing(brood_ref ref)
{
    return ref.word[0] == 0 && ref.word[1] == 0;
}

/* ---- shared memory without a handle ---- */

TEST(shared_memory_is_zeroed_aligned_and_seen_by_children)
{
    char *memory = brood_shared_alloc(100000);
    pid_t pid;

    CHECK(memory != NULL);
    CHECK_EQ((uintptr_t)memory % 64, 0);
    CHECK(is_zero(memory, 100000));
    pid = CHECK_OK(fork());
    if (pid == 0) {
        memory[99999] = 'c';
        _exit(0);
    }
    must_end_well(pid);
    CHECK_EQ(memory[99999], 'c');
    brood_shared_free(memory);
}

TEST(shared_memory_of_no_bytes_or_too_many_is_none)
{
    CHECK(brood_shared_alloc(0) == NULL);
    CHECK(brood_shared_alloc(SIZE_MAX) == NULL);
    CHECK(brood_shared_alloc(SIZE_MAX / 2) == NULL);
    brood_shared_free(NULL);
}

TEST(blocks_of_shared_memory_are_apart_and_can_be_had_again)
{
    enum { BLOCKS = 200 };
    char *blocks[BLOCKS];

    for (unsigned round = 0; round < 3; round++) {
        for (unsigned i = 0; i < BLOCKS; i++) {
            blocks[i] = brood_shared_alloc(i * 50 + 1);
            CHECK(blocks[i] != NULL);
            CHECK(is_zero(blocks[i], i * 50 + 1));
            memset(blocks[i], (int)i, i * 50 + 1);
        }
        for (unsigned i = 0; i < BLOCKS; i++) {
            for (unsigned k = 0; k < i * 50 + 1; k++)
                CHECK_EQ((unsigned char)blocks[i][k], i);
            brood_shared_free(blocks[i]);
        }
    }
}

TEST(a_child_frees_what_its_parent_allocated_and_has_memory_of_its_own)
{
    char *first = brood_shared_alloc(10);
    char *second = brood_shared_alloc(10);
    pid_t pid;

    CHECK(first != NULL && second != NULL);
    pid = CHECK_OK(fork());
    if (pid == 0) {
        char *own = brood_shared_alloc(10);

        CHECK(own != NULL && own != first && own != second);
        brood_shared_free(first);
        first = brood_shared_alloc(10);
        CHECK(first != NULL);
        memcpy(first, "child", sizeof "child");
        CHECK(is_zero(second, 10));
        brood_shared_free(own);
        brood_shared_free(first);
        _exit(0);
    }
    must_end_well(pid);
    CHECK(is_zero(second, 10));
    /* It is the last block, and the memory goes with it. */
    brood_shared_free(second);
}

/* ---- regions ---- */

TEST(a_region_gives_blocks_until_it_is_full_and_all_of_them_again)
{
    brood_region *region = NULL;
    void *blocks[8];

    CHECK_OK(brood_region_new(&region, &small));
    CHECK(brood_region_alloc(region, 0) == NULL);
    CHECK(brood_region_alloc(region, SIZE_MAX) == NULL);
    for (unsigned round = 0; round < 3; round++) {
        CHECK_EQ(brood_region_used(region), 0);
        for (unsigned i = 0; i < 8; i++) {
            blocks[i] = brood_region_alloc(region, MIB / 2);
            CHECK(blocks[i] != NULL);
            CHECK_EQ((uintptr_t)blocks[i] % 64, 0);
            CHECK(is_zero(blocks[i], MIB / 2));
            memset(blocks[i], 1, MIB / 2);
        }
        CHECK(brood_region_alloc(region, 1) == NULL);
        CHECK_EQ(brood_region_used(region), 4 * MIB);
        for (unsigned i = 0; i < 8; i++)
            brood_region_release(region, blocks[(i * 3) % 8]);
    }
    brood_region_release(region, NULL);
    brood_region_release(region, &region);
    brood_region_release(region, (char *)blocks[0] + 64);
    brood_region_free(region);
    brood_region_free(NULL);
}

TEST(calls_without_a_region_fail_and_harm_nobody)
{
    brood_region *region = NULL;

    CHECK_ERR(brood_region_new(NULL, NULL), -EINVAL);
    CHECK_ERR(brood_region_new(&region, &(brood_region_options){.reserved = {1}}), -EINVAL);
    CHECK_ERR(brood_region_open(NULL, (brood_ref){{0, 0}}), -EINVAL);
    CHECK_ERR(brood_region_open(&region, (brood_ref){{0, 0}}), -EINVAL);
    CHECK_ERR(brood_region_open(&region, (brood_ref){{1, 4096}}), BROOD_EREF);
    CHECK(brood_region_alloc(NULL, 1) == NULL);
    CHECK(brood_region_at(NULL, (brood_ref){{1, 1}}) == NULL);
    CHECK_EQ(brood_region_used(NULL), 0);
    CHECK(is_nothing(brood_region_ref(NULL, NULL)));
    CHECK(is_nothing(brood_region_ref(NULL, &region)));
    brood_region_release(NULL, NULL);
    CHECK(region == NULL);
}

TEST(handles_of_one_region_are_independent_of_each_other)
{
    brood_region *first = NULL, *second = NULL;
    brood_ref ref;
    char *memory;

    CHECK_OK(brood_region_new(&first, &small));
    memory = brood_region_alloc(first, 100);
    ref = brood_region_ref(NULL, memory + 5);
    CHECK(!is_nothing(ref));
    CHECK_OK(brood_region_open(&second, ref));
    CHECK(second != first);
    brood_region_free(first);
    CHECK(brood_region_alloc(first, 1) == NULL); /* it was freed, and says so */
    CHECK(brood_region_at(second, ref) == memory + 5);
    memory[5] = 'x';
    brood_region_free(second);
    CHECK_ERR(brood_region_open(&second, ref), BROOD_EREF);
}

/* ---- elsewhere ---- */

struct errand {
    brood_ref ref; /* set before TOLD */
    struct gate *told, *done;
    pid_t pid;
};

/* In memory that both have, made before there is any region. */
static struct errand *errand_new(void (*function)(struct errand *errand))
{
    struct errand *errand =
        mmap(NULL, sizeof *errand, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pid_t pid;

    CHECK(errand != MAP_FAILED);
    errand->told = gate_new();
    errand->done = gate_new();
    pid = CHECK_OK(fork());
    if (pid == 0) {
        gate_wait(errand->told);
        function(errand);
        _exit(0);
    }
    errand->pid = pid;
    return errand;
}

static void errand_free(struct errand *errand)
{
    must_end_well(errand->pid);
    gate_free(errand->told);
    gate_free(errand->done);
    CHECK_OK(munmap(errand, sizeof *errand));
}

static void answer(struct errand *errand)
{
    brood_region *region = NULL;
    char *text;

    CHECK_OK(brood_region_open(&region, errand->ref));
    text = brood_region_at(region, errand->ref);
    CHECK(text != NULL);
    CHECK_STR(text, "question");
    memcpy(text, "answer", sizeof "answer");
    CHECK(brood_region_at(region, (brood_ref){{errand->ref.word[0], UINT64_MAX}}) == NULL);
    CHECK(brood_region_at(region, (brood_ref){{errand->ref.word[0] ^ 1, errand->ref.word[1]}}) ==
          NULL);
    brood_region_free(region);
}

TEST(who_has_only_the_ref_opens_the_region_and_finds_the_place)
{
    struct errand *errand = errand_new(answer);
    brood_region *region = NULL;
    char *text;

    CHECK_OK(brood_region_new(&region, NULL));
    text = brood_region_alloc(region, 100);
    memcpy(text, "question", sizeof "question");
    errand->ref = brood_region_ref(region, text);
    gate_open(errand->told);
    errand_free(errand);
    CHECK_STR(text, "answer");
    brood_region_free(region);
}

TEST(memory_of_shared_alloc_has_refs_too)
{
    struct errand *errand = errand_new(answer);
    char *text = brood_shared_alloc(100);

    memcpy(text, "question", sizeof "question");
    errand->ref = brood_region_ref(NULL, text);
    gate_open(errand->told);
    errand_free(errand);
    CHECK_STR(text, "answer");
    brood_shared_free(text);
}

static void find_nothing(struct errand *errand)
{
    brood_region *region = NULL;

    CHECK_ERR(brood_region_open(&region, errand->ref), BROOD_EREF);
    CHECK(region == NULL);
}

TEST(a_region_that_was_freed_cannot_be_opened)
{
    struct errand *errand = errand_new(find_nothing);
    brood_region *region = NULL;

    CHECK_OK(brood_region_new(&region, &small));
    errand->ref = brood_region_ref(region, brood_region_alloc(region, 1));
    brood_region_free(region);
    gate_open(errand->told);
    errand_free(errand);
}

static void take_and_die(struct errand *errand)
{
    brood_region *region = NULL;

    CHECK_OK(brood_region_open(&region, errand->ref));
    CHECK(brood_region_alloc(region, 2 * MIB) != NULL);
    CHECK(brood_region_alloc(region, MIB) != NULL);
    gate_open(errand->done);
    for (;;)
        pause();
}

TEST(what_a_dead_process_had_allocated_stays_until_somebody_releases_it)
{
    struct errand *errand = errand_new(take_and_die);
    brood_region *region = NULL;
    uint64_t before;

    CHECK_OK(brood_region_new(&region, &small));
    errand->ref = brood_region_ref(region, brood_region_alloc(region, 1));
    before = brood_region_used(region);
    gate_open(errand->told);
    gate_wait(errand->done);
    CHECK_OK(kill(errand->pid, SIGKILL));
    CHECK_OK(waitpid(errand->pid, NULL, 0));
    CHECK_EQ(brood_region_used(region), before + 3 * MIB);
    gate_free(errand->told);
    gate_free(errand->done);
    CHECK_OK(munmap(errand, sizeof *errand));
    brood_region_free(region);
}

/* ---- readable elsewhere ---- */

static void read_only(struct errand *errand)
{
    brood_region *region = NULL;
    const char *text;

    CHECK_OK(brood_region_open(&region, errand->ref));
    text = brood_region_at(region, errand->ref);
    CHECK_STR(text, "read this");
    CHECK(brood_region_alloc(region, 1) == NULL);
    brood_region_free(region);
}

TEST(a_region_can_be_handed_out_for_reading_only)
{
    struct errand *errand = errand_new(read_only);
    brood_region *region = NULL;
    char *text;

    CHECK_OK(brood_region_new(
        &region, &(brood_region_options){.size_max = MIB, .readonly_elsewhere = true}));
    text = brood_region_alloc(region, 100);
    memcpy(text, "read this", sizeof "read this");
    errand->ref = brood_region_ref(region, text);
    gate_open(errand->told);
    errand_free(errand);
    brood_region_free(region);
}

/* ---- threads ---- */

static void *alloc_and_free(void *context)
{
    struct gate *start = context;

    gate_wait(start);
    for (unsigned i = 0; i < 300; i++) {
        char *memory = brood_shared_alloc(i * 40 + 1);

        CHECK(memory != NULL);
        CHECK(is_zero(memory, i * 40 + 1));
        memset(memory, 1, i * 40 + 1);
        brood_shared_free(memory);
    }
    return NULL;
}

TEST(threads_that_allocate_and_free_at_once_disturb_nobody)
{
    enum { THREADS = 4 };
    pthread_t threads[THREADS];
    struct gate *start = gate_new();

    for (unsigned i = 0; i < THREADS; i++)
        CHECK_EQ(pthread_create(&threads[i], NULL, alloc_and_free, start), 0);
    gate_open(start);
    for (unsigned i = 0; i < THREADS; i++)
        CHECK_EQ(pthread_join(threads[i], NULL), 0);
    gate_free(start);
}

/* ---- failing calls ---- */

static void use_all(void *context)
{
    brood_region *region = NULL, *again = NULL;
    int r = brood_region_new(&region, &small);
    char *shared = brood_shared_alloc(5000);
    brood_ref ref;
    char *memory;

    (void)context;
    if (shared != NULL)
        CHECK(is_zero(shared, 5000));
    brood_shared_free(shared);
    if (r < 0)
        return;
    memory = brood_region_alloc(region, 2 * MIB);
    if (memory != NULL)
        memset(memory, 1, 2 * MIB);
    ref = brood_region_ref(NULL, memory);
    if (!is_nothing(ref) && brood_region_open(&again, ref) == 0)
        CHECK(brood_region_at(again, ref) == memory);
    brood_region_release(region, memory);
    memory = brood_region_alloc(region, 2 * MIB);
    if (memory != NULL)
        CHECK(is_zero(memory, 2 * MIB));
    brood_region_free(again);
    brood_region_free(region);
}

TEST_LIMIT(whatever_call_fails_nothing_is_left, 120)
{
    sweep_faults(use_all, NULL, NULL);
}
