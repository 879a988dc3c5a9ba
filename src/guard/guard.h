/* SPDX-License-Identifier: MIT */
/* What the guard knows of its command, and the two halves of its work: watching, and ending. */
#ifndef BROOD_SRC_GUARD_GUARD_H
#define BROOD_SRC_GUARD_GUARD_H

#include "guard/child.h"
#include "guard/nest.h"
#include "guard/order.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/resource.h>

/* Arrows go downwards only. */
enum phase {
    PHASE_RUNNING,
    PHASE_STOPPING, /* asked to end, within its grace */
    PHASE_KILLING,
    PHASE_OVER
};

struct guard {
    struct order order;
    struct birth birth;
    struct nest nest; /* .init is 0 without a namespace */
    int32_t self;     /* our own number */
    int32_t command;  /* our child; in a namespace, 0 */
    int32_t containment;
    bool tree_by_proc;
    bool own_group;
    bool ended; /* the command, and it is reaped */
    bool empty; /* nobody at all is left */
    enum phase phase;
    int control_fd, caller_fd; /* -1: not listened to any more */
    int64_t started_ns, timeout_ns, kill_ns, sample_ns, sample_interval_ms;
    uint64_t page_size;
    struct guard_event end;
};

/* ---- ending.c ---- */

/* Takes in who has died. */
void guard_reap(struct guard *guard);
void guard_signal(const struct guard *guard, int32_t signal, uint32_t whom, bool wake);
/* The stop policy, unless it runs already. */
void guard_stop(struct guard *guard, enum guard_reason reason, int32_t signal, int64_t grace_ms);
/* On to killing. A REASON that was there before stays. */
void guard_kill(struct guard *guard, enum guard_reason reason);
/* Kills all there is, for a bounded time. */
void guard_clean(struct guard *guard);
/* Ends the namespace with its init. Without one, nothing. */
void guard_close_nest(struct guard *guard);

#endif
