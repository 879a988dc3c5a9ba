/* SPDX-License-Identifier: MIT */
/*
 * Commands in one call: start, wait, take what came, free.
 *
 * What is wrong with the options of such a call is a pipe that nobody would hold the other end of.
 * The report of an outcome outlives the command that it belongs to, in a line of each thread.
 *
 * A death leaves what it leaves of any command: nothing.
 */
#include "run/command_inside.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

static _Thread_local char last_report[COMMAND_REPORT_SIZE];

static int check_easy(const brood_command_options *options)
{
    if (options == NULL)
        return 0;
    if (options->in.kind == BROOD_PIPE || options->out.kind == BROOD_PIPE ||
        options->err.kind == BROOD_PIPE)
        return brood__start_failed(-EINVAL, "BROOD_PIPE needs somebody at the other end: "
                                            "brood_command_start()");
    if (options->terminal)
        return brood__start_failed(-EINVAL, ".terminal needs somebody at the other end: "
                                            "brood_command_start()");
    return 0;
}

/* Starts it and waits; ended or refused, *OUT_COMMAND is there. Returns the verdict. */
static int run(brood_command **out_command, const char *const *argv,
               const brood_command_options *options)
{
    brood_command *command = NULL;
    int r = check_easy(options);

    if (r == 0)
        r = brood__command_start(&command, argv, options, true);
    if (r == 0) {
        r = brood_command_wait(command, BROOD_FOREVER, NULL);
        if (r < 0) {
            brood_command_free(command);
            return r;
        }
        r = brood_command_outcome(command)->verdict;
    }
    if (command != NULL)
        *out_command = command;
    return r;
}

static void tell_outcome(const brood_command *command, int r, brood_outcome *out_outcome)
{
    const char *report = brood_command_start_error();

    if (out_outcome == NULL)
        return;
    *out_outcome = (brood_outcome){.cause = BROOD_NOT_STARTED, .code = r, .verdict = r};
    if (command != NULL) {
        *out_outcome = *brood_command_outcome(command);
        report = out_outcome->report;
    }
    if (report == NULL)
        return;
    (void)snprintf(last_report, sizeof last_report, "%s", report);
    out_outcome->report = last_report;
}

int brood_call(const char *const *argv, const brood_command_options *options,
               brood_outcome *out_outcome)
{
    brood_command *command = NULL;
    int r = run(&command, argv, options);

    tell_outcome(command, r, out_outcome);
    brood_command_free(command);
    return r;
}

int brood_check_call(const char *const *argv, const brood_command_options *options,
                     brood_outcome *out_outcome)
{
    int r = brood_call(argv, options, out_outcome);

    return r > 0 ? BROOD_EEXIT : r;
}

/* OPTIONS with a default .out captured, and .err if that is wanted too. */
static brood_command_options capturing(const brood_command_options *options, bool err_too)
{
    brood_command_options own = {0};

    if (options != NULL)
        own = *options;
    if (own.out.kind == BROOD_STREAM_DEFAULT)
        own.out.kind = BROOD_CAPTURE;
    if (err_too && own.err.kind == BROOD_STREAM_DEFAULT)
        own.err.kind = BROOD_CAPTURE;
    return own;
}

static int take_text(brood_command *command, int r, char **out_text, size_t *out_len)
{
    struct capture *capture = &command->captures[0];
    const bool is_short = capture->lost > 0;
    const bool no_memory = capture->no_memory;
    size_t len = 0;
    char *text = brood__capture_take(capture, &len);

    *out_text = text;
    if (out_len != NULL)
        *out_len = len;
    if (text == NULL || (is_short && no_memory))
        return -ENOMEM;
    if (r != 0)
        return r > 0 ? BROOD_EEXIT : r;
    return is_short ? -EMSGSIZE : 0;
}

int brood_check_output(const char *const *argv, const brood_command_options *options,
                       char **out_text, size_t *out_len)
{
    const brood_command_options own = capturing(options, false);
    brood_command *command = NULL;
    int r;

    if (out_text == NULL)
        return brood__start_failed(-EINVAL, "there is no place for the text");
    *out_text = NULL;
    if (out_len != NULL)
        *out_len = 0;
    if (own.out.kind != BROOD_CAPTURE)
        return brood__start_failed(-EINVAL, ".out.kind is not BROOD_CAPTURE");
    r = run(&command, argv, &own);
    if (command != NULL && brood_command_outcome(command)->cause != BROOD_NOT_STARTED)
        r = take_text(command, r, out_text, out_len);
    brood_command_free(command);
    return r;
}

int brood_run(brood_command **out_command, const char *const *argv,
              const brood_command_options *options)
{
    const brood_command_options own = capturing(options, true);

    if (out_command == NULL)
        return brood__start_failed(-EINVAL, "there is no place for the command");
    *out_command = NULL;
    return run(out_command, argv, &own);
}
