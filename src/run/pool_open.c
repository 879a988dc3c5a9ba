/* SPDX-License-Identifier: MIT */
/*
 * Opening and closing a pool.
 *
 * The shared memory is one sparse object, sized once, as large as the system lets it be mapped;
 * nobody ever grows it. Its parts, by offset:
 *
 *     dispatch | crash records, one a lane | heap ............ | arena span | arena span | ...
 *
 * Pages are committed before anybody uses them, so that a full system is an error and no
 * signal: the core of the dispatch at once, slots and the rings of other priorities when they
 * are needed, those of heap and arenas by whoever takes a block. It is freed by the kernel with its
 * last mapping, so the death of everybody leaves nothing.
 *
 * Order matters: memory first, then the zygote (a forked one inherits the mapping), then the
 * supervisor (a thread, so after the fork), then the workers. Closing goes the other way.
 */
#include "base/clock.h"
#include "base/memory.h"
#include "base/reserved.h"
#include "ipc/member.h"
#include "run/pool.h"
#include "sys/cpu.h"
#include "sys/crash.h"
#include "sys/kernel.h"
#include "sys/proc.h"
#include "sys/self.h"
#include "sys/usage.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum {
    BACKLOG_DEFAULT = 4096,
    STRIKES_DEFAULT = 3,
    GRACE_DEFAULT_MS = 2000,
    SPINS = 1600,
    SLOTS_STEP = 64
};

static struct stable_list pools;
static const brood_pool_options no_options;

int brood__pool_check(const struct brood_pool *pool)
{
    if (pool == NULL || pool->magic != POOL_MAGIC)
        return BROOD_EHANDLE;
    return pool->self == brood__self() ? 0 : BROOD_EFORKED;
}

bool brood__pool_owns(const struct brood_pool *pool, const void *memory, size_t len)
{
    uintptr_t start = (uintptr_t)pool->base + pool->heap_start;
    uintptr_t at = (uintptr_t)memory;

    if (at < start || at - start >= pool->heap_end - pool->heap_start)
        return false;
    return brood__heap_has(pool->heap, at - (uintptr_t)pool->base, len, NULL);
}

struct crash_record *brood__pool_crash(const struct brood_pool *pool, uint32_t lane)
{
    return (void *)(pool->base + pool->crash_start + (uint64_t)lane * CRASH_RECORD_SIZE);
}

/* ---- options ---- */

static int check_options(const brood_pool_options *options)
{
    if (!reserved_are_zero(options->reserved))
        return -EINVAL;
    if (options->workers > LANES_MAX || options->backlog_max > SLOTS_MAX ||
        (options->kind != 0 && options->kind != BROOD_PROCESSES) || options->start < 0 ||
        options->start > BROOD_START_FORKSERVER || options->containment < 0 ||
        options->containment > BROOD_CONTAIN_NAMESPACE ||
        (options->context == NULL && options->context_len > 0) ||
        (options->start == BROOD_START_FORKSERVER && options->context != NULL &&
         options->context_len == 0))
        return -EINVAL;
    return 0;
}

static uint64_t heap_default(void)
{
    long pages = sysconf(_SC_PHYS_PAGES);
    long page = sysconf(_SC_PAGESIZE);

    return pages <= 0 || page <= 0 ? UINT64_MAX : (uint64_t)pages * (uint64_t)page / 4 * 3;
}

static void fill_defaults(brood_pool_options *options)
{
    if (options->workers == 0)
        options->workers = brood_cpu_count();
    if (options->workers > LANES_MAX)
        options->workers = LANES_MAX;
    if (options->start == 0)
        options->start = BROOD_START_FORK;
    if (options->containment == 0)
        options->containment = BROOD_CONTAIN_GROUP;
    if (options->backlog_max == 0)
        options->backlog_max = BACKLOG_DEFAULT;
    if (options->strikes_max == 0)
        options->strikes_max = STRIKES_DEFAULT;
    if (options->stop_grace_ms <= 0)
        options->stop_grace_ms = GRACE_DEFAULT_MS;
    if (options->heap_max == 0)
        options->heap_max = heap_default();
}

