/* SPDX-License-Identifier: MIT */
/* A forked process that is driven instruction by instruction (ptrace). */
#ifndef BROOD_TESTS_HARNESS_TRACE_H
#define BROOD_TESTS_HARNESS_TRACE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum trace_event {
    TRACE_STOPPED, /* before an instruction of the operation */
    TRACE_AT_END,  /* the operation has returned */
    TRACE_ASLEEP,  /* in the kernel, until somebody wakes it */
    TRACE_GONE     /* dead; status says how */
};

struct tracee {
    pid_t pid;
    int status;     /* when gone */
    uint64_t place; /* the next instruction; 0 while asleep */
};

/* The addresses of the instructions of an operation, in the order they were executed. */
struct trace {
    uint64_t *places;
    unsigned count;
    unsigned room;
    enum trace_event end; /* how it ended: AT_END or ASLEEP */
};

/* Once before and after the calls below: one CPU for this process and its children, which makes
 * steps several times faster, and SIGCHLD blocked, which trace_*() wait for. */
struct trace_setting;
struct trace_setting *trace_enter(void);
void trace_leave(struct trace_setting *setting);

/* Forks. The child calls BEFORE (unless NULL) and then OPERATION, and stops before its first
 * instruction. Fails the test if it does not get there. */
void trace_start(struct tracee *out, void (*before)(void *), void (*operation)(void *),
                 void *context);
void trace_kill(struct tracee *tracee);

/* Records the way to the end of the operation. */
void trace_record(struct tracee *tracee, struct trace *out);
void trace_free(struct trace *trace);

/* Goes to the instruction with this index in TRACE. AT_END or GONE if it took another way. */
enum trace_event trace_go_to(struct tracee *tracee, const struct trace *trace, unsigned index);
/* Lets it go on freely until it is at the end of the operation, asleep or gone. One that this
 * call has shown asleep goes on with the next. */
enum trace_event trace_go_on(struct tracee *tracee);
/* From the end of the operation: until it has exited. Returns its status. */
int trace_finish(struct tracee *tracee);

#endif
