/* SPDX-License-Identifier: MIT */
/*
 * Two processes, two words in shared memory: one asks, the other answers. The waiting is by
 * spinning or by futex. What the answering process does in between is the program's choice.
 */
#ifndef BROOD_BENCH_COMPARE_LIMIT_PINGPONG_H
#define BROOD_BENCH_COMPARE_LIMIT_PINGPONG_H

#include "bench.h"

#include <linux/futex.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <sys/wait.h>

struct pingpong {
    _Alignas(64) _Atomic uint32_t asked;
    uint64_t question;
    _Alignas(64) _Atomic uint32_t answered;
    uint64_t answer;
    _Alignas(64) bool worker_sleeps, caller_sleeps;
    uint32_t turn; /* the caller's */
    pid_t pid;
};

typedef uint64_t answer_fn(uint64_t question);

static inline void pingpong_tell(_Atomic uint32_t *word, uint32_t turn, bool sleeps)
{
    atomic_store_explicit(word, turn, memory_order_release);
    if (sleeps)
        (void)syscall(SYS_futex, word, FUTEX_WAKE, 1, NULL, NULL, 0);
}

static inline void pingpong_await(_Atomic uint32_t *word, uint32_t turn, bool sleeps)
{
    while (atomic_load_explicit(word, memory_order_acquire) != turn)
        if (sleeps)
            (void)syscall(SYS_futex, word, FUTEX_WAIT, turn - 1, NULL, NULL, 0);
        else
            bench_relax();
}

static inline void pingpong_serve(struct pingpong *pair, answer_fn *answer)
{
    for (uint32_t turn = 1;; turn++) {
        pingpong_await(&pair->asked, turn, pair->worker_sleeps);
        pair->answer = answer(pair->question);
        pingpong_tell(&pair->answered, turn, pair->caller_sleeps);
    }
}

/* Spinning on both sides pins both: with one CPU for two it would measure the scheduler. */
static inline struct pingpong *pingpong_start(answer_fn *answer, bool worker_sleeps,
                                              bool caller_sleeps)
{
    struct pingpong *pair = (struct pingpong *)bench_shared(sizeof *pair);
    const bool pinned = !worker_sleeps && !caller_sleeps;

    pair->worker_sleeps = worker_sleeps;
    pair->caller_sleeps = caller_sleeps;
    const pid_t pid = fork();
    bench_must(pid >= 0, "fork");
    if (pid == 0) {
        if (pinned)
            bench_pin(1);
        pingpong_serve(pair, answer);
    }
    if (pinned)
        bench_pin(0);
    pair->pid = pid;
    return pair;
}

static inline uint64_t pingpong_ask(struct pingpong *pair, uint64_t question)
{
    pair->turn++;
    pair->question = question;
    pingpong_tell(&pair->asked, pair->turn, pair->worker_sleeps);
    pingpong_await(&pair->answered, pair->turn, pair->caller_sleeps);
    return pair->answer;
}

static inline void pingpong_stop(struct pingpong *pair)
{
    (void)kill(pair->pid, SIGKILL);
    (void)waitpid(pair->pid, NULL, 0);
    (void)munmap(pair, sizeof *pair);
}

#endif
