/* SPDX-License-Identifier: MIT */
/*
 * What a test and its runner share: one page of memory that survives every fork, so a failure is
 * known to the runner although the failing process may have lost all its descriptors, changed
 * its user, and live in another PID namespace.
 */
#ifndef BROOD_TESTS_HARNESS_RECORD_H
#define BROOD_TESTS_HARNESS_RECORD_H

#include "harness/test.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <sys/types.h>

enum record_state {
    RECORD_RUNNING = 0,
    RECORD_WRITING,  /* somebody is failing; the message is not whole yet */
    RECORD_FAILED,   /* the message is whole */
    RECORD_SKIPPED,  /* the message is the reason */
    RECORD_FINISHED, /* the function returned, and left nothing behind inside its process */
};

struct record {
    _Atomic uint32_t events; /* changes with each event the runner waits for; a futex word */
    _Atomic uint32_t state;  /* enum record_state */
    _Atomic pid_t owner;     /* the process that may return from the function it was given */
    _Atomic uint32_t notes_len;
    bool in_place; /* --no-fork: a failure stops for the debugger */
    char where[256];
    char message[2048];
    char notes[4096];
};

/* Makes it at first use. */
struct record *record_get(void);
void record_reset(void);
/* Async-signal-safe. */
void record_event(void);

/* A line of text that the runner prints whether the test passes or not. */
void test_note(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* What a failure adds to its message from now on, such as the point of a sweep; "" for nothing. */
void test_where(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Begins the numbers of test_random() anew. */
void random_start(uint64_t seed, const char *name);

/*
 * Runs FUNCTION in this process, which becomes the owner, asks what it left behind in here and
 * ends the process: with 0 by exit() (so that sanitizers report), or as test_fail() does.
 * FINISHED: whether the record then says so.
 */
void run_as_owner(void (*function)(void *), void *context, bool finished) __attribute__((noreturn));

#endif
