/* SPDX-License-Identifier: MIT */
/*
 * Limits of time and memory, enforced from outside the child: whatever it blocks, ignores or
 * corrupts, it cannot get out of them.
 *
 * Memory is sampled, as often as the room that is left demands (sys/usage.h); the kernel's own
 * RLIMIT_DATA in the child, at twice the limit, is the net for what grows between two looks. A
 * child without limits is never looked at.
 *
 * The reason is noted before the kill and believed only if SIGKILL ended the child; it may have
 * ended by itself a moment before.
 */
#include "base/clock.h"
#include "run/zygote_inside.h"
#include "sys/kernel.h"
#include "sys/proc.h"
#include "sys/usage.h"

enum { SPARE_DATA = 64 << 20 }; /* stacks of threads and buffers that are not the task's fault */

void brood__limits_begin(struct zygote_child *child, const struct zygote_birth *birth, int pidfd)
{
    child->deadline =
        birth->timeout_ms > 0 ? deadline_after(child->born_at, birth->timeout_ms) : NEVER;
    child->memory_max = birth->memory_max;
    child->memory_look = NEVER;
    if (birth->memory_max == 0)
        return;
    child->outer_pid = brood__proc_pidfd_pid(pidfd);
    if (child->outer_pid <= 0)
        child->outer_pid = child->pid;
    child->memory_base = brood__usage_private(child->outer_pid);
    if (child->memory_base < 0)
        child->memory_base = 0;
    child->memory_look = child->born_at + brood__usage_look_again_ns(birth->memory_max);
}

void brood__limits_arm(uint64_t memory_max)
{
    int64_t data;

    if (memory_max == 0 || memory_max > INT64_MAX / 4)
        return;
    data = brood__proc_data_size();
    if (data >= 0)
        (void)brood__limit_set(RLIMIT_DATA, (uint64_t)data + 2 * memory_max + SPARE_DATA);
}

static void kill_for(struct zygote_child *child, enum zygote_reason reason)
{
    child->reason = reason;
    child->deadline = NEVER;
    child->memory_look = NEVER;
    (void)brood__kill(child->pid, SIGKILL);
}

static void look_at_memory(struct zygote_child *child, int64_t now)
{
    int64_t used = brood__usage_private(child->outer_pid);
    uint64_t growth = used > child->memory_base ? (uint64_t)(used - child->memory_base) : 0;

    if (used >= 0 && growth > child->memory_max)
        kill_for(child, ZYGOTE_BY_MEMORY);
    else
        child->memory_look = now + brood__usage_look_again_ns(child->memory_max - growth);
}

int64_t brood__limits_enforce(struct nest *nest)
{
    int64_t next = NEVER;
    int64_t now = 0;

    for (unsigned i = 0; i < nest->child_count; i++) {
        struct zygote_child *child = &nest->children[i];

        if (child->deadline == NEVER && child->memory_look == NEVER)
            continue;
        if (now == 0)
            now = now_ns();
        if (child->deadline <= now)
            kill_for(child, ZYGOTE_BY_TIMEOUT);
        else if (child->memory_look <= now)
            look_at_memory(child, now);
        if (child->deadline < next)
            next = child->deadline;
        if (child->memory_look < next)
            next = child->memory_look;
    }
    return next;
}
