/* SPDX-License-Identifier: MIT */
/*
 * Blocks of a region: two that live never overlap, and whatever dies where, every chunk that is
 * nobody's can be had again. If it did not hold, a killed process would cost memory for ever, or
 * two would write to the same place.
 *
 * The memory is arranged by hand: few chunks, so that everything meets. Steps (harness/step.h) cut
 * or hold up each operation everywhere. Which tickets have passed is said by a number here instead
 * of a queue: this program wraps brood__queue_passed().
 *
 * This file is compiled again for each mutant of block.c (BROOD_MUTANT), in which it must fail.
 */
#include "harness/gate.h"
#include "harness/report.h"
#include "harness/step.h"
#include "harness/test.h"

#include "base/clock.h"
#include "ipc/block.h"
#include "ipc/chunk.h"
#include "sys/kernel.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef BROOD_MUTANT
#define BROOD_MUTANT 0
#endif

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

/* In front of everything, for the victim to tell. */
struct note {
    _Atomic uint64_t offset;
    _Atomic int result;
};

static uint64_t ceil_page(uint64_t len)
{
    return (len + brood__page_size() - 1) & ~(brood__page_size() - 1);
}

static uint64_t chunk_len(void)
{
    return brood__page_size();
}

static struct region region_over(void *memory, uint32_t chunk_count)
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

static uint64_t bed_len(uint32_t chunk_count)
{
    return region_over(NULL, chunk_count).len;
}

static void bed_make(struct bed *bed, void *memory, uint32_t chunk_count)
{
    bed->region = region_over(memory, chunk_count);
    brood__roster_init(bed->region.roster, SLOTS);
    CHECK_OK(brood__roster_join(bed->region.roster, &bed->me));
    queue_offset = bed->region.chunks;
}

static void bed_done(struct bed *bed)
{
    brood__roster_leave(bed->region.roster, bed->me);
}

static void *bed_new(struct bed *bed, uint32_t chunk_count)
{
    void *memory = NULL;

    CHECK_OK(brood__memory_map_family(&memory, bed_len(chunk_count)));
    bed_make(bed, memory, chunk_count);
    return memory;
}

static void bed_free(struct bed *bed)
{
    bed_done(bed);
    brood__memory_unmap(bed->region.base, bed->region.len);
}

static struct note *note_of(const struct bed *bed)
{
    return (struct note *)(void *)bed->region.base;
}

static uint64_t take_chunks(struct bed *bed, uint64_t count)
{
    uint64_t offset = 0;

    CHECK_OK(brood__block_take(&bed->region, bed->me, count * chunk_len(), &offset));
    return offset;
}

static uint64_t keep_chunks(struct bed *bed, uint64_t count)
{
    uint64_t offset = take_chunks(bed, count);

    brood__block_keep(&bed->region, offset);
    return offset;
}

static uint64_t link_chunks(struct bed *bed, uint64_t count, uint32_t ticket)
{
    uint64_t offset = take_chunks(bed, count);

    brood__block_link(&bed->region, offset, queue_offset, ticket);
    return offset;
}

/* Of somebody who is gone. */
static uint64_t lose_chunks(struct bed *bed, uint64_t count)
{
    roster_tag me;
    uint64_t offset = 0;

    CHECK_OK(brood__roster_join(bed->region.roster, &me));
    CHECK_OK(brood__block_take(&bed->region, me, count * chunk_len(), &offset));
    brood__roster_leave(bed->region.roster, me);
    return offset;
}

static uint64_t used_chunks(const struct bed *bed)
{
    return brood__block_used(&bed->region) / chunk_len();
}

/* Takes all that can be had, chunk by chunk; how many. */
static unsigned take_all(struct bed *bed, uint64_t *offsets)
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

static void give_all(struct bed *bed, const uint64_t *offsets, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        CHECK(brood__block_release(&bed->region, bed->me, offsets[i]));
}

