/* SPDX-License-Identifier: MIT */
/*
 * A started command: asking, signalling, waiting, freeing.
 *
 * The guard tells once how the command ended, and then ends. Whoever finds its socket readable
 * takes the mutex and what is there, and it makes no difference who comes first. From then on the
 * socket is shut down, so it polls readable for ever. The streams belong to the one thread that
 * waits or frees, and need no lock. Who reaps the guard takes it out of the handle first, so nobody
 * signals what is being reaped.
 *
 * Whoever signals asks the guard, which has the command as its child and cannot hit anybody else.
 *
 * A death of the guard, which only happens if somebody kills it, is the end of the socket: the
 * command dies with it (PR_SET_PDEATHSIG), but not what the command started, and the outcome is
 * LOST. A death of ours: the guard sees it and ends the command's tree.
 *
 * In a forked child the descriptors are not closed: where brood forked they are, and their numbers
 * may be those of other files by now; elsewhere they are close-on-exec.
 */
#include "base/clock.h"
#include "base/memory.h"
#include "run/command_inside.h"
#include "sys/kernel.h"
#include "sys/self.h"
#include "sys/sockets.h"
#include "sys/stable.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

/* The guard itself gives up after a minute. */
enum { KILL_MS = 65000, GUARD_KILL_MS = 1000 };

static struct stable_list handles;

/* ---- handles ---- */

int brood__command_check(const brood_command *command)
{
    if (command == NULL || command->magic != COMMAND_MAGIC)
        return BROOD_EHANDLE;
    return command->self == brood__self() ? 0 : BROOD_EFORKED;
}

brood_command *brood__command_new(void)
{
    brood_command *command = brood__stable_take(&handles, sizeof *command);

    if (command == NULL)
        return NULL;
    command->magic = COMMAND_MAGIC;
    command->self = brood__self();
    command->control = command->poller = -1;
    for (unsigned i = 0; i < 3; i++)
        command->ends[i] = -1;
    command->mutex = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
    command->outcome.attempts = 1;
    command->overdue = NEVER;
    return command;
}

void brood__command_close_end(brood_command *command, unsigned which)
{
    if (command->ends[which] < 0)
        return;
    if (command->poller >= 0)
        brood__poller_remove(command->poller, command->ends[which]);
    brood__private_remove(command->ends[which]);
    command->ends[which] = brood__fd_close(command->ends[which]);
}

/* ---- how it ended ---- */

static void judge_status(brood_outcome *outcome, int status)
{
    if (WIFSIGNALED(status)) {
        outcome->cause = BROOD_SIGNALLED;
        outcome->signal = WTERMSIG(status);
        outcome->verdict = BROOD_ECRASHED;
    } else {
        outcome->cause = BROOD_EXITED;
        outcome->code = WEXITSTATUS(status);
        outcome->verdict = outcome->code;
    }
}

static void judge_as(brood_outcome *outcome, brood_cause cause, int verdict)
{
    outcome->cause = cause;
    outcome->verdict = verdict;
}

static void judge(brood_command *command, const struct guard_event *event)
{
    brood_outcome *outcome = &command->outcome;

    if ((event->flags & GUARD_STATUS_UNKNOWN) == 0)
        judge_status(outcome, event->status);
    else
        judge_as(outcome, BROOD_LOST, BROOD_ELOST);
    if (event->reason == GUARD_BY_TIMEOUT || event->reason == GUARD_BY_CPU_TIME)
        judge_as(outcome, BROOD_TIMED_OUT, BROOD_EDEADLINE);
    else if (event->reason == GUARD_BY_MEMORY)
        judge_as(outcome, BROOD_OUT_OF_MEMORY, BROOD_EMEMORY);
    else if (command->cancelled)
        judge_as(outcome, BROOD_CANCELLED, BROOD_ECANCELLED);
}

