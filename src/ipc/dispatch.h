/* SPDX-License-Identifier: MIT */
/*
 * The shared memory between a pool and its workers: how a task finds a worker, and how the
 * news of its end finds the way back.
 *
 *      owner (the pool)                                     lane (one worker)
 *      publish --> ready rings: cell {ticket, owner, slot} <-- claim: one CAS
 *                  slots: the task's input, later its result
 *      drain  <-- done ring of each lane                   <-- finish
 *
 * The law: one word is the truth and names the owner, indexes are hints. A cell says READY, or
 * which lane TOOK it, or REVOKED; it leaves READY by one CAS only, so a task has one lane at
 * most. Heads and bitmaps may lag and anybody may advance or rebuild them. All bookkeeping is
 * private memory of the owner (struct dispatch); a lane can write only its CAS, its own struct
 * lane, the result part of its slot, and hints. The owner validates what it reads.
 *
 * What a death leaves
 *   lane dead before its CAS      nothing but hints
 *   after the CAS, before start   a cell TAKEN by it; its `running` is another id: queue it again
 *   while it runs                 `running` is the task's id: the task died with the lane
 *   after done_tail moved         the result is there; drain first, then look at `running`
 *   as a searcher or sleeper      its bits, which suppress or attract wakes: cleared by
 *                                 brood__lane_reset(), and the owner then wakes somebody
 *   owner dead                    the workers are killed; the memory goes with its last mapping
 * The owner repairs, under the pool's lock, after the death is certain (run/pool_repair.c), so
 * a lane's words are written by one process at a time.
 *
 * Stopping a running task never hits another: the owner writes kill_request and then reads
 * `running`, the lane writes `running` and then reads kill_request, both with a full fence in
 * between. So either the owner sees that the task is over and withdraws, or the lane waits
 * before it starts anything else.
 *
 * The same code runs between threads: it takes pointers to memory and asks nobody who is who.
 */
#ifndef BROOD_SRC_IPC_DISPATCH_H
#define BROOD_SRC_IPC_DISPATCH_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    RINGS = 3, /* of high, normal and low priority */
    LANES_MAX = 4093,
    SLOT_BITS = 20,
    SLOTS_MAX = 1 << SLOT_BITS,
    LANE_WORDS = 64, /* bitmaps of lanes */
    INLINE_IN_MAX = 64,
    INLINE_OUT_MAX = 64,
    MAIL_MAX = 64
};
#define NO_SLOT UINT32_MAX
#define LINE _Alignas(64)

enum slot_flags {
    SLOT_ITEMS = 1, /* call the function once for each of .count items */
    SLOT_TIMED = 2, /* note the time before each call */
    SLOT_FIXED = 4  /* the result has .out_size bytes, at .out or inline */
};
enum result_kind { RESULT_NONE = 0, RESULT_FIXED, RESULT_INLINE, RESULT_ARENA };

struct slot {
    /* Written by the owner before it publishes. */
    LINE uint64_t fn; /* address in the worker */
    uint64_t in;      /* offset of the input, or 0: inline */
    uint64_t in_len;
    uint64_t out; /* offset of the fixed result, or 0: inline */
    uint64_t out_size;
    uint64_t index;
    uint32_t count;
    uint16_t flags; /* enum slot_flags */
    uint16_t ring;  /* with the ticket, as the cell has it: the task's id */
    uint32_t ticket;
    uint32_t attempt;
    LINE unsigned char inline_in[INLINE_IN_MAX];
    /* Written by the lane before it finishes. */
    LINE int32_t verdict;
    uint32_t kind;   /* enum result_kind */
    uint64_t result; /* RESULT_ARENA: offset */
    uint64_t result_len;
    uint64_t items_done; /* of .count, before the one that failed */
    int64_t wall_ns, user_us, system_us;
    uint64_t peak_rss;
    LINE unsigned char inline_out[INLINE_OUT_MAX];
};

enum lane_state { LANE_EMPTY = 0, LANE_READY, LANE_FAILED, LANE_LEAVING };

struct lane {
    LINE _Atomic uint32_t wake; /* futex: the owner adds 1 */
    LINE _Atomic uint32_t done_tail;
    _Atomic uint32_t state;     /* enum lane_state */
    _Atomic int32_t open_error; /* of LANE_FAILED */
    _Atomic uint64_t running;   /* id of the task, or 0 */
    _Atomic uint64_t progress;  /* items of it that are done */
    _Atomic int64_t started_ns; /* of the call that runs */
    _Atomic uint32_t mail_tail;
    LINE _Atomic uint64_t kill_request; /* id of the task to stop, or 0 */
    _Atomic uint32_t stop;              /* leave after this task */
    _Atomic uint32_t mail_head;
    LINE _Atomic uint64_t mail[MAIL_MAX]; /* results that came back, for the lane's arena */
};

