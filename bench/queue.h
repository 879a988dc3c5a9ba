/* SPDX-License-Identifier: MIT */
/*
 * How many messages a second? Producers put as fast as they can, consumers get; after a warm-up
 * the parent reads what has arrived at the beginning and at the end of a short window. Then the
 * producers stop, and everything that was put must have arrived, with the right sum.
 *
 * From 64 KiB on the figure is bytes of payload a second.
 *
 * One producer and one consumer are measured in two ways. Where the scheduler likes them, which is
 * often one CPU for both: who sleeps there lets the other go on with all in its cache. And "on two
 * CPUs", as they run when both have something else to do, or spin.
 */
#ifndef BROOD_BENCH_QUEUE_H
#define BROOD_BENCH_QUEUE_H

#include "transport.h"

enum { QUEUE_WINDOW_US = 150000, QUEUE_WINDOW_LARGE_US = 300000 };

struct queue_shape {
    unsigned producers, consumers;
    const char *name;
    bool pinned; /* each process has a CPU of its own */
};

static const struct queue_shape QUEUE_PAIR = {1, 1, "1P1C", false};
static const struct queue_shape QUEUE_PAIR_APART = {1, 1, "1P1C on two CPUs", true};
static const struct queue_shape QUEUE_CROWDS[] = {
    {2, 2, "2P2C", false}, {4, 4, "4P4C", false}, {1, 4, "1P4C", false}};
static const size_t QUEUE_SIZES[] = {8, 64, BENCH_KIB, 64 * BENCH_KIB, BENCH_MIB, 16 * BENCH_MIB};

enum {
    QUEUE_CROWD_COUNT = sizeof QUEUE_CROWDS / sizeof *QUEUE_CROWDS,
    QUEUE_SIZE_COUNT = sizeof QUEUE_SIZES / sizeof *QUEUE_SIZES
};

/* A producer's numbers; those of different producers differ. */
static inline uint64_t queue_number(unsigned seat_index, uint64_t n)
{
    return ((uint64_t)(seat_index + 1) << 48) + n;
}

static inline void queue_produce(const struct transport_cast *cast, struct transport_seat *seat,
                                 char *buffer)
{
    const struct transport *transport = cast->transport;
    const unsigned batch = transport->batch > 1 ? transport->batch : 1;
    const unsigned seat_index = (unsigned)(seat - cast->stage->seats);
    uint64_t n = 0;
    uint64_t sum = 0;

    while (transport_load(&cast->stage->stop) == 0) {
        char *data = transport->reserve != NULL ? (char *)transport->reserve(cast->len) : buffer;

        for (unsigned i = 0; i < batch; i++) {
            const uint64_t number = queue_number(seat_index, n++);

            transport_mark(data + i * cast->len, cast->len, number);
            sum += number;
        }
        transport->put(data, cast->len, batch);
    }
    if (transport->flush != NULL)
        transport->flush();
    transport_store(&seat->count, n);
    transport_store(&seat->sum, sum);
    transport_store(&seat->over, 1);
}

static inline void queue_consume(const struct transport_cast *cast, struct transport_seat *seat,
                                 char *buffer)
{
    const struct transport *transport = cast->transport;
    const unsigned batch = transport->batch > 1 ? transport->batch : 1;
    uint64_t n = 0;
    uint64_t sum = 0;

    for (;;) {
        void *data = buffer;
        const unsigned got = transport->get(&data, cast->len, batch);

        for (unsigned i = 0; i < got; i++)
            sum += transport_number((const char *)data + i * cast->len, cast->len);
        if (transport->done != NULL)
            transport->done();
        n += got;
        /* The sum first: who sees the count sees the sum that goes with it, or a later one. */
        __atomic_store_n(&seat->sum, sum, __ATOMIC_RELAXED);
        transport_store(&seat->count, n);
    }
}

static inline void queue_start(struct transport_cast *cast, bool pinned)
{
    const unsigned all = cast->producers + cast->consumers;

    for (unsigned i = 0; i < all; i++)
        transport_start(cast, i, i < cast->producers ? queue_produce : queue_consume,
                        pinned ? (int)i : -1);
}

/* Until the processes are at full speed, and have used all of the memory. */
static inline void queue_warm_up(const struct transport_cast *cast)
{
    const uint64_t enough = cast->len > BENCH_KIB ? 2 * transport_depth(cast->len) : 0;
    int64_t waited_us = TRANSPORT_WARM_UP_US;

    bench_pause_us(TRANSPORT_WARM_UP_US);
    for (; waited_us < TRANSPORT_PATIENCE_US / 10; waited_us += TRANSPORT_NAP_US) {
        if (transport_got(cast).count >= enough)
            break;
        bench_pause_us(TRANSPORT_NAP_US);
    }
}

/* Messages a second. */
static inline double queue_rate(struct transport_cast *cast, bool pinned)
{
    queue_start(cast, pinned);
    transport_store(&cast->stage->go, 1);
    queue_warm_up(cast);
    const uint64_t before = transport_got(cast).count;
    const int64_t start_ns = bench_now_ns();

    bench_pause_us(cast->len >= 16 * BENCH_MIB ? QUEUE_WINDOW_LARGE_US : QUEUE_WINDOW_US);
    const uint64_t arrived = transport_got(cast).count - before;
    const double seconds = bench_seconds_since(start_ns);

    transport_store(&cast->stage->stop, 1);
    transport_drain(cast);
    return (double)arrived / seconds;
}

static inline void queue_emit(const char *bench, const struct transport_cast *cast,
                              const char *shape_name, double rate)
{
    char text[128];

    (void)snprintf(text, sizeof text, "%s, %s, %s", cast->transport->name,
                   transport_size_name(cast->len), shape_name);
    if (cast->len < 64 * BENCH_KIB)
        bench_emit(bench, text, "messages/s", rate);
    else
        bench_emit(bench, text, "B/s", rate * (double)cast->len);
}

/* One case; none if TRANSPORT does not carry it, or this machine has too few CPUs. */
static inline void queue_measure(const char *bench, const struct transport *transport, size_t len,
                                 struct queue_shape shape)
{
    struct transport_cast cast;

    if (shape.pinned && shape.producers + shape.consumers > sysconf(_SC_NPROCESSORS_ONLN))
        return;
    memset(&cast, 0, sizeof cast);
    cast.transport = transport;
    cast.len = len;
    cast.producers = shape.producers;
    cast.consumers = shape.consumers;
    if (!transport->open(len, shape.producers, shape.consumers))
        return;
    cast.stage = (struct transport_stage *)bench_shared(sizeof *cast.stage);
    const double rate = queue_rate(&cast, shape.pinned);
    transport_end(&cast);
    queue_emit(bench, &cast, shape.name, rate);
}

/* Between two processes, all sizes. Who spins is measured on two CPUs only: sharing one, it would
 * measure the scheduler. */
static inline void queue_measure_pair(const char *bench, const struct transport *transport)
{
    for (int i = 0; i < QUEUE_SIZE_COUNT; i++) {
        if (!transport->spins)
            queue_measure(bench, transport, QUEUE_SIZES[i], QUEUE_PAIR);
        queue_measure(bench, transport, QUEUE_SIZES[i], QUEUE_PAIR_APART);
    }
}

/* What the rivals answer; in the larger shapes 64 B only, to keep a round short. */
static inline void queue_measure_rival(const struct transport *transport)
{
    queue_measure_pair("queue", transport);
    for (int i = 0; i < QUEUE_CROWD_COUNT; i++)
        queue_measure("queue", transport, 64, QUEUE_CROWDS[i]);
}

#endif
