/* SPDX-License-Identifier: MIT */
/*
 * harness/test.h - what a test file includes, and all it needs.
 *
 *     TEST(a_fact_in_words)
 *     {
 *         CHECK_EQ(1 + 1, 2);
 *     }
 *
 * Each test runs in a process and process group of its own, under a time limit, below a runner
 * that is the subreaper. When the function returns, the harness asks what it left behind:
 * descriptors, threads, mapped memory objects, children dead or alive, processes that escaped by
 * setsid() and a double fork, files below $TMPDIR (a folder made for this one test), and objects
 * in /dev/shm (where the runner may mount one of its own). Anything left fails the test, and is
 * removed. Output is kept, and shown if the test fails.
 *
 * A check may fail in any thread and in any descendant of the test, and ends the whole test. A
 * forked child must end by _exit(); if it returns from the test function, the test fails.
 *
 * Options of each test program: see main.c, or run it with --help.
 */
#ifndef BROOD_TESTS_HARNESS_TEST_H
#define BROOD_TESTS_HARNESS_TEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A test with the usual limit of 20 s, and one with its own. Limits grow by the time factor. */
#define TEST(name) TEST_LIMIT(name, 20)
#define TEST_LIMIT(name, limit_s)                                                                  \
    static void test_##name(void);                                                                 \
    __attribute__((constructor)) static void register_##name(void)                                 \
    {                                                                                              \
        static struct test_case test = {#name, __FILE__, test_##name, (limit_s), NULL};            \
        test_register(&test);                                                                      \
    }                                                                                              \
    static void test_##name(void)

#define CHECK(condition)                                                                           \
    ((condition) ? (void)0 : test_fail(__FILE__, __LINE__, "CHECK(%s)", #condition))

/* Two integers or two pointers. */
#define CHECK_EQ(left, right)                                                                      \
    test_check_eq(__FILE__, __LINE__, #left " == " #right, (intmax_t)(left), (intmax_t)(right))

/* Two strings; NULL equals only NULL. */
#define CHECK_STR(left, right)                                                                     \
    test_check_string(__FILE__, __LINE__, #left " == " #right, (left), (right))

/* At least 0. The value is that of the call: int fd = CHECK_OK(open(...)). */
#define CHECK_OK(call)                                                                             \
    __extension__({ (__typeof__(call))test_check_ok(__FILE__, __LINE__, #call, (intmax_t)(call)); })

/* Exactly this negative error: CHECK_ERR(brood_x(NULL), -EINVAL). */
#define CHECK_ERR(call, error)                                                                     \
    test_check_error(__FILE__, __LINE__, #call, (intmax_t)(call), (intmax_t)(error))

/* Fails with a text of your own, as printf. */
#define FAIL(...) test_fail(__FILE__, __LINE__, __VA_ARGS__)

/* Ends the test as neither passed nor failed. Only in the process of the test itself. */
#define SKIP(...) test_skip(__VA_ARGS__)

/* How long a test waits for something that must happen. Long, as only a failure needs it all. */
#define TEST_PATIENCE_MS test_patience_ms()

int64_t test_patience_ms(void);
/* BROOD_TEST_TIME_FACTOR, 1 unless set: multiply your own times by it. */
double test_time_factor(void);

/* The seed of this run (--seed), and numbers that follow from it and from the test's name. */
uint64_t test_seed(void);
uint64_t test_random(void);
uint64_t test_random_below(uint64_t bound); /* 0 .. bound - 1 */

/* The path of a program of tests/programs, into a buffer that the next call overwrites. */
const char *test_program(const char *name);

/* Whether this build has -fsanitize=address, or thread. */
#if defined(__SANITIZE_ADDRESS__)
#define TEST_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define TEST_ASAN 1
#endif
#endif
#ifndef TEST_ASAN
#define TEST_ASAN 0
#endif
#if defined(__SANITIZE_THREAD__)
#define TEST_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define TEST_TSAN 1
#endif
#endif
#ifndef TEST_TSAN
#define TEST_TSAN 0
#endif

/* ---- behind the macros ---- */

struct test_case {
    const char *name;
    const char *file;
    void (*function)(void);
    unsigned limit_s;
    struct test_case *next;
};

void test_register(struct test_case *test);
void test_fail(const char *file, int line, const char *format, ...)
    __attribute__((noreturn, format(printf, 3, 4)));
void test_skip(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));
void test_check_eq(const char *file, int line, const char *text, intmax_t left, intmax_t right);
void test_check_string(const char *file, int line, const char *text, const char *left,
                       const char *right);
intmax_t test_check_ok(const char *file, int line, const char *text, intmax_t value);
void test_check_error(const char *file, int line, const char *text, intmax_t value, intmax_t error);

#endif
