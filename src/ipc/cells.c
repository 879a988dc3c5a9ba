/* SPDX-License-Identifier: MIT */
/*
 * The cells of a queue (the picture is in ipc/cells.h).
 *
 * Why nothing is lost, doubled or torn
 *   - A ticket is claimed after the one before it was seen claimed, so the claimed ones are a run.
 *   - At every instant a cell is in one of four states, and in WRITING and READING its word names
 *     one participation of one thread. Whoever finds that dead puts the cell right by one CAS on
 *     the whole word, so two repairers, or a slow one, cannot touch a cell that went on.
 *   - The data is written before FULL (release) and read after FULL was seen (acquire).
 *
 * What a death leaves behind: before the CAS nothing; WRITING, a message that was not put: its cell
 * goes to the next lap; READING, a message that was not got: FULL again; hints that lag, which cost
 * those who come next a walk; bells that were not rung, for which see ipc/bell.c.
 *
 * Three rules that look optional and are not (tests/ipc/test_cells_kill.c has a mutant for each)
 *   - The head moves past a cell only when that has a later ticket, never past READING: the message
 *     may come back, and would be behind the head.
 *   - A consumer that walks past cells being written looks at them again before it takes a later
 *     one: else it could take the second message of a producer before the first.
 *   - A dead WRITING goes to the next lap and not back to EMPTY(t): consumers may have passed it.
 *
 * Orders. Claims are acq_rel at least; all loads and stores of words are sequentially consistent,
 * because each is one half of a pair with a bell or with .closed:
 *     publish: store FULL, load bell        against   sleeper: set bell, load word
 *     put:     CAS WRITING, load closed     against   getter: load closed, then scan the words
 * A putter that saw the queue open therefore has its WRITING seen by every getter that sees it
 * closed, which waits for it. Head and tail are hints: relaxed.
 */
#include "ipc/cells.h"

#include <brood/base.h>

#include <assert.h>
#include <errno.h>
#include <string.h>

/* Mutants that the kill sweeps must catch. */
#define MUTANT_HEAD_OVER_READING 11
#define MUTANT_NO_RECHECK 12
#define MUTANT_REPAIR_SAME_LAP 13
#ifndef BROOD_MUTANT
#define BROOD_MUTANT 0
#endif

enum cell_state { EMPTY = 0, WRITING, FULL, READING };
enum {
    TICKET_BITS = 28,
    TICKET_SHIFT = 36,
    STATE_SHIFT = 34,
    FIRST_SHIFT = 28,
    FIRST_MASK = 63,
    ROOM_ANY = 240,    /* in place, in a queue of messages of any size */
    ROOM_MAX = 4080,   /* in place, at most */
    ROOM_PACKED = 496, /* for several items */
    RESTARTS_MAX = 256 /* then whoever looks is told that there is nothing, and looks again */
};
#define TAG_MASK (((uint64_t)1 << TAG_BITS) - 1)
#define TICKET_MASK (((uint32_t)1 << TICKET_BITS) - 1)

static uint64_t make_word(uint64_t ticket, enum cell_state state, unsigned first, roster_tag tag)
{
    return (ticket & TICKET_MASK) << TICKET_SHIFT | (uint64_t)state << STATE_SHIFT |
           (uint64_t)first << FIRST_SHIFT | tag;
}

/* EMPTY or FULL. Where no owner stands stands the upper half of the ticket: so a word never comes
 * back, and a CAS by who was stopped for ever so long fails. */
static uint64_t ownerless(uint64_t ticket, enum cell_state state, unsigned first)
{
    return make_word(ticket, state, first, (roster_tag)(ticket >> TICKET_BITS & TAG_MASK));
}

static enum cell_state state_of(uint64_t word)
{
    return (enum cell_state)(word >> STATE_SHIFT & 3);
}

static roster_tag tag_of(uint64_t word)
{
    return (roster_tag)(word & TAG_MASK);
}