/* Nothing is lost: what is not used can be had, as chunks and in one piece. */
static void check_conserved(struct bed *bed)
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

/* ---- one process ---- */

TEST(a_block_is_where_no_other_is_and_as_long_as_asked_for)
{
    struct bed bed;
    uint64_t first, second, third;

    (void)bed_new(&bed, CHUNKS);
    first = keep_chunks(&bed, 3);
    second = keep_chunks(&bed, 2);
    CHECK_EQ(first, bed.region.chunks);
    CHECK_EQ(second, first + 3 * chunk_len());
    CHECK_EQ(brood__block_len(&bed.region, first), 3 * chunk_len());
    CHECK_EQ(brood__block_len(&bed.region, first + chunk_len()), 0);
    CHECK_EQ(brood__block_len(&bed.region, first + 64), 0);
    CHECK_EQ(brood__block_len(&bed.region, second + 2 * chunk_len()), 0);
    CHECK_EQ(brood__block_len(&bed.region, 0), 0);
    CHECK_EQ(brood__block_len(&bed.region, UINT64_MAX), 0);
    CHECK(brood__block_give(&bed.region, first));
    CHECK(!brood__block_give(&bed.region, first));
    third = keep_chunks(&bed, 4);
    CHECK_EQ(third, second + 2 * chunk_len());
    CHECK_EQ(keep_chunks(&bed, 3), first);
    bed_free(&bed);
}

TEST(a_block_that_cannot_be_had_is_an_error_that_says_why)
{
    struct bed bed;
    uint64_t offset = 77;

    (void)bed_new(&bed, CHUNKS);
    CHECK_ERR(brood__block_take(&bed.region, bed.me, CHUNKS * chunk_len() + 1, &offset), -EMSGSIZE);
    CHECK_ERR(brood__block_take(&bed.region, bed.me, UINT64_MAX, &offset), -EMSGSIZE);
    (void)keep_chunks(&bed, CHUNKS - 1);
    CHECK_ERR(brood__block_take(&bed.region, bed.me, 2 * chunk_len(), &offset), -EAGAIN);
    CHECK_EQ(offset, 77);
    check_conserved(&bed);
    bed_free(&bed);
}

TEST(what_a_dead_participant_was_making_is_free_and_what_it_kept_is_not)
{
    struct bed bed;
    pid_t pid;

    (void)bed_new(&bed, CHUNKS);
    pid = CHECK_OK(fork());
    if (pid == 0) {
        CHECK_OK(brood__roster_join(bed.region.roster, &bed.me));
        (void)take_chunks(&bed, 5);
        (void)keep_chunks(&bed, 2);
        (void)take_chunks(&bed, CHUNKS - 7);
        (void)kill(getpid(), SIGKILL);
    }
    CHECK_OK(waitpid(pid, NULL, 0));
    CHECK_EQ(used_chunks(&bed), 2);
    check_conserved(&bed);
    bed_free(&bed);
}

TEST(a_linked_block_lives_until_its_ticket_has_passed)
{
    struct bed bed;
    uint64_t passed, waiting, next;

    (void)bed_new(&bed, CHUNKS);
    (void)keep_chunks(&bed, 1); /* where the queue is */
    passed = link_chunks(&bed, CHUNKS - 3, PASSED - 1);
    waiting = link_chunks(&bed, 2, PASSED);
    CHECK_EQ(used_chunks(&bed), 3);
    next = keep_chunks(&bed, 2);
    CHECK_EQ(next, passed);
    /* Whoever passed the ticket comes too late: the block is another one's. */
    CHECK(!brood__block_unlink(&bed.region, passed, queue_offset, PASSED - 1));
    CHECK(!brood__block_unlink(&bed.region, waiting, queue_offset, PASSED - 1));
    CHECK(!brood__block_unlink(&bed.region, waiting, queue_offset + chunk_len(), PASSED));
    CHECK(!brood__block_release(&bed.region, bed.me, waiting));
    CHECK_EQ(used_chunks(&bed), 5);
    CHECK(brood__block_unlink(&bed.region, waiting, queue_offset, PASSED));
    CHECK(!brood__block_unlink(&bed.region, waiting, queue_offset, PASSED));
    CHECK(brood__block_release(&bed.region, bed.me, next));
    check_conserved(&bed);
    bed_free(&bed);
}

