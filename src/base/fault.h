/* SPDX-License-Identifier: MIT */
/*
 * Fault points: places where a test can make a call fail, or kill the process.
 *
 * Every call into the kernel (sys/linux/) and the allocator (base/memory.c) asks
 * BROOD_FAULT(name) first. In builds with -Dfaults=true a plan in shared memory decides: go on,
 * fail with this errno, or SIGKILL this process. Points are counted per role of process and per
 * call site, so the n-th hit is the same one in each run. In other builds the macros are
 * constants and vanish.
 *
 * BROOD_MARK(name) is a point that can only kill: it marks steps of a protocol that make no call.
 */
#ifndef BROOD_SRC_BASE_FAULT_H
#define BROOD_SRC_BASE_FAULT_H

#include <stdbool.h>

enum fault_role {
    ROLE_CALLER = 0,
    ROLE_SUPERVISOR,
    ROLE_ZYGOTE,
    ROLE_WORKER,
    ROLE_SERVER,
    ROLE_COUNT
};

#ifdef BROOD_FAULTS
/* 0: go on; else the positive errno to fail with. SITE tells callers of NAME apart. */
int brood__fault_hit(const char *name, const void *site, bool only_kill);
/* What this thread (and its forked children) counts as from now on. */
void brood__fault_role(enum fault_role role);
/* A PLAN lives in memory shared between processes; see base/fault.c. NULL: no faults. */
struct fault_plan;
void brood__fault_plan_use(struct fault_plan *plan);
#define BROOD_FAULT(name) brood__fault_hit((name), __builtin_return_address(0), false)
#define BROOD_MARK(name) ((void)brood__fault_hit((name), __builtin_return_address(0), true))
#else
static inline void brood__fault_role(enum fault_role role)
{
    (void)role;
}
#define BROOD_FAULT(name) 0
#define BROOD_MARK(name) ((void)0)
#endif

#endif
