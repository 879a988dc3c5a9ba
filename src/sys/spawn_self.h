/* SPDX-License-Identifier: MIT */
/* This program, executed anew. */
#ifndef BROOD_SRC_SYS_SPAWN_SELF_H
#define BROOD_SRC_SYS_SPAWN_SELF_H

#include <sys/types.h>

/* Starts it with VARIABLE ("NAME=value") added to its environment, an empty signal mask, and the
 * standard descriptors and KEEP_FDS (same numbers) as all it inherits. Costs the same whatever
 * the size of this process. Its pid or -errno. */
pid_t brood__spawn_self(const char *variable, const int *keep_fds, unsigned keep_count);

#endif