static unsigned first_of(uint64_t word)
{
    return (unsigned)(word >> FIRST_SHIFT) & FIRST_MASK;
}

/* DIFFERENCE of two tickets of which the lowest BITS are known, with its sign. */
static int64_t with_sign(uint64_t difference, unsigned bits)
{
    return (int64_t)(difference << (64 - bits)) >> (64 - bits);
}

/* How far the word's ticket is ahead of TICKET: by its lower half, if an owner stands in it. */
static int64_t ahead(uint64_t word, uint64_t ticket)
{
    uint64_t low = word >> TICKET_SHIFT;

    if (state_of(word) == WRITING || state_of(word) == READING)
        return with_sign(low - ticket, TICKET_BITS);
    return with_sign(((word & TAG_MASK) << TICKET_BITS | low) - ticket, 2 * TICKET_BITS);
}

/* Whether TICKET, with WORD in its cell, is claimed or over. */
static bool claimed(uint64_t word, uint64_t ticket)
{
    int64_t distance = ahead(word, ticket);

    return distance > 0 || (distance == 0 && state_of(word) != EMPTY);
}

static struct cell *cell_of(const struct cells_view *view, uint64_t ticket)
{
    uint64_t index = view->mask != 0 ? ticket & view->mask : ticket % view->shape.count;

    return (struct cell *)(void *)(view->first + index * view->shape.stride);
}

/* TICKET is over, as WORD in its cell tells: the next one to look at. Nobody is more than a lap
 * ahead of a ticket that is not over, and the cell is at most one more: so most of a long lag is
 * skipped. */
static uint64_t next_after(const struct cells_view *view, uint64_t word, uint64_t ticket)
{
    int64_t skip = ahead(word, ticket) - 2 * (int64_t)view->shape.count + 1;

    return ticket + (skip > 1 ? (uint64_t)skip : 1);
}

/* The first ticket that is not over. */
static uint64_t first_live(const struct cells_view *view)
{
    uint64_t t = atomic_load_explicit(&view->shared->head, memory_order_relaxed);
    uint64_t word = atomic_load(&cell_of(view, t)->word);

    while (ahead(word, t) > 0) {
        t = next_after(view, word, t);
        word = atomic_load(&cell_of(view, t)->word);
    }
    return t;
}

static uint32_t load_items(const struct cell *cell)
{
    return atomic_load_explicit(&cell->items, memory_order_relaxed);
}

uint32_t brood__cell_low_ticket(uint64_t ticket)
{
    return (uint32_t)ticket & TICKET_MASK;
}

/* ---- data of cells for several items, which may be read while they are written ---- */

static _Atomic uint64_t *data_words(struct cell *cell)
{
    return (_Atomic uint64_t *)(void *)cell->data;
}

void brood__cell_store(struct cell *cell, const char *from, size_t item_size, unsigned count)
{
    _Atomic uint64_t *to = data_words(cell);
    size_t len = item_size * count;
    uint64_t word = 0;

    /* After the claim, for who is still reading what was here: see copy_items(). */
    atomic_thread_fence(memory_order_release);
    atomic_store_explicit(&cell->len, (uint32_t)item_size, memory_order_relaxed);
    atomic_store_explicit(&cell->items, count, memory_order_relaxed);

    for (; len >= sizeof word; len -= sizeof word, from += sizeof word) {
        memcpy(&word, from, sizeof word);
        atomic_store_explicit(to++, word, memory_order_relaxed);
    }
    if (len == 0)
        return;
    word = 0;
    memcpy(&word, from, len);
    atomic_store_explicit(to, word, memory_order_relaxed);
}

/* LEN bytes from OFFSET on. */
static void cell_load(char *to, struct cell *cell, size_t offset, size_t len)
{
    uint64_t words[ROOM_PACKED / sizeof(uint64_t) + 1];
    size_t first = offset / sizeof words[0];
    size_t end = (offset + len + sizeof words[0] - 1) / sizeof words[0];

    for (size_t i = first; i < end; i++)
        words[i - first] = atomic_load_explicit(&data_words(cell)[i], memory_order_relaxed);
    memcpy(to, (const char *)words + offset % sizeof words[0], len);
}

