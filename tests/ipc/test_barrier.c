/* SPDX-License-Identifier: MIT */
/*
 * Barriers and onces between threads and processes: nobody is through before all have come, each
 * arrival has its own number, and a death, a late one or an abort is told to all who wait. Deaths
 * at each instruction are in test_barrier_kill.c and test_sync_kill.c.
 */
#include "ipc/sync_bed.h"

#include <errno.h>

enum { CREW = 4, ROUNDS = 3000 };

/* ---- barrier ---- */

static void step_together(struct sync_bed *bed, unsigned index)
{
    (void)index;
    for (uint64_t round = 0; round < ROUNDS; round++) {
        int place;

        (void)atomic_fetch_add(&bed->shared[0], 1);
        place = CHECK_OK(brood_barrier_wait(&bed->barrier, BROOD_FOREVER));
        CHECK(atomic_load(&bed->shared[0]) >= (round + 1) * CREW);
        (void)atomic_fetch_add(&bed->shared[1 + place], 1);
    }
}

static void nobody_is_early(struct sync_bed *bed)
{
    CHECK_OK(brood_barrier_init(&bed->barrier, CREW));
    bed_crew(bed, CREW, step_together);
    for (unsigned place = 0; place < CREW; place++)
        CHECK_EQ(atomic_load(&bed->shared[1 + place]), ROUNDS);
    CHECK_EQ(brood_barrier_waiting(&bed->barrier), 0);
    CHECK(!brood_barrier_broken(&bed->barrier));
}

TEST_LIMIT(nobody_is_through_before_all_have_come, 60)
{
    bed_everywhere(nobody_is_early);
}

static void arrive(struct sync_bed *bed, unsigned index)
{
    atomic_store(&bed->results[index], brood_barrier_wait(&bed->barrier, BROOD_FOREVER));
}

static void start_waiting(struct sync_bed *bed, struct bed_member *member, unsigned index)
{
    bed->work = arrive;
    bed_start(member, bed, index);
    while (brood_barrier_waiting(&bed->barrier) != (int)index + 1)
        brood__yield();
}

static void all_ways_to_break(struct sync_bed *bed)
{
    struct bed_member crew[2];

    CHECK_OK(brood_barrier_init(&bed->barrier, 3));
    for (unsigned way = 0; way < 3; way++) {
        for (unsigned i = 0; i < 2; i++)
            start_waiting(bed, &crew[i], i);
        if (way == 0)
            brood_barrier_abort(&bed->barrier);
        if (way == 1)
            brood_barrier_reset(&bed->barrier);
        if (way == 2)
            CHECK_EQ(brood_barrier_wait(&bed->barrier, 0), 2);
        for (unsigned i = 0; i < 2; i++) {
            bed_await(&crew[i]);
            CHECK_EQ(bed->results[i], way == 2 ? (int)i : BROOD_EBROKEN);
        }
        CHECK_EQ(brood_barrier_broken(&bed->barrier), way == 0);
        if (way == 0)
            CHECK_ERR(brood_barrier_wait(&bed->barrier, 0), BROOD_EBROKEN);
        brood_barrier_reset(&bed->barrier);
    }
    start_waiting(bed, &crew[0], 0);
    CHECK_ERR(brood_barrier_wait(&bed->barrier, 10), -ETIMEDOUT);
    bed_await(&crew[0]);
    CHECK_EQ(bed->results[0], BROOD_EBROKEN);
    CHECK(brood_barrier_broken(&bed->barrier));
}

TEST(a_broken_barrier_lets_nobody_wait_until_it_is_reset)
{
    bed_everywhere(all_ways_to_break);
}

static void arrive_twice(struct sync_bed *bed, unsigned index)
{
    arrive(bed, index);
    arrive(bed, index);
}

/* The one that dies has passed, and is not at the barrier when it does. */
TEST(a_death_between_two_rounds_breaks_the_second)
{
    struct sync_bed *bed = bed_open(BED_PROCESSES);
    pid_t waiter, victim;

    CHECK_OK(brood_barrier_init(&bed->barrier, 2));
    waiter = bed_fork(bed, 0, arrive_twice);
    bed_victim(bed, 1, arrive);
    CHECK_EQ(waitpid(waiter, NULL, 0), waiter);
    CHECK(bed->results[1] >= 0);
    CHECK_EQ(bed->results[0], BROOD_EBROKEN);
    brood_barrier_reset(&bed->barrier);
    victim = bed_fork(bed, 0, arrive);
    CHECK_OK(brood_barrier_wait(&bed->barrier, TEST_PATIENCE_MS));
    CHECK_EQ(waitpid(victim, NULL, 0), victim);
    bed_close(bed);
}

static void wait_for_ever(struct sync_bed *bed, unsigned index)
{
    arrive(bed, index);
    for (;;)
        (void)pause();
}

