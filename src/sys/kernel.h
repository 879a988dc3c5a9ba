/* SPDX-License-Identifier: MIT */
/*
 * The seam to the kernel: every call that brood makes, with three promises. Those of sockets are in
 * sys/sockets.h.
 *
 *   - Errors come back as -errno; errno itself means nothing afterwards.
 *   - Each is a fault point (base/fault.h), so a test can make any of them fail.
 *   - Descriptors are close-on-exec from birth and never 0, 1 or 2.
 *
 * A call interrupted by a signal is made again, unless its comment says otherwise. What has no
 * comment is as its man page says. Only files of sys/ call the system directly.
 */
#ifndef BROOD_SRC_SYS_KERNEL_H
#define BROOD_SRC_SYS_KERNEL_H

#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/types.h>

/* ---- descriptors ---- */
int brood__fd_close(int fd); /* takes -1; returns -1, so that fd = brood__fd_close(fd) */
int brood__fd_open(const char *path, int flags);
int brood__fd_duplicate(int fd);
int64_t brood__fd_read(int fd, void *data, size_t len); /* bytes, 0 at the end */
int64_t brood__fd_read_at(int fd, void *data, size_t len, uint64_t offset);
int64_t brood__fd_write(int fd, const void *data, size_t len); /* no SIGPIPE for sockets only */
int brood__fd_event(void);                                     /* an eventfd, not blocking, 0 */
int brood__fd_wait(struct pollfd *fds, unsigned count, int64_t deadline); /* ready ones; 0: late */
/* Whether it is readable, or its other end gone, by DEADLINE. For what must not fail: a wait that
 * the kernel has no memory for is tried again a few times. */
bool brood__fd_await(int fd, int64_t deadline);
uint64_t brood__fd_inode(int fd);            /* 0: not open */
int brood__fd_inherit(int fd, bool inherit); /* across exec */
/* Closes FIRST to LAST, both included, whatever they are; 0, or -errno: they may be open still. */
int brood__fd_close_range(unsigned first, unsigned last);
int brood__fd_signals(const sigset_t *signals); /* a signalfd, not blocking */
/* Entries of an open directory as getdents64() gives them: bytes, 0 at the end. */
int64_t brood__directory_read(int fd, void *buffer, size_t size);
/* A whole small file, such as of /proc: bytes read, at most SIZE - 1; a NUL is added. */
int64_t brood__file_read(const char *path, char *buffer, size_t size);

/* ---- memory objects ---- */
int brood__memory_object(const char *name, uint64_t len); /* a memfd, sealed at that size */
/* The same, for which brood__memory_forbid() may be called: who maps it after that can only
 * read. */
int brood__memory_object_open(const char *name, uint64_t len);
int brood__memory_forbid(int fd);
/* Whether FD is an object of the first kind, or of the second after the call: 0 and its length, and
 * whether it can only be read; -EINVAL: it is something else. */
int brood__memory_inspect(int fd, uint64_t *out_len, bool *out_readonly);
/* Of ordinary pages, that a commit makes sure of. */
bool brood__memory_is_plain(int fd);
int brood__memory_map_readonly(void **out_address, int fd, uint64_t offset, size_t len);
int brood__memory_map(void **out_address, int fd, uint64_t offset, size_t len); /* shared */
/* A private mapping: writing there changes nothing for others. */
int brood__memory_map_copy(void **out_address, int fd, size_t len);
int brood__memory_map_private(void **out_address, size_t len); /* zeroed */
int brood__memory_map_family(void **out_address, size_t len);  /* zeroed, shared with children */
void brood__memory_unmap(void *address, size_t len);
int brood__memory_commit(int fd, uint64_t offset, uint64_t len); /* pages now, or -ENOMEM */
int brood__memory_punch(int fd, uint64_t offset, uint64_t len);  /* gives pages back */
int brood__memory_deny(void *address, size_t len);               /* a guard: no access */
/* As commit, for [ADDRESS, + LEN) of a mapping; -EINVAL: the kernel is older than 5.14. */
int brood__memory_populate(void *address, size_t len);
int brood__memory_advise(void *address, size_t len, int advice);

/* ---- sleeping on a word in shared memory ---- */
/* Sleeps while *WORD == VALUE, until woken or DEADLINE. 0 woken or changed or interrupted,
 * -ETIMEDOUT. The caller looks again in any case. */
int brood__futex_wait(const void *word, uint32_t value, int64_t deadline);
void brood__futex_wake(const void *word, unsigned count);

/* Several words at once, each while it has its value. */
struct futex_watch {
    const void *word;
    uint32_t value;
};
enum { FUTEX_WATCHES_MAX = 128 };
/* Sleeps until one of them is woken or has another value, or DEADLINE: as brood__futex_wait();
 * -ENOSYS: not on this kernel (before 5.16), or forbidden, or the kernel has no memory for it. */
int brood__futex_wait_any(const struct futex_watch *watches, unsigned count, int64_t deadline);
/* The calling thread's struct robust_list_head, that of libc: <linux/futex.h>. NULL: it has
 * none. */
void *brood__robust_list(void);

/* ---- processes ---- */
pid_t brood__fork(void); /* libc's: with its handlers and its thread id */
int brood__pidfd_open(pid_t pid);
int brood__pidfd_signal(int pidfd, int signo);
/* To the process group that has that process's number, also when the process itself is gone: no
 * other group can have it meanwhile. -EINVAL before Linux 6.9. */
int brood__pidfd_signal_group(int pidfd, int signo);
int brood__kill(pid_t pid, int signo); /* also groups */
/* Waits for children, as wait4: pid, 0 with WNOHANG, -ECHILD. */
pid_t brood__wait(pid_t pid, int *out_status, int flags, struct rusage *out_usage);
pid_t brood__wait_peek(void);     /* a dead child, left as it is; 0: none is dead; -ECHILD: none */
int brood__pidfd_reap(int pidfd); /* waits for that child; -ECHILD: not ours, or reaped */
/* The CPUs this thread may run on: bytes of MASK that were set; -EINVAL: it needs more. */
int64_t brood__affinity_get(void *mask, size_t size);
int brood__unshare(int flags);
int brood__control(int option, unsigned long argument); /* prctl */
int brood__group_set(pid_t pid, pid_t group);
int brood__limit_set(int resource, uint64_t soft);
int brood__mask_block_all(sigset_t *out_old);
void brood__mask_restore(const sigset_t *old);
/* Default actions instead of handlers, but for those of crash signals. What is ignored stays so,
 * except SIGCHLD: who ignores it cannot wait for children. */
void brood__signals_reset(void);
void brood__yield(void); /* lets another thread run here, if one wants to */
void brood__exit_now(int code) __attribute__((noreturn));

#endif
