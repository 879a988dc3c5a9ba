/* SPDX-License-Identifier: MIT */
/* Runs a program full of tests from within a test, and reads its report. */
#ifndef BROOD_TESTS_HARNESS_REPORT_H
#define BROOD_TESTS_HARNESS_REPORT_H

#include <stdbool.h>
#include <stdint.h>

struct report {
    int exit_code; /* -1: killed */
    uint64_t seed;
    char text[16384];
};

/* Runs the tests of tests/programs/PROGRAM whose names contain NAME. */
void report_of(const char *program, const char *name, struct report *out);
void report_of_seed(const char *program, const char *name, uint64_t seed, struct report *out);
bool report_has(const struct report *report, const char *text);

/* That exactly this one test ran, failed, said so in the sum and by its status, and for REASON. */
void report_must_fail(const char *program, const char *name, const char *reason);

/* That a step sweep catches MUTANT, a program in which it must fail so. Skipped without steps. */
void report_must_catch(const char *mutant, const char *sweep, const char *reason);

#endif