struct dispatch_shape {
    uint32_t lanes, slots; /* slots: a power of two */
};

struct dispatch_control {
    LINE uint64_t magic;
    uint32_t abi;
    struct dispatch_shape shape;
    LINE _Atomic uint64_t idle[LANE_WORDS];     /* lanes that sleep (hint) */
    LINE _Atomic uint64_t search[LANE_WORDS];   /* lanes that look for work (hint) */
    LINE _Atomic uint64_t finished[LANE_WORDS]; /* lanes with news (hint) */
    struct {
        LINE _Atomic uint32_t ticket;
    } head[RINGS];                     /* first ticket that may be READY (hint) */
    LINE _Atomic uint32_t owner_waits; /* a thread of the owner sleeps on owner_word */
    _Atomic uint32_t owner_word;       /* futex */
    LINE _Atomic uint32_t bell_armed;  /* write to the bell's descriptor once */
    LINE _Atomic uint64_t memory_left; /* bytes that results may take now */
};

/* Where the parts are; the same for both sides, from the base address of the memory. */
struct dispatch_view {
    struct dispatch_control *control;
    _Atomic uint64_t *cells; /* RINGS times ring_size, the normal ring first */
    struct slot *slots;
    struct lane *lanes;
    _Atomic uint32_t *done; /* lanes times slots */
    struct dispatch_shape shape;
    uint32_t ring_size;
    uint32_t lane_words;
};

/* Bytes that a dispatch of this shape needs. */
size_t brood__dispatch_size(struct dispatch_shape shape);
/* The first so many of them are needed at once; the rest as far as a ring other than the normal
 * one, or a slot, is used: [*OUT_START, + *OUT_LEN). */
size_t brood__dispatch_core_size(struct dispatch_shape shape);
void brood__dispatch_ring_part(struct dispatch_shape shape, unsigned ring, size_t *out_start,
                               size_t *out_len);
size_t brood__dispatch_slot_start(struct dispatch_shape shape, uint32_t slot);
/* MEMORY is aligned to 64. */
void brood__dispatch_view(struct dispatch_view *out_view, void *memory,
                          struct dispatch_shape shape);

/* ---- owner; all calls under the pool's lock ---- */

struct dispatch_entry {
    uint32_t ticket;
    uint16_t owner; /* lane + 1 as far as the cell was reused; else ask the cell */
    uint8_t ring;
    bool live; /* published and not yet taken back */
};

struct dispatch {
    struct dispatch_view view;
    struct dispatch_entry *entries; /* one for each slot */
    uint32_t *done_heads;           /* one for each lane */
    uint32_t tails[RINGS];
};

/* Lays out zeroed MEMORY. Tickets start at FIRST_TICKET; tests start near the wrap, and pools at
 * the size of a ring, which needs no cell to be written. */
int brood__dispatch_init(struct dispatch *dispatch, void *memory, struct dispatch_shape shape,
                         uint32_t first_ticket);
void brood__dispatch_done(struct dispatch *dispatch);

/* Gives SLOT to whichever lane claims it. False: the ring is full, not published. */
bool brood__dispatch_publish(struct dispatch *dispatch, uint32_t slot, unsigned ring);
/* The lane to wake after publishing, or -1; its idle bit is cleared. Wake it unlocked. */
int brood__dispatch_wake_pick(struct dispatch *dispatch);
/* The same although somebody searches: a searcher may be stopped, by SIGSTOP or a debugger. */
int brood__dispatch_wake_idle(struct dispatch *dispatch);
void brood__lane_wake(struct dispatch_view *view, uint32_t lane);
/* Whether some cell is READY. */
bool brood__dispatch_has_ready(const struct dispatch_view *view);
/* True: SLOT was READY and will not start. False: a lane has it. */
bool brood__dispatch_revoke(struct dispatch *dispatch, uint32_t slot);
/* The lane that has a live SLOT, or -1: nobody yet. */
int brood__dispatch_lane_of(const struct dispatch *dispatch, uint32_t slot);
/* Lanes of word WORD with news since the last call. */
uint64_t brood__dispatch_take_finished(struct dispatch *dispatch, uint32_t word);
/* Takes one finished slot of LANE: true and *OUT_SLOT, which is no longer live. False: none.
 * *OUT_BROKEN is set when the lane's words make no sense: kill it. */
