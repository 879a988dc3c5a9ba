/* SPDX-License-Identifier: MIT */
/*
 * How long does a message take to arrive when there is little to do? One producer puts 64 B every
 * 200 us, with the time in it; the consumer looks at the clock when it has it. So the figure is
 * one way: the call, the wake-up and the way back from the consumer's call.
 *
 * Asleep, on the same CPU: it has to be given to the consumer. Asleep, on the other CPU: that is
 * idle, and has to be woken. A transport that spins is measured between two CPUs only.
 */
#ifndef BROOD_BENCH_LATENCY_H
#define BROOD_BENCH_LATENCY_H

#include "transport.h"

enum { LATENCY_MESSAGES = 1000, LATENCY_UNCOUNTED = 50, LATENCY_GAP_US = 200, LATENCY_LEN = 64 };

static double *latency_ns; /* shared; the consumer writes */

static inline void latency_produce(const struct transport_cast *cast, struct transport_seat *seat,
                                   char *buffer)
{
    const struct transport *transport = cast->transport;

    for (int i = 0; i < LATENCY_MESSAGES; i++) {
        bench_pause_us(LATENCY_GAP_US);
        void *data = transport->reserve != NULL ? transport->reserve(LATENCY_LEN) : buffer;

        transport_mark((char *)data, LATENCY_LEN, (uint64_t)bench_now_ns());
        transport->put(data, LATENCY_LEN, 1);
        if (transport->flush != NULL)
            transport->flush();
    }
    transport_store(&seat->count, LATENCY_MESSAGES);
    transport_store(&seat->over, 1);
}

static inline void latency_consume(const struct transport_cast *cast, struct transport_seat *seat,
                                   char *buffer)
{
    const struct transport *transport = cast->transport;

    for (uint64_t i = 0; i < LATENCY_MESSAGES; i++) {
        void *data = buffer;

        bench_must(transport->get(&data, LATENCY_LEN, 1) == 1, "one message");
        const int64_t now_ns = bench_now_ns();

        latency_ns[i] =
            (double)(now_ns - (int64_t)transport_number((const char *)data, LATENCY_LEN));
        if (transport->done != NULL)
            transport->done();
        transport_store(&seat->count, i + 1);
    }
}

static inline void latency_case(const struct transport *transport, bool same_cpu, const char *where)
{
    struct transport_cast cast;
    char text[96];

    memset(&cast, 0, sizeof cast);
    cast.transport = transport;
    cast.len = LATENCY_LEN;
    cast.producers = cast.consumers = 1;
    if (!transport->open(LATENCY_LEN, 1, 1))
        return;
    cast.stage = (struct transport_stage *)bench_shared(sizeof *cast.stage);
    transport_start(&cast, 0, latency_produce, 0);
    transport_start(&cast, 1, latency_consume, same_cpu ? 0 : 1);
    transport_store(&cast.stage->go, 1);
    transport_drain(&cast);
    transport_end(&cast);
    (void)snprintf(text, sizeof text, "%s, %s", transport->name, where);
    bench_emit_latency("latency", text, latency_ns + LATENCY_UNCOUNTED,
                       LATENCY_MESSAGES - LATENCY_UNCOUNTED);
}

static inline void latency_measure(const struct transport *transport)
{
    const bool two_cpus = sysconf(_SC_NPROCESSORS_ONLN) > 1;

    latency_ns = (double *)bench_shared(LATENCY_MESSAGES * sizeof *latency_ns);
    if (two_cpus && transport->spins)
        latency_case(transport, false, "spinning, other CPU");
    if (!transport->spins)
        latency_case(transport, true, "asleep, same CPU");
    if (two_cpus && !transport->spins)
        latency_case(transport, false, "asleep, other CPU");
    (void)munmap(latency_ns, LATENCY_MESSAGES * sizeof *latency_ns);
}

#endif
