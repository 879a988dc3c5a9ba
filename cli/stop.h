/* SPDX-License-Identifier: MIT */
/* --term-seq: how a job is stopped. */
#ifndef BROOD_CLI_STOP_H
#define BROOD_CLI_STOP_H

#include <stdint.h>

/* SEQUENCE NULL means the default. Does not return for a bad one. */
void stop_parse(const char *sequence, int *out_signal, int64_t *out_grace_ms);

#endif
