/* SPDX-License-Identifier: MIT */
/*
 * Steps must reach each instruction and no other, and must find what is made to be found.
 *
 * The toys and their mutants are in programs/misbehave_step.c. Here is also the machine itself: a
 * loop whose progress is known for each point, and an operation that ends asleep.
 */
#include "harness/report.h"
#include "harness/step.h"
#include "harness/test.h"

#include <limits.h>
#include <linux/futex.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static void needs_steps(void)
{
    const char *impossible = step_is_impossible();

    if (impossible != NULL)
        SKIP("%s", impossible);
}

static void must_fail(const char *name, const char *reason)
{
    needs_steps();
    report_must_fail("misbehave_step", name, reason);
}

static void must_pass(const char *name)
{
    static struct report report;

    needs_steps();
    report_of("misbehave_step", name, &report);
    if (report.exit_code != 0 || !report_has(&report, " points tried, 0 not reached"))
        FAIL("status %d:\n%s", report.exit_code, report.text);
}

/* ---- the machine ---- */

enum { ROUNDS = 25 };

struct progress {
    volatile unsigned rounds;
    char from[64];
    char to[64];
};

struct seen {
    unsigned rounds[ROUNDS + 1]; /* at how many points the loop had come so far */
    unsigned last;
    unsigned points;
};

static void count_rounds(void *memory, void *context)
{
    struct progress *progress = memory;

    (void)context;
    for (unsigned i = 0; i < ROUNDS; i++) {
        memcpy(progress->to, progress->from, sizeof progress->to);
        progress->rounds++;
    }
}

static void look_at_rounds(void *memory, const struct step_victim *victim, void *context)
{
    const struct progress *progress = memory;
    struct seen *seen = context;

    CHECK(!victim->asleep);
    CHECK(progress->rounds >= seen->last && progress->rounds <= ROUNDS);
    CHECK_EQ(victim->finished ? ROUNDS : progress->rounds, progress->rounds);
    seen->last = progress->rounds;
    seen->rounds[progress->rounds]++;
    seen->points++;
}

/* Points come in order, so a point reached too early or too late would break the order, or
 * make one round look longer than another. */
TEST(each_instruction_of_a_loop_is_reached_once)
{
    struct seen seen = {0};

    needs_steps();
    CHECK_OK(unsetenv("BROOD_SWEEP"));
    step_kill(&(struct step_plan){.memory_len = sizeof(struct progress),
                                  .operation = count_rounds,
                                  .oracle = look_at_rounds,
                                  .context = &seen,
                                  .sample = UINT_MAX});
    for (unsigned i = 2; i < ROUNDS; i++)
        CHECK_EQ(seen.rounds[i], seen.rounds[1]);
    CHECK(seen.rounds[ROUNDS] > 0);
    CHECK(seen.points > 3 * ROUNDS);
}

static void fall_asleep(void *memory, void *context)
{
    _Atomic unsigned *word = memory;

    (void)context;
    atomic_store(word, 1);
    while (atomic_load(word) == 1)
        (void)syscall(SYS_futex, word, FUTEX_WAIT, 1, NULL, NULL, 0);
}

static void count_sleepers(void *memory, const struct step_victim *victim, void *context)
{
    const _Atomic unsigned *word = memory;
    unsigned *sleepers = context;

    CHECK(!victim->finished);
    if (victim->asleep)
        CHECK_EQ(atomic_load(word), 1);
    *sleepers += victim->asleep;
}

TEST(the_last_point_of_a_sleeper_is_asleep)
{
    unsigned sleepers = 0;

    needs_steps();
    step_kill(&(struct step_plan){.memory_len = 4096,
                                  .operation = fall_asleep,
                                  .oracle = count_sleepers,
                                  .context = &sleepers,
                                  .sample = 10});
    CHECK_EQ(sleepers, 1);
}

static void wake(void *memory, const struct step_victim *victim, void *context)
{
    _Atomic unsigned *word = memory;

    (void)context;
    if (!victim->asleep)
        return;
    atomic_store(word, 2);
    CHECK_EQ(syscall(SYS_futex, word, FUTEX_WAKE, 1, NULL, NULL, 0), 1);
}

static void sleeper_woke(void *memory, const struct step_victim *victim, void *context)
{
    const _Atomic unsigned *word = memory;

    (void)context;
    CHECK(victim->finished != victim->asleep);
    CHECK_EQ(atomic_load(word), victim->finished ? 2 : 1);
}

