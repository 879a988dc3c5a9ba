/* SPDX-License-Identifier: MIT */
/* What the files of brood_command share. */
#ifndef BROOD_SRC_RUN_COMMAND_INSIDE_H
#define BROOD_SRC_RUN_COMMAND_INSIDE_H

#include <brood/command.h>

#include "base/handle.h"
#include "run/command_capture.h"
#include "run/guard_wire.h"
#include "sys/spawn.h"

#include <pthread.h>

enum { COMMAND_REPORT_SIZE = 512 };

struct brood_command {
    void *link; /* of the list of free ones */
    uint64_t magic;
    uint64_t self; /* the process that the handle belongs to */
    int pid;
    int control; /* to the guard; readable for ever once it has ended */
    int ends[3]; /* ours, of 0, 1 and 2, or -1 */
    bool in_is_pipe, is_terminal;
    const char *in_data; /* what is to be written, borrowed; in_done of in_len bytes are */
    size_t in_len, in_done;
    bool in_feeds; /* ends[0] is written by the pump */
    bool captured[2], drained;
    struct capture captures[2]; /* of 1 and 2 */
    int poller;                 /* or -1 */
    _Atomic int64_t overdue;    /* when the guard should have stopped it, or NEVER */
    pthread_mutex_t mutex;      /* guards what follows */
    struct spawned guard;       /* until somebody reaps it */
    bool ended, cancelled;      /* cancelled: on request, or by on_data */
    brood_outcome outcome;
    char report[COMMAND_REPORT_SIZE];
};
HANDLE_BEGINS(struct brood_command);

/* ---- command.c ---- */

/* 0, BROOD_EHANDLE or BROOD_EFORKED. */
int brood__command_check(const brood_command *command);
brood_command *brood__command_new(void); /* of nothing yet; NULL: no memory */
/* Takes what the guard has told; whether the command has ended. Never blocks. */
bool brood__command_take_events(brood_command *command);
/* The command was never there: ERROR and the thread's start error are its outcome. */
void brood__command_never_was(brood_command *command, int error);
/* Waits until DEADLINE for the guard's death; whether it is gone. */
bool brood__command_bury(brood_command *command, int64_t deadline);
/* The guard should have spoken by now. It may be stopped, as it cannot hide from who may signal it:
 * it is woken. */
void brood__command_wake_guard(brood_command *command);
/* Stops it; its verdict is BROOD_ECANCELLED. As brood_command_signal(). */
int brood__command_cancel(brood_command *command);
int brood__command_ask(brood_command *command, const struct guard_request *request);
void brood__command_close_end(brood_command *command, unsigned which);
void brood__command_get_outcome(brood_command *command, brood_outcome *out_outcome);

/* ---- command_start.c ---- */

/* As brood_command_start(). KEEP_FAILED: a command that the system refused to start is an error and
 * *OUT_COMMAND all the same, one that has ended. */
int brood__command_start(brood_command **out_command, const char *const *argv,
                         const brood_command_options *options, bool keep_failed);

/* ---- command_pump.c ---- */

/* Until all COUNT commands have ended and are drained: 0; -ETIMEDOUT; or what poll says. */
int brood__command_pump(brood_command *const *commands, unsigned count, int64_t deadline);

/* ---- command_error.c ---- */

/* The line of brood_command_start_error(). Returns ERROR. */
int brood__start_failed(int error, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* An event NOT_STARTED in words. Returns its error, negative. */
int brood__start_refused(const struct guard_event *event, const char *const *argv,
                         const brood_command_options *options);

#endif
