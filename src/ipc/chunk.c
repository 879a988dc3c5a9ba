/* SPDX-License-Identifier: MIT */
/*
 * Runs of chunks: who has which part of a memory object, and which parts have pages.
 *
 *     [ used ][ cold     ][ used    ][ warm ][ used ][ fresh ...                        ]
 *
 *   used   belongs to somebody above.
 *   warm   free, but its pages are still there. Kept apart by size, and by age: the youngest is
 *          taken first, the oldest is punched first. Warm runs are not merged.
 *   cold   free and without pages, as far as is known (a punch may have failed, and committing
 *          twice is harmless). Neighbours that are cold are always merged into one run.
 *   fresh  everything after the last run, so the table is as long as what was ever in use.
 *
 * A table entry stands for a chunk; the first entry of a run describes it. Every chunk of a used
 * or warm run and the last one of a cold run name the first, so any address and any neighbour
 * finds its run in two loads.
 *
 * The table is private memory of one process, guarded by whatever guards the heap: a death
 * leaves nothing half-done for others. The pages of a process that died stay with the object,
 * and whoever owns the range punches it.
 */
#include "ipc/chunk.h"

#include "base/memory.h"
#include "sys/kernel.h"

#include <assert.h>
#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#define NONE UINT32_MAX

enum { CHUNK_LEN_MAX = 2 << 20, CHUNKS_USUAL = 4096, SCAN_MAX = 16 };

uint64_t brood__page_size(void)
{
    static uint64_t page; /* the same for whoever computes it first */
    uint64_t known = __atomic_load_n(&page, __ATOMIC_RELAXED);

    if (known == 0) {
        long answer = sysconf(_SC_PAGESIZE);

        known = answer > 0 ? (uint64_t)answer : 4096;
        __atomic_store_n(&page, known, __ATOMIC_RELAXED);
    }
    return known;
}

static unsigned log2_floor(uint64_t number)
{
    return 63U - (unsigned)__builtin_clzll(number);
}

static uint64_t round_up(uint64_t number, uint64_t power_of_two)
{
    return (number + power_of_two - 1) & ~(power_of_two - 1);
}

/* Small ranges get small chunks, so that a big block wastes little of the range by rounding. */
/* ---- pages ---- */

/* Through the mapping where there is one: a descriptor may be closed, or be another file's by
 * then, in a process that runs other people's code. Before Linux 5.14 there is no other way. */
static int commit(const struct chunks *chunks, uint64_t offset, uint64_t len)
{
    int r = -EINVAL;

    if (chunks->mapped != NULL)
        r = brood__memory_populate(chunks->mapped + offset, len);
    return r == -EINVAL ? brood__memory_commit(chunks->fd, offset, len) : r;
}

static void punch(const struct chunks *chunks, uint64_t offset, uint64_t len)
{
    if (chunks->mapped != NULL)
        (void)brood__memory_advise(chunks->mapped + offset, len, MADV_REMOVE);
    else
        (void)brood__memory_punch(chunks->fd, offset, len);
}

static unsigned chunk_shift(uint64_t len, uint64_t page)
{
    uint64_t wanted = len / CHUNKS_USUAL;

    if (wanted > CHUNK_LEN_MAX)
        wanted = CHUNK_LEN_MAX;
    if (wanted < page)
        wanted = page;
    return log2_floor(wanted);
}

int brood__chunks_init(struct chunks *chunks, int fd, void *mapped, uint64_t start, uint64_t len)
{
    uint64_t page = brood__page_size();
    uint64_t total;
    unsigned shift;

    if (start % page != 0 || len % page != 0 || len > INT64_MAX || start > INT64_MAX - len)
        return -EINVAL;
    if (start == 0 && len > 0) { /* offset 0 is nobody's */
        start += page;
        len -= page;
    }
    if (len == 0)
        return -EINVAL;
    shift = chunk_shift(len, page);
    total = len >> shift;
    if (total >= NONE)
        return -EINVAL;
    *chunks = (struct chunks){.fd = fd,
                              .mapped = mapped,
                              .start = start,
                              .page = page,
                              .shift = shift,
                              .total = (uint32_t)total,
                              .newest = NONE,
                              .oldest = NONE};
    for (unsigned i = 0; i < CHUNK_BINS; i++)
        chunks->cold[i] = chunks->warm[i] = NONE;
    return 0;
}

