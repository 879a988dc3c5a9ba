/* SPDX-License-Identifier: MIT */
/*
 * --term-seq: TERM,200,TERM,100,TERM,50,KILL,25 as a first signal and a grace until SIGKILL. The
 * library sends the first signal once, to the whole tree; the pauses are added up.
 */
#include "stop.h"

#include "text.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

static int signal_number(const char *name)
{
    static const struct {
        const char *name;
        int number;
    } names[] = {{"HUP", SIGHUP},   {"INT", SIGINT},   {"QUIT", SIGQUIT},
                 {"KILL", SIGKILL}, {"USR1", SIGUSR1}, {"USR2", SIGUSR2},
                 {"TERM", SIGTERM}, {"ABRT", SIGABRT}, {"ALRM", SIGALRM}};
    char *end;
    const long number = strtol(name, &end, 10);

    if (end != name && *end == '\0' && number > 0 && number < 65)
        return (int)number;
    if (strncmp(name, "SIG", 3) == 0)
        name += 3;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strcmp(name, names[i].name) == 0)
            return names[i].number;
    return 0;
}

void stop_parse(const char *sequence, int *out_signal, int64_t *out_grace_ms)
{
    char *copy = text_copy(sequence == NULL ? "TERM,350,KILL,25" : sequence), *rest = copy;
    bool at_signal = true;

    *out_signal = 0;
    *out_grace_ms = 0;
    for (char *part; (part = strsep(&rest, ",")) != NULL; at_signal = !at_signal) {
        char *end;
        const int signo = at_signal ? signal_number(part) : 0;
        const long pause_ms = at_signal ? 0 : strtol(part, &end, 10);

        if ((at_signal && signo == 0) || (!at_signal && (*end != '\0' || pause_ms < 0)))
            die("--term-seq is signals and pauses in milliseconds, such as TERM,200,KILL,25; not "
                "'%s'",
                sequence);
        if (*out_signal == 0)
            *out_signal = signo;
        if (signo == SIGKILL)
            break;
        *out_grace_ms += pause_ms;
    }
    if (*out_grace_ms == 0 || *out_signal == SIGKILL)
        *out_grace_ms = -1;
    free(copy);
}
