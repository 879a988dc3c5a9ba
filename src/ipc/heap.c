/* SPDX-License-Identifier: MIT */
/*
 * The heap of a pool: small blocks in slabs, large ones in runs of chunks.
 *
 *     range    [ slab of 64 B ][ slab of 4 KiB ][ block of 5 MiB       ][ slab ] ...
 *                  | chunk 0       | chunk 1         | chunks 2 to 4
 *     private   link[] and counts  link[] and counts   committed bytes
 *
 * A block of up to an eighth of a chunk is rounded to one of its size classes, four to each
 * power of two, and lives in a slab: one chunk full of equal blocks. A larger one has whole
 * chunks of addresses, but only as many pages as it needs. Free blocks of a slab form a list
 * through link[], the last given first, so the same warm bytes serve again and again. Slabs that
 * have room form a list per class; one empty slab may stay in it, others go back as warm chunks.
 *
 * Pages are committed before anybody gets their address, in steps that double, so the usual take
 * makes no call. Chunks given back stay committed up to a mark (see settle()), above which the
 * oldest are punched.
 *
 * What always holds
 *   - used is the sum of what blocks in use count as; above bytes_max only with one block.
 *   - link[i] is IN_USE exactly for the blocks of a slab that are in use.
 *   - A slab is in the list of its class exactly if used < capacity.
 *
 * Nothing of this is in shared memory and nobody but the owner changes it, so a death of a
 * worker leaves nothing to repair here. Guarded by the owner's lock. ipc/chunk.c has the runs.
 */
#include "ipc/heap.h"

#include "base/memory.h"
#include "ipc/chunk.h"

#include <assert.h>
#include <errno.h>

enum {
    UNIT_SHIFT = 6, /* blocks are multiples of 64 bytes */
    CLASS_COUNT = 48,
    COMMIT_FIRST = 64 << 10
};
enum { IN_USE = 0xFFFF, END = 0xFFFE }; /* a slab has at most 32768 blocks */

static const uint64_t WARM_BYTES = 64 << 20;

struct slab {
    struct slab *next, *prev; /* of the class, if there is room */
    uint32_t chunk;
    uint32_t size;    /* of a block, bytes */
    uint64_t inverse; /* 2^42 / size, rounded up: a product instead of a division */
    uint32_t used, fresh, ready, capacity; /* blocks: in use, ever taken, committed, in all */
    unsigned class;
    uint16_t free; /* the last block given, or END */
    uint16_t link[];
};

struct heap {
    uint64_t used, bytes_max;
    uint64_t peak, last_peak; /* of used: in this burst, slowly forgotten, and in the last one */
    uint64_t small_max;       /* larger blocks are runs of chunks */
    struct slab *room[CLASS_COUNT];
    struct chunks chunks;
};

int brood__heap_new(struct heap **out_heap, int fd, void *mapped, uint64_t start, uint64_t len,
                    uint64_t bytes_max)
{
    struct heap *heap = brood__alloc_zeroed(1, sizeof *heap);
    int r;

    if (heap == NULL)
        return -ENOMEM;
    r = brood__chunks_init(&heap->chunks, fd, mapped, start, len);
    if (r < 0) {
        brood__free(heap);
        return r;
    }
    heap->bytes_max = bytes_max;
    heap->small_max = (uint64_t)1 << (heap->chunks.shift - 3);
    *out_heap = heap;
    return 0;
}

void brood__heap_free(struct heap *heap)
{
    if (heap == NULL)
        return;
    for (uint32_t i = 0; i < heap->chunks.fresh; i++) {
        struct chunk *run = &heap->chunks.table[i];

        if (run->head == i && run->state == CHUNK_USED)
            brood__free(run->owner);
    }
    brood__chunks_done(&heap->chunks);
    brood__free(heap);
}

uint64_t brood__heap_used(const struct heap *heap)
{
    return heap->used;
}

/* ---- size classes: 1 to 8 units of 64 bytes, then four steps to each power of two ---- */

static unsigned class_of(uint64_t len)
{
    uint64_t units = (len + 63) >> UNIT_SHIFT;
    unsigned power;

    if (units <= 8)
        return units == 0 ? 0 : (unsigned)units - 1;
    power = 63U - (unsigned)__builtin_clzll(units - 1);
    return (power - 3) * 4 + (unsigned)((units - 1) >> (power - 2)) - 4 + 8;
}

static uint32_t class_size(unsigned class)
{
    unsigned step;

    if (class < 8)
        return (class + 1) << UNIT_SHIFT;
    step = class - 8;
    return (step % 4 + 5) << (step / 4 + 1 + UNIT_SHIFT);
}

/* ---- the two budgets: bytes_max and the system's memory ---- */

/* A single block may be rounded to more than bytes_max: alone it fits all the same, or blocks
 * that are almost as large as the whole heap could never be had. */
static bool fits(const struct heap *heap, uint64_t size)
{
    return heap->used == 0 ||
           (heap->used < heap->bytes_max && size <= heap->bytes_max - heap->used);
}

