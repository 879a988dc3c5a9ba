/* SPDX-License-Identifier: MIT */
/*
 * brood/task.h - what a task function sees, and what comes of it.
 */
#ifndef BROOD_TASK_H
#define BROOD_TASK_H

#include <brood/base.h>

BROOD_BEGIN_DECLS

/* Made by the library, so it can grow. Everything in it lives until the function returns. */
typedef struct brood_task {
    const void *in;      /* the input: a copy aligned to 16, or the memory of brood_pool_alloc() */
    size_t in_len;       /* bytes at in; a map: of all items */
    void *out;           /* out_size zeroed bytes if the size is fixed, else NULL */
    size_t out_size;     /* bytes at out */
    size_t count;        /* items behind in and out: 1, or more in a map with .ranges */
    uint64_t index;      /* of the first item in a map; of the task in its group; else 0 */
    const void *context; /* the pool's: the same for all workers */
    void *state;         /* the worker's: what worker_open() left here */
    unsigned attempt;    /* from 0 */
} brood_task;

/* Runs in a worker. A negative return means that the task failed, and is its verdict. */
typedef int brood_task_fn(brood_task *task);

/*
 * The result of a task without fixed size, of any length. Either replaces what was there.
 *
 * brood_task_return() copies LEN bytes and returns 0, -ENOMEM when the pool's memory does not
 * hold them, or -EINVAL if the task has a fixed size. brood_task_alloc() gives LEN bytes, not
 * zeroed, aligned to 16, to build the result in; or NULL. Neither blocks.
 */
BROOD_API int brood_task_return(brood_task *task, const void *data, size_t len);
BROOD_API void *brood_task_alloc(brood_task *task, size_t len);

/* How one task ended. */
typedef struct brood_result {
    int verdict;           /* = outcome.verdict; 0 or more: it ended well */
    uint64_t index;        /* n-th task of its group, n-th item of its map; else 0 */
    void *tag;             /* from the task's options */
    const void *data;      /* NULL if the task did not end well or returned nothing */
    size_t len;            /* bytes at data */
    brood_outcome outcome; /* the whole story */
    uint64_t reserved[4];
} brood_result;

/* Told about an ended task. RESULT and what it points to are borrowed for the call. It may call
 * any function of the pool but brood_pool_free(). */
typedef void brood_done_fn(const brood_result *result, void *context);

BROOD_END_DECLS

#endif
