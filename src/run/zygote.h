/* SPDX-License-Identifier: MIT */
/*
 * A zygote: a small single-threaded process that forks children on request, takes along what
 * they leave behind, and tells how they ended.
 *
 *     caller ---- births ---->  zygote ---fork--->  child (a pool's worker, a process's main)
 *            <--- events -----         <---wait---
 *
 * It is the snapshot of a pool (forked from the caller, so children are copies of the caller
 * then), the guardian of a process (the same with one child), and what a fork server forks for
 * either (a copy of a clean program).
 *
 * What always holds
 *   - The zygote polls a pidfd of the caller that was opened before it was forked. When the
 *     caller dies, however, all children and their descendants are killed and the zygote ends.
 *   - Children arm PDEATHSIG on the single-threaded zygote and then poll the zygote's pidfd once,
 *     before any code of the user runs. So no death of the zygote leaves a child either.
 *   - The zygote is a subreaper (GROUP) or pid 1 of its namespace (NAMESPACE): orphans come to
 *     it, and it kills every process that it did not register.
 *   - DIED is sent after the child was waited for and what it left is gone: nothing of it runs
 *     or writes any more.
 *   - No code of the user ever runs in a zygote.
 */
#ifndef BROOD_SRC_RUN_ZYGOTE_H
#define BROOD_SRC_RUN_ZYGOTE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum zygote_entry { ZYGOTE_WORKER = 1, ZYGOTE_PROCESS = 2 };
enum { ZYGOTE_PAYLOAD_MAX = 512, ZYGOTE_FDS_MAX = 8 };

/* A request for one child. Self-contained, so that any zygote can serve it. */
struct zygote_birth {
    uint64_t id;    /* the caller's name for the child; unique among the living ones */
    uint32_t entry; /* enum zygote_entry: which function the child runs */
    uint32_t payload_len;
    int64_t timeout_ms;  /* the zygote kills it then; 0: never */
    uint64_t memory_max; /* the zygote kills it when it has grown by more; 0: never */
    unsigned char payload[ZYGOTE_PAYLOAD_MAX];
};

enum zygote_event_kind {
    ZYGOTE_BORN = 1,  /* .pidfd is now the receiver's, .pid as the receiver sees it, 0 unknown;
                         without room for the descriptor .pidfd is -1 and .error -EMFILE */
    ZYGOTE_STILLBORN, /* .error: why there is no such child */
    ZYGOTE_DIED,
    ZYGOTE_GONE /* the zygote itself is dead, and with it all children; the last event */
};

enum zygote_reason {
    ZYGOTE_BY_ITSELF = 0,
    ZYGOTE_BY_TIMEOUT,
    ZYGOTE_BY_MEMORY,
    ZYGOTE_BY_KERNEL_OOM
};

struct zygote_event {
    uint32_t kind;
    int32_t error;
    uint64_t id;
    int32_t pid;
    int32_t pidfd;
    int32_t status;  /* as wait4 gives it */
    uint32_t reason; /* enum zygote_reason */
    int64_t wall_us, user_us, system_us;
    uint64_t peak_rss; /* growth over its start, in bytes; 0 unknown */
};

struct zygote_options {
    int start;       /* enum brood_start */
    int containment; /* to try for */
    bool allow_threads;
    bool single;   /* one child only: the zygote lets go of the caller's descriptors when it
                           has forked it, and ends after it */
    void *context; /* handed to the entry functions; forked zygotes only, else NULL there */
};

struct zygote {
    int channel;     /* polls readable when an event is there or the zygote is gone */
    int pidfd;       /* of the zygote, as death certificate */
    int outer;       /* pidfd of what we forked, where that is not the zygote (NAMESPACE); or -1 */
    int containment; /* as obtained */
    struct code_map *map; /* where functions are in its children; NULL: where they are here */
};
#define ZYGOTE_NONE ((struct zygote){.channel = -1, .pidfd = -1, .outer = -1})

/* Starts one. 0, or the errors of brood_process_start(); nothing is left behind then. */
int brood__zygote_start(struct zygote *zygote, const struct zygote_options *options);
/* Asks for a child; descriptors are passed to it (borrowed here) in order. Never waits: 0, -EPIPE:
 * gone, or -EAGAIN: too many requests are on their way. */
int brood__zygote_bear(struct zygote *zygote, const struct zygote_birth *birth, const int *fds,
                       unsigned fd_count);
/* 1 and an event, 0 none by DEADLINE. Events of dying children come before ZYGOTE_GONE. */
int brood__zygote_next(struct zygote *zygote, int64_t deadline, struct zygote_event *out_event);
/* The address of FN in children of the zygote. 0 or BROOD_EFUNCTION. */
int brood__zygote_function(const struct zygote *zygote, uintptr_t fn, uintptr_t *out_there);
/* Ends it and everything below it at once, waits for its death (bounded), reaps it, releases all.
 * ZYGOTE_NONE is fine. errno is preserved. */
void brood__zygote_stop(struct zygote *zygote);
/* In a forked child, whose zygote it is not: closes and releases the copies only. */
void brood__zygote_drop(struct zygote *zygote);

/* Child side: what a newborn runs. The return value is its exit status; they may not return. */
int brood__worker_main(const struct zygote_birth *birth, const int *fds, unsigned fd_count,
                       void *context);
int brood__process_main(const struct zygote_birth *birth, const int *fds, unsigned fd_count,
                        void *context);

#endif
