/* SPDX-License-Identifier: MIT */
/*
 * The caller's side of a zygote: starting, asking, listening, stopping.
 *
 *     start: channel, pidfd of ourselves, fork (here or by the server), hello
 *     stop:  shut the channel, which makes it clean up and end; after a grace SIGKILL; reap
 *
 * Signals are blocked around the fork, so that no handler of the program runs in the zygote. Our
 * ends are registered as private: zygotes forked later close their copies.
 *
 * Whether the zygote lives is told by its pidfd, and only by that: somebody else's fork at the
 * wrong moment may hold a copy of its end of the channel, so the channel's end can be missing. It
 * is reaped through the pidfd too: if the program ignores SIGCHLD or has waited for all of its
 * children, there is nothing left to reap, and no other child is taken for it.
 *
 * A death of the caller at any line is seen by the zygote, if it exists: it holds a pidfd that
 * was opened before. A death of the zygote during the start is an error of the start.
 */
#include "run/zygote.h"

#include <brood/base.h>

#include "base/clock.h"
#include "base/fault.h"
#include "run/code_map.h"
#include "run/server.h"
#include "run/zygote_inside.h"
#include "sys/kernel.h"
#include "sys/proc.h"
#include "sys/self.h"
#include "sys/sockets.h"

#include <errno.h>
#include <poll.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { STOP_GRACE_MS = 6000, STOP_LAST_MS = 2000, LATE_MS = 500 };

/* ---- ending ---- */

static void end_one(int pidfd, int64_t grace_ms)
{
    if (pidfd < 0)
        return;
    (void)brood__pidfd_signal(pidfd, SIGCONT); /* it cannot clean up while it is stopped */
    if (!brood__fd_await(pidfd, deadline_in(grace_ms))) {
        (void)brood__pidfd_signal(pidfd, SIGKILL);
        (void)brood__fd_await(pidfd, deadline_in(STOP_LAST_MS));
    }
    if (brood__fd_await(pidfd, 0))
        (void)brood__pidfd_reap(pidfd);
    brood__private_remove(pidfd);
    brood__fd_close(pidfd);
}

/* ---- starting ---- */

/* What a start has in hands. */
struct launch {
    struct zygote_setup setup;
    int our_end;
    int first; /* pidfd of what was forked */
    struct code_map *map;
};

static int become_or_watch(struct launch *launch, pid_t pid, const sigset_t *mask)
{
    if (pid == 0)
        brood__zygote_become(&launch->setup); /* our end is private: closed by the fork */
    brood__mask_restore(mask);
    if (pid < 0)
        return pid;
    launch->first = brood__pidfd_open(pid);
    if (launch->first >= 0)
        return 0;
    if (launch->first == -ESRCH) /* dead, and somebody else has waited for it */
        return -EAGAIN;
    (void)brood__kill(pid, SIGKILL);
    (void)brood__wait(pid, NULL, 0, NULL);
    return launch->first;
}

static int fork_here(struct launch *launch, bool allow_threads)
{
    sigset_t mask;
    int r;

    /* The child of a single one is as new as the map would be: its functions are where they are
     * here. */
    if (!launch->setup.single) {
        launch->map = brood__code_map_new();
        if (launch->map == NULL)
            return -ENOMEM;
    }
    r = brood__mask_block_all(&mask);
    if (r < 0)
        return r;
    BROOD_MARK("caller before fork");
    r = brood__fork_guarded(allow_threads);
    return become_or_watch(launch, r, &mask);
}

static int fork_there(struct launch *launch)
{
    brood__flush_output(); /* what was printed before stands before what the children print */
    return brood__server_make(&launch->setup, &launch->first, &launch->map);
}

static int await_hello(const struct launch *launch, struct zygote_hello *hello, int *out_pidfd)
{
    struct pollfd fds[] = {{.fd = launch->our_end, .events = POLLIN},
                           {.fd = launch->first, .events = POLLIN}};
    unsigned count = 1;
    int64_t r;

    while ((r = brood__fd_wait(fds, 2, deadline_in(LATE_MS))) == 0)
        (void)brood__pidfd_signal(launch->first, SIGCONT); /* somebody stopped it */
    if (r < 0)
        return (int)r;
    r = brood__channel_receive(launch->our_end, hello, sizeof *hello, out_pidfd, &count, false);
    if (r != (int64_t)sizeof *hello || hello->kind != ZYGOTE_HELLO)
        return r < 0 && r != -EAGAIN ? (int)r : -EAGAIN; /* it was killed while it started */
    if (hello->error != 0)
        return hello->error;
    if (count == 0)
        *out_pidfd = -1;
    return hello->containment == BROOD_CONTAIN_NAMESPACE && count == 0 ? -EMFILE : 0;
}

