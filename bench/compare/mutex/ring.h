/* SPDX-License-Identifier: MIT */
/*
 * The queue that C programmers write by hand: slots in shared memory, one robust mutex, two
 * conditions. A death inside the mutex is noticed, and inside a wait on a condition is not.
 */
#ifndef BROOD_BENCH_COMPARE_MUTEX_RING_H
#define BROOD_BENCH_COMPARE_MUTEX_RING_H

#include "transport.h"

#include <errno.h>
#include <pthread.h>

struct ring {
    pthread_mutex_t mutex;
    pthread_cond_t not_empty, not_full;
    uint64_t put, got;
    unsigned getters_asleep, putters_asleep;
};

static struct {
    struct ring *ring; /* its slots follow, a page later */
    char *slots;
    size_t slot_len, map_len;
    unsigned depth;
} mutex_ring;

static bool ring_open(size_t len, unsigned producers, unsigned consumers)
{
    pthread_mutexattr_t mutex;
    pthread_condattr_t condition;

    (void)producers;
    (void)consumers;
    mutex_ring.depth = transport_depth(len);
    mutex_ring.slot_len = (len + TRANSPORT_LINE - 1) / TRANSPORT_LINE * TRANSPORT_LINE;
    mutex_ring.map_len = BENCH_PAGE + mutex_ring.depth * mutex_ring.slot_len;
    mutex_ring.ring = (struct ring *)bench_shared(mutex_ring.map_len);
    mutex_ring.slots = (char *)mutex_ring.ring + BENCH_PAGE;
    (void)pthread_mutexattr_init(&mutex);
    (void)pthread_mutexattr_setpshared(&mutex, PTHREAD_PROCESS_SHARED);
    (void)pthread_mutexattr_setrobust(&mutex, PTHREAD_MUTEX_ROBUST);
    (void)pthread_mutex_init(&mutex_ring.ring->mutex, &mutex);
    (void)pthread_condattr_init(&condition);
    (void)pthread_condattr_setpshared(&condition, PTHREAD_PROCESS_SHARED);
    (void)pthread_cond_init(&mutex_ring.ring->not_empty, &condition);
    (void)pthread_cond_init(&mutex_ring.ring->not_full, &condition);
    return true;
}

static void ring_locked(struct ring *ring, int r)
{
    if (r == EOWNERDEAD)
        r = pthread_mutex_consistent(&ring->mutex);
    bench_must(r == 0, "the mutex");
}

static char *ring_slot(uint64_t n)
{
    return mutex_ring.slots + n % mutex_ring.depth * mutex_ring.slot_len;
}

static void ring_put(void *data, size_t len, unsigned count)
{
    struct ring *ring = mutex_ring.ring;

    (void)count;
    ring_locked(ring, pthread_mutex_lock(&ring->mutex));
    while (ring->put - ring->got == mutex_ring.depth) {
        ring->putters_asleep++;
        ring_locked(ring, pthread_cond_wait(&ring->not_full, &ring->mutex));
        ring->putters_asleep--;
    }
    memcpy(ring_slot(ring->put++), data, len);
    const bool wake = ring->getters_asleep > 0;

    (void)pthread_mutex_unlock(&ring->mutex);
    if (wake)
        (void)pthread_cond_signal(&ring->not_empty);
}

static unsigned ring_get(void **inout_data, size_t len, unsigned count_max)
{
    struct ring *ring = mutex_ring.ring;

    (void)count_max;
    ring_locked(ring, pthread_mutex_lock(&ring->mutex));
    while (ring->put == ring->got) {
        ring->getters_asleep++;
        ring_locked(ring, pthread_cond_wait(&ring->not_empty, &ring->mutex));
        ring->getters_asleep--;
    }
    memcpy(*inout_data, ring_slot(ring->got++), len);
    const bool wake = ring->putters_asleep > 0;

    (void)pthread_mutex_unlock(&ring->mutex);
    if (wake)
        (void)pthread_cond_signal(&ring->not_full);
    return 1;
}

static void ring_close(void)
{
    (void)munmap(mutex_ring.ring, mutex_ring.map_len);
}

static const struct transport RING_TRANSPORT = {.name = "robust mutex ring",
                                                .open = ring_open,
                                                .put = ring_put,
                                                .get = ring_get,
                                                .close = ring_close};

#endif
