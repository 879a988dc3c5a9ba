/* SPDX-License-Identifier: MIT */
/*
 * The life of a zygote: becoming one, its loop, its end.
 *
 *     forked ---> (namespace: the outer guardian forks pid 1 and waits for it) ---> hello ---> loop
 *     loop: births from the channel, deaths from SIGCHLD, limits by time
 *     end:  the caller is dead, the channel's other end is shut, or the only child has ended
 *
 * All signals are blocked for good: a Ctrl-C reaches the caller, and what it does then decides.
 * An idle zygote sleeps in one poll without a timeout. Events that the caller does not take yet
 * wait here in order; births are read only while there is room to tell how they end.
 *
 * PDEATHSIG of a zygote is SIGCONT, which does nothing but to let it run if somebody stopped it;
 * what tells that the caller is dead is the pidfd. SIGKILL there would be wrong: nobody would
 * sweep. Only pid 1 of a namespace has it, towards its outer guardian, for all of the namespace
 * ends with it.
 *
 * A death of the zygote: see zygote.h. Of the outer guardian: pid 1 dies by PDEATHSIG, and with
 * it the namespace. A death between fork and hello: the caller sees the channel's end or the
 * pidfd of the process that it forked.
 */
#include "base/clock.h"
#include "base/fault.h"
#include "base/memory.h"
#include "run/zygote_inside.h"
#include "sys/kernel.h"
#include "sys/namespace.h"
#include "sys/sockets.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stddef.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { RETRY_MS = 5, ROOM_STEP = 32, POLL_FAILURES_MAX = 100 };

/* ---- events to the caller ---- */

/* Room for what one more birth may need: its BORN and DIED, beside those of the living. */
static bool make_room(struct nest *nest)
{
    unsigned events = nest->event_count + nest->child_count + 2;
    void *more;

    if (nest->child_count + 1 > nest->child_size) {
        more =
            brood__realloc(nest->children, (nest->child_size + ROOM_STEP) * sizeof *nest->children);
        if (more == NULL)
            return false;
        nest->children = more;
        nest->child_size += ROOM_STEP;
    }
    if (events > nest->event_size) {
        more = brood__realloc(nest->events, (events + ROOM_STEP) * sizeof *nest->events);
        if (more == NULL)
            return false;
        nest->events = more;
        nest->event_size = events + ROOM_STEP;
    }
    return true;
}

void brood__nest_queue(struct nest *nest, const struct zygote_event *event)
{
    nest->events[nest->event_count++] = *event;
}

/* 0 or -errno; -EAGAIN when the channel is full. */
static int send_event(struct nest *nest, struct zygote_event *event)
{
    const int pidfd = event->pidfd;
    int r;

    event->pidfd = -1;
    BROOD_MARK("zygote before event");
    r = brood__channel_send(nest->setup.channel, event, sizeof *event, &pidfd, pidfd < 0 ? 0 : 1,
                            false);
    BROOD_MARK("zygote after event");
    if (r < 0)
        event->pidfd = pidfd;
    else
        brood__fd_close(pidfd);
    return r;
}

/* What cannot be sent now is sent when the channel has room, or, when something else is short
 * (memory, descriptors in flight), a little later. */
static void send_events(struct nest *nest)
{
    unsigned sent = 0;
    int r = 0;

    while (sent < nest->event_count) {
        r = send_event(nest, &nest->events[sent]);
        if (r < 0)
            break;
        sent++;
    }
    nest->event_count -= sent;
    if (sent > 0 && nest->event_count > 0)
        memmove(nest->events, nest->events + sent, nest->event_count * sizeof *nest->events);
    nest->retry_at = r < 0 && r != -EAGAIN ? deadline_in(RETRY_MS) : NEVER;
}

/* ---- births ---- */

static bool is_whole(const struct zygote_birth *birth, int64_t len)
{
    const size_t head = offsetof(struct zygote_birth, payload);

    return len >= (int64_t)head && birth->payload_len <= ZYGOTE_PAYLOAD_MAX &&
           len == (int64_t)(head + birth->payload_len);
}

/* The guardian of a process forks once: what it holds of the caller's would only keep ends of
 * pipes open that the caller and the child mean to close. */
static void let_go_of_everything(const struct nest *nest)
{
    int keep[] = {nest->setup.channel, nest->setup.caller, nest->signals, nest->self};
    const unsigned count = sizeof keep / sizeof keep[0];
    unsigned first = 0;

    for (unsigned i = 0; i < count; i++) {
        unsigned next = UINT_MAX;

        for (unsigned k = 0; k < count; k++) {
            if ((unsigned)keep[k] >= first && (unsigned)keep[k] < next)
                next = (unsigned)keep[k];
        }
        if (next > first)
            (void)brood__fd_close_range(first, next - 1);
        first = next + 1;
    }
    (void)brood__fd_close_range(first, UINT_MAX);
}

/* False: the caller is gone. */
static bool take_birth(struct nest *nest)
{
    struct zygote_birth birth;
    int fds[ZYGOTE_FDS_MAX];
    unsigned fd_count = ZYGOTE_FDS_MAX;
    int64_t len;

    memset(&birth, 0, offsetof(struct zygote_birth, payload));
    len = brood__channel_receive(nest->setup.channel, &birth, sizeof birth, fds, &fd_count, false);
    if (len <= 0)
        return len < 0 && len != -EPIPE;
    BROOD_MARK("zygote has birth");
    if (is_whole(&birth, len)) {
        brood__nest_bear(nest, &birth, fds, fd_count);
        send_events(nest);
        if (nest->setup.single && nest->event_count == 0)
            let_go_of_everything(nest);
        return true;
    }
    for (unsigned i = 0; i < fd_count; i++)
        brood__fd_close(fds[i]);
    return true;
}

