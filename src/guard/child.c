/* SPDX-License-Identifier: MIT */
/*
 * From clone() to execve(): everything that the order says about the command itself.
 *
 * The child shares this process's memory and borrows its stack, while this process sleeps in
 * clone() until the child has executed the command or is gone. So a step that fails is simply
 * written down in struct birth, and nothing is copied. Signals are blocked until the last moment:
 * no handler runs in the shared memory.
 *
 * The order of the steps
 *   - The cgroup first, as its descriptor is closed next, and while there is the right to write.
 *   - Descriptors before limits: their number may be over the new limit.
 *   - What needs privileges before the ids, and the working directory after them: nothing is
 *     entered that the command's user may not enter.
 *   - The parent-death signal after the ids, because a change of ids forgets it.
 *
 * An execve() from a file system that does not answer keeps the guard asleep: what it is told
 * meanwhile, and the end of its caller, it learns after that.
 *
 * What a death leaves: the child asks for SIGKILL when its parent dies, and looks after that
 * whether the parent was dead before. A command that is set-user-ID, or has file capabilities,
 * loses that request by its execve(); it then survives the death of the guard.
 */
#include "guard/child.h"

#include "guard/bytes.h"
#include "guard/calls.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>

GUARD_SPAWN_CODE;

enum { SIGNAL_WORD = sizeof(uint64_t), RED_ZONE = 512 };

/* As the kernel has it, which is not as libraries have it. */
struct kernel_sigaction {
    uintptr_t handler;
    unsigned long flags;
    uintptr_t restorer;
    uint64_t mask;
};

/* ---- descriptors ---- */

static unsigned parse_number(const char *text)
{
    unsigned number = 0;

    for (; *text >= '0' && *text <= '9'; text++)
        number = number * 10 + (unsigned)(*text - '0');
    return number;
}

/* One piece of /proc/self/fd. Whether something was closed, so that it is worth another look. */
static bool close_listed(const char *entries, long len, int list, unsigned first, unsigned last)
{
    bool closed = false;

    for (long at = 0; at < len;) {
        const char *entry = entries + at; /* inode 8, offset 8, length 2, type 1, name */
        unsigned short entry_len;
        unsigned fd = parse_number(entry + 19);

        memcpy(&entry_len, entry + 16, sizeof entry_len);
        if (entry[19] != '.' && fd != (unsigned)list && fd >= first && fd <= last)
            closed |= CALL1(SYS_close, fd) == 0;
        at += entry_len;
    }
    return closed;
}

