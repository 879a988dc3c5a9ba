/* SPDX-License-Identifier: MIT */
/* What the three standard streams of a command are connected to. */
#ifndef BROOD_SRC_RUN_COMMAND_STREAMS_H
#define BROOD_SRC_RUN_COMMAND_STREAMS_H

#include <brood/command.h>

#include <stdbool.h>

struct command_streams {
    int theirs[3]; /* of the command */
    bool lent[3];  /* theirs is not to be closed: it is somebody else's, or stands here twice */
    int ours[3];   /* or -1 */
};

/* For options that have been checked. 0, or an error and the thread's start error; then nothing is
 * open. */
int brood__streams_open(struct command_streams *streams, const brood_command_options *options);
/* The command's sides, when it has them. */
void brood__streams_close_theirs(struct command_streams *streams);
void brood__streams_close(struct command_streams *streams);

#endif