/* ---- shape ---- */

struct cells_shape brood__cells_shape(uint32_t count, size_t item_size, bool packs)
{
    size_t room = item_size == 0 || item_size > ROOM_MAX ? ROOM_ANY : item_size;
    struct cells_shape shape = {.count = count, .pack = 1};

    if (packs && item_size != 0 && item_size <= ROOM_PACKED / 2)
        shape.pack = (uint32_t)(ROOM_PACKED / item_size);
    if (shape.pack > PACK_MAX)
        shape.pack = PACK_MAX;
    shape.stride = (uint32_t)((sizeof(struct cell) + room * shape.pack + 63) & ~(size_t)63);
    if (shape.stride < CELL_STRIDE_MIN)
        shape.stride = CELL_STRIDE_MIN;
    shape.room = shape.stride - (uint32_t)sizeof(struct cell);
    return shape;
}

size_t brood__cells_len(const struct cells_shape *shape)
{
    return (size_t)shape->count * shape->stride;
}

void brood__cells_view(struct cells_view *view, struct cells *shared, char *first,
                       const struct cells_shape *shape, struct roster *roster)
{
    uint32_t count = shape->count;

    *view =
        (struct cells_view){.shared = shared, .first = first, .shape = *shape, .roster = roster};
    if ((count & (count - 1)) == 0)
        view->mask = count - 1;
}

void brood__cells_init(const struct cells_view *view, uint64_t start)
{
    for (uint64_t t = start; t < start + view->shape.count; t++)
        atomic_store_explicit(&cell_of(view, t)->word, ownerless(t, EMPTY, 0),
                              memory_order_relaxed);
    atomic_store_explicit(&view->shared->head, start, memory_order_relaxed);
    atomic_store_explicit(&view->shared->tail, start, memory_order_relaxed);
}

/* ---- repair ---- */

static bool owner_dead(const struct cells_view *view, uint64_t word)
{
    return !brood__roster_alive(view->roster, tag_of(word));
}

/* The ticket with these low bits that is in the ring, or was last. The tail tells which. */
static uint64_t whole_ticket(const struct cells_view *view, uint32_t low)
{
    uint64_t tail = atomic_load_explicit(&view->shared->tail, memory_order_relaxed);

    return tail + (uint64_t)with_sign(low - tail, TICKET_BITS);
}

/* A cell whose owner may be dead: true if it was, and the cell is as it should be. The ticket is
 * that of the word: who looks may be far behind. */
static bool repaired(const struct cells_view *view, struct cell *cell, uint64_t word)
{
    uint64_t ticket = whole_ticket(view, (uint32_t)(word >> TICKET_SHIFT));
    uint64_t right;

    if ((state_of(word) != WRITING && state_of(word) != READING) || !owner_dead(view, word))
        return false;
    if (state_of(word) == READING)
        right = ownerless(ticket, FULL, 0);
    else if (BROOD_MUTANT == MUTANT_REPAIR_SAME_LAP)
        right = ownerless(ticket, EMPTY, 0);
    else
        right = ownerless(ticket + view->shape.count, EMPTY, 0);
    /* If it is another word now, somebody else has repaired it. */
    (void)atomic_compare_exchange_strong(&cell->word, &word, right);
    return true;
}

/* ---- put ---- */

/* Whoever has armed it, and gives up looking while there may be something, does not sleep now. */
static void do_not_sleep(struct bell *bell)
{
    brood__bell_ring_slow(bell, 1);
}

static int after_claim(const struct cells_view *view, const struct cell_claim *claim)
{
    if (!cells_closed(view))
        return 0;
    brood__cells_void(view, claim);
    return BROOD_ECLOSED;
}

