/* SPDX-License-Identifier: MIT */
/*
 * What only /proc tells. Everything here fails with -errno where /proc is missing, hidden or
 * cut down, and the callers say what they do then.
 *
 * In a PID namespace of its own a process still reads the /proc of outside: pids in it are those
 * of outside.
 */
#ifndef BROOD_SRC_SYS_PROC_H
#define BROOD_SRC_SYS_PROC_H

#include <stdint.h>
#include <sys/types.h>

/* Calls EACH with every child of the calling thread, dead ones too, as /proc names it. Children
 * that come or go meanwhile may be missed. 0 or -errno. */
int brood__proc_children(void (*each)(pid_t pid, void *context), void *context);
/* How a process calls itself that /proc calls PID; or -errno. */
pid_t brood__proc_inner_pid(pid_t pid);
/* Whom PIDFD names, as /proc of the caller calls it; -ESRCH when it was reaped; or -errno. */
pid_t brood__proc_pidfd_pid(int pidfd);
/* Bytes of private writable memory of this process, as RLIMIT_DATA counts them; or -errno. */
int64_t brood__proc_data_size(void);

#endif
