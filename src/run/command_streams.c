/* SPDX-License-Identifier: MIT */
/*
 * Opens what the three standard streams of a command are connected to.
 *
 * Each stream has a side of the command and, if it is a pipe or a terminal, one of ours. All are
 * close-on-exec and above 2 from birth. Ours do not block where the pump serves them, and do where
 * the user does; the two ends of a pipe differ in that, so the command never sees it.
 *
 * A descriptor of ours that is closed is given as /dev/null: else the next file that the command
 * opens would be its standard output.
 *
 * A death closes everything.
 */
#include "run/command_streams.h"

#include "run/command_inside.h"
#include "sys/kernel.h"

#include <errno.h>
#include <fcntl.h>

static const char *const names[] = {"stdin", "stdout", "stderr"};

static int lend(struct command_streams *streams, unsigned which, int fd)
{
    streams->theirs[which] = fd;
    streams->lent[which] = true;
    return 0;
}

static int open_file(struct command_streams *streams, unsigned which, const char *path, int flags)
{
    int fd = brood__fd_open(path, flags | O_NOCTTY);

    if (fd < 0)
        return brood__start_failed(fd, "open '%s' for %s: %s", path, names[which],
                                   brood_strerror(fd));
    streams->theirs[which] = fd;
    return 0;
}

static int open_null(struct command_streams *streams, unsigned which)
{
    return open_file(streams, which, "/dev/null", which == 0 ? O_RDONLY : O_WRONLY);
}

static int inherit(struct command_streams *streams, unsigned which)
{
    struct file_identity ignored;

    if (!brood__fd_identity((int)which, &ignored))
        return open_null(streams, which);
    return lend(streams, which, (int)which);
}

static int open_output(struct command_streams *streams, unsigned which, const brood_stream *stream)
{
    int flags = which == 0 ? O_RDONLY : O_WRONLY | O_CREAT | (stream->append ? O_APPEND : O_TRUNC);

    return open_file(streams, which, stream->path, flags);
}

static int open_pipe(struct command_streams *streams, unsigned which, bool served)
{
    int ends[2];
    int r = brood__pipe_pair(ends);

    if (r < 0)
        return brood__start_failed(r, "a pipe for %s: %s", names[which], brood_strerror(r));
    streams->theirs[which] = ends[which == 0 ? 0 : 1];
    streams->ours[which] = ends[which == 0 ? 1 : 0];
    if (served)
        r = brood__fd_set_blocking(streams->ours[which], false);
    return r < 0 ? brood__start_failed(r, "a pipe for %s: %s", names[which], brood_strerror(r)) : 0;
}

static int open_stream(struct command_streams *streams, unsigned which, const brood_stream *stream)
{
    switch (stream->kind) {
    case BROOD_NULL:
        return open_null(streams, which);
    case BROOD_PIPE:
        return open_pipe(streams, which, false);
    case BROOD_BYTES:
    case BROOD_CAPTURE:
        return open_pipe(streams, which, true);
    case BROOD_FILE:
        return open_output(streams, which, stream);
    case BROOD_FD:
        return lend(streams, which, stream->fd);
    case BROOD_MERGE:
        return lend(streams, which, streams->theirs[1]);
    default:
        return inherit(streams, which);
    }
}

static int open_terminal(struct command_streams *streams)
{
    int r = brood__terminal_new(&streams->ours[0], &streams->theirs[0]);

    if (r < 0)
        return brood__start_failed(r, "a terminal: %s", brood_strerror(r));
    (void)lend(streams, 1, streams->theirs[0]);
    return lend(streams, 2, streams->theirs[0]);
}

static int open_all(struct command_streams *streams, const brood_command_options *options)
{
    const brood_stream *const wanted[] = {&options->in, &options->out, &options->err};
    int r = 0;

    if (options->terminal)
        return open_terminal(streams);
    for (unsigned i = 0; i < 3 && r == 0; i++)
        r = open_stream(streams, i, wanted[i]);
    return r;
}

int brood__streams_open(struct command_streams *streams, const brood_command_options *options)
{
    int r;

    *streams = (struct command_streams){.theirs = {-1, -1, -1}, .ours = {-1, -1, -1}};
    r = open_all(streams, options);
    if (r < 0)
        brood__streams_close(streams);
    return r;
}

void brood__streams_close_theirs(struct command_streams *streams)
{
    for (unsigned i = 0; i < 3; i++) {
        if (!streams->lent[i])
            brood__fd_close(streams->theirs[i]);
        streams->theirs[i] = -1;
    }
}

void brood__streams_close(struct command_streams *streams)
{
    brood__streams_close_theirs(streams);
    for (unsigned i = 0; i < 3; i++)
        streams->ours[i] = brood__fd_close(streams->ours[i]);
}
