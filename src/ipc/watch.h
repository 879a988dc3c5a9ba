/* SPDX-License-Identifier: MIT */
/*
 * A descriptor that polls readable when something in shared memory is ready.
 *
 * Shared memory wakes threads, not descriptors. A watch is a thread of brood's in the process that
 * asked: it sleeps as any waiter does, with all that this knows of deaths, and writes to an
 * eventfd of this process.
 *
 * The descriptor is level-triggered as far as it can be: it is made readable when LOOK says ready,
 * and brood__watch_again() (called by whoever took something, or found nothing) makes it not
 * readable and has LOOK asked again.
 */
#ifndef BROOD_SRC_IPC_WATCH_H
#define BROOD_SRC_IPC_WATCH_H

#include <stdbool.h>
#include <stdint.h>

struct watch;

/*
 * WAIT(object, deadline) in the watch's own thread: returns when it seems ready, spuriously too,
 * or when brood__watch_free() has made WAKE(object) wake it; that may come before it sleeps, and
 * is done again until it helps. A fork may come while it runs, so it must hold no private lock and
 * not allocate: what it needs of that kind, such as joining a roster, is done by READY, which the
 * thread calls before, at rest from forks. READY(object): without waiting; from any thread, with
 * the lock of the watch.
 */
struct watch_calls {
    void (*wait)(void *object, int64_t deadline);
    bool (*ready)(void *object);
    void (*wake)(void *object);
};
int brood__watch_new(struct watch **out_watch, const struct watch_calls *calls, void *object);
/* The descriptor, readable already if the object is ready now. */
int brood__watch_now(struct watch *watch);
void brood__watch_again(struct watch *watch);
/* NULL is allowed. In a forked child only memory and descriptor. */
void brood__watch_free(struct watch *watch);

#endif