/* ---- the loop ---- */

static void drop_signals(const struct nest *nest)
{
    char dropped[1024];

    while (brood__fd_read(nest->signals, dropped, sizeof dropped) == (int64_t)sizeof dropped)
        continue;
}

/* One round. False: it is over. */
static bool live_on(struct nest *nest, int64_t look_at)
{
    const bool room = make_room(nest);
    struct pollfd fds[] = {
        {.fd = nest->setup.channel, .events = room ? POLLIN : 0},
        {.fd = nest->setup.caller, .events = POLLIN},
        {.fd = nest->signals, .events = POLLIN},
    };
    int64_t deadline = look_at < nest->retry_at ? look_at : nest->retry_at;

    if (nest->event_count > 0 && nest->retry_at == NEVER)
        fds[0].events |= POLLOUT;
    if (!room && nest->event_count == 0)
        deadline = deadline_in(RETRY_MS);
    if (brood__fd_wait(fds, 3, deadline) < 0)
        return ++nest->poll_failures < POLL_FAILURES_MAX;
    nest->poll_failures = 0;
    if (fds[1].revents != 0 || (fds[0].revents & (POLLHUP | POLLERR)) != 0)
        return false;
    if ((fds[0].revents & POLLIN) != 0 && !take_birth(nest))
        return false;
    if (fds[2].revents != 0)
        drop_signals(nest);
    return true;
}

static void live(struct nest *nest)
{
    int64_t look_at = NEVER;

    while (live_on(nest, look_at)) {
        look_at = brood__limits_enforce(nest);
        brood__nest_bury(nest);
        send_events(nest);
        if (nest->over && nest->event_count == 0)
            return;
    }
}

/* ---- becoming one ---- */

static int say_hello(const struct zygote_setup *setup, int error, int containment, int pidfd)
{
    struct zygote_hello hello = {.kind = ZYGOTE_HELLO, .error = error, .containment = containment};
    int r;

    BROOD_MARK("zygote before hello");
    r = brood__channel_send(setup->channel, &hello, sizeof hello, &pidfd, pidfd < 0 ? 0 : 1, true);
    BROOD_MARK("zygote after hello");
    return r;
}

static void give_up(const struct zygote_setup *setup, int error) __attribute__((noreturn));
static void give_up(const struct zygote_setup *setup, int error)
{
    (void)say_hello(setup, error, 0, -1);
    brood__exit_now(1);
}

/* In the outer guardian: nothing but to be there until pid 1 has ended. */
static void await_inner(pid_t inner) __attribute__((noreturn));
static void await_inner(pid_t inner)
{
    (void)brood__fd_close_range(0, UINT_MAX);
    (void)brood__wait(inner, NULL, 0, NULL);
    brood__exit_now(0);
}

/* Returns in the process that is to be the zygote, with the containment it has. */
static int enter_namespace(const struct zygote_setup *setup)
{
    int r = brood__namespace_enter();

    if (r == -ENOTRECOVERABLE)
        give_up(setup, ZYGOTE_AGAIN_AS_GROUP);
    if (r < 0)
        return BROOD_CONTAIN_GROUP;
    BROOD_MARK("outer before fork");
    r = brood__fork();
    if (r < 0)
        give_up(setup, r);
    if (r > 0)
        await_inner(r);
    (void)brood__control(PR_SET_PDEATHSIG, SIGKILL);
    return BROOD_CONTAIN_NAMESPACE;
}

static int take_care_of_orphans(struct nest *nest)
{
    if (nest->setup.containment == BROOD_CONTAIN_CHILD)
        return 0;
    /* Out of the caller's group, so that what kills the group leaves us to sweep. */
    (void)brood__group_set(0, 0);
    if (nest->setup.containment == BROOD_CONTAIN_NAMESPACE)
        return 0;
    return brood__control(PR_SET_CHILD_SUBREAPER, 1);
}

static int open_own(struct nest *nest)
{
    sigset_t child;
    void *memory = NULL;
    int r = take_care_of_orphans(nest);

    if (r < 0)
        return r;
    (void)sigemptyset(&child);
    (void)sigaddset(&child, SIGCHLD);
    nest->signals = brood__fd_signals(&child);
    if (nest->signals < 0)
        return nest->signals;
    nest->self = brood__pidfd_open(getpid());
    if (nest->self < 0)
        return nest->self;
    /* Without it the peak memory of children is unknown, and that is all. */
    if (brood__memory_map_family(&memory, ZYGOTE_SLOTS * sizeof *nest->start_rss) == 0)
        nest->start_rss = memory;
    return 0;
}

void brood__zygote_become(const struct zygote_setup *setup)
{
    struct nest nest = {.setup = *setup, .retry_at = NEVER};
    int r;

    brood__fault_role(ROLE_ZYGOTE);
    BROOD_MARK("zygote forked");
    brood__signals_reset();
    (void)brood__control(PR_SET_NAME, (unsigned long)(uintptr_t) "brood: zygote");
    (void)brood__control(PR_SET_PDEATHSIG, SIGCONT);
    if (setup->containment == BROOD_CONTAIN_NAMESPACE)
        nest.setup.containment = enter_namespace(setup);
    r = open_own(&nest);
    if (r < 0)
        give_up(setup, r);
    r = say_hello(setup, 0, nest.setup.containment,
                  nest.setup.containment == BROOD_CONTAIN_NAMESPACE ? nest.self : -1);
    if (r < 0)
        brood__exit_now(1); /* the caller is gone, or sees us go and knows no more */
    live(&nest);
    if (!nest.over)
        brood__nest_kill_all(&nest);
    brood__exit_now(0);
}
