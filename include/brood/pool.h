/* SPDX-License-Identifier: MIT */
/*
 * brood/pool.h - run functions many times, in processes that may die.
 *
 * A task that crashes costs its own result and nothing else: the pool says which signal ended
 * it and where, replaces the worker, and goes on with the other tasks.
 *
 *     brood_pool *pool = NULL;
 *     int r = brood_pool_new(&pool, &(brood_pool_options){ .workers = 4 });
 *     r = brood_pool_submit(pool, work, &input, sizeof input, NULL, NULL);
 *
 * Workers are copies of the program as it was when brood_pool_new() was called, replacements
 * too: that process forks once, a snapshot, and every worker is forked from the snapshot. What
 * your program changes later, workers do not see; open files stay open in them until the pool
 * is freed.
 *
 * Threads: any function may be called from any thread; brood_pool_free() last.
 * Fork:    a pool belongs to the process that made it. In a forked child calls return
 *          BROOD_EFORKED, and free only releases memory.
 * Signals: no handler is installed in your process. Workers have default dispositions, and
 *          handlers of SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGSYS and SIGTRAP that write
 *          the crash report where your program had none.
 */
#ifndef BROOD_POOL_H
#define BROOD_POOL_H

#include <brood/task.h>

BROOD_BEGIN_DECLS

typedef struct brood_pool brood_pool;
typedef struct brood_future brood_future;

/* Zero, or a NULL pointer instead of the whole struct, means the default. */
typedef struct brood_pool_options {
    unsigned workers;    /* processes, 4093 at most; default: brood_cpu_count() */
    int kind;            /* enum brood_kind; default: BROOD_PROCESSES */
    int start;           /* enum brood_start; default: BROOD_START_FORK */
    int containment;     /* enum brood_containment to try for; default: BROOD_CONTAIN_GROUP */
    bool allow_threads;  /* fork although other threads run; see BROOD_ETHREADS */
    const void *context; /* handed to every task */
    size_t context_len;  /* 0: the pointer itself (fork only); else so many bytes are copied */
    /* Once in each worker before its first task, also in a replacement. Returns 0 and may set
     * *OUT_STATE, or a negative error, which brood_pool_new() returns. */
    int (*worker_open)(const void *context, void **out_state);
    void (*worker_close)(void *state); /* once in each worker that ends in good order */
    unsigned backlog_max;      /* tasks accepted and not ended, 2^20 at most; default: 4096 */
    unsigned worker_tasks_max; /* replace a worker after so many; default: never */
    unsigned strikes_max;      /* a task that ended so many workers is not tried again, whatever
                                  its retries; default: 3 */
    int64_t stop_grace_ms;     /* from SIGTERM to SIGKILL when stopping; default: 2000 */
    uint64_t memory_max;       /* bytes a worker may grow by, then it is killed; an allocation
                                  that alone exceeds it fails; default: no limit */
    uint64_t heap_max;         /* bytes of inputs and results at once; default: 3/4 of memory */
    uint64_t reserved[4];      /* must be zero */
} brood_pool_options;

typedef struct brood_task_options {
    size_t out_size;        /* fixes the result's size: task->out; default: none */
    int64_t timeout_ms;     /* for each attempt, from its start; default: no limit */
    int64_t deadline_ms;    /* from submit, with queueing and retries; default: no limit */
    unsigned retries;       /* after a crash or a stop by timeout_ms or memory_max, never after
                               an error returned; strikes_max bounds them */
    int64_t retry_delay_ms; /* before each further attempt; default: at once */
    int priority;           /* 1 before 0 before -1 */
    void *tag;              /* comes back in the result */
    int64_t room_wait_ms;   /* how long submit may wait for room; default: as long as it takes;
                                negative: not at all */
    brood_done_fn *on_done; /* called by brood_pool_dispatch() or brood_pool_join() */
    void *on_done_context;
    uint64_t reserved[4]; /* must be zero */
} brood_task_options;

