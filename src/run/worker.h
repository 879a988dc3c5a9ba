/* SPDX-License-Identifier: MIT */
/* A worker of a pool: what it is told at its birth. What it does is in worker.c. */
#ifndef BROOD_SRC_RUN_WORKER_H
#define BROOD_SRC_RUN_WORKER_H

#include "run/pool.h"

/* The payload of its birth. A worker forked from a copy of the caller has the memory mapped
 * already, at .base; one of a fork server gets the descriptors and maps it. */
struct worker_birth {
    uint64_t memory_len;
    struct dispatch_shape shape;
    uint32_t lane;
    uint32_t spins;
    uint32_t tasks_max;
    uint32_t clean; /* end what a task left behind before the next one begins */
    uint64_t crash;
    uint64_t arena_start, arena_len;
    uint64_t context, context_len; /* an offset if it has a length, else an address */
    uint64_t open, close;          /* addresses in the worker, or 0 */
    uint64_t memory_max;
};

/* Fills BIRTH for LANE and sends it. */
int brood__worker_ask_birth(struct brood_pool *pool, uint32_t lane, struct zygote_birth *birth);

#endif
