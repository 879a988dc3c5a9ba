/* SPDX-License-Identifier: MIT */
/*
 * A way to pass messages between processes, as the measuring programs see it, and the processes
 * that use it: so that brood and each rival are put to work by the same code.
 *
 * A transport is opened by the parent and used by forked producers and consumers, which it may
 * prepare one by one. Each message carries a number in its first word, and in its last one if it
 * has two: the consumer compares them, so a torn message ends the program, and the sums of both
 * sides tell whether all have arrived.
 *
 * The stage is memory that all share: a seat for each process, with what it has done so far. Words
 * that one writes and another reads are used by the __atomic functions, which C++ has too.
 */
#ifndef BROOD_BENCH_TRANSPORT_H
#define BROOD_BENCH_TRANSPORT_H

#include "bench.h"

#include <signal.h>
#include <sys/wait.h>

#define TRANSPORT_LINE 64

enum {
    TRANSPORT_SEATS = 16,
    TRANSPORT_WARM_UP_US = 30000,
    TRANSPORT_NAP_US = 100,
    TRANSPORT_PATIENCE_US = 10000000
};

/* Functions may be NULL, but for open, put and get. */
struct transport {
    const char *name;
    unsigned batch; /* messages that one put or get moves at most */
    bool spins;     /* it waits without sleeping */
    /* In the parent. False: it does not carry such messages, or not between so many. */
    bool (*open)(size_t len, unsigned producers, unsigned consumers);
    /* In a producer (consumer), before its first message; producers come first. */
    void (*produce)(unsigned index);
    void (*consume)(unsigned index);
    /* Where to write a message of LEN bytes; without it, in memory of the caller's. */
    void *(*reserve)(size_t len);
    void (*put)(void *data, size_t len, unsigned count);
    /* How many came: to *INOUT_DATA, or to where it is set to. */
    unsigned (*get)(void **inout_data, size_t len, unsigned count_max);
    void (*done)(void);  /* what get has given was read */
    void (*flush)(void); /* the producer puts no more for now */
    void (*close)(void); /* in the parent, when the others are gone */
};

struct transport_seat {
    uint64_t ready;
    uint64_t count, sum; /* of the messages so far */
    uint64_t over;
    uint64_t unused[4];
};

struct transport_stage {
    uint64_t go;
    uint64_t unused[7];
    uint64_t stop;
    uint64_t unused_too[7];
    struct transport_seat seats[TRANSPORT_SEATS];
};

/* The processes of one measurement: producers, then consumers. */
struct transport_cast {
    const struct transport *transport;
    struct transport_stage *stage;
    size_t len;
    unsigned producers, consumers;
    pid_t pids[TRANSPORT_SEATS];
};

/* What a process does from when it is ready on; it is killed in the end. */
typedef void transport_role_fn(const struct transport_cast *cast, struct transport_seat *seat,
                               char *buffer);

static inline uint64_t transport_load(const uint64_t *word)
{
    return __atomic_load_n(word, __ATOMIC_ACQUIRE);
}

static inline void transport_store(uint64_t *word, uint64_t value)
{
    __atomic_store_n(word, value, __ATOMIC_RELEASE);
}

/* How many messages of LEN bytes a transport may hold at once, where that is for us to say. */
static inline unsigned transport_depth(size_t len)
{
    if (len <= BENCH_KIB)
        return 1024;
    if (len <= 64 * BENCH_KIB)
        return 16;
    return len <= BENCH_MIB ? 8 : 4;
}

static inline const char *transport_size_name(size_t len)
{
    static const struct {
        size_t len;
        const char *name;
    } names[] = {{8, "8 B"},           {64, "64 B"},
                 {BENCH_KIB, "1 KiB"}, {64 * BENCH_KIB, "64 KiB"},
                 {BENCH_MIB, "1 MiB"}, {16 * BENCH_MIB, "16 MiB"}};

    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (names[i].len == len)
            return names[i].name;
    return "?";
}

static inline void transport_mark(char *data, size_t len, uint64_t number)
{
    memcpy(data, &number, sizeof number);
    if (len >= 2 * sizeof number)
        memcpy(data + len - sizeof number, &number, sizeof number);
}

