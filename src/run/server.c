/* SPDX-License-Identifier: MIT */
/*
 * The fork server from both sides.
 *
 *     caller: channel, pidfd of itself, exec of itself -> server's code map -> requests
 *     server: brood_init() sees BROOD_SERVER=<channel>:<pidfd of the caller>, and serves
 *     request {setup} + channel of the zygote + pidfd of the caller
 *     reply   {error} + pidfd of what was forked; from there on the zygote speaks for itself
 *
 * The variable is taken out of the environment before anything else, so that no program started
 * later mistakes itself for a server. A process that has the variable but cannot be a server ends:
 * it must never run the program's main() a second time. A set-user-id program is never one.
 *
 * The lock is held during a request. The caller believes the server's pidfd, not the channel: a
 * server that died is replaced, and one that does not answer in time is ended and replaced.
 *
 * A death of the caller: the server polls its pidfd. A death of the server: the next request
 * notices. Zygotes already forked belong to nobody but the caller, and do not notice at all.
 */
#include "run/server.h"

#include <brood/base.h>

#include "base/clock.h"
#include "base/fault.h"
#include "sys/kernel.h"
#include "sys/self.h"
#include "sys/sockets.h"
#include "sys/spawn_self.h"

#include <errno.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define VARIABLE "BROOD_SERVER"

enum { ANSWER_MS = 10000 };

struct request {
    int32_t containment;
    uint32_t single;
    char name[16];
};

static atomic_bool initialised;

static struct {
    struct own_lock lock;
    int channel, pidfd; /* -1: none runs */
    struct code_map *map;
} server = {.lock = OWN_LOCK, .channel = -1, .pidfd = -1};

/* In a forked child: the server is the parent's. */
static void renew(void)
{
    /* Closed already, where brood forked; elsewhere close-on-exec. By now the numbers may be those
     * of other files. */
    server.channel = server.pidfd = -1;
    server.map = NULL; /* perhaps half made; not freed */
}

/* ---- the caller's side ---- */

static void forget(void)
{
    if (server.pidfd >= 0) {
        (void)brood__pidfd_signal(server.pidfd, SIGKILL);
        (void)brood__pidfd_reap(server.pidfd);
        brood__private_remove(server.pidfd);
        brood__private_remove(server.channel);
    }
    server.channel = brood__fd_close(server.channel);
    server.pidfd = brood__fd_close(server.pidfd);
    brood__code_map_free(server.map);
    server.map = NULL;
}

static int spawn(int channel, int caller)
{
    const int keep[] = {channel, caller};
    char variable[64];
    pid_t pid;

    (void)snprintf(variable, sizeof variable, VARIABLE "=%d:%d", channel, caller);
    pid = brood__spawn_self(variable, keep, 2);
    if (pid < 0)
        return pid;
    server.pidfd = brood__pidfd_open(pid);
    if (server.pidfd >= 0)
        return 0;
    if (server.pidfd != -ESRCH) { /* which means: dead, and somebody else has waited for it */
        (void)brood__kill(pid, SIGKILL);
        (void)brood__wait(pid, NULL, 0, NULL);
    }
    return server.pidfd;
}

static int start(int caller)
{
    int ends[2];
    int r = brood__channel_new(ends);

    if (r < 0)
        return r;
    server.channel = ends[0];
    r = spawn(ends[1], caller);
    brood__fd_close(ends[1]);
    if (r == 0)
        r = brood__private_add(server.channel);
    if (r == 0)
        r = brood__private_add(server.pidfd);
    if (r == 0)
        r = brood__code_map_receive(&server.map, server.channel, server.pidfd,
                                    deadline_in(ANSWER_MS));
    if (r == 0)
        return 0;
    forget();
    /* It ended or did something else instead of coming to brood_init(). */
    return r == -EPIPE || r == -ETIMEDOUT || r == -EPROTO ? BROOD_EINIT : r;
}