/*
 * brood_pool_new() - open a pool.
 *
 * Returns when its workers run and, if there is a worker_open, when it has succeeded in each.
 * The pool holds one descriptor for each worker and about eight more.
 *
 * Returns 0 and sets *OUT_POOL, which brood_pool_free() releases; or leaves it alone and returns
 *   -EINVAL          a NULL output, an option out of range, a reserved field not zero
 *   -EAGAIN, -EMFILE, -ENFILE, -ENOMEM  no process, descriptor or memory to be had
 *   -EFBIG           the file size limit (RLIMIT_FSIZE) does not allow shared memory
 *   -ENOSYS, -EPERM  memfd_create() or pidfd_open() is missing or forbidden here
 *   BROOD_ETHREADS   other threads run, or /proc cannot tell
 *   BROOD_EINIT      BROOD_START_FORKSERVER without brood_init(), or the server ended before it
 *   BROOD_EFUNCTION  worker_open or worker_close is in a module loaded after the fork server
 *   BROOD_ECRASHED   worker_open crashed
 *   what worker_open returned
 */
BROOD_API BROOD_MUST_CHECK int brood_pool_new(brood_pool **out_pool,
                                              const brood_pool_options *options);

/*
 * brood_pool_submit() - give the pool one task.
 *
 * IN_LEN bytes at IN are copied, unless they lie in memory of brood_pool_alloc(), which the
 * worker then sees in place and which must stay until the task has ended. Waits for room while
 * the backlog or the heap is full. OUT_FUTURE may be NULL: the task goes on by itself, and
 * brood_pool_join() counts it if it fails.
 *
 * Returns 0, and sets *OUT_FUTURE, which brood_future_free() releases; or submits nothing:
 *   -EINVAL          NULL function, input or option out of range, a reserved field not zero
 *   -ENOMEM          no memory for the copy, however long one waits
 *   -EAGAIN          no room now, and room_wait_ms was negative
 *   -ETIMEDOUT       no room within room_wait_ms
 *   BROOD_ECLOSED    brood_pool_close() was called
 *   BROOD_EFUNCTION  the function is in a module that the workers have not loaded
 *   BROOD_ELOST      the snapshot process is gone, or workers cannot be started any more
 *   BROOD_EHANDLE, BROOD_EFORKED
 */
BROOD_API BROOD_MUST_CHECK int brood_pool_submit(brood_pool *pool, brood_task_fn *fn,
                                                 const void *in, size_t in_len,
                                                 const brood_task_options *options,
                                                 brood_future **out_future);

/* Submit, wait, copy a result of OUT_SIZE bytes to OUT (which may be NULL when that is 0).
 * Returns the verdict, or an error of brood_pool_submit(). OUT is untouched on failure. */
BROOD_API BROOD_MUST_CHECK int brood_pool_apply(brood_pool *pool, brood_task_fn *fn, const void *in,
                                                size_t in_len, void *out, size_t out_size);

/* Arrays for map: the macros take the item size from the pointer, so it cannot be wrong. */
typedef struct brood_in {
    const void *items;
    size_t item_size, count;
} brood_in;
typedef struct brood_out {
    void *items;
    size_t item_size, count;
} brood_out;
static inline brood_in brood_in_of(const void *items, size_t item_size, size_t count)
{
    brood_in in = {items, item_size, count};
    return in;
}
static inline brood_out brood_out_of(void *items, size_t item_size, size_t count)
{
    brood_out out = {items, item_size, count};
    return out;
}
#define BROOD_IN(items, count) brood_in_of((items), sizeof *(items), (count))
#define BROOD_OUT(items, count) brood_out_of((items), sizeof *(items), (count))
#define BROOD_NO_OUT brood_out_of(NULL, 0, 0)

typedef struct brood_map_options {
    int *verdicts;          /* for each item 0 or its error; default: nobody asks */
    brood_done_fn *on_fail; /* for each failed item that was not called off, in this thread */
    void *on_fail_context;
    bool ranges;          /* call the function with task->count items */
    bool stop_on_fail;    /* cancel what has not begun when one item failed */
    int64_t timeout_ms;   /* for each call of the function; default: no limit */
    unsigned retries;     /* of an item that crashed or timed out */
    uint64_t reserved[4]; /* must be zero */
} brood_map_options;

/*
 * brood_pool_map() - call FN for each item of IN, with OUT's item of the same index as task->out.
 *
 * Arrays in memory of brood_pool_alloc() are used in place, others are copied. An item that
 * crashes its worker fails alone; items of a range that is called as one fail together.
 * OUT's items that failed are zero, or half written where OUT is used in place. Waits until all
 * are done.
 *
 * Returns how many items failed (INT_MAX if more), or an error of brood_pool_submit(): then the
 * map did not run to its end, and verdicts and OUT tell nothing. -EINVAL also if OUT has fewer
 * items than IN.
 */
