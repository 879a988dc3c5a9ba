/* SPDX-License-Identifier: MIT */
/*
 * brood/region.h - shared memory that frees itself, and refs, the names that cross every border.
 *
 *     struct totals *totals = brood_shared_alloc(sizeof *totals);      children see it
 *
 *     brood_region *region = NULL;
 *     int r = brood_region_new(&region, NULL);
 *     double *grid = brood_region_alloc(region, len);
 *     brood_ref ref = brood_region_ref(region, grid);                  16 bytes to send anywhere
 *
 * A region is a memory object without a name: nothing of it is in the file system, and the kernel
 * frees it with the last process that has it. It is as large as its size_max from the start in
 * addresses, and takes memory only for what is in use: it grows while all others have it mapped.
 * Memory that is not to be had is an error of the allocation, never a SIGBUS at a later touch.
 *
 * A pointer into a region crosses a fork. A ref crosses everything: other start methods, exec,
 * messages, task inputs, processes of another program. The process that made a ref serves it: as
 * long as it lives and has the region open, whoever runs as the same user and has the 16 bytes may
 * open it (from the same network namespace; elsewhere brood_ref_send() carries it over a socket).
 * Of the processes that have one region open 64 at a time serve it: see brood_region_ref().
 *
 * Deaths: any process may be killed at any instruction of any call here. A block that was being
 * made is free again; one that was finished stays until it is released, and is lost only if its
 * maker died in the few instructions between that and the return of brood_region_alloc().
 *
 * A block takes whole pages. Released ones keep their pages for the next, but of those of 1 MiB
 * and more only 64 MiB are kept and the others go back to the system: so a region holds the memory
 * of its fullest moment in small blocks.
 *
 * Threads: any function may be called from any thread; brood_region_free() last.
 * Fork:    handles and pointers go on working in the child.
 */
#ifndef BROOD_REGION_H
#define BROOD_REGION_H

#include <brood/base.h>

BROOD_BEGIN_DECLS

/* Names something in a region, a queue, or the end of a pipe. Bytes; all zero names nothing. */
typedef struct brood_ref {
    uint64_t word[2];
} brood_ref;

/* Zeroed memory, aligned to 64, that children see; NULL: no memory, or LEN is 0. It lives until it
 * is freed, or the last process ends that has it. */
BROOD_API void *brood_shared_alloc(size_t len);
/* In any process that has it, once. NULL is allowed. */
BROOD_API void brood_shared_free(void *memory);

/* A value and the lock that guards it, for brood_shared_alloc(): BROOD_VALUE(long) *v = ... */
#define BROOD_VALUE(type)                                                                          \
    struct {                                                                                       \
        brood_lock lock;                                                                           \
        type value;                                                                                \
    }
/* An array of COUNT items and its lock. */
#define BROOD_ARRAY(type, count)                                                                   \
    struct {                                                                                       \
        brood_lock lock;                                                                           \
        type item[count];                                                                          \
    }

typedef struct brood_region brood_region;

/* Zero, or a NULL pointer instead of the whole struct, means the default. */
typedef struct brood_region_options {
    const char *name;          /* in /proc/PID/maps, for people; default: "brood" */
    uint64_t size_max;         /* bytes in blocks, each rounded up to pages; default: 16 GiB of
                                  addresses, or what a limit leaves */
    unsigned participants_max; /* threads that use locks or queues in it at once, at most 4094;
                                    default: 1022 */
    bool readonly_elsewhere;   /* who opens it by ref can only read, and use no lock in it; children
                                    by fork can write; no block gives its pages back to the
                                    system */
    uint64_t reserved[4];      /* must be zero */
} brood_region_options;

/* Returns 0 and sets *OUT_REGION; or -EINVAL, -ENOMEM (or no room for size_max in the addresses of
 * this process), -EFBIG (size_max is beyond its limit for files, or beyond all sense), -EMFILE,
 * -ENFILE, -ENOSYS (no memfd_create). After mlockall(MCL_FUTURE) all of size_max is locked, and so
 * in use, at once: then say how much you need. */
BROOD_API BROOD_MUST_CHECK int brood_region_new(brood_region **out_region,
                                                const brood_region_options *options);
/*
 * brood_region_open() - the region that REF is in.
 *
 * Blocks for as long as a connection to the process that serves it takes, 2 s at most.
 *
 * Returns 0 and sets *OUT_REGION, a handle of its own; or
 *   BROOD_EREF   nobody serves it: its process ended, or freed it, or is in another network
 *                namespace
 *   -EINVAL      it names nothing
 *   -EPERM       it is served, but to another user
 *   -ETIMEDOUT   the processes that serve it do not answer
 *   BROOD_EABI   it was made by another build of brood, or on another C library
 *   -ENOMEM, -EMFILE, -ENFILE, -ETOOMANYREFS (too many descriptors of the user who serves it are
 *                under way)
 */
BROOD_API BROOD_MUST_CHECK int brood_region_open(brood_region **out_region, brood_ref ref);
/* LEN bytes, zeroed, aligned to 64. NULL: the region is full, the system has no memory, LEN is 0,
 * or the region is only readable here. */
BROOD_API void *brood_region_alloc(brood_region *region, size_t len);
/* In any process that has the region, once. NULL is allowed. */
BROOD_API void brood_region_release(brood_region *region, void *memory);
/* Names MEMORY, an address anywhere in the region; REGION may be NULL: the one that MEMORY is in,
 * that of brood_shared_alloc() included. All zero: it is in none, or cannot be served. If 64 other
 * processes serve the region already, the ref holds as long as one of those lives; this process
 * takes the place of one that has gone when it makes a ref after that, the same one too. */
BROOD_API brood_ref brood_region_ref(const brood_region *region, const void *memory);
/* What REF names, in this process; NULL: it is not in this region. */
BROOD_API void *brood_region_at(const brood_region *region, brood_ref ref);
/* Bytes in blocks. */
BROOD_API uint64_t brood_region_used(const brood_region *region);
/* This process's handle. Memory of the region must not be used through it any more. NULL is
 * allowed. */
BROOD_API void brood_region_free(brood_region *region);

/* Sends the REF of a region or a queue, and what it takes to open it, over a connected unix socket.
 * Returns 0, -EINVAL (also: it is a pipe's), BROOD_EREF (it is not open here), -EPIPE, -ETIMEDOUT
 * or the socket's error. */
BROOD_API BROOD_MUST_CHECK int brood_ref_send(int socket, brood_ref ref, int64_t timeout_ms);
/* Receives what brood_ref_send() sent: from then on REF can be opened here, once at least for each
 * time that it came, whether or not anybody serves it; until it is opened so often, this process
 * keeps the region. Returns 1, 0 at the end of the stream, -EPROTO (something else came),
 * BROOD_EABI, -ENOMEM, -ETIMEDOUT, or the socket's error. */
BROOD_API BROOD_MUST_CHECK int brood_ref_receive(int socket, brood_ref *out_ref,
                                                 int64_t timeout_ms);

BROOD_END_DECLS

#endif