bool brood__dispatch_drain(struct dispatch *dispatch, uint32_t lane, uint32_t *out_slot,
                           bool *out_broken);
/* The name of a live task in lane->running. */
uint64_t brood__dispatch_id(const struct dispatch *dispatch, uint32_t slot);
/* The live slot that LANE runs, or NO_SLOT. */
uint32_t brood__dispatch_running(const struct dispatch *dispatch, uint32_t lane);
/* The kill fence: true: LANE runs SLOT and will start nothing else; kill it. False: withdrawn. */
bool brood__dispatch_kill(struct dispatch *dispatch, uint32_t lane, uint32_t slot);
/* After the death of its lane: SLOT is no longer live. */
void brood__dispatch_take_back(struct dispatch *dispatch, uint32_t slot);
/* After the death of its process: LANE as new. */
void brood__lane_reset(struct dispatch *dispatch, uint32_t lane);
/* After a death and its repair: wakes all lanes, as the dead one may have owed a wake to any. */
void brood__dispatch_heal(struct dispatch_view *view);
/* After a death: a head that is beyond what was published, as only a lane gone mad writes it, goes
 * back to the oldest task that may be ready. */
void brood__dispatch_heal_heads(struct dispatch *dispatch);
/* Tells LANE's arena that the result at OFFSET came back. False: its mailbox is full. */
bool brood__lane_mail(struct dispatch_view *view, uint32_t lane, uint64_t offset);

/* ---- lane ---- */

struct lane_self {
    struct dispatch_view view;
    struct lane *lane;
    uint32_t index;
    uint32_t spins;      /* how long to look for work before sleeping; 0 on one CPU */
    int bell;            /* eventfd, or -1 */
    uint64_t bell_inode; /* what it is, or 0: nobody closes it */
    int64_t now;         /* the time, if it was read a moment ago; else 0 */
};

/* The next task: claimed, not started. Waits for it. NO_SLOT: asked to stop. */
uint32_t brood__lane_next(struct lane_self *self);
/* One try. NO_SLOT: nothing is ready. */
uint32_t brood__lane_claim(struct lane_self *self);
/* Before the task's first call: from now on it may be killed. Waits while another one is. */
void brood__lane_start(struct lane_self *self, uint32_t slot);
/* After the result is in the slot: publishes it and tells the owner. */
void brood__lane_finish(struct lane_self *self, uint32_t slot);
/* Sets the lane's state and tells the owner. */
void brood__lane_announce(struct lane_self *self, enum lane_state state, int open_error);
/* A result that came back from the owner, or 0. */
uint64_t brood__lane_mail_take(struct lane_self *self);

/* ---- both ---- */

/* A cell: {ticket:32 | owner:12 | slot:20}. The owner is a lane + 1, or one of these. A zeroed
 * cell is one that was never used. */
enum { CELL_UNUSED = 0, CELL_READY = 0xffe, CELL_REVOKED = 0xfff };
static inline uint64_t cell_make(uint32_t ticket, uint32_t owner, uint32_t slot)
{
    return (uint64_t)ticket << 32 | (uint64_t)owner << SLOT_BITS | slot;
}
static inline uint32_t cell_ticket(uint64_t cell)
{
    return (uint32_t)(cell >> 32);
}
static inline uint32_t cell_owner(uint64_t cell)
{
    return (uint32_t)(cell >> SLOT_BITS) & 0xfff;
}
static inline uint32_t cell_slot(uint64_t cell)
{
    return (uint32_t)cell & (SLOTS_MAX - 1);
}
/* A task's id: {ticket:32 | ring:2 | slot:20} + 1, never 0. */
static inline uint64_t task_id(uint32_t ticket, unsigned ring, uint32_t slot)
{
    return ((uint64_t)ticket << (SLOT_BITS + 2) | (uint64_t)ring << SLOT_BITS | slot) + 1;
}
/* Where a ring is among the rings: 1, the normal one, comes first. */
static inline unsigned ring_place(unsigned ring)
{
    return (ring + RINGS - 1) % RINGS;
}
static inline _Atomic uint64_t *ring_cell(const struct dispatch_view *view, unsigned ring,
                                          uint32_t ticket)
{
    return &view->cells[(size_t)ring_place(ring) * view->ring_size +
                        (ticket & (view->ring_size - 1))];
}

#endif
