/* SPDX-License-Identifier: MIT */
/*
 * Blocks of a region. The picture of their states is in block.h.
 *
 *     word:  { state:3 | pages:2 | serial:27 | owner:32 }
 *
 *     state    FREE  MAKING           KEPT  LINKED               BODY
 *     owner    -     tag of a thread  -     ticket of a message  first chunk of the block
 *     serial   of the block: each block that begins at a chunk has another one
 *
 * Taking: the first word is claimed by CAS, and then the further ones, upwards. A claim counts
 * from the CAS on: MAKING names its owner. Of two that meet, the one who began further up goes on,
 * and the other gives back what it has by one store and looks elsewhere. A BODY is somebody's only
 * as long as the word of its first chunk is alive and has the same serial, so nobody has to wipe
 * it. (Serials of a chunk come round after 2^27 blocks. A BODY forgotten for so long would be held
 * for taken as long as that one block lives, and never the other way round.)
 *
 * .pages says what lies behind a chunk: NONE, never touched or punched, so zero; READY, with
 * pages; or UNKNOWN, if a punch was under way. It stays in the word from owner to owner, and only
 * the owner changes it: to READY after the pages are there, to UNKNOWN before they go.
 *
 * Hints, which may be wrong: .low, where a search begins. Before the table grows into memory that
 * was never used, all of it is searched, so what the dead and the queues left is found. .warm
 * bounds how much memory large blocks leave behind: pages cost more than filling them.
 *
 * A death leaves blocks that are MAKING by a dead tag, which are free, or KEPT, which are the
 * user's; and hints that are too high, or pages that nobody knows of: .ready and .pages rise after
 * the pages are there, and to commit them again is harmless. There is nothing to repair.
 *
 * Orders: the word of a first chunk is stored with release when its owner changes, and loaded with
 * acquire before anybody concludes from it. So what one owner did to the memory, and to .count and
 * .queue, comes before what the next one does. A BODY is taken by who has loaded that first word.
 */
#include "ipc/block.h"

#include "ipc/chunk.h"
#include "sys/kernel.h"

#include <errno.h>
#include <string.h>

/* Mutants that the crash sweep must catch; see tests/ipc/test_block.c. */
#define MUTANT_ANONYMOUS_CLAIM 31
#define MUTANT_PLAIN_BODY 32
#define MUTANT_NO_SERIAL 33
#ifndef BROOD_MUTANT
#define BROOD_MUTANT 0
#endif

enum state { FREE = 0, MAKING, KEPT, LINKED, BODY };
enum pages { NONE = 0, READY, UNKNOWN };

enum {
    STATE_SHIFT = 61,
    PAGES_SHIFT = 59,
    SERIAL_SHIFT = 32,
    SERIAL_MASK = 0x7ffffff,
    TABLE_STEP_MAX = 1 << 20
};

/* ---- words ---- */

static uint64_t make_word(enum state state, enum pages pages, uint32_t serial, uint32_t owner)
{
    return (uint64_t)state << STATE_SHIFT | (uint64_t)pages << PAGES_SHIFT |
           (uint64_t)(serial & SERIAL_MASK) << SERIAL_SHIFT | owner;
}

static enum state state_of(uint64_t word)
{
    return (enum state)(word >> STATE_SHIFT);
}

static enum pages pages_of(uint64_t word)
{
    return (enum pages)(word >> PAGES_SHIFT & 3);
}

static uint32_t serial_of(uint64_t word)
{
    return (uint32_t)(word >> SERIAL_SHIFT) & SERIAL_MASK;
}

static uint32_t owner_of(uint64_t word)
{
    return (uint32_t)word;
}

static bool begins_block(uint64_t word)
{
    return state_of(word) == MAKING || state_of(word) == KEPT || state_of(word) == LINKED;
}

/* ---- places ---- */

static struct block_entry *entry_at(const struct region *region, uint32_t index)
{
    return (struct block_entry *)(void *)(region->base + region->table) + index;
}

static uint64_t load_word(const struct region *region, uint32_t index)
{
    return atomic_load_explicit(&entry_at(region, index)->word, memory_order_acquire);
}

static bool swap_word(const struct region *region, uint32_t index, uint64_t from, uint64_t to)
{
    return atomic_compare_exchange_strong_explicit(&entry_at(region, index)->word, &from, to,
                                                   memory_order_acq_rel, memory_order_relaxed);
}