static inline uint64_t transport_number(const char *data, size_t len)
{
    uint64_t first;
    uint64_t last;

    memcpy(&first, data, sizeof first);
    memcpy(&last, data + len - sizeof last, sizeof last);
    bench_must(len < 2 * sizeof first || first == last, "a message is torn");
    return first;
}

static inline void transport_await(const uint64_t *word)
{
    while (transport_load(word) == 0)
        bench_pause_us(TRANSPORT_NAP_US);
}

/* A private buffer with pages, for as many messages as one call moves. */
static inline char *transport_buffer(const struct transport_cast *cast)
{
    const size_t len = cast->len * (cast->transport->batch > 1 ? cast->transport->batch : 1);
    char *buffer = (char *)bench_map_pages(len, MAP_PRIVATE);

    memset(buffer, 1, len);
    return buffer;
}

static inline void transport_play(const struct transport_cast *cast, unsigned seat_index,
                                  transport_role_fn *role)
{
    const struct transport *transport = cast->transport;
    struct transport_seat *seat = &cast->stage->seats[seat_index];
    char *buffer = transport_buffer(cast);
    const bool produces = seat_index < cast->producers;

    if (produces && transport->produce != NULL)
        transport->produce(seat_index);
    if (!produces && transport->consume != NULL)
        transport->consume(seat_index - cast->producers);
    transport_store(&seat->ready, 1);
    transport_await(&cast->stage->go);
    role(cast, seat, buffer);
    for (;;)
        (void)pause();
}

/* Process I of the cast; returns in the parent, when the new process is ready. A child that the
 * parent left behind would spin on: it goes with the parent. */
static inline void transport_start(struct transport_cast *cast, unsigned i, transport_role_fn *role,
                                   int cpu)
{
    const pid_t pid = fork();

    bench_must(pid >= 0, "fork");
    if (pid == 0) {
        bench_end_with_parent();
        if (cpu >= 0)
            bench_pin((unsigned)cpu);
        transport_play(cast, i, role);
    }
    cast->pids[i] = pid;
    while (transport_load(&cast->stage->seats[i].ready) == 0) {
        bench_must(waitpid(pid, NULL, WNOHANG) == 0, "a process could not begin");
        bench_pause_us(TRANSPORT_NAP_US);
    }
}

static inline void transport_end(struct transport_cast *cast)
{
    for (unsigned i = 0; i < cast->producers + cast->consumers; i++) {
        (void)kill(cast->pids[i], SIGKILL);
        (void)waitpid(cast->pids[i], NULL, 0);
    }
    if (cast->transport->close != NULL)
        cast->transport->close();
    (void)munmap(cast->stage, sizeof *cast->stage);
}

struct transport_sum {
    uint64_t count, sum;
    unsigned over;
};

static inline struct transport_sum transport_read(const struct transport_cast *cast, unsigned first,
                                                  unsigned count)
{
    struct transport_sum total = {0, 0, 0};

    for (unsigned i = first; i < first + count; i++) {
        const struct transport_seat *seat = &cast->stage->seats[i];

        total.over += transport_load(&seat->over) != 0;
        total.count += transport_load(&seat->count);
        total.sum += transport_load(&seat->sum);
    }
    return total;
}

static inline struct transport_sum transport_got(const struct transport_cast *cast)
{
    return transport_read(cast, cast->producers, cast->consumers);
}

/* The producers have been told to stop: waits until all that they put has arrived, and compares. */
static inline void transport_drain(const struct transport_cast *cast)
{
    for (int64_t waited_us = 0; waited_us < TRANSPORT_PATIENCE_US; waited_us += TRANSPORT_NAP_US) {
        const struct transport_sum put = transport_read(cast, 0, cast->producers);

        if (put.over == cast->producers && transport_got(cast).count >= put.count)
            break;
        bench_pause_us(TRANSPORT_NAP_US);
    }
    const struct transport_sum put = transport_read(cast, 0, cast->producers);
    const struct transport_sum got = transport_got(cast);

    bench_must(put.over == cast->producers, "a producer does not come to its end");
    bench_must(put.count == got.count, "not as many messages arrived as were put");
    bench_must(put.sum == got.sum, "the sum of the messages");
}

#endif
