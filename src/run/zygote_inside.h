/* SPDX-License-Identifier: MIT */
/* What the files of the zygote share with each other and with the fork server. */
#ifndef BROOD_SRC_RUN_ZYGOTE_INSIDE_H
#define BROOD_SRC_RUN_ZYGOTE_INSIDE_H

#include "run/zygote.h"

#include <brood/base.h>

/* What a process is told that becomes a zygote. */
struct zygote_setup {
    int channel;     /* its end */
    int caller;      /* pidfd of the caller, opened before the fork */
    int containment; /* to try for */
    bool single;     /* struct zygote_options */
    char name[16];   /* of the program, for the children */
    void *context;
};

/* Errors of a start that never reach the user. */
enum {
    ZYGOTE_AGAIN = -5000,         /* the server died in the middle of it */
    ZYGOTE_AGAIN_AS_GROUP = -5001 /* the namespace was granted half */
};

enum { ZYGOTE_HELLO = 0x62726f64 };

/* Its first message, with a pidfd of it where it is not the process that the caller forked. */
struct zygote_hello {
    uint32_t kind;
    int32_t error; /* it ends at once then; ZYGOTE_AGAIN_AS_GROUP: ask for that containment */
    int32_t containment;
};

struct zygote_child {
    uint64_t id;
    pid_t pid;
    unsigned slot; /* in nest->start_rss */
    enum zygote_reason reason;
    int64_t born_at, deadline; /* moments */
    uint64_t memory_max;
    int64_t memory_base; /* what it used at birth */
    int64_t memory_look; /* when to look again */
    pid_t outer_pid;     /* as /proc names it; 0 unknown */
};

enum { ZYGOTE_SLOTS = 4096, ZYGOTE_RSS_UNTOLD = 1 };

/* A zygote's own state. */
struct nest {
    struct zygote_setup setup;
    int signals; /* signalfd of SIGCHLD */
    int self;    /* pidfd of itself */
    unsigned child_count, child_size;
    struct zygote_child *children;
    uint64_t *start_rss; /* shared with newborns: each writes its own, in kibibytes; 0: free slot;
                            may be NULL */
    unsigned slot_next;
    unsigned event_count, event_size;
    struct zygote_event *events; /* to be sent, oldest first; .pidfd is ours until then */
    int64_t retry_at;            /* when to try again to send; NEVER */
    unsigned poll_failures;      /* in a row */
    bool over;                   /* its only child is dead */
};

/* In a newly forked process with all signals blocked: be a zygote until the end. */
void brood__zygote_become(const struct zygote_setup *setup) __attribute__((noreturn));

/* ---- births: zygote_birth.c ---- */
/* Forks the child and queues BORN or STILLBORN. Room for two events is there. FDS are closed. */
void brood__nest_bear(struct nest *nest, const struct zygote_birth *birth, const int *fds,
                      unsigned fd_count);

/* ---- deaths: zygote_sweep.c ---- */
/* Waits for every dead child, takes along what it left, queues DIED. */
void brood__nest_bury(struct nest *nest);
/* Kills all children and everything below them, and waits for that, some seconds at most. */
void brood__nest_kill_all(struct nest *nest);
/* The newest child was not born after all, because there is no pidfd for it. */
void brood__nest_undo_birth(struct nest *nest);
void brood__nest_free_slot(struct nest *nest, unsigned slot);
void brood__nest_queue(struct nest *nest, const struct zygote_event *event);

/* ---- limits: zygote_limits.c ---- */
void brood__limits_begin(struct zygote_child *child, const struct zygote_birth *birth, int pidfd);
/* Kills what is over a limit. Returns when to look again, or NEVER. */
int64_t brood__limits_enforce(struct nest *nest);
/* In a newborn: the kernel's limit as a second net. */
void brood__limits_arm(uint64_t memory_max);

#endif
