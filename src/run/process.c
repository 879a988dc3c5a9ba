/* SPDX-License-Identifier: MIT */
/*
 * A started process: asking, signalling, waiting, freeing.
 *
 * The guardian ends with its child, so its channel polls readable from the moment it tells how
 * the child ended, and stays so for ever, because the end of the channel follows. Who waits polls
 * the channel and the guardian's pidfd without any lock; who finds one of them readable takes the
 * mutex and what is there. It makes no difference who comes first.
 *
 * A death of the child is told by the guardian after nothing of it is left. If the guardian was
 * killed, the child dies by PDEATHSIG; we see to that ourselves too, wait for it, and call the
 * outcome LOST.
 */
#include "base/clock.h"
#include "base/memory.h"
#include "run/process_inside.h"
#include "sys/kernel.h"
#include "sys/self.h"
#include "sys/sockets.h"

#include <errno.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

enum { LOST_MS = 2000, LATE_NS = 200000000 };

/* ---- handles ---- */

int brood__process_check(const brood_process *process, unsigned kinds)
{
    if (process == NULL || process->magic != PROCESS_MAGIC)
        return BROOD_EHANDLE;
    if (process->self != brood__self())
        return BROOD_EFORKED;
    return (process->kind & kinds) != 0 ? 0 : BROOD_EHANDLE;
}

/* ---- how it ended ---- */

static bool ran_out_of_memory(const brood_process *process, int signo)
{
    const char *memory = (const char *)process->control;
    int seen_signal = 0, seen_errno = 0;

    if (process->memory_max == 0 || (signo != SIGSEGV && signo != SIGABRT))
        return false;
    return brood__crash_seen((const void *)(memory + process->record_offset), &seen_signal,
                             &seen_errno) &&
           seen_signal == signo && seen_errno == ENOMEM;
}

static void judge_signal(brood_process *process, int signo, enum zygote_reason reason)
{
    brood_outcome *outcome = &process->outcome;

    outcome->signal = signo;
    process->exit_code = -signo;
    if (reason == ZYGOTE_BY_TIMEOUT) {
        outcome->cause = BROOD_TIMED_OUT;
        outcome->verdict = BROOD_EDEADLINE;
    } else if (reason != ZYGOTE_BY_ITSELF || ran_out_of_memory(process, signo)) {
        outcome->cause = BROOD_OUT_OF_MEMORY;
        outcome->verdict = BROOD_EMEMORY;
    } else {
        outcome->cause = BROOD_SIGNALLED;
        outcome->verdict = BROOD_ECRASHED;
    }
}

static void judge_exit(brood_process *process, int status)
{
    const uint32_t state = atomic_load(&process->control->state);
    brood_outcome *outcome = &process->outcome;

    process->exit_code = status;
    outcome->cause = BROOD_EXITED;
    outcome->code = status;
    if (state == PROCESS_HAS_RETURNED) {
        outcome->cause = BROOD_RETURNED;
        outcome->code = process->control->code;
    } else if (state == PROCESS_NOT_BEGUN) {
        outcome->cause = BROOD_NOT_STARTED;
        outcome->code = -status;
    }
    outcome->verdict = outcome->code;
}

static void settle(brood_process *process, const struct zygote_event *event)
{
    brood_outcome *outcome = &process->outcome;
    char *memory = (char *)process->control;

    outcome->attempts = 1;
    outcome->wall_us = event->wall_us;
    outcome->user_us = event->user_us;
    outcome->system_us = event->system_us;
    outcome->peak_rss = event->peak_rss;
    if (WIFSIGNALED(event->status)) {
        judge_signal(process, WTERMSIG(event->status), (enum zygote_reason)event->reason);
        process->report = brood__crash_report((void *)(memory + process->record_offset));
        outcome->report = process->report;
    } else {
        judge_exit(process, WEXITSTATUS(event->status));
    }
    process->ended = true;
}

static void settle_lost(brood_process *process)
{
    (void)brood__pidfd_signal_group(process->pidfd, SIGKILL);
    (void)brood__pidfd_signal(process->pidfd, SIGKILL);
    (void)brood__fd_await(process->pidfd, deadline_in(LOST_MS));
    process->outcome.cause = BROOD_LOST;
    process->outcome.verdict = BROOD_ELOST;
    process->outcome.attempts = 1;
    process->exit_code = -SIGKILL;
    process->ended = true;
}

/* With the mutex. */
static void take_events(brood_process *process)
{
    struct zygote_event event;

    if (process->ended)
        return;
    while (!process->ended && brood__zygote_next(&process->zygote, 0, &event) > 0) {
        if (event.kind == ZYGOTE_DIED)
            settle(process, &event);
        else if (event.kind == ZYGOTE_GONE)
            settle_lost(process);
    }
    if (process->ended) /* readable for ever, from now on and not only when the guardian is gone */
        brood__channel_shutdown(process->zygote.channel);
}

static bool is_told(const brood_process *process, int64_t deadline)
{
    struct pollfd fds[] = {{.fd = process->zygote.channel, .events = POLLIN},
                           {.fd = process->zygote.pidfd, .events = POLLIN}};

    return brood__fd_wait(fds, 2, deadline) > 0;
}

