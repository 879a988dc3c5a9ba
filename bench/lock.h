/* SPDX-License-Identifier: MIT */
/*
 * How many times a second can a lock be taken and released? By one process alone, by two and by
 * four that all want it all the time. Each turn counts in memory that the lock guards: in the end
 * the count must be what all have done together. The share of the luckiest shows who starves.
 *
 * And a ping-pong by conditions: two processes that wait for each other in turn.
 *
 * The functions that take and release are constants where they are called from, so that the loop
 * has no call that a program of its own for each lock would not have.
 */
#ifndef BROOD_BENCH_LOCK_H
#define BROOD_BENCH_LOCK_H

#include "bench.h"

#include <sys/wait.h>

#define LOCK_INLINE static inline __attribute__((always_inline))

enum { LOCK_CONTENDERS_MAX = 4, LOCK_WINDOW_US = 200000, LOCK_SETTLE_US = 5000, LOCK_TURNS = 16 };

struct lock_kind {
    const char *name;
    void (*acquire)(void);
    void (*release)(void);
};

struct lock_stage {
    uint64_t go, stop;
    uint64_t unused[6];
    uint64_t count; /* under the lock */
    uint64_t turn;  /* of the ping-pong, under the lock */
    uint64_t unused_too[6];
    uint64_t done[LOCK_CONTENDERS_MAX][8];
};

LOCK_INLINE void lock_await(const uint64_t *word)
{
    while (__atomic_load_n(word, __ATOMIC_ACQUIRE) == 0)
        bench_pause_us(100);
}

/* Runs in each contender. Returns how often it had the lock. */
LOCK_INLINE uint64_t lock_contend(const struct lock_kind *kind, struct lock_stage *stage)
{
    uint64_t done = 0;

    while (__atomic_load_n(&stage->stop, __ATOMIC_RELAXED) == 0)
        for (int i = 0; i < LOCK_TURNS; i++) {
            kind->acquire();
            stage->count++;
            kind->release();
            done++;
        }
    return done;
}

/* The caller has started COUNT processes: lets them work for a while. Returns the seconds. */
static inline double lock_run(struct lock_stage *stage, const pid_t *pids, unsigned count)
{
    bench_pause_us(LOCK_SETTLE_US);
    const int64_t start_ns = bench_now_ns();

    __atomic_store_n(&stage->go, 1, __ATOMIC_RELEASE);
    bench_pause_us(LOCK_WINDOW_US);
    __atomic_store_n(&stage->stop, 1, __ATOMIC_RELEASE);
    const double seconds = bench_seconds_since(start_ns);

    for (unsigned i = 0; i < count; i++) {
        int status = -1;

        bench_must(waitpid(pids[i], &status, 0) == pids[i] && status == 0, "a process failed");
    }
    return seconds;
}

static inline void lock_emit(const char *name, unsigned contenders, const struct lock_stage *stage,
                             double seconds)
{
    char text[128];
    uint64_t total = 0;
    uint64_t most = 0;

    for (unsigned i = 0; i < contenders; i++) {
        total += stage->done[i][0];
        most = most > stage->done[i][0] ? most : stage->done[i][0];
    }
    bench_must(total == stage->count, "two were inside at once");
    if (contenders == 1)
        (void)snprintf(text, sizeof text, "%s, alone", name);
    else
        (void)snprintf(text, sizeof text, "%s, %u contending", name, contenders);
    bench_emit("lock", text, "turns/s", (double)total / seconds);
    if (contenders == 1)
        return;
    (void)snprintf(text, sizeof text, "%s, %u contending, share of the luckiest", name, contenders);
    bench_emit("lock", text, "%", 100.0 * (double)most / (double)total);
}

/* Process number I, forked, with a CPU of its own as long as there are enough. */
static inline pid_t lock_fork(unsigned i)
{
    const pid_t pid = fork();

    bench_must(pid >= 0, "fork");
    if (pid == 0) {
        bench_end_with_parent();
        bench_pin(i % (unsigned)sysconf(_SC_NPROCESSORS_ONLN));
    }
    return pid;
}

LOCK_INLINE void lock_measure_some(const struct lock_kind *kind, unsigned contenders)
{
    struct lock_stage *stage = (struct lock_stage *)bench_shared(sizeof *stage);
    pid_t pids[LOCK_CONTENDERS_MAX];

    for (unsigned i = 0; i < contenders; i++) {
        pids[i] = lock_fork(i);
        if (pids[i] == 0) {
            lock_await(&stage->go);
            stage->done[i][0] = lock_contend(kind, stage);
            _exit(0);
        }
    }
    lock_emit(kind->name, contenders, stage, lock_run(stage, pids, contenders));
    (void)munmap(stage, sizeof *stage);
}

LOCK_INLINE void lock_measure(const struct lock_kind *kind)
{
    lock_measure_some(kind, 1);
    lock_measure_some(kind, 2);
    lock_measure_some(kind, 4);
}

/* Waits on condition WHICH of two, with the lock; wakes who waits there. */
struct condition_kind {
    struct lock_kind lock;
    void (*wait)(unsigned which);
    void (*signal)(unsigned which);
};

/* One side: 0 begins. Both stop when side 0 sees the word, after a whole round. */
static inline void condition_play(const struct condition_kind *kind, struct lock_stage *stage,
                                  unsigned side)
{
    const uint64_t over = UINT64_MAX;

    kind->lock.acquire();
    while (stage->turn != over) {
        if (side == 0 && stage->turn % 2 == 0 &&
            __atomic_load_n(&stage->stop, __ATOMIC_RELAXED) != 0) {
            stage->done[0][0] = stage->turn / 2;
            stage->turn = over;
            kind->signal(1);
        } else if (stage->turn % 2 == side) {
            stage->turn++;
            kind->signal(1 - side);
        } else {
            kind->wait(side);
        }
    }
    kind->lock.release();
}

/* Nobody is pinned: the scheduler sees that they take turns. */
static inline void condition_measure(const struct condition_kind *kind)
{
    struct lock_stage *stage = (struct lock_stage *)bench_shared(sizeof *stage);
    pid_t pids[2];
    char text[128];

    for (unsigned side = 0; side < 2; side++) {
        pids[side] = fork();
        bench_must(pids[side] >= 0, "fork");
        if (pids[side] == 0) {
            bench_end_with_parent();
            lock_await(&stage->go);
            condition_play(kind, stage, side);
            _exit(0);
        }
    }
    const double seconds = lock_run(stage, pids, 2);

    (void)snprintf(text, sizeof text, "%s, ping-pong", kind->lock.name);
    bench_emit("lock", text, "rounds/s", (double)stage->done[0][0] / seconds);
    (void)munmap(stage, sizeof *stage);
}

#endif
