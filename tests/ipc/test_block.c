/* SPDX-License-Identifier: MIT */
/*
 * Blocks of a region: two that live never overlap, every chunk that is nobody's can be had, and a
 * table that somebody has damaged leads nobody astray. If it did not hold, two would write to the
 * same place, or memory would be lost for ever.
 *
 * Deaths at each instruction are in test_block_kill.c. This file is compiled again for mutants of
 * block.c (BROOD_MUTANT), in which it must fail.
 */
#include "harness/gate.h"
#include "harness/report.h"
#include "harness/test.h"

#include "ipc/block_bed.h"

#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef BROOD_MUTANT
#define BROOD_MUTANT 0
#endif

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
    CHECK(!unlink_block(&bed, passed, PASSED - 1));
    CHECK(!unlink_block(&bed, waiting, PASSED - 1));
    CHECK_EQ(brood__block_linked(&bed.region, waiting, queue_offset + chunk_len(), PASSED), 0);
    CHECK(!brood__block_release(&bed.region, bed.me, waiting));
    CHECK_EQ(used_chunks(&bed), 5);
    CHECK(unlink_block(&bed, waiting, PASSED));
    CHECK(!unlink_block(&bed, waiting, PASSED));
    CHECK(brood__block_release(&bed.region, bed.me, next));
    check_conserved(&bed);
    bed_free(&bed);
}

TEST(a_block_that_was_reused_for_the_same_low_ticket_is_not_unlinked_by_who_saw_the_former)
{
    struct bed bed;
    uint64_t offset, seen;

    (void)bed_new(&bed, CHUNKS);
    (void)keep_chunks(&bed, 1); /* where the queue is */
    offset = link_chunks(&bed, 2, PASSED + 1);
    seen = brood__block_linked(&bed.region, offset, queue_offset, PASSED + 1);
    CHECK(seen != 0);
    CHECK(brood__block_unlink(&bed.region, offset, seen));
    CHECK_EQ(link_chunks(&bed, 2, PASSED + 1), offset);
    CHECK(!brood__block_unlink(&bed.region, offset, seen));
    CHECK_EQ(used_chunks(&bed), 3);
    CHECK(unlink_block(&bed, offset, PASSED + 1));
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
        /* Much is kept already, so it is punched; there is no descriptor, so that fails, and what
         * is there is not known. */
        atomic_store(&bed.region.hints->warm, UINT32_MAX / 2);
        CHECK(brood__block_release(&bed.region, round == 0 ? bed.me : 0, offset));
        CHECK_OK(brood__block_take_zeroed(&bed.region, bed.me, 300 * chunk_len(), &offset));
        for (uint64_t i = 0; i < 300 * chunk_len(); i++)
            if (bed.region.base[offset + i] != 0)
                FAIL("byte %u is not zero", (unsigned)i);
        CHECK(brood__block_give(&bed.region, offset));
    }
    bed_free(&bed);
}

/* Of a thread that was stopped between two instructions: the block has an owner, and its length is
 * still that of the block before. */
TEST(a_block_that_is_begun_blocks_no_more_than_it_has)
{
    struct bed bed;
    struct block_entry *entry;
    uint32_t serial;

    (void)bed_new(&bed, CHUNKS);
    CHECK(brood__block_give(&bed.region, keep_chunks(&bed, CHUNKS)));
    entry = (void *)(bed.region.base + bed.region.table);
    serial = atomic_fetch_add(&entry->serial, 1) + 1;
    atomic_store(&entry->word, (uint64_t)1 << 61 | (uint64_t)serial << 32 | bed.me);
    CHECK_EQ(used_chunks(&bed), 1);
    check_conserved(&bed);
    CHECK_EQ(keep_chunks(&bed, CHUNKS - 1), bed.region.chunks + chunk_len());
    CHECK_EQ(used_chunks(&bed), CHUNKS);
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
        (void)unlink_block(&bed, offset, 1);
        if (brood__block_take_zeroed(&bed.region, bed.me, len * chunk_len(), &offset) == 0)
            CHECK(offset >= bed.region.chunks && offset + len * chunk_len() <= bed.region.len);
    }
    bed_free(&bed);
}

#if BROOD_MUTANT == 0
/* ---- the tests see what they are there for ---- */

/* A mutant fails in TEST, and nowhere else is looked. */
static void must_fail(const char *mutant, const char *test)
{
    struct report report;

    report_of(mutant, test, &report);
    if (report.exit_code == 0)
        FAIL("%s passes %s", mutant, test);
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
