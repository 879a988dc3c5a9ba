/* SPDX-License-Identifier: MIT */
/*
 * One-shot gates between processes and threads, so that no test sleeps to "let it happen".
 *
 *     struct gate *gate = gate_new();
 *     if (fork() == 0) { gate_open(gate); ... }
 *     gate_wait(gate);                            fails the test if nobody opens it in time
 *     gate_free(gate);
 *
 * A gate is a word in memory shared with every process forked after gate_new(), closed until it
 * is opened, and open for ever after. It has no descriptor, so nothing is inherited or leaked.
 * A child that is killed before it opens its gate leaves it closed; the waiter's patience ends.
 */
#ifndef BROOD_TESTS_HARNESS_GATE_H
#define BROOD_TESTS_HARNESS_GATE_H

#include <stdbool.h>
#include <stdint.h>

struct gate;

struct gate *gate_new(void);
void gate_free(struct gate *gate); /* in the process that made it; NULL is allowed */

/* Async-signal-safe. */
void gate_open(struct gate *gate);
bool gate_is_open(const struct gate *gate);
/* Until it is open; fails the test after TEST_PATIENCE_MS. */
void gate_wait(struct gate *gate);
/* Until it is open: true; or for TIMEOUT_MS at most: false. Negative: for ever. */
bool gate_wait_ms(struct gate *gate, int64_t timeout_ms);

/* How often a place was passed, and waiting for the n-th time. A gate is open when this is 1. */
void gate_count(struct gate *gate);
uint32_t gate_counted(const struct gate *gate);
void gate_wait_count(struct gate *gate, uint32_t count);

#endif