/* ---- memory ---- */

static uint64_t round_up(uint64_t len, uint64_t to)
{
    return (len + to - 1) / to * to;
}

static int map_object(struct brood_pool *pool, uint64_t len)
{
    void *base;
    int r;
    int fd = brood__memory_object("brood-pool", len);

    if (fd < 0)
        return fd;
    r = brood__memory_map(&base, fd, 0, len);
    if (r < 0) {
        brood__fd_close(fd);
        return r;
    }
    (void)brood__memory_advise(base, len, MADV_DONTDUMP);
    pool->memory_fd = fd;
    pool->base = base;
    pool->memory_len = len;
    return 0;
}

/* As much address space as can be had, from 4 TiB down to LEAST. */
static int map_memory(struct brood_pool *pool, uint64_t least)
{
    int r = -ENOMEM;

    for (uint64_t len = UINT64_C(1) << 42; len >= least; len /= 4) {
        r = map_object(pool, len);
        if (r != -ENOMEM && r != -EINVAL && r != -EFBIG && r != -EOVERFLOW)
            return r;
    }
    return r;
}

static int slot_count(unsigned backlog_max)
{
    unsigned slots = 1;

    while (slots < backlog_max)
        slots *= 2;
    return (int)slots;
}

/* The next slots get memory and join the free ones. -EAGAIN: all have. */
int brood__pool_more_slots(struct brood_pool *pool)
{
    struct dispatch_shape shape = pool->dispatch.view.shape;
    uint32_t first = pool->slots_ready;
    uint32_t end = first + SLOTS_STEP < pool->tasks_max ? first + SLOTS_STEP : pool->tasks_max;
    size_t start = brood__dispatch_slot_start(shape, first);
    int r;

    if (first == end)
        return -EAGAIN;
    r = brood__memory_commit(pool->memory_fd, start,
                             brood__dispatch_slot_start(shape, end) - start);
    if (r < 0)
        return r;
    for (uint32_t slot = end; slot-- > first;) {
        pool->tasks[slot].timer = NO_TIMER;
        pool->tasks[slot].next_free = pool->free_slot;
        pool->free_slot = slot;
    }
    pool->slots_ready = end;
    return 0;
}

int brood__pool_ring(struct brood_pool *pool, unsigned ring)
{
    size_t start, len;
    int r;

    if (pool->ring_ready[ring])
        return 0;
    brood__dispatch_ring_part(pool->dispatch.view.shape, ring, &start, &len);
    r = brood__memory_commit(pool->memory_fd, start, len);
    pool->ring_ready[ring] = r == 0;
    return r;
}

static void init_workers(struct brood_pool *pool, uint64_t arenas_start, uint64_t span)
{
    for (uint32_t i = 0; i < pool->options.workers; i++) {
        struct worker *worker = &pool->workers[i];

        worker->pidfd = -1;
        worker->memory_start = -1;
        worker->born_due = NEVER;
        brood__arena_span_init(&worker->span, pool->memory_fd, arenas_start + i * span, span);
    }
}

/* Mapped, so that only those that are used cost memory and time. */
static int map_tasks(struct brood_pool *pool)
{
    void *tasks;
    int r = brood__memory_map_private(&tasks, pool->options.backlog_max * sizeof *pool->tasks);

    if (r == 0)
        pool->tasks = tasks;
    return r;
}

/* Lanes look at the first cell of every ring, also of one that was never used. */
static int commit_head(struct brood_pool *pool, struct dispatch_shape shape, unsigned ring,
                       uint64_t page)
{
    size_t start, len;

    brood__dispatch_ring_part(shape, ring, &start, &len);
    return brood__memory_commit(pool->memory_fd, start, len < page ? len : page);
}

