/* SPDX-License-Identifier: MIT */
/*
 * Writes the guard's bytes into a memory object and executes it, with descriptors where the order
 * says that they are. What the test holds itself stands above LIFTED, out of the way of those.
 */
#include "guard/launch.h"

#include "harness/test.h"

#include <brood/base.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { LIFTED = 100 };

int launch_lift(int fd)
{
    int lifted = CHECK_OK(fcntl(fd, F_DUPFD_CLOEXEC, LIFTED));

    (void)close(fd);
    return lifted;
}

static int guard_open(void)
{
    int fd = CHECK_OK(memfd_create("guard", MFD_CLOEXEC));

    CHECK_EQ(write(fd, brood__guard_bytes, brood__guard_len), brood__guard_len);
    return launch_lift(fd);
}

const char *launch_guard_file(void)
{
    static char path[512];
    const char *folder = getenv("TMPDIR");
    int fd;

    (void)snprintf(path, sizeof path, "%s/guard", folder == NULL ? "/tmp" : folder);
    fd = CHECK_OK(open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0700));
    CHECK_EQ(write(fd, brood__guard_bytes, brood__guard_len), brood__guard_len);
    (void)close(fd);
    return path;
}

void launch_init(struct launch *launch, const char *verb, const char *argument)
{
    static char program[4096];

    (void)snprintf(program, sizeof program, "%s", test_program("guarded"));
    *launch = (struct launch){.input = -1, .give_cgroup = -1, .give_caller = -1};
    launch->paths[0] = program;
    launch->argv[0] = "guarded";
    launch->argv[1] = verb;
    launch->argv[2] = argument;
    launch->order = (struct guard_order){.version = GUARD_VERSION,
                                         .containment = BROOD_CONTAIN_GROUP,
                                         .stop_signal = SIGTERM,
                                         .stop_grace_ms = TEST_PATIENCE_MS,
                                         .signals_default = 1u << (SIGPIPE - 1)};
}

/* ---- the order ---- */

static size_t add(unsigned char *packet, size_t at, const void *part, size_t len)
{
    CHECK(at + len <= GUARD_ORDER_LEN_MAX);
    if (len > 0)
        memcpy(packet + at, part, len);
    return at + len;
}

static size_t compose(struct launch *launch, unsigned char *packet)
{
    struct guard_order *order = &launch->order;
    size_t at, strings;

    at = add(packet, 0, order, sizeof *order);
    at = add(packet, at, launch->limits, order->limit_count * sizeof launch->limits[0]);
    at = add(packet, at, launch->fds, order->fd_count * sizeof launch->fds[0]);
    at = add(packet, at, launch->groups, order->group_count * sizeof launch->groups[0]);
    strings = at;
    if (launch->cwd != NULL) {
        order->flags |= GUARD_SET_CWD;
        at = add(packet, at, launch->cwd, strlen(launch->cwd) + 1);
    }
    order->candidate_count = 0;
    for (const char **path = launch->paths; *path != NULL; path++) {
        at = add(packet, at, *path, strlen(*path) + 1);
        order->candidate_count++;
    }
    order->strings_len = (uint32_t)(at - strings);
    order->len = (uint32_t)at;
    memcpy(packet, order, sizeof *order);
    return at;
}

/* ---- the process ---- */

static void place(posix_spawn_file_actions_t *actions, int fd, int where)
{
    CHECK_EQ(posix_spawn_file_actions_adddup2(actions, fd, where), 0);
}

static void place_all(posix_spawn_file_actions_t *actions, const struct launch *launch,
                      const int *fds)
{
    place(actions, launch->input < 0 ? fds[2] : launch->input, 0);
    place(actions, fds[0], 1);
    place(actions, fds[1], GUARD_CONTROL_FD);
    for (uint32_t i = 0; i < launch->order.fd_count && i < LAUNCH_FEW; i++) {
        if (launch->give[i] >= 0)
            place(actions, launch->give[i], launch->fds[i].from);
    }
    if (launch->give_cgroup >= 0)
        place(actions, launch->give_cgroup, launch->order.cgroup_fd);
    if (launch->give_caller >= 0)
        place(actions, launch->give_caller, launch->order.caller_fd);
}

