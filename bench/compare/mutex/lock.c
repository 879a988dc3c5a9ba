/* SPDX-License-Identifier: MIT */
/*
 * Turns a second with what the C library offers between processes: the mutex, the robust mutex
 * which tells of a dead owner, the semaphore; and a ping-pong by its conditions.
 */
#include "lock.h"

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>

static struct {
    _Alignas(64) pthread_mutex_t plain;
    _Alignas(64) pthread_mutex_t robust;
    _Alignas(64) sem_t semaphore;
    _Alignas(64) pthread_cond_t conditions[2];
} * shared;

static void shared_init(void)
{
    pthread_mutexattr_t mutex;
    pthread_condattr_t condition;

    shared = bench_shared(sizeof *shared);
    (void)pthread_mutexattr_init(&mutex);
    (void)pthread_mutexattr_setpshared(&mutex, PTHREAD_PROCESS_SHARED);
    (void)pthread_mutex_init(&shared->plain, &mutex);
    (void)pthread_mutexattr_setrobust(&mutex, PTHREAD_MUTEX_ROBUST);
    (void)pthread_mutex_init(&shared->robust, &mutex);
    (void)sem_init(&shared->semaphore, 1, 1);
    (void)pthread_condattr_init(&condition);
    (void)pthread_condattr_setpshared(&condition, PTHREAD_PROCESS_SHARED);
    for (int i = 0; i < 2; i++)
        (void)pthread_cond_init(&shared->conditions[i], &condition);
}

static void plain_acquire(void)
{
    bench_must(pthread_mutex_lock(&shared->plain) == 0, "the mutex");
}

static void plain_release(void)
{
    (void)pthread_mutex_unlock(&shared->plain);
}

static void robust_acquire(void)
{
    int r = pthread_mutex_lock(&shared->robust);

    if (r == EOWNERDEAD)
        r = pthread_mutex_consistent(&shared->robust);
    bench_must(r == 0, "the robust mutex");
}

static void robust_release(void)
{
    (void)pthread_mutex_unlock(&shared->robust);
}

static void semaphore_acquire(void)
{
    while (sem_wait(&shared->semaphore) != 0)
        bench_must(errno == EINTR, "the semaphore");
}

static void semaphore_release(void)
{
    (void)sem_post(&shared->semaphore);
}

static void condition_wait(unsigned which)
{
    bench_must(pthread_cond_wait(&shared->conditions[which], &shared->plain) == 0, "a wait");
}

static void condition_signal(unsigned which)
{
    (void)pthread_cond_signal(&shared->conditions[which]);
}

int main(void)
{
    static const struct lock_kind plain = {"pthread mutex", plain_acquire, plain_release};
    static const struct lock_kind robust = {"robust pthread mutex", robust_acquire, robust_release};
    static const struct lock_kind semaphore = {"sem_t", semaphore_acquire, semaphore_release};
    static const struct condition_kind condition = {
        {"pthread condition", plain_acquire, plain_release}, condition_wait, condition_signal};

    shared_init();
    lock_measure(&plain);
    lock_measure(&robust);
    lock_measure(&semaphore);
    condition_measure(&condition);
    return 0;
}
