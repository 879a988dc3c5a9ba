/* SPDX-License-Identifier: MIT */
/*
 * The handles of this process's children, oldest first, and the memory of all handles.
 *
 * A handle's memory is never unmapped (sys/stable.h), so that a call with a freed one reads that
 * it is free. In a forked child the list is empty, whatever it was in the parent.
 *
 * Nothing here is shared with another process; a death leaves nothing.
 */
#include "base/clock.h"
#include "sys/stable.h"
#include "run/process_inside.h"
#include "sys/kernel.h"
#include "sys/self.h"

#include <errno.h>
#include <poll.h>

static struct {
    struct own_lock lock;
    struct stable_list memory;
    brood_process *oldest, *newest;
    unsigned number;
} family = {.lock = OWN_LOCK};

static void renew(void)
{
    family.memory = (struct stable_list){0};
    family.oldest = family.newest = NULL;
    family.number = 0;
}

static void lock(void)
{
    brood__own_lock(&family.lock, renew);
}

static void unlock(void)
{
    brood__own_unlock(&family.lock);
}

brood_process *brood__family_new(void)
{
    brood_process *process;

    lock();
    process = brood__stable_take(&family.memory, sizeof *process);
    unlock();
    if (process == NULL)
        return NULL;
    process->magic = PROCESS_MAGIC;
    process->self = brood__self();
    process->pidfd = -1;
    process->zygote = ZYGOTE_NONE;
    process->mutex = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
    return process;
}

unsigned brood__family_number(void)
{
    unsigned number;

    lock();
    number = ++family.number;
    unlock();
    return number;
}

void brood__family_join(brood_process *process)
{
    lock();
    process->older = family.newest;
    if (family.newest != NULL)
        family.newest->newer = process;
    else
        family.oldest = process;
    family.newest = process;
    unlock();
}

static bool is_member(const brood_process *process)
{
    return process->older != NULL || family.oldest == process;
}

static void leave(brood_process *process)
{
    if (process->older != NULL)
        process->older->newer = process->newer;
    else
        family.oldest = process->newer;
    if (process->newer != NULL)
        process->newer->older = process->older;
    else
        family.newest = process->older;
}

void brood__family_leave(brood_process *process)
{
    lock();
    if (is_member(process))
        leave(process);
    unlock();
}

void brood__family_free(brood_process *process)
{
    lock();
    process->magic = 0;
    brood__stable_give(&family.memory, process);
    unlock();
}

/* ---- looking at all of them ---- */

/* Whether join would wait. A handle whose guardian has something to tell has ended. */
static bool runs(const brood_process *process)
{
    struct pollfd fds[] = {{.fd = process->zygote.channel, .events = POLLIN},
                           {.fd = process->zygote.pidfd, .events = POLLIN}};

    return brood__fd_wait(fds, 2, 0) <= 0;
}

size_t brood_process_children(brood_process **out, size_t max)
{
    size_t count = 0;

    lock();
    for (brood_process *process = family.oldest; process != NULL; process = process->newer) {
        if (!runs(process))
            continue;
        if (count < max)
            out[count] = process;
        count++;
    }
    unlock();
    return count;
}

static brood_process *first_running(bool daemon)
{
    for (brood_process *process = family.oldest; process != NULL; process = process->newer) {
        if (process->daemon == daemon && runs(process))
            return process;
    }
    return NULL;
}

/* Waits a while for the first child of that kind, which somebody else may free meanwhile. False:
 * there is none. */
static bool await_one(bool daemon, int64_t deadline)
{
    struct pollfd fds[2] = {{.fd = -1, .events = POLLIN}, {.fd = -1, .events = POLLIN}};
    int64_t until = deadline;
    brood_process *process;

    lock();
    process = first_running(daemon);
    if (process != NULL) {
        fds[0].fd = brood__fd_duplicate(process->zygote.channel);
        fds[1].fd = brood__fd_duplicate(process->zygote.pidfd);
    }
    unlock();
    if (process == NULL)
        return false;
    if (fds[0].fd < 0 && deadline_in(5) < deadline) /* no descriptor to be had: look again soon */
        until = deadline_in(5);
    (void)brood__fd_wait(fds, 2, until);
    brood__fd_close(fds[0].fd);
    brood__fd_close(fds[1].fd);
    return true;
}

static void end_daemons(void)
{
    lock();
    for (brood_process *process = family.oldest; process != NULL; process = process->newer) {
        if (process->daemon && runs(process))
            (void)brood__pidfd_signal(process->pidfd, SIGKILL);
    }
    unlock();
}

int brood_process_join_all(int64_t timeout_ms)
{
    int64_t deadline = deadline_in(timeout_ms);

    while (await_one(false, deadline)) {
        if (left_ns(deadline) == 0)
            return -ETIMEDOUT;
    }
    end_daemons();
    while (await_one(true, deadline)) {
        if (left_ns(deadline) == 0)
            return -ETIMEDOUT;
    }
    return 0;
}
