/* SPDX-License-Identifier: MIT */
/*
 * Participants for tests of ipc/roster.h: processes that join, and sleep, and die when told.
 *
 *     struct bed bed = bed_open(8);
 *     unsigned a = bed_player(&bed);             a process that has joined, and then does nothing
 *     unsigned b = bed_sleeper(&bed);            one that sleeps until the word or a death wakes it
 *     bed_kill(&bed, a);
 *     bed_await_end(&bed, b, "a death was slept over");
 *     bed_close(&bed);
 *
 * What they tell the test stands on the board, at the start of the shared memory.
 */
#ifndef BROOD_TESTS_IPC_ROSTER_BED_H
#define BROOD_TESTS_IPC_ROSTER_BED_H

#include "harness/gate.h"
#include "harness/process.h"
#include "harness/test.h"

#include "base/clock.h"
#include "ipc/roster.h"
#include "sys/kernel.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { BED_PLAYERS_MAX = 16, BED_ROSTER_AT = 4096 };

struct board {
    _Atomic uint32_t word;
    _Atomic uint32_t turns; /* of all sleepers: how often one was woken */
    _Atomic roster_tag tags[BED_PLAYERS_MAX];
    _Atomic int answers[BED_PLAYERS_MAX];
};

struct bed {
    struct board *board;
    struct roster *roster;
    size_t len;
    struct gate *joined; /* counts */
    unsigned players;
    pid_t pids[BED_PLAYERS_MAX];
    bool bury_dead; /* sleepers end when the deaths change, else only when the word does */
};

static inline size_t bed_len(unsigned slots)
{
    return BED_ROSTER_AT + brood__roster_len(slots);
}

/* In MEMORY, which is zeroed. */
static inline struct bed bed_over(void *memory, unsigned slots)
{
    struct bed bed = {.board = memory,
                      .roster = (void *)((char *)memory + BED_ROSTER_AT),
                      .len = bed_len(slots),
                      .joined = gate_new()};

    brood__roster_init(bed.roster, slots);
    CHECK_EQ(brood__roster_check(bed.roster, brood__roster_len(slots)), slots);
    return bed;
}

static inline struct bed bed_open(unsigned slots)
{
    void *memory =
        mmap(NULL, bed_len(slots), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    CHECK(memory != MAP_FAILED);
    return bed_over(memory, slots);
}

/* ---- ends ---- */

/* Until PID sleeps in the kernel, or is dead. */
static inline void bed_await_rest(pid_t pid)
{
    process_await_rest(pid);
}

static inline void bed_await_end_of(pid_t pid, const char *complaint)
{
    process_await_end(pid, complaint);
}

static inline int bed_reap(struct bed *bed, unsigned player)
{
    int status = 0;

    if (bed->pids[player] > 0)
        CHECK_EQ(waitpid(bed->pids[player], &status, 0), bed->pids[player]);
    bed->pids[player] = 0;
    return status;
}

static inline void bed_kill(struct bed *bed, unsigned player)
{
    if (bed->pids[player] > 0)
        CHECK_OK(kill(bed->pids[player], SIGKILL));
    (void)bed_reap(bed, player);
}

/* It ends by itself, and well. */
static inline void bed_await_end(struct bed *bed, unsigned player, const char *complaint)
{
    bed_await_end_of(bed->pids[player], complaint);
    CHECK_EQ(bed_reap(bed, player), 0);
}

static inline void bed_end(struct bed *bed)
{
    for (unsigned i = 0; i < bed->players; i++)
        bed_kill(bed, i);
    gate_free(bed->joined);
}

static inline void bed_close(struct bed *bed)
{
    bed_end(bed);
    CHECK_OK(munmap(bed->board, bed->len));
}

/* ---- players ---- */

typedef void bed_role(struct bed *bed, roster_tag me);

static inline roster_tag bed_join(struct bed *bed)
{
    roster_tag tag = 0;

    CHECK_OK(brood__roster_join(bed->roster, &tag));
    return tag;
}

/* A process that joins and plays ROLE, and ends without leaving if it returns. It has joined when
 * this returns. */
static inline unsigned bed_start(struct bed *bed, bed_role *role)
{
    unsigned player = bed->players++;

    CHECK(player < BED_PLAYERS_MAX);
    bed->pids[player] = CHECK_OK(fork());
    if (bed->pids[player] == 0) {
        roster_tag me = bed_join(bed);

        atomic_store(&bed->board->tags[player], me);
        gate_count(bed->joined);
        role(bed, me);
        _exit(0);
    }
    gate_wait_count(bed->joined, bed->players);
    return player;
}

static inline roster_tag bed_tag(const struct bed *bed, unsigned player)
{
    return atomic_load(&bed->board->tags[player]);
}

static inline void bed_wait_for_ever(struct bed *bed, roster_tag me)
{
    (void)bed;
    (void)me;
    for (;;)
        (void)pause();
}

static inline unsigned bed_player(struct bed *bed)
{
    return bed_start(bed, bed_wait_for_ever);
}

/* Until the word is not 0 any more or, if so asked, the number of deaths is not DEATHS. */
static inline void bed_sleep(struct bed *bed, roster_tag me, uint32_t deaths)
{
    for (;;) {
        uint32_t moment = brood__roster_moment(bed->roster);

        if (atomic_load(&bed->board->word) != 0 ||
            (bed->bury_dead && brood__roster_deaths(bed->roster) != deaths))
            return;
        CHECK_OK(brood__roster_sleep(bed->roster, me, &bed->board->word, 0, moment, NEVER));
        (void)atomic_fetch_add(&bed->board->turns, 1);
    }
}

static inline void bed_sleep_and_leave(struct bed *bed, roster_tag me)
{
    bed_sleep(bed, me, brood__roster_deaths(bed->roster));
    brood__roster_leave(bed->roster, me);
}

/* It is asleep when this returns. */
static inline unsigned bed_sleeper(struct bed *bed)
{
    unsigned player = bed_start(bed, bed_sleep_and_leave);

    bed_await_rest(bed->pids[player]);
    return player;
}

/* Wakes sleepers by what they all wait for. */
static inline void bed_ring(struct bed *bed)
{
    atomic_store(&bed->board->word, 1);
    brood__futex_wake(&bed->board->word, UINT32_MAX);
}

#endif
