/* SPDX-License-Identifier: MIT */
/*
 * A worker: a process with one lane that claims tasks and runs them, until it is told to leave,
 * has run as many as it may, or dies.
 *
 *     born --open--> READY --next--> start, call, tidy, finish --+--> LEAVING, close, exit 0
 *                      ^                                         |
 *                      +-----------------------------------------+
 *
 * Before a result is published, stdio is flushed: what a task printed is out when its end is
 * known. A task that ran long enough to have started processes is followed by a look for
 * children; what it left is killed, so no descendant lives when the next task begins. What
 * worker_open() started stays.
 *
 * What a death here leaves is in ipc/dispatch.h; nothing else is shared but the arena, whose
 * bookkeeping is private to this process and dies with it.
 */
#include "run/worker.h"

#include "base/clock.h"
#include "base/fault.h"
#include "ipc/member.h"
#include "sys/crash.h"
#include "sys/kernel.h"
#include "sys/proc.h"
#include "sys/self.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

enum {
    FORK_NS = 3000,      /* no call that ran shorter can have started a process */
    MEASURE_NS = 100000, /* calls that ran longer are worth two system calls */
    SAMPLE_NS = 1000000, /* an older reading of used CPU time is taken anew before a task */
    KEPT_MAX = 64,
    LEFTOVERS_MS = 100
};

struct worker_self {
    struct lane_self lane;
    struct worker_birth birth;
    char *base;
    struct arena *arena;
    uint64_t self; /* brood__self() */
    const void *context;
    void *state;
    struct rusage usage; /* at .usage_at */
    int64_t usage_at;
    long start_rss;       /* kibibytes, at birth */
    pid_t kept[KEPT_MAX]; /* children of worker_open(), by the names of /proc */
    unsigned kept_count;
};

/* A task's public face, and what is behind it. */
struct running_task {
    brood_task task;
    struct worker_self *worker;
    struct slot *slot;
};

/* ---- what the task function may call ---- */

static struct running_task *running(brood_task *task)
{
    return (struct running_task *)(void *)task;
}

static void drop_result(struct running_task *run)
{
    if (run->slot->kind == RESULT_ARENA)
        brood__arena_give(run->worker->arena, run->slot->result);
    run->slot->kind = RESULT_NONE;
}

void *brood_task_alloc(brood_task *task, size_t len)
{
    struct running_task *run = running(task);
    uint64_t offset;

    if ((run->slot->flags & SLOT_FIXED) != 0 || brood__self() != run->worker->self)
        return NULL;
    if (len <= INLINE_OUT_MAX) {
        drop_result(run);
        run->slot->kind = RESULT_INLINE;
        run->slot->result_len = len;
        return run->slot->inline_out;
    }
    while ((offset = brood__lane_mail_take(&run->worker->lane)) != 0)
        brood__arena_give(run->worker->arena, offset);
    if (len >
        atomic_load_explicit(&run->worker->lane.view.control->memory_left, memory_order_relaxed))
        return NULL;
    offset = brood__arena_take(run->worker->arena, len);
    if (offset == 0)
        return NULL;
    drop_result(run);
    run->slot->kind = RESULT_ARENA;
    run->slot->result = offset;
    run->slot->result_len = len;
    return run->worker->base + offset;
}

int brood_task_return(brood_task *task, const void *data, size_t len)
{
    void *to;

    if ((running(task)->slot->flags & SLOT_FIXED) != 0 || (data == NULL && len > 0))
        return -EINVAL;
    if (brood__self() != running(task)->worker->self)
        return BROOD_EFORKED;
    to = brood_task_alloc(task, len);
    if (to == NULL)
        return -ENOMEM;
    if (len > 0)
        memmove(to, data, len);
    return 0;
}

/* ---- what a task left behind ---- */

struct leftovers {
    struct worker_self *worker;
    unsigned found;
};

static bool is_kept(const struct worker_self *worker, pid_t pid)
{
    for (unsigned i = 0; i < worker->kept_count; i++)
        if (worker->kept[i] == pid)
            return true;
    return false;
}