/* TICKET is free or not: 0 it is ours now, 1 it is somebody's, -EAGAIN the ring is full. */
static int claim_ticket(const struct cells_view *view, uint64_t ticket, roster_tag me,
                        struct cell_claim *claim)
{
    struct cell *cell = cell_of(view, ticket);
    uint64_t word = atomic_load(&cell->word);
    uint64_t mine = make_word(ticket, WRITING, 0, me);

    for (;;) {
        if (claimed(word, ticket))
            return 1;
        if (ahead(word, ticket) < 0) {
            /* The last lap is still here. */
            if (!repaired(view, cell, word))
                return -EAGAIN;
            word = atomic_load(&cell->word);
        } else if (atomic_compare_exchange_weak(&cell->word, &word, mine)) {
            *claim = (struct cell_claim){.cell = cell, .ticket = ticket, .word = mine};
            return 0;
        }
    }
}

/* One walk from the tail: 0 or a negative error; 1: others were so fast that it led nowhere. */
static int claim_any(const struct cells_view *view, roster_tag me, struct cell_claim *claim)
{
    uint64_t start = atomic_load_explicit(&view->shared->tail, memory_order_relaxed);
    uint64_t old = start;

    for (uint64_t t = start; t - start <= 2 * (uint64_t)view->shape.count; t++) {
        int r = claim_ticket(view, t, me, claim);

        if (r == 0)
            (void)atomic_compare_exchange_strong_explicit(
                &view->shared->tail, &old, t + 1, memory_order_relaxed, memory_order_relaxed);
        if (r <= 0)
            return r;
    }
    return 1;
}

int brood__cells_put(const struct cells_view *view, roster_tag me, struct cell_claim *claim)
{
    if (cells_closed(view))
        return BROOD_ECLOSED;
    for (unsigned i = 0; i < RESTARTS_MAX; i++) {
        int r = claim_any(view, me, claim);

        if (r <= 0)
            return r < 0 ? r : after_claim(view, claim);
    }
    do_not_sleep(&view->shared->room);
    return -EAGAIN;
}

/* By CAS, not by a store: the thread that claimed may have ended, and the cell have been
 * repaired. */
static bool pass_to(const struct cell_claim *claim, uint64_t word)
{
    uint64_t mine = claim->word;

    return atomic_compare_exchange_strong(&claim->cell->word, &mine, word);
}

bool brood__cells_publish(const struct cells_view *view, const struct cell_claim *claim)
{
    if (!pass_to(claim, ownerless(claim->ticket, FULL, 0)))
        return false;
    bell_ring(&view->shared->filled);
    return true;
}

/* A cell has gone to the next lap: room for a putter, progress for those who join (each waits for
 * another ticket, so all are told), and perhaps the end for getters of a closed queue. */
static void after_recycling(const struct cells_view *view, uint64_t ticket)
{
    uint64_t head = ticket;

    /* The head was there when we came, most of the time. It must not stay behind for ever, also if
     * nobody gets anything: tickets are compared by their low bits. */
    (void)atomic_compare_exchange_strong_explicit(&view->shared->head, &head, head + 1,
                                                  memory_order_relaxed, memory_order_relaxed);
    bell_ring(&view->shared->room);
    bell_ring_all(&view->shared->done);
    if (cells_closed(view))
        bell_ring(&view->shared->filled);
}

static bool recycle(const struct cells_view *view, const struct cell_claim *claim)
{
    if (!pass_to(claim, ownerless(claim->ticket + view->shape.count, EMPTY, 0)))
        return false;
    after_recycling(view, claim->ticket);
    return true;
}

/* A getter walks past so many cells under a pen and no more: this may have been one too many. */
void brood__cells_void(const struct cells_view *view, const struct cell_claim *claim)
{
    if (recycle(view, claim))
        bell_ring(&view->shared->filled);
}

struct cell_claim brood__cells_claimed(const struct cells_view *view, uint64_t ticket,
                                       uint64_t word)
{
    return (struct cell_claim){.cell = cell_of(view, ticket), .ticket = ticket, .word = word};
}

