/* SPDX-License-Identifier: MIT */
/*
 * Starting a command: everything that has to be ready before the guard runs, and its first word.
 *
 *     check options -> streams -> guard's program -> socket pair, order into it -> spawn the guard
 *     with the command's own argv and environment -> wait for STARTED or NOT_STARTED
 *
 * The order waits in the socket before the guard exists, so its first read never sleeps, and the
 * words of the command, which may be megabytes, are copied by the kernel only.
 *
 * The guard's program is a memory object that the process makes once and keeps. Its descriptor may
 * be closed or replaced by somebody who closes whatever is open; that is seen by its identity, and
 * a new one is made. A forked child uses its copy.
 *
 * A death of ours in here: before the spawn there is nothing to leave; after it the guard finds the
 * end of the socket, or of us by the pidfd, and ends the command if it was started at all. A death
 * of the guard is the end of the socket without a word.
 */
#include "base/clock.h"
#include "base/memory.h"
#include "run/command_inside.h"
#include "run/command_order.h"
#include "run/command_streams.h"
#include "sys/kernel.h"
#include "sys/self.h"
#include "sys/sockets.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

enum { GUARD_END_MS = 5000, GUARD_LATE_MS = 50, GUARD_SILENT_MS = 500 };

/* ---- the guard's program ---- */

static struct {
    struct own_lock lock;
    int fd; /* 0: none */
    struct file_identity identity;
} program = {.lock = OWN_LOCK};

static bool have_program(void)
{
    struct file_identity there;

    return program.fd > 0 && brood__fd_identity(program.fd, &there) &&
           there.device == program.identity.device && there.inode == program.identity.inode;
}

static int make_program(void)
{
    int fd = brood__program_new("brood guard", brood__guard_bytes, brood__guard_len);

    if (fd == -EACCES || fd == -EPERM)
        return brood__start_failed(
            fd, "a program in memory, for the guard: %s; does vm.memfd_noexec forbid it?",
            brood_strerror(fd));
    if (fd < 0)
        return brood__start_failed(fd, "a memory object for the guard: %s", brood_strerror(fd));
    program.fd = fd;
    (void)brood__fd_identity(fd, &program.identity);
    return fd;
}

static int guard_program(void)
{
    int fd;

    brood__own_lock(&program.lock, NULL);
    fd = have_program() ? program.fd : make_program();
    brood__own_unlock(&program.lock);
    return fd;
}

/* ---- the guard ---- */

struct start {
    brood_command *command;
    const char *const *argv;
    const brood_command_options *options;
    struct command_streams streams;
    struct command_order order;
    int theirs;   /* the guard's end of the socket */
    bool refused; /* what failed was the command, not something of ours */
};

static int make_control(struct start *start)
{
    int ends[2];
    int64_t sent;
    int r = brood__socket_pair(false, ends);

    if (r < 0)
        return brood__start_failed(r, "a socket to the guard: %s", brood_strerror(r));
    start->command->control = ends[0];
    start->theirs = ends[1];
    sent = brood__socket_send(ends[0], start->order.packet, start->order.packet_len);
    if (sent < 0)
        return brood__start_failed((int)sent, "the order to the guard: %s",
                                   brood_strerror((int)sent));
    return 0;
}

static int spawn_failed(int error, bool in_exec, struct start *start)
{
    const struct guard_event as_told = {.step = GUARD_STEP_EXEC, .error = -error};

    start->refused = in_exec && error == -E2BIG;
    if (start->refused)
        return brood__start_refused(&as_told, start->argv, start->options);
    if (in_exec && (error == -EACCES || error == -EPERM))
        return brood__start_failed(
            error, "run the guard: %s; does vm.memfd_noexec or a security policy forbid it?",
            brood_strerror(error));
    if (error == -EBADF)
        return brood__start_failed(error,
                                   "a descriptor of .in, .out, .err, .pass or .cgroup_fd: %s",
                                   brood_strerror(error));
    return brood__start_failed(error, "a process for the guard: %s", brood_strerror(error));
}

static int spawn_guard(struct start *start, int guard)
{
    int fds[GUARD_CONTROL_FD + 1 + EXTRA_FDS_MAX];
    const struct spawn spawn = {.program = guard,
                                .argv = start->argv,
                                .environment = start->order.environment,
                                .fds = fds,
                                .fd_count = GUARD_CONTROL_FD + 1 + start->order.fd_count};
    bool in_exec;
    int r;

    memcpy(fds, start->streams.theirs, sizeof start->streams.theirs);
    fds[GUARD_CONTROL_FD] = start->theirs;
    memcpy(fds + GUARD_CONTROL_FD + 1, start->order.fds, start->order.fd_count * sizeof *fds);
    r = brood__spawn(&spawn, &start->command->guard, &in_exec);
    return r < 0 ? spawn_failed(r, in_exec, start) : 0;
}

