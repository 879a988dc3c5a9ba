/* SPDX-License-Identifier: MIT */
/*
 * Who this process is, and a fork that finds brood's own threads at rest.
 *
 * The number of a process lives in a page that the kernel wipes in every forked child
 * (MADV_WIPEONFORK), whichever call forked it. A wiped page reads 0, and the first to see that
 * takes a new number, larger than that of all ancestors. Where such a page is not to be had, the
 * process id does; what was decided first stays, also in children.
 *
 * The gate: a helper works only between work_begin and work_end. A forking thread closes the
 * gate, waits until no helper works, and forks while it holds the gate's mutex; so in the child
 * nothing of brood is half done. Forked some other way, by the user, the gate may be copied in
 * any state: the first one in the child to see a gate of another process makes a new one.
 *
 * Threads are counted by the kernel's list of them, without those that are past running code of
 * the program: pthread_join() returns a moment before the kernel has forgotten the thread.
 *
 * Descriptors that only this process may hold, such as its ends of channels, are registered here,
 * and closed in whatever the guarded fork makes. In a child forked by the user they stay open.
 *
 * A death leaves nothing here: all of it is private memory.
 */
#include "sys/self.h"

#include <brood/base.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/memory.h"
#include "sys/kernel.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* ---- the number ---- */

enum { PAGE_LEN = 4096 };

static _Atomic(_Atomic uint64_t *) self_page;
static _Atomic uint64_t no_page; /* self_page points here when there is none */
static _Atomic uint64_t last_number;

static _Atomic uint64_t *make_page(void)
{
    _Atomic uint64_t *expected = NULL;
    _Atomic uint64_t *page = &no_page;
    void *memory = NULL;

    if (brood__memory_map_private(&memory, PAGE_LEN) == 0) {
        if (brood__memory_advise(memory, PAGE_LEN, MADV_WIPEONFORK) == 0)
            page = memory;
        else
            brood__memory_unmap(memory, PAGE_LEN);
    }
    if (atomic_compare_exchange_strong(&self_page, &expected, page))
        return page;
    if (page != &no_page)
        brood__memory_unmap(memory, PAGE_LEN);
    return expected;
}

/* Larger than any that an ancestor has: theirs were copied with last_number. */
static uint64_t new_number(void)
{
    uint64_t last = atomic_load(&last_number);
    uint64_t number;

    do {
        uint64_t now = (uint64_t)now_ns();

        number = now > last ? now : last + 1;
    } while (!atomic_compare_exchange_weak(&last_number, &last, number));
    return number;
}

static uint64_t self_slow(void)
{
    _Atomic uint64_t *page = atomic_load(&self_page);
    uint64_t expected = 0;
    uint64_t number;

    if (page == NULL)
        page = make_page();
    if (page == &no_page)
        return (uint64_t)getpid();
    number = new_number();
    return atomic_compare_exchange_strong(page, &expected, number) ? number : expected;
}

uint64_t brood__self(void)
{
    _Atomic uint64_t *page = atomic_load_explicit(&self_page, memory_order_acquire);
    uint64_t number;

    if (page == NULL || page == &no_page)
        return self_slow();
    number = atomic_load_explicit(page, memory_order_relaxed);
    return number != 0 ? number : self_slow();
}

/* ---- locks that a fork cannot leave locked ---- */

void brood__own_lock(struct own_lock *lock, void (*renew)(void))
{
    uint64_t self = brood__self();
    uint64_t owner = atomic_load(&lock->owner);

    while (owner != self) {
        if (owner != ~self && atomic_compare_exchange_strong(&lock->owner, &owner, ~self)) {
            lock->mutex = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
            if (renew != NULL)
                renew();
            atomic_store(&lock->owner, self);
            break;
        }
        (void)sched_yield();
        owner = atomic_load(&lock->owner);
    }
    (void)pthread_mutex_lock(&lock->mutex);
}

void brood__own_unlock(struct own_lock *lock)
{
    (void)pthread_mutex_unlock(&lock->mutex);
}