/* ---- get ---- */

struct skipped {
    struct cell *cell;
    uint64_t word;
};

/* One walk along the ring. */
struct walk {
    uint64_t ticket;
    bool leading; /* all before it is over: the head may follow */
    bool pending; /* somebody is at a cell that was passed */
    unsigned skipped_count;
    struct skipped skipped[SKIPPED_MAX];
};

enum step { STEP_ON, STEP_AGAIN, STEP_TAKE, STEP_NOTHING, STEP_RESTART };

static bool skipped_unchanged(const struct walk *walk)
{
    if (BROOD_MUTANT == MUTANT_NO_RECHECK)
        return true;
    for (unsigned i = 0; i < walk->skipped_count; i++)
        if (atomic_load(&walk->skipped[i].cell->word) != walk->skipped[i].word)
            return false;
    return true;
}

static enum step pass_writing(struct walk *walk, struct cell *cell, uint64_t word)
{
    walk->pending = true;
    if (walk->skipped_count == SKIPPED_MAX)
        return STEP_NOTHING;
    walk->skipped[walk->skipped_count++] = (struct skipped){.cell = cell, .word = word};
    walk->leading = false;
    return STEP_ON;
}

static enum step pass_reading(struct walk *walk)
{
    walk->pending = true;
    walk->leading = BROOD_MUTANT == MUTANT_HEAD_OVER_READING && walk->leading;
    return STEP_ON;
}

static enum step look_at(const struct cells_view *view, struct walk *walk, struct cell *cell,
                         uint64_t word)
{
    int64_t distance = ahead(word, walk->ticket);

    if (distance > 0)
        return STEP_ON;
    if (distance < 0 || state_of(word) == EMPTY)
        return STEP_NOTHING;
    if (state_of(word) == FULL)
        return skipped_unchanged(walk) ? STEP_TAKE : STEP_RESTART;
    if (repaired(view, cell, word))
        return STEP_AGAIN;
    return state_of(word) == WRITING ? pass_writing(walk, cell, word) : pass_reading(walk);
}

/* The ticket of the walk was over: on to NEXT, and the head with it. */
static void follow(const struct cells_view *view, const struct walk *walk, uint64_t next)
{
    uint64_t head = walk->ticket;

    if (walk->leading)
        (void)atomic_compare_exchange_strong_explicit(&view->shared->head, &head, next,
                                                      memory_order_relaxed, memory_order_relaxed);
}

/* What is done with the first message that is found: it is claimed; or, of a cell for several
 * items, COUNT at most are copied to TO. */
struct wish {
    roster_tag me;
    struct cell_claim *claim;
    char *to; /* NULL: to claim */
    size_t item_size;
    unsigned count;
    int got; /* items, or BROOD_EABI */
};

static bool claim_message(struct cell *cell, uint64_t word, uint64_t ticket,
                          const struct wish *wish)
{
    uint64_t mine = make_word(ticket, READING, 0, wish->me);

    if (!atomic_compare_exchange_strong(&cell->word, &word, mine))
        return false;
    assert(wish->claim != NULL);
    *wish->claim = (struct cell_claim){.cell = cell, .ticket = ticket, .word = mine};
    return true;
}

/* The items are copied first and claimed after that, by one CAS that says that nobody else had
 * them. So nobody is ever in between, whom others would have to wait for. While they are copied the
 * cell may be used again; then the copy is worthless, and the CAS fails. Like the reader of a
 * seqlock: the loads are relaxed, and the fence pairs with that of cell_store(). If one of them saw
 * the next lap's data, the CAS sees the next lap's word. */
