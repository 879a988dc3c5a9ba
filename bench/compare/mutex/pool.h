/* SPDX-License-Identifier: MIT */
/*
 * The process pool that C programmers write by hand: slots in shared memory, one robust mutex,
 * two conditions, forked workers. It squares numbers and can do nothing else; that keeps it as
 * fast as this design gets. A worker's death does not lock it up, but loses the task it held.
 */
#ifndef BROOD_BENCH_COMPARE_MUTEX_POOL_H
#define BROOD_BENCH_COMPARE_MUTEX_POOL_H

#include "bench.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>

enum { POOL_SLOTS = 1024, POOL_WORKERS = 2 };

struct pool_slot {
    uint64_t value;
    bool done;
};

/* submitted >= started and submitted >= collected; all under the mutex. */
struct pool {
    pthread_mutex_t mutex;
    pthread_cond_t work, result;
    uint64_t submitted, started, collected;
    unsigned idle_workers;
    bool caller_waits;
    pid_t workers[POOL_WORKERS];
    struct pool_slot slots[POOL_SLOTS];
};

static inline void pool_locked(struct pool *pool, int r)
{
    if (r == EOWNERDEAD)
        r = pthread_mutex_consistent(&pool->mutex);
    bench_must(r == 0, "the mutex");
}

static inline void pool_wait(struct pool *pool, pthread_cond_t *condition)
{
    pool_locked(pool, pthread_cond_wait(condition, &pool->mutex));
}

static inline void pool_finish(struct pool *pool, struct pool_slot *slot, uint64_t value)
{
    slot->value = value;
    slot->done = true;
    if (pool->caller_waits)
        pthread_cond_signal(&pool->result);
}

static inline void pool_work(struct pool *pool)
{
    pool_locked(pool, pthread_mutex_lock(&pool->mutex));
    for (;;) {
        while (pool->started == pool->submitted) {
            pool->idle_workers++;
            pool_wait(pool, &pool->work);
            pool->idle_workers--;
        }
        struct pool_slot *slot = &pool->slots[pool->started++ % POOL_SLOTS];
        const uint64_t x = slot->value;
        pthread_mutex_unlock(&pool->mutex);
        const uint64_t y = x * x;
        pool_locked(pool, pthread_mutex_lock(&pool->mutex));
        pool_finish(pool, slot, y);
    }
}

static inline struct pool *pool_new(void)
{
    struct pool *pool = (struct pool *)bench_shared(sizeof *pool);
    pthread_mutexattr_t mutex;
    pthread_condattr_t condition;

    (void)pthread_mutexattr_init(&mutex);
    (void)pthread_mutexattr_setpshared(&mutex, PTHREAD_PROCESS_SHARED);
    (void)pthread_mutexattr_setrobust(&mutex, PTHREAD_MUTEX_ROBUST);
    (void)pthread_mutex_init(&pool->mutex, &mutex);
    (void)pthread_condattr_init(&condition);
    (void)pthread_condattr_setpshared(&condition, PTHREAD_PROCESS_SHARED);
    (void)pthread_cond_init(&pool->work, &condition);
    (void)pthread_cond_init(&pool->result, &condition);
    for (int i = 0; i < POOL_WORKERS; i++) {
        const pid_t pid = fork();

        bench_must(pid >= 0, "fork");
        if (pid == 0)
            pool_work(pool);
        pool->workers[i] = pid;
    }
    return pool;
}

static inline void pool_free(struct pool *pool)
{
    for (int i = 0; i < POOL_WORKERS; i++) {
        (void)kill(pool->workers[i], SIGKILL);
        (void)waitpid(pool->workers[i], NULL, 0);
    }
    (void)munmap(pool, sizeof *pool);
}

/* False: there is no room. */
static inline bool pool_submit(struct pool *pool, uint64_t x)
{
    pool_locked(pool, pthread_mutex_lock(&pool->mutex));
    const bool room = pool->submitted - pool->collected < POOL_SLOTS;

    if (room) {
        pool->slots[pool->submitted++ % POOL_SLOTS] = (struct pool_slot){.value = x, .done = false};
        if (pool->idle_workers > 0)
            pthread_cond_signal(&pool->work);
    }
    pthread_mutex_unlock(&pool->mutex);
    return room;
}

/* Waits for the oldest task. */
static inline uint64_t pool_take(struct pool *pool)
{
    pool_locked(pool, pthread_mutex_lock(&pool->mutex));
    struct pool_slot *slot = &pool->slots[pool->collected % POOL_SLOTS];

    pool->caller_waits = true;
    while (!slot->done)
        pool_wait(pool, &pool->result);
    pool->caller_waits = false;
    pool->collected++;
    const uint64_t value = slot->value;
    pthread_mutex_unlock(&pool->mutex);
    return value;
}

#endif