/* Until nobody has the other end any more. It may be with a process that we have no pidfd of,
 * because the one that was to send it was killed. */
static void await_end_of_channel(int fd)
{
    const int64_t deadline = deadline_in(STOP_LAST_MS);
    char dropped[sizeof(struct zygote_event)];

    brood__channel_finish(fd);
    while (brood__fd_await(fd, deadline)) {
        int64_t r = brood__channel_receive(fd, dropped, sizeof dropped, NULL, NULL, false);

        if (r == 0 || (r < 0 && r != -EAGAIN && r != -EMSGSIZE && r != -ENOMEM))
            return;
    }
}

/* Ends whoever has the other end, and waits for that. */
static void abandon(struct launch *launch)
{
    if (launch->first >= 0)
        (void)brood__pidfd_signal(launch->first, SIGCONT);
    await_end_of_channel(launch->our_end);
    end_one(launch->first, STOP_GRACE_MS);
    brood__private_remove(launch->our_end);
    launch->our_end = brood__fd_close(launch->our_end);
    launch->first = -1;
    brood__code_map_free(launch->map);
    launch->map = NULL;
}

static int keep(struct zygote *zygote, const struct launch *launch, int containment, int pidfd)
{
    *zygote = (struct zygote){.channel = launch->our_end,
                              .pidfd = pidfd >= 0 ? pidfd : launch->first,
                              .outer = pidfd >= 0 ? launch->first : -1,
                              .containment = containment,
                              .map = launch->map};
    if (brood__private_add(zygote->pidfd) == 0 &&
        (zygote->outer < 0 || brood__private_add(zygote->outer) == 0))
        return 0;
    brood__zygote_stop(zygote);
    return -ENOMEM;
}

/* One start at a time until nobody but the zygote has its end of the channel, and ours is private:
 * another zygote forked in between would keep both. */
static struct own_lock starting = OWN_LOCK;

/* SETUP's channel is set here, and closed. With the lock. */
static int fork_with_channel(struct launch *launch, const struct zygote_options *options)
{
    int ends[2];
    int r = brood__channel_new(ends);

    if (r < 0)
        return r;
    r = brood__private_add(ends[0]);
    if (r < 0) {
        brood__fd_close(ends[0]);
        brood__fd_close(ends[1]);
        return r;
    }
    launch->our_end = ends[0];
    launch->setup.channel = ends[1];
    r = options->start == BROOD_START_FORKSERVER ? fork_there(launch)
                                                 : fork_here(launch, options->allow_threads);
    brood__fd_close(ends[1]);
    return r;
}

static int try_start(struct zygote *zygote, struct launch *launch,
                     const struct zygote_options *options)
{
    struct zygote_hello hello = {0};
    int pidfd = -1;
    int r;

    brood__own_lock(&starting, NULL);
    r = fork_with_channel(launch, options);
    brood__own_unlock(&starting);
    if (launch->our_end < 0)
        return r;
    if (r == 0)
        r = await_hello(launch, &hello, &pidfd);
    if (r == 0)
        return keep(zygote, launch, hello.containment, pidfd);
    brood__fd_close(pidfd);
    abandon(launch);
    return r;
}

int brood__zygote_start(struct zygote *zygote, const struct zygote_options *options)
{
    struct launch launch = {.our_end = -1, .first = -1};
    struct zygote_setup *setup = &launch.setup;
    int r;

    *setup = (struct zygote_setup){.containment = options->containment,
                                   .single = options->single,
                                   .context = options->context};
    (void)brood__control(PR_GET_NAME, (unsigned long)(uintptr_t)setup->name);
    setup->caller = brood__pidfd_open(getpid());
    if (setup->caller < 0)
        return setup->caller;
    r = try_start(zygote, &launch, options);
    if (r == ZYGOTE_AGAIN_AS_GROUP)
        setup->containment = BROOD_CONTAIN_GROUP;
    if (r == ZYGOTE_AGAIN_AS_GROUP || r == ZYGOTE_AGAIN)
        r = try_start(zygote, &launch, options);
    brood__fd_close(setup->caller);
    return r == ZYGOTE_AGAIN ? -EAGAIN : r;
}