static void count(struct heap *heap, uint64_t size)
{
    heap->used += size;
    if (heap->used > heap->peak)
        heap->peak = heap->used;
}

/* How much a heap that has just run empty keeps warm: what two large bursts in a row needed, as
 * there may be a third. A single one leaves nothing but the usual. */
static uint64_t end_burst(struct heap *heap)
{
    uint64_t keep = heap->peak < heap->last_peak ? heap->peak : heap->last_peak;

    if (heap->peak > WARM_BYTES) {
        heap->last_peak = heap->peak;
    } else {
        heap->last_peak -= heap->last_peak >> 8;
        keep = heap->last_peak;
    }
    heap->peak = 0;
    return keep;
}

/* After chunks came back: punches what nobody will want soon. In the middle of a burst all that
 * it has needed may be wanted again; that it ever needed so much is forgotten over thousands of
 * calls, for which the eighth makes up. */
static void settle(struct heap *heap)
{
    uint64_t usual = WARM_BYTES + heap->used / 4;
    uint64_t keep;

    heap->peak -= (heap->peak - heap->used) >> 12;
    keep = heap->used == 0 ? end_burst(heap) : heap->peak - heap->used;
    keep += keep / 8;
    brood__chunks_trim(&heap->chunks, keep > usual ? keep : usual);
}

static void room_add(struct heap *heap, struct slab *slab)
{
    struct slab **head = &heap->room[slab->class];

    slab->prev = NULL;
    slab->next = *head;
    if (*head != NULL)
        (*head)->prev = slab;
    *head = slab;
}

static void room_remove(struct heap *heap, struct slab *slab)
{
    if (slab->next != NULL)
        slab->next->prev = slab->prev;
    if (slab->prev != NULL)
        slab->prev->next = slab->next;
    else
        heap->room[slab->class] = slab->next;
}

static void slab_free(struct heap *heap, struct slab *slab)
{
    room_remove(heap, slab);
    brood__chunks_give(&heap->chunks, slab->chunk);
    brood__free(slab);
}

/* Everything that nobody uses goes back to the system, and free chunks become one. */
static void give_all_back(struct heap *heap)
{
    for (unsigned i = 0; i < CLASS_COUNT; i++)
        for (struct slab *slab = heap->room[i], *next; slab != NULL; slab = next) {
            next = slab->next;
            if (slab->used == 0)
                slab_free(heap, slab);
        }
    brood__chunks_trim(&heap->chunks, 0);
}

/* A run with its first LEN bytes committed, if need be at the cost of what is warm. */
static int run_take(struct heap *heap, uint32_t count, uint64_t len, uint32_t *out_first)
{
    struct chunks *chunks = &heap->chunks;
    uint32_t first;
    int r = brood__chunks_take(chunks, count, &first);

    if (r == -EAGAIN) {
        give_all_back(heap);
        r = brood__chunks_take(chunks, count, &first);
    }
    if (r < 0)
        return r;
    r = brood__chunks_commit(chunks, first, len);
    if (r == -ENOMEM) {
        give_all_back(heap);
        r = brood__chunks_commit(chunks, first, len);
    }
    if (r < 0) {
        brood__chunks_give(chunks, first);
        settle(heap);
        return r;
    }
    *out_first = first;
    return 0;
}

/* ---- small blocks ---- */

static void slab_count_ready(struct heap *heap, struct slab *slab)
{
    uint64_t ready = heap->chunks.table[slab->chunk].committed / slab->size;

    slab->ready = ready < slab->capacity ? (uint32_t)ready : slab->capacity;
}

static int slab_new(struct heap *heap, unsigned class)
{
    uint32_t size = class_size(class);
    uint32_t capacity = (uint32_t)(((uint64_t)1 << heap->chunks.shift) / size);
    struct slab *slab = brood__alloc(sizeof *slab + capacity * sizeof slab->link[0]);
    int r;

    if (slab == NULL)
        return -ENOMEM;
    *slab = (struct slab){.size = size,
                          .inverse = ((uint64_t)1 << 42) / size + 1,
                          .capacity = capacity,
                          .class = class,
                          .free = END};
    r = run_take(heap, 1, 0, &slab->chunk); /* slab_extend() commits */
    if (r < 0) {
        brood__free(slab);
        return r;
    }
    heap->chunks.table[slab->chunk].owner = slab;
    slab_count_ready(heap, slab);
    room_add(heap, slab);
    return 0;
}

/* Commits more of a slab than the one block that is wanted now, but if need be only that. */
static int slab_extend(struct heap *heap, struct slab *slab)
{
    struct chunks *chunks = &heap->chunks;
    uint64_t chunk_len = (uint64_t)1 << chunks->shift;
    uint64_t need = (uint64_t)(slab->fresh + 1) * slab->size;
    uint64_t wanted = chunks->table[slab->chunk].committed * 2;
    int r;

    if (wanted < COMMIT_FIRST)
        wanted = COMMIT_FIRST;
    if (wanted < need)
        wanted = need;
    if (wanted > chunk_len)
        wanted = chunk_len;
    r = brood__chunks_commit(chunks, slab->chunk, wanted);
    if (r == -ENOMEM) {
        brood__chunks_trim(chunks, 0);
        r = brood__chunks_commit(chunks, slab->chunk, need);
    }
    if (r < 0)
        return r;
    slab_count_ready(heap, slab);
    return 0;
}

