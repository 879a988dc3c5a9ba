/* SPDX-License-Identifier: MIT */
/*
 * The guard: a program of a few kilobytes that stands between a caller and ONE command.
 *
 *     caller ---- run/guard_wire.h ---- guard ---- command ---- whatever that starts
 *
 *     read the order -> spawn -> STARTED -> RUNNING --stop--> STOPPING --grace--> KILLING
 *            |            |                    |                 |                   |
 *            +------------+--> NOT_STARTED     +-----------------+-------------------+--> ENDED
 *
 * It is executed anew rather than forked, so that it costs the same whatever the caller is, shares
 * nothing with it, and can be single-threaded, a subreaper and the parent that a parent-death
 * signal needs, all of which the caller may not be. It has no C library.
 *
 * What always holds
 *   - The guard does one thing at a time. It listens to its socket in RUNNING and STOPPING;
 *     killing takes no questions, and ends after a bounded time.
 *   - While the command runs, the guard holds no descriptor of it, so no pipe stays open for its
 *     sake, and is in a process group of its own with all signals blocked: what the terminal sends
 *     reaches the command and not the guard.
 *   - ENDED is sent when the command was waited for and what it left is gone, or is told of there.
 *   - The end of the socket, which is the end of the caller, kills everything, unless the order
 *     says otherwise.
 *
 * What a death leaves: if the guard is killed by SIGKILL, the command gets SIGKILL by its
 * parent-death signal (not if it is set-user-ID), a namespace ends as a whole, and the caller sees
 * the end of the socket without ENDED. Other descendants go to the next subreaper above, and live
 * on; that is what a namespace is better at.
 */
#include "guard/guard.h"

#include "guard/bytes.h"
#include "guard/calls.h"
#include "guard/tree.h"
#include "guard/wait.h"

#include <brood/base.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    SAMPLE_FIRST_MS = 20,
    SAMPLE_MAX_MS = 100,
    SAMPLE_SHARE = 10, /* looking takes a tenth of the time at most */
    SIGNAL_MAX = 64,
    AUXILIARY_PAGE_SIZE = 6
};

GUARD_BEGIN(guard_main);

void guard_main(const uintptr_t *stack) __attribute__((used, noreturn));

static void finish(void) __attribute__((noreturn));

static void finish(void)
{
    for (;;)
        (void)CALL1(SYS_exit_group, 0);
}

static void send_event(struct guard_event *event, enum guard_event_kind kind)
{
    event->version = GUARD_VERSION;
    event->kind = kind;
    (void)CALL6(SYS_sendto, GUARD_CONTROL_FD, event, sizeof *event, MSG_NOSIGNAL | MSG_DONTWAIT, 0,
                0);
}

static void refuse(const struct failure *failure) __attribute__((noreturn));

static void refuse(const struct failure *failure)
{
    struct guard_event event = {.step = failure->step, .index = failure->index};

    event.error = failure->error;
    send_event(&event, GUARD_NOT_STARTED);
    finish();
}

/* ---- starting ---- */

/* Whether /proc is there, with our numbers. Asked before the command runs only by those who would
 * rather not start; see tree_open(). */
static bool proc_is_ours(int32_t self)
{
    struct text own = {.len = 0};
    char link[24] = {0};
    long len = CALL4(SYS_readlinkat, AT_FDCWD, "/proc/self", link, sizeof link);

    text_add_number(&own, (uint64_t)self);
    return len == (long)own.len && memcmp(link, own.bytes, own.len) == 0 &&
           CALL3(SYS_faccessat, AT_FDCWD, "/proc/thread-self/children", R_OK) == 0;
}

static void insist(const struct guard *guard, bool obtained, int error)
{
    const struct failure failure = {GUARD_STEP_NAMESPACE, error, UINT32_MAX};

    if ((guard->order.head->flags & GUARD_CONTAIN_OR_FAIL) && !obtained)
        refuse(&failure);
}

/* Whether the command runs in a namespace now. */
static bool start_in_nest(struct guard *guard)
{
    const struct guard_order *head = guard->order.head;
    int r;

    if (head->containment != BROOD_CONTAIN_NAMESPACE || (head->flags & GUARD_LEAVE_LEFTOVERS))
        return false;
    r = nest_start(&guard->nest, &guard->birth);
    if (r < 0)
        refuse(&guard->birth.failure);
    insist(guard, r == 0, r);
    return r == 0;
}

