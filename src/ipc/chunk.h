/* SPDX-License-Identifier: MIT */
/*
 * Runs of chunks: the lower half of a heap (ipc/heap.c has the picture).
 *
 * A range of a memory object is cut into equal chunks, and whole chunks are handed out as runs.
 * Each run knows how much of its beginning is committed, and keeps that when it is given back,
 * until the heap holds too much memory that nobody uses.
 */
#ifndef BROOD_SRC_IPC_CHUNK_H
#define BROOD_SRC_IPC_CHUNK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { CHUNK_BINS = 32 };

enum chunk_state { CHUNK_COLD = 0, CHUNK_WARM, CHUNK_USED };

/* One chunk. All but HEAD counts only in the first chunk of a run. */
struct chunk {
    uint32_t head;         /* the first chunk of the run it is in */
    uint32_t count;        /* chunks of the run */
    uint32_t next, prev;   /* runs of the same bin */
    uint32_t newer, older; /* warm runs by age */
    enum chunk_state state;
    uint64_t committed; /* bytes from the start of the run that have pages */
    uint64_t len;       /* used: bytes of the block; not of interest here */
    void *owner;        /* used: of whom; not of interest here */
};

struct chunks {
    int fd;
    char *mapped; /* where offset 0 is in this process, or NULL: pages come and go by .fd */
    uint64_t start, page;
    unsigned shift;      /* a chunk has 1 << shift bytes */
    uint32_t total;      /* chunks of the range */
    uint32_t fresh;      /* those from here on were never used, or became so again */
    uint32_t capacity;   /* of table */
    struct chunk *table; /* [fresh] are valid */
    uint32_t cold[CHUNK_BINS], warm[CHUNK_BINS];
    uint32_t newest, oldest; /* warm run */
    uint64_t warm_bytes;
};

int brood__chunks_init(struct chunks *chunks, int fd, void *mapped, uint64_t start, uint64_t len);
void brood__chunks_done(struct chunks *chunks);

/* A run of COUNT chunks: 0, -EAGAIN: no such run is free, -ENOMEM: no memory for bookkeeping. */
int brood__chunks_take(struct chunks *chunks, uint32_t count, uint32_t *out_first);
/* Makes the first LEN bytes of a used run real. 0 or a negative error. */
int brood__chunks_commit(struct chunks *chunks, uint32_t first, uint64_t len);
/* Punches all of a used run but its first LEN bytes. */
void brood__chunks_shrink(struct chunks *chunks, uint32_t first, uint64_t len);
/* Takes a run back, warm if it has pages. Needs no memory. */
void brood__chunks_give(struct chunks *chunks, uint32_t first);
/* Punches the oldest warm runs until no more than BYTES are warm. */
void brood__chunks_trim(struct chunks *chunks, uint64_t bytes);
/* The used run that holds OFFSET, or NULL. */
static inline struct chunk *brood__chunks_at(const struct chunks *chunks, uint64_t offset)
{
    uint64_t index = (offset - chunks->start) >> chunks->shift;
    struct chunk *run;

    if (offset < chunks->start || index >= chunks->fresh)
        return NULL;
    run = &chunks->table[chunks->table[index].head];
    /* The head of a free chunk may be out of date, but then that run does not reach to here. */
    if (run->state != CHUNK_USED || index - run->head >= run->count)
        return NULL;
    return run;
}

static inline uint64_t brood__chunks_offset(const struct chunks *chunks, uint32_t first)
{
    return chunks->start + ((uint64_t)first << chunks->shift);
}

uint64_t brood__page_size(void);

#endif