/* ---- asking and listening ---- */

int brood__zygote_bear(struct zygote *zygote, const struct zygote_birth *birth, const int *fds,
                       unsigned fd_count)
{
    const size_t len = offsetof(struct zygote_birth, payload) + birth->payload_len;
    int r;

    BROOD_MARK("caller before birth");
    r = brood__channel_send(zygote->channel, birth, len, fds, fd_count, false);
    BROOD_MARK("caller after birth");
    return r;
}

static void complete_birth(const struct zygote *zygote, struct zygote_event *event, int pidfd)
{
    pid_t pid;

    event->pidfd = pidfd;
    if (pidfd < 0) {
        event->error = -EMFILE;
        return;
    }
    if (zygote->containment != BROOD_CONTAIN_NAMESPACE)
        return;
    pid = brood__proc_pidfd_pid(pidfd);
    event->pid = pid > 0 ? pid : 0;
}

/* 1: an event; 0: none now; -EPIPE: no more will come. */
static int receive_event(const struct zygote *zygote, struct zygote_event *out_event)
{
    struct zygote_event event;
    unsigned count = 1;
    int pidfd = -1;
    int64_t r =
        brood__channel_receive(zygote->channel, &event, sizeof event, &pidfd, &count, false);

    if (r == -EAGAIN)
        return 0;
    if (r != (int64_t)sizeof event) {
        if (r > 0 && count > 0)
            brood__fd_close(pidfd);
        return r > 0 || r == -EMSGSIZE ? 0 : r == 0 ? -EPIPE : (int)r;
    }
    if (count == 0)
        pidfd = -1;
    if (event.kind == ZYGOTE_BORN)
        complete_birth(zygote, &event, pidfd);
    else
        event.pidfd = brood__fd_close(pidfd);
    *out_event = event;
    return 1;
}

int brood__zygote_next(struct zygote *zygote, int64_t deadline, struct zygote_event *out_event)
{
    struct pollfd fds[] = {{.fd = zygote->channel, .events = POLLIN},
                           {.fd = zygote->pidfd, .events = POLLIN}};
    bool dead = false;

    for (;;) {
        int r = receive_event(zygote, out_event);

        if (r > 0)
            return 1;
        if (r == -EPIPE || (r == 0 && dead)) {
            *out_event = (struct zygote_event){.kind = ZYGOTE_GONE, .pidfd = -1};
            return 1;
        }
        if (r < 0)
            return r;
        r = brood__fd_wait(fds, 2, deadline);
        if (r <= 0)
            return r;
        dead = fds[1].revents != 0; /* but what it sent before comes first */
    }
}

int brood__zygote_function(const struct zygote *zygote, uintptr_t fn, uintptr_t *out_there)
{
    if (zygote->map == NULL) {
        *out_there = fn;
        return 0;
    }
    return brood__code_map_find(zygote->map, fn, out_there);
}

/* ---- stopping ---- */

void brood__zygote_stop(struct zygote *zygote)
{
    int saved = errno;

    if (zygote->channel >= 0) {
        BROOD_MARK("caller before stop");
        brood__channel_finish(zygote->channel);
        end_one(zygote->pidfd, STOP_GRACE_MS);
        end_one(zygote->outer, STOP_GRACE_MS);
        await_end_of_channel(zygote->channel); /* a newborn has it until it is tied to the zygote */
        brood__private_remove(zygote->channel);
        brood__fd_close(zygote->channel);
        brood__code_map_free(zygote->map);
    }
    *zygote = ZYGOTE_NONE;
    errno = saved;
}

void brood__zygote_drop(struct zygote *zygote)
{
    /* The descriptors are not closed: where brood forked they are, and their numbers may be those
     * of other files by now; elsewhere they are close-on-exec. */
    brood__code_map_free(zygote->map);
    *zygote = ZYGOTE_NONE;
}