static bool copy_items(const struct cells_view *view, struct cell *cell, uint64_t word,
                       uint64_t ticket, struct wish *wish)
{
    unsigned items = load_items(cell);
    unsigned first = first_of(word);
    unsigned count = wish->count;
    uint64_t next = ownerless(ticket + view->shape.count, EMPTY, 0);

    if (items <= first || items > view->shape.pack) {
        wish->got = BROOD_EABI;
        atomic_thread_fence(memory_order_acquire); /* as below */
        return atomic_load(&cell->word) == word;
    }
    if (count > items - first)
        count = items - first;
    cell_load(wish->to, cell, first * wish->item_size, count * wish->item_size);
    atomic_thread_fence(memory_order_acquire);
    if (first + count < items)
        next = ownerless(ticket, FULL, first + count);
    if (!atomic_compare_exchange_strong(&cell->word, &word, next))
        return false;
    if (state_of(next) == EMPTY)
        after_recycling(view, ticket);
    wish->got = (int)count;
    return true;
}

static void begin(const struct cells_view *view, struct walk *walk)
{
    walk->ticket = atomic_load_explicit(&view->shared->head, memory_order_relaxed);
    walk->leading = true;
    walk->pending = false;
    walk->skipped_count = 0;
}

/* To the next ticket. How many this one counts in a walk: 0 if it was over and the head follows, as
 * the head may lag by more than a lap (messages that were given up move only the tail). */
static unsigned go_on(const struct cells_view *view, struct walk *walk, uint64_t word)
{
    bool over = ahead(word, walk->ticket) > 0;
    bool leads = over && walk->leading;
    uint64_t next = leads ? next_after(view, word, walk->ticket) : walk->ticket + 1;

    if (over || BROOD_MUTANT == MUTANT_HEAD_OVER_READING)
        follow(view, walk, next);
    walk->ticket = next;
    return leads ? 0 : 1;
}

/* STEP_TAKE: the wish is fulfilled; STEP_NOTHING, STEP_RESTART. */
static enum step walk_once(const struct cells_view *view, struct walk *walk, struct wish *wish)
{
    /* For tickets that are not over. One more than the ring has: that one is over, or is none
     * yet. */
    unsigned room = view->shape.count + 1;

    while (room > 0) {
        struct cell *cell = cell_of(view, walk->ticket);
        uint64_t word = atomic_load(&cell->word);
        enum step step = look_at(view, walk, cell, word);

        if (step == STEP_TAKE) {
            if (wish->to == NULL ? claim_message(cell, word, walk->ticket, wish)
                                 : copy_items(view, cell, word, walk->ticket, wish))
                return STEP_TAKE;
        } else if (step == STEP_ON) {
            room -= go_on(view, walk, word);
        } else if (step != STEP_AGAIN) {
            return step;
        }
    }
    /* Others were so fast that it led nowhere. */
    return STEP_RESTART;
}

static int fulfil(const struct cells_view *view, struct wish *wish, bool *out_pending)
{
    struct walk walk;

    for (unsigned i = 0; i < RESTARTS_MAX; i++) {
        enum step step;

        begin(view, &walk);
        step = walk_once(view, &walk, wish);
        if (step == STEP_TAKE)
            return wish->got;
        if (step == STEP_NOTHING) {
            *out_pending = walk.pending;
            return -EAGAIN;
        }
    }
    do_not_sleep(&view->shared->filled);
    *out_pending = true;
    return -EAGAIN;
}

int brood__cells_get(const struct cells_view *view, roster_tag me, struct cell_claim *claim,
                     bool *out_pending)
{
    struct wish wish = {.me = me, .claim = claim};

    return fulfil(view, &wish, out_pending);
}

int brood__cells_copy(const struct cells_view *view, char *to, size_t item_size, unsigned count,
                      bool *out_pending)
{
    struct wish wish = {.to = to, .item_size = item_size, .count = count};

    return fulfil(view, &wish, out_pending);
}

bool brood__cells_finish(const struct cells_view *view, const struct cell_claim *claim, bool gone)
{
    if (gone)
        return recycle(view, claim);
    if (!pass_to(claim, ownerless(claim->ticket, FULL, 0)))
        return false;
    bell_ring(&view->shared->filled);
    return true;
}

