/* SPDX-License-Identifier: MIT */
/*
 * Waiting for the first of several objects: by the descriptor that each has.
 *
 * Most descriptors are readable exactly when their object is ready. That of a queue is not: it may
 * still be readable when somebody else has taken the message, so a queue that looks ready is looked
 * at again; and it becomes readable some moments after the message came, so queues are asked
 * themselves when time is over.
 *
 * Keeps no state, and takes nothing from any object: a death leaves nothing here.
 */
#include <brood/wait.h>

#include "base/clock.h"
#include "base/handle.h"
#include "base/memory.h"
#include "ipc/queue.h"
#include "sys/kernel.h"

#include <brood/group.h>
#include <brood/pipe.h>
#include <brood/pool.h>
#include <brood/process.h>

#include <errno.h>
#include <limits.h>
#include <poll.h>

enum { FEW = 32 };

static int descriptor_of(void *object)
{
    if (object == NULL)
        return BROOD_EHANDLE;
    switch (handle_magic(object)) {
    case PROCESS_MAGIC:
        return brood_process_fd(object);
    case FUTURE_MAGIC:
        return brood_future_fd(object);
    case GROUP_MAGIC:
        return brood_group_fd(object);
    case POOL_MAGIC:
        return brood_pool_fd(object);
    case QUEUE_MAGIC:
        return brood_queue_fd(object);
    case PIPE_MAGIC:
        return brood_pipe_fd(object);
    default:
        return BROOD_EHANDLE;
    }
}

/* Fills FDS: 0 or an error. */
static int gather(void *const objects[], size_t count, struct pollfd *fds)
{
    for (size_t i = 0; i < count; i++) {
        int fd = descriptor_of(objects[i]);

        if (fd < 0)
            return fd;
        fds[i] = (struct pollfd){.fd = fd, .events = POLLIN};
    }
    return 0;
}

static bool is_really_ready(void *object, int fd)
{
    struct pollfd again = {.fd = fd, .events = POLLIN};

    if (handle_magic(object) != QUEUE_MAGIC)
        return true;
    brood__queue_looked(object);
    return brood__fd_wait(&again, 1, 0) > 0;
}

/* The first queue that is ready; -ETIMEDOUT: none is. */
static int last_look(void *const objects[], size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (handle_magic(objects[i]) == QUEUE_MAGIC && brood__queue_ready(objects[i]))
            return (int)i;
    return -ETIMEDOUT;
}

static int wait_for(void *const objects[], struct pollfd *fds, size_t count, int64_t timeout_ms)
{
    int64_t deadline = deadline_in(timeout_ms);
    int r = gather(objects, count, fds);

    while (r == 0) {
        r = brood__fd_wait(fds, (unsigned)count, deadline);
        if (r < 0)
            return r;
        if (r == 0)
            return last_look(objects, count);
        for (size_t i = 0; i < count; i++)
            if (fds[i].revents != 0 && is_really_ready(objects[i], fds[i].fd))
                return (int)i;
        r = 0;
    }
    return r;
}

int brood_wait_any(void *const objects[], size_t count, int64_t timeout_ms)
{
    struct pollfd few[FEW];
    struct pollfd *fds = few;
    int r;

    if (objects == NULL || count == 0 || count > INT_MAX)
        return -EINVAL;
    if (count > FEW)
        fds = brood__alloc_zeroed(count, sizeof *fds);
    if (fds == NULL)
        return -ENOMEM;
    r = wait_for(objects, fds, count, timeout_ms);
    if (fds != few)
        brood__free(fds);
    return r;
}
