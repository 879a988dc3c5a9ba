/* SPDX-License-Identifier: MIT */
/*
 * What does it cost to run somebody else's program?
 *
 * /bin/true is started and waited for, again and again: by one thread and by eight at once, in
 * programs of several sizes. Its descriptors 0, 1 and 2 are those of the caller. Then what a
 * program writes is taken in, and what goes through cat is given and taken; that ends when all
 * bytes are there and the program was waited for.
 */
#ifndef BROOD_BENCH_COMMAND_H
#define BROOD_BENCH_COMMAND_H

#include "bench.h"
#include "sizes.h"

#include <pthread.h>

enum { COMMAND_THREADS = 8, COMMAND_UNCOUNTED = 5, COMMAND_WINDOW_NS = 300000000 };
enum { COMMAND_ALONE_MAX = 4096, COMMAND_BYTES_CALLS = 3 };

#define COMMAND_OUT_LEN (256 * BENCH_MIB)
#define COMMAND_THROUGH_LEN (64 * BENCH_MIB)

static const char *const command_true[] = {"/bin/true", NULL};
static const char *const command_head[] = {"/usr/bin/head", "-c", "268435456", "/dev/zero", NULL};
static const char *const command_cat[] = {"/bin/cat", NULL};

/* For those who want char *const[]: they do not write there. */
static inline char **command_words(const char *const *argv)
{
    union {
        const char *const *given;
        char **wanted;
    } words = {argv};

    return words.wanted;
}

/* Runs command_true to its end, and makes sure that its exit status was 0. */
typedef void command_once(void);

struct command_thread {
    command_once *once;
    pthread_barrier_t *go;
    double rate;
    pthread_t id;
};

/* Commands a second, one after the other, each as long as the median: of those that a thread starts
 * alone, a few wait long for others on the machine. */
static inline double command_rate_alone(command_once *once)
{
    static double taken_ns[COMMAND_ALONE_MAX];
    const int64_t start_ns = bench_now_ns();
    int64_t now_ns = start_ns;
    size_t count = 0;

    while (count < COMMAND_ALONE_MAX && now_ns - start_ns < COMMAND_WINDOW_NS) {
        const int64_t before_ns = now_ns;

        once();
        now_ns = bench_now_ns();
        taken_ns[count++] = (double)(now_ns - before_ns);
    }
    return 1e9 / bench_median(taken_ns, count);
}

/* Commands a second, by one of several threads. */
static inline double command_rate(command_once *once)
{
    const int64_t start_ns = bench_now_ns();
    int64_t now_ns = start_ns;
    uint64_t count = 0;

    while (now_ns - start_ns < COMMAND_WINDOW_NS) {
        once();
        count++;
        now_ns = bench_now_ns();
    }
    return (double)count / ((double)(now_ns - start_ns) * 1e-9);
}

static inline void *command_work(void *arg)
{
    struct command_thread *thread = (struct command_thread *)arg;

    thread->once();
    (void)pthread_barrier_wait(thread->go);
    thread->rate = command_rate(thread->once);
    return NULL;
}

static inline double command_rate_of_threads(command_once *once)
{
    struct command_thread threads[COMMAND_THREADS];
    pthread_barrier_t go;
    double rate = 0;

    bench_must(pthread_barrier_init(&go, NULL, COMMAND_THREADS) == 0, "a barrier");
    for (int i = 0; i < COMMAND_THREADS; i++) {
        threads[i] = (struct command_thread){.once = once, .go = &go};
        bench_must(pthread_create(&threads[i].id, NULL, command_work, &threads[i]) == 0,
                   "a thread");
    }
    for (int i = 0; i < COMMAND_THREADS; i++) {
        (void)pthread_join(threads[i].id, NULL);
        rate += threads[i].rate;
    }
    (void)pthread_barrier_destroy(&go);
    return rate;
}

/* Prints "NAME, <size>" and "NAME by 8 threads, <size>". This process is larger afterwards. */
static inline void command_measure(const char *name, command_once *once)
{
    char text[128];

    for (int i = 0; i < COMMAND_UNCOUNTED; i++)
        once();
    for (enum size_step step = SIZE_SMALL; step <= SIZE_1GIB; step++) {
        if (!size_reach(step))
            break;
        (void)snprintf(text, sizeof text, "%s, %s", name, size_row(step).name);
        bench_emit("command", text, "commands/s", command_rate_alone(once));
        (void)snprintf(text, sizeof text, "%s by %d threads, %s", name, COMMAND_THREADS,
                       size_row(step).name);
        bench_emit("command", text, "commands/s", command_rate_of_threads(once));
    }
}

/* Prints NAME: LEN bytes in the median of some calls of ONCE. */
static inline void command_measure_bytes(const char *name, size_t len, double (*once_ns)(void))
{
    double taken_ns[COMMAND_BYTES_CALLS];

    if (!bench_memory_allows(4 * len)) {
        fprintf(stderr, "bench: too little memory for %s\n", name);
        return;
    }
    for (size_t i = 0; i < COMMAND_BYTES_CALLS; i++)
        taken_ns[i] = once_ns();
    bench_emit("command", name, "B/s",
               (double)len / (bench_median(taken_ns, COMMAND_BYTES_CALLS) * 1e-9));
}

/* What command_head has written. */
static inline void command_check_zeros(const char *data, size_t len)
{
    bench_must(data != NULL && len == COMMAND_OUT_LEN && data[0] == 0 &&
                   memcmp(data, data + 1, len - 1) == 0,
               "the bytes of an output");
}

/* COMMAND_THROUGH_LEN bytes for command_cat; of each 4 KiB no two are alike. */
static inline const char *command_input(void)
{
    static uint64_t *words;

    if (words == NULL) {
        words = (uint64_t *)bench_map_pages(COMMAND_THROUGH_LEN, MAP_PRIVATE);
        for (size_t i = 0; i < COMMAND_THROUGH_LEN / sizeof *words; i++)
            words[i] = i * 0x9e3779b97f4a7c15;
    }
    return (const char *)words;
}

static inline void command_check_echo(const char *data, size_t len)
{
    bench_must(data != NULL && len == COMMAND_THROUGH_LEN &&
                   memcmp(data, command_input(), len) == 0,
               "the bytes of an echo");
}

#endif