static uint64_t offset_of(const struct region *region, uint32_t index)
{
    return region->chunks + ((uint64_t)index << region->chunk_shift);
}

/* Entries that may be touched. Acquire, with the release of make_ready(): they have pages. */
static uint32_t ready_of(const struct region *region)
{
    uint32_t ready = atomic_load_explicit(&region->hints->ready, memory_order_acquire);

    return ready < region->chunk_count ? ready : region->chunk_count;
}

/* Whether a block may begin at OFFSET, and where. */
static bool index_of(const struct region *region, uint64_t offset, uint32_t *out_index)
{
    uint64_t index = (offset - region->chunks) >> region->chunk_shift;

    if (offset < region->chunks || index >= ready_of(region) ||
        offset != offset_of(region, (uint32_t)index))
        return false;
    *out_index = (uint32_t)index;
    return true;
}

/* ---- who owns what ---- */

/* Of a block that begins at INDEX, no more than there can be. */
static uint32_t count_of(const struct region *region, uint32_t index)
{
    uint32_t count = atomic_load_explicit(&entry_at(region, index)->count, memory_order_acquire);
    uint32_t room = region->chunk_count - index;

    return count == 0 ? 1 : count < room ? count : room;
}

/* Whether .count is that of the block with this first WORD. While one is MAKING it may still be
 * that of the block before, which was longer perhaps; and each further chunk says whose it is. */
static bool has_count(uint64_t word)
{
    return state_of(word) == KEPT || state_of(word) == LINKED;
}

/* The queue of a LINKED block; 0: WORD is no longer that of the chunk. The queue was stored before
 * WORD, and after any earlier word: if that is still there, both belong together. */
static uint64_t queue_of(const struct region *region, uint32_t index, uint64_t word)
{
    uint32_t queue = atomic_load_explicit(&entry_at(region, index)->queue, memory_order_acquire);

    if (load_word(region, index) != word || queue >= region->chunk_count)
        return 0;
    return offset_of(region, queue);
}

/* Whether WORD, found at INDEX, makes it the first chunk of somebody's block. */
static bool block_lives(const struct region *region, uint32_t index, uint64_t word)
{
    uint64_t queue;

    switch (state_of(word)) {
    case MAKING:
        return region->roster == NULL || brood__roster_alive(region->roster, owner_of(word));
    case KEPT:
        return true;
    case LINKED:
        queue = queue_of(region, index, word);
        /* No queue of ours is LINKED to itself; asking it would end up here again. */
        return queue == 0 || queue == offset_of(region, index) ||
               !brood__queue_passed(region, queue, owner_of(word));
    case FREE:
    case BODY:
        break;
    }
    return false;
}

/* Whether the chunk at INDEX, with WORD, can be had. If not, *OUT_NEXT is where to look next. */
static bool can_take(const struct region *region, uint32_t index, uint64_t word, uint32_t *out_next)
{
    uint32_t first = index;
    uint64_t first_word = word;
    uint32_t end;

    if (state_of(word) == BODY) {
        first = owner_of(word);
        if (first >= index) /* nothing that we write */
            return true;
        first_word = load_word(region, first);
        if (!begins_block(first_word))
            return true;
        if (serial_of(first_word) != serial_of(word) && BROOD_MUTANT != MUTANT_NO_SERIAL)
            return true;
    }
    if (!block_lives(region, first, first_word))
        return true;
    end = has_count(first_word) ? first + count_of(region, first) : 0;
    *out_next = end > index ? end : index + 1;
    return false;
}

/* ---- hints ---- */

/* What the search from SEEN has found: nothing is free below LOW. */
static void raise_low(struct region *region, uint32_t seen, uint32_t low)
{
    if (low > seen)
        (void)atomic_compare_exchange_strong_explicit(&region->hints->low, &seen, low,
                                                      memory_order_relaxed, memory_order_relaxed);
}

static void lower_low(struct region *region, uint32_t index)
{
    uint32_t low = atomic_load_explicit(&region->hints->low, memory_order_relaxed);

    while (index < low)
        if (atomic_compare_exchange_weak_explicit(&region->hints->low, &low, index,
                                                  memory_order_relaxed, memory_order_relaxed))
            return;
}

static bool is_large(const struct region *region, uint32_t count)
{
    return (uint64_t)count << region->chunk_shift >= BLOCK_PUNCH_LEN_MIN;
}

