/* SPDX-License-Identifier: MIT */
/*
 * A region as this process has it: a mapping, listed by address and by number.
 *
 *     object:  [ header | roster | table of chunks | chunks ........................ size ]
 *
 * Everything in the object is named by its offset. What is read from the header is read once,
 * checked against the size of the object, and kept here; nobody looks there again.
 */
#ifndef BROOD_SRC_IPC_REGION_H
#define BROOD_SRC_IPC_REGION_H

#include "ipc/roster.h"

#include <brood/region.h>

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What a region was made for; a ref of one kind opens as no other. */
enum region_kind { REGION_PLAIN = 1, REGION_SHARED = 2, REGION_QUEUE = 3 };

struct block_hints; /* ipc/block.h */

struct region {
    uint64_t number; /* random, of the object: the first word of its refs */
    enum region_kind kind;
    char *base; /* where offset 0 is here */
    uint64_t len;
    int fd; /* the object; a forked child has it too (it is not of brood__private_add()) */
    bool readonly;
    struct roster *roster; /* NULL if readonly */
    unsigned slots;
    uint64_t table, chunks; /* offsets */
    uint32_t chunk_count;
    unsigned chunk_shift; /* a chunk has 1 << so many bytes */
    struct block_hints *hints;
    uint64_t root;  /* offset of the one block that was made first, for whoever opens it; 0: none */
    unsigned users; /* with those that follow */
    unsigned parked;   /* users for whoever opens it next: one for each ref that was received */
    unsigned visitors; /* users of other threads than a forking one, for the length of a call */
    bool served;
    struct region *next;
};

/* A new region with one user, with room for size_max bytes in blocks, rounded up to pages, and the
 * root, a block of ROOT_LEN zeroed bytes if that is not 0. 0 or a negative error. */
int brood__region_make(struct region **out_region, enum region_kind kind,
                       const brood_region_options *options, uint64_t root_len);
/* Visits the region that REF is in, if this process has it mapped: NULL if not. */
struct region *brood__region_known(brood_ref ref);
/* One user more of the region that REF is in, which is opened with the help of the process that
 * serves it (ipc/serve.h) if it is not known. -EINVAL: REF names nothing in a region; what
 * brood__serve_ask() and brood__region_adopt() say. */
int brood__region_find(struct region **out_region, brood_ref ref);
/* Maps the object FD, which is taken in every case. One user more if it is mapped already.
 * -EINVAL: it is no region; BROOD_EABI: of another build, or damaged. */
int brood__region_adopt(struct region **out_region, int fd);
/* The caller's user stays, for whoever opens the region. */
void brood__region_park(struct region *region);
/* What brood__region_find() gave has become a handle: one of those that are parked goes. */
void brood__region_unpark(struct region *region);
/* Visits the region that ADDRESS is in; or NULL. */
struct region *brood__region_around(const void *address);
/* Ends a visit. */
void brood__region_leave(struct region *region);
/* One user less; the last unmaps it. */
void brood__region_drop(struct region *region);

/* The pages of [OFFSET, + LEN) are there from now on: 0 or -ENOMEM. */
int brood__region_commit(struct region *region, uint64_t offset, uint64_t len);

/* LEN zeroed bytes of the user's, or NULL: brood_region_alloc(). */
void *brood__region_alloc(struct region *region, uint64_t len);
/* False: MEMORY is no block of the user's. */
bool brood__region_release(struct region *region, const void *memory);

/* The ref of an offset; serves the region from now on. All zero if it cannot. */
brood_ref brood__region_ref(struct region *region, uint64_t offset);
/* The offset that REF names in REGION, or 0. */
uint64_t brood__region_offset(const struct region *region, brood_ref ref);

#endif
