/* SPDX-License-Identifier: MIT */
/*
 * Sleeping with an eye on everybody: what wakes a sleeper of a roster, also on kernels without
 * futex_waitv(), and among more participants than it can watch. Nobody sleeps over a death.
 */
#include "harness/sweep.h"
#include "ipc/roster_bed.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <stddef.h>
#include <sys/prctl.h>

enum { SLOTS = 8 };

TEST(a_sleeper_is_woken_by_its_word)
{
    struct bed bed = bed_open(SLOTS);
    unsigned sleeper = bed_sleeper(&bed);

    bed_ring(&bed);
    bed_await_end(&bed, sleeper, "a wake-up was slept over");
    CHECK_EQ(brood__roster_deaths(bed.roster), 0);
    bed_close(&bed);
}

/* Until each of COUNT sleepers was woken. */
static void await_turns(struct bed *bed, uint32_t count)
{
    int64_t deadline = deadline_in(TEST_PATIENCE_MS);

    while (atomic_load(&bed->board->turns) < count) {
        if (left_ns(deadline) == 0)
            FAIL("%u of %u were woken", atomic_load(&bed->board->turns), count);
        (void)sched_yield();
    }
}

TEST(all_sleepers_are_woken_by_a_join_and_by_a_leave)
{
    struct bed bed = bed_open(SLOTS);
    unsigned first = bed_sleeper(&bed), second = bed_sleeper(&bed);
    roster_tag me;

    bed_await_rest(bed.pids[first]);
    bed_await_rest(bed.pids[second]);
    atomic_store(&bed.board->turns, 0);
    me = bed_join(&bed);
    await_turns(&bed, 2);
    bed_await_rest(bed.pids[first]);
    bed_await_rest(bed.pids[second]);
    atomic_store(&bed.board->turns, 0);
    brood__roster_leave(bed.roster, me);
    await_turns(&bed, 2);
    bed_ring(&bed);
    bed_await_end(&bed, first, "it sleeps on");
    bed_await_end(&bed, second, "it sleeps on");
    bed_close(&bed);
}

/* COUNT sleepers, of which one is killed, and a player. */
static void check_deaths_are_heard(unsigned count)
{
    struct bed bed = bed_open(SLOTS);
    unsigned player = bed_player(&bed);

    bed.bury_dead = true;
    for (unsigned i = 0; i < count; i++)
        (void)bed_sleeper(&bed);
    bed_kill(&bed, player);
    for (unsigned i = 0; i < count; i++)
        bed_await_end(&bed, player + 1 + i, "a death was slept over");
    CHECK_EQ(brood__roster_deaths(bed.roster), 1);
    bed_close(&bed);
}

TEST(a_death_wakes_every_sleeper)
{
    check_deaths_are_heard(4);
}

TEST(a_killed_sleeper_wakes_the_others)
{
    struct bed bed = bed_open(SLOTS);
    unsigned sleepers[3];

    bed.bury_dead = true;
    for (unsigned i = 0; i < 3; i++)
        sleepers[i] = bed_sleeper(&bed);
    bed_kill(&bed, sleepers[1]);
    bed_await_end(&bed, sleepers[0], "a death was slept over");
    bed_await_end(&bed, sleepers[2], "a death was slept over");
    bed_close(&bed);
}

static void check_deadline(struct bed *bed, roster_tag me, int64_t timeout_ms)
{
    int64_t deadline = deadline_in(timeout_ms);
    int r;

    do {
        uint32_t moment = brood__roster_moment(bed->roster);

        r = brood__roster_sleep(bed->roster, me, &bed->board->word, 0, moment, deadline);
        CHECK(r == 0 || r == -ETIMEDOUT);
        /* Not early: the heartbeat is no timeout. */
        CHECK_EQ(r == -ETIMEDOUT, left_ns(deadline) == 0);
    } while (r == 0);
}

TEST(a_deadline_ends_the_sleep_and_not_before)
{
    struct bed bed = bed_open(SLOTS);
    roster_tag me = bed_join(&bed);

    check_deadline(&bed, me, 0);
    check_deadline(&bed, me, 20);
    check_deadline(&bed, me, 120);
    brood__roster_leave(bed.roster, me);
    bed_close(&bed);
}