TEST(a_zeroed_block_is_zero_whatever_lay_there)
{
    struct bed bed;
    uint64_t offset = 0;

    (void)bed_new(&bed, MANY_CHUNKS);
    for (unsigned round = 0; round < 2; round++) {
        offset = keep_chunks(&bed, MANY_CHUNKS);
        memset(bed.region.base + offset, 0xA5, MANY_CHUNKS * chunk_len());
        /* There is no descriptor, so punching fails, and what is there is not known. */
        CHECK(brood__block_release(&bed.region, round == 0 ? bed.me : 0, offset));
        CHECK_OK(brood__block_take_zeroed(&bed.region, bed.me, 300 * chunk_len(), &offset));
        for (uint64_t i = 0; i < 300 * chunk_len(); i++)
            if (bed.region.base[offset + i] != 0)
                FAIL("byte %u is not zero", (unsigned)i);
        CHECK(brood__block_give(&bed.region, offset));
    }
    bed_free(&bed);
}

TEST(memory_that_others_left_is_found_before_more_is_used)
{
    struct bed bed;
    uint64_t first;

    (void)bed_new(&bed, MANY_CHUNKS);
    (void)keep_chunks(&bed, 1);
    first = link_chunks(&bed, 50, PASSED - 1);
    for (unsigned i = 0; i < 100; i++)
        CHECK(take_chunks(&bed, 1) < first + 170 * chunk_len());
    bed_free(&bed);
}

/* ---- two that meet ---- */

static struct {
    struct bed lower, upper;
    struct gate *parked, *go;
    pthread_t thread;
    int result;
    uint64_t offset;
} meeting;

/* The upper one has seen that the chunk is free, and is about to claim it. */
static void wait_for_go(void)
{
    gate_open(meeting.parked);
    gate_wait(meeting.go);
}

static void *take_upper(void *unused)
{
    struct bed *bed = &meeting.upper;

    CHECK_OK(brood__roster_join(bed->region.roster, &bed->me));
    /* Two chunks, looked at and then claimed. */
    countdown = 3;
    at_zero = wait_for_go;
    meeting.result = brood__block_take(&bed->region, bed->me, 2 * chunk_len(), &meeting.offset);
    brood__block_keep(&bed->region, meeting.offset);
    brood__roster_leave(bed->region.roster, bed->me);
    return unused;
}

/* The lower one has seen the same, after it had claimed what is below. */
static void let_upper_go(void)
{
    gate_open(meeting.go);
    CHECK_EQ(pthread_join(meeting.thread, NULL), 0);
}

TEST(of_two_that_meet_one_has_the_chunk_and_the_other_none)
{
    uint64_t below, offset;
    struct bed *bed = &meeting.lower;

    (void)bed_new(bed, CHUNKS);
    (void)keep_chunks(bed, 1);
    below = keep_chunks(bed, 1);
    offset = link_chunks(bed, 2, PASSED - 1);
    (void)keep_chunks(bed, CHUNKS - 4);
    meeting.upper = *bed;
    meeting.parked = gate_new();
    meeting.go = gate_new();
    CHECK_EQ(pthread_create(&meeting.thread, NULL, take_upper, NULL), 0);
    gate_wait(meeting.parked);
    CHECK(brood__block_give(&bed->region, below));
    countdown = 3;
    at_zero = let_upper_go;
    CHECK_ERR(brood__block_take(&bed->region, bed->me, 3 * chunk_len(), &below), -EAGAIN);
    CHECK_EQ(meeting.result, 0);
    CHECK_EQ(meeting.offset, offset);
    CHECK_EQ(brood__block_len(&bed->region, offset), 2 * chunk_len());
    CHECK_EQ(used_chunks(bed), CHUNKS - 1);
    check_conserved(bed);
    bed_free(bed);
    gate_free(meeting.parked);
    gate_free(meeting.go);
}

