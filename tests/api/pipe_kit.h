/* SPDX-License-Identifier: MIT */
/* What the tests of pipes share: a pair of ends, and bytes that tell whether they are right. */
#ifndef BROOD_TESTS_API_PIPE_KIT_H
#define BROOD_TESTS_API_PIPE_KIT_H

#include "harness/test.h"

#include <brood/pipe.h>

#include <poll.h>
#include <sys/wait.h>
#include <time.h>

struct ends {
    brood_pipe *left, *right;
};

static inline struct ends new_pipe(const brood_pipe_options *options)
{
    struct ends ends = {NULL, NULL};

    CHECK_OK(brood_pipe_new(&ends.left, &ends.right, options));
    return ends;
}

static inline void free_pipe(struct ends ends)
{
    brood_pipe_free(ends.left);
    brood_pipe_free(ends.right);
}

static inline bool is_readable(int fd)
{
    struct pollfd waited = {.fd = fd, .events = POLLIN};

    return CHECK_OK(poll(&waited, 1, 0)) > 0;
}

static inline void fill(char *bytes, size_t len, unsigned seed)
{
    for (size_t i = 0; i < len; i++)
        bytes[i] = (char)((i * 131 + seed) >> 3);
}

static inline void check_filled(const char *bytes, size_t len, unsigned seed)
{
    for (size_t i = 0; i < len; i++)
        if (bytes[i] != (char)((i * 131 + seed) >> 3))
            FAIL("byte %zu of %zu is wrong", i, len);
}

static inline void expect_success(pid_t pid)
{
    int status;

    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, 0);
}

static inline int64_t now_ms(void)
{
    struct timespec t;

    CHECK_OK(clock_gettime(CLOCK_MONOTONIC, &t));
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

#endif