static int lay_out(struct brood_pool *pool)
{
    const struct dispatch_shape shape = {.lanes = pool->options.workers,
                                         .slots = (uint32_t)slot_count(pool->options.backlog_max)};
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    uint64_t dispatch_len = round_up(brood__dispatch_size(shape), page);
    uint64_t crash_len = round_up((uint64_t)shape.lanes * CRASH_RECORD_SIZE, page);
    uint64_t span;
    int r = map_memory(pool, 4 * (dispatch_len + crash_len) + (UINT64_C(64) << 20));

    if (r < 0)
        return r;
    pool->crash_start = dispatch_len;
    pool->heap_start = dispatch_len + crash_len;
    span = (pool->memory_len - pool->heap_start) / 2 / shape.lanes / page * page;
    pool->heap_end = pool->memory_len - span * shape.lanes;
    pool->workers = brood__alloc_zeroed(shape.lanes, sizeof *pool->workers);
    if (pool->workers == NULL)
        return -ENOMEM;
    init_workers(pool, pool->heap_end, span);
    r = map_tasks(pool);
    if (r < 0)
        return r;
    pool->free_slot = NO_SLOT;
    pool->tasks_max = pool->options.backlog_max;
    r = brood__memory_commit(pool->memory_fd, 0, brood__dispatch_core_size(shape));
    pool->ring_ready[1] = r == 0;
    for (unsigned ring = 0; ring < RINGS && r == 0; ring++)
        r = commit_head(pool, shape, ring, page);
    if (r == 0)
        r = brood__dispatch_init(&pool->dispatch, pool->base, shape, 2 * shape.slots);
    if (r == 0)
        r = brood__pool_more_slots(pool);
    if (r == 0)
        r = brood__timers_init(&pool->timers, pool->tasks_max);
    if (r == 0)
        r = brood__heap_new(&pool->heap, pool->memory_fd, NULL, pool->heap_start,
                            pool->heap_end / page * page - pool->heap_start,
                            pool->options.heap_max);
    return r;
}

static int copy_context(struct brood_pool *pool)
{
    int r;

    if (pool->options.context_len == 0) {
        (void)brood__memory_left(pool);
        return 0;
    }
    r = brood__heap_take(pool->heap, pool->options.context_len, &pool->context_block);
    (void)brood__memory_left(pool);
    if (r == 0)
        memcpy(pool->base + pool->context_block, pool->options.context, pool->options.context_len);
    return r == -EAGAIN ? -ENOMEM : r;
}

/* ---- open ---- */

static int start_zygote(struct brood_pool *pool)
{
    const struct zygote_options options = {.start = pool->options.start,
                                           .containment = pool->options.containment,
                                           .allow_threads = pool->options.allow_threads,
                                           .context = pool};
    int64_t used;
    int r = brood__zygote_start(&pool->zygote, &options);

    if (r == 0) /* what stops tasks must be allowed */
        r = brood__pidfd_signal(pool->zygote.pidfd, 0);
    if (r == 0) /* the snapshots of later pools shall not keep them open */
        r = brood__private_add(pool->memory_fd);
    if (r == 0)
        r = brood__private_add(pool->bell);
    if (r == 0)
        r = brood__private_add(pool->control);
    if (r < 0)
        return r;
    if (pool->options.memory_max != 0) { /* all workers start with what the zygote has */
        used = brood__usage_private(brood__proc_pidfd_pid(pool->zygote.pidfd));
        pool->memory_base = used > 0 ? (uint64_t)used : 0;
    }
    if (pool->options.worker_open != NULL)
        r = brood__zygote_function(&pool->zygote, (uintptr_t)pool->options.worker_open,
                                   &pool->open_there);
    if (r == 0 && pool->options.worker_close != NULL)
        r = brood__zygote_function(&pool->zygote, (uintptr_t)pool->options.worker_close,
                                   &pool->close_there);
    return r;
}

static bool all_opened(struct brood_pool *pool, const void *context)
{
    (void)context;
    if (pool->broken != 0 || pool->birth_error != 0)
        return true;
    for (uint32_t i = 0; i < pool->options.workers; i++) {
        bool alive = pool->workers[i].state == WORKER_ALIVE;
        uint32_t state = atomic_load(&pool->dispatch.view.lanes[i].state);

        if (!alive || (pool->options.worker_open != NULL && state != LANE_READY))
            return false;
    }
    return true;
}