/* Whether COUNT chunks of a large block that is released may keep their pages. */
static bool keep_warm(struct region *region, uint32_t count)
{
    uint32_t warm = atomic_load_explicit(&region->hints->warm, memory_order_relaxed);

    if (((uint64_t)warm + count) << region->chunk_shift > BLOCK_WARM_LEN_MAX)
        return false;
    (void)atomic_fetch_add_explicit(&region->hints->warm, count, memory_order_relaxed);
    return true;
}

/* A large block was taken: perhaps of those. */
static void use_warm(struct region *region, uint32_t count)
{
    uint32_t warm = atomic_load_explicit(&region->hints->warm, memory_order_relaxed);

    while (!atomic_compare_exchange_weak_explicit(&region->hints->warm, &warm,
                                                  warm < count ? 0 : warm - count,
                                                  memory_order_relaxed, memory_order_relaxed))
        continue;
}

/* ---- pages ---- */

/* The table can be touched up to END at least. It grows by a quarter, at least by a page. */
static int make_ready(struct region *region, uint32_t end)
{
    uint32_t ready = ready_of(region);
    uint64_t page = brood__page_size();
    uint64_t from = ready * sizeof(struct block_entry) & ~(page - 1);
    uint64_t step = ready * sizeof(struct block_entry) / 4;
    uint64_t to = (uint64_t)end * sizeof(struct block_entry);
    uint64_t entries;
    int r;

    if (end <= ready)
        return 0;
    if (to < from + (step < TABLE_STEP_MAX ? step : TABLE_STEP_MAX))
        to = from + (step < TABLE_STEP_MAX ? step : TABLE_STEP_MAX);
    to = (to + page - 1) & ~(page - 1);
    if (to > region->chunks - region->table)
        to = region->chunks - region->table;
    r = brood__region_commit(region, region->table + from, to - from);
    if (r < 0)
        return r;
    entries = to / sizeof(struct block_entry);
    if (entries > region->chunk_count)
        entries = region->chunk_count;
    while (ready < entries)
        if (atomic_compare_exchange_weak_explicit(&region->hints->ready, &ready, (uint32_t)entries,
                                                  memory_order_release, memory_order_relaxed))
            break;
    return 0;
}

/* Only by the owner of the block that the chunk is in: nobody else writes to the word then. */
static void set_pages(struct region *region, uint32_t index, uint32_t count, enum pages pages)
{
    for (uint32_t i = index; i < index + count; i++) {
        uint64_t word = load_word(region, i);

        if (pages_of(word) != pages)
            atomic_store_explicit(&entry_at(region, i)->word,
                                  make_word(state_of(word), pages, serial_of(word), owner_of(word)),
                                  memory_order_release);
    }
}

/* How many of COUNT chunks from INDEX on have the same pages as the first. */
static uint32_t same_pages(const struct region *region, uint32_t index, uint32_t count)
{
    enum pages pages = pages_of(load_word(region, index));
    uint32_t same = 1;

    while (same < count && pages_of(load_word(region, index + same)) == pages)
        same++;
    return same;
}

/* All of a block that we own has pages from now on, and is zero if ZEROED. */
static int prepare(struct region *region, uint32_t first, uint32_t count, bool zeroed)
{
    for (uint32_t i = first; i < first + count;) {
        enum pages pages = pages_of(load_word(region, i));
        uint32_t same = same_pages(region, i, first + count - i);
        uint64_t len = (uint64_t)same << region->chunk_shift;

        if (pages != READY) {
            int r = brood__region_commit(region, offset_of(region, i), len);

            if (r < 0)
                return r;
        }
        if (zeroed && pages != NONE)
            memset(region->base + offset_of(region, i), 0, len);
        if (pages != READY)
            set_pages(region, i, same, READY);
        i += same;
    }
    return 0;
}

/* ---- taking ---- */

/* What we own and nobody knows: free again, and all its chunks with it. */
static void let_go(struct region *region, uint32_t first)
{
    uint64_t word = load_word(region, first);

    atomic_store_explicit(&entry_at(region, first)->word,
                          make_word(FREE, pages_of(word), serial_of(word), 0),
                          memory_order_release);
    lower_low(region, first);
}