/* ---- the gate ---- */

enum { LEAVING_NS = 100000000 };

static struct {
    struct own_lock lock;
    pthread_cond_t changed;
    unsigned helpers; /* threads of brood, running or about to */
    unsigned working; /* of them, inside work_begin and work_end */
    int64_t leaving;  /* until then a helper that is not counted any more may still be there */
    bool forking;
} gate = {.lock = OWN_LOCK, .changed = PTHREAD_COND_INITIALIZER};

static struct {
    int *fds;
    unsigned count, size;
} kept; /* private descriptors; guarded by the gate's mutex */

/* What is private may have been copied half changed, so it is forgotten, not freed. */
static void gate_renew(void)
{
    kept.fds = NULL;
    kept.count = kept.size = 0;
    gate.changed = (pthread_cond_t)PTHREAD_COND_INITIALIZER;
    gate.helpers = 0;
    gate.working = 0;
    gate.leaving = 0;
    gate.forking = false;
}

static void gate_lock(void)
{
    brood__own_lock(&gate.lock, gate_renew);
}

static void gate_unlock(void)
{
    brood__own_unlock(&gate.lock);
}

void brood__helper_started(void)
{
    gate_lock();
    gate.helpers++;
    gate_unlock();
}

void brood__helper_ended(void)
{
    gate_lock();
    gate.helpers--;
    gate_unlock();
}

void brood__helper_leaves(void)
{
    gate_lock();
    gate.helpers--;
    gate.leaving = now_ns() + LEAVING_NS;
    gate_unlock();
}

void brood__helper_work_begin(void)
{
    gate_lock();
    while (gate.forking)
        (void)pthread_cond_wait(&gate.changed, &gate.lock.mutex);
    gate.working++;
    gate_unlock();
}

void brood__helper_work_end(void)
{
    gate_lock();
    gate.working--;
    if (gate.working == 0 && gate.forking)
        (void)pthread_cond_broadcast(&gate.changed);
    gate_unlock();
}

/* ---- descriptors that forked children must not keep ---- */

enum { PRIVATE_STEP = 64 };

int brood__private_add(int fd)
{
    int r = 0;

    gate_lock();
    if (kept.count == kept.size) {
        int *more = brood__realloc(kept.fds, (kept.size + PRIVATE_STEP) * sizeof *more);

        if (more == NULL) {
            r = -ENOMEM;
        } else {
            kept.fds = more;
            kept.size += PRIVATE_STEP;
        }
    }
    if (r == 0)
        kept.fds[kept.count++] = fd;
    gate_unlock();
    return r;
}

void brood__private_remove(int fd)
{
    gate_lock();
    for (unsigned i = 0; i < kept.count; i++) {
        if (kept.fds[i] == fd) {
            kept.fds[i] = kept.fds[--kept.count];
            break;
        }
    }
    if (kept.count == 0) {
        brood__free(kept.fds);
        kept.fds = NULL;
        kept.size = 0;
    }
    gate_unlock();
}

static void close_private(void)
{
    for (unsigned i = 0; i < kept.count; i++)
        brood__fd_close(kept.fds[i]);
    brood__free(kept.fds);
    kept.fds = NULL;
    kept.count = kept.size = 0;
}

/* ---- threads ---- */

enum { KERNEL_EXITING = 0x4 }; /* PF_EXITING, a flag in /proc/PID/stat since 2.6 */

/* Of "pid (name) state ppid ...", where name may hold anything: field N, counted from 1. */
static const char *stat_field(const char *stat, unsigned n)
{
    const char *at = strrchr(stat, ')');

    for (unsigned i = 2; at != NULL && i < n; i++) {
        at = strchr(at + 1, ' ');
    }
    return at == NULL ? NULL : at + 1;
}

