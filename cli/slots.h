/* SPDX-License-Identifier: MIT */
/* How many jobs may run at once, and when the next one may start. */
#ifndef BROOD_CLI_SLOTS_H
#define BROOD_CLI_SLOTS_H

#include "options.h"

#include <stdint.h>

#define SLOTS_NO_LIMIT ((size_t)1 << 20)

/* -j: 8, 50%, +2, -1, 0 (no limit), or a file that has one of these. */
size_t slots_count(const char *jobs);
/* Milliseconds until load and memory are to be looked at again; 0: a job may start now. */
int64_t slots_hold_ms(const struct options *options);
int64_t clock_us(void);

#endif