static void keep_one(pid_t pid, void *context)
{
    struct worker_self *worker = context;

    if (worker->kept_count < KEPT_MAX)
        worker->kept[worker->kept_count++] = pid;
}

static void kill_one(pid_t listed, void *context)
{
    struct leftovers *left = context;
    pid_t pid;

    if (is_kept(left->worker, listed))
        return;
    left->found++;
    pid = brood__proc_inner_pid(listed);
    if (pid > 0 && brood__kill(pid, SIGKILL) != -EPERM)
        (void)brood__wait(pid, NULL, WNOHANG | __WALL, NULL);
}

/* False: they cannot be listed, or not be ended in a short time; the worker leaves then, and the
 * zygote, which can wait, takes care of them. */
static bool kill_leftovers(struct worker_self *worker)
{
    struct leftovers left = {.worker = worker};
    int64_t deadline = 0;

    while (brood__wait_peek() != -ECHILD) {
        left.found = 0;
        if (brood__proc_children(kill_one, &left) < 0)
            return false;
        if (left.found == 0)
            return true;
        if (deadline == 0)
            deadline = deadline_in(LEFTOVERS_MS);
        else if (left_ns(deadline) == 0)
            return false;
        brood__yield();
    }
    return true;
}

/* ---- one task ---- */

/* A child of the task that returned as well, and is no worker. */
static void leave_if_forked(const struct worker_self *worker)
{
    if (brood__self() == worker->self)
        return;
    (void)fflush(NULL);
    brood__member_end_process();
    brood__exit_now(0);
}

/* Nothing that is shared is written by a child of the task's: it may return as well. */
static int call_once(struct running_task *run, brood_task_fn *fn)
{
    int r = fn(&run->task);

    leave_if_forked(run->worker);
    return r;
}

static int call_items(struct running_task *run, brood_task_fn *fn)
{
    struct slot *slot = run->slot;
    struct lane *lane = run->worker->lane.lane;
    brood_task *task = &run->task;
    uint32_t count = slot->count;
    size_t in_size = slot->in_len / count;
    size_t out_size = slot->out_size / count;
    bool timed = (slot->flags & SLOT_TIMED) != 0;

    task->in_len = in_size;
    task->out_size = out_size;
    task->count = 1;
    for (uint32_t i = 0; i < count; i++) {
        int r = call_once(run, fn);

        if (r < 0) {
            slot->items_done = i;
            return r;
        }
        task->in = (const char *)task->in + in_size;
        task->out = task->out == NULL ? NULL : (char *)task->out + out_size;
        task->index++;
        task->attempt = 0;
        if (timed)
            atomic_store_explicit(&lane->started_ns, now_ns(), memory_order_relaxed);
        atomic_store_explicit(&lane->progress, i + 1, memory_order_release);
    }
    slot->items_done = count;
    return 0;
}

static int call(struct running_task *run)
{
    struct slot *slot = run->slot;
    struct worker_self *worker = run->worker;
    brood_task_fn *fn = (brood_task_fn *)(uintptr_t)slot->fn;
    bool fixed = (slot->flags & SLOT_FIXED) != 0;
    char *out = slot->out != 0 ? worker->base + slot->out : (char *)slot->inline_out;
    bool map = slot->count != 1 || (slot->flags & SLOT_ITEMS) != 0;

    run->task =
        (brood_task){.in = slot->in != 0 ? worker->base + slot->in : (const char *)slot->inline_in,
                     .in_len = slot->in_len,
                     .out = fixed ? out : NULL,
                     .out_size = slot->out_size,
                     .count = slot->count,
                     .index = slot->index,
                     .context = worker->context,
                     .state = worker->state,
                     .attempt = slot->attempt};
    if (slot->in_len == 0)
        run->task.in = NULL;
    if (fixed && !map)
        memset(out, 0, slot->out_size);
    if ((slot->flags & SLOT_ITEMS) != 0)
        return call_items(run, fn);
    return call_once(run, fn);
}

static int64_t us_between(struct timeval from, struct timeval to)
{
    return (int64_t)(to.tv_sec - from.tv_sec) * 1000000 + (to.tv_usec - from.tv_usec);
}