bool brood__process_ended(brood_process *process)
{
    bool ended;

    if (!is_told(process, 0))
        return false;
    (void)pthread_mutex_lock(&process->mutex);
    take_events(process);
    ended = process->ended;
    (void)pthread_mutex_unlock(&process->mutex);
    return ended;
}

/* Until there is news or DEADLINE. A child that is dead while its guardian says nothing: somebody
 * may have stopped the guardian, which is told once to go on. */
static void await_news(const brood_process *process, int64_t deadline, bool *told_guardian)
{
    struct pollfd fds[] = {{.fd = process->zygote.channel, .events = POLLIN},
                           {.fd = process->zygote.pidfd, .events = POLLIN},
                           {.fd = *told_guardian ? -1 : process->pidfd, .events = POLLIN}};

    if (brood__fd_wait(fds, 3, deadline) <= 0 || fds[0].revents != 0 || fds[1].revents != 0)
        return;
    (void)brood__pidfd_signal(process->zygote.pidfd, SIGCONT);
    *told_guardian = true;
}

bool brood__process_await(brood_process *process, int64_t deadline)
{
    int64_t look = process->limit == NEVER ? NEVER : process->limit + LATE_NS;
    bool told_guardian = false;

    do {
        await_news(process, look < deadline ? look : deadline, &told_guardian);
        if (brood__process_ended(process))
            return true;
        if (left_ns(look) == 0) { /* it is late: somebody stopped the guardian */
            (void)brood__pidfd_signal(process->zygote.pidfd, SIGCONT);
            look = now_ns() + 5 * (int64_t)LATE_NS;
        }
    } while (left_ns(deadline) > 0);
    return false;
}

int brood_process_join(brood_process *process, int64_t timeout_ms, brood_outcome *out_outcome)
{
    int64_t deadline = deadline_in(timeout_ms);
    int r = brood__process_check(process, HANDLE_CHILD);

    if (r < 0)
        return r;
    if (!brood__process_await(process, deadline))
        return -ETIMEDOUT;
    if (out_outcome != NULL)
        *out_outcome = process->outcome; /* it changes no more */
    return 0;
}

/* ---- signals ---- */

int brood_process_signal(brood_process *process, int signo)
{
    int r = brood__process_check(process, HANDLE_CHILD);

    if (r < 0)
        return r;
    if (brood__process_ended(process))
        return -ESRCH;
    r = brood__pidfd_signal(process->pidfd, signo);
    if (r == 0 && signo == SIGKILL) /* who tells of the death must not be stopped */
        (void)brood__pidfd_signal(process->zygote.pidfd, SIGCONT);
    return r;
}

int brood_process_terminate(brood_process *process)
{
    return brood_process_signal(process, SIGTERM);
}

int brood_process_kill(brood_process *process)
{
    return brood_process_signal(process, SIGKILL);
}

/* ---- questions ---- */

int brood_process_alive(brood_process *process)
{
    int r = brood__process_check(process, HANDLE_CHILD | HANDLE_CURRENT | HANDLE_PARENT);

    if (r < 0)
        return r;
    if (process->kind == HANDLE_CURRENT)
        return 1;
    if (process->kind == HANDLE_CHILD)
        return !brood__process_ended(process);
    return !brood__fd_await(process->pidfd, 0);
}

int brood_process_pid(const brood_process *process)
{
    int r = brood__process_check(process, HANDLE_CHILD | HANDLE_CURRENT | HANDLE_PARENT);

    return r < 0 ? r : process->pid;
}

const char *brood_process_name(const brood_process *process)
{
    if (brood__process_check(process, HANDLE_CHILD | HANDLE_CURRENT | HANDLE_PARENT) < 0)
        return NULL;
    return process->name;
}

int brood_process_daemon(const brood_process *process)
{
    int r = brood__process_check(process, HANDLE_CHILD | HANDLE_CURRENT);

    return r < 0 ? r : process->daemon;
}

int brood_process_exit_code(brood_process *process, int *out_code)
{
    int r = brood__process_check(process, HANDLE_CHILD);

    if (r < 0)
        return r;
    if (out_code == NULL)
        return -EINVAL;
    if (!brood__process_ended(process))
        return 0;
    *out_code = process->exit_code;
    return 1;
}

int brood_process_fd(brood_process *process)
{
    int r = brood__process_check(process, HANDLE_CHILD | HANDLE_PARENT);

    if (r < 0)
        return r;
    return process->kind == HANDLE_PARENT ? process->pidfd : process->zygote.channel;
}

/* ---- the end of a handle ---- */

void brood_process_free(brood_process *process)
{
    int saved = errno;
    int r = brood__process_check(process, HANDLE_CHILD | HANDLE_CURRENT | HANDLE_PARENT);

    if ((r < 0 && r != BROOD_EFORKED) || process->kind != HANDLE_CHILD)
        return;
    if (r == BROOD_EFORKED) {
        brood__zygote_drop(&process->zygote); /* the guardian is not ours to stop */
    } else {
        brood__family_leave(process); /* before its descriptors are closed */
        brood__zygote_stop(&process->zygote);
        brood__private_remove(process->pidfd);
        brood__fd_close(process->pidfd);
    }
    brood__memory_unmap(process->control, process->control_len);
    brood__free(process->name);
    brood__free(process->report);
    brood__family_free(process);
    errno = saved;
}