/* Asks for all workers and waits until they run, or one of them cannot. */
static int start_workers(struct brood_pool *pool)
{
    int r = brood__supervisor_start(pool);

    if (r < 0)
        return r;
    pool_lock(pool);
    for (uint32_t i = 0; i < pool->options.workers; i++)
        brood__worker_ask(pool, i);
    (void)brood__pool_wait(pool, all_opened, NULL, NEVER);
    if (pool->broken != 0 || pool->birth_error != 0)
        r = pool->birth_error != 0 ? pool->birth_error : BROOD_ELOST;
    pool->opened = r == 0;
    pool_unlock(pool);
    return r;
}

static int open_pool(struct brood_pool *pool)
{
    int r;

    pool->spins = brood__cpu_affinity() != 1 ? SPINS : 0;
    pool->bell = brood__fd_event();
    if (pool->bell < 0)
        return pool->bell;
    pool->control = brood__fd_event();
    if (pool->control < 0)
        return pool->control;
    r = lay_out(pool);
    if (r == 0)
        r = copy_context(pool);
    if (r == 0)
        r = start_zygote(pool);
    if (r == 0)
        r = start_workers(pool);
    return r;
}

int brood_pool_new(brood_pool **out_pool, const brood_pool_options *options)
{
    struct brood_pool *pool;
    int r;

    if (options == NULL)
        options = &no_options;
    r = out_pool == NULL ? -EINVAL : check_options(options);
    if (r < 0)
        return r;
    pool = brood__stable_take(&pools, sizeof *pool);
    if (pool == NULL)
        return -ENOMEM;
    pool->options = *options;
    fill_defaults(&pool->options);
    pool->self = brood__self();
    pool->refs = 1;
    pool->memory_fd = pool->control = pool->bell = pool->public_event = -1;
    pool->supervisor_due = pool->shortest_timeout_ns = NEVER;
    pool->zygote = ZYGOTE_NONE;
    (void)pthread_mutex_init(&pool->lock, NULL);
    pool->magic = POOL_MAGIC;
    r = open_pool(pool);
    if (r < 0) {
        brood_pool_free(pool);
        return r;
    }
    *out_pool = pool;
    return 0;
}

/* ---- close ---- */

void brood_pool_close(brood_pool *pool)
{
    if (brood__pool_check(pool) < 0)
        return;
    pool_lock(pool);
    pool->closed = true;
    brood__pool_watch(pool); /* somebody must see the last task end */
    brood__pool_wind_down(pool);
    brood__pool_wake_waiters(pool);
    pool_unlock(pool);
}

static void close_private(int fd)
{
    if (fd >= 0)
        brood__private_remove(fd);
    brood__fd_close(fd);
}

/* Everything but the handle's own memory. */
static void release_memory(struct brood_pool *pool)
{
    if (pool->workers != NULL)
        for (uint32_t i = 0; i < pool->options.workers; i++) {
            close_private(pool->workers[i].pidfd);
            brood__free(pool->workers[i].unsent);
            brood__arena_span_done(&pool->workers[i].span);
        }
    brood__heap_free(pool->heap);
    brood__timers_done(&pool->timers);
    brood__dispatch_done(&pool->dispatch);
    brood__memory_unmap(pool->tasks, pool->options.backlog_max * sizeof *pool->tasks);
    brood__free(pool->workers);
    brood__memory_unmap(pool->base, pool->memory_len);
    close_private(pool->memory_fd);
    close_private(pool->bell);
    close_private(pool->control);
    brood__fd_close(pool->public_event);
}

void brood__pool_unref_unlock(struct brood_pool *pool)
{
    bool last = pool->refs == 0;

    pool_unlock(pool);
    if (!last)
        return;
    pool->magic = 0;
    release_memory(pool);
    brood__futures_done(pool);
    (void)pthread_mutex_destroy(&pool->lock);
    brood__stable_give(&pools, pool);
}