/* FDS: the output, the control socket, nothing. */
static void spawn(struct launch *launch, const int *fds)
{
    posix_spawn_file_actions_t actions;
    int program = guard_open();
    char path[512];

    CHECK_EQ(posix_spawn_file_actions_init(&actions), 0);
    place_all(&actions, launch, fds);
    (void)snprintf(path, sizeof path, "/proc/self/fd/%d", program);
    if (launch->guard_path != NULL)
        (void)snprintf(path, sizeof path, "%s", launch->guard_path);
    CHECK_EQ(posix_spawn(&launch->guard, path, &actions, NULL, (char **)(void *)launch->argv,
                         (char **)(void *)launch->environment),
             0);
    (void)posix_spawn_file_actions_destroy(&actions);
    (void)close(program);
}

void launch_start_raw(struct launch *launch, const void *packet, size_t len)
{
    int output[2], control[2],
        nothing = launch_lift(CHECK_OK(open("/dev/null", O_RDWR | O_CLOEXEC)));

    CHECK_OK(pipe2(output, O_CLOEXEC));
    CHECK_OK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, control));
    launch->output = launch_lift(output[0]);
    launch->control = launch_lift(control[0]);
    output[1] = launch_lift(output[1]);
    control[1] = launch_lift(control[1]);
    CHECK_EQ(send(launch->control, packet, len, 0), len);
    spawn(launch, (int[]){output[1], control[1], nothing});
    (void)close(output[1]);
    (void)close(control[1]);
    (void)close(nothing);
}

void launch_start(struct launch *launch)
{
    unsigned char *packet = malloc(GUARD_ORDER_LEN_MAX);

    CHECK(packet != NULL);
    launch_start_raw(launch, packet, compose(launch, packet));
    free(packet);
}

/* ---- what it says ---- */

static void await(int fd, const char *what)
{
    struct pollfd poll_fd = {.fd = fd, .events = POLLIN};

    if (poll(&poll_fd, 1, (int)TEST_PATIENCE_MS) != 1)
        FAIL("%s does not come", what);
}

bool launch_hear(struct launch *launch)
{
    ssize_t len;

    await(launch->control, "an event");
    len = recv(launch->control, &launch->event, sizeof launch->event, 0);
    if (len <= 0)
        return false;
    CHECK_EQ(len, sizeof launch->event);
    CHECK_EQ(launch->event.version, GUARD_VERSION);
    return true;
}

void launch_expect(struct launch *launch, enum guard_event_kind kind)
{
    CHECK(launch_hear(launch));
    if (launch->event.kind != (uint32_t)kind)
        FAIL("event %u and not %u (step %u, error %d, index %d)", launch->event.kind, kind,
             launch->event.step, launch->event.error, (int)launch->event.index);
}

void launch_await_ready(struct launch *launch)
{
    char text[6];

    launch_expect(launch, GUARD_STARTED);
    await(launch->output, "the command's word");
    CHECK_EQ(read(launch->output, text, sizeof text), sizeof text);
    CHECK_EQ(memcmp(text, "ready\n", sizeof text), 0);
}

void launch_ask(const struct launch *launch, enum guard_request_kind kind, int signal,
                enum guard_whom whom)
{
    const struct guard_request request = {.version = GUARD_VERSION,
                                          .kind = kind,
                                          .signal = signal,
                                          .whom = whom,
                                          .grace_ms = TEST_PATIENCE_MS};

    CHECK_EQ(send(launch->control, &request, sizeof request, MSG_NOSIGNAL), sizeof request);
}

void launch_read_all(struct launch *launch, char *text, size_t size)
{
    size_t have = 0;
    ssize_t len;

    do {
        await(launch->output, "the end of the output");
        len = read(launch->output, text + have, size - 1 - have);
        CHECK(len >= 0);
        have += (size_t)len;
    } while (len > 0);
    text[have] = '\0';
}

void launch_expect_silence(struct launch *launch)
{
    char text[64];

    launch_read_all(launch, text, sizeof text);
}

void launch_done(struct launch *launch)
{
    int status = -1;

    CHECK(!launch_hear(launch));
    CHECK_EQ(waitpid(launch->guard, &status, 0), launch->guard);
    CHECK_EQ(status, 0);
    (void)close(launch->control);
    (void)close(launch->output);
}
