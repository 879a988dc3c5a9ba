/* SPDX-License-Identifier: MIT */
/*
 * brood/group.h - tasks whose results are taken together and that are cancelled together.
 *
 *     while (brood_group_room(group) > 0)
 *         r = brood_group_submit(group, work, &input, sizeof input, NULL);
 *     r = brood_group_next(group, BROOD_FOREVER, &result);
 *
 * A group serves one thread at a time; different groups of one pool serve different threads.
 * It holds a reference on its pool: results stay readable until the group is freed.
 */
#ifndef BROOD_GROUP_H
#define BROOD_GROUP_H

#include <brood/pool.h>

BROOD_BEGIN_DECLS

typedef struct brood_group brood_group;

typedef struct brood_group_options {
    unsigned window;      /* tasks submitted and not yet taken; default: no limit */
    bool ordered;         /* results in the order of the inputs; default: as they finish */
    uint64_t reserved[4]; /* must be zero */
} brood_group_options;

/* Returns 0 and sets *OUT_GROUP, or -EINVAL, -ENOMEM, BROOD_EHANDLE, BROOD_EFORKED. */
BROOD_API BROOD_MUST_CHECK int brood_group_new(brood_group **out_group, brood_pool *pool,
                                               const brood_group_options *options);
/* As brood_pool_submit(); the result's index counts the group's tasks from 0. Beyond the window
 * it returns -EAGAIN at once, since only the caller can take results. on_done is not allowed. */
BROOD_API BROOD_MUST_CHECK int brood_group_submit(brood_group *group, brood_task_fn *fn,
                                                  const void *in, size_t in_len,
                                                  const brood_task_options *options);
/* How many more tasks the window allows now; SIZE_MAX without a window, 0 for a bad handle. */
BROOD_API size_t brood_group_room(const brood_group *group);
/*
 * brood_group_next() - the next result, waiting TIMEOUT_MS at most.
 *
 * Returns 1: *OUT_RESULT is borrowed until the next call of next or free on the group; 0: all
 * that was submitted has been taken; or -ETIMEDOUT, -EINVAL, BROOD_EHANDLE, BROOD_EFORKED.
 */
BROOD_API BROOD_MUST_CHECK int brood_group_next(brood_group *group, int64_t timeout_ms,
                                                const brood_result **out_result);
/* Stops all its tasks; they come back from next as BROOD_ECANCELLED. Never blocks for long. */
BROOD_API void brood_group_cancel(brood_group *group);
/* A descriptor that polls readable when brood_group_next() would not wait, made at the first
 * call. Borrowed; do not read or close it. Or -EMFILE, -ENFILE, -ENOMEM, BROOD_EHANDLE,
 * BROOD_EFORKED. */
BROOD_API int brood_group_fd(brood_group *group);
/* Cancels what has not ended and waits for that: no task outlives its group. NULL is allowed. */
BROOD_API void brood_group_free(brood_group *group);

BROOD_END_DECLS

#endif