static void sample_usage(struct worker_self *worker, int64_t now)
{
    (void)getrusage(RUSAGE_SELF, &worker->usage);
    worker->usage_at = now;
}

static void measure(struct worker_self *worker, struct slot *slot, int64_t now)
{
    struct rusage before = worker->usage;

    sample_usage(worker, now);
    slot->user_us = us_between(before.ru_utime, worker->usage.ru_utime);
    slot->system_us = us_between(before.ru_stime, worker->usage.ru_stime);
    if (worker->usage.ru_maxrss > worker->start_rss)
        slot->peak_rss = (uint64_t)(worker->usage.ru_maxrss - worker->start_rss) * 1024;
}

/* False: the worker must leave. */
static bool run_task(struct worker_self *worker, uint32_t index)
{
    struct slot *slot = &worker->lane.view.slots[index];
    struct running_task run = {.worker = worker, .slot = slot};
    int64_t started, ended;
    bool tidy = true;

    slot->kind = RESULT_NONE;
    slot->items_done = 0;
    slot->user_us = slot->system_us = 0;
    slot->peak_rss = 0;
    brood__lane_start(&worker->lane, index);
    BROOD_MARK("worker started a task");
    started = atomic_load_explicit(&worker->lane.lane->started_ns, memory_order_relaxed);
    if (started - worker->usage_at > SAMPLE_NS)
        sample_usage(worker, started);
    slot->verdict = call(&run);
    if ((slot->flags & SLOT_FIXED) != 0)
        slot->kind = RESULT_FIXED;
    (void)fflush(NULL);
    ended = now_ns();
    slot->wall_ns = ended - started;
    worker->lane.now = slot->wall_ns < FORK_NS ? ended : 0; /* what follows takes no time then */
    if (slot->wall_ns > MEASURE_NS)
        measure(worker, slot, ended);
    if (slot->wall_ns > FORK_NS && worker->birth.clean)
        tidy = kill_leftovers(worker);
    BROOD_MARK("worker before finish");
    brood__lane_finish(&worker->lane, index);
    BROOD_MARK("worker after finish");
    return tidy;
}

/* ---- life ---- */

static int open_worker(struct worker_self *worker)
{
    int (*opens)(const void *, void **) =
        (int (*)(const void *, void **))(uintptr_t)worker->birth.open;

    return opens == NULL ? 0 : opens(worker->context, &worker->state);
}

static void close_worker(struct worker_self *worker)
{
    void (*closes)(void *) = (void (*)(void *))(uintptr_t)worker->birth.close;

    if (closes != NULL)
        closes(worker->state);
}

/* The pool's memory: mapped already in a copy of the caller, else by the descriptors. */
static int find_memory(struct worker_self *worker, const int *fds, unsigned fd_count,
                       struct brood_pool *pool)
{
    void *base;
    int r;

    if (pool != NULL) {
        worker->base = pool->base;
        pool->base = NULL; /* in this process's copy: brood_pool_free() must not unmap it here */
        worker->lane.bell = pool->bell;
        return pool->memory_fd;
    }
    if (fd_count != 2)
        return -EPROTO;
    r = brood__memory_map(&base, fds[0], 0, worker->birth.memory_len);
    if (r < 0)
        return r;
    worker->base = base;
    worker->lane.bell = fds[1];
    return fds[0];
}

/* If the system runs out of memory, the kernel shall take a worker, which costs one task, before
 * the snapshot, which costs the pool, or the program. Best effort. */
static void offer_to_oom_killer(void)
{
    static const char path[] = "/proc/self/oom_score_adj", score[] = "500";
    char now[16];
    int fd;

    if (brood__file_read(path, now, sizeof now) < 0 || strtol(now, NULL, 10) >= 500)
        return;
    fd = brood__fd_open(path, O_WRONLY);
    if (fd < 0)
        return;
    (void)brood__fd_write(fd, score, sizeof score - 1);
    brood__fd_close(fd);
}