static bool thread_is_leaving(const char *tid)
{
    char path[64], text[1024];
    const char *flags;
    int64_t r;

    (void)snprintf(path, sizeof path, "/proc/self/task/%s/stat", tid);
    r = brood__file_read(path, text, sizeof text);
    if (r == -ENOENT || r == -ESRCH || r == 0)
        return true;
    if (r < 0)
        return false; /* not known: counted */
    flags = stat_field(text, 9);
    return flags != NULL && (strtoul(flags, NULL, 10) & KERNEL_EXITING) != 0;
}

struct directory_entry {
    uint64_t inode;
    int64_t offset;
    uint16_t len;
    unsigned char type;
    char name[];
};

static int count_listed(const char *buffer, int64_t len)
{
    int count = 0;

    for (int64_t at = 0; at < len;) {
        const struct directory_entry *entry = (const void *)(buffer + at);

        if (entry->name[0] != '.' && !thread_is_leaving(entry->name))
            count++;
        at += entry->len;
    }
    return count;
}

static int count_threads_one_by_one(void)
{
    _Alignas(uint64_t) char buffer[4096];
    int fd = brood__fd_open("/proc/self/task", O_RDONLY | O_DIRECTORY);
    int count = 0;
    int64_t len;

    if (fd < 0)
        return fd;
    while ((len = brood__directory_read(fd, buffer, sizeof buffer)) > 0)
        count += count_listed(buffer, len);
    brood__fd_close(fd);
    return len < 0 ? (int)len : count;
}

int brood__thread_count(void)
{
    char text[1024];
    int64_t r = brood__file_read("/proc/self/stat", text, sizeof text);
    const char *field = r > 0 ? stat_field(text, 20) : NULL;

    if (field == NULL)
        return r < 0 ? (int)r : -ENOSYS;
    return strtol(field, NULL, 10) == 1 ? 1 : count_threads_one_by_one();
}

/* ---- fork ---- */

static void flush_if_free(FILE *stream)
{
    if (ftrylockfile(stream) != 0)
        return; /* a thread is writing to it: its text is not complete anyway */
    (void)fflush(stream);
    funlockfile(stream);
}

void brood__flush_output(void)
{
    flush_if_free(stdout);
    flush_if_free(stderr);
}

/* With the gate locked. A helper that leaves has some instructions to go, and is waited for. */
static int count_threads(void)
{
    int threads = brood__thread_count();

    while (threads > 0 && (unsigned)threads > 1 + gate.helpers && now_ns() < gate.leaving) {
        (void)sched_yield();
        threads = brood__thread_count();
    }
    return threads;
}

/* The gate is locked and no helper works. */
static int fork_at_rest(bool allow_threads)
{
    int threads = allow_threads ? 1 : count_threads();
    int r;

    if (threads == -EMFILE || threads == -ENFILE || threads == -ENOMEM)
        return threads;
    if (threads < 0 || (!allow_threads && (unsigned)threads > 1 + gate.helpers))
        return BROOD_ETHREADS;
    if (allow_threads)
        brood__flush_output();
    else /* no other thread can hold a stream */
        (void)fflush(NULL);
    r = brood__fork();
    if (r == 0)
        close_private(); /* the gate is the parent's; its first user here makes a new one */
    return r;
}

int brood__fork_guarded(bool allow_threads)
{
    int r;

    gate_lock();
    while (gate.forking)
        (void)pthread_cond_wait(&gate.changed, &gate.lock.mutex);
    gate.forking = true;
    while (gate.working > 0)
        (void)pthread_cond_wait(&gate.changed, &gate.lock.mutex);
    r = fork_at_rest(allow_threads);
    if (r == 0)
        return 0;
    gate.forking = false;
    (void)pthread_cond_broadcast(&gate.changed);
    gate_unlock();
    return r;
}

int brood__at_exit(void (*fn)(void))
{
    return BROOD_FAULT("atexit") != 0 || atexit(fn) != 0 ? -ENOMEM : 0;
}

int brood__at_fork(void (*before)(void), void (*in_parent)(void), void (*in_child)(void))
{
    int fault = BROOD_FAULT("pthread_atfork");

    return fault != 0 ? -fault : -pthread_atfork(before, in_parent, in_child);
}
