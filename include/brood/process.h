/* SPDX-License-Identifier: MIT */
/*
 * brood/process.h - run one function in a process of its own.
 *
 *     brood_process *child = NULL;
 *     int r = brood_process_start(&child, work, &job, sizeof job, NULL);
 *     r = brood_process_join(child, BROOD_FOREVER, &outcome);
 *
 * Between your process and the child stands a guardian, a small process of brood's: it takes
 * the child's descendants along when the child ends, and all of them when your process does,
 * however it does. getppid() in the child names the guardian; brood_process_parent() you.
 *
 * Threads: different handles may be used by different threads at once; one handle by one thread
 *          at a time, except that pid, name, alive, signal, terminate and kill may be called
 *          beside a join.
 * Fork:    a handle belongs to the process that started it. In a forked child calls return
 *          BROOD_EFORKED, and free only releases memory.
 * Children: none of your own children is waited for, and SIGCHLD is left alone.
 */
#ifndef BROOD_PROCESS_H
#define BROOD_PROCESS_H

#include <brood/base.h>

BROOD_BEGIN_DECLS

typedef struct brood_process brood_process;

/* Runs in the new process; what it returns is the outcome's code, and its low eight bits the
 * exit status. The type of thrd_start_t. */
typedef int brood_main_fn(void *arg);

/* Zero, or a NULL pointer instead of the whole struct, means the default. */
typedef struct brood_process_options {
    const char *name;     /* copied; default: "process-N" */
    int start;            /* enum brood_start; default: BROOD_START_FORK */
    int containment;      /* enum brood_containment to try for; default: BROOD_CONTAIN_GROUP */
    bool daemon;          /* brood_process_join_all() does not wait for it, but ends it */
    bool allow_threads;   /* fork although other threads run; see BROOD_ETHREADS */
    int64_t timeout_ms;   /* then it is killed, with all it started; 0 or negative: no limit */
    uint64_t memory_max;  /* bytes it may grow by, then it is killed; an allocation that alone
                             exceeds it fails; default: no limit */
    uint64_t reserved[4]; /* must be zero */
} brood_process_options;

/*
 * brood_process_start() - run FN(ARG) in a new process.
 *
 * ARG_LEN bytes at ARG are copied and FN gets the address of its copy, aligned for anything;
 * with ARG_LEN 0 it gets the pointer itself (BROOD_START_FORK only, else ARG must be NULL).
 * stdout and stderr are flushed first, and the child flushes its own: no line appears twice.
 * Returns when the child runs, within milliseconds and the time to copy your page tables. Each
 * process holds three descriptors until it is freed.
 *
 * Returns 0 and sets *OUT_PROCESS, which brood_process_free() releases; or leaves it alone and
 * returns
 *   -EINVAL          a NULL output or function, NULL with a length, an option out of range, a
 *                    pointer without length for the fork server, a reserved field not zero
 *   -EAGAIN, -EMFILE, -ENFILE, -ENOMEM  no process, descriptor or memory to be had
 *   -ENOSYS, -EPERM  memfd_create() or pidfd_open() is missing or forbidden here
 *   BROOD_ETHREADS   other threads run, or /proc cannot tell
 *   BROOD_EINIT      BROOD_START_FORKSERVER without brood_init(), or the server ended before it
 *   BROOD_EFUNCTION  FN is in a module loaded after the fork server started
 */
BROOD_API BROOD_MUST_CHECK int brood_process_start(brood_process **out_process, brood_main_fn *fn,
                                                   const void *arg, size_t arg_len,
                                                   const brood_process_options *options);

/*
 * brood_process_join() - wait until it has ended, TIMEOUT_MS at most.
 *
 * May be called any number of times, also after it ended. OUT_OUTCOME may be NULL; its report
 * is borrowed until the process is freed.
 *
 * Returns 0: it has ended, and nothing that it started remains; or
 *   -ETIMEDOUT     it still runs
 *   BROOD_EHANDLE, BROOD_EFORKED
 */
BROOD_API BROOD_MUST_CHECK int brood_process_join(brood_process *process, int64_t timeout_ms,
                                                  brood_outcome *out_outcome);

/* Sends it a signal. Returns 0, -ESRCH if it has ended, -EINVAL for no such signal,
 * BROOD_EHANDLE or BROOD_EFORKED. The pid cannot meanwhile belong to somebody else. */
BROOD_API int brood_process_signal(brood_process *process, int signo);
/* SIGTERM to it, which it may handle or ignore. As brood_process_signal(). */
BROOD_API int brood_process_terminate(brood_process *process);
/* SIGKILL to it; what it started goes with it. As brood_process_signal(). */
BROOD_API int brood_process_kill(brood_process *process);

/* 1 it runs, 0 it has ended, or BROOD_EHANDLE, BROOD_EFORKED. Never blocks. */
BROOD_API int brood_process_alive(brood_process *process);
/* Its pid as this process sees it, also after it ended; or BROOD_EHANDLE, BROOD_EFORKED. */
BROOD_API int brood_process_pid(const brood_process *process);
/* Its name, borrowed until it is freed; NULL for a bad handle. */
BROOD_API const char *brood_process_name(const brood_process *process);
/* 1 or 0 as its options said, or BROOD_EHANDLE, BROOD_EFORKED. */
BROOD_API int brood_process_daemon(const brood_process *process);
/* As Python reports it: 1 and sets *OUT_CODE (not NULL) to the exit status, or to -N if signal N
 * ended it; 0 if it still runs; or -EINVAL, BROOD_EHANDLE, BROOD_EFORKED. Never blocks. */
BROOD_API int brood_process_exit_code(brood_process *process, int *out_code);
/* A descriptor that polls readable when join would not wait. Borrowed; do not read or close it.
 * Or BROOD_EHANDLE, BROOD_EFORKED. */
BROOD_API int brood_process_fd(brood_process *process);

/* Kills what still runs with all its descendants, waits for that (for a bounded time: a process in
 * uninterruptible sleep may outlive it), releases all. NULL is allowed; errno is preserved. */
BROOD_API void brood_process_free(brood_process *process);

/* The process that runs: inside a brood_main_fn its own handle; elsewhere, also in a worker of a
 * pool, one named "main". Borrowed for ever. Only pid, name, daemon and alive work on it. */
BROOD_API brood_process *brood_process_current(void);
/* Inside a brood_main_fn the process that started this one, named "parent": pid, name, alive and
 * fd work on it. Elsewhere, also in a worker of a pool, NULL. Borrowed for ever. */
BROOD_API brood_process *brood_process_parent(void);

/* Fills OUT with up to MAX handles of processes that this process started and that still run,
 * oldest first; handles stay borrowed from whoever started them. Returns how many there are. */
BROOD_API size_t brood_process_children(brood_process **out, size_t max);

/* What a Python program does when it ends: waits for every live child that is no daemon, then
 * ends the daemons. Returns 0, or -ETIMEDOUT when TIMEOUT_MS was over before. */
BROOD_API BROOD_MUST_CHECK int brood_process_join_all(int64_t timeout_ms);

BROOD_END_DECLS

#endif
