/* SPDX-License-Identifier: MIT */
/*
 * The inside of a pool: what the files of the pool share. The model:
 *
 *     submit --> task (private) + slot (shared) --> dispatch --> worker
 *                   |                                              |
 *     future <-- complete <---------- drain <---------- done ring--+
 *                   ^
 *                   +--- repair, when the zygote says that a worker died
 *
 * Life of a task; only pool_submit.c, pool_complete.c and pool_stop.c change .state:
 *
 *     FREE --> FILLING --submit--> QUEUED --drained--> FREE   (queued or running: dispatch knows)
 *                                  |  ^
 *                        died, or  v  | due
 *                        ring full WAITING --cancelled, over its deadline--> FREE
 *
 * What always holds
 *   - One mutex, .lock, guards everything here; no callback of the user runs under it.
 *   - All of it is private memory of the process that opened the pool. A worker can damage only
 *     what dispatch.h lists.
 *   - Whoever waits, drains: there is no thread between worker and caller. The supervisor thread
 *     acts only on deaths, times and event descriptors, and sleeps otherwise.
 *   - A task ends exactly once: complete() is called for a slot taken back from the dispatch (by
 *     drain, revoke or repair), and taking back is what makes an entry not live.
 */
#ifndef BROOD_SRC_RUN_POOL_H
#define BROOD_SRC_RUN_POOL_H

#include "base/handle.h"
#include "sys/stable.h"
#include "ipc/arena.h"
#include "ipc/dispatch.h"
#include "ipc/heap.h"
#include "run/zygote.h"

#include <brood.h>
#include <pthread.h>

#define NO_TIMER UINT32_MAX

enum task_state { TASK_FREE = 0, TASK_FILLING, TASK_QUEUED, TASK_WAITING };

struct map_run;

/* The caller's side of one slot. What a retry needs is kept here, because a dying worker may
 * have written over the slot. */
struct task {
    uint8_t state; /* enum task_state */
    uint8_t ring;
    bool quarantined;
    uint16_t flags; /* enum slot_flags */
    int32_t stop;   /* why it was stopped: enum brood_cause, or 0 */
    uint64_t fn;    /* address in the worker */
    uint64_t in, in_len, out, out_size, index;
    uint32_t count;
    uint32_t attempt;
    uint32_t attempts_max;
    uint32_t strikes;
    uint64_t in_block, out_block; /* heap blocks that go with the task, or 0 */
    int64_t timeout_ns;           /* or 0 */
    int64_t retry_delay_ns;
    int64_t deadline; /* or NEVER */
    int64_t due;      /* WAITING: when to publish */
    uint32_t timer;   /* place in the timer heap, or NO_TIMER */
    uint32_t next_free;
    struct brood_future *future; /* or NULL: nobody asks */
    struct map_run *map;         /* or NULL */
};

/* How a task ended, on its way to whoever asked. */
struct ending {
    enum brood_cause cause;
    int code;
    int signal;
    uint64_t items_done;
    int64_t wall_us, user_us, system_us;
    uint64_t peak_rss;
    uint32_t kind; /* enum result_kind */
    uint64_t result, result_len;
    int lane;     /* whose arena .result is in */
    char *report; /* owned */
};

struct brood_future {
    void *stable_link;
    uint64_t magic;
    struct brood_pool *pool;
    _Atomic uint32_t ended;
    uint32_t slot;                       /* while it has not ended */
    uint16_t lane;                       /* of .arena_result */
    bool held_by_user, held_by_callback; /* freed when neither is */
    struct brood_group *group;
    struct brood_future *previous, *next;
    brood_done_fn *on_done;
    void *on_done_context;
    int event;             /* eventfd, or -1 */
    uint64_t heap_result;  /* block that .result.data is in, or 0 */
    uint64_t arena_result; /* the same in a lane's arena */
    char *report;
    brood_result result;
    unsigned char inline_data[INLINE_OUT_MAX];
};

struct future_list_ends {
    struct brood_future *first, *last;
};

struct brood_group {
    void *stable_link;
    uint64_t magic;
    struct brood_pool *pool;
    brood_group_options options;
    struct future_list_ends live; /* in the order of submission; ordered: also ended ones */
    struct future_list_ends done; /* in the order of their ends */
    struct brood_future *taken;   /* whose result the user looks at */
    uint64_t submitted;
    size_t untaken;
    int event; /* eventfd, or -1 */
};

enum worker_state { WORKER_NONE = 0, WORKER_ASKED, WORKER_ALIVE, WORKER_KILLED };

