/* SPDX-License-Identifier: MIT */
/*
 * A death: waiting for the child, taking along what it left, telling about it.
 *
 * What a dead child leaves is found in two ways. Its process group is killed while the child is
 * still a zombie, because until then nobody else can have that number. Who left the group is an
 * orphan by now, and orphans fall to the zygote, the nearest subreaper (or pid 1): every child of
 * the zygote that it did not fork is such a leftover. Killing one may orphan the next generation,
 * so it is looked again until nobody is left, for SWEEP_MS at most: a leftover in uninterruptible
 * sleep must not stop the zygote. It is tried again at the next death and at the end.
 *
 * The list comes from /proc/thread-self/children. Without it, process groups are all that can be
 * found, except in a PID namespace without a living child, where kill(-1) finds everything; and
 * what is left dies at the latest with the zygote there.
 *
 * If the zygote is killed in the middle of this: its children die by PDEATHSIG, a namespace as a
 * whole. Leftovers of a group that had left their process group survive that: this is what a
 * namespace is better at.
 */
#include "base/clock.h"
#include "base/fault.h"
#include "run/zygote_inside.h"
#include "sys/kernel.h"
#include "sys/proc.h"

#include <errno.h>
#include <poll.h>
#include <sys/wait.h>

enum { SWEEP_MS = 2000, END_MS = 5000, LIST_ATTEMPTS = 3 };

void brood__nest_free_slot(struct nest *nest, unsigned slot)
{
    if (nest->start_rss != NULL && slot < ZYGOTE_SLOTS)
        nest->start_rss[slot] = 0;
}

static struct zygote_child *find(struct nest *nest, pid_t pid)
{
    for (unsigned i = 0; i < nest->child_count; i++) {
        if (nest->children[i].pid == pid)
            return &nest->children[i];
    }
    return NULL;
}

/* ---- strangers: children that the zygote did not fork ---- */

struct hunt {
    struct nest *nest;
    unsigned found; /* strangers that were listed */
    unsigned alive; /* of them, not dead yet */
};

/* Whether to try again: the process or /proc is there, but could not be read now. */
static bool is_passing(int error)
{
    return error < 0 && error != -ENOENT && error != -ESRCH && error != -ENOSYS && error != -EACCES;
}

static void hunt_one(pid_t listed, void *context)
{
    struct hunt *hunt = context;
    pid_t pid = brood__proc_inner_pid(listed); /* /proc may be that of an outer namespace */

    if (is_passing(pid)) {
        hunt->found++;
        hunt->alive++;
    }
    if (pid <= 0 || find(hunt->nest, pid) != NULL)
        return;
    /* Counted even if it is gone with this: it may have left children, who come to us behind the
     * end of the list that we are reading. */
    hunt->found++;
    (void)brood__kill(pid, SIGKILL);
    if (brood__wait(pid, NULL, WNOHANG | __WALL, NULL) == 0)
        hunt->alive++;
}

/* Kills and reaps all that can be found now. 0, or -errno: they cannot be listed. */
static int hunt_strangers(struct hunt *hunt)
{
    const struct nest *nest = hunt->nest;

    hunt->found = hunt->alive = 0;
    if (nest->setup.containment != BROOD_CONTAIN_NAMESPACE || nest->child_count > 0)
        return brood__proc_children(hunt_one, hunt);
    (void)brood__kill(-1, SIGKILL);
    while (brood__wait(-1, NULL, WNOHANG | __WALL, NULL) > 0)
        continue;
    hunt->found = hunt->alive = brood__wait_peek() != -ECHILD;
    return 0;
}

/* Until one more child is dead, or DEADLINE. The mask keeps SIGCHLD pending in the signalfd. */
static void await_death(struct nest *nest, int64_t deadline)
{
    struct pollfd fd = {.fd = nest->signals, .events = POLLIN};
    char dropped[512];

    if (brood__fd_wait(&fd, 1, deadline) > 0)
        (void)brood__fd_read(nest->signals, dropped, sizeof dropped);
}

