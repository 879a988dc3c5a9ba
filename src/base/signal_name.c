/* SPDX-License-Identifier: MIT */
/*
 * The names of signals. sigabbrev_np() is not in every C library, strsignal() translates, and
 * neither is async-signal-safe by its contract; this is a table.
 */
#include "base/signal_name.h"

#include <signal.h>
#include <stdio.h>

#define NAME(signal) [signal] = #signal

static const char *const names[] = {
    NAME(SIGHUP),  NAME(SIGINT),    NAME(SIGQUIT), NAME(SIGILL),    NAME(SIGTRAP), NAME(SIGABRT),
    NAME(SIGBUS),  NAME(SIGFPE),    NAME(SIGKILL), NAME(SIGUSR1),   NAME(SIGSEGV), NAME(SIGUSR2),
    NAME(SIGPIPE), NAME(SIGALRM),   NAME(SIGTERM), NAME(SIGSTKFLT), NAME(SIGCHLD), NAME(SIGCONT),
    NAME(SIGSTOP), NAME(SIGTSTP),   NAME(SIGTTIN), NAME(SIGTTOU),   NAME(SIGURG),  NAME(SIGXCPU),
    NAME(SIGXFSZ), NAME(SIGVTALRM), NAME(SIGPROF), NAME(SIGWINCH),  NAME(SIGIO),   NAME(SIGPWR),
    NAME(SIGSYS),
};

const char *brood__signal_name(int signo, char buffer[SIGNAL_NAME_SIZE])
{
    const int count = sizeof names / sizeof names[0];

    if (signo > 0 && signo < count && names[signo] != NULL)
        (void)snprintf(buffer, SIGNAL_NAME_SIZE, "%s", names[signo]);
    else if (signo >= SIGRTMIN && signo <= SIGRTMAX)
        (void)snprintf(buffer, SIGNAL_NAME_SIZE, "SIGRTMIN+%d", signo - SIGRTMIN);
    else
        (void)snprintf(buffer, SIGNAL_NAME_SIZE, "signal %d", signo);
    return buffer;
}