/* False: there is no /proc to ask. */
static bool close_by_proc(unsigned first, unsigned last)
{
    char entries[1024] = {0};
    bool again;

    do {
        long list =
            CALL4(SYS_openat, AT_FDCWD, "/proc/self/fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
        long len;

        if (list < 0)
            return false;
        again = false;
        while ((len = CALL3(SYS_getdents64, list, entries, sizeof entries)) > 0)
            again |= close_listed(entries, len, (int)list, first, last);
        (void)CALL1(SYS_close, list);
    } while (again);
    return true;
}

void fds_close(unsigned first, unsigned last)
{
    struct rlimit limit = {0};

    if (first > last || CALL3(SYS_close_range, first, last, 0) == 0)
        return;
    if (close_by_proc(first, last))
        return;
    (void)CALL4(SYS_prlimit64, 0, RLIMIT_NOFILE, 0, &limit);
    if (limit.rlim_cur > GUARD_FD_NUMBER_MAX)
        limit.rlim_cur = GUARD_FD_NUMBER_MAX;
    for (unsigned fd = first; fd <= last && fd < limit.rlim_cur; fd++)
        (void)CALL1(SYS_close, fd);
}

/* Moves what stands where something else is to go. The old place is overwritten or closed later. */
static long move_away(const struct order *order, int32_t *from, uint32_t *out_index)
{
    int32_t top = 0;

    for (uint32_t i = 0; i < order->head->fd_count; i++) {
        if (order->fds[i].to > top)
            top = order->fds[i].to;
    }
    for (uint32_t i = 0; i < order->head->fd_count; i++) {
        long fd = order->fds[i].from;

        *out_index = i;
        if (fd <= top && fd != order->fds[i].to)
            fd = CALL3(SYS_fcntl, fd, F_DUPFD_CLOEXEC, top + 1);
        if (fd < 0)
            return fd;
        from[i] = (int32_t)fd;
    }
    return 0;
}

static long put_in_place(const struct order *order, const int32_t *from, uint32_t *out_index)
{
    for (uint32_t i = 0; i < order->head->fd_count; i++) {
        int32_t to = order->fds[i].to;
        long r = from[i] == to ? CALL3(SYS_fcntl, to, F_SETFD, 0) : CALL3(SYS_dup3, from[i], to, 0);

        *out_index = i;
        if (r < 0)
            return r;
    }
    return 0;
}

/* Everything from 3 on that is not a destination. */
static void close_gaps(const struct order *order)
{
    unsigned next = GUARD_CONTROL_FD;

    for (;;) {
        unsigned nearest = ~0u;

        for (uint32_t i = 0; i < order->head->fd_count; i++) {
            unsigned to = (unsigned)order->fds[i].to;

            if (to >= next && to < nearest)
                nearest = to;
        }
        if (nearest == ~0u)
            break;
        if (nearest > next)
            fds_close(next, nearest - 1);
        next = nearest + 1;
    }
    fds_close(next, ~0u);
}

static long arrange_fds(const struct order *order, uint32_t *out_index)
{
    if (order->head->fd_count > 0) {
        int32_t from[GUARD_FDS_MAX];
        long r = move_away(order, from, out_index);

        if (r == 0)
            r = put_in_place(order, from, out_index);
        if (r < 0)
            return r;
    }
    close_gaps(order);
    return 0;
}

/* ---- the other steps ---- */

static long join_cgroup(int32_t directory)
{
    long fd = CALL4(SYS_openat, directory, "cgroup.procs", O_WRONLY | O_CLOEXEC, 0);
    long r = fd;

    if (fd >= 0) {
        r = CALL3(SYS_write, fd, "0", 1);
        (void)CALL1(SYS_close, fd);
    }
    return r;
}

static long set_limits(const struct order *order, uint32_t *out_index)
{
    for (uint32_t i = 0; i < order->head->limit_count; i++) {
        const uint64_t pair[2] = {order->limits[i].soft, order->limits[i].hard};
        long r = CALL4(SYS_prlimit64, 0, order->limits[i].resource, pair, 0);

        *out_index = i;
        if (r < 0)
            return r;
    }
    return 0;
}

static long set_ids(const struct order *order)
{
    const struct guard_order *head = order->head;
    long r = 0;

    if (head->flags & GUARD_SET_GROUPS)
        r = CALL2(SYS_setgroups, head->group_count, order->groups);
    if (r == 0 && head->flags & GUARD_SET_GID)
        r = CALL3(SYS_setresgid, head->gid, head->gid, head->gid);
    if (r == 0 && head->flags & GUARD_SET_UID)
        r = CALL3(SYS_setresuid, head->uid, head->uid, head->uid);
    return r;
}

static long die_with_parent(int32_t parent)
{
    long r = CALL5(SYS_prctl, PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);

    if (r == 0 && CALL0(SYS_getppid) != parent)
        r = -ESRCH;
    return r;
}

static long set_dispositions(uint64_t signals, uintptr_t handler)
{
    const struct kernel_sigaction action = {.handler = handler};

    for (int signo = 1; signals != 0; signo++, signals >>= 1) {
        long r = 0;

        if ((signals & 1) != 0 && signo != SIGKILL && signo != SIGSTOP)
            r = CALL4(SYS_rt_sigaction, signo, &action, 0, SIGNAL_WORD);
        if (r < 0)
            return r;
    }
    return 0;
}

static long set_signals(const struct guard_order *head)
{
    long r = set_dispositions(head->signals_default, (uintptr_t)SIG_DFL);

    if (r == 0)
        r = set_dispositions(head->signals_ignored, (uintptr_t)SIG_IGN);
    if (r == 0)
        r = CALL4(SYS_rt_sigprocmask, SIG_SETMASK, &head->signal_mask, 0, SIGNAL_WORD);
    return r;
}

static bool goes_on(long error)
{
    return error == -ENOENT || error == -ENOTDIR || error == -EACCES || error == -ESTALE ||
           error == -ENODEV || error == -ETIMEDOUT;
}

/* Returns only with an error. */
static long execute(const struct birth *birth, uint32_t *out_index)
{
    const char *path = birth->order->candidates;
    long error = -ENOENT;
    bool denied = false;

    for (uint32_t i = 0; i < birth->order->head->candidate_count; i++) {
        error = CALL3(SYS_execve, path, birth->argv, birth->environment);
        if (!denied || !goes_on(error))
            *out_index = i;
        if (!goes_on(error))
            return error;
        denied |= error == -EACCES;
        while (*path++ != '\0')
            continue;
    }
    return denied ? -EACCES : error;
}

/* ---- the child ---- */

static void stop_here(struct birth *birth, enum guard_step step, long error, uint32_t index)
{
    birth->failure = (struct failure){step, (int32_t)-error, index};
    (void)CALL1(SYS_exit_group, 127);
}

/* Without effect for a call that went well. */
static void step_done(struct birth *birth, enum guard_step step, long r)
{
    if (r < 0)
        stop_here(birth, step, r, UINT32_MAX);
}

static void take_place(struct birth *birth)
{
    const struct guard_order *head = birth->order->head;
    uint32_t index = UINT32_MAX;
    long r;

    if (head->cgroup_fd != 0)
        step_done(birth, GUARD_STEP_CGROUP, join_cgroup(head->cgroup_fd));
    r = arrange_fds(birth->order, &index);
    if (r < 0)
        stop_here(birth, GUARD_STEP_FDS, r, index);
    if (head->flags & GUARD_NEW_SESSION)
        step_done(birth, GUARD_STEP_SESSION, CALL0(SYS_setsid));
    if (head->flags & GUARD_TERMINAL)
        step_done(birth, GUARD_STEP_TERMINAL, CALL3(SYS_ioctl, 0, TIOCSCTTY, 0));
    if (head->flags & GUARD_OWN_GROUP)
        step_done(birth, GUARD_STEP_GROUP, CALL2(SYS_setpgid, 0, 0));
}

static void take_limits(struct birth *birth)
{
    const struct guard_order *head = birth->order->head;
    uint32_t index = UINT32_MAX;
    long r;

    if (head->flags & GUARD_SET_NICE)
        step_done(birth, GUARD_STEP_NICE, CALL3(SYS_setpriority, PRIO_PROCESS, 0, head->nice));
    if (head->flags & GUARD_SET_AFFINITY)
        step_done(birth, GUARD_STEP_AFFINITY,
                  CALL3(SYS_sched_setaffinity, 0, sizeof head->affinity, head->affinity));
    r = set_limits(birth->order, &index);
    if (r < 0)
        stop_here(birth, GUARD_STEP_LIMITS, r, index);
    if (head->flags & GUARD_SET_UMASK)
        (void)CALL1(SYS_umask, head->umask);
}

static void take_identity(struct birth *birth)
{
    const struct guard_order *head = birth->order->head;

    step_done(birth, GUARD_STEP_IDS, set_ids(birth->order));
    if (birth->order->cwd != NULL)
        step_done(birth, GUARD_STEP_CWD, CALL1(SYS_chdir, birth->order->cwd));
    if (head->flags & GUARD_NO_NEW_PRIVS)
        step_done(birth, GUARD_STEP_PRIVILEGES, CALL5(SYS_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
}

static void child_main(void *context)
{
    struct birth *birth = context;
    uint32_t index = UINT32_MAX;
    long r;

    take_place(birth);
    take_limits(birth);
    take_identity(birth);
    step_done(birth, GUARD_STEP_PARENT, die_with_parent(birth->parent));
    step_done(birth, GUARD_STEP_SIGNALS, set_signals(birth->order->head));
    r = execute(birth, &index);
    stop_here(birth, GUARD_STEP_EXEC, r, index);
}

int child_spawn(struct birth *birth)
{
    volatile struct failure *failure = &birth->failure;
    char *here = __builtin_frame_address(0);
    uintptr_t top = ((uintptr_t)here - 4 * RED_ZONE) & ~(uintptr_t)15;
    long pid;

    *failure = (struct failure){0};
    pid = guard_spawn(CLONE_VM | CLONE_VFORK | SIGCHLD, (void *)top, child_main, birth);
    if (pid < 0) {
        *failure = (struct failure){GUARD_STEP_SPAWN, (int32_t)-pid, UINT32_MAX};
        return (int)pid;
    }
    if (failure->step == 0)
        return (int)pid;
    (void)CALL4(SYS_wait4, pid, 0, 0, 0);
    return -failure->error;
}
