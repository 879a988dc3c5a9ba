/* SPDX-License-Identifier: MIT */
/*
 * brood/sync.h - locks and signals between threads and processes, that survive the death of any.
 *
 *     struct account {
 *         brood_lock lock;
 *         long checking, savings, total;
 *     } *account = brood_shared_alloc(sizeof *account);
 *
 *     int r = brood_lock_acquire(&account->lock, BROOD_FOREVER);
 *     if (r == BROOD_OWNER_DIED) {
 *         account->total = account->checking + account->savings;
 *         (void)brood_lock_consistent(&account->lock);
 *     }
 *
 * All are structs in memory of yours, and all zero is a good one (a semaphore and a barrier need
 * their numbers first). In memory of brood_shared_alloc() or of a region they work between all
 * who have it; anywhere else between the threads of one process. Memory that you shared by other
 * means (mmap) is not known to brood: use a region. They must not be copied or moved in use.
 *
 * Who uses one joins the roster of its region, thread by thread; the kernel tells when one is gone.
 * A death is a SIGKILL, a crash, an _exit() or an execve(). A thread that returns, and all threads
 * of a process that calls exit() or whose brood_main_fn returns, end in good order: nobody is told
 * that a participant died, but what they hold is what a dead one held. Every function may be
 * interrupted by SIGKILL at any instruction. One death is not noticed: that of a thread, not the
 * first of its process, that calls execve() itself. What it held stays taken; so release first, or
 * leave execve() to a child.
 *
 * All may return, besides what they say: -EINVAL (NULL, or not aligned; a timeout is any number),
 * -EROFS (the region can only be read here), -ENOMEM or -EAGAIN (no room to join, also for a thread
 * that is in 2000 regions already), BROOD_EABI (the memory is damaged or of another build). A
 * timeout of 0 tries, a negative one waits without end.
 *
 * In a region that can only be read here those that return nothing do nothing. What works there is
 * brood_event_is_set(), brood_semaphore_value(), brood_barrier_broken(), brood_barrier_waiting();
 * to wait for an event that is set, and a once that has run.
 *
 * Fork: locks held by another thread of the parent are, in the child's private memory, locks whose
 * owner died. A signal handler that interrupted a call of brood and forks must not return in the
 * child.
 */
#ifndef BROOD_SYNC_H
#define BROOD_SYNC_H

#include <brood/base.h>

BROOD_BEGIN_DECLS

/* Positive results: you have what you asked for, and something to know. */
enum brood_notice {
    BROOD_OWNER_DIED = 1, /* the last owner died inside: what it guards may be half changed */
    BROOD_PEER_DIED = 2   /* woken because some participant died: look whether to wait on */
};

/* Who has something. Numbers are as that process sees itself, in its own PID namespace. */
typedef struct brood_owner {
    int pid, tid;
    bool dead;            /* it died holding it, and nobody has taken it since */
    uint64_t reserved[4]; /* zero */
} brood_owner;

/* ---- lock ---- */

typedef struct brood_lock {
    uint64_t word[4];
} brood_lock;

/*
 * brood_lock_acquire() - take it, waiting TIMEOUT_MS at most.
 *
 * Who waits longer than about a millisecond is handed the lock by its next release, ahead of those
 * that come by later: nobody starves.
 *
 * Returns 0: it is yours; BROOD_OWNER_DIED: it is yours too, and every owner is told so until one
 * calls brood_lock_consistent(); or -ETIMEDOUT, -EDEADLK (you have it already).
 */
BROOD_API BROOD_MUST_CHECK int brood_lock_acquire(brood_lock *lock, int64_t timeout_ms);
/* Returns 0, or -EPERM: it is not yours. Never blocks. */
BROOD_API int brood_lock_release(brood_lock *lock);
/* What the lock guards is whole again: the next owner is not told of the death. 0 or -EPERM. */
BROOD_API int brood_lock_consistent(brood_lock *lock);
/* Returns 1 and fills *OUT_OWNER (may be NULL), or 0: nobody has it. True for the moment only. */
BROOD_API int brood_lock_owner(const brood_lock *lock, brood_owner *out_owner);

/* ---- recursive lock: its owner may take it again, and releases it as often ---- */

typedef struct brood_recursive_lock {
    uint64_t word[4];
} brood_recursive_lock;

/* As for the lock; -EOVERFLOW instead of -EDEADLK, after 2^31 times. */
BROOD_API BROOD_MUST_CHECK int brood_recursive_lock_acquire(brood_recursive_lock *lock,
                                                            int64_t timeout_ms);
BROOD_API int brood_recursive_lock_release(brood_recursive_lock *lock);
BROOD_API int brood_recursive_lock_consistent(brood_recursive_lock *lock);
BROOD_API int brood_recursive_lock_owner(const brood_recursive_lock *lock, brood_owner *out_owner);

/* ---- condition ---- */

typedef struct brood_condition {
    uint64_t word[4];
} brood_condition;

/*
 * brood_condition_wait() - release LOCK, sleep until woken, take LOCK again.
 *
 * May wake without cause: look at what you wait for, in a loop. LOCK is yours again whenever it
 * returns 0 or more, or -ETIMEDOUT; taking it again may take longer than the timeout.
 *
 * Returns 0, BROOD_OWNER_DIED (from taking the lock), BROOD_PEER_DIED (a participant of the region
 * died meanwhile: who was to signal may be gone); or -ETIMEDOUT, -EPERM (LOCK is not yours).
 */
