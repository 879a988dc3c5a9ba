/* SPDX-License-Identifier: MIT */
/*
 * brood run: one command with limits, like timeout(1) and time(1), and nothing of it is left.
 *
 * Its streams are brood's own. It stays in brood's process group, so Ctrl-C reaches it as if brood
 * were not there; brood itself passes SIGTERM and SIGHUP on, and begins to stop it at the second
 * signal of whatever kind. If brood is killed the guard of the library ends what runs.
 *
 * Status: that of the command; 124 over its time; 137 over its memory; 128+N ended by signal N;
 * 126 and 127 not started; 255 a mistake.
 */
#include "map.h"
#include "options.h"
#include "stop.h"
#include "text.h"

#include <brood.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { STATUS_TIMED_OUT = 124, STATUS_NOT_STARTED = 126, STATUS_NOT_FOUND = 127 };

static int signal_pipe[2] = {-1, -1};

static void note_signal(int signo)
{
    const int saved = errno;
    const char byte = (char)signo;

    (void)!write(signal_pipe[1], &byte, 1); /* a full pipe has enough of them */
    errno = saved;
}

static void catch_signals(void)
{
    static const int signals[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};
    struct sigaction action = {.sa_handler = note_signal, .sa_flags = SA_RESTART}, old;

    if (pipe2(signal_pipe, O_CLOEXEC | O_NONBLOCK) != 0)
        die("no pipe to be had: %s", strerror(errno));
    for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++)
        if (sigaction(signals[i], NULL, &old) == 0 && old.sa_handler != SIG_IGN)
            (void)sigaction(signals[i], &action, NULL);
}

static void set_options(const struct options *options, brood_command_options *out)
{
    if (options->timeout != NULL) {
        const double seconds = parse_duration(options->timeout);

        if (seconds < 0)
            die("--timeout is a time such as 10 or 1m30s, not '%s'", options->timeout);
        out->timeout_ms = seconds > 0 ? (int64_t)(seconds * 1000) + (seconds < 0.001) : 0;
    }
    if (options->stop_sequence != NULL)
        stop_parse(options->stop_sequence, &out->stop_signal, &out->stop_grace_ms);
    out->cwd = options->directory;
    out->nice = options->nice;
    out->memory_max = (uint64_t)options->memory_max;
    out->cpu_time_ms = (int64_t)(options->cpu_time_s * 1000);
    out->env = (const char *const *)options->environment.at;
    if (options->namespace_wanted)
        out->containment = BROOD_CONTAIN_NAMESPACE;
}

/* SIGINT and SIGQUIT of a terminal have reached the command already. */
static void pass_signals(brood_command *command, int *count)
{
    char signo;

    while (read(signal_pipe[0], &signo, 1) == 1) {
        if ((*count)++ > 0)
            (void)brood_command_stop(command);
        else if (!isatty(STDIN_FILENO) || (signo != SIGINT && signo != SIGQUIT))
            (void)brood_command_signal(command, signo, false);
    }
}

static void wait_for_end(brood_command *command, brood_outcome *out)
{
    int signals = 0, r;

    while ((r = brood_command_wait(command, 0, out)) == -ETIMEDOUT) {
        struct pollfd fds[2] = {{.fd = brood_command_poll_fd(command), .events = POLLIN},
                                {.fd = signal_pipe[0], .events = POLLIN}};

        if (poll(fds, 2, -1) < 0 && errno != EINTR)
            die("cannot wait for the command: %s", strerror(errno));
        if (fds[1].revents != 0)
            pass_signals(command, &signals);
    }
    if (r < 0)
        die("lost the command: %s", brood_strerror(r));
}

static int status_of(const brood_outcome *outcome)
{
    switch (outcome->cause) {
    case BROOD_EXITED:
        return outcome->code;
    case BROOD_SIGNALLED:
        return 128 + outcome->signal;
    case BROOD_TIMED_OUT:
        return STATUS_TIMED_OUT;
    case BROOD_OUT_OF_MEMORY:
        return 128 + SIGKILL;
    case BROOD_CANCELLED:
        return 128 + (outcome->signal != 0 ? outcome->signal : SIGTERM);
    default:
        return EXIT_ERROR;
    }
}

static const char *cause_name(const brood_outcome *outcome)
{
    switch (outcome->cause) {
    case BROOD_EXITED:
        return "exited";
    case BROOD_SIGNALLED:
        return "signalled";
    case BROOD_TIMED_OUT:
        return "timeout";
    case BROOD_OUT_OF_MEMORY:
        return "oom";
    case BROOD_CANCELLED:
        return "cancelled";
    default:
        return "lost";
    }
}

static void print_report(const struct options *options, const brood_outcome *outcome)
{
    const bool to_stderr = strcmp(options->report, "-") == 0;
    FILE *file = to_stderr ? stderr : fopen(options->report, "we");
    char line[256];

    if (file == NULL) {
        warn("cannot write the report '%s': %s", options->report, strerror(errno));
        return;
    }
    if (options->json)
        fprintf(file,
                "{\"cause\": \"%s\", \"code\": %d, \"signal\": %d, \"wall_s\": %.3f, \"user_s\": "
                "%.3f, \"system_s\": %.3f, \"peak_bytes\": %llu, \"containment\": \"%s\"}\n",
                cause_name(outcome), outcome->code, outcome->signal, (double)outcome->wall_us / 1e6,
                (double)outcome->user_us / 1e6, (double)outcome->system_us / 1e6,
                (unsigned long long)outcome->peak_rss,
                brood_containment_name(outcome->containment));
    else
        fprintf(
            file, "%s\nwall %.3f s, user %.3f s, system %.3f s, peak %.1f MiB, containment %s\n",
            brood_outcome_text(outcome, line, sizeof line), (double)outcome->wall_us / 1e6,
            (double)outcome->user_us / 1e6, (double)outcome->system_us / 1e6,
            (double)outcome->peak_rss / 1048576.0, brood_containment_name(outcome->containment));
    if (!to_stderr && fclose(file) != 0)
        warn("the report '%s' is incomplete: %s", options->report, strerror(errno));
}

int verb_run(int argc, char **argv)
{
    struct options options = {0};
    brood_command_options command_options = {0};
    brood_command *command = NULL;
    brood_outcome outcome = {0};
    int first, r, status;

    text_program_is("brood run");
    first = options_read(&options, VERB_RUN, argc, argv);
    if (first == argc)
        die("which command? As in: brood run --timeout 10m -- make check");
    if (options.json && options.report == NULL)
        options.report = "-";
    list_add(&options.environment, NULL);
    set_options(&options, &command_options);
    catch_signals();
    r = brood_command_start(&command, (const char *const *)argv + first, &command_options);
    if (r < 0) {
        warn("not started: %s", brood_command_start_error());
        list_done(&options.environment);
        return r == -ENOENT ? STATUS_NOT_FOUND : STATUS_NOT_STARTED;
    }
    wait_for_end(command, &outcome);
    if (outcome.cause != BROOD_EXITED && options.report == NULL)
        warn("%s", brood_outcome_text(&outcome, (char[256]){0}, 256));
    if (options.report != NULL)
        print_report(&options, &outcome);
    status = status_of(&outcome);
    brood_command_free(command);
    list_done(&options.environment);
    return status;
}