/* The caller's side of one lane. */
struct worker {
    enum worker_state state;
    uint64_t birth; /* id of this life */
    int pidfd;
    int pid;
    int64_t born_due; /* WORKER_NONE: when to ask for the next */
    struct arena_span span;
    uint64_t arena_start, arena_len;
    uint64_t *unsent; /* results that came back while the mailbox was full */
    size_t unsent_count, unsent_room;
    uint64_t kill_progress; /* items done when the kill was decided */
    uint64_t kill_id;       /* the task it was killed for: brood__dispatch_id(), or 0 */
    int64_t memory_start;   /* private bytes when first looked at, or -1 */
    int64_t memory_due;     /* when to look again */
    uint64_t memory_peak;
};

struct pool_timers {
    uint32_t *slots; /* a binary heap by due time */
    uint32_t count;
};

struct brood_pool {
    void *stable_link;
    uint64_t magic;
    uint64_t self; /* brood__self() of the process that owns it */
    pthread_mutex_t lock;
    unsigned refs; /* the handle, futures, groups */
    brood_pool_options options;

    int memory_fd;
    char *base;
    uint64_t memory_len;
    uint64_t heap_start, heap_end;
    uint64_t crash_start; /* one record for each lane */
    uint64_t context_block;
    uintptr_t open_there, close_there; /* worker_open, worker_close in the workers */
    struct heap *heap;

    struct dispatch dispatch;
    struct task *tasks;
    uint32_t tasks_max, free_slot, in_flight;
    uint32_t slots_ready;   /* so many have memory; the others get it when they are needed */
    bool ring_ready[RINGS]; /* the same for rings */
    struct worker *workers;
    unsigned alive;
    struct zygote zygote;
    bool zygote_gone;
    int birth_error;        /* of the last that failed; 0: none did since the pool was opened */
    unsigned failed_births; /* in a row, without a worker that became ready */
    uint64_t births;

    brood_task_fn *last_fn; /* and where it is in the workers */
    uint64_t last_fn_there;

    struct pool_timers timers;
    int64_t shortest_timeout_ns; /* of tasks in flight, or NEVER; may be too short */
    uint32_t timed;              /* tasks in flight with a timeout */

    pthread_t supervisor;
    bool supervisor_runs;
    int64_t supervisor_due; /* when it wakes by itself */
    int control;            /* eventfd that wakes it */
    int bell;               /* eventfd that workers ring when armed */
    bool watched;           /* some public descriptor wants to hear of completions */
    int public_event;       /* brood_pool_fd(), or -1 */

    uint32_t waiters;
    unsigned spins;
    struct brood_future *free_futures;
    struct future_list_ends callbacks;

    bool opened; /* brood_pool_new() is through: failed births are tried again */
    bool closed, stopping;
    uint32_t maps;         /* calls of map under way: they have more tasks to come */
    int broken;            /* why no task can run any more, or 0 */
    uint64_t results_held; /* bytes of results in arenas */
    uint32_t room_serial;  /* changes when a slot or memory became free */
    uint64_t memory_base;  /* private bytes of a worker at its start, or 0: unknown */
    uint64_t submitted, succeeded, failed, retried, deaths, unobserved_failed;
};

static inline struct brood_pool *pool_lock(struct brood_pool *pool)
{
    (void)pthread_mutex_lock(&pool->lock);
    return pool;
}
static inline void pool_unlock(struct brood_pool *pool)
{
    (void)pthread_mutex_unlock(&pool->lock);
}

/* pool_open.c */
int brood__pool_check(const struct brood_pool *pool); /* 0, BROOD_EHANDLE, BROOD_EFORKED */
/* Locked before, unlocked after. Releases the pool when nobody holds it any more. */
void brood__pool_unref_unlock(struct brood_pool *pool);
/* Slots that have memory now; more if none is free. 0 or -ENOMEM. */
int brood__pool_more_slots(struct brood_pool *pool);
int brood__pool_ring(struct brood_pool *pool, unsigned ring);
bool brood__pool_owns(const struct brood_pool *pool, const void *memory, size_t len);
struct crash_record *brood__pool_crash(const struct brood_pool *pool, uint32_t lane);

/* pool_submit.c */
struct submission {
    brood_task_fn *fn;
    const void *in;
    size_t in_len;
    const brood_task_options *options;
    struct brood_group *group; /* or NULL */
    bool wants_future;
};
int brood__pool_submit(struct brood_pool *pool, const struct submission *submission,
                       struct brood_future **out_future);