/* Two in one place after the other, as when a block is released and had again. */
TEST(a_new_barrier_knows_nothing_of_who_died_at_the_old_one)
{
    struct sync_bed *bed = bed_open(BED_PROCESSES);
    pid_t victim;

    CHECK_OK(brood_barrier_init(&bed->barrier, 2));
    victim = bed_fork(bed, 0, arrive);
    while (brood_barrier_waiting(&bed->barrier) == 0)
        brood__yield();
    bed_kill(victim);
    CHECK_OK(brood_barrier_init(&bed->barrier, 1));
    CHECK_EQ(brood_barrier_wait(&bed->barrier, 0), 0);
    brood_barrier_reset(&bed->barrier);
    CHECK_EQ(brood_barrier_wait(&bed->barrier, 0), 0);
    bed_close(bed);
}

TEST(a_new_barrier_does_not_care_for_who_passed_the_old_one_and_dies)
{
    struct sync_bed *bed = bed_open(BED_PROCESSES);
    pid_t victim;

    CHECK_OK(brood_barrier_init(&bed->barrier, 2));
    victim = bed_fork(bed, 0, wait_for_ever);
    CHECK_OK(brood_barrier_wait(&bed->barrier, TEST_PATIENCE_MS));
    CHECK_OK(brood_barrier_init(&bed->barrier, 1));
    bed_kill(victim);
    CHECK_EQ(brood_barrier_wait(&bed->barrier, 0), 0);
    bed_close(bed);
}

static void *arrive_in_thread(void *argument)
{
    (void)!brood_barrier_wait(argument, BROOD_FOREVER);
    return NULL;
}

/* To a forked child the threads of its parent are dead. */
TEST(barriers_of_private_memory_that_are_pages_apart_are_told_apart)
{
    char *pages = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    brood_barrier *first = (void *)pages, *second = (void *)(pages + 4096);
    pthread_t thread;
    pid_t pid;
    int status;

    CHECK(pages != MAP_FAILED);
    CHECK_OK(brood_barrier_init(first, 2));
    CHECK_OK(brood_barrier_init(second, 1));
    CHECK_EQ(pthread_create(&thread, NULL, arrive_in_thread, first), 0);
    while (brood_barrier_waiting(first) == 0)
        brood__yield();
    pid = CHECK_OK(fork());
    if (pid == 0) {
        CHECK_EQ(brood_barrier_wait(second, 0), 0);
        CHECK_ERR(brood_barrier_wait(first, 0), BROOD_EBROKEN);
        _exit(0);
    }
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, 0);
    CHECK_OK(brood_barrier_wait(first, TEST_PATIENCE_MS));
    CHECK_EQ(pthread_join(thread, NULL), 0);
    CHECK_OK(munmap(pages, 8192));
}

TEST(wrong_parties_are_told)
{
    brood_barrier barrier = {0};

    CHECK_ERR(brood_barrier_init(NULL, 1), -EINVAL);
    CHECK_ERR(brood_barrier_init(&barrier, 0), -EINVAL);
    CHECK_ERR(brood_barrier_init(&barrier, 65536), -EINVAL);
    CHECK_ERR(brood_barrier_wait(NULL, 0), -EINVAL);
    CHECK_ERR(brood_barrier_wait(&barrier, 0), -EINVAL);
    CHECK_ERR(brood_barrier_waiting(NULL), -EINVAL);
    CHECK(!brood_barrier_broken(NULL));
    brood_barrier_abort(NULL);
    brood_barrier_reset(NULL);
    CHECK_OK(brood_barrier_init(&barrier, 1));
    CHECK_EQ(brood_barrier_wait(&barrier, 0), 0);
    CHECK_EQ(brood_barrier_wait(&barrier, 0), 0);
}

/* ---- once ---- */

static int run_it(void *argument)
{
    struct sync_bed *bed = argument;

    (void)atomic_fetch_add(&bed->shared[0], 1);
    bed->values[0]++;
    return 0;
}

static void come(struct sync_bed *bed, unsigned index)
{
    CHECK_EQ(brood_once_run(&bed->once, run_it, bed, BROOD_FOREVER), 0);
    CHECK_EQ(bed->values[0], 1);
    (void)index;
}

static void it_runs_once(struct sync_bed *bed)
{
    bed_crew(bed, CREW, come);
    CHECK_EQ(atomic_load(&bed->shared[0]), 1);
}

TEST(what_runs_once_has_run_when_anybody_returns)
{
    bed_everywhere(it_runs_once);
}

static int fail_twice(void *argument)
{
    struct sync_bed *bed = argument;

    return atomic_fetch_add(&bed->shared[0], 1) < 2 ? -EIO : 5;
}

static int come_again(void *argument)
{
    struct sync_bed *bed = argument;

    CHECK_ERR(brood_once_run(&bed->once, come_again, bed, BROOD_FOREVER), -EDEADLK);
    return fail_twice(argument);
}

static void failures_are_told(struct sync_bed *bed)
{
    CHECK_ERR(brood_once_run(&bed->once, fail_twice, bed, 0), -EIO);
    CHECK_ERR(brood_once_run(&bed->once, come_again, bed, 0), -EIO);
    CHECK_EQ(brood_once_run(&bed->once, fail_twice, bed, 0), 0);
    CHECK_EQ(brood_once_run(&bed->once, fail_twice, bed, 0), 0);
    CHECK_EQ(atomic_load(&bed->shared[0]), 3);
}

