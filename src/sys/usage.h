/* SPDX-License-Identifier: MIT */
/* What a process uses, as the kernel counts it. */
#ifndef BROOD_SRC_SYS_USAGE_H
#define BROOD_SRC_SYS_USAGE_H

#include <stdint.h>
#include <sys/types.h>

/* Private resident memory of PID in bytes (shared memory and files not counted), or -errno. */
int64_t brood__usage_private(pid_t pid);
/* When to look again at a process that may grow by GROWTH_LEFT bytes before its limit: no memory
 * is filled faster than this allows. Nanoseconds from now, between 1 ms and 1 s. */
int64_t brood__usage_look_again_ns(uint64_t growth_left);

#endif