static void start_here(struct guard *guard)
{
    if (guard->order.head->containment != BROOD_CONTAIN_CHILD) {
        if (guard->order.head->flags & GUARD_CONTAIN_OR_FAIL)
            insist(guard, proc_is_ours(guard->self), ENOSYS);
        (void)CALL5(SYS_prctl, PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
    }
    guard->birth.parent = guard->self;
    guard->command = child_spawn(&guard->birth);
    if (guard->command < 0)
        refuse(&guard->birth.failure);
}

/* Lets go of all that is the command's. What the guard needs moves below its socket. */
static void let_go(struct guard *guard)
{
    unsigned next = 0;

    if (guard->caller_fd >= 0) {
        (void)CALL3(SYS_dup3, guard->caller_fd, next, O_CLOEXEC);
        guard->caller_fd = (int)next++;
    }
    if (guard->nest.init != 0) {
        (void)CALL3(SYS_dup3, guard->nest.channel, next, O_CLOEXEC);
        guard->nest.channel = (int)next++;
    }
    fds_close(next, GUARD_CONTROL_FD - 1);
    fds_close(GUARD_CONTROL_FD + 1, ~0u);
    (void)CALL2(SYS_setpgid, 0, 0);
}

static int32_t obtained(const struct guard *guard)
{
    if (guard->nest.init != 0)
        return BROOD_CONTAIN_NAMESPACE;
    if (guard->order.head->containment == BROOD_CONTAIN_CHILD)
        return BROOD_CONTAIN_CHILD;
    return guard->tree_by_proc || guard->own_group ? BROOD_CONTAIN_GROUP : BROOD_CONTAIN_CHILD;
}

static void tell_start(struct guard *guard)
{
    struct guard_event event = {.pid = guard->command};
    bool inside = guard->nest.init != 0;

    if (inside)
        event.pid = tree_second_inside(guard->nest.init);
    event.containment = guard->containment;
    if (inside || (guard->tree_by_proc && guard->containment != BROOD_CONTAIN_CHILD))
        event.flags |= GUARD_TREE_IS_KNOWN;
    if (guard->tree_by_proc)
        event.flags |= GUARD_TREE_IS_MEASURED;
    send_event(&event, GUARD_STARTED);
}

static void start(struct guard *guard)
{
    const struct guard_order *head = guard->order.head;
    int32_t first;

    guard->started_ns = now_ns();
    guard->self = (int32_t)CALL0(SYS_getpid);
    guard->control_fd = GUARD_CONTROL_FD;
    guard->nest.channel = -1;
    guard->caller_fd = head->caller_fd == 0 ? -1 : head->caller_fd;
    guard->own_group = (head->flags & (GUARD_OWN_GROUP | GUARD_NEW_SESSION)) != 0;
    if (!start_in_nest(guard))
        start_here(guard);
    let_go(guard);
    first = guard->nest.init != 0 ? guard->nest.init : guard->command;
    guard->tree_by_proc = tree_open(first, guard->self);
    guard->containment = obtained(guard);
    tell_start(guard);
}

/* ---- clocks ---- */

static void set_clocks(struct guard *guard)
{
    const struct guard_order *head = guard->order.head;
    bool sampled = head->memory_max != 0 || head->cpu_time_max_ms != 0;

    guard->timeout_ns = guard->kill_ns = guard->sample_ns = WAIT_FOREVER;
    if (head->timeout_ms != 0)
        guard->timeout_ns = later_ns(guard->started_ns, head->timeout_ms);
    guard->sample_interval_ms = SAMPLE_FIRST_MS;
    if (sampled && guard->tree_by_proc)
        guard->sample_ns = later_ns(guard->started_ns, SAMPLE_FIRST_MS);
}

static int64_t next_clock(const struct guard *guard)
{
    int64_t next = guard->kill_ns;

    if (guard->phase == PHASE_RUNNING && guard->timeout_ns < next)
        next = guard->timeout_ns;
    return guard->sample_ns < next ? guard->sample_ns : next;
}

static void stop_by_policy(struct guard *guard, enum guard_reason reason)
{
    guard_stop(guard, reason, guard->order.head->stop_signal, guard->order.head->stop_grace_ms);
}

/* Soon again if more than half is used, else later and later. */
static void set_next_sample(struct guard *guard, int64_t began_ns, bool near)
{
    int64_t now = now_ns(), cost_ns = now - began_ns;

    guard->sample_interval_ms += guard->sample_interval_ms / 2;
    if (guard->sample_interval_ms > SAMPLE_MAX_MS)
        guard->sample_interval_ms = SAMPLE_MAX_MS;
    if (near)
        guard->sample_interval_ms = SAMPLE_FIRST_MS;
    guard->sample_ns = later_ns(now, guard->sample_interval_ms);
    if (guard->sample_ns < now + SAMPLE_SHARE * cost_ns)
        guard->sample_ns = now + SAMPLE_SHARE * cost_ns;
}

static void sample(struct guard *guard, int64_t now)
{
    const struct guard_order *head = guard->order.head;
    struct tree_usage usage = tree_measure(head->memory_max != 0, head->cpu_time_max_ms != 0);
    uint64_t memory = usage.pages * guard->page_size;
    int64_t cpu_us = usage.cpu_us + guard->end.tree_user_us + guard->end.tree_system_us;

    if (memory > guard->end.tree_peak_memory)
        guard->end.tree_peak_memory = memory;
    if (head->memory_max != 0 && memory > head->memory_max)
        guard_kill(guard, GUARD_BY_MEMORY);
    else if (head->cpu_time_max_ms != 0 && cpu_us / 1000 >= head->cpu_time_max_ms)
        stop_by_policy(guard, GUARD_BY_CPU_TIME);
    set_next_sample(guard, now, memory > head->memory_max / 2);
}

static void look_at_clocks(struct guard *guard)
{
    int64_t now;

    if (next_clock(guard) == WAIT_FOREVER)
        return;
    now = now_ns();
    if (now >= guard->sample_ns)
        sample(guard, now);
    if (now >= guard->kill_ns)
        guard_kill(guard, GUARD_BY_REQUEST);
    if (now >= guard->timeout_ns)
        stop_by_policy(guard, GUARD_BY_TIMEOUT);
}

/* ---- the caller ---- */

static void caller_is_gone(struct guard *guard)
{
    if (guard->order.head->flags & GUARD_OUTLIVE_CALLER)
        guard->control_fd = guard->caller_fd = -1;
    else
        guard_kill(guard, GUARD_BY_CALLER_GONE);
}

static void obey(struct guard *guard, const struct guard_request *request)
{
    if (request->version != GUARD_VERSION || request->reserved != 0 || request->signal < 0 ||
        request->signal > SIGNAL_MAX)
        return;
    if (request->kind == GUARD_REQUEST_SIGNAL && request->signal != 0 &&
        request->whom <= GUARD_WHOM_TREE)
        guard_signal(guard, request->signal, request->whom, false);
    else if (request->kind == GUARD_REQUEST_STOP && request->signal != 0)
        guard_stop(guard, GUARD_BY_REQUEST, request->signal, request->grace_ms);
    else if (request->kind == GUARD_REQUEST_STOP)
        stop_by_policy(guard, GUARD_BY_REQUEST);
    else if (request->kind == GUARD_REQUEST_KILL)
        guard_kill(guard, GUARD_BY_REQUEST);
}

static void listen_to_caller(struct guard *guard)
{
    struct guard_request request = {0};
    long r = CALL6(SYS_recvfrom, GUARD_CONTROL_FD, &request, sizeof request,
                   MSG_DONTWAIT | MSG_TRUNC, 0, 0);

    if (r == (long)sizeof request)
        obey(guard, &request);
    else if (r == 0 || (r < 0 && r != -EAGAIN && r != -EINTR))
        caller_is_gone(guard);
}

/* ---- watching ---- */

/* What the deaths so far mean. */
static void look_at_deaths(struct guard *guard)
{
    bool nobody_else = guard->containment == BROOD_CONTAIN_CHILD ||
                       (guard->order.head->flags & GUARD_LEAVE_LEFTOVERS) != 0;

    guard_reap(guard);
    if (!guard->ended)
        return;
    if (guard->empty || guard->containment == BROOD_CONTAIN_CHILD ||
        (guard->phase == PHASE_RUNNING && nobody_else))
        guard->phase = PHASE_OVER;
    else if (guard->phase == PHASE_RUNNING)
        guard->phase = PHASE_KILLING;
}

static void watch(struct guard *guard)
{
    for (;;) {
        struct pollfd fds[] = {{.fd = guard->control_fd, .events = POLLIN},
                               {.fd = guard->caller_fd, .events = POLLIN},
                               {.fd = guard->nest.channel, .events = POLLIN}};
        unsigned count = guard->nest.init != 0 ? 3 : 2;
        long ready;

        if (guard->phase >= PHASE_KILLING)
            return;
        ready = wait_for(fds, count, next_clock(guard));
        look_at_deaths(guard);
        if (guard->phase >= PHASE_KILLING)
            return;
        if (ready > 0 && fds[0].revents != 0)
            listen_to_caller(guard);
        if (ready > 0 && fds[1].revents != 0)
            caller_is_gone(guard);
        look_at_clocks(guard);
    }
}

/* The words behind the environment. */
static uint64_t find_page_size(const char *const *environment)
{
    const uintptr_t *word;

    while (*environment != NULL)
        environment++;
    word = (const uintptr_t *)(const void *)(environment + 1);
    while (word[0] != 0 && word[0] != AUXILIARY_PAGE_SIZE)
        word += 2;
    return word[0] == 0 ? 4096 : word[1];
}

static void take_words(struct guard *guard, const uintptr_t *stack)
{
    char *const *argv = (char *const *)(const void *)(stack + 1);

    guard->birth.order = &guard->order;
    guard->birth.argv = argv;
    guard->birth.environment = argv + stack[0] + 1;
}

void guard_main(const uintptr_t *stack)
{
    static struct guard guard; /* nothing but zeros is in the program's file */
    int r;

    wait_prepare();
    r = order_read(&guard.order);
    if (r < 0)
        refuse(&(struct failure){GUARD_STEP_ORDER, -r, UINT32_MAX});
    take_words(&guard, stack);
    if (guard.order.head->memory_max != 0)
        guard.page_size = find_page_size((const char *const *)guard.birth.environment);
    start(&guard);
    set_clocks(&guard);
    watch(&guard);
    if (guard.phase == PHASE_KILLING)
        guard_clean(&guard);
    guard_close_nest(&guard);
    guard.end.wall_us = (now_ns() - guard.started_ns) / 1000;
    send_event(&guard.end, GUARD_ENDED);
    finish();
}
