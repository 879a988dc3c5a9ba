/* SPDX-License-Identifier: MIT */
/*
 * The plan by which fault points fail or kill. Only in builds with -Dfaults=true.
 *
 * A plan lies in memory shared by all processes of a scenario. A first run counts: each point
 * that is passed gets an entry, found by a hash of who passed it (the role), which call it makes
 * (the name) and from where. Later runs name one entry and a number n, and the n-th passage of
 * that point fails, or ends the process that makes it, as SIGKILL would at any moment.
 *
 * "From where" is a return address as a distance from the start of this module, which is the same
 * in every copy of the program, wherever it was loaded. Forked processes inherit plan and role.
 * A program that was executed anew finds the plan by itself: BROOD_FAULT_PLAN names the
 * descriptor of the process that set it, as a path below /proc.
 *
 * Entries are claimed by compare-and-swap and never given back. A process that dies between
 * claiming an entry and describing it leaves one without a description, which still counts. The
 * table is full when POINTS_MAX points are known; more are counted as dropped, not followed.
 *
 * This file may not call the kernel through sys/kernel.h, as those calls are what it counts.
 */
#include "base/fault_plan.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* The linker puts it at the start of the module that this file is part of. */
extern const char __ehdr_start[] __attribute__((visibility("hidden")));

static struct fault_plan *current_plan;
static bool plan_sought;
static _Thread_local enum fault_role current_role;

/*
 * What a call of this name really fails with when the system has no more of something, or forbids
 * it. 0: it cannot fail in a way that anybody could make good: who is told that a living child
 * cannot be waited for has lost it. Such points are only good for dying at. Not here: ENOMEM.
 */
static const struct {
    const char *name;
    int error;
} errors[] = {
    {"accept", EMFILE},
    {"close_range", ENOSYS},
    {"dup", EMFILE},
    {"epoll_create", EMFILE},
    {"epoll_wait", 0},
    {"eventfd", EMFILE},
    {"fallocate", ENOSPC},
    {"fcntl", EBADF},
    {"fork", EAGAIN},
    {"futex", 0},
    {"getdents", EIO},
    {"getrandom", EIO},
    {"kill", 0},
    {"open", EMFILE},
    {"pidfd_open", EMFILE},
    {"pidfd_send_signal", 0},
    {"prctl", EINVAL},
    {"punch", EOPNOTSUPP},
    {"read", EIO},
    {"recvmsg", ENOMEM},
    {"memfd_create", EMFILE},
    {"sendmsg", ENOMEM},
    {"setpgid", EPERM},
    {"setrlimit", EPERM},
    {"signalfd", EMFILE},
    {"socket", EMFILE},
    {"socketpair", EMFILE},
    {"unshare", EPERM},
    {"wait4", 0},
    {"waitid", 0},
    {"write", EIO},
};

static int error_of(const char *name)
{
    for (size_t i = 0; i < sizeof errors / sizeof errors[0]; i++)
        if (strcmp(errors[i].name, name) == 0)
            return errors[i].error;
    return ENOMEM;
}

void brood__fault_role(enum fault_role role)
{
    current_role = role;
}

void brood__fault_plan_use(struct fault_plan *plan)
{
    current_plan = plan;
    plan_sought = true;
}

/* Of a program that was executed by a process with a plan: that plan. Two threads that come here
 * at once map it twice, and both maps are good. */
static struct fault_plan *seek_plan(void)
{
    const char *path = getenv(FAULT_PLAN_VARIABLE);
    int saved = errno;
    int fd = path == NULL ? -1 : open(path, O_RDWR | O_CLOEXEC);

    if (fd >= 0) {
        void *found =
            mmap(NULL, sizeof(struct fault_plan), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

        (void)close(fd);
        if (found != MAP_FAILED) {
            current_plan = found;
            current_role = ROLE_SERVER;
        }
    }
    plan_sought = true;
    errno = saved;
    return current_plan;
}

/* FNV-1a over what tells points apart; never 0, which is an empty entry. */
static uint64_t key_of(enum fault_role role, const char *name, uint64_t site)
{
    uint64_t key = UINT64_C(0xcbf29ce484222325);

    key = (key ^ (uint64_t)role) * UINT64_C(0x100000001b3);
    for (; *name != '\0'; name++)
        key = (key ^ (unsigned char)*name) * UINT64_C(0x100000001b3);
    for (; site != 0; site >>= 8)
        key = (key ^ (site & 0xff)) * UINT64_C(0x100000001b3);
    return key == 0 ? 1 : key;
}

static void describe(struct fault_point *point, enum fault_role role, const char *name,
                     uint64_t site)
{
    size_t len = strlen(name);

    len = len < sizeof point->name ? len : sizeof point->name - 1;
    memcpy(point->name, name, len);
    point->role = role;
    point->site = site;
}

/* The entry of KEY, claimed if it is new; NULL when the table is full. */
static struct fault_point *find_point(struct fault_plan *plan, uint64_t key, bool *out_new)
{
    *out_new = false;
    for (uint64_t i = 0; i < FAULT_POINTS_MAX; i++) {
        struct fault_point *point = &plan->points[(key + i) % FAULT_POINTS_MAX];
        uint64_t there = 0;

        if (atomic_compare_exchange_strong(&point->key, &there, key))
            *out_new = true;
        if (*out_new || there == key)
            return point;
    }
    return NULL;
}

static void count(struct fault_plan *plan, const char *name, uint64_t site, bool only_kill)
{
    uint64_t key = key_of(current_role, name, site);
    bool is_new;
    struct fault_point *point = find_point(plan, key, &is_new);

    if (point == NULL) {
        atomic_fetch_add(&plan->dropped, 1);
        return;
    }
    if (is_new) {
        describe(point, current_role, name, site);
        point->only_kill = only_kill || error_of(name) == 0;
    }
    atomic_fetch_add(&point->hits, 1);
}

int brood__fault_hit(const char *name, const void *site, bool only_kill)
{
    struct fault_plan *plan = plan_sought ? current_plan : seek_plan();
    uint32_t mode = plan == NULL ? FAULT_OFF : atomic_load(&plan->mode);
    uint64_t distance = (uint64_t)(uintptr_t)site - (uint64_t)(uintptr_t)__ehdr_start;

    if (mode == FAULT_OFF)
        return 0;
    if (mode == FAULT_COUNT) {
        count(plan, name, distance, only_kill);
        return 0;
    }
    if ((only_kill && mode != FAULT_KILL) || key_of(current_role, name, distance) != plan->key ||
        atomic_fetch_add(&plan->passed, 1) + 1 != plan->nth)
        return 0;
    atomic_store(&plan->fired, 1);
    if (mode == FAULT_KILL) {
        (void)raise(SIGKILL);
        __builtin_trap(); /* pid 1 of a namespace cannot kill itself, but it can crash */
    }
    return error_of(name);
}
