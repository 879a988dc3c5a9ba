/* SPDX-License-Identifier: MIT */
/*
 * The heap of a pool: blocks of a memory object that the caller hands out and takes back.
 *
 * All bookkeeping is private memory of the caller's process; workers see only the bytes of
 * blocks. So no death of a worker can damage it, and there is nothing to repair. Guarded by the
 * pool's lock. A block is named by its offset in the object; offset 0 is never one.
 */
#ifndef BROOD_SRC_IPC_HEAP_H
#define BROOD_SRC_IPC_HEAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct heap;

/* Over [START, START + LEN) of the object FD; at most BYTES_MAX of it in use at once. START and LEN
 * are multiples of the page size. MAPPED is NULL, or where offset 0 of the object is in this
 * process: then pages come and go through the mapping, whatever became of the descriptor. */
int brood__heap_new(struct heap **out_heap, int fd, void *mapped, uint64_t start, uint64_t len,
                    uint64_t bytes_max);
void brood__heap_free(struct heap *heap);

/* A block of LEN bytes aligned to 64; contents unspecified. 0 and *OUT_OFFSET; -EAGAIN: not now,
 * others hold what is needed of BYTES_MAX; -ENOMEM: never, or the system has no memory (the
 * pages are committed here, so that nobody meets SIGBUS or the OOM killer by touching them). */
int brood__heap_take(struct heap *heap, uint64_t len, uint64_t *out_offset);
void brood__heap_give(struct heap *heap, uint64_t offset);
/* Whether OFFSET + LEN lies inside one block in use; then *OUT_START (may be NULL) is its start. */
bool brood__heap_has(const struct heap *heap, uint64_t offset, uint64_t len, uint64_t *out_start);
/* Bytes in blocks in use, each counted as it is rounded. */
uint64_t brood__heap_used(const struct heap *heap);

#endif
