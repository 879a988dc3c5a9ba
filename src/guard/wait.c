/* SPDX-License-Identifier: MIT */
/*
 * Waiting. All signals are blocked but SIGCHLD within ppoll(), whose handler does nothing: that it
 * ran is why ppoll() returns. So the end of a child is never missed between a look and the next
 * wait, and no descriptor is needed for it. SIGCHLD gets its handler even if the caller ignored
 * it, for then the kernel would reap in our place.
 *
 * A death leaves nothing: the command's mask and dispositions are set in child.c.
 */
#include "guard/wait.h"

#include "guard/calls.h"

#include <signal.h>
#include <stddef.h>
#include <time.h>

GUARD_RESTORER_CODE;

enum { NS_PER_MS = 1000000, NS_PER_S = 1000000000, SIGNAL_WORD = sizeof(uint64_t) };

static const uint64_t all_signals = ~(uint64_t)0;
static const uint64_t all_but_children = ~((uint64_t)1 << (SIGCHLD - 1));

int64_t now_ns(void)
{
    struct timespec now = {0};

    (void)CALL2(SYS_clock_gettime, CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * NS_PER_S + now.tv_nsec;
}

int64_t later_ns(int64_t start_ns, int64_t ms)
{
    if (ms < 0 || ms > (WAIT_FOREVER - start_ns) / NS_PER_MS)
        return WAIT_FOREVER;
    return start_ns + ms * NS_PER_MS;
}

static void child_ended(int signo)
{
    (void)signo;
}

void wait_prepare(void)
{
    const struct {
        void (*handler)(int);
        unsigned long flags;
        void (*restorer)(void);
        uint64_t mask;
    } action = {child_ended, GUARD_RESTORER_FLAG | SA_NOCLDSTOP, guard_restorer, ~(uint64_t)0};

    (void)CALL4(SYS_rt_sigprocmask, SIG_SETMASK, &all_signals, 0, SIGNAL_WORD);
    (void)CALL4(SYS_rt_sigaction, SIGCHLD, &action, 0, SIGNAL_WORD);
}

long wait_for(struct pollfd *fds, unsigned count, int64_t deadline_ns)
{
    struct timespec left = {0};
    int64_t ns;

    if (deadline_ns == WAIT_FOREVER)
        return CALL5(SYS_ppoll, fds, count, 0, &all_but_children, SIGNAL_WORD);
    ns = deadline_ns - now_ns();
    if (ns > 0) {
        left.tv_sec = ns / NS_PER_S;
        left.tv_nsec = ns % NS_PER_S;
    }
    return CALL5(SYS_ppoll, fds, count, &left, &all_but_children, SIGNAL_WORD);
}