TEST(a_sleeper_goes_on_when_it_is_woken)
{
    needs_steps();
    step_pause(&(struct step_plan){.memory_len = 4096,
                                   .operation = fall_asleep,
                                   .meanwhile = wake,
                                   .oracle = sleeper_woke,
                                   .sample = 10});
}

struct calls {
    unsigned setups;
    unsigned teardowns;
};

static void set_up(void *memory, void *context)
{
    struct calls *calls = context;
    struct progress *progress = memory;

    CHECK_EQ(progress->rounds, 0);
    progress->rounds = 1;
    calls->setups++;
}

static void prepare(void *memory, void *context)
{
    struct progress *progress = memory;

    (void)context;
    CHECK_EQ(progress->rounds, 1);
    progress->rounds = 2;
}

static void was_prepared(void *memory, const struct step_victim *victim, void *context)
{
    const struct progress *progress = memory;

    (void)context;
    (void)victim;
    CHECK(progress->rounds >= 2);
}

static void tear_down(void *memory, void *context)
{
    struct calls *calls = context;

    (void)memory;
    calls->teardowns++;
}

TEST(each_point_is_set_up_prepared_and_torn_down)
{
    struct calls calls = {0};

    needs_steps();
    step_kill(&(struct step_plan){.memory_len = sizeof(struct progress),
                                  .setup = set_up,
                                  .prepare = prepare,
                                  .operation = count_rounds,
                                  .oracle = was_prepared,
                                  .teardown = tear_down,
                                  .context = &calls,
                                  .sample = 5});
    CHECK(calls.setups >= 6);
    CHECK_EQ(calls.setups, calls.teardowns);
}

#if defined(__aarch64__)

/* Adds one, unless there is nothing to add to. Written out, as code for newer versions of the
 * machine has single instructions instead. */
static void add_by_exclusives(void *memory, void *context)
{
    unsigned sum, failed;

    (void)context;
    __asm__ volatile("1: ldaxr %w0, [%2]\n"
                     "cbz %w0, 2f\n"
                     "add %w0, %w0, #1\n"
                     "stlxr %w1, %w0, [%2]\n"
                     "cbnz %w1, 1b\n"
                     "2:"
                     : "=&r"(sum), "=&r"(failed)
                     : "r"(memory)
                     : "memory");
}

static void start_with(void *memory, void *context)
{
    *(unsigned *)memory = *(const unsigned *)context;
}

static void add_meanwhile(void *memory, const struct step_victim *victim, void *context)
{
    (void)victim;
    add_by_exclusives(memory, context);
}

static void both_have_added(void *memory, const struct step_victim *victim, void *context)
{
    unsigned start = *(const unsigned *)context;

    CHECK(victim->finished);
    CHECK_EQ(*(const unsigned *)memory, start == 0 ? 0 : start + 2);
}

static void pause_additions(unsigned start)
{
    needs_steps();
    step_pause(&(struct step_plan){.memory_len = 4096,
                                   .setup = start_with,
                                   .operation = add_by_exclusives,
                                   .meanwhile = add_meanwhile,
                                   .oracle = both_have_added,
                                   .context = &start,
                                   .sample = UINT_MAX});
}

TEST(a_loop_of_exclusive_load_and_store_ends_under_steps)
{
    pause_additions(5);
}

TEST(a_branch_out_of_such_a_loop_is_followed)
{
    pause_additions(0);
}

#endif

/* ---- toys and mutants ---- */

TEST(a_commit_by_one_store_survives)
{
    must_pass("kill_finds_nothing_in_a_commit");
}

TEST(a_torn_write_is_found)
{
    must_fail("kill_finds_a_torn_write", "killed before instruction");
}

TEST(a_lock_that_names_its_owner_survives)
{
    must_pass("kill_finds_nothing_in_an_owned_lock");
}

TEST(a_lock_without_owner_is_found)
{
    must_fail("kill_finds_a_lock_without_owner", "killed before instruction");
}

TEST(an_atomic_addition_survives)
{
    must_pass("pause_finds_nothing_in_an_atomic_addition");
}

TEST(a_lost_addition_is_found)
{
    must_fail("pause_finds_a_lost_addition", "stopped before instruction");
}

TEST(a_careful_repair_survives)
{
    must_pass("kill_repair_finds_nothing_in_a_careful_repair");
}

TEST(a_hasty_repair_is_found)
{
    must_fail("kill_repair_finds_a_hasty_repair", "repairer killed before instruction");
}

TEST(a_check_in_the_victim_fails_the_test)
{
    must_fail("victim_fails_a_check", "1 == 2");
}

TEST(a_crash_of_the_victim_fails_the_test)
{
    must_fail("victim_crashes", "");
}