static void report(brood_command *command, const struct guard_event *event)
{
    size_t len = 0;
    char *text = command->report;

    text[0] = '\0';
    if (event->reason == GUARD_BY_CPU_TIME)
        len += (size_t)snprintf(text, COMMAND_REPORT_SIZE, "over its limit of CPU time\n");
    if (event->leftovers_killed > 0)
        len += (size_t)snprintf(text + len, COMMAND_REPORT_SIZE - len,
                                "%u processes that it had started were killed\n",
                                event->leftovers_killed);
    if (event->leftovers_alive > 0)
        len += (size_t)snprintf(text + len, COMMAND_REPORT_SIZE - len,
                                "%u processes could not be killed\n", event->leftovers_alive);
    if (len > 0)
        command->outcome.report = text;
}

static void settle(brood_command *command, const struct guard_event *event)
{
    brood_outcome *outcome = &command->outcome;

    outcome->wall_us = event->wall_us;
    outcome->user_us = event->tree_user_us;
    outcome->system_us = event->tree_system_us;
    outcome->peak_rss = event->tree_peak_rss > event->tree_peak_memory ? event->tree_peak_rss
                                                                       : event->tree_peak_memory;
    judge(command, event);
    report(command, event);
    command->ended = true;
}

static void settle_lost(brood_command *command)
{
    judge_as(&command->outcome, BROOD_LOST, BROOD_ELOST);
    (void)snprintf(command->report, COMMAND_REPORT_SIZE, "the guard of the command was killed\n");
    command->outcome.report = command->report;
    command->ended = true;
}

void brood__command_never_was(brood_command *command, int error)
{
    judge_as(&command->outcome, BROOD_NOT_STARTED, error);
    command->outcome.code = error;
    (void)snprintf(command->report, COMMAND_REPORT_SIZE, "%s", brood_command_start_error());
    command->outcome.report = command->report;
    command->outcome.attempts = 0;
    command->ended = command->drained = true;
}

/* With the mutex. */
static void hear_guard(brood_command *command)
{
    struct guard_event event;
    int64_t len = 0;

    while (!command->ended && len >= 0) {
        len = brood__socket_receive(command->control, &event, sizeof event);
        if (len == sizeof event && event.kind == GUARD_ENDED)
            settle(command, &event);
        else if (len == 0 || (len < 0 && len != -EAGAIN && len != -ENOMEM))
            settle_lost(command);
    }
    if (command->ended)
        brood__channel_shutdown(command->control);
}

bool brood__command_take_events(brood_command *command)
{
    bool ended;

    (void)pthread_mutex_lock(&command->mutex);
    if (!command->ended)
        hear_guard(command);
    ended = command->ended;
    (void)pthread_mutex_unlock(&command->mutex);
    return ended;
}

void brood__command_get_outcome(brood_command *command, brood_outcome *out_outcome)
{
    if (out_outcome == NULL)
        return;
    (void)pthread_mutex_lock(&command->mutex);
    *out_outcome = command->outcome;
    (void)pthread_mutex_unlock(&command->mutex);
}

/* ---- waiting ---- */

int brood_command_wait(brood_command *command, int64_t timeout_ms, brood_outcome *out_outcome)
{
    int64_t deadline = deadline_in(timeout_ms);
    int r = brood__command_check(command);

    if (r == 0)
        r = brood__command_pump(&command, 1, deadline);
    if (r == 0)
        brood__command_get_outcome(command, out_outcome);
    return r;
}

static int begin_feeding(brood_command *command, const void *data, size_t len)
{
    int r;

    if (len > 0 && (data == NULL || !command->in_is_pipe))
        return -EINVAL;
    if (command->ends[0] < 0 || !command->in_is_pipe)
        return 0;
    command->in_data = data;
    command->in_len = len;
    if (command->in_done >= len) {
        brood__command_close_end(command, 0);
        return 0;
    }
    r = brood__fd_set_blocking(command->ends[0], false);
    if (r == 0 && command->poller >= 0 && !command->in_feeds)
        r = brood__poller_add_writable(command->poller, command->ends[0], 0);
    command->in_feeds = r == 0;
    return r;
}

