/* SPDX-License-Identifier: MIT */
/* A PID namespace for the children that the calling process forks from now on. */
#ifndef BROOD_SRC_SYS_NAMESPACE_H
#define BROOD_SRC_SYS_NAMESPACE_H

/* The process must be single-threaded and our own. Makes a user namespace around it where the
 * caller may not make PID namespaces otherwise; user and group keep their numbers.
 *
 * 0; -ENOTRECOVERABLE: half done, the process is of no use any more; or another -errno: refused,
 * nothing has changed. */
int brood__namespace_enter(void);

#endif
