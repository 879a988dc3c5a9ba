/* SPDX-License-Identifier: MIT */
/*
 * The limits for queues: rings in shared memory whose users wait by spinning. They survive no
 * death and no stop, tell nobody of anything, and never sleep.
 *
 * Many to many: fixed slots with a turn number in each. A claim is one compare-and-swap of the
 * head (tail); a slot's turn says whether its message was written (read) already.
 *
 * One to one: a ring of bytes. Each side keeps a copy of the other's index and reads the real one
 * only when the copy says that it must wait, and the producer publishes small messages 64 at a
 * time: this is what batches can reach.
 */
#ifndef BROOD_BENCH_COMPARE_LIMIT_RINGS_H
#define BROOD_BENCH_COMPARE_LIMIT_RINGS_H

#include "transport.h"

#include <stdatomic.h>

enum { SPINS_BEFORE_YIELD = 64 };

static void ring_relax(unsigned *spins)
{
    if (++*spins < SPINS_BEFORE_YIELD)
        bench_relax();
    else
        (void)sched_yield();
}

/* ---- many to many ---- */

struct mpmc_slot {
    _Atomic uint64_t turn;
    char data[];
};

struct mpmc_indexes {
    _Alignas(TRANSPORT_LINE) _Atomic uint64_t head;
    _Alignas(TRANSPORT_LINE) _Atomic uint64_t tail;
};

static struct {
    struct mpmc_indexes *indexes;
    char *slots;
    size_t slot_len, map_len;
    uint64_t depth; /* a power of two */
} mpmc;

static struct mpmc_slot *mpmc_slot(uint64_t n)
{
    return (struct mpmc_slot *)(void *)(mpmc.slots + (n & (mpmc.depth - 1)) * mpmc.slot_len);
}

static bool mpmc_open(size_t len, unsigned producers, unsigned consumers)
{
    (void)producers;
    (void)consumers;
    mpmc.depth = transport_depth(len);
    mpmc.slot_len =
        (sizeof(struct mpmc_slot) + len + TRANSPORT_LINE - 1) / TRANSPORT_LINE * TRANSPORT_LINE;
    mpmc.map_len = BENCH_PAGE + mpmc.depth * mpmc.slot_len;
    mpmc.indexes = bench_shared(mpmc.map_len);
    mpmc.slots = (char *)mpmc.indexes + BENCH_PAGE;
    for (uint64_t i = 0; i < mpmc.depth; i++)
        atomic_store_explicit(&mpmc_slot(i)->turn, i, memory_order_relaxed);
    return true;
}

/* Claims the slot of the next position of INDEX, when its turn is that position plus AHEAD. */
static struct mpmc_slot *mpmc_claim(_Atomic uint64_t *index, uint64_t ahead, uint64_t *out_n)
{
    unsigned spins = 0;
    uint64_t n = atomic_load_explicit(index, memory_order_relaxed);

    for (;;) {
        struct mpmc_slot *slot = mpmc_slot(n);
        /* Pairs with the release of the turn: the other side is done with the data. */
        const uint64_t turn = atomic_load_explicit(&slot->turn, memory_order_acquire);

        if (turn == n + ahead) {
            if (atomic_compare_exchange_weak_explicit(index, &n, n + 1, memory_order_relaxed,
                                                      memory_order_relaxed)) {
                *out_n = n;
                return slot;
            }
            continue;
        }
        if ((int64_t)(turn - (n + ahead)) < 0)
            ring_relax(&spins);
        n = atomic_load_explicit(index, memory_order_relaxed);
    }
}

static void mpmc_put(void *data, size_t len, unsigned count)
{
    uint64_t n;
    struct mpmc_slot *slot = mpmc_claim(&mpmc.indexes->head, 0, &n);

    (void)count;
    memcpy(slot->data, data, len);
    atomic_store_explicit(&slot->turn, n + 1, memory_order_release);
}

static unsigned mpmc_get(void **inout_data, size_t len, unsigned count_max)
{
    uint64_t n;
    struct mpmc_slot *slot = mpmc_claim(&mpmc.indexes->tail, 1, &n);

    (void)count_max;
    memcpy(*inout_data, slot->data, len);
    atomic_store_explicit(&slot->turn, n + mpmc.depth, memory_order_release);
    return 1;
}

