/* SPDX-License-Identifier: MIT */
/*
 * What a fault plan looks like, for the one that makes it (tests) and the one that follows it
 * (base/fault.c). Only in builds with -Dfaults=true.
 */
#ifndef BROOD_SRC_BASE_FAULT_PLAN_H
#define BROOD_SRC_BASE_FAULT_PLAN_H

#include "base/fault.h"

#include <stdatomic.h>
#include <stdint.h>

/* In the environment: the path of the plan's memory object, for programs executed anew. */
#define FAULT_PLAN_VARIABLE "BROOD_FAULT_PLAN"

enum { FAULT_POINTS_MAX = 4096 };

enum fault_mode { FAULT_OFF = 0, FAULT_COUNT, FAULT_FAIL, FAULT_KILL };

struct fault_point {
    _Atomic uint64_t key; /* 0: none */
    _Atomic uint32_t hits;
    uint32_t role;
    uint64_t site; /* bytes from the start of the module */
    bool only_kill;
    char name[31];
};

/* All zero is a plan without faults. */
struct fault_plan {
    _Atomic uint32_t mode;
    _Atomic uint32_t passed;  /* FAIL, KILL: how often the point was passed */
    _Atomic uint32_t fired;   /* FAIL, KILL: whether it failed */
    _Atomic uint32_t dropped; /* COUNT: hits that found no room in the table */
    uint64_t key;             /* FAIL, KILL: the point, */
    uint32_t nth;             /* and which of its passages, from 1 */
    struct fault_point points[FAULT_POINTS_MAX];
};

#endif
