/* SPDX-License-Identifier: MIT */
/* One test under supervision. */
#ifndef BROOD_TESTS_HARNESS_RUNNER_H
#define BROOD_TESTS_HARNESS_RUNNER_H

#include "harness/test.h"

enum verdict { PASSED, FAILED, SKIPPED };

struct outcome {
    enum verdict verdict;
    char text[4096]; /* why it failed or was skipped */
    int output_fd;   /* what the test printed; the caller closes it */
};

/* Makes this process a subreaper, gives it a /dev/shm of its own if it may, and listens for the
 * end of children. Once. */
void runner_prepare(void);
void runner_run(const struct test_case *test, struct outcome *out);
/* In this very process, for a debugger; nothing is asked afterwards. */
void runner_run_in_place(const struct test_case *test);

#endif