void brood__chunks_done(struct chunks *chunks)
{
    brood__free(chunks->table);
    *chunks = (struct chunks){0};
}

/* ---- bins: free runs by the power of two of their size, the youngest first ---- */

static unsigned bin_of(uint32_t count)
{
    return log2_floor(count);
}

static void bin_add(struct chunks *chunks, uint32_t bins[], uint32_t first)
{
    struct chunk *run = &chunks->table[first];
    uint32_t *bin = &bins[bin_of(run->count)];

    run->prev = NONE;
    run->next = *bin;
    if (*bin != NONE)
        chunks->table[*bin].prev = first;
    *bin = first;
}

static void bin_remove(struct chunks *chunks, uint32_t bins[], uint32_t first)
{
    struct chunk *run = &chunks->table[first];

    if (run->next != NONE)
        chunks->table[run->next].prev = run->prev;
    if (run->prev != NONE)
        chunks->table[run->prev].next = run->next;
    else
        bins[bin_of(run->count)] = run->next;
}

/* The first run of at least COUNT among some of the bin of COUNT. */
static uint32_t bin_find(const struct chunks *chunks, const uint32_t bins[], uint32_t count,
                         unsigned scan_max)
{
    uint32_t first = bins[bin_of(count)];

    for (unsigned i = 0; first != NONE && i < scan_max; i++) {
        if (chunks->table[first].count >= count)
            return first;
        first = chunks->table[first].next;
    }
    return NONE;
}

static uint32_t find_larger(const struct chunks *chunks, uint32_t count)
{
    for (unsigned bin = bin_of(count) + 1; bin < CHUNK_BINS; bin++)
        if (chunks->cold[bin] != NONE)
            return chunks->cold[bin];
    return NONE;
}

/* ---- warm runs ---- */

static void warm_add(struct chunks *chunks, uint32_t first)
{
    struct chunk *run = &chunks->table[first];

    run->state = CHUNK_WARM;
    run->newer = NONE;
    run->older = chunks->newest;
    if (chunks->newest != NONE)
        chunks->table[chunks->newest].newer = first;
    else
        chunks->oldest = first;
    chunks->newest = first;
    chunks->warm_bytes += run->committed;
    bin_add(chunks, chunks->warm, first);
}

static void warm_remove(struct chunks *chunks, uint32_t first)
{
    struct chunk *run = &chunks->table[first];

    if (run->newer != NONE)
        chunks->table[run->newer].older = run->older;
    else
        chunks->newest = run->older;
    if (run->older != NONE)
        chunks->table[run->older].newer = run->newer;
    else
        chunks->oldest = run->newer;
    chunks->warm_bytes -= run->committed;
    bin_remove(chunks, chunks->warm, first);
}

/* ---- cold runs ---- */

/* Adds [FIRST, FIRST + COUNT), merged with its cold neighbours. */
static void cold_add(struct chunks *chunks, uint32_t first, uint32_t count)
{
    struct chunk *table = chunks->table;

    table[first].state = CHUNK_COLD; /* also where it is merged: nobody takes it for used */
    if (first > 0) {
        uint32_t before = table[first - 1].head;

        if (table[before].state == CHUNK_COLD) {
            bin_remove(chunks, chunks->cold, before);
            count += first - before;
            first = before;
        }
    }
    if (first + count < chunks->fresh && table[first + count].state == CHUNK_COLD) {
        bin_remove(chunks, chunks->cold, first + count);
        count += table[first + count].count;
    }
    if (first + count == chunks->fresh) {
        chunks->fresh = first;
        return;
    }
    table[first] = (struct chunk){.head = first, .count = count, .state = CHUNK_COLD};
    table[first + count - 1].head = first;
    bin_add(chunks, chunks->cold, first);
}

void brood__chunks_trim(struct chunks *chunks, uint64_t bytes)
{
    while (chunks->oldest != NONE && chunks->warm_bytes > bytes) {
        uint32_t first = chunks->oldest;
        struct chunk *run = &chunks->table[first];

        warm_remove(chunks, first);
        punch(chunks, brood__chunks_offset(chunks, first), run->committed);
        cold_add(chunks, first, run->count);
    }
}

/* ---- taking ---- */

