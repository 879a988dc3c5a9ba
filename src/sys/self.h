/* SPDX-License-Identifier: MIT */
/*
 * This process: who it is, whether it was forked, whether it may fork. Holds the only mutable
 * globals of the library (with run/server.h).
 */
#ifndef BROOD_SRC_SYS_SELF_H
#define BROOD_SRC_SYS_SELF_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* A number that differs between a process and its forked children, however they were forked.
 * One load on the fast path: objects remember it and compare. Never 0. */
uint64_t brood__self(void);

/*
 * A mutex for what a whole process has once. In a forked child, where it and what it guards may
 * have been copied in any state, the first to lock it makes it new and calls RENEW, which must
 * make new what it guards; NULL: what it guards is right in any state, or says itself whose it is.
 */
struct own_lock {
    _Atomic uint64_t owner; /* brood__self() of its process; the complement while it is made new */
    pthread_mutex_t mutex;
};
#define OWN_LOCK                                                                                   \
    {                                                                                              \
        .mutex = PTHREAD_MUTEX_INITIALIZER                                                         \
    }
void brood__own_lock(struct own_lock *lock, void (*renew)(void));
void brood__own_unlock(struct own_lock *lock);

/* Helper threads of brood hold nothing that a fork would copy in a bad state: they do all their
 * work between work_begin and work_end, and a fork by brood__fork_guarded() waits for the end. */
void brood__helper_started(void); /* by the creator, before pthread_create; counts it */
void brood__helper_ended(void);   /* by the creator, after pthread_join */
/* Instead of that, by a helper that nobody joins: the last thing it does. */
void brood__helper_leaves(void);
void brood__helper_work_begin(void);
void brood__helper_work_end(void);

/* Flushes stdout and stderr, unless another thread is writing there. Not all streams: a thread that
 * waits for input holds its stream, and fflush(NULL) would wait with it. */
void brood__flush_output(void);

/* fork() by the calling thread with every helper thread of brood at rest, stdio flushed. Returns
 * as brood__fork(), or BROOD_ETHREADS if the program runs other threads than helpers (a thread
 * just joined is given a moment to vanish) and ALLOW_THREADS is false. In the child the count of
 * helpers is zero and the gate open. */
int brood__fork_guarded(bool allow_threads);

/* A descriptor that is closed in what brood__fork_guarded() makes, until it is removed: before
 * it is closed here. 0 or -ENOMEM. */
int brood__private_add(int fd);
void brood__private_remove(int fd);

/* As atexit(): FN runs in exit(), also in that of a forked child. 0 or -ENOMEM. */
int brood__at_exit(void (*fn)(void));
/* As pthread_atfork(): around each fork(), but not around a raw clone. 0 or -ENOMEM. */
int brood__at_fork(void (*before)(void), void (*in_parent)(void), void (*in_child)(void));

/* Threads of this process by the kernel's count, or -errno when /proc cannot tell. */
int brood__thread_count(void);

#endif