static bool claim_body(struct region *region, uint32_t index, uint32_t first, uint32_t serial)
{
    uint64_t word = load_word(region, index);
    uint64_t mine = make_word(BODY, pages_of(word), serial, first);
    uint32_t next;

    if (!can_take(region, index, word, &next))
        return false;
    if (BROOD_MUTANT == MUTANT_PLAIN_BODY) {
        atomic_store(&entry_at(region, index)->word, mine);
        return true;
    }
    return swap_word(region, index, word, mine);
}

/* Makes COUNT chunks from FIRST on a block of ME. Returns how many could be had: COUNT, or fewer,
 * and they are free again. */
static uint32_t claim(struct region *region, roster_tag me, uint32_t first, uint32_t count)
{
    struct block_entry *entry = entry_at(region, first);
    uint64_t word = load_word(region, first);
    uint64_t mine;
    uint32_t serial, next;

    if (!can_take(region, first, word, &next))
        return 0;
    /* Before the CAS, so that no two blocks that begin here ever have the same one. */
    serial = atomic_fetch_add_explicit(&entry->serial, 1, memory_order_relaxed) + 1;
    mine = make_word(BROOD_MUTANT == MUTANT_ANONYMOUS_CLAIM ? KEPT : MAKING, pages_of(word), serial,
                     me);
    if (!swap_word(region, first, word, mine))
        return 0;
    /* Release, with the acquire of who reads the count and then the word again. */
    atomic_store_explicit(&entry->count, count, memory_order_release);
    for (uint32_t i = 1; i < count; i++)
        if (!claim_body(region, first + i, first, serial)) {
            let_go(region, first);
            return i;
        }
    return count;
}

/* A search for COUNT chunks in a row, in [FROM, END). */
struct search {
    uint32_t from, end, count;
    uint32_t skipped; /* the first that could be had, and was not taken */
};

/* 0 and *OUT_FIRST; -EAGAIN: none. */
static int search_run(struct region *region, roster_tag me, struct search *search,
                      uint32_t *out_first)
{
    uint32_t run = 0;

    search->skipped = search->end;
    for (uint32_t i = search->from; i < search->end;) {
        uint32_t next = i + 1;
        uint32_t first, had;

        if (!can_take(region, i, load_word(region, i), &next)) {
            run = 0;
            i = next;
            continue;
        }
        i++;
        if (++run < search->count) {
            if (search->skipped > i - run)
                search->skipped = i - run;
            continue;
        }
        first = i - search->count;
        had = claim(region, me, first, search->count);
        if (had == search->count) {
            if (search->skipped >= first)
                search->skipped = i;
            *out_first = first;
            return 0;
        }
        run = 0;
        i = first + had + 1;
    }
    return -EAGAIN;
}

/* In the table as it is. */
static int find_run(struct region *region, roster_tag me, uint32_t count, uint32_t *out_first)
{
    uint32_t low = atomic_load_explicit(&region->hints->low, memory_order_relaxed);
    struct search search = {.from = low, .end = ready_of(region), .count = count};
    int r = search_run(region, me, &search, out_first);

    if (r == 0)
        raise_low(region, low, search.skipped);
    if (r == 0 || low == 0)
        return r;
    search.from = 0;
    return search_run(region, me, &search, out_first);
}

static int take_run(struct region *region, roster_tag me, uint32_t count, uint32_t *out_first)
{
    for (;;) {
        int r = find_run(region, me, count, out_first);
        uint32_t ready = ready_of(region);
        uint32_t more = region->chunk_count - ready;

        if (r != -EAGAIN || more == 0)
            return r;
        /* The end of the table may be free already, so COUNT more are enough. */
        r = make_ready(region, ready + (count < more ? count : more));
        if (r < 0)
            return r;
    }
}

static int take(struct region *region, roster_tag me, uint64_t len, bool zeroed,
                uint64_t *out_offset)
{
    uint64_t chunk = (uint64_t)1 << region->chunk_shift;
    uint64_t count = len / chunk + (len % chunk != 0 || len == 0);
    uint32_t first;
    int r;

    if (count > region->chunk_count)
        return -EMSGSIZE;
    r = take_run(region, me, (uint32_t)count, &first);
    if (r < 0)
        return r;
    if (is_large(region, (uint32_t)count))
        use_warm(region, (uint32_t)count);
    r = prepare(region, first, (uint32_t)count, zeroed);
    if (r < 0) {
        let_go(region, first);
        return r;
    }
    *out_offset = offset_of(region, first);
    return 0;
}

int brood__block_take(struct region *region, roster_tag me, uint64_t len, uint64_t *out_offset)
{
    return take(region, me, len, false, out_offset);
}

