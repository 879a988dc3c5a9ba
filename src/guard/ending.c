/* SPDX-License-Identifier: MIT */
/*
 * How a command ends: reaping, signals, the stop policy, and killing what is left.
 *
 * There are three kinds of reach, and each function here is written for them.
 *   - A namespace: its init is asked, and what it tells is taken in.
 *   - The tree: all that /proc shows below the guard, which is the subreaper.
 *   - Neither: the command, and its process group if it has one of its own. The group is killed
 *     while the command is still a zombie, because until then nobody else can have its number.
 *
 * The stop policy gives the whole tree its grace: also the children of a command that is dead by
 * then, as they were asked too. Killing ends when nobody is left, or when for CLEAN_ROUNDS nobody
 * has died of it, and after CLEAN_MAX_MS in any case; what is alive then sleeps in the kernel, or
 * belongs to a user whom the guard may not signal. Rounds are counted and not time, because where
 * thousands want to run, those who are to die get as few turns as the guard.
 *
 * A death of the guard in the middle: see guard.c.
 */
#include "guard/calls.h"
#include "guard/guard.h"
#include "guard/tree.h"
#include "guard/wait.h"

#include <brood/base.h>

#include <errno.h>
#include <signal.h>
#include <sys/wait.h>

enum { ROUND_MS = 20, CLEAN_ROUNDS = 150, CLEAN_MAX_MS = 60000, US_PER_S = 1000000, KIB = 1024 };

static int64_t microseconds(struct timeval time)
{
    return (int64_t)time.tv_sec * US_PER_S + time.tv_usec;
}

static bool is_alone(const struct guard *guard)
{
    return guard->containment == BROOD_CONTAIN_CHILD;
}

/* ---- reaping ---- */

static void count_usage(struct guard_event *end, const struct rusage *usage)
{
    uint64_t peak = (uint64_t)usage->ru_maxrss * KIB;

    end->tree_user_us += microseconds(usage->ru_utime);
    end->tree_system_us += microseconds(usage->ru_stime);
    if (peak > end->tree_peak_rss)
        end->tree_peak_rss = peak;
}

static void note_end(struct guard *guard, int32_t status, const struct rusage *usage)
{
    guard->ended = true;
    guard->end.status = status;
    guard->end.command_user_us = microseconds(usage->ru_utime);
    guard->end.command_system_us = microseconds(usage->ru_stime);
    guard->end.command_peak_rss = (uint64_t)usage->ru_maxrss * KIB;
}

/* Where the group is all there is: before its leader is reaped. */
static void take_group_along(const struct guard *guard)
{
    siginfo_t info = {.si_pid = 0};

    if (guard->tree_by_proc || !guard->own_group || guard->ended || is_alone(guard) ||
        (guard->order.head->flags & GUARD_LEAVE_LEFTOVERS))
        return;
    (void)CALL5(SYS_waitid, P_PID, guard->command, &info, WEXITED | WNOHANG | WNOWAIT, 0);
    if (info.si_pid == guard->command)
        (void)CALL2(SYS_kill, -guard->command, SIGKILL);
}

static void reap_children(struct guard *guard)
{
    struct rusage usage = {0};
    int status = 0;
    long pid;

    take_group_along(guard);
    while ((pid = CALL4(SYS_wait4, -1, &status, WNOHANG | __WALL, &usage)) > 0) {
        count_usage(&guard->end, &usage);
        if (pid == guard->command && !guard->ended)
            note_end(guard, status, &usage);
        else if ((guard->phase == PHASE_KILLING || guard->ended) && WIFSIGNALED(status) &&
                 WTERMSIG(status) == SIGKILL)
            guard->end.leftovers_killed++;
    }
    guard->empty = pid == -ECHILD;
}

static void hear_nest(struct guard *guard)
{
    struct nest_news news = {0};
    int r;

    while ((r = nest_hear(&guard->nest, &news)) > 0) {
        if (news.kind == NEST_ENDED)
            note_end(guard, news.status, &news.usage);
        if (news.kind == NEST_EMPTY || news.kind == NEST_KILLING)
            guard->end.leftovers_killed = news.killed;
        guard->empty |= news.kind == NEST_EMPTY;
    }
    if (r < 0 && !guard->empty) { /* the init was killed, and so everything is */
        if (!guard->ended)
            guard->end.flags |= GUARD_STATUS_UNKNOWN;
        guard->ended = guard->empty = true;
    }
}