static void sweep(struct nest *nest, int64_t limit_ms)
{
    struct hunt hunt = {.nest = nest};
    int64_t deadline = deadline_in(limit_ms);
    unsigned failures = 0;

    if (nest->setup.containment == BROOD_CONTAIN_CHILD)
        return;
    do {
        int r = hunt_strangers(&hunt);

        if (r < 0 && (!is_passing(r) || ++failures == LIST_ATTEMPTS))
            return;
        if (r == 0 && hunt.found == 0)
            return;
        if (r < 0 || hunt.alive > 0)
            await_death(nest, deadline_in(10) < deadline ? deadline_in(10) : deadline);
    } while (left_ns(deadline) > 0);
}

/* ---- registered children ---- */

static void kill_group_of(const struct nest *nest, pid_t pid)
{
    if (nest->setup.containment != BROOD_CONTAIN_CHILD)
        (void)brood__kill(-pid, SIGKILL);
}

static struct zygote_child unregister(struct nest *nest, struct zygote_child *child)
{
    struct zygote_child gone = *child;

    *child = nest->children[--nest->child_count];
    return gone;
}

static int64_t microseconds(struct timeval time)
{
    return (int64_t)time.tv_sec * 1000000 + time.tv_usec;
}

static uint64_t growth(const struct nest *nest, unsigned slot, const struct rusage *usage)
{
    uint64_t start = 0;

    if (nest->start_rss != NULL && slot < ZYGOTE_SLOTS)
        start = nest->start_rss[slot];
    if (start <= ZYGOTE_RSS_UNTOLD || (uint64_t)usage->ru_maxrss <= start)
        return 0;
    return ((uint64_t)usage->ru_maxrss - start) * 1024;
}

static enum zygote_reason reason_of(const struct zygote_child *child, int status)
{
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL ? child->reason : ZYGOTE_BY_ITSELF;
}

static void bury_one(struct nest *nest, struct zygote_child *child)
{
    struct zygote_child gone;
    struct zygote_event event = {.kind = ZYGOTE_DIED, .pidfd = -1};
    struct rusage usage = {0};
    int status = 0;

    kill_group_of(nest, child->pid);
    if (brood__wait(child->pid, &status, 0, &usage) < 0)
        return; /* only when made to fail; the next look finds it again */
    gone = unregister(nest, child);
    event.id = gone.id;
    event.status = status;
    event.reason = reason_of(&gone, status);
    event.wall_us = (now_ns() - gone.born_at) / 1000;
    event.user_us = microseconds(usage.ru_utime);
    event.system_us = microseconds(usage.ru_stime);
    event.peak_rss = growth(nest, gone.slot, &usage);
    brood__nest_free_slot(nest, gone.slot);
    BROOD_MARK("zygote before sweep");
    sweep(nest, SWEEP_MS);
    BROOD_MARK("zygote after sweep");
    brood__nest_queue(nest, &event);
    nest->over = nest->setup.single;
}

void brood__nest_bury(struct nest *nest)
{
    pid_t pid;

    while ((pid = brood__wait_peek()) > 0) {
        struct zygote_child *child = find(nest, pid);

        if (child != NULL)
            bury_one(nest, child);
        else
            (void)brood__wait(pid, NULL, WNOHANG | __WALL, NULL);
    }
}

void brood__nest_undo_birth(struct nest *nest)
{
    struct zygote_child gone = unregister(nest, &nest->children[nest->child_count - 1]);

    (void)brood__kill(gone.pid, SIGKILL);
    while (brood__wait_peek() == 0)
        await_death(nest, deadline_in(10));
    kill_group_of(nest, gone.pid);
    (void)brood__wait(gone.pid, NULL, 0, NULL);
    brood__nest_free_slot(nest, gone.slot);
    sweep(nest, SWEEP_MS);
}

void brood__nest_kill_all(struct nest *nest)
{
    struct hunt hunt = {.nest = nest};
    int64_t deadline = deadline_in(END_MS);

    for (unsigned i = 0; i < nest->child_count; i++) {
        (void)brood__kill(nest->children[i].pid, SIGKILL);
        kill_group_of(nest, nest->children[i].pid);
    }
    nest->child_count = 0; /* now all are strangers */
    do {
        pid_t pid;

        (void)hunt_strangers(&hunt);
        while ((pid = brood__wait(-1, NULL, WNOHANG | __WALL, NULL)) > 0)
            continue;
        if (pid == -ECHILD)
            return;
        await_death(nest, deadline_in(10));
    } while (left_ns(deadline) > 0);
}