static void mpmc_close(void)
{
    (void)munmap(mpmc.indexes, mpmc.map_len);
}

static const struct transport MPMC_TRANSPORT = {.name = "limit: spinning MPMC ring",
                                                .spins = true,
                                                .open = mpmc_open,
                                                .put = mpmc_put,
                                                .get = mpmc_get,
                                                .close = mpmc_close};

/* ---- one to one ---- */

struct spsc_indexes {
    _Alignas(TRANSPORT_LINE) _Atomic uint64_t written;
    _Alignas(TRANSPORT_LINE) _Atomic uint64_t read;
};

/* From "at" on, each process has its own copy. */
static struct {
    struct spsc_indexes *indexes;
    char *data;
    size_t len; /* a power of two */
    size_t map_len;
    uint64_t publish_after;
    uint64_t at, published, other;
} spsc;

static bool spsc_open(size_t len, unsigned producers, unsigned consumers)
{
    if (producers + consumers != 2)
        return false;
    memset(&spsc, 0, sizeof spsc);
    for (spsc.len = BENCH_MIB; spsc.len < 4 * len;)
        spsc.len *= 2;
    spsc.publish_after = len <= BENCH_KIB ? 64 * len : len;
    if (spsc.publish_after > 8 * BENCH_KIB && len <= BENCH_KIB)
        spsc.publish_after = 8 * BENCH_KIB;
    spsc.map_len = BENCH_PAGE + spsc.len;
    spsc.indexes = bench_shared(spsc.map_len);
    spsc.data = (char *)spsc.indexes + BENCH_PAGE;
    return true;
}

static void spsc_publish(_Atomic uint64_t *index)
{
    atomic_store_explicit(index, spsc.at, memory_order_release);
    spsc.published = spsc.at;
}

static void spsc_flush(void)
{
    spsc_publish(&spsc.indexes->written);
}

/* Waits until the other side has moved on; what this one has done must be known by then. */
static void spsc_wait(_Atomic uint64_t *mine, const _Atomic uint64_t *others)
{
    uint64_t now;

    spsc_publish(mine);
    /* Pairs with the release in spsc_publish(): the data is written (read). */
    while ((now = atomic_load_explicit(others, memory_order_acquire)) == spsc.other)
        bench_relax();
    spsc.other = now;
}

/* Messages are multiples of 8 bytes and divide the ring or are divided at its end. */
static void spsc_copy(char *message, size_t len, bool writes)
{
    const size_t at = spsc.at & (spsc.len - 1);
    const size_t first = len < spsc.len - at ? len : spsc.len - at;

    if (len == sizeof(uint64_t)) {
        memcpy(writes ? spsc.data + at : message, writes ? message : spsc.data + at,
               sizeof(uint64_t));
    } else if (writes) {
        memcpy(spsc.data + at, message, first);
        memcpy(spsc.data, message + first, len - first);
    } else {
        memcpy(message, spsc.data + at, first);
        memcpy(message + first, spsc.data, len - first);
    }
    spsc.at += len;
}

static void spsc_put(void *data, size_t len, unsigned count)
{
    (void)count;
    while (spsc.at + len - spsc.other > spsc.len)
        spsc_wait(&spsc.indexes->written, &spsc.indexes->read);
    spsc_copy(data, len, true);
    if (spsc.at - spsc.published >= spsc.publish_after)
        spsc_publish(&spsc.indexes->written);
}

static unsigned spsc_get(void **inout_data, size_t len, unsigned count_max)
{
    (void)count_max;
    while (spsc.other - spsc.at < len)
        spsc_wait(&spsc.indexes->read, &spsc.indexes->written);
    spsc_copy(*inout_data, len, false);
    if (spsc.at - spsc.published >= spsc.publish_after)
        spsc_publish(&spsc.indexes->read);
    return 1;
}

static void spsc_close(void)
{
    (void)munmap(spsc.indexes, spsc.map_len);
}

static const struct transport SPSC_TRANSPORT = {.name = "limit: spinning SPSC ring",
                                                .spins = true,
                                                .open = spsc_open,
                                                .put = spsc_put,
                                                .get = spsc_get,
                                                .flush = spsc_flush,
                                                .close = spsc_close};

#endif
