/* SPDX-License-Identifier: MIT */
/* Time, and waiting for descriptors and children. */
#ifndef BROOD_SRC_GUARD_WAIT_H
#define BROOD_SRC_GUARD_WAIT_H

#include <poll.h>
#include <stdint.h>

#define WAIT_FOREVER INT64_MAX

int64_t now_ns(void);
/* MS from START_NS on; without end if that cannot be counted. */
int64_t later_ns(int64_t start_ns, int64_t ms);

/* Blocks all signals, and makes the end of a child interrupt wait_for(), and nothing else. */
void wait_prepare(void);

/* Until one is ready, a child has ended since the last call, or DEADLINE_NS. How many are ready;
 * 0 or less: none. */
long wait_for(struct pollfd *fds, unsigned count, int64_t deadline_ns);

#endif