BROOD_API BROOD_MUST_CHECK int brood_pool_map(brood_pool *pool, brood_task_fn *fn, brood_in in,
                                              brood_out out, const brood_map_options *options);

/* LEN zeroed bytes, aligned to 64, that tasks see in place. NULL: no memory, or a bad handle.
 * Released by brood_pool_release() (NULL is allowed), and with the pool at the latest. */
BROOD_API void *brood_pool_alloc(brood_pool *pool, size_t len);
BROOD_API void brood_pool_release(brood_pool *pool, void *memory);

/* Takes no more tasks; those it has go on. Workers end when all are done. Never blocks. */
BROOD_API void brood_pool_close(brood_pool *pool);

/*
 * brood_pool_join() - wait until every task has ended, calling on_done where asked.
 *
 * Returns how many tasks that nobody else asks about (no future, group or on_done) have failed
 * since the pool was opened, or
 *   -ETIMEDOUT     tasks still run after TIMEOUT_MS
 *   BROOD_EHANDLE, BROOD_EFORKED
 */
BROOD_API BROOD_MUST_CHECK int brood_pool_join(brood_pool *pool, int64_t timeout_ms);

/* A descriptor that polls readable when brood_pool_dispatch() has something to do, made at the
 * first call. Borrowed; do not read or close it. Or -EMFILE, -ENFILE, -ENOMEM, BROOD_EHANDLE,
 * BROOD_EFORKED. */
BROOD_API int brood_pool_fd(brood_pool *pool);
/* Calls on_done for all tasks that ended, and returns how many that were, or BROOD_EHANDLE,
 * BROOD_EFORKED. Never waits. */
BROOD_API int brood_pool_dispatch(brood_pool *pool);

/* What a pool has done so far. */
typedef struct brood_pool_stats {
    uint64_t submitted, succeeded, failed; /* tasks; the rest is under way */
    uint64_t retried;                      /* attempts beyond the first */
    uint64_t worker_deaths;                /* workers that did not end in good order */
    unsigned workers;                      /* that run now */
    int containment;                       /* as obtained */
    uint64_t heap_used;                    /* bytes of inputs, results and brood_pool_alloc() */
    uint64_t reserved[8];
} brood_pool_stats;
BROOD_API BROOD_MUST_CHECK int brood_pool_stats_get(brood_pool *pool, brood_pool_stats *out_stats);
/* Fills OUT with the pids of up to MAX workers that run, as this process sees them.
 * Returns how many run whose pid is known (in a namespace, one that has just died may have none),
 * or -EINVAL, BROOD_EHANDLE, BROOD_EFORKED. */
BROOD_API int brood_pool_pids(brood_pool *pool, int *out, size_t max);

/* Cancels what has not ended, ends the workers (SIGTERM, after stop_grace_ms SIGKILL) with all
 * they started, and releases everything; futures and groups keep only their results. Workers
 * that are idle end at once. NULL is allowed; errno is preserved. */
BROOD_API void brood_pool_free(brood_pool *pool);

/*
 * brood_future_wait() - wait until the task has ended, TIMEOUT_MS at most.
 *
 * Returns 0: it has ended, and *OUT_RESULT (which may be NULL) is borrowed until the future is
 * freed; or -ETIMEDOUT, BROOD_EHANDLE, BROOD_EFORKED. May be called again, by several threads.
 */
BROOD_API BROOD_MUST_CHECK int brood_future_wait(brood_future *future, int64_t timeout_ms,
                                                 const brood_result **out_result);
/* Whether brood_future_wait() would not wait. Never blocks. */
BROOD_API bool brood_future_ready(brood_future *future);
/* Stops the task: a queued one never starts, a running one is killed with its worker. Returns 1
 * if its verdict will be BROOD_ECANCELLED, 0 if it has ended, or BROOD_EHANDLE, BROOD_EFORKED. */
BROOD_API int brood_future_cancel(brood_future *future);
/* A descriptor that polls readable once the task has ended, made at the first call. Borrowed; do
 * not read or close it. Or -EMFILE, -ENFILE, -ENOMEM, BROOD_EHANDLE, BROOD_EFORKED. */
BROOD_API int brood_future_fd(brood_future *future);
/* Lets go: the task goes on, its result is dropped, and brood_pool_join() counts it if it fails
 * after this. NULL is allowed. */
BROOD_API void brood_future_free(brood_future *future);

BROOD_END_DECLS

#endif