int brood_command_communicate(brood_command *command, const void *data, size_t len,
                              int64_t timeout_ms, brood_outcome *out_outcome)
{
    int64_t deadline = deadline_in(timeout_ms);
    int r = brood__command_check(command);

    if (r == 0)
        r = begin_feeding(command, data, len);
    if (r == 0)
        r = brood__command_pump(&command, 1, deadline);
    if (r == 0)
        brood__command_get_outcome(command, out_outcome);
    return r;
}

int brood_command_poll(brood_command *command, brood_outcome *out_outcome)
{
    int r = brood__command_check(command);

    if (r < 0)
        return r;
    if (!brood__command_take_events(command)) {
        if (left_ns(command->overdue) == 0)
            brood__command_wake_guard(command);
        return 0;
    }
    brood__command_get_outcome(command, out_outcome);
    return 1;
}

/* ---- what came of it ---- */

static brood_bytes captured(const brood_command *command, unsigned which)
{
    /* To look puts it in order, but does not change what it is. */
    brood_command *whole = (brood_command *)(uintptr_t)command;

    if (brood__command_check(command) < 0 || !command->captured[which])
        return (brood_bytes){.data = ""};
    return brood__capture_view(&whole->captures[which]);
}

brood_bytes brood_command_out(const brood_command *command)
{
    return captured(command, 0);
}

brood_bytes brood_command_err(const brood_command *command)
{
    return captured(command, 1);
}

const brood_outcome *brood_command_outcome(const brood_command *command)
{
    static const brood_outcome pending;

    if (brood__command_check(command) < 0 || !command->ended)
        return &pending;
    return &command->outcome;
}

/* ---- descriptors ---- */

int brood_command_fd(brood_command *command, int fd)
{
    int r = brood__command_check(command);

    if (r < 0)
        return r;
    if (fd < 0 || fd > 2 || command->ends[fd] < 0 || (fd > 0 && command->captured[fd - 1]) ||
        (fd == 0 && command->in_feeds))
        return -EBADF;
    return command->ends[fd];
}

int brood_command_close_in(brood_command *command)
{
    int r = brood_command_fd(command, 0);

    if (r < 0)
        return r;
    if (command->is_terminal)
        return -EBADF;
    brood__command_close_end(command, 0);
    return 0;
}

static int fill_poller(const brood_command *command, int poller)
{
    int r = brood__poller_add(poller, command->control, 0);

    for (unsigned which = 1; which <= 2 && r == 0; which++)
        if (command->captured[which - 1] && command->ends[which] >= 0)
            r = brood__poller_add(poller, command->ends[which], which);
    if (r == 0 && command->in_feeds && command->ends[0] >= 0)
        r = brood__poller_add_writable(poller, command->ends[0], 0);
    return r;
}

static int make_poller(brood_command *command)
{
    int poller = brood__poller_new();
    int r = poller < 0 ? poller : fill_poller(command, poller);

    if (r == 0)
        r = brood__private_add(poller);
    if (r < 0) {
        brood__fd_close(poller);
        return r;
    }
    command->poller = poller;
    return poller;
}

int brood_command_poll_fd(brood_command *command)
{
    int r = brood__command_check(command);

    if (r < 0)
        return r;
    if (command->poller >= 0)
        return command->poller;
    if (command->captured[0] || command->captured[1] || command->in_feeds)
        return make_poller(command);
    return command->control;
}

int brood_command_pid(const brood_command *command)
{
    int r = brood__command_check(command);

    return r < 0 ? r : command->pid;
}

/* ---- signals ---- */

int brood__command_ask(brood_command *command, const struct guard_request *request)
{
    int64_t r;

    if (brood__command_take_events(command))
        return -ESRCH;
    r = brood__socket_send(command->control, request, sizeof *request);
    return r == -EPIPE ? -ESRCH : r < 0 ? (int)r : 0;
}

int brood_command_signal(brood_command *command, int signo, bool tree)
{
    struct guard_request request = {.version = GUARD_VERSION,
                                    .kind = GUARD_REQUEST_SIGNAL,
                                    .signal = signo,
                                    .whom = tree ? GUARD_WHOM_TREE : GUARD_WHOM_COMMAND};
    int r = brood__command_check(command);

    if (r < 0)
        return r;
    if (signo < 0 || signo >= NSIG)
        return -EINVAL;
    if (signo == 0)
        return brood__command_take_events(command) ? -ESRCH : 0;
    return brood__command_ask(command, &request);
}