static int begin(struct worker_self *worker, const struct zygote_birth *birth, const int *fds,
                 unsigned fd_count, void *pool)
{
    int memory_fd, r;
    int64_t data;

    if (birth->payload_len != sizeof worker->birth)
        return -EPROTO;
    memcpy(&worker->birth, birth->payload, sizeof worker->birth);
    memory_fd = find_memory(worker, fds, fd_count, pool);
    if (memory_fd < 0)
        return memory_fd;
    brood__dispatch_view(&worker->lane.view, worker->base, worker->birth.shape);
    worker->lane.index = worker->birth.lane;
    worker->lane.bell_inode = brood__fd_inode(worker->lane.bell);
    worker->lane.lane = &worker->lane.view.lanes[worker->birth.lane];
    worker->lane.spins = worker->birth.spins;
    worker->context = worker->birth.context_len != 0
                          ? worker->base + worker->birth.context
                          : (const void *)(uintptr_t)worker->birth.context;
    offer_to_oom_killer();
    worker->self = brood__self();
    sample_usage(worker, now_ns());
    worker->start_rss = worker->usage.ru_maxrss;
    (void)brood__crash_catch((void *)(worker->base + worker->birth.crash));
    data = worker->birth.memory_max == 0 ? -1 : brood__proc_data_size();
    if (data >= 0) /* far above the limit that is watched: a net if nobody can watch */
        (void)brood__limit_set(RLIMIT_DATA, (uint64_t)data + 4 * worker->birth.memory_max);
    r = brood__arena_new(&worker->arena, memory_fd, worker->base, worker->birth.arena_start,
                         worker->birth.arena_len);
    if (r == 0)
        r = open_worker(worker);
    return r;
}

int brood__worker_main(const struct zygote_birth *birth, const int *fds, unsigned fd_count,
                       void *context)
{
    struct worker_self worker = {0};
    uint32_t done = 0;
    uint32_t slot;
    int r;

    brood__fault_role(ROLE_WORKER);
    r = begin(&worker, birth, fds, fd_count, context);
    if (r < 0) {
        if (worker.base != NULL)
            brood__lane_announce(&worker.lane, LANE_FAILED, r);
        return 1;
    }
    if (worker.birth.clean && brood__wait_peek() != -ECHILD)
        (void)brood__proc_children(keep_one, &worker);
    brood__lane_announce(&worker.lane, LANE_READY, 0);
    while ((slot = brood__lane_next(&worker.lane)) != NO_SLOT) {
        bool go_on = run_task(&worker, slot);

        done++;
        if (!go_on || (worker.birth.tasks_max != 0 && done >= worker.birth.tasks_max))
            break;
    }
    brood__lane_announce(&worker.lane, LANE_LEAVING, 0);
    close_worker(&worker);
    brood__arena_free(worker.arena);
    brood__member_end_process(); /* it ends, and does not die */
    return 0;
}

int brood__worker_ask_birth(struct brood_pool *pool, uint32_t lane, struct zygote_birth *birth)
{
    const brood_pool_options *options = &pool->options;
    struct worker *worker = &pool->workers[lane];
    struct worker_birth told = {.memory_len = pool->memory_len,
                                .shape = pool->dispatch.view.shape,
                                .lane = lane,
                                .spins = pool->spins,
                                .tasks_max = options->worker_tasks_max,
                                .clean = pool->zygote.containment != BROOD_CONTAIN_CHILD,
                                .crash = pool->crash_start + (uint64_t)lane * CRASH_RECORD_SIZE,
                                .arena_start = worker->arena_start,
                                .arena_len = worker->arena_len,
                                .context = options->context_len != 0
                                               ? pool->context_block
                                               : (uint64_t)(uintptr_t)options->context,
                                .context_len = options->context_len,
                                .open = pool->open_there,
                                .close = pool->close_there,
                                .memory_max = options->memory_max};
    const int fds[2] = {pool->memory_fd, pool->bell};
    bool copies = options->start == BROOD_START_FORK;

    _Static_assert(sizeof told <= ZYGOTE_PAYLOAD_MAX, "the payload holds it");
    memcpy(birth->payload, &told, sizeof told);
    birth->payload_len = sizeof told;
    return brood__zygote_bear(&pool->zygote, birth, copies ? NULL : fds, copies ? 0 : 2);
}