/* Room in the table for COUNT chunks from fresh on. */
static int table_grow(struct chunks *chunks, uint32_t count)
{
    uint64_t wanted = (uint64_t)chunks->fresh + count;
    uint64_t capacity = chunks->capacity == 0 ? 16 : chunks->capacity;
    struct chunk *table;

    if (wanted <= chunks->capacity)
        return 0;
    while (capacity < wanted)
        capacity *= 2;
    if (capacity > chunks->total)
        capacity = chunks->total;
    if (capacity > SIZE_MAX / sizeof *table)
        return -ENOMEM;
    table = brood__realloc(chunks->table, capacity * sizeof *table);
    if (table == NULL)
        return -ENOMEM;
    chunks->table = table;
    chunks->capacity = (uint32_t)capacity;
    return 0;
}

/* Makes [FIRST, FIRST + COUNT) used; its first COMMITTED bytes have pages. */
static void use(struct chunks *chunks, uint32_t first, uint32_t count, uint64_t committed)
{
    for (uint32_t i = first; i < first + count; i++)
        chunks->table[i].head = first;
    chunks->table[first] =
        (struct chunk){.head = first, .count = count, .state = CHUNK_USED, .committed = committed};
}

/* Uses the first COUNT chunks of a free run that is in no bin any more; the rest stays free. */
static void use_part(struct chunks *chunks, uint32_t first, uint32_t count)
{
    struct chunk run = chunks->table[first];
    uint64_t len = (uint64_t)count << chunks->shift;
    uint64_t committed = run.committed < len ? run.committed : len;

    use(chunks, first, count, committed);
    if (run.count == count)
        return;
    if (run.committed > len) {
        use(chunks, first + count, run.count - count, run.committed - len);
        warm_add(chunks, first + count);
    } else {
        cold_add(chunks, first + count, run.count - count);
    }
}

static int take_fresh(struct chunks *chunks, uint32_t count, uint32_t *out_first)
{
    uint32_t first = chunks->fresh;
    int r;

    if (count > chunks->total - first)
        return -EAGAIN;
    r = table_grow(chunks, count);
    if (r < 0)
        return r;
    chunks->fresh += count;
    use(chunks, first, count, 0);
    *out_first = first;
    return 0;
}

int brood__chunks_take(struct chunks *chunks, uint32_t count, uint32_t *out_first)
{
    uint32_t first;
    int r;

    assert(count > 0);
    first = bin_find(chunks, chunks->warm, count, SCAN_MAX);
    if (first != NONE) {
        warm_remove(chunks, first);
        use_part(chunks, first, count);
        *out_first = first;
        return 0;
    }
    first = bin_find(chunks, chunks->cold, count, SCAN_MAX);
    if (first == NONE)
        first = find_larger(chunks, count);
    if (first == NONE) {
        r = take_fresh(chunks, count, out_first);
        if (r != -EAGAIN)
            return r;
        first = bin_find(chunks, chunks->cold, count, UINT32_MAX);
        if (first == NONE)
            return -EAGAIN;
    }
    bin_remove(chunks, chunks->cold, first);
    use_part(chunks, first, count);
    *out_first = first;
    return 0;
}

int brood__chunks_commit(struct chunks *chunks, uint32_t first, uint64_t len)
{
    struct chunk *run = &chunks->table[first];
    uint64_t end = round_up(len, chunks->page);
    int r;

    assert(run->state == CHUNK_USED && end <= (uint64_t)run->count << chunks->shift);
    if (end <= run->committed)
        return 0;
    r = commit(chunks, brood__chunks_offset(chunks, first) + run->committed, end - run->committed);
    if (r < 0)
        return r;
    run->committed = end;
    return 0;
}

void brood__chunks_shrink(struct chunks *chunks, uint32_t first, uint64_t len)
{
    struct chunk *run = &chunks->table[first];
    uint64_t end = round_up(len, chunks->page);

    assert(run->state == CHUNK_USED);
    if (end >= run->committed)
        return;
    punch(chunks, brood__chunks_offset(chunks, first) + end, run->committed - end);
    run->committed = end;
}

void brood__chunks_give(struct chunks *chunks, uint32_t first)
{
    struct chunk *run = &chunks->table[first];

    assert(run->state == CHUNK_USED && run->head == first);
    if (run->committed > 0)
        warm_add(chunks, first);
    else
        cold_add(chunks, first, run->count);
}