/* ---- questions ---- */

uint64_t brood__cells_end(const struct cells_view *view)
{
    uint64_t t = atomic_load_explicit(&view->shared->tail, memory_order_relaxed);
    uint64_t word = atomic_load(&cell_of(view, t)->word);

    while (claimed(word, t)) {
        /* Whatever is a lap before what is in a cell was claimed. */
        int64_t skip = ahead(word, t) - view->shape.count + 1;

        t += skip > 1 ? (uint64_t)skip : 1;
        word = atomic_load(&cell_of(view, t)->word);
    }
    return t;
}

bool brood__cells_has(const struct cells_view *view, uint64_t ticket)
{
    uint64_t tail = atomic_load_explicit(&view->shared->tail, memory_order_relaxed);

    return tail + 2 * (uint64_t)view->shape.count - ticket <= 4 * (uint64_t)view->shape.count;
}

bool brood__cells_roomy(const struct cells_view *view)
{
    uint64_t end = brood__cells_end(view);
    uint64_t word = atomic_load(&cell_of(view, end)->word);

    return ahead(word, end) == 0 && state_of(word) == EMPTY;
}

bool brood__cells_passed_all(const struct cells_view *view, uint64_t ticket)
{
    uint64_t t = first_live(view);

    /* What is before that is over, whatever a damaged tail says. */
    if (ticket - t > view->shape.count)
        t = ticket - view->shape.count;
    for (; t < ticket; t++) {
        struct cell *cell = cell_of(view, t);
        uint64_t word = atomic_load(&cell->word);

        if (ahead(word, t) <= 0 && state_of(word) != EMPTY &&
            !(state_of(word) == WRITING && repaired(view, cell, word)))
            return false;
    }
    return true;
}

bool brood__cells_passed(const struct cells_view *view, uint32_t low_ticket)
{
    uint64_t ticket = whole_ticket(view, low_ticket);
    struct cell *cell = cell_of(view, ticket);
    uint64_t word = atomic_load(&cell->word);

    if (ahead(word, ticket) != 0 || state_of(word) == EMPTY)
        return true;
    /* Here too, for who waits for memory and nothing else: nobody else may come by and see it. */
    return state_of(word) == WRITING && repaired(view, cell, word);
}

uint64_t brood__cells_size(const struct cells_view *view)
{
    uint64_t start = first_live(view);
    uint64_t size = 0;

    for (uint64_t t = start; t - start < view->shape.count; t++) {
        const struct cell *cell = cell_of(view, t);
        uint64_t word = atomic_load(&cell->word);
        uint32_t items = view->shape.pack == 1 ? 1 : load_items(cell);

        if (!claimed(word, t))
            break;
        if (ahead(word, t) == 0 && state_of(word) == FULL && items > first_of(word) &&
            items <= view->shape.pack)
            size += items - first_of(word);
    }
    return size;
}

bool brood__cells_ready(const struct cells_view *view)
{
    uint64_t start = first_live(view);

    for (uint64_t t = start; t - start < view->shape.count; t++) {
        struct cell *cell = cell_of(view, t);
        uint64_t word = atomic_load(&cell->word);

        if (!claimed(word, t))
            return false;
        if (ahead(word, t) == 0 && state_of(word) == FULL)
            return true;
        /* The message of a dead getter is back. */
        if (ahead(word, t) == 0 && state_of(word) == READING && repaired(view, cell, word))
            return true;
    }
    return false;
}

bool brood__cells_ended(const struct cells_view *view)
{
    return cells_closed(view) && brood__cells_passed_all(view, brood__cells_end(view));
}

void brood__cells_close(const struct cells_view *view)
{
    atomic_store(&view->shared->closed, 1);
    brood__bell_ring_out(&view->shared->filled);
    brood__bell_ring_out(&view->shared->room);
    brood__bell_ring_out(&view->shared->done);
}