static bool none_alive(struct brood_pool *pool, const void *context)
{
    (void)context;
    for (uint32_t i = 0; i < pool->options.workers; i++)
        if (pool->workers[i].state != WORKER_NONE)
            return false;
    return true;
}

/* Asks each worker to leave; those that run a task by SIGTERM. Whether that is worth waiting. It is
 * where there are regions: a worker that is killed while it is on a roster counts as a death
 * there. */
static bool ask_to_leave(struct brood_pool *pool)
{
    bool wait = pool->options.worker_close != NULL || atomic_load(&brood__member_lists) != 0;

    for (uint32_t i = 0; i < pool->options.workers; i++) {
        struct worker *worker = &pool->workers[i];

        if (worker->state == WORKER_NONE)
            continue;
        atomic_store(&pool->dispatch.view.lanes[i].stop, 1);
        if (atomic_load(&pool->dispatch.view.lanes[i].running) != 0) {
            brood__worker_signal(worker, SIGTERM);
            wait = true;
        }
        brood__lane_wake(&pool->dispatch.view, i);
    }
    return wait;
}

static void mark_cancelled(struct brood_pool *pool, uint32_t slot)
{
    pool->tasks[slot].stop = BROOD_CANCELLED;
    brood__timers_set(pool, slot);
}

/* Queued tasks end now; running ones are marked and end with their worker. */
static void cancel_all(struct brood_pool *pool)
{
    for (uint32_t slot = 0; slot < pool->tasks_max; slot++) {
        struct task *task = &pool->tasks[slot];

        if (task->state == TASK_QUEUED && brood__dispatch_lane_of(&pool->dispatch, slot) >= 0)
            mark_cancelled(pool, slot);
        else
            brood__task_stop(pool, slot, BROOD_CANCELLED);
    }
}

static void stop_workers(struct brood_pool *pool)
{
    pool_lock(pool);
    pool->closed = pool->stopping = true;
    (void)brood__pool_drain(pool);
    cancel_all(pool);
    if (ask_to_leave(pool))
        (void)brood__pool_wait(pool, none_alive, NULL, deadline_in(pool->options.stop_grace_ms));
    pool_unlock(pool);
}

/* Tasks whose workers went with the zygote. */
static void end_rest(struct brood_pool *pool)
{
    const struct ending cancelled = {.cause = BROOD_CANCELLED, .lane = -1};

    (void)brood__pool_drain(pool);
    for (uint32_t slot = 0; slot < pool->tasks_max; slot++) {
        if (pool->tasks[slot].state != TASK_QUEUED && pool->tasks[slot].state != TASK_WAITING)
            continue;
        brood__dispatch_take_back(&pool->dispatch, slot);
        brood__task_end(pool, slot, &cancelled);
    }
    while (pool->callbacks.first != NULL) {
        struct brood_future *future = pool->callbacks.first;

        brood__list_remove(&pool->callbacks, future);
        future->held_by_callback = false;
        if (!future->held_by_user)
            brood__future_release(pool, future);
    }
}

void brood_pool_free(brood_pool *pool)
{
    int saved = errno;
    int r = brood__pool_check(pool);

    if (r == BROOD_EFORKED) {
        brood__memory_unmap(pool->base, pool->memory_len);
        pool->base = NULL;
    }
    if (r < 0)
        return;
    if (pool->supervisor_runs)
        stop_workers(pool);
    brood__supervisor_stop(pool);
    brood__zygote_stop(&pool->zygote);
    pool_lock(pool);
    if (pool->dispatch.entries != NULL)
        end_rest(pool);
    pool->broken = BROOD_ECLOSED;
    pool->magic = 0; /* the handle is gone, though futures and groups may keep the memory */
    pool->public_event = brood__fd_close(pool->public_event);
    pool->refs--;
    brood__pool_unref_unlock(pool);
    errno = saved;
}