/* ---- many ---- */

enum { HELD = 6, ROUNDS = 3000 };

struct held {
    uint64_t offset, len;
};

static void stamp(const struct bed *bed, const struct held *held)
{
    for (uint64_t i = 0; i < held->len; i += chunk_len())
        memcpy(bed->region.base + held->offset + i, &bed->me, sizeof bed->me);
}

static void check_stamp(const struct bed *bed, const struct held *held)
{
    for (uint64_t i = 0; i < held->len; i += chunk_len())
        if (memcmp(bed->region.base + held->offset + i, &bed->me, sizeof bed->me) != 0)
            FAIL("two blocks overlap");
}

static void let_go(const struct bed *bed, struct held *held)
{
    struct region region = bed->region;

    if (held->len == 0)
        return;
    check_stamp(bed, held);
    CHECK(brood__block_give(&region, held->offset));
    held->len = 0;
}

/* Takes and gives blocks of all sizes. Keeps none but MAKING ones. */
static void churn(struct bed *bed, uint64_t rounds, uint64_t seed)
{
    struct held held[HELD] = {{0, 0}};

    for (uint64_t i = 0; i < rounds; i++) {
        struct held *one = &held[(seed >> 33) % HELD];
        int r;

        seed = seed * 6364136223846793005U + 1442695040888963407U;
        let_go(bed, one);
        one->len = ((seed >> 40) % 9 + 1) * chunk_len();
        r = brood__block_take(&bed->region, bed->me, one->len, &one->offset);
        if (r < 0) {
            CHECK_EQ(r, -EAGAIN);
            one->len = 0;
            continue;
        }
        stamp(bed, one);
    }
    for (unsigned i = 0; i < HELD; i++)
        let_go(bed, &held[i]);
}

struct thread_task {
    struct bed bed;
    uint64_t seed;
};

static void *churn_in_thread(void *context)
{
    struct thread_task *task = context;

    CHECK_OK(brood__roster_join(task->bed.region.roster, &task->bed.me));
    churn(&task->bed, ROUNDS, task->seed);
    brood__roster_leave(task->bed.region.roster, task->bed.me);
    return NULL;
}

TEST_LIMIT(blocks_of_threads_never_overlap_and_all_come_back, 60)
{
    enum { THREADS = 4 };
    struct thread_task tasks[THREADS];
    pthread_t threads[THREADS];
    struct bed bed;

    (void)bed_new(&bed, CHUNKS * 4);
    for (unsigned i = 0; i < THREADS; i++) {
        tasks[i] = (struct thread_task){.bed = bed, .seed = test_random()};
        CHECK_EQ(pthread_create(&threads[i], NULL, churn_in_thread, &tasks[i]), 0);
    }
    for (unsigned i = 0; i < THREADS; i++)
        CHECK_EQ(pthread_join(threads[i], NULL), 0);
    CHECK_EQ(used_chunks(&bed), 0);
    check_conserved(&bed);
    bed_free(&bed);
}

static pid_t start_churning(const struct bed *bed, uint64_t seed)
{
    pid_t pid = CHECK_OK(fork());
    struct bed mine = *bed;

    if (pid != 0)
        return pid;
    CHECK_OK(brood__roster_join(mine.region.roster, &mine.me));
    churn(&mine, UINT64_MAX, seed);
    _exit(0);
}

