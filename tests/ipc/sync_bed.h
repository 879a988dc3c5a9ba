/* SPDX-License-Identifier: MIT */
/*
 * Participants for tests of brood/sync.h: threads and processes, over private and shared memory.
 *
 *     static void count(struct sync_bed *bed, unsigned index) { ... }
 *
 *     struct sync_bed *bed = bed_open(BED_PROCESSES);
 *     bed_crew(bed, 4, count);                     four at once, until all have returned
 *     bed_close(bed);
 *
 * The shared memory is a mapping with a roster in it, listed as a region is.
 */
#ifndef BROOD_TESTS_IPC_SYNC_BED_H
#define BROOD_TESTS_IPC_SYNC_BED_H

#include "harness/process.h"
#include "harness/record.h"
#include "harness/test.h"

#include "base/clock.h"
#include "ipc/member.h"
#include "ipc/roster.h"
#include "sys/kernel.h"

#include <brood/sync.h>

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum bed_kind { BED_PRIVATE, BED_THREADS, BED_PROCESSES, BED_KINDS };

enum { BED_SLOTS = 64, BED_ROSTER_AT = 4096, BED_CREW_MAX = 16 };

/* At the start of the memory. */
struct sync_bed {
    brood_lock lock;
    brood_recursive_lock recursive;
    brood_condition condition;
    brood_semaphore semaphore;
    brood_bounded_semaphore bounded;
    brood_event event;
    brood_barrier barrier;
    brood_once once;
    enum bed_kind kind;
    size_t len;
    uint64_t values[16];
    _Atomic uint64_t shared[16];
    _Atomic int results[BED_CREW_MAX];
    void (*work)(struct sync_bed *bed, unsigned index);
};
_Static_assert(sizeof(struct sync_bed) <= BED_ROSTER_AT, "the bed reaches into its roster");

static inline size_t bed_len(void)
{
    return (BED_ROSTER_AT + brood__roster_len(BED_SLOTS) + 4095) & ~(size_t)4095;
}

/* Makes zeroed MEMORY a bed that forked processes share. */
static inline struct sync_bed *bed_make(void *memory, enum bed_kind kind)
{
    struct roster *roster = (void *)((char *)memory + BED_ROSTER_AT);
    struct sync_bed *bed = memory;

    bed->kind = kind;
    bed->len = bed_len();
    if (kind == BED_PRIVATE)
        return bed;
    brood__roster_init(roster, BED_SLOTS);
    CHECK_OK(brood__member_list(memory, bed->len, roster));
    return bed;
}

static inline void bed_unmake(struct sync_bed *bed)
{
    if (bed->kind != BED_PRIVATE)
        CHECK(brood__member_unlist(bed, NULL, NULL));
}

static inline struct sync_bed *bed_open(enum bed_kind kind)
{
    void *memory = mmap(NULL, bed_len(), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    CHECK(memory != MAP_FAILED);
    return bed_make(memory, kind);
}

static inline void bed_close(struct sync_bed *bed)
{
    bed_unmake(bed);
    CHECK_OK(munmap(bed, bed->len));
}

/* ---- a crew ---- */

struct bed_member {
    struct sync_bed *bed;
    unsigned index;
    pthread_t thread;
    pid_t pid;
};

static inline void *bed_thread(void *argument)
{
    struct bed_member *member = argument;

    member->bed->work(member->bed, member->index);
    return NULL;
}

/* A process that does WORK and leaves without being taken for dead. */
static inline pid_t bed_fork(struct sync_bed *bed, unsigned index,
                             void (*work)(struct sync_bed *bed, unsigned index))
{
    pid_t pid = CHECK_OK(fork());

    if (pid != 0)
        return pid;
    work(bed, index);
    brood__member_leave_all();
    _exit(0);
}

static inline void bed_start(struct bed_member *member, struct sync_bed *bed, unsigned index)
{
    *member = (struct bed_member){.bed = bed, .index = index};
    if (bed->kind == BED_PROCESSES)
        member->pid = bed_fork(bed, index, bed->work);
    else
        CHECK_EQ(pthread_create(&member->thread, NULL, bed_thread, member), 0);
}

static inline void bed_await(struct bed_member *member)
{
    int status;

    if (member->bed->kind != BED_PROCESSES) {
        CHECK_EQ(pthread_join(member->thread, NULL), 0);
        return;
    }
    CHECK_EQ(waitpid(member->pid, &status, 0), member->pid);
    CHECK_EQ(status, 0);
}

static inline void bed_crew(struct sync_bed *bed, unsigned count,
                            void (*work)(struct sync_bed *bed, unsigned index))
{
    struct bed_member members[BED_CREW_MAX];

    bed->work = work;
    for (unsigned i = 0; i < count; i++)
        bed_start(&members[i], bed, i);
    for (unsigned i = 0; i < count; i++)
        bed_await(&members[i]);
}

/* ---- single processes ---- */

/* Until PID is dead or asleep. */
static inline void bed_await_rest(pid_t pid)
{
    process_await_rest(pid);
}

static inline void bed_kill(pid_t pid)
{
    (void)kill(pid, SIGKILL);
    CHECK_EQ(waitpid(pid, NULL, 0), pid);
}

/* WORK in a process that is then killed, wherever it left things. */
static inline void bed_victim(struct sync_bed *bed, unsigned index,
                              void (*work)(struct sync_bed *bed, unsigned index))
{
    pid_t pid = CHECK_OK(fork());
    int status;

    if (pid == 0) {
        work(bed, index);
        (void)raise(SIGKILL);
    }
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

/* TEST over each kind of memory and participants. */
static inline void bed_everywhere(void (*test)(struct sync_bed *bed))
{
    for (enum bed_kind kind = BED_PRIVATE; kind < BED_KINDS; kind++) {
        struct sync_bed *bed = bed_open(kind);

        test_where("over %s", kind == BED_PRIVATE   ? "private memory"
                              : kind == BED_THREADS ? "shared memory, with threads"
                                                    : "shared memory, with processes");
        test(bed);
        bed_close(bed);
    }
    test_where("%s", "");
}

/* Fills LEN bytes with what any writer gone mad may leave. */
static inline void bed_damage(void *memory, size_t len)
{
    unsigned char *bytes = memory;

    for (size_t i = 0; i < len; i++)
        bytes[i] = (unsigned char)test_random();
}

#endif