BROOD_API BROOD_MUST_CHECK int brood_condition_wait(brood_condition *condition, brood_lock *lock,
                                                    int64_t timeout_ms);
BROOD_API void brood_condition_signal(brood_condition *condition); /* wakes one, if any */
BROOD_API void brood_condition_broadcast(brood_condition *condition);

/* ---- semaphore: a count without owners, to signal with ---- */

typedef struct brood_semaphore {
    uint64_t word[4];
} brood_semaphore;

/* VALUE to start with, at most MAX; MAX 0: 2^31 - 1. 0 or -EINVAL. Before anybody uses it. */
BROOD_API BROOD_MUST_CHECK int brood_semaphore_init(brood_semaphore *semaphore, unsigned value,
                                                    unsigned max);
/* Takes one: 0 or -ETIMEDOUT. What a process took and did not release before it died stays taken:
 * to share out things, use the bounded semaphore. */
BROOD_API BROOD_MUST_CHECK int brood_semaphore_acquire(brood_semaphore *semaphore,
                                                       int64_t timeout_ms);
/* Adds COUNT, all or none: 0, or -EOVERFLOW: over its maximum. */
BROOD_API int brood_semaphore_release(brood_semaphore *semaphore, unsigned count);
BROOD_API int brood_semaphore_value(const brood_semaphore *semaphore);

/* ---- bounded semaphore: so many units, each with an owner, and none is lost ---- */

enum { BROOD_UNITS_MAX = 56 };

typedef struct brood_bounded_semaphore {
    uint64_t word[32];
} brood_bounded_semaphore;

/* UNITS from 1 to BROOD_UNITS_MAX. 0 or -EINVAL. Before anybody uses it. */
BROOD_API BROOD_MUST_CHECK int brood_bounded_semaphore_init(brood_bounded_semaphore *semaphore,
                                                            unsigned units);
/* Takes a unit: 0; BROOD_OWNER_DIED: it is yours, and was that of somebody who died; -ETIMEDOUT. */
BROOD_API BROOD_MUST_CHECK int brood_bounded_semaphore_acquire(brood_bounded_semaphore *semaphore,
                                                               int64_t timeout_ms);
/* Gives back a unit of this thread: 0, or -EPERM: it has none. */
BROOD_API int brood_bounded_semaphore_release(brood_bounded_semaphore *semaphore);
/* Units that may be taken now, those of the dead included. */
BROOD_API int brood_bounded_semaphore_value(const brood_bounded_semaphore *semaphore);

/* ---- event ---- */

typedef struct brood_event {
    uint64_t word[4];
} brood_event;

BROOD_API void brood_event_set(brood_event *event); /* wakes all who wait */
BROOD_API void brood_event_clear(brood_event *event);
BROOD_API bool brood_event_is_set(const brood_event *event);
/* 0: it is set, or was while this waited; or BROOD_EPEER: a participant of the region died, and it
 * is not set (who was to set it may be gone; or call again); -ETIMEDOUT. */
BROOD_API BROOD_MUST_CHECK int brood_event_wait(brood_event *event, int64_t timeout_ms);

/* ---- barrier ---- */

typedef struct brood_barrier {
    uint64_t word[4];
} brood_barrier;

/* PARTIES from 1 to 65535. 0 or -EINVAL. Before anybody uses it. Deaths at an earlier barrier in
 * that place are forgotten. */
BROOD_API BROOD_MUST_CHECK int brood_barrier_init(brood_barrier *barrier, unsigned parties);
/*
 * brood_barrier_wait() - wait until PARTIES are here.
 *
 * Returns how many came before this one, so exactly one gets 0; or
 *   BROOD_EBROKEN  a participant died that waits here, or has waited here last; or somebody's time
 *                  was over; or it was aborted. It stays broken until it is reset
 *   -ETIMEDOUT     your time was over: it is broken now
 *
 * One that dies on its way, and whose last wait at a barrier was not here, does not break it, and
 * the others wait on: who joins that process calls brood_barrier_abort().
 */
BROOD_API BROOD_MUST_CHECK int brood_barrier_wait(brood_barrier *barrier, int64_t timeout_ms);
BROOD_API void brood_barrier_abort(brood_barrier *barrier);
/* Makes it whole and empty; who waits gets BROOD_EBROKEN. */
BROOD_API void brood_barrier_reset(brood_barrier *barrier);
BROOD_API bool brood_barrier_broken(const brood_barrier *barrier);
BROOD_API int brood_barrier_waiting(const brood_barrier *barrier); /* how many wait now */

/* ---- once ---- */

typedef struct brood_once {
    uint64_t word[4];
} brood_once;

/*
 * brood_once_run() - run FN(ARG) once among all who come here; the others wait until it is done.
 *
 * If the one that runs it dies inside, the next runs it again. FN must not come here itself. If it
 * forks, and the child returns from it too, the child gets FN's result here (0 if it is more), and
 * for everybody else FN runs on in the parent. In private memory the child's copy has run.
 *
 * Returns 0: it has run; BROOD_OWNER_DIED: it has run, here, after an attempt that died; or
 * -ETIMEDOUT (others only), -EDEADLK; or a negative result of FN, and the next may try.
 */
BROOD_API BROOD_MUST_CHECK int brood_once_run(brood_once *once, int (*fn)(void *arg), void *arg,
                                              int64_t timeout_ms);

BROOD_END_DECLS

#endif
