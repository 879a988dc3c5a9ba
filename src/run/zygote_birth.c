/* SPDX-License-Identifier: MIT */
/*
 * A birth: the fork in the zygote, and the newborn's way to the function it is to run.
 *
 *     zygote:  fork, pidfd of the child, BORN with the pidfd       or STILLBORN with the error
 *     newborn: PDEATHSIG, one look at the zygote, own group, own descriptors, empty mask, entry
 *
 * The zygote is single-threaded, so PDEATHSIG (which follows a thread) follows the zygote. It
 * works from the moment it is set; a zygote that died before is seen by the look at its pidfd.
 * Nothing of the user runs before both. The look is not a comparison of getppid(), which is 0
 * for a parent outside of one's PID namespace.
 *
 * A death of the zygote between fork and BORN: the newborn dies by PDEATHSIG or by its look, the
 * caller sees the channel's end. A death of the newborn: the zygote sees it like any other. A
 * child whose pidfd cannot be had is killed and counts as never born.
 *
 * PDEATHSIG is cleared by the kernel when a child changes its ids or executes a set-uid program;
 * such a child is only killed by a zygote that lives.
 */
#include "base/clock.h"
#include "base/fault.h"
#include "run/zygote_inside.h"
#include "sys/kernel.h"

#include <errno.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

static void tell_start_rss(uint64_t *start_rss, unsigned slot)
{
    struct rusage usage;

    if (start_rss == NULL)
        return;
    if (slot < ZYGOTE_SLOTS && getrusage(RUSAGE_SELF, &usage) == 0 && usage.ru_maxrss > 0)
        start_rss[slot] = (uint64_t)usage.ru_maxrss;
    brood__memory_unmap(start_rss, ZYGOTE_SLOTS * sizeof *start_rss);
}

/* A mutant that the kill sweep must catch; see tests/run/test_zygote_orphan.c. */
#define MUTANT_NO_PARENT_CHECK 4
#ifndef BROOD_MUTANT
#define BROOD_MUTANT 0
#endif

/* False: it must not run. */
static bool tie_to_zygote(const struct nest *nest, uint32_t entry)
{
    const int containment = nest->setup.containment;

    if (brood__control(PR_SET_PDEATHSIG, SIGKILL) < 0)
        return false;
    BROOD_MARK("newborn armed");
#if BROOD_MUTANT != MUTANT_NO_PARENT_CHECK
    if (brood__fd_await(nest->self, 0))
        return false;
#endif
    if (containment == BROOD_CONTAIN_CHILD)
        return true;
    /* A worker takes care of what its tasks leave; a process's leftovers go to its guardian. */
    if (entry == ZYGOTE_WORKER && brood__control(PR_SET_CHILD_SUBREAPER, 1) < 0)
        return false;
    return brood__group_set(0, 0) == 0;
}

static void close_zygote_ends(const struct nest *nest)
{
    brood__fd_close(nest->setup.channel);
    brood__fd_close(nest->setup.caller);
    brood__fd_close(nest->signals);
    brood__fd_close(nest->self);
}

static void live(struct nest *nest, unsigned slot, const struct zygote_birth *birth, const int *fds,
                 unsigned fd_count) __attribute__((noreturn));

static void live(struct nest *nest, unsigned slot, const struct zygote_birth *birth, const int *fds,
                 unsigned fd_count)
{
    sigset_t none;
    int code;

    brood__fault_role(ROLE_WORKER);
    BROOD_MARK("newborn");
    if (!tie_to_zygote(nest, birth->entry)) {
        (void)brood__kill(getpid(), SIGKILL);
        brood__exit_now(127);
    }
    tell_start_rss(nest->start_rss, slot);
    close_zygote_ends(nest);
    (void)brood__control(PR_SET_NAME, (unsigned long)(uintptr_t)nest->setup.name);
    brood__limits_arm(birth->memory_max);
    (void)sigemptyset(&none);
    brood__mask_restore(&none);
    BROOD_MARK("newborn ready");
    code = birth->entry == ZYGOTE_WORKER
               ? brood__worker_main(birth, fds, fd_count, nest->setup.context)
               : brood__process_main(birth, fds, fd_count, nest->setup.context);
    (void)fflush(NULL);
    brood__exit_now(code & 0xff);
}

/* A place for what the newborn tells; ZYGOTE_SLOTS when there is none. */
static unsigned reserve_slot(struct nest *nest)
{
    for (unsigned i = 0; nest->start_rss != NULL && i < ZYGOTE_SLOTS; i++) {
        unsigned slot = (nest->slot_next + i) % ZYGOTE_SLOTS;

        if (nest->start_rss[slot] == 0) {
            nest->start_rss[slot] = ZYGOTE_RSS_UNTOLD;
            nest->slot_next = slot + 1;
            return slot;
        }
    }
    return ZYGOTE_SLOTS;
}

static void register_child(struct nest *nest, const struct zygote_birth *birth, pid_t pid,
                           unsigned slot)
{
    nest->children[nest->child_count++] =
        (struct zygote_child){.id = birth->id, .pid = pid, .slot = slot, .born_at = now_ns()};
}

static int try_birth(struct nest *nest, const struct zygote_birth *birth, const int *fds,
                     unsigned fd_count)
{
    const unsigned slot = reserve_slot(nest);
    pid_t pid;
    int pidfd;

    BROOD_MARK("zygote before fork");
    pid = brood__fork();
    if (pid == 0)
        live(nest, slot, birth, fds, fd_count);
    BROOD_MARK("zygote after fork");
    if (pid < 0) {
        brood__nest_free_slot(nest, slot);
        return pid;
    }
    register_child(nest, birth, pid, slot);
    pidfd = brood__pidfd_open(pid);
    if (pidfd < 0) {
        brood__nest_undo_birth(nest);
        return pidfd;
    }
    brood__limits_begin(&nest->children[nest->child_count - 1], birth, pidfd);
    brood__nest_queue(nest, &(struct zygote_event){
                                .kind = ZYGOTE_BORN, .id = birth->id, .pid = pid, .pidfd = pidfd});
    return 0;
}

void brood__nest_bear(struct nest *nest, const struct zygote_birth *birth, const int *fds,
                      unsigned fd_count)
{
    int r = nest->setup.single && nest->over ? -EBUSY : try_birth(nest, birth, fds, fd_count);

    for (unsigned i = 0; i < fd_count; i++)
        brood__fd_close(fds[i]);
    if (r < 0)
        brood__nest_queue(nest,
                          &(struct zygote_event){
                              .kind = ZYGOTE_STILLBORN, .id = birth->id, .error = r, .pidfd = -1});
}
