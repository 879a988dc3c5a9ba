/* SPDX-License-Identifier: MIT */
/* What a test asks about a process, and waits for, without a sleep of its own. */
#ifndef BROOD_TESTS_HARNESS_PROCESS_H
#define BROOD_TESTS_HARNESS_PROCESS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* As /proc shows it: R, S, Z...; '?' if there is none. */
char process_state(pid_t pid);
/* Until it sleeps in the kernel, or is dead. */
void process_await_rest(pid_t pid);
/* Whether it has ended, or does within TIMEOUT_MS. It must not be reaped yet, and is not here. */
bool process_has_ended(pid_t pid, int64_t timeout_ms);
/* That it ends in time; else the test fails with this COMPLAINT. */
void process_await_end(pid_t pid, const char *complaint);

#endif