/* They die by SIGKILL in the middle of anything, and others go on over what they left. */
TEST_LIMIT(processes_that_are_killed_at_any_time_leave_all_memory_to_the_others, 60)
{
    enum { VICTIMS = 3, KILLS = 150 };
    pid_t victims[VICTIMS];
    struct bed bed;

    (void)bed_new(&bed, CHUNKS * 4);
    for (unsigned i = 0; i < VICTIMS; i++)
        victims[i] = start_churning(&bed, test_random());
    for (unsigned i = 0; i < KILLS; i++) {
        churn(&bed, test_random_below(200), test_random());
        CHECK_OK(kill(victims[i % VICTIMS], SIGKILL));
        CHECK_OK(waitpid(victims[i % VICTIMS], NULL, 0));
        victims[i % VICTIMS] = start_churning(&bed, test_random());
    }
    for (unsigned i = 0; i < VICTIMS; i++) {
        CHECK_OK(kill(victims[i], SIGKILL));
        CHECK_OK(waitpid(victims[i], NULL, 0));
    }
    CHECK_EQ(used_chunks(&bed), 0);
    check_conserved(&bed);
    bed_free(&bed);
}

/* ---- a table that somebody has written garbage to ---- */

static void garble(struct bed *bed)
{
    struct block_entry *entries = (void *)(bed->region.base + bed->region.table);

    for (unsigned i = 0; i < bed->region.chunk_count; i++) {
        uint64_t state = test_random_below(8);

        atomic_store(&entries[i].word, state << 61 | test_random() >> 3);
        if (test_random_below(2) == 0) /* owners and queues that may be */
            atomic_store(&entries[i].word, state << 61 | test_random_below(CHUNKS * 2));
        atomic_store(&entries[i].count, (uint32_t)test_random());
        atomic_store(&entries[i].queue, (uint32_t)test_random_below(CHUNKS * 2));
    }
    atomic_store(&bed->region.hints->ready, (uint32_t)test_random());
    atomic_store(&bed->region.hints->low, (uint32_t)test_random_below(CHUNKS * 2));
}

TEST(a_garbled_table_leads_nobody_out_of_the_region)
{
    struct bed bed;
    uint64_t offset;

    (void)bed_new(&bed, CHUNKS);
    for (unsigned i = 0; i < 3000; i++) {
        uint64_t len = test_random_below(CHUNKS) + 1;

        garble(&bed);
        (void)brood__block_used(&bed.region);
        offset = bed.region.chunks + test_random_below(CHUNKS) * chunk_len();
        CHECK(offset + brood__block_len(&bed.region, offset) <= bed.region.len);
        (void)brood__block_release(&bed.region, bed.me, offset);
        (void)brood__block_unlink(&bed.region, offset, queue_offset, 1);
        if (brood__block_take_zeroed(&bed.region, bed.me, len * chunk_len(), &offset) == 0)
            CHECK(offset >= bed.region.chunks && offset + len * chunk_len() <= bed.region.len);
    }
    bed_free(&bed);
}

/* ---- steps ---- */

/*
 * At first: [ A A ][ passed x3 ][ C ][ dead x4 ][ L L L ][ 11 free ] = 24 chunks, 6 of them used.
 */
enum { USED = 6 };

struct scene {
    struct bed bed;
    uint64_t kept, single, linked;
    unsigned count;      /* chunks that the victim takes */
    unsigned used_after; /* when the operation was done and its process is dead */
    uint64_t offsets[CHUNKS];
    unsigned taken; /* of the offsets, by others meanwhile */
};

static void arrange_scene(void *memory, void *context)
{
    struct scene *scene = context;
    struct bed *bed = &scene->bed;
    uint64_t lost;

    bed_make(bed, memory, CHUNKS);
    scene->kept = keep_chunks(bed, 2);
    scene->single = take_chunks(bed, 3);
    brood__block_link(&bed->region, scene->single, queue_offset, PASSED);
    lost = scene->single;
    scene->single = keep_chunks(bed, 1);
    (void)lose_chunks(bed, 4);
    scene->linked = link_chunks(bed, 3, PASSED + 5);
    /* Only now passed, or the next block would have gone there. */
    CHECK(brood__block_unlink(&bed->region, lost, queue_offset, PASSED));
    CHECK_EQ(link_chunks(bed, 3, PASSED - 1), lost);
    CHECK_EQ(used_chunks(bed), USED);
    scene->taken = 0;
}