TEST(a_sleep_does_not_begin_when_something_has_changed)
{
    struct bed bed = bed_open(SLOTS);
    roster_tag me = bed_join(&bed);
    uint32_t moment = brood__roster_moment(bed.roster);
    unsigned player;

    CHECK_OK(brood__roster_sleep(bed.roster, me, &bed.board->word, 1, moment, NEVER));
    player = bed_player(&bed);
    CHECK_OK(brood__roster_sleep(bed.roster, me, &bed.board->word, 0, moment, NEVER));
    moment = brood__roster_moment(bed.roster);
    bed_kill(&bed, player);
    CHECK_OK(brood__roster_sleep(bed.roster, me, &bed.board->word, 0, moment, NEVER));
    CHECK_EQ(brood__roster_deaths(bed.roster), 1);
    brood__roster_leave(bed.roster, me);
    bed_close(&bed);
}

/* ---- kernels without futex_waitv ---- */

static void forbid_waitv(uint32_t error)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 449, 0, 1), /* futex_waitv, on every machine */
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | error),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {.len = sizeof code / sizeof code[0], .filter = code};

    CHECK_OK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
    CHECK_OK(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program));
}

static void check_without_waitv(uint32_t error)
{
    struct bed bed = bed_open(SLOTS);
    roster_tag me;

    forbid_waitv(error);
    check_deaths_are_heard(3);
    me = bed_join(&bed);
    check_deadline(&bed, me, 120);
    brood__roster_leave(bed.roster, me);
    bed_close(&bed);
}

TEST(deaths_are_heard_of_on_a_kernel_without_waitv)
{
    check_without_waitv(ENOSYS);
}

TEST(deaths_are_heard_of_in_a_sandbox_that_forbids_waitv)
{
    check_without_waitv(EPERM);
}

static void hear_of_a_death(void *unused)
{
    (void)unused;
    check_deaths_are_heard(2);
}

TEST_LIMIT(a_waitv_that_fails_strands_nobody, 60)
{
    sweep_faults(hear_of_a_death, NULL, &(struct sweep_options){.only = "futex_waitv"});
}

/* ---- many ---- */

enum { MANY = 150 };

struct crowd {
    struct bed *bed;
    struct gate *stop;
    bool leaves;
};

static void *one_of_many(void *context)
{
    struct crowd *crowd = context;
    roster_tag me = bed_join(crowd->bed);

    gate_count(crowd->bed->joined);
    gate_wait(crowd->stop);
    if (crowd->leaves)
        brood__roster_leave(crowd->bed->roster, me);
    return NULL;
}

/* A process of many threads, which end; a sleeper that joined before them. */
static void crowd_comes_and_goes(struct bed *bed, bool leaves)
{
    struct crowd crowd = {.bed = bed, .stop = gate_new(), .leaves = leaves};
    uint32_t there = gate_counted(bed->joined);
    pthread_t threads[MANY];

    for (unsigned i = 0; i < MANY; i++)
        CHECK_EQ(pthread_create(&threads[i], NULL, one_of_many, &crowd), 0);
    gate_wait_count(bed->joined, there + MANY);
    gate_open(crowd.stop);
    for (unsigned i = 0; i < MANY; i++)
        CHECK_EQ(pthread_join(threads[i], NULL), 0);
    gate_free(crowd.stop);
}

TEST(threads_that_end_without_leaving_are_deaths)
{
    struct bed bed = bed_open(2 * MANY);

    crowd_comes_and_goes(&bed, false);
    while (brood__roster_deaths(bed.roster) < MANY)
        brood__roster_look(bed.roster);
    CHECK_EQ(brood__roster_deaths(bed.roster), MANY);
    crowd_comes_and_goes(&bed, true);
    brood__roster_look(bed.roster);
    CHECK_EQ(brood__roster_deaths(bed.roster), MANY);
    bed_close(&bed);
}

