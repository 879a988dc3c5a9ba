/* SPDX-License-Identifier: MIT */
/*
 * One loop that feeds commands, reads what they write and hears their guards.
 *
 *     +--> poll: control of each, what is fed, what is captured --+
 *     |         a guard speaks -> take it, and if it says ENDED, drain and close
 *     +----     room in a pipe -> write; bytes in a pipe -> read <+
 *
 * ENDED comes when nothing of the command's tree is left, so all that it wrote is in the pipes by
 * then: as many bytes as there are at this moment are read, and that is the end, whoever else holds
 * the pipe. Nothing here blocks but poll().
 *
 * Who writes to a pipe that nobody reads gets EPIPE and no signal; that is no error here.
 *
 * A command may stop its guard (SIGSTOP). So a guard that lets the command's time go by is woken,
 * now and then until it speaks.
 *
 * A death of the caller closes the pipes and the control socket, and the guard does the rest.
 */
#include "base/clock.h"
#include "base/memory.h"
#include "run/command_inside.h"
#include "sys/kernel.h"

#include <errno.h>
#include <poll.h>

enum { READ_LEN = 32 << 10, FDS_EACH = 4, GUARD_END_MS = 1000, WAKE_AGAIN_MS = 500 };
static const size_t write_max = (size_t)1 << 20;

/* ---- one command ---- */

/* Who reads no more of it is no error. */
static int feed(brood_command *command)
{
    const size_t left = command->in_len - command->in_done;
    int64_t r = 0;

    if (left > 0)
        r = brood__fd_write_quiet(command->ends[0], command->in_data + command->in_done,
                                  left < write_max ? left : write_max);
    if (r == -EAGAIN)
        return 0;
    if (r < 0 && r != -EPIPE)
        return (int)r;
    if (r > 0)
        command->in_done += (size_t)r;
    if (r < 0 || command->in_done == command->in_len)
        brood__command_close_end(command, 0);
    return 0;
}

/* Bytes that were read; 0: there are none now, and perhaps never will be. */
static int64_t take_output(brood_command *command, unsigned which, size_t len)
{
    char data[READ_LEN];
    int64_t r = brood__fd_read(command->ends[which], data, len < READ_LEN ? len : READ_LEN);

    if (r < 0)
        return r == -EAGAIN ? 0 : r;
    if (r == 0)
        brood__command_close_end(command, which);
    else
        brood__capture_add(&command->captures[which - 1], data, (size_t)r);
    return r;
}

static int drain_output(brood_command *command, unsigned which)
{
    int64_t left = command->ends[which] < 0 ? 0 : brood__pipe_pending(command->ends[which]);

    while (left > 0 && command->ends[which] >= 0) {
        int64_t taken = take_output(command, which, (size_t)left);

        if (taken < 0)
            return (int)taken;
        left = taken == 0 ? 0 : left - taken;
    }
    brood__command_close_end(command, which);
    brood__capture_finish(&command->captures[which - 1]);
    return 0;
}

/* on_data has had enough. */
static void heed_refusal(brood_command *command)
{
    bool refused = false;

    for (unsigned i = 0; i < 2; i++) {
        refused |= command->captures[i].refused;
        command->captures[i].refused = false;
    }
    if (!refused)
        return;
    command->captures[0].on_data = command->captures[1].on_data = NULL;
    (void)brood__command_cancel(command);
}

static int drain(brood_command *command)
{
    int r = 0;

    for (unsigned which = 1; which <= 2 && r == 0; which++)
        if (command->captured[which - 1])
            r = drain_output(command, which);
    if (r < 0)
        return r;
    if (command->in_feeds)
        brood__command_close_end(command, 0);
    heed_refusal(command);
    (void)brood__command_bury(command, deadline_in(GUARD_END_MS));
    command->drained = true;
    return 0;
}

/* ---- all of them ---- */

static unsigned list_fds(const brood_command *command, struct pollfd fds[FDS_EACH])
{
    const bool reads[] = {command->captured[0], command->captured[1]};

    fds[0] = (struct pollfd){.fd = command->control, .events = POLLIN};
    fds[1] = (struct pollfd){.fd = command->in_feeds ? command->ends[0] : -1, .events = POLLOUT};
    fds[2] = (struct pollfd){.fd = reads[0] ? command->ends[1] : -1, .events = POLLIN};
    fds[3] = (struct pollfd){.fd = reads[1] ? command->ends[2] : -1, .events = POLLIN};
    return FDS_EACH;
}

static int serve(brood_command *command, const struct pollfd fds[FDS_EACH])
{
    int64_t r = fds[1].revents != 0 ? feed(command) : 0;

    for (unsigned which = 1; which <= 2 && r >= 0; which++)
        if (fds[1 + which].revents != 0)
            r = take_output(command, which, READ_LEN);
    if (r < 0)
        return (int)r;
    heed_refusal(command);
    return fds[0].revents != 0 && brood__command_take_events(command) ? drain(command) : 0;
}

static int serve_all(brood_command *const *commands, unsigned count, const struct pollfd *fds)
{
    int r = 0;

    for (unsigned i = 0; i < count && r == 0; i++) {
        if (commands[i]->drained)
            continue;
        r = serve(commands[i], fds);
        fds += FDS_EACH;
    }
    return r;
}

static unsigned list_all(brood_command *const *commands, unsigned count, struct pollfd *fds)
{
    unsigned listed = 0;

    for (unsigned i = 0; i < count; i++)
        if (!commands[i]->drained)
            listed += list_fds(commands[i], fds + listed);
    return listed;
}

/* DEADLINE, or before that the moment when a guard is to be woken. */
static int64_t next_look(brood_command *const *commands, unsigned count, int64_t deadline)
{
    for (unsigned i = 0; i < count; i++)
        if (!commands[i]->drained && commands[i]->overdue < deadline)
            deadline = commands[i]->overdue;
    return deadline;
}

static void wake_guards(brood_command *const *commands, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        if (commands[i]->drained || left_ns(commands[i]->overdue) > 0)
            continue;
        brood__command_wake_guard(commands[i]);
        commands[i]->overdue = deadline_in(WAKE_AGAIN_MS);
    }
}

static int pump(brood_command *const *commands, unsigned count, struct pollfd *fds,
                int64_t deadline)
{
    unsigned listed;

    while ((listed = list_all(commands, count, fds)) > 0) {
        int r = brood__fd_wait(fds, listed, next_look(commands, count, deadline));

        if (r > 0)
            r = serve_all(commands, count, fds);
        wake_guards(commands, count);
        if (r < 0)
            return r;
        if (left_ns(deadline) == 0)
            return list_all(commands, count, fds) > 0 ? -ETIMEDOUT : 0;
    }
    return 0;
}

int brood__command_pump(brood_command *const *commands, unsigned count, int64_t deadline)
{
    struct pollfd few[FDS_EACH];
    struct pollfd *fds = few;
    int r;

    if (count > 1) {
        fds = brood__alloc_zeroed(count, sizeof few);
        if (fds == NULL)
            return -ENOMEM;
    }
    r = pump(commands, count, fds, deadline);
    if (fds != few)
        brood__free(fds);
    return r;
}
