/* SPDX-License-Identifier: MIT */
/*
 * Another program in a new process, at a cost that does not grow with the caller's memory; and
 * the pipes and terminals that stand between the two. With the promises of sys/kernel.h.
 */
#ifndef BROOD_SRC_SYS_SPAWN_H
#define BROOD_SRC_SYS_SPAWN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* ---- a process ---- */

struct spawn {
    int program; /* a descriptor of the file that is executed */
    const char *const *argv, *const *environment;
    const int *fds; /* the i-th becomes descriptor i of the program; it has no others */
    unsigned fd_count;
};

/* One that runs, or is dead and not reaped. A zeroed one is none. */
struct spawned {
    pid_t pid;
    int pidfd;         /* kept only where the kernel gives pidfds no identity; else 0 */
    uint64_t identity; /* of pid, among all that ever had this number; 0: not to be had */
};

/* Returns when the program was executed, and nothing of the caller's memory is shared any more.
 * All signals are blocked in the program. 0; or -errno, and *OUT_IN_EXEC says whether it is that
 * of execve(2). */
int brood__spawn(const struct spawn *spawn, struct spawned *out, bool *out_in_exec);
/* Waits until DEADLINE for its death, and takes it from the kernel: true, and *CHILD is none. It
 * may be somebody else's by then, who waited for any child: that is as good. */
bool brood__spawned_reap(struct spawned *child, int64_t deadline);
/* -ESRCH: it is gone, whoever has its number now. */
int brood__spawned_signal(const struct spawned *child, int signo);

/* A memory object that holds a program of LEN bytes, which nobody can change; -EACCES: the system
 * forbids to execute those. */
int brood__program_new(const char *name, const void *data, size_t len);
/* What tells an open file from all others; false: FD is not open. */
struct file_identity {
    uint64_t device, inode;
};
bool brood__fd_identity(int fd, struct file_identity *out);

/* ---- pipes and terminals ---- */

int brood__pipe_pair(int out_ends[2]); /* [0] to read, [1] to write */
int brood__fd_set_blocking(int fd, bool blocking);
/* As brood__fd_write(), and never raises SIGPIPE. */
int64_t brood__fd_write_quiet(int fd, const void *data, size_t len);
/* Bytes that wait in a pipe. */
int64_t brood__pipe_pending(int fd);
/* A new terminal: the side of whoever sits at it, and that of the programs. */
int brood__terminal_new(int *out_user, int *out_program);

#endif
