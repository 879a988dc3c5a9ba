/* SPDX-License-Identifier: MIT */
/*
 * What the library and the guard of a command say to each other.
 *
 *     caller ---- order, requests ---->  guard ---clone---> command
 *            <--- events -------------         <---wait---
 *
 * The guard is the program in src/guard/, whose bytes are brood__guard_bytes. The caller makes a
 * pair of SOCK_SEQPACKET sockets, sends ONE order into it, and then executes the guard with
 *
 *     argv, environment   those of the command, handed on as they are
 *     0, 1, 2             the command's standard input, output and error
 *     3                   the guard's end of the pair; the command does not get it
 *     4 and above         what the order names: descriptors for the command, a cgroup, a pidfd
 *
 * The guard answers STARTED and later ENDED, or NOT_STARTED alone, and then it exits; its own
 * exit status means nothing. The end of the socket without such an answer means that the guard
 * was killed (src/guard/guard.c says what that leaves).
 *
 * Numbers are of the machine's byte order, for both sides are of one build. Reserved words are 0
 * and are checked. An order that breaks a rule is answered by NOT_STARTED {GUARD_STEP_ORDER,
 * EINVAL}; a request that breaks one is dropped.
 */
#ifndef BROOD_SRC_RUN_GUARD_WIRE_H
#define BROOD_SRC_RUN_GUARD_WIRE_H

#include <stddef.h>
#include <stdint.h>

/* The guard itself, as it is written into a memfd. In the library only. */
extern const unsigned char brood__guard_bytes[];
extern const size_t brood__guard_len;

enum {
    GUARD_VERSION = 1,
    GUARD_CONTROL_FD = 3,
    GUARD_ORDER_LEN_MAX = 65536, /* of the whole packet */
    GUARD_CANDIDATES_MAX = 1024,
    GUARD_LIMITS_MAX = 16,
    GUARD_FDS_MAX = 256,
    GUARD_FD_NUMBER_MAX = 1 << 20,
    GUARD_GROUPS_MAX = 1024,
    GUARD_AFFINITY_WORDS = 16 /* 1024 CPUs */
};

enum guard_flag {
    GUARD_SET_CWD = 1 << 0,
    GUARD_SET_UMASK = 1 << 1,
    GUARD_SET_UID = 1 << 2, /* real, effective and saved */
    GUARD_SET_GID = 1 << 3,
    GUARD_SET_GROUPS = 1 << 4, /* the supplementary ones, of which there may be none */
    GUARD_SET_NICE = 1 << 5,
    GUARD_SET_AFFINITY = 1 << 6,
    GUARD_NEW_SESSION = 1 << 7,
    GUARD_TERMINAL = 1 << 8,         /* descriptor 0 becomes the new session's terminal */
    GUARD_OWN_GROUP = 1 << 9,        /* else the command is in the caller's process group */
    GUARD_NO_NEW_PRIVS = 1 << 10,    /* set-user-ID programs gain nothing */
    GUARD_OUTLIVE_CALLER = 1 << 11,  /* else the end of the caller kills everything */
    GUARD_LEAVE_LEFTOVERS = 1 << 12, /* when the command has ended by itself; no namespace then */
    GUARD_CONTAIN_OR_FAIL = 1 << 13, /* no lesser containment than the one wanted */
    GUARD_FLAGS = (1 << 14) - 1
};

/*
 * The order: this, then limits, fds, groups (uint32_t each), and the strings, each with its NUL:
 * the working directory if GUARD_SET_CWD, and the candidates. Nothing between them, and nothing
 * after: LEN is the sum.
 *
 * Candidates are paths tried in their order. ENOENT, ENOTDIR, EACCES and what a lost file system
 * says go on to the next one; any other error ends it. If none could be executed the error is
 * EACCES if one said so, else that of the last. No shell is tried for ENOEXEC. Relative paths
 * start at the new working directory, which is entered with the command's new user and groups.
 */
struct guard_order {
    uint32_t version;
    uint32_t len;
    uint64_t flags;
    uint32_t containment; /* enum brood_containment */
    uint32_t candidate_count;
    uint32_t limit_count;
    uint32_t fd_count;
    uint32_t group_count;
    uint32_t strings_len;
    uint32_t uid, gid;
    uint32_t umask;
    int32_t nice;        /* absolute, -20 to 19 */
    int32_t cgroup_fd;   /* a cgroup's directory, which the command joins; 0: none */
    int32_t caller_fd;   /* a pidfd of the caller, whose end is then learned by it too; 0: none */
    int32_t stop_signal; /* 0: SIGKILL at once */
    uint32_t reserved_word;
    int64_t stop_grace_ms;   /* then SIGKILL; negative: never */
    int64_t timeout_ms;      /* 0: none; each of the three is looked at from the start on */
    int64_t cpu_time_max_ms; /* of the tree, sampled; 0: none */
    uint64_t memory_max;     /* bytes: the tree's resident anonymous pages, sampled; 0: none */
    uint64_t signal_mask;    /* signal N is bit N - 1, here and below */
    uint64_t signals_default;
    uint64_t signals_ignored; /* none that is in the line above; all others stay as inherited */
    uint64_t affinity[GUARD_AFFINITY_WORDS];
    uint64_t reserved[8];
};