int brood__pool_function(struct brood_pool *pool, brood_task_fn *fn, uint64_t *out_there);
/* A free slot, with its task cleared, or NO_SLOT. Taken by brood__task_publish(). */
uint32_t brood__task_take(struct brood_pool *pool);
void brood__task_give(struct brood_pool *pool, uint32_t slot);
/* Fills the slot from the task and queues it, or sets it WAITING if the ring is full. */
void brood__task_publish(struct brood_pool *pool, uint32_t slot);
int64_t brood__limit_ns(int64_t limit_ms);
/* Counts a task with time limits, and wakes the supervisor if it sleeps too long. */
void brood__task_watch(struct brood_pool *pool, uint32_t slot);

/* pool_complete.c */
unsigned brood__pool_drain(struct brood_pool *pool); /* how many tasks ended */
/* SLOT is taken back and ended; the slot is free afterwards. Takes ENDING->report. */
void brood__task_end(struct brood_pool *pool, uint32_t slot, const struct ending *ending);
void brood__arena_return(struct brood_pool *pool, uint32_t lane, uint64_t offset, uint64_t len);
/* Bytes of inputs and results that may still be taken; told to the lanes as well. */
uint64_t brood__memory_left(struct brood_pool *pool);
/* As brood__heap_take(), within what results leave. */
int brood__pool_block_take(struct brood_pool *pool, uint64_t len, uint64_t *out_offset);
void brood__pool_wake_waiters(struct brood_pool *pool);
int brood__cause_verdict(const struct ending *ending);
/* Whether the worker died of it, so that another attempt may do better. */
bool brood__died(const struct ending *ending);

/* pool_wait.c */
typedef bool pool_predicate(struct brood_pool *pool, const void *context);
/* Locked before and after; drains, and waits until PREDICATE. 0 or -ETIMEDOUT. */
int brood__pool_wait(struct brood_pool *pool, pool_predicate *predicate, const void *context,
                     int64_t deadline);

/* pool_stop.c */
/* Stops a task that has not ended, for CAUSE. It ends now or soon. */
void brood__task_stop(struct brood_pool *pool, uint32_t slot, enum brood_cause cause);
/* Closed and nothing under way: no task will come any more. */
bool brood__pool_is_over(const struct brood_pool *pool);
void brood__pool_wind_down(struct brood_pool *pool); /* if it is over, the workers leave */
void brood__worker_signal(struct worker *worker, int signo);

/* pool_repair.c */
void brood__worker_ask(struct brood_pool *pool, uint32_t lane);
void brood__pool_event(struct brood_pool *pool, const struct zygote_event *event);
void brood__pool_break(struct brood_pool *pool, int error);

/* pool_supervisor.c */
int brood__supervisor_start(struct brood_pool *pool);
void brood__supervisor_stop(struct brood_pool *pool);
void brood__supervisor_poke(struct brood_pool *pool, int64_t due); /* look at DUE at the latest */
void brood__pool_watch(struct brood_pool *pool); /* event descriptors are in use */

/* pool_timers.c: by task.due and task.deadline, whatever comes first */
int brood__timers_init(struct pool_timers *timers, uint32_t slots);
void brood__timers_done(struct pool_timers *timers);
void brood__timers_set(struct brood_pool *pool, uint32_t slot); /* adds, moves or removes */
uint32_t brood__timers_first(const struct brood_pool *pool);    /* or NO_SLOT */
int64_t brood__timers_due(const struct task *task);             /* or NEVER */

/* future.c */
struct brood_future *brood__future_new(struct brood_pool *pool); /* NULL: no memory */
void brood__future_release(struct brood_pool *pool, struct brood_future *future);
void brood__future_end(struct brood_pool *pool, uint32_t slot, const struct ending *ending);
void brood__list_append(struct future_list_ends *list, struct brood_future *future);
void brood__list_remove(struct future_list_ends *list, struct brood_future *future);
bool brood__future_ended(struct brood_pool *pool, const void *future); /* a pool_predicate */
void brood__event_ring(int event);
void brood__event_clear(int event);
int brood__event_make(struct brood_pool *pool, int *event, bool ready);
int brood__callbacks_run(struct brood_pool *pool);
void brood__futures_done(struct brood_pool *pool);

/* group.c */
void brood__group_ended(struct brood_future *future);

/* map.c */
/* A chunk was taken back with ENDING. True: it goes on (published again); false: it is over and
 * its slot free. */
void brood__map_chunk_ended(struct brood_pool *pool, uint32_t slot, const struct ending *ending);

#endif