/* The guard speaks as soon as it knows. */
static int await_first_word(struct start *start)
{
    brood_command *command = start->command;
    struct guard_event event = {0};
    int64_t len;

    do {
        while (!brood__fd_await(command->control, deadline_in(GUARD_SILENT_MS)))
            brood__command_wake_guard(command); /* the command may have stopped it already */
        len = brood__socket_receive(command->control, &event, sizeof event);
    } while (len == -EAGAIN);
    if (len != sizeof event || event.version != GUARD_VERSION)
        return brood__start_failed(len < 0 ? (int)len : BROOD_ELOST,
                                   "the guard ended before the command was started");
    if (event.kind == GUARD_NOT_STARTED) {
        start->refused = event.step != GUARD_STEP_ORDER && event.step != GUARD_STEP_SPAWN;
        return brood__start_refused(&event, start->argv, start->options);
    }
    command->pid = event.pid;
    if (start->options->timeout_ms > 0)
        command->overdue = deadline_after(deadline_in(start->options->timeout_ms), GUARD_LATE_MS);
    command->outcome.containment = event.containment;
    return 0;
}

static int run_guard(struct start *start)
{
    int guard = guard_program();
    int caller, r;

    if (guard < 0)
        return guard;
    caller = brood__pidfd_open(getpid());
    r = brood__order_make(&start->order, start->argv, start->options, caller);
    if (r == 0)
        r = make_control(start);
    if (r == 0)
        r = spawn_guard(start, guard);
    brood__fd_close(caller);
    start->theirs = brood__fd_close(start->theirs);
    brood__order_done(&start->order);
    return r;
}

/* ---- the handle ---- */

static void take_stream(brood_command *command, unsigned which, const brood_stream *stream)
{
    if (which == 0 && stream->kind == BROOD_BYTES) {
        command->in_data = stream->data;
        command->in_len = stream->len;
        command->in_feeds = true;
    }
    if (which > 0 && stream->kind == BROOD_CAPTURE) {
        command->captured[which - 1] = true;
        brood__capture_begin(&command->captures[which - 1], stream, (int)which);
    }
}

static int keep_private(const brood_command *command)
{
    int r = brood__private_add(command->control);

    for (unsigned i = 0; i < 3 && r == 0; i++)
        if (command->ends[i] >= 0)
            r = brood__private_add(command->ends[i]);
    return r < 0 ? brood__start_failed(r, "no memory for the command") : 0;
}

static void take_streams(struct start *start)
{
    const brood_command_options *options = start->options;
    const brood_stream *const streams[] = {&options->in, &options->out, &options->err};
    brood_command *command = start->command;

    for (unsigned i = 0; i < 3; i++) {
        command->ends[i] = start->streams.ours[i];
        start->streams.ours[i] = -1;
        if (!options->terminal)
            take_stream(command, i, streams[i]);
    }
    command->is_terminal = options->terminal;
    command->in_is_pipe = !options->terminal && options->in.kind == BROOD_PIPE;
}

static int start_all(struct start *start)
{
    int r = brood__streams_open(&start->streams, start->options);

    if (r < 0)
        return r;
    take_streams(start);
    r = run_guard(start);
    brood__streams_close_theirs(&start->streams);
    return r < 0 ? r : keep_private(start->command);
}

static int give_up(struct start *start, int error, bool keep_failed, brood_command **out_command)
{
    brood_command *command = start->command;

    (void)brood__command_bury(command, deadline_in(GUARD_END_MS));
    brood__command_never_was(command, error);
    if (keep_failed && start->refused)
        *out_command = command;
    else
        brood_command_free(command);
    return error;
}

int brood__command_start(brood_command **out_command, const char *const *argv,
                         const brood_command_options *options, bool keep_failed)
{
    static const brood_command_options defaults;
    struct start start = {.argv = argv, .theirs = -1};
    int r;

    start.options = options == NULL ? &defaults : options;
    (void)brood__start_failed(0, "%s", "");
    if (out_command == NULL)
        return brood__start_failed(-EINVAL, "there is no place for the command");
    r = brood__order_check(argv, start.options);
    if (r < 0)
        return r;
    start.command = brood__command_new();
    if (start.command == NULL)
        return brood__start_failed(-ENOMEM, "no memory for the command");
    r = start_all(&start);
    if (r == 0)
        r = await_first_word(&start);
    if (r < 0)
        return give_up(&start, r, keep_failed, out_command);
    *out_command = start.command;
    return 0;
}

int brood_command_start(brood_command **out_command, const char *const *argv,
                        const brood_command_options *options)
{
    return brood__command_start(out_command, argv, options, false);
}