struct guard_limit {
    uint32_t resource; /* RLIMIT_... */
    uint32_t reserved;
    uint64_t soft, hard; /* UINT64_MAX: without limit */
};

/* FROM, 4 and above, becomes TO. One FROM may have several TOs, but each TO stands here once. What
 * is not listed, but for 0, 1 and 2, the command does not get. */
struct guard_fd {
    int32_t from, to;
};

enum guard_event_kind { GUARD_STARTED = 1, GUARD_NOT_STARTED, GUARD_ENDED };

/* What failed. UINT32_MAX in .index where it has no meaning. */
enum guard_step {
    GUARD_STEP_ORDER = 1,
    GUARD_STEP_NAMESPACE, /* with GUARD_CONTAIN_OR_FAIL */
    GUARD_STEP_SPAWN,     /* no process to be had */
    GUARD_STEP_CGROUP,
    GUARD_STEP_FDS, /* .index: which one */
    GUARD_STEP_SESSION,
    GUARD_STEP_TERMINAL,
    GUARD_STEP_GROUP,
    GUARD_STEP_NICE,
    GUARD_STEP_AFFINITY,
    GUARD_STEP_LIMITS, /* .index: which one */
    GUARD_STEP_IDS,
    GUARD_STEP_CWD,
    GUARD_STEP_PRIVILEGES,
    GUARD_STEP_PARENT, /* to die with the guard */
    GUARD_STEP_SIGNALS,
    GUARD_STEP_EXEC /* .index: the candidate whose error it is */
};

enum guard_reason {
    GUARD_BY_ITSELF = 0, /* also by a signal of others than the guard */
    GUARD_BY_TIMEOUT,
    GUARD_BY_REQUEST,
    GUARD_BY_MEMORY,
    GUARD_BY_CPU_TIME,
    GUARD_BY_CALLER_GONE
};

enum guard_event_flag {
    /* STARTED: all descendants are found, by /proc or in a namespace. Else only the command and,
     * if it has one of its own, its process group are. */
    GUARD_TREE_IS_KNOWN = 1 << 0,
    /* STARTED: there is a /proc to watch .memory_max and .cpu_time_max_ms by. */
    GUARD_TREE_IS_MEASURED = 1 << 1,
    /* ENDED: .status is not known: the command could not be killed, or was lost with its
     * namespace. */
    GUARD_STATUS_UNKNOWN = 1 << 2
};

struct guard_event {
    uint32_t version;
    uint32_t kind;
    uint32_t flags;
    int32_t pid;         /* STARTED: as the caller sees it, 0 unknown */
    int32_t containment; /* STARTED: as obtained */
    uint32_t step;       /* NOT_STARTED */
    int32_t error;       /* NOT_STARTED: a positive errno */
    uint32_t index;      /* NOT_STARTED */
    int32_t status;      /* ENDED, this and all below: as wait4() gives it */
    uint32_t reason;
    uint32_t leftovers_killed; /* descendants, not the command */
    uint32_t leftovers_alive;  /* that could not be killed; at least so many */
    int64_t wall_us;
    int64_t command_user_us, command_system_us; /* with the children that it has waited for */
    int64_t tree_user_us, tree_system_us;       /* of all that was waited for by anybody */
    uint64_t command_peak_rss;                  /* bytes: the largest of the same processes */
    uint64_t tree_peak_rss;                     /* the largest single process of the tree */
    uint64_t tree_peak_memory;                  /* the largest sample for .memory_max, else 0 */
    uint64_t reserved[4];
};

enum guard_request_kind {
    GUARD_REQUEST_SIGNAL = 1, /* .signal, .whom */
    GUARD_REQUEST_STOP,       /* the stop policy, from now; with .signal, that one and .grace_ms */
    GUARD_REQUEST_KILL        /* SIGKILL to all, from now */
};
enum guard_whom { GUARD_WHOM_COMMAND = 0, GUARD_WHOM_TREE = 1 };

struct guard_request {
    uint32_t version;
    uint32_t kind;
    int32_t signal;
    uint32_t whom;
    int64_t grace_ms;
    uint64_t reserved;
};

_Static_assert(sizeof(struct guard_order) == 320, "both sides and the tests count on it");
_Static_assert(sizeof(struct guard_limit) == 24, "so that groups follow limits without a hole");
_Static_assert(sizeof(struct guard_fd) == 8, "the same");
_Static_assert(sizeof(struct guard_event) == 144, "both sides and the tests count on it");
_Static_assert(sizeof(struct guard_request) == 32, "both sides and the tests count on it");

#endif