static int64_t receive_reply(int *out_error, int *out_pidfd, unsigned *inout_count)
{
    int64_t r = -EAGAIN;

    for (int attempt = 0; attempt < 3 && r < 0; attempt++)
        r = brood__channel_receive(server.channel, out_error, sizeof *out_error, out_pidfd,
                                   inout_count, false);
    return r;
}

/* ZYGOTE_AGAIN: the server is of no use any more; it may have served, or not. */
static int await_reply(int *out_error, int *out_pidfd)
{
    struct pollfd fds[] = {{.fd = server.channel, .events = POLLIN},
                           {.fd = server.pidfd, .events = POLLIN}};
    unsigned count = 1;

    (void)brood__pidfd_signal(server.pidfd, SIGCONT); /* it may have been stopped with us */
    (void)brood__fd_wait(fds, 2, deadline_in(ANSWER_MS));
    if (receive_reply(out_error, out_pidfd, &count) != (int64_t)sizeof *out_error)
        return ZYGOTE_AGAIN;
    if (count == 0)
        *out_pidfd = -1;
    return *out_error == 0 && count == 0 ? -EMFILE : 0;
}

/* -EPIPE: the server did not get the request. */
static int ask(const struct zygote_setup *setup, int *out_pidfd)
{
    struct request request = {.containment = setup->containment, .single = setup->single};
    const int fds[] = {setup->channel, setup->caller};
    int error = 0, pidfd = -1;
    int r;

    memcpy(request.name, setup->name, sizeof request.name);
    r = brood__channel_send(server.channel, &request, sizeof request, fds, 2, false);
    if (r == 0)
        r = await_reply(&error, &pidfd);
    if (r == 0)
        r = error;
    if (r == 0)
        *out_pidfd = pidfd;
    else
        brood__fd_close(pidfd);
    return r;
}

/* A request that the server may have served is never sent again: two zygotes would have the same
 * channel. The caller comes back with another one. */
static int start_and_ask(const struct zygote_setup *setup, int *out_pidfd)
{
    int r = server.pidfd >= 0 ? ask(setup, out_pidfd) : -EPIPE;

    if (r == -EPIPE) {
        forget();
        r = start(setup->caller);
        if (r == 0)
            r = ask(setup, out_pidfd);
    }
    if (r == ZYGOTE_AGAIN || r == -EPIPE) {
        forget();
        r = ZYGOTE_AGAIN;
    }
    return r;
}

int brood__server_make(const struct zygote_setup *setup, int *out_pidfd, struct code_map **out_map)
{
    int r;

    if (!atomic_load(&initialised) || getauxval(AT_SECURE) != 0)
        return BROOD_EINIT;
    brood__own_lock(&server.lock, renew);
    r = start_and_ask(setup, out_pidfd);
    if (r == 0) {
        *out_map = brood__code_map_copy(server.map);
        if (*out_map == NULL)
            r = -ENOMEM;
    }
    brood__own_unlock(&server.lock);
    return r;
}

void brood__server_stop(void)
{
    brood__own_lock(&server.lock, renew);
    forget();
    brood__own_unlock(&server.lock);
}

/* ---- the server's side ---- */

struct service {
    int channel, caller, signals;
};

/* False: it could not be said, and the caller must not wait for it. */
static bool reply(const struct service *service, int error, int pidfd)
{
    int r = -EAGAIN;

    for (int attempt = 0; attempt < 3 && r < 0 && r != -EPIPE; attempt++)
        r = brood__channel_send(service->channel, &error, sizeof error, &pidfd, pidfd < 0 ? 0 : 1,
                                true);
    brood__fd_close(pidfd);
    return r == 0;
}

