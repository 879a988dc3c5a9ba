/* SPDX-License-Identifier: MIT */
/*
 * brood/base.h - the words that every part of brood uses: errors, outcomes, start methods.
 *
 * Errors: a function returns 0 or more for success and a negative error. A failure of the
 * system is -errno; brood's own errors are the constants below, which never meet an errno.
 * errno itself is never the channel. Outputs are untouched on failure.
 *
 * -ETIMEDOUT only ever means "your wait ended": it still runs, is still full, is still held. A task
 * over its own limit has the verdict BROOD_EDEADLINE.
 *
 * The library prints nothing, installs no signal handler in your process, and restores every
 * signal mask it changes.
 */
#ifndef BROOD_BASE_H
#define BROOD_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BROOD_VERSION_MAJOR 0
#define BROOD_VERSION_MINOR 1
#define BROOD_VERSION_PATCH 0
#define BROOD_VERSION "0.1.0"

#ifdef __cplusplus
#define BROOD_BEGIN_DECLS extern "C" {
#define BROOD_END_DECLS }
#else
#define BROOD_BEGIN_DECLS
#define BROOD_END_DECLS
#endif

#define BROOD_API __attribute__((visibility("default")))
#define BROOD_MUST_CHECK __attribute__((warn_unused_result))

BROOD_BEGIN_DECLS

/* A wait without end, as is any negative TIMEOUT_MS; in options 0 is without end. Times are
 * milliseconds; anything too large to count is without end too. */
#define BROOD_FOREVER ((int64_t)-1)

/* X(name, value, text): the errors that are brood's own. */
#define BROOD_ERRORS(X)                                                                            \
    X(BROOD_ECRASHED, -4097, "crashed: ended by a signal, or by exit() inside a task")             \
    X(BROOD_EDEADLINE, -4098, "stopped: over its own time limit")                                  \
    X(BROOD_ECANCELLED, -4099, "cancelled")                                                        \
    X(BROOD_EMEMORY, -4100, "stopped: over its memory limit")                                      \
    X(BROOD_ELOST, -4101, "lost: the process that ran the pool's workers is gone")                 \
    X(BROOD_ECLOSED, -4102, "closed: it takes no more work")                                       \
    X(BROOD_EFORKED, -4103, "this object belongs to the parent of this forked process")            \
    X(BROOD_ETHREADS, -4104,                                                                       \
      "other threads run and fork() copies one: start before, or by BROOD_START_FORKSERVER")       \
    X(BROOD_EHANDLE, -4105, "not a live handle of this kind")                                      \
    X(BROOD_EINIT, -4106, "BROOD_START_FORKSERVER needs brood_init(argc, argv) first in main()")   \
    X(BROOD_EFUNCTION, -4107, "the function is in a module that the new process has not loaded")   \
    X(BROOD_EBROKEN, -4108, "broken: a participant of the barrier died, gave up or aborted it")    \
    X(BROOD_EPEER, -4109, "a participant died, and what was waited for has not come")              \
    X(BROOD_EABI, -4110, "shared memory of another build of brood, of another libc, or damaged")   \
    X(BROOD_EREF, -4111,                                                                           \
      "nobody serves this ref (any more): its maker ended, freed it, or is in another network "    \
      "namespace")                                                                                 \
    X(BROOD_EEXIT, -4112, "the command's exit status is not 0")

#define BROOD_ERROR_ENUM(name, value, text) name = value,
enum brood_error {
    BROOD_ERROR_END = -4096, /* the names of errno are above it */
    BROOD_ERRORS(BROOD_ERROR_ENUM)
};
#undef BROOD_ERROR_ENUM

/* The text of a negative error, of brood or of errno; of 0 and more "success". Never NULL.
 * The text is constant for brood's errors, and as strerrordesc_np() or strerror() has it else. */
BROOD_API const char *brood_strerror(int error);

/* The version of the library that runs; BROOD_VERSION is that of the header. */
BROOD_API const char *brood_version(void);

/* How a new process comes to be. The names are Python's. */
enum brood_start {
    BROOD_START_FORK = 1,      /* a copy of this process, with its functions and files */
    BROOD_START_FORKSERVER = 2 /* a copy of a clean process that brood_init() made possible */
};

/* What runs the tasks of a pool. */
enum brood_kind { BROOD_PROCESSES = 1 };

/*
 * How surely everything that a process started can be found and killed with it. You ask for
 * one; the outcome says which one was obtained.
 */
enum brood_containment {
    BROOD_CONTAIN_CHILD = 1,    /* the process itself and nothing else */
    BROOD_CONTAIN_GROUP = 2,    /* its process group, and by a subreaper those who left the group */
    BROOD_CONTAIN_NAMESPACE = 3 /* a PID namespace: nothing leaves it, and it ends as a whole */
};
BROOD_API const char *brood_containment_name(int containment);

/* Why something ended. */
typedef enum brood_cause {
    BROOD_PENDING = 0,   /* it has not; a zeroed outcome never looks like success */
    BROOD_RETURNED,      /* .code: what the function returned */
    BROOD_EXITED,        /* .code: the low eight bits of what it gave to exit() */
    BROOD_SIGNALLED,     /* .signal */
    BROOD_TIMED_OUT,     /* over its own limit */
    BROOD_CANCELLED,     /* on request */
    BROOD_OUT_OF_MEMORY, /* over its memory limit; what the kernel kills is SIGNALLED */
    BROOD_LOST,          /* what ran it is gone, and how it ended is not known */
    BROOD_NOT_STARTED    /* .code: the negative error that kept it from starting */
} brood_cause;

/*
 * How a process or task ended. The verdict is the number to test, the rest is the story.
 * Numbers that were not measured are 0.
 */
typedef struct brood_outcome {
    int verdict;          /* .code if it returned or exited, else a negative error; a task that
                             called exit() has crashed */
    brood_cause cause;    /* why it ended */
    int code;             /* returned, exited, not started: see there */
    int signal;           /* the signal that ended it, else 0 */
    unsigned attempts;    /* how often it was started */
    int containment;      /* as obtained: enum brood_containment */
    bool quarantined;     /* not tried again, because it had ended too many workers */
    int64_t wall_us;      /* of the last attempt */
    int64_t user_us;      /* CPU time of the last attempt; tasks under 0.1 ms: 0 */
    int64_t system_us;    /* the same, in the kernel */
    uint64_t peak_rss;    /* bytes by which its process had grown at most; tasks under 0.1 ms: 0 */
    const char *report;   /* NULL, or lines of text: where it crashed; lives as long as its owner */
    uint64_t reserved[4]; /* zero */
} brood_outcome;

/* One line without newline, such as "killed by SIGSEGV after 0.31 s, peak 12 MiB", cut to fit
 * SIZE with its NUL. 128 bytes hold every text but the longest of brood_strerror(). Returns
 * BUFFER. */
BROOD_API const char *brood_outcome_text(const brood_outcome *outcome, char *buffer, size_t size);

/* First in main(), for BROOD_START_FORKSERVER: a server that brood started does not return from
 * it. Costs nothing else; ARGV is borrowed for the call. Calling it twice is harmless. */
BROOD_API void brood_init(int argc, char **argv);

/* How many CPUs this process may keep busy: the affinity mask, and the CPU quota of its control
 * groups rounded up. At least 1. Read anew at each call (some file reads). */
BROOD_API unsigned brood_cpu_count(void);

BROOD_END_DECLS

#endif