static void clear_scene(void *memory, void *context)
{
    struct scene *scene = context;

    (void)memory;
    bed_done(&scene->bed);
}

static void join_roster(void *memory, void *context)
{
    struct scene *scene = context;

    (void)memory;
    CHECK_OK(brood__roster_join(scene->bed.region.roster, &scene->bed.me));
}

/* What a victim does with what it got: a mark in each chunk. */
static void mark(struct scene *scene, uint64_t offset, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++)
        scene->bed.region.base[offset + i * chunk_len()] = 'V';
}

static uint64_t victim_takes(struct scene *scene)
{
    uint64_t offset = 0;
    int r =
        brood__block_take(&scene->bed.region, scene->bed.me, scene->count * chunk_len(), &offset);

    if (r == 0)
        mark(scene, offset, scene->count);
    atomic_store(&note_of(&scene->bed)->result, r);
    return r < 0 ? 0 : offset;
}

static void take_some(void *memory, void *context)
{
    (void)memory;
    (void)victim_takes(context);
}

/* Who comes after a death, and takes what was left. */
static void come_and_take(void *memory, void *context)
{
    join_roster(memory, context);
    take_some(memory, context);
}

static void take_and_keep(void *memory, void *context)
{
    struct scene *scene = context;
    uint64_t offset = victim_takes(scene);

    (void)memory;
    if (offset != 0)
        brood__block_keep(&scene->bed.region, offset);
}

static void take_and_link(void *memory, void *context)
{
    struct scene *scene = context;
    uint64_t offset = victim_takes(scene);

    (void)memory;
    if (offset != 0)
        brood__block_link(&scene->bed.region, offset, queue_offset, PASSED + 9);
}

static void give_single(void *memory, void *context)
{
    struct scene *scene = context;

    (void)memory;
    (void)brood__block_give(&scene->bed.region, scene->single);
}

static void release_kept(void *memory, void *context)
{
    struct scene *scene = context;

    (void)memory;
    (void)brood__block_release(&scene->bed.region, scene->bed.me, scene->kept);
}

static void unlink_linked(void *memory, void *context)
{
    struct scene *scene = context;

    (void)memory;
    (void)brood__block_unlink(&scene->bed.region, scene->linked, queue_offset, PASSED + 5);
}

/* All that others can get while the victim stands still, and a mark in it. */
static void others_take_all(void *memory, const struct step_victim *victim, void *context)
{
    struct scene *scene = context;

    (void)memory;
    (void)victim;
    scene->taken = take_all(&scene->bed, scene->offsets);
    for (unsigned i = 0; i < scene->taken; i++)
        scene->bed.region.base[scene->offsets[i]] = 'O';
}

static void all_can_be_had(void *memory, const struct step_victim *victim, void *context)
{
    struct scene *scene = context;
    uint64_t used;

    (void)memory;
    for (unsigned i = 0; i < scene->taken; i++)
        CHECK_EQ(scene->bed.region.base[scene->offsets[i]], 'O');
    give_all(&scene->bed, scene->offsets, scene->taken);
    scene->taken = 0;
    used = used_chunks(&scene->bed);
    if (victim->finished && atomic_load(&note_of(&scene->bed)->result) == 0)
        CHECK_EQ(used, scene->used_after);
    else
        CHECK(used == USED || used == scene->used_after);
    check_conserved(&scene->bed);
}

typedef void step_fn(void *memory, void *context);

