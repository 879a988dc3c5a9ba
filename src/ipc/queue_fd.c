/* SPDX-License-Identifier: MIT */
/*
 * The descriptor of a queue: a watch (ipc/watch.h) that waits as a getter does, and takes nothing.
 *
 * A ring of the bell is for one sleeper. The watch is no getter, so it passes each ring on.
 *
 * In a forked child the parent's watch is only memory and a descriptor of the parent's: whoever
 * asks there gets a new one.
 */
#include "ipc/queue.h"
#include "ipc/watch.h"

#include "base/clock.h"
#include "sys/kernel.h"
#include "sys/self.h"

#include <errno.h>

enum { NO_PLACE_MS = 50 };

bool brood__queue_ready(const brood_queue *queue)
{
    return brood__cells_ready(&queue->cells) || brood__cells_ended(&queue->cells) ||
           brood__queue_has_news(queue);
}

/* Joins, in the watch's thread, which holds up forks meanwhile. */
static bool queue_ready(void *object)
{
    const brood_queue *queue = object;
    const struct member *member;

    (void)brood__member(queue->shared, &member);
    return brood__queue_ready(queue);
}

static void queue_wait(void *object, int64_t deadline)
{
    brood_queue *queue = object;
    struct bell *filled = &queue->cells.shared->filled;
    const struct member *member;
    uint32_t moment, word;

    if (brood__member(queue->shared, &member) < 0) {
        /* The roster is full. Without a place on it, only a look from time to time is safe. */
        (void)brood__futex_wait(&filled->word, brood__bell_arm(filled), deadline_in(NO_PLACE_MS));
        return;
    }
    moment = brood__roster_moment(member->roster);
    word = brood__bell_arm(filled);
    if (!brood__queue_ready(queue))
        (void)brood__queue_doze(member, filled, word, moment, deadline);
    /* The ring was for one who gets. If somebody awake has got it, nobody is woken: two watches
     * would wake each other without end. */
    (void)brood__bell_arm(filled);
    if (brood__queue_ready(queue))
        bell_ring(filled);
}

static void queue_wake(void *object)
{
    brood_queue *queue = object;
    struct bell *filled = &queue->cells.shared->filled;

    (void)brood__bell_arm(filled);
    brood__bell_ring_slow(filled, INT32_MAX);
}

static const struct watch_calls calls = {queue_wait, queue_ready, queue_wake};
static struct own_lock watches_lock = OWN_LOCK;

static int make_watch(brood_queue *queue)
{
    struct watch *watch = atomic_load(&queue->watch);
    struct watch *fresh;
    int r;

    if (watch != NULL && atomic_load(&queue->watch_self) == brood__self())
        return 0;
    r = brood__watch_new(&fresh, &calls, queue);
    if (r < 0)
        return r;
    /* In this order, for brood__queue_looked() of another thread: it never sees the parent's. */
    atomic_store(&queue->watch, NULL);
    atomic_store(&queue->watch_self, brood__self());
    if (watch != NULL)
        brood__watch_free(watch);
    atomic_store(&queue->watch, fresh);
    return 0;
}

int brood_queue_fd(brood_queue *queue)
{
    const struct member *member;
    int r = brood__queue_enter(queue, &member);

    if (r < 0)
        return r;
    brood__own_lock(&watches_lock, NULL);
    r = make_watch(queue);
    if (r == 0)
        r = brood__watch_now(atomic_load(&queue->watch));
    brood__own_unlock(&watches_lock);
    return r;
}

void brood__queue_looked(brood_queue *queue)
{
    struct watch *watch = NULL;

    if (atomic_load_explicit(&queue->watch, memory_order_acquire) == NULL)
        return;
    if (atomic_load(&queue->watch_self) == brood__self())
        watch = atomic_load(&queue->watch);
    if (watch != NULL)
        brood__watch_again(watch);
}
