/* SPDX-License-Identifier: MIT */
/*
 * Toy structures in shared memory, each beside a mutant that steps must catch.
 *
 * harness/test_step.c looks at the verdicts. Each toy has one idea that real structures use too:
 * commit by one store, a lock that names its owner, an atomic addition, a log that is cleared last.
 */
#include "harness/step.h"
#include "harness/test.h"

#include <limits.h>
#include <linux/futex.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* ---- commit by one store ---- */

struct record_pair {
    _Atomic unsigned current; /* which of the two is valid */
    volatile int pairs[2][2]; /* whose members are always equal */
};

static void write_beside(void *memory, void *context)
{
    struct record_pair *record = memory;
    unsigned next = atomic_load(&record->current) ^ 1;

    (void)context;
    record->pairs[next][0] = 7;
    record->pairs[next][1] = 7;
    atomic_store(&record->current, next);
}

static void write_in_place(void *memory, void *context)
{
    struct record_pair *record = memory;

    (void)context;
    record->pairs[0][0] = 7;
    record->pairs[0][1] = 7;
}

static void pair_is_whole(void *memory, const struct step_victim *victim, void *context)
{
    struct record_pair *record = memory;
    unsigned current = atomic_load(&record->current);

    (void)context;
    CHECK_EQ(record->pairs[current][0], record->pairs[current][1]);
    if (victim->finished)
        CHECK_EQ(record->pairs[current][0], 7);
}

TEST(kill_finds_nothing_in_a_commit)
{
    step_kill(&(struct step_plan){.memory_len = sizeof(struct record_pair),
                                  .operation = write_beside,
                                  .oracle = pair_is_whole,
                                  .name = "a commit"});
}

TEST(kill_finds_a_torn_write)
{
    step_kill(&(struct step_plan){.memory_len = sizeof(struct record_pair),
                                  .operation = write_in_place,
                                  .oracle = pair_is_whole,
                                  .sample = UINT_MAX});
}

/* ---- a lock that names its owner ---- */

struct owned_lock {
    _Atomic pid_t owner;
    volatile int counter;
};

static void count_locked(void *memory, void *context)
{
    const bool *names = context;
    struct owned_lock *lock = memory;
    pid_t none = 0;

    while (!atomic_compare_exchange_weak(&lock->owner, &none, *names ? getpid() : -1))
        none = 0;
    lock->counter++;
    atomic_store(&lock->owner, 0);
}

static void lock_is_free(void *memory, const struct step_victim *victim, void *context)
{
    struct owned_lock *lock = memory;
    pid_t dead = victim->pid;

    (void)context;
    (void)atomic_compare_exchange_strong(&lock->owner, &dead, 0);
    CHECK_EQ(atomic_load(&lock->owner), 0);
    CHECK(lock->counter == 1 || !victim->finished);
}

static void kill_lock_holder(bool names)
{
    step_kill(&(struct step_plan){.memory_len = sizeof(struct owned_lock),
                                  .operation = count_locked,
                                  .oracle = lock_is_free,
                                  .context = &names});
}

TEST(kill_finds_nothing_in_an_owned_lock)
{
    kill_lock_holder(true);
}

TEST(kill_finds_a_lock_without_owner)
{
    kill_lock_holder(false);
}

/* ---- an addition, with another process in between ---- */

static void add_atomically(void *memory, void *context)
{
    _Atomic int *counter = memory;

    (void)context;
    atomic_fetch_add(counter, 1);
}

static void add_in_two_steps(void *memory, void *context)
{
    _Atomic int *counter = memory;

    (void)context;
    atomic_store(counter, atomic_load(counter) + 1);
}

static void add_meanwhile(void *memory, const struct step_victim *victim, void *context)
{
    (void)victim;
    add_atomically(memory, context);
}

static void both_are_counted(void *memory, const struct step_victim *victim, void *context)
{
    _Atomic int *counter = memory;

    (void)context;
    CHECK(victim->finished);
    CHECK_EQ(atomic_load(counter), 2);
}

TEST(pause_finds_nothing_in_an_atomic_addition)
{
    step_pause(&(struct step_plan){.memory_len = 4096,
                                   .operation = add_atomically,
                                   .meanwhile = add_meanwhile,
                                   .oracle = both_are_counted});
}

TEST(pause_finds_a_lost_addition)
{
    step_pause(&(struct step_plan){.memory_len = 4096,
                                   .operation = add_in_two_steps,
                                   .meanwhile = add_meanwhile,
                                   .oracle = both_are_counted});
}

/* ---- a log that is cleared last ---- */

struct logged {
    volatile int intent; /* a change is under way */
    volatile int left;
    volatile int right; /* equal to left */
};

static void change_logged(void *memory, void *context)
{
    struct logged *logged = memory;

    (void)context;
    logged->intent = 1;
    logged->left = 5;
    logged->right = 5;
    logged->intent = 0;
}

static void redo(void *memory, void *context)
{
    struct logged *logged = memory;
    const bool *clears_early = context;

    if (logged->intent == 0)
        return;
    if (*clears_early)
        logged->intent = 0;
    logged->left = 5;
    logged->right = 5;
    logged->intent = 0;
}

static void log_is_redone(void *memory, const struct step_victim *victim, void *context)
{
    struct logged *logged = memory;

    (void)victim;
    redo(memory, context);
    CHECK_EQ(logged->left, logged->right);
}

static void kill_twice(bool clears_early)
{
    step_kill_repair(&(struct step_plan){.memory_len = sizeof(struct logged),
                                         .operation = change_logged,
                                         .repair = redo,
                                         .oracle = log_is_redone,
                                         .context = &clears_early,
                                         .sample = 400});
}

TEST(kill_repair_finds_nothing_in_a_careful_repair)
{
    kill_twice(false);
}

TEST(kill_repair_finds_a_hasty_repair)
{
    kill_twice(true);
}

/* ---- victims that misbehave ---- */

static void check_inside(void *memory, void *context)
{
    (void)memory;
    (void)context;
    CHECK_EQ(1, 2);
}

TEST(victim_fails_a_check)
{
    step_kill(&(struct step_plan){
        .memory_len = 4096, .operation = check_inside, .oracle = pair_is_whole});
}

static void crash_inside(void *memory, void *context)
{
    (void)memory;
    (void)context;
    __builtin_trap();
}

TEST(victim_crashes)
{
    step_kill(&(struct step_plan){
        .memory_len = 4096, .operation = crash_inside, .oracle = pair_is_whole});
}
