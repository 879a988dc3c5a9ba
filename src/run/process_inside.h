/* SPDX-License-Identifier: MIT */
/* What the files of brood_process share. */
#ifndef BROOD_SRC_RUN_PROCESS_INSIDE_H
#define BROOD_SRC_RUN_PROCESS_INSIDE_H

#include <brood/process.h>

#include "base/handle.h"
#include "run/zygote.h"
#include "sys/crash.h"

#include <pthread.h>
#include <stdatomic.h>

/* What a handle stands for, as bits, so that a call can say which it takes. */
enum { HANDLE_CHILD = 1, HANDLE_CURRENT = 2, HANDLE_PARENT = 4 };

enum { PROCESS_NOT_BEGUN = 0, PROCESS_RUNS = 1, PROCESS_HAS_RETURNED = 2 };

/*
 * Shared by the process that starts and the child: a page of this, name and argument, and at the
 * end the crash record. The child may write anything here; the parent believes only the state,
 * the code and what crash.h makes of the record, and only about the child.
 */
struct process_control {
    _Atomic uint32_t state;
    int32_t code;                /* with PROCESS_HAS_RETURNED */
    uint64_t function, argument; /* in the child; an argument that is copied: its offset */
    uint64_t argument_len, name_offset, record_offset;
    int32_t parent_pid;
    uint32_t daemon;
};

/* The payload of the birth. Its descriptors: the control block, the pidfd of the parent. */
struct process_birth {
    uint64_t control_len;
};

struct brood_process {
    void *link; /* of the list of free ones */
    uint64_t magic;
    uint32_t kind;
    uint64_t self;                       /* the process that the handle belongs to */
    struct brood_process *older, *newer; /* in the family */
    char *name;
    pid_t pid;
    int pidfd; /* of the child; for PARENT of the parent */
    bool daemon;
    struct zygote zygote;
    struct process_control *control;
    size_t control_len;
    uint64_t record_offset; /* of the crash record; ours, as the child can write to the control */
    uint64_t memory_max;
    int64_t limit;         /* when the guardian kills it, a moment; or NEVER */
    pthread_mutex_t mutex; /* guards what follows */
    bool ended;
    int exit_code; /* as Python reports it */
    brood_outcome outcome;
    char *report;
};
HANDLE_BEGINS(struct brood_process);

/* 0, BROOD_EHANDLE or BROOD_EFORKED. */
int brood__process_check(const brood_process *process, unsigned kinds);
/* Takes what the guardian has told. Whether the child has ended. Never blocks, but for a moment
 * when the guardian was killed. */
bool brood__process_ended(brood_process *process);
/* Until it has ended, or DEADLINE. */
bool brood__process_await(brood_process *process, int64_t deadline);

/* ---- process_family.c: all handles of this process ---- */
brood_process *brood__family_new(void); /* zeroed but for magic and self; not yet a member */
void brood__family_join(brood_process *process);
void brood__family_leave(brood_process *process);
void brood__family_free(brood_process *process); /* its memory; the handle is invalid now */
unsigned brood__family_number(void);             /* for the next default name, from 1 */

#endif
