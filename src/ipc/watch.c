/* SPDX-License-Identifier: MIT */
/*
 * A thread that waits for an object in shared memory, and says so by an eventfd.
 *
 *     WATCHING --ready--> SHOWN     the event is readable, and the thread sleeps until called back
 *         ^                 |       (who asks for the descriptor looks too: now)
 *         ^                 |
 *         +--again: not ----+       again: still ready: it stays SHOWN, and nothing is written
 *
 * In WATCHING the thread sleeps in the object's WAIT; in SHOWN on a condition. So an idle object
 * costs nothing, and neither does a ready one that nobody looks at. After each change to WATCHING
 * the thread looks (READY) before it sleeps, so what became ready meanwhile is not missed; that
 * WAIT does not sleep when it is ready is the object's part.
 *
 * The lock guards the state. The thread holds it between work_begin and work_end only; others may
 * be copied by a fork while they hold it, so in a child nothing is locked: a watch there is memory
 * and a copy of a descriptor.
 *
 * A death leaves nothing of this; WAIT is where the object's other participants are watched.
 */
#include "ipc/watch.h"

#include "base/clock.h"
#include "base/fault.h"
#include "base/memory.h"
#include "sys/kernel.h"
#include "sys/self.h"

#include <errno.h>
#include <pthread.h>
#include <time.h>

struct watch {
    struct watch_calls calls;
    void *object;
    uint64_t self; /* the process that made it */
    int event;
    pthread_t thread;
    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t changed;
    bool shown;
    bool ends;
};

static void show(struct watch *watch)
{
    const uint64_t one = 1;

    (void)brood__fd_write(watch->event, &one, sizeof one);
    watch->shown = true;
}

/* Whether to wait for the object; no: to sleep. */
static bool look(struct watch *watch, bool *out_ends)
{
    bool shown;

    brood__helper_work_begin();
    (void)pthread_mutex_lock(&watch->lock);
    if (!watch->shown && !watch->ends && watch->calls.ready(watch->object))
        show(watch);
    shown = watch->shown;
    *out_ends = watch->ends;
    (void)pthread_mutex_unlock(&watch->lock);
    brood__helper_work_end();
    return !shown;
}

/* Holds the lock only asleep, when the condition has let go of it, and for some instructions
 * before and after: a fork of the user's may copy it locked. Nobody locks it in the child. */
static void sleep_while_shown(struct watch *watch)
{
    (void)pthread_mutex_lock(&watch->lock);
    while (watch->shown && !watch->ends)
        (void)pthread_cond_wait(&watch->changed, &watch->lock);
    (void)pthread_mutex_unlock(&watch->lock);
}

static void *watch_object(void *argument)
{
    struct watch *watch = argument;
    bool ends = false;

    brood__fault_role(ROLE_SUPERVISOR);
    for (;;) {
        bool waits = look(watch, &ends);

        if (ends)
            return NULL;
        if (waits)
            watch->calls.wait(watch->object, NEVER);
        else
            sleep_while_shown(watch);
    }
}

static int start(struct watch *watch)
{
    sigset_t old;
    int r;

    if (BROOD_FAULT("pthread_create"))
        return -EAGAIN;
    brood__helper_started();
    (void)brood__mask_block_all(&old);
    r = -pthread_create(&watch->thread, NULL, watch_object, watch);
    brood__mask_restore(&old);
    if (r < 0)
        brood__helper_ended();
    return r;
}

int brood__watch_new(struct watch **out_watch, const struct watch_calls *calls, void *object)
{
    struct watch *watch = brood__alloc_zeroed(1, sizeof *watch);
    int r;

    if (watch == NULL)
        return -ENOMEM;
    watch->calls = *calls;
    watch->object = object;
    watch->self = brood__self();
    (void)pthread_mutex_init(&watch->lock, NULL);
    (void)pthread_cond_init(&watch->changed, NULL);
    watch->event = brood__fd_event();
    r = watch->event < 0 ? watch->event : start(watch);
    if (r < 0) {
        brood__fd_close(watch->event);
        brood__free(watch);
        return r;
    }
    *out_watch = watch;
    return 0;
}

int brood__watch_now(struct watch *watch)
{
    if (watch->self != brood__self())
        return watch->event;
    (void)pthread_mutex_lock(&watch->lock);
    if (!watch->shown && watch->calls.ready(watch->object))
        show(watch);
    (void)pthread_mutex_unlock(&watch->lock);
    return watch->event;
}

void brood__watch_again(struct watch *watch)
{
    uint64_t count;

    if (watch->self != brood__self())
        return;
    (void)pthread_mutex_lock(&watch->lock);
    if (watch->shown && !watch->calls.ready(watch->object)) {
        (void)brood__fd_read(watch->event, &count, sizeof count);
        watch->shown = false;
        (void)pthread_cond_signal(&watch->changed);
    }
    (void)pthread_mutex_unlock(&watch->lock);
}

/* The thread may be on its way into WAIT, and not sleep there yet: it is woken until it is
 * gone. */
static void join_thread(struct watch *watch)
{
    int64_t patience_ns = 1000000;
    int r;

    do {
        struct timespec end;

        watch->calls.wake(watch->object);
        (void)clock_gettime(CLOCK_REALTIME, &end);
        end.tv_nsec += (long)patience_ns;
        end.tv_sec += end.tv_nsec / 1000000000;
        end.tv_nsec %= 1000000000;
        r = pthread_timedjoin_np(watch->thread, NULL, &end);
        if (patience_ns < 100000000)
            patience_ns *= 2;
    } while (r == ETIMEDOUT);
    brood__helper_ended();
}

void brood__watch_free(struct watch *watch)
{
    int saved = errno;

    if (watch == NULL)
        return;
    if (watch->self == brood__self()) {
        (void)pthread_mutex_lock(&watch->lock);
        watch->ends = true;
        (void)pthread_cond_signal(&watch->changed);
        (void)pthread_mutex_unlock(&watch->lock);
        join_thread(watch);
        (void)pthread_cond_destroy(&watch->changed);
        (void)pthread_mutex_destroy(&watch->lock);
    }
    brood__fd_close(watch->event);
    brood__free(watch);
    errno = saved;
}