int brood__block_take_zeroed(struct region *region, roster_tag me, uint64_t len,
                             uint64_t *out_offset)
{
    return take(region, me, len, true, out_offset);
}

/* ---- changing hands ---- */

/* The next state of a block that we make: nobody else writes to its word. */
static void turn(struct region *region, uint32_t index, enum state state, uint32_t owner)
{
    uint64_t word = load_word(region, index);

    if (state_of(word) == MAKING)
        atomic_store_explicit(&entry_at(region, index)->word,
                              make_word(state, pages_of(word), serial_of(word), owner),
                              memory_order_release);
}

void brood__block_keep(struct region *region, uint64_t offset)
{
    uint32_t index;

    if (index_of(region, offset, &index))
        turn(region, index, KEPT, 0);
}

void brood__block_link(struct region *region, uint64_t offset, uint64_t queue, uint32_t ticket)
{
    uint32_t index;
    uint64_t queue_index = (queue - region->chunks) >> region->chunk_shift;

    if (!index_of(region, offset, &index))
        return;
    /* Release, with the acquire of queue_of(). */
    atomic_store_explicit(&entry_at(region, index)->queue, (uint32_t)queue_index,
                          memory_order_release);
    turn(region, index, LINKED, ticket);
}

/* From WORD, if it still is that. */
static bool free_from(struct region *region, uint32_t index, uint64_t word)
{
    if (!swap_word(region, index, word, make_word(FREE, pages_of(word), serial_of(word), 0)))
        return false;
    lower_low(region, index);
    return true;
}

uint64_t brood__block_linked(const struct region *region, uint64_t offset, uint64_t queue,
                             uint32_t ticket)
{
    uint32_t index;
    uint64_t word;

    if (!index_of(region, offset, &index))
        return 0;
    word = load_word(region, index);
    return state_of(word) == LINKED && owner_of(word) == ticket &&
                   queue_of(region, index, word) == queue
               ? word
               : 0;
}

/* The serial in LINKED makes it this block's own word. */
bool brood__block_unlink(struct region *region, uint64_t offset, uint64_t linked)
{
    uint32_t index;

    return state_of(linked) == LINKED && index_of(region, offset, &index) &&
           free_from(region, index, linked);
}

/* The pages go while the block is ours, so that nobody finds it READY without them. -EPERM: the
 * object is sealed against it (readonly_elsewhere), and all of them are there still; after any
 * other error some may be gone. */
static void punch(struct region *region, uint32_t first, uint32_t count)
{
    int r;

    set_pages(region, first, count, UNKNOWN);
    r = brood__memory_punch(region->fd, offset_of(region, first),
                            (uint64_t)count << region->chunk_shift);
    if (r == 0)
        set_pages(region, first, count, NONE);
    else if (r == -EPERM)
        set_pages(region, first, count, READY);
}

bool brood__block_release(struct region *region, roster_tag me, uint64_t offset)
{
    uint32_t index, count;
    uint64_t word;

    if (!index_of(region, offset, &index))
        return false;
    word = load_word(region, index);
    count = count_of(region, index);
    if (state_of(word) != KEPT)
        return false;
    if (me == 0 || !is_large(region, count) || keep_warm(region, count))
        return free_from(region, index, word);
    if (!swap_word(region, index, word, make_word(MAKING, pages_of(word), serial_of(word), me)))
        return false;
    punch(region, index, count);
    let_go(region, index);
    return true;
}

bool brood__block_give(struct region *region, uint64_t offset)
{
    uint32_t index;
    uint64_t word;

    if (!index_of(region, offset, &index))
        return false;
    word = load_word(region, index);
    return begins_block(word) && free_from(region, index, word);
}

/* ---- looking ---- */

uint64_t brood__block_len(const struct region *region, uint64_t offset)
{
    uint32_t index;

    if (!index_of(region, offset, &index) || !block_lives(region, index, load_word(region, index)))
        return 0;
    return (uint64_t)count_of(region, index) << region->chunk_shift;
}

uint64_t brood__block_used(const struct region *region)
{
    uint32_t ready = ready_of(region);
    uint64_t used = 0;

    for (uint32_t i = 0; i < ready;) {
        uint32_t next = i + 1;

        if (!can_take(region, i, load_word(region, i), &next))
            used += next - i;
        i = next;
    }
    return used << region->chunk_shift;
}
