/* SPDX-License-Identifier: MIT */
/* What tests of queues share: a queue of numbers, and children and threads that use it. */
#ifndef BROOD_TESTS_API_QUEUE_KIT_H
#define BROOD_TESTS_API_QUEUE_KIT_H

#include "harness/test.h"

#include <brood/queue.h>

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <sys/wait.h>
#include <unistd.h>

static inline brood_queue *new_queue(const brood_queue_options *options)
{
    brood_queue *queue = NULL;

    CHECK_EQ(brood_queue_new(&queue, options), 0);
    return queue;
}

static inline int put_int(brood_queue *queue, int value, int64_t timeout_ms)
{
    return brood_queue_put(queue, &value, sizeof value, timeout_ms);
}

static inline int get_int(brood_queue *queue, int64_t timeout_ms)
{
    int value = -1;
    int r = brood_queue_get(queue, &value, sizeof value, timeout_ms);

    return r == 1 ? value : r == 0 ? INT32_MAX : r;
}

/* A child that runs FN(QUEUE), which ends with its status. */
static inline pid_t start(void (*fn)(brood_queue *queue), brood_queue *queue)
{
    pid_t pid = CHECK_OK(fork());

    if (pid == 0) {
        fn(queue);
        _exit(0);
    }
    return pid;
}

static inline void await(pid_t pid)
{
    int status = -1;

    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, 0);
}

static inline void end(pid_t pid)
{
    CHECK_OK(kill(pid, SIGKILL));
    CHECK_EQ(waitpid(pid, NULL, 0), pid);
}

static inline void in_thread(void *(*fn)(void *queue), brood_queue *queue)
{
    pthread_t thread;

    CHECK_EQ(pthread_create(&thread, NULL, fn, queue), 0);
    CHECK_EQ(pthread_join(thread, NULL), 0);
}

static inline bool polls(int fd, int timeout_ms)
{
    struct pollfd watched = {.fd = fd, .events = POLLIN};

    return CHECK_OK(poll(&watched, 1, timeout_ms)) == 1;
}

#endif