TEST(after_a_failure_the_next_may_try)
{
    bed_everywhere(failures_are_told);
    CHECK_ERR(brood_once_run(NULL, fail_twice, NULL, 0), -EINVAL);
    CHECK_ERR(brood_once_run(&(brood_once){0}, NULL, NULL, 0), -EINVAL);
}

static int die_inside(void *argument)
{
    struct sync_bed *bed = argument;

    (void)atomic_fetch_add(&bed->shared[0], 1);
    (void)raise(SIGKILL);
    return 0;
}

static void try_and_die(struct sync_bed *bed, unsigned index)
{
    (void)index;
    (void)!brood_once_run(&bed->once, die_inside, bed, BROOD_FOREVER);
}

static void run_after(struct sync_bed *bed, unsigned index)
{
    atomic_store(&bed->results[index], brood_once_run(&bed->once, fail_twice, bed, BROOD_FOREVER));
}

TEST(what_was_begun_by_the_dead_is_run_again)
{
    struct sync_bed *bed = bed_open(BED_PROCESSES);

    bed_victim(bed, 0, try_and_die);
    bed_crew(bed, 1, run_after);
    CHECK_EQ(bed->results[0], -EIO);
    bed_crew(bed, 2, run_after);
    CHECK_EQ(bed->results[0] + bed->results[1], BROOD_OWNER_DIED);
    CHECK_EQ(atomic_load(&bed->shared[0]), 3);
    bed_close(bed);
}

/* ---- a fork inside ---- */

static void try_it(struct sync_bed *bed, unsigned index)
{
    atomic_store(&bed->results[index], brood_once_run(&bed->once, run_it, bed, 0));
}

/* The parent stays until the child, which returns from here too, has ended. */
static int fork_inside(void *argument)
{
    struct sync_bed *bed = argument;
    pid_t pid = CHECK_OK(fork());
    int status;

    atomic_store(&bed->results[15], (int)pid);
    if (pid == 0)
        return (int)bed->values[1];
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, 0);
    bed_crew(bed, 1, try_it);
    return 0;
}

static void only_the_parent_ends_it(int child_result, int child_gets)
{
    struct sync_bed *bed = bed_open(BED_PROCESSES);
    pid_t me = getpid();
    int r;

    bed->values[1] = (uint64_t)child_result;
    r = brood_once_run(&bed->once, fork_inside, bed, 0);
    if (getpid() != me) {
        CHECK_EQ(r, child_gets);
        CHECK_ERR(brood_once_run(&bed->once, run_it, bed, 0), -ETIMEDOUT);
        brood__member_leave_all();
        _exit(0);
    }
    CHECK_EQ(r, 0);
    CHECK_EQ(bed->results[0], -ETIMEDOUT);
    CHECK_EQ(brood_once_run(&bed->once, run_it, bed, 0), 0);
    CHECK_EQ(atomic_load(&bed->shared[0]), 0);
    bed_close(bed);
}

TEST(a_child_forked_inside_a_once_does_not_end_it)
{
    only_the_parent_ends_it(0, 0);
    only_the_parent_ends_it(7, 0);
    only_the_parent_ends_it(-EIO, -EIO);
}

static int fork_inside_alone(void *argument)
{
    int status;
    pid_t pid = CHECK_OK(fork());

    *(pid_t *)argument = pid;
    if (pid == 0)
        return 0;
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, 0);
    return 0;
}

static int must_not_run(void *argument)
{
    (void)argument;
    FAIL("it runs twice");
}

TEST(in_private_memory_a_once_is_done_in_a_child_forked_inside_it_too)
{
    brood_once once = {0};
    pid_t pid = 0;

    CHECK_EQ(brood_once_run(&once, fork_inside_alone, &pid, 0), 0);
    CHECK_EQ(brood_once_run(&once, must_not_run, NULL, 0), 0);
    if (pid == 0)
        _exit(0);
}

/* ---- damage ---- */

TEST(a_damaged_barrier_or_once_is_an_error_or_works)
{
    struct sync_bed *bed = bed_open(BED_PROCESSES);

    for (unsigned i = 0; i < 500; i++) {
        int r;

        bed_damage(&bed->barrier, sizeof bed->barrier);
        r = brood_barrier_wait(&bed->barrier, 0);
        CHECK(r >= 0 || r == BROOD_EABI || r == BROOD_EBROKEN || r == -ETIMEDOUT || r == -EINVAL);
        CHECK_OK(brood_barrier_init(&bed->barrier, 1));
        bed_damage(&bed->barrier, 16); /* all but the parties */
        r = brood_barrier_wait(&bed->barrier, 0);
        CHECK(r >= 0 || r == BROOD_EBROKEN);
        brood_barrier_reset(&bed->barrier);
        CHECK_EQ(brood_barrier_wait(&bed->barrier, 0), 0);
        bed_damage(&bed->once, sizeof bed->once);
        r = brood_once_run(&bed->once, run_it, bed, 0);
        CHECK(r >= 0 || r == -ETIMEDOUT || r == -EDEADLK);
    }
    bed_close(bed);
}
