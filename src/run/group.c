/* SPDX-License-Identifier: MIT */
/*
 * Groups: tasks whose results are taken one by one, and that are cancelled together.
 *
 *     submit --> live (in order of submission) --ended--> done (in order of ends) --next--> taken
 *
 * An ordered group leaves ended tasks in `live`, and next takes its first when that has ended.
 * The result handed out last belongs to the group until the next call. Lists and counts are
 * guarded by the pool's lock; the group itself serves one thread.
 */
#include "base/clock.h"
#include "base/memory.h"
#include "base/reserved.h"
#include "run/pool.h"
#include "sys/kernel.h"
#include "sys/self.h"

#include <errno.h>

static struct stable_list groups;
static const brood_group_options no_options;

static int check(const struct brood_group *group)
{
    if (group == NULL || group->magic != GROUP_MAGIC)
        return BROOD_EHANDLE;
    return group->pool->self == brood__self() ? 0 : BROOD_EFORKED;
}

int brood_group_new(brood_group **out_group, brood_pool *pool, const brood_group_options *options)
{
    struct brood_group *group;
    int r = brood__pool_check(pool);

    if (r < 0)
        return r;
    if (options == NULL)
        options = &no_options;
    if (!reserved_are_zero(options->reserved))
        return -EINVAL;
    if (out_group == NULL)
        return -EINVAL;
    group = brood__stable_take(&groups, sizeof *group);
    if (group == NULL)
        return -ENOMEM;
    group->pool = pool;
    group->options = *options;
    group->event = -1;
    group->magic = GROUP_MAGIC;
    pool_lock(pool);
    pool->refs++;
    pool_unlock(pool);
    *out_group = group;
    return 0;
}

/* What next would hand out now, or NULL. */
static struct brood_future *ready(const struct brood_group *group)
{
    struct brood_future *first = group->options.ordered ? group->live.first : group->done.first;

    return first != NULL && atomic_load(&first->ended) != 0 ? first : NULL;
}

static bool next_known(struct brood_pool *pool, const void *context)
{
    const struct brood_group *group = context;

    (void)pool;
    return group->untaken == 0 || ready(group) != NULL;
}

void brood__group_ended(struct brood_future *future)
{
    struct brood_group *group = future->group;

    if (!group->options.ordered) {
        brood__list_remove(&group->live, future);
        brood__list_append(&group->done, future);
    }
    if (ready(group) != NULL)
        brood__event_ring(group->event);
}

size_t brood_group_room(const brood_group *group)
{
    size_t room = SIZE_MAX;

    if (check(group) < 0)
        return 0;
    pool_lock(group->pool);
    if (group->options.window != 0)
        room = group->untaken < group->options.window ? group->options.window - group->untaken : 0;
    pool_unlock(group->pool);
    return room;
}

/* The event stays readable while next would not wait. */
static void settle_event(struct brood_group *group)
{
    brood__event_clear(group->event);
    if (group->untaken == 0 || ready(group) != NULL)
        brood__event_ring(group->event);
}

int brood_group_submit(brood_group *group, brood_task_fn *fn, const void *in, size_t in_len,
                       const brood_task_options *options)
{
    const struct submission submission = {
        .fn = fn, .in = in, .in_len = in_len, .options = options, .group = group};
    int r = check(group);

    if (r < 0)
        return r;
    if (options != NULL && options->on_done != NULL)
        return -EINVAL;
    if (group->options.window != 0 && brood_group_room(group) == 0)
        return -EAGAIN;
    r = brood__pool_submit(group->pool, &submission, NULL);
    if (r == 0 && group->event >= 0) {
        pool_lock(group->pool);
        settle_event(group); /* it was readable while the group was empty */
        pool_unlock(group->pool);
    }
    return r;
}

static void drop_taken(struct brood_group *group)
{
    if (group->taken != NULL)
        brood__future_release(group->pool, group->taken);
    group->taken = NULL;
}

int brood_group_next(brood_group *group, int64_t timeout_ms, const brood_result **out_result)
{
    struct brood_pool *pool;
    int r = check(group);

    if (r < 0)
        return r;
    if (out_result == NULL)
        return -EINVAL;
    pool = pool_lock(group->pool);
    drop_taken(group);
    r = brood__pool_wait(pool, next_known, group, deadline_in(timeout_ms));
    if (r == 0 && group->untaken > 0) {
        group->taken = ready(group);
        brood__list_remove(group->options.ordered ? &group->live : &group->done, group->taken);
        group->untaken--;
        *out_result = &group->taken->result;
        r = 1;
    }
    settle_event(group);
    pool_unlock(pool);
    return r;
}

static void cancel_locked(struct brood_group *group)
{
    struct brood_future *next;

    (void)brood__pool_drain(group->pool);
    for (struct brood_future *future = group->live.first; future != NULL; future = next) {
        next = future->next;
        if (future->slot != NO_SLOT)
            brood__task_stop(group->pool, future->slot, BROOD_CANCELLED);
    }
    brood__pool_wake_waiters(group->pool);
}

void brood_group_cancel(brood_group *group)
{
    if (check(group) < 0)
        return;
    pool_lock(group->pool);
    cancel_locked(group);
    pool_unlock(group->pool);
}

int brood_group_fd(brood_group *group)
{
    int r = check(group);

    if (r < 0)
        return r;
    pool_lock(group->pool);
    (void)brood__pool_drain(group->pool);
    r = brood__event_make(group->pool, &group->event, next_known(group->pool, group));
    pool_unlock(group->pool);
    return r;
}

static bool all_ended(struct brood_pool *pool, const void *context)
{
    const struct brood_group *group = context;

    (void)pool;
    for (const struct brood_future *f = group->live.first; f != NULL; f = f->next)
        if (atomic_load(&f->ended) == 0)
            return false;
    return true;
}

static void drop_list(struct brood_pool *pool, struct future_list_ends *list)
{
    while (list->first != NULL) {
        struct brood_future *future = list->first;

        brood__list_remove(list, future);
        brood__future_release(pool, future);
    }
}

void brood_group_free(brood_group *group)
{
    struct brood_pool *pool;
    int saved = errno;
    int r = check(group);

    if (r == BROOD_EHANDLE)
        return;
    pool = group->pool;
    group->magic = 0;
    if (r == 0) {
        pool_lock(pool);
        cancel_locked(group);
        (void)brood__pool_wait(pool, all_ended, group, NEVER);
        drop_taken(group);
        drop_list(pool, &group->live);
        drop_list(pool, &group->done);
        pool->refs--;
        brood__pool_unref_unlock(pool);
    }
    group->event = brood__fd_close(group->event);
    brood__stable_give(&groups, group);
    errno = saved;
}