void guard_reap(struct guard *guard)
{
    if (guard->nest.init != 0)
        hear_nest(guard);
    else
        reap_children(guard);
}

/* ---- signals ---- */

static void signal_here(const struct guard *guard, int32_t pid, int32_t signal, bool wake)
{
    if (guard->ended) /* its number may have a new owner */
        return;
    (void)CALL2(SYS_kill, pid, signal);
    if (wake)
        (void)CALL2(SYS_kill, pid, SIGCONT);
}

void guard_signal(const struct guard *guard, int32_t signal, uint32_t whom, bool wake)
{
    if (guard->nest.init != 0) {
        const struct nest_question question = {NEST_ASK_SIGNAL, signal, whom, wake};

        nest_ask(&guard->nest, &question);
    } else if (whom == GUARD_WHOM_COMMAND || is_alone(guard)) {
        signal_here(guard, guard->command, signal, wake);
    } else if (guard->tree_by_proc) {
        tree_signal(signal, wake);
    } else {
        signal_here(guard, guard->own_group ? -guard->command : guard->command, signal, wake);
    }
}

void guard_kill(struct guard *guard, enum guard_reason reason)
{
    if (guard->phase == PHASE_RUNNING)
        guard->end.reason = reason;
    if (guard->phase < PHASE_KILLING)
        guard->phase = PHASE_KILLING;
}

void guard_stop(struct guard *guard, enum guard_reason reason, int32_t signal, int64_t grace_ms)
{
    if (guard->phase != PHASE_RUNNING)
        return;
    if (signal == 0 || signal == SIGKILL) {
        guard_kill(guard, reason);
        return;
    }
    guard->phase = PHASE_STOPPING;
    guard->end.reason = reason;
    guard->kill_ns = later_ns(now_ns(), grace_ms);
    guard_signal(guard, signal, GUARD_WHOM_TREE, true);
}

/* ---- killing ---- */

static bool is_clean(const struct guard *guard)
{
    return guard->empty || (guard->ended && is_alone(guard));
}

/* Takes in who dies until nobody is left or UNTIL_NS. */
static void await_deaths(struct guard *guard, int64_t until_ns)
{
    do {
        struct pollfd fd = {.fd = guard->nest.channel, .events = POLLIN};

        (void)wait_for(&fd, guard->nest.init != 0, until_ns);
        guard_reap(guard);
    } while (!is_clean(guard) && now_ns() < until_ns);
}

static void kill_round(const struct guard *guard)
{
    if (guard->nest.init != 0) {
        const struct nest_question question = {.kind = NEST_ASK_CLEAN};

        nest_ask(&guard->nest, &question);
    } else if (guard->tree_by_proc && !is_alone(guard)) {
        tree_kill();
    } else {
        guard_signal(guard, SIGKILL, GUARD_WHOM_TREE, false);
    }
}

static void count_survivors(struct guard *guard)
{
    unsigned count = guard->nest.init != 0 ? 0 : tree_count_children();

    if (!guard->ended) {
        guard->end.flags |= GUARD_STATUS_UNKNOWN;
        count -= count > 0;
    } else if (count == 0) {
        count = 1;
    }
    guard->end.leftovers_alive = count;
}

void guard_clean(struct guard *guard)
{
    const int64_t last_ns = later_ns(now_ns(), CLEAN_MAX_MS);
    unsigned in_vain = 0;

    while (!is_clean(guard) && in_vain < CLEAN_ROUNDS && now_ns() < last_ns) {
        uint32_t before = guard->end.leftovers_killed;

        kill_round(guard);
        await_deaths(guard, later_ns(now_ns(), ROUND_MS));
        in_vain = guard->end.leftovers_killed > before ? 0 : in_vain + 1;
    }
    if (!is_clean(guard))
        count_survivors(guard);
}

void guard_close_nest(struct guard *guard)
{
    struct rusage usage = {0};
    unsigned rounds = 0;
    long r;

    if (guard->nest.init == 0)
        return;
    (void)CALL2(SYS_kill, guard->nest.init, SIGKILL);
    while ((r = CALL4(SYS_wait4, guard->nest.init, 0, WNOHANG | __WALL, &usage)) == 0 &&
           rounds++ < CLEAN_ROUNDS)
        (void)wait_for(NULL, 0, later_ns(now_ns(), ROUND_MS));
    if (r > 0) {
        count_usage(&guard->end, &usage);
        guard->end.leftovers_alive = 0; /* an init outlives everybody in its namespace */
    }
}
