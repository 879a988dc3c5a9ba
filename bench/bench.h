/* SPDX-License-Identifier: MIT */
/*
 * What the measuring programs share: the clock, percentiles, memory, and the one line of JSON
 * that carries a figure to bench/run.
 *
 * Every program checks what it computed before it prints how fast that was, and ends with
 * status 1 otherwise: a wrong answer has no speed. It also compiles as C++, for the rivals.
 */
#ifndef BROOD_BENCH_BENCH_H
#define BROOD_BENCH_BENCH_H

#include <math.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#define BENCH_KIB ((size_t)1024)
#define BENCH_MIB (1024 * BENCH_KIB)
#define BENCH_GIB (1024 * BENCH_MIB)
#define BENCH_PAGE ((size_t)4096)

static inline int64_t bench_now_ns(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static inline double bench_seconds_since(int64_t start_ns)
{
    return (double)(bench_now_ns() - start_ns) * 1e-9;
}

static inline void bench_pause_us(int64_t us)
{
    struct timespec t;

    t.tv_sec = (time_t)(us / 1000000);
    t.tv_nsec = (long)(us % 1000000 * 1000);
    (void)clock_nanosleep(CLOCK_MONOTONIC, 0, &t, NULL);
}

/* One figure: the question, the case within it, the unit, the value. */
static inline void bench_emit(const char *bench, const char *name, const char *unit, double value)
{
    printf("{\"bench\": \"%s\", \"case\": \"%s\", \"unit\": \"%s\", \"value\": %.7g}\n", bench,
           name, unit, value);
    (void)fflush(stdout);
}

/* Ends the program when what was measured turns out wrong. */
static inline void bench_must(bool right, const char *what)
{
    if (right)
        return;
    fprintf(stderr, "bench: wrong: %s\n", what);
    _exit(1);
}

static inline int bench_by_value(const void *left, const void *right)
{
    const double a = *(const double *)left;
    const double b = *(const double *)right;

    return (a > b) - (a < b);
}

/* Sorts VALUES. */
static inline double bench_percentile(double *values, size_t count, double percent)
{
    size_t at = (size_t)((double)count * percent / 100.0);

    bench_must(count > 0, "no values");
    qsort(values, count, sizeof *values, bench_by_value);
    return values[at < count ? at : count - 1];
}

static inline double bench_median(double *values, size_t count)
{
    return bench_percentile(values, count, 50.0);
}

/* "NAME, p50" and "NAME, p99" in microseconds, of VALUES in nanoseconds. */
static inline void bench_emit_latency(const char *bench, const char *name, double *values_ns,
                                      size_t count)
{
    char text[128];

    (void)snprintf(text, sizeof text, "%s, p50", name);
    bench_emit(bench, text, "us", bench_percentile(values_ns, count, 50.0) / 1000);
    (void)snprintf(text, sizeof text, "%s, p99", name);
    bench_emit(bench, text, "us", bench_percentile(values_ns, count, 99.0) / 1000);
}

/* The sum of x * x for x below COUNT, modulo 2^64: what the tiny tasks together compute. */
static inline uint64_t bench_square_sum(uint64_t count)
{
    uint64_t sum = 0;

    for (uint64_t x = 0; x < count; x++)
        sum += x * x;
    return sum;
}

static inline void *bench_map_pages(size_t len, int sharing)
{
    void *memory = mmap(NULL, len, PROT_READ | PROT_WRITE, sharing | MAP_ANONYMOUS, -1, 0);

    if (memory == MAP_FAILED) {
        perror("mmap");
        _exit(1);
    }
    return memory;
}

static inline void *bench_shared(size_t len)
{
    return bench_map_pages(len, MAP_SHARED);
}

/* Makes this process LEN bytes larger, in pages of 4 KiB whatever the machine prefers, so that
 * each fork has the page tables of a program that grew bit by bit. Never released. */
static inline void bench_grow(size_t len)
{
    char *memory = (char *)bench_map_pages(len, MAP_PRIVATE);

    (void)madvise(memory, len, MADV_NOHUGEPAGE);
    for (size_t i = 0; i < len; i += BENCH_PAGE)
        memory[i] = 1;
}

/* Whether LEN more bytes leave at least as much again for everybody else. */
static inline bool bench_memory_allows(size_t len)
{
    char line[128];
    unsigned long long kib = 0;
    FILE *file = fopen("/proc/meminfo", "re");

    while (file != NULL && fgets(line, sizeof line, file) != NULL)
        if (sscanf(line, "MemAvailable: %llu", &kib) == 1)
            break;
    if (file != NULL)
        (void)fclose(file);
    return kib / 2 > len / 1024;
}

/* Keeps the calling process or thread on one CPU: for the limits, which spin. */
static inline void bench_pin(unsigned cpu)
{
    cpu_set_t set;

    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    (void)sched_setaffinity(0, sizeof set, &set);
}

/* The calling process, just forked, is killed when the parent's thread that forked it ends. */
static inline void bench_end_with_parent(void)
{
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
}

static inline void bench_relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("isb" ::: "memory");
#endif
}

#endif
