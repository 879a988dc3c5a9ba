/* SPDX-License-Identifier: MIT */
/*
 * Commands one behind the other, each with its own guard.
 *
 * They are started from the first to the last, with a pipe between two neighbours of which we keep
 * no end once both have theirs: so who reads finds the end when who writes has gone, and who writes
 * gets SIGPIPE when nobody reads. If one cannot be started, those before it are freed, which kills
 * them.
 *
 * A death of the caller ends each by its own guard.
 */
#include <brood/pipeline.h>

#include "run/command_inside.h"
#include "base/clock.h"
#include "base/memory.h"
#include "sys/kernel.h"

#include <errno.h>

/* ---- starting ---- */

static int check(brood_command *const *out_commands, unsigned count,
                 const char *const *const *argvs, const brood_command_options *options)
{
    if (out_commands == NULL || argvs == NULL || count == 0)
        return brood__start_failed(-EINVAL, "a pipeline of no commands");
    for (unsigned i = 0; options != NULL && i < count; i++) {
        if (i + 1 < count && (options[i].out.kind != BROOD_STREAM_DEFAULT || options[i].terminal))
            return brood__start_failed(-EINVAL, "command %u: its .out is the pipe to the next", i);
        if (i > 0 && (options[i].in.kind != BROOD_STREAM_DEFAULT || options[i].terminal))
            return brood__start_failed(-EINVAL, "command %u: its .in is the pipe from the last", i);
    }
    return 0;
}

/* *INOUT_IN is the pipe from the one before, or -1; it becomes that to the next, or -1. */
static int start_one(brood_command **out_command, const char *const *argv,
                     const brood_command_options *options, int *inout_in, bool is_last)
{
    brood_command_options own = {0};
    int ends[2] = {-1, -1};
    int r = is_last ? 0 : brood__pipe_pair(ends);

    if (r < 0)
        return brood__start_failed(r, "a pipe between two commands: %s", brood_strerror(r));
    if (options != NULL)
        own = *options;
    if (*inout_in >= 0)
        own.in = (brood_stream){.kind = BROOD_FD, .fd = *inout_in};
    if (!is_last)
        own.out = (brood_stream){.kind = BROOD_FD, .fd = ends[1]};
    r = brood_command_start(out_command, argv, &own);
    brood__fd_close(ends[1]);
    brood__fd_close(*inout_in);
    *inout_in = ends[0];
    return r;
}

int brood_pipeline_start(brood_command **out_commands, unsigned count,
                         const char *const *const *argvs, const brood_command_options *options)
{
    brood_command **commands;
    int in = -1;
    int r = check(out_commands, count, argvs, options);

    if (r < 0)
        return r;
    commands = brood__alloc_zeroed(count, sizeof(brood_command *));
    if (commands == NULL)
        return brood__start_failed(-ENOMEM, "no memory for the pipeline");
    for (unsigned i = 0; i < count && r == 0; i++)
        r = start_one(&commands[i], argvs[i], options == NULL ? NULL : &options[i], &in,
                      i + 1 == count);
    brood__fd_close(in);
    for (unsigned i = 0; i < count; i++) {
        if (r == 0)
            out_commands[i] = commands[i];
        else
            brood_command_free(commands[i]);
    }
    brood__free(commands);
    return r;
}

/* ---- waiting ---- */

int brood_pipeline_wait(brood_command **commands, unsigned count, int64_t timeout_ms,
                        brood_outcome *outcomes)
{
    int64_t deadline = deadline_in(timeout_ms);
    int r = commands == NULL ? -EINVAL : 0;

    for (unsigned i = 0; i < count && r == 0; i++)
        r = brood__command_check(commands[i]);
    if (r == 0)
        r = brood__command_pump(commands, count, deadline);
    for (unsigned i = 0; i < count && r == 0 && outcomes != NULL; i++)
        brood__command_get_outcome(commands[i], &outcomes[i]);
    return r;
}
