/* SPDX-License-Identifier: MIT */
/*
 * harness/sweep.h - a scenario again and again, each time with another fault or another death.
 *
 *     static void open_and_use(void *context) { ... CHECKs its own promises ... }
 *
 *     TEST_LIMIT(a_pool_survives_any_failing_call, 120)
 *     {
 *         sweep_faults(open_and_use, NULL, NULL);
 *     }
 *
 * The first run counts the fault points (base/fault.h) that the scenario passes, by role of the
 * process and by call site. Then, for each point and each of its first few passages, the scenario
 * runs in a fresh process in which that passage fails (sweep_faults) or ends the process that
 * makes it (sweep_kills). A run must
 *   - return from the scenario. A call may have failed; the scenario checks that it did so with
 *     an error that its contract allows, and frees what it got: a fault is no excuse for a leak;
 *   - leave nothing behind: the same questions as after a test;
 *   - end within its limit.
 * A failure names the point: call, role, place (for addr2line) and passage.
 *
 * The calling test must have no children of its own. Without -Dfaults=true it is skipped.
 * BROOD_SWEEP=all takes all points, BROOD_SWEEP=N as many, evenly spread. The number of points
 * tried is printed with the result.
 */
#ifndef BROOD_TESTS_HARNESS_SWEEP_H
#define BROOD_TESTS_HARNESS_SWEEP_H

#include "base/fault.h"

#include <stdbool.h>
#include <stdint.h>

typedef void sweep_scenario(void *context);

/* Zero means the default. */
struct sweep_options {
    unsigned passages_max; /* of one point; default 3 */
    unsigned sample;       /* points taken unless BROOD_SWEEP is set; default 60 */
    unsigned roles;        /* bits 1 << ROLE_x; default all, but for kills not those of the
                              scenario's own process, CALLER and SUPERVISOR */
    int64_t limit_ms;      /* of one run; default TEST_PATIENCE_MS */
    const char *except;    /* names of calls that are left alone: "write poll" */
    const char *only;      /* names of calls, if not all */
    /* In the process of the test, after each run that was killed or not; may be NULL. */
    void (*observer)(void *context);
};

/* OPTIONS may be NULL. */
void sweep_faults(sweep_scenario *scenario, void *context, const struct sweep_options *options);

/*
 * SIGKILL instead of an error. In a run in which the scenario's own process is killed (ROLE_CALLER
 * or ROLE_SUPERVISOR is among the roles) nothing it started may outlive it for more than the limit.
 */
void sweep_kills(sweep_scenario *scenario, void *context, const struct sweep_options *options);

/* How many of COUNT points to take: all that BROOD_SWEEP asks for, else SAMPLE. The i-th of them
 * is the point i * COUNT / the result. */
unsigned sweep_share(unsigned count, unsigned sample);

#endif