int brood_command_terminate(brood_command *command)
{
    return brood_command_signal(command, SIGTERM, false);
}

static void signal_guard(brood_command *command, int signo)
{
    (void)pthread_mutex_lock(&command->mutex);
    (void)brood__spawned_signal(&command->guard, signo);
    (void)pthread_mutex_unlock(&command->mutex);
}

int brood_command_kill(brood_command *command)
{
    const struct guard_request request = {.version = GUARD_VERSION, .kind = GUARD_REQUEST_KILL};
    int r = brood__command_check(command);

    if (r == 0)
        r = brood__command_ask(command, &request);
    if (r == 0) /* who kills must not be stopped */
        signal_guard(command, SIGCONT);
    return r;
}

int brood_command_stop(brood_command *command)
{
    int r = brood__command_check(command);

    if (r < 0)
        return r;
    if (brood__command_take_events(command))
        return -ESRCH;
    return brood__command_cancel(command);
}

void brood__command_wake_guard(brood_command *command)
{
    (void)pthread_mutex_lock(&command->mutex);
    (void)brood__spawned_signal(&command->guard, SIGCONT);
    (void)pthread_mutex_unlock(&command->mutex);
}

int brood__command_cancel(brood_command *command)
{
    const struct guard_request request = {.version = GUARD_VERSION, .kind = GUARD_REQUEST_STOP};

    (void)pthread_mutex_lock(&command->mutex);
    command->cancelled = true;
    if (command->ended &&
        (command->outcome.cause == BROOD_EXITED || command->outcome.cause == BROOD_SIGNALLED))
        judge_as(&command->outcome, BROOD_CANCELLED, BROOD_ECANCELLED);
    (void)pthread_mutex_unlock(&command->mutex);
    return brood__command_ask(command, &request);
}

/* ---- the end of a handle ---- */

/* What it writes is not read any more, so it must not wait for us. */
static void end_command(brood_command *command)
{
    const int64_t deadline = deadline_in(KILL_MS);

    (void)brood_command_kill(command);
    for (unsigned i = 0; i < 3; i++)
        brood__command_close_end(command, i);
    while (!brood__command_take_events(command) && left_ns(deadline) > 0)
        (void)brood__fd_await(command->control, deadline);
}

bool brood__command_bury(brood_command *command, int64_t deadline)
{
    struct spawned guard;
    bool gone;

    (void)pthread_mutex_lock(&command->mutex);
    guard = command->guard;
    command->guard = (struct spawned){0};
    (void)pthread_mutex_unlock(&command->mutex);
    gone = brood__spawned_reap(&guard, deadline);
    if (gone)
        return true;
    (void)pthread_mutex_lock(&command->mutex);
    command->guard = guard;
    (void)pthread_mutex_unlock(&command->mutex);
    return false;
}

static void bury_guard(brood_command *command)
{
    if (brood__command_bury(command, deadline_in(GUARD_KILL_MS)))
        return;
    signal_guard(command, SIGKILL);
    (void)brood__command_bury(command, deadline_in(GUARD_KILL_MS));
}

static void close_all(brood_command *command)
{
    for (unsigned i = 0; i < 3; i++)
        brood__command_close_end(command, i);
    if (command->poller >= 0)
        brood__private_remove(command->poller);
    brood__fd_close(command->poller);
    if (command->control >= 0)
        brood__private_remove(command->control);
    brood__fd_close(command->control);
}

void brood_command_free(brood_command *command)
{
    int saved = errno;
    int r = brood__command_check(command);

    if (r == BROOD_EHANDLE)
        return;
    if (r == 0) {
        if (!command->ended)
            end_command(command);
        bury_guard(command);
        close_all(command);
    }
    brood__capture_done(&command->captures[0]);
    brood__capture_done(&command->captures[1]);
    command->magic = 0;
    brood__stable_give(&handles, command);
    errno = saved;
}