static int take_small(struct heap *heap, uint64_t len, uint64_t *out_offset)
{
    unsigned class = class_of(len);
    struct slab *slab = heap->room[class];
    uint16_t block;
    int r;

    if (!fits(heap, class_size(class)))
        return -EAGAIN;
    if (slab == NULL) {
        r = slab_new(heap, class);
        if (r < 0)
            return r;
        slab = heap->room[class];
    }
    if (slab->free != END) {
        block = slab->free;
        slab->free = slab->link[block];
    } else {
        if (slab->fresh == slab->ready) {
            r = slab_extend(heap, slab);
            if (r < 0)
                return r;
        }
        block = (uint16_t)slab->fresh++;
    }
    slab->link[block] = IN_USE;
    if (++slab->used == slab->capacity)
        room_remove(heap, slab);
    count(heap, slab->size);
    *out_offset = brood__chunks_offset(&heap->chunks, slab->chunk) + (uint64_t)block * slab->size;
    return 0;
}

/* The block of SLAB that INSIDE, an offset from its start, lies in. Exact for all that fits into
 * a chunk: INSIDE * size < 2^42. */
static uint32_t block_of(const struct slab *slab, uint64_t inside)
{
    return (uint32_t)((inside * slab->inverse) >> 42);
}

static bool is_in_use(const struct slab *slab, uint32_t block)
{
    return block < slab->fresh && slab->link[block] == IN_USE;
}

static void give_small(struct heap *heap, struct slab *slab, uint64_t inside)
{
    uint32_t block = block_of(slab, inside);

    assert((uint64_t)block * slab->size == inside && is_in_use(slab, block));
    if (slab->used == slab->capacity)
        room_add(heap, slab);
    slab->link[block] = slab->free;
    slab->free = (uint16_t)block;
    heap->used -= slab->size;
    if (--slab->used > 0)
        return;
    if (slab->next != NULL || slab->prev != NULL)
        slab_free(heap, slab);
    else if (heap->used > 0)
        return;
    settle(heap);
}

/* ---- all blocks ---- */

static int take_large(struct heap *heap, uint64_t len, uint64_t *out_offset)
{
    struct chunks *chunks = &heap->chunks;
    uint64_t size = (len + chunks->page - 1) & ~(chunks->page - 1);
    uint64_t chunk_len = (uint64_t)1 << chunks->shift;
    uint32_t first;
    int r;

    if (len > (uint64_t)chunks->total << chunks->shift)
        return -ENOMEM;
    if (!fits(heap, size))
        return -EAGAIN;
    r = run_take(heap, (uint32_t)((size + chunk_len - 1) >> chunks->shift), size, &first);
    if (r < 0)
        return r == -EAGAIN && heap->used == 0 ? -ENOMEM : r;
    chunks->table[first].owner = NULL;
    chunks->table[first].len = size;
    count(heap, size);
    *out_offset = brood__chunks_offset(chunks, first);
    return 0;
}

int brood__heap_take(struct heap *heap, uint64_t len, uint64_t *out_offset)
{
    if (len > heap->bytes_max)
        return -ENOMEM;
    if (len <= heap->small_max)
        return take_small(heap, len, out_offset);
    return take_large(heap, len, out_offset);
}

void brood__heap_give(struct heap *heap, uint64_t offset)
{
    struct chunk *run = brood__chunks_at(&heap->chunks, offset);
    uint64_t inside;

    assert(run != NULL);
    inside = offset - brood__chunks_offset(&heap->chunks, run->head);
    if (run->owner != NULL) {
        give_small(heap, run->owner, inside);
        return;
    }
    assert(inside == 0);
    heap->used -= run->len;
    /* It may have been a slab, with more pages than the block needed. */
    if (run->committed - run->len > run->len / 4)
        brood__chunks_shrink(&heap->chunks, run->head, run->len);
    brood__chunks_give(&heap->chunks, run->head);
    settle(heap);
}

bool brood__heap_has(const struct heap *heap, uint64_t offset, uint64_t len, uint64_t *out_start)
{
    const struct chunk *run = brood__chunks_at(&heap->chunks, offset);
    const struct slab *slab;
    uint64_t start, size;

    if (run == NULL)
        return false;
    start = brood__chunks_offset(&heap->chunks, run->head);
    slab = run->owner;
    size = run->len;
    if (slab != NULL) {
        uint32_t block = block_of(slab, offset - start);

        if (!is_in_use(slab, block))
            return false;
        start += (uint64_t)block * slab->size;
        size = slab->size;
    }
    if (offset - start > size || len > size - (offset - start))
        return false;
    if (out_start != NULL)
        *out_start = start;
    return true;
}