static bool fork_zygote(const struct service *service, const struct zygote_setup *setup)
{
    int pidfd;
    pid_t pid;

    BROOD_MARK("server before fork");
    pid = brood__fork();
    if (pid == 0) {
        brood__fd_close(service->channel);
        brood__fd_close(service->caller);
        brood__fd_close(service->signals);
        brood__zygote_become(setup);
    }
    BROOD_MARK("server after fork");
    if (pid < 0)
        return reply(service, pid, -1);
    pidfd = brood__pidfd_open(pid);
    if (pidfd >= 0)
        return reply(service, 0, pidfd);
    (void)brood__kill(pid, SIGKILL);
    return reply(service, pidfd, -1);
}

/* False: the server is of no use any more. */
static bool serve_one(const struct service *service)
{
    struct zygote_setup setup = {.channel = -1, .caller = -1};
    struct request request;
    int fds[2] = {-1, -1};
    unsigned count = 2;
    bool served;
    int64_t r =
        brood__channel_receive(service->channel, &request, sizeof request, fds, &count, false);

    if (r == -EAGAIN)
        return true;
    if (r <= 0)
        return false;
    if (r == (int64_t)sizeof request && count == 2) {
        setup = (struct zygote_setup){.channel = fds[0],
                                      .caller = fds[1],
                                      .containment = request.containment,
                                      .single = request.single != 0};
        memcpy(setup.name, request.name, sizeof setup.name);
        setup.name[sizeof setup.name - 1] = '\0';
        served = fork_zygote(service, &setup);
    } else {
        served = reply(service, -EMFILE, -1);
    }
    for (unsigned i = 0; i < count; i++)
        brood__fd_close(fds[i]);
    return served;
}

static void reap_zygotes(const struct service *service)
{
    char dropped[1024];

    (void)brood__fd_read(service->signals, dropped, sizeof dropped);
    while (brood__wait(-1, NULL, WNOHANG, NULL) > 0)
        continue;
}

static void serve(const struct service *service)
{
    struct pollfd fds[] = {{.fd = service->channel, .events = POLLIN},
                           {.fd = service->caller, .events = POLLIN},
                           {.fd = service->signals, .events = POLLIN}};

    for (;;) {
        if (brood__fd_wait(fds, 3, NEVER) < 0 || fds[1].revents != 0)
            return;
        if (fds[2].revents != 0)
            reap_zygotes(service);
        if (fds[0].revents != 0 && !serve_one(service))
            return;
    }
}

static int tell_modules(int channel)
{
    struct code_map *map = brood__code_map_new();
    int r = map == NULL ? -ENOMEM : brood__code_map_send(map, channel);

    brood__code_map_free(map);
    return r;
}

static void be_server(const char *value) __attribute__((noreturn));
static void be_server(const char *value)
{
    struct service service;
    sigset_t child, old;
    int r;

    if (sscanf(value, "%d:%d", &service.channel, &service.caller) != 2)
        brood__exit_now(127);
    (void)unsetenv(VARIABLE);
    brood__fault_role(ROLE_SERVER);
    BROOD_MARK("server started");
    (void)brood__control(PR_SET_NAME, (unsigned long)(uintptr_t) "brood: server");
    (void)brood__mask_block_all(&old);
    brood__signals_reset();
    (void)sigemptyset(&child);
    (void)sigaddset(&child, SIGCHLD);
    service.signals = brood__fd_signals(&child);
    r = service.signals < 0 ? service.signals : brood__fd_inherit(service.channel, false);
    if (r == 0)
        r = brood__fd_inherit(service.caller, false);
    if (r == 0)
        r = tell_modules(service.channel);
    if (r < 0) {
        (void)brood__code_map_refuse(r, service.channel);
        brood__exit_now(127);
    }
    serve(&service);
    brood__exit_now(0);
}

void brood_init(int argc, char **argv)
{
    const char *value = getenv(VARIABLE);

    (void)argc;
    (void)argv;
    if (value != NULL) {
        if (getauxval(AT_SECURE) != 0)
            brood__exit_now(127);
        be_server(value);
    }
    atomic_store(&initialised, true);
}