TEST(a_death_among_more_than_can_be_watched_is_heard_of)
{
    struct bed bed = bed_open(MANY + SLOTS);
    struct crowd crowd = {.bed = &bed, .stop = gate_new(), .leaves = true};
    pthread_t threads[MANY];
    unsigned sleepers[2], player;

    for (unsigned i = 0; i < MANY; i++)
        CHECK_EQ(pthread_create(&threads[i], NULL, one_of_many, &crowd), 0);
    gate_wait_count(bed.joined, MANY);
    bed.bury_dead = true;
    gate_free(bed.joined);
    bed.joined = gate_new();
    player = bed_player(&bed);
    sleepers[0] = bed_sleeper(&bed);
    sleepers[1] = bed_sleeper(&bed);
    bed_kill(&bed, player);
    bed_await_end(&bed, sleepers[0], "a death was slept over");
    bed_await_end(&bed, sleepers[1], "a death was slept over");
    CHECK_EQ(brood__roster_deaths(bed.roster), 1);
    gate_open(crowd.stop);
    for (unsigned i = 0; i < MANY; i++)
        CHECK_EQ(pthread_join(threads[i], NULL), 0);
    gate_free(crowd.stop);
    bed_close(&bed);
}

/* Sleeps until the word changes, and notes how many deaths it knows of each time it is woken. */
static pid_t start_counter(struct bed *bed, unsigned index)
{
    struct board *board = bed->board;
    pid_t pid = fork();

    if (pid == 0) {
        roster_tag me = bed_join(bed);

        while (atomic_load(&board->word) == 0) {
            uint32_t moment = brood__roster_moment(bed->roster);

            if (atomic_load(&board->answers[index]) == 0)
                gate_count(bed->joined);
            atomic_store(&board->answers[index], (int)brood__roster_deaths(bed->roster) + 1);
            (void)brood__roster_sleep(bed->roster, me, &board->word, 0, moment, NEVER);
        }
        brood__roster_leave(bed->roster, me);
        _exit(0);
    }
    return pid;
}

static void await_answer(struct bed *bed, unsigned index, int answer)
{
    int64_t deadline = deadline_in(TEST_PATIENCE_MS);

    while (atomic_load(&bed->board->answers[index]) < answer) {
        if (left_ns(deadline) == 0)
            FAIL("death %d was slept over by sleeper %u", answer - 1, index);
        (void)sched_yield();
    }
}

/* Whoever looks for all is among them, and dies as well: one after the other, each is the one. */
TEST_LIMIT(among_many_the_sleepers_hear_of_each_death_whoever_looks_for_all, 60)
{
    enum { SLEEPERS = 8 };
    struct bed bed = bed_open(MANY + SLOTS);
    struct crowd crowd = {.bed = &bed, .stop = gate_new(), .leaves = true};
    pthread_t threads[MANY];
    pid_t pids[SLEEPERS];

    for (unsigned i = 0; i < MANY; i++)
        CHECK_EQ(pthread_create(&threads[i], NULL, one_of_many, &crowd), 0);
    gate_wait_count(bed.joined, MANY);
    for (unsigned i = 0; i < SLEEPERS; i++)
        pids[i] = start_counter(&bed, i);
    gate_wait_count(bed.joined, MANY + SLEEPERS);
    for (unsigned dead = 0; dead < SLEEPERS - 1; dead++) {
        for (unsigned i = dead; i < SLEEPERS; i++)
            bed_await_rest(pids[i]);
        CHECK_EQ(kill(pids[dead], SIGKILL), 0);
        CHECK_EQ(waitpid(pids[dead], NULL, 0), pids[dead]);
        for (unsigned i = dead + 1; i < SLEEPERS; i++)
            await_answer(&bed, i, (int)dead + 2);
    }
    CHECK_EQ(kill(pids[SLEEPERS - 1], SIGKILL), 0);
    CHECK_EQ(waitpid(pids[SLEEPERS - 1], NULL, 0), pids[SLEEPERS - 1]);
    gate_open(crowd.stop);
    for (unsigned i = 0; i < MANY; i++)
        CHECK_EQ(pthread_join(threads[i], NULL), 0);
    gate_free(crowd.stop);
    bed_close(&bed);
}