static struct step_plan plan_of(struct scene *scene, step_fn *operation, const char *name)
{
    return (struct step_plan){.memory_len = bed_len(CHUNKS),
                              .setup = arrange_scene,
                              .prepare = join_roster,
                              .operation = operation,
                              .oracle = all_can_be_had,
                              .teardown = clear_scene,
                              .context = scene,
                              .name = name};
}

static void cut(unsigned count, step_fn *operation, unsigned used_after, const char *name)
{
    struct scene scene = {.count = count, .used_after = used_after};
    struct step_plan plan = plan_of(&scene, operation, name);

    step_kill(&plan);
}

static void hold_up(unsigned count, step_fn *operation, unsigned used_after, const char *name)
{
    struct scene scene = {.count = count, .used_after = used_after};
    struct step_plan plan = plan_of(&scene, operation, name);

    plan.meanwhile = others_take_all;
    step_pause(&plan);
}

static void cut_twice(unsigned count, step_fn *operation, unsigned used_after, const char *name)
{
    struct scene scene = {.count = count, .used_after = used_after};
    struct step_plan plan = plan_of(&scene, operation, name);

    plan.repair = come_and_take;
    step_kill_repair(&plan);
}

TEST_LIMIT(a_death_in_a_take_loses_no_chunk, 120)
{
    cut(1, take_some, USED, "take 1");
    cut(3, take_some, USED, "take 3");
    cut(9, take_some, USED, "take 9");
    cut(CHUNKS - USED, take_some, USED, "take too many");
}

TEST_LIMIT(a_death_in_handing_on_leaves_a_block_or_none, 120)
{
    cut(4, take_and_keep, USED + 4, "keep");
    cut(2, take_and_link, USED + 2, "link");
}

TEST_LIMIT(a_death_in_giving_back_leaves_a_block_or_none, 120)
{
    cut(0, give_single, USED - 1, "give");
    cut(0, release_kept, USED - 2, "release");
    cut(0, unlink_linked, USED - 3, "unlink");
}

TEST_LIMIT(who_is_held_up_in_a_take_shares_no_chunk_with_others, 120)
{
    hold_up(1, take_and_keep, USED + 1, "take 1, held up");
    hold_up(3, take_and_keep, USED + 3, "take 3, held up");
    hold_up(9, take_and_keep, USED + 9, "take 9, held up");
    hold_up(2, take_and_link, USED + 2, "link, held up");
}

TEST_LIMIT(who_is_held_up_in_giving_back_gives_nobody_elses, 120)
{
    hold_up(0, give_single, USED - 1, "give, held up");
    hold_up(0, release_kept, USED - 2, "release, held up");
    hold_up(0, unlink_linked, USED - 3, "unlink, held up");
}

TEST_LIMIT(a_death_after_a_death_loses_no_chunk, 120)
{
    cut_twice(3, take_some, USED, "take 3, and again");
    cut_twice(9, take_some, USED, "take 9, and again");
}

#if BROOD_MUTANT == 0
/* ---- the sweeps see what they are there for ---- */

/* A mutant fails in TEST, and nowhere else is looked. */
static void must_fail(const char *mutant, const char *test)
{
    struct report report;

    report_of(mutant, test, &report);
    if (report.exit_code == 0)
        FAIL("%s passes %s", mutant, test);
}

TEST_LIMIT(a_claim_that_names_nobody_is_caught, 120)
{
    if (step_is_impossible() != NULL)
        SKIP("%s", step_is_impossible());
    must_fail("block_anonymous_claim", "a_death_in_a_take_loses_no_chunk");
}

TEST_LIMIT(a_further_chunk_taken_without_a_cas_is_caught, 120)
{
    must_fail("block_plain_body", "of_two_that_meet_one_has_the_chunk");
}

TEST_LIMIT(a_further_chunk_without_a_serial_is_caught, 120)
{
    must_fail("block_no_serial", "a_block_is_where_no_other_is");
}
#endif
