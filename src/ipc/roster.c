/* SPDX-License-Identifier: MIT */
/*
 * The roster: life locks, tags and burials.
 *
 *     slot:   free ----------join----------> held ---leave---> free
 *             generation even                odd               even
 *                                             |
 *                                             +-- the thread is gone: the kernel sets OWNER_DIED in
 *                                                 the life word; whoever notices buries it
 *
 * The life lock is locked by trylock only, and unlocked by leave only; nobody ever waits in libc
 * for it. Others read its word: a thread id means alive, 0 or OWNER_DIED not. Its place in a
 * pthread_mutex_t is looked up once, by locking one and looking what changes to our thread id.
 *
 * Alive is a tag whose slot has its generation, whose life word says so, and names the thread that
 * .tid does: so no joiner that has just locked a dead slot makes the old tag live. Who leaves sets
 * .tid to 0 first: from then on its tag is dead, but it is no death.
 *
 * A burial is three steps in one word for the whole roster, {deaths:36 | tag:28}: the tag goes in
 * and the count up; then the generation becomes even and everybody is told; then the tag goes out.
 * Whoever finds a tag there, after looking at all slots, does the rest. So each death counts once,
 * and a death that no slot shows any more has been told to everybody, whoever was killed meanwhile.
 * Who had said farewell is buried in the same way, but the count stays as it is.
 *
 * Deaths: a joiner or leaver killed anywhere leaves a lock marked OWNER_DIED, which the next joiner
 * takes over; if its generation is odd, that was a death. A joiner is watched by nobody: it buries
 * the last holder before it locks the slot. Who is told of a death by the kernel, and how all
 * others are, is in ipc/roster_sleep.c.
 *
 * Orders: all accesses are sequentially consistent unless said otherwise. .moment is read before
 * the look at what is waited for, and changed after what it tells about: a sleeper sees either the
 * change, or another .moment than it read, and does not sleep. pid, tid and note are stored before
 * the generation that they belong to, and loaded after it or checked against it again.
 */
#include "ipc/roster_inside.h"

#include "sys/kernel.h"

#include <brood/base.h>

#include <errno.h>
#include <string.h>
#include <unistd.h>

enum {
    GENERATION_SHIFT = 12,
    GENERATION_MASK = 0xffff,
    FIRST_SLOTS = 64,
    LIBC_IS_GLIBC = 1,
    NOT_KNOWN = 0,
    LAYOUT = 3, /* of what lies in shared memory; any change counts it up */
    EVERYBODY = 0x7fffffff
};
#define TAG_MASK (((uint64_t)1 << TAG_BITS) - 1)
#define DEATH_ONE ((uint64_t)1 << TAG_BITS)

/* Mutants that the crash sweeps must catch; see tests/ipc/test_roster_kill.c. */
#define MUTANT_SILENT_JOIN 91
#define MUTANT_SILENT_BURIAL 92
#define MUTANT_BURIES_BEFORE_TELLING 95
#define MUTANT_LEAVES_BEFORE_TELLING 96
#ifndef BROOD_MUTANT
#define BROOD_MUTANT 0
#endif

/* ---- the life word ---- */

static _Atomic size_t life_place; /* 1 + offset; NOT_KNOWN at first; SIZE_MAX: there is none */

static int new_life(pthread_mutex_t *life)
{
    pthread_mutexattr_t attributes;
    int r = pthread_mutexattr_init(&attributes);

    if (r != 0)
        return -r;
    r = pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    if (r == 0)
        r = pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
    if (r == 0)
        r = pthread_mutex_init(life, &attributes);
    (void)pthread_mutexattr_destroy(&attributes);
    return -r;
}

/* The kernel finds the word by an offset that libc gave it, and nobody else: so look. It is the
 * first that is 0 in a free lock and our thread id in a locked one; its type may be any number. Two
 * threads that come here at once find the same. */
static size_t look_for_life_word(void)
{
    pthread_mutex_t mutex;
    int32_t before[sizeof mutex / sizeof(int32_t)] = {0}, locked[sizeof mutex / sizeof(int32_t)];
    int32_t tid = (int32_t)gettid();
    size_t place = SIZE_MAX;

    memset(&mutex, 0, sizeof mutex);
    if (new_life(&mutex) != 0)
        return SIZE_MAX;
    memcpy(before, &mutex, sizeof before);
    if (pthread_mutex_lock(&mutex) != 0)
        return SIZE_MAX;
    memcpy(locked, &mutex, sizeof locked);
    for (size_t i = 0; i < sizeof locked / sizeof locked[0] && place == SIZE_MAX; i++)
        if (before[i] == 0 && locked[i] == tid)
            place = 1 + i * sizeof locked[0];
    (void)pthread_mutex_unlock(&mutex);
    (void)pthread_mutex_destroy(&mutex);
    return place;
}

/* SIZE_MAX: this libc has no such word. Relaxed: the number is all there is to see. */
static size_t life_offset(void)
{
    size_t place = atomic_load_explicit(&life_place, memory_order_relaxed);

    if (place == NOT_KNOWN) {
        place = look_for_life_word();
        atomic_store_explicit(&life_place, place, memory_order_relaxed);
    }
    return place == SIZE_MAX ? SIZE_MAX : place - 1;
}

_Atomic uint32_t *brood__roster_life(const struct roster *roster, unsigned index)
{
    return (_Atomic uint32_t *)((uintptr_t)&roster->slot[index].life + life_offset());
}

/* ---- the roster as a whole ---- */

size_t brood__roster_len(unsigned slots)
{
    return sizeof(struct roster) + slots * sizeof(struct roster_slot);
}

uint32_t brood__roster_abi(void)
{
    uint32_t abi = LAYOUT << 24 | (uint32_t)sizeof(struct roster_slot) << 8;

#ifdef __GLIBC__
    abi |= LIBC_IS_GLIBC << 7;
#endif
    return abi | (uint32_t)(life_offset() & 0x7f);
}

void brood__roster_init(struct roster *roster, unsigned slots)
{
    pthread_mutex_t life;

    memset(&life, 0, sizeof life);
    (void)new_life(&life);
    for (unsigned i = 0; i < slots; i++)
        memcpy(&roster->slot[i].life, &life, sizeof life);
    roster->slots = slots;
    roster->slots_inverted = ~slots;
}

/* As brood__roster_init() wrote it; 0: it is damaged. Each word is read once: others may write to
 * them at any time, and the number that was checked is the one that is used. */
static unsigned slots_of(const struct roster *roster)
{
    uint32_t slots = *(const volatile uint32_t *)&roster->slots;
    uint32_t inverted = *(const volatile uint32_t *)&roster->slots_inverted;

    return slots == ~inverted && slots <= ROSTER_SLOTS_MAX ? slots : 0;
}

unsigned brood__roster_check(const struct roster *roster, size_t len)
{
    unsigned slots;

    if (len < sizeof *roster || life_offset() == SIZE_MAX)
        return 0;
    slots = slots_of(roster);
    return brood__roster_len(slots) <= len ? slots : 0;
}

unsigned brood__roster_reach(const struct roster *roster)
{
    uint32_t reach = atomic_load_explicit(&roster->reach, memory_order_acquire);
    unsigned slots = slots_of(roster);

    return reach < slots ? reach : slots;
}

uint32_t brood__roster_moment(const struct roster *roster)
{
    return atomic_load(&roster->moment);
}

uint32_t brood__roster_deaths(const struct roster *roster)
{
    return (uint32_t)(atomic_load(&roster->burial) >> TAG_BITS);
}

static void tell_everybody(struct roster *roster)
{
    atomic_fetch_add(&roster->moment, 1);
    brood__futex_wake(&roster->moment, EVERYBODY);
}

/* ---- tags ---- */

static bool slot_of(const struct roster *roster, roster_tag tag, unsigned *out_index)
{
    unsigned index = (tag & SLOT_MASK) - 1;

    if (index >= brood__roster_reach(roster))
        return false;
    *out_index = index;
    return true;
}

/* Of a slot that is held, so with an odd generation. */
static roster_tag tag_of(unsigned index, uint32_t generation)
{
    return (generation >> 1 & GENERATION_MASK) << GENERATION_SHIFT | ((uint32_t)index + 1);
}

static bool is_held(uint32_t generation)
{
    return (generation & 1) != 0;
}

static bool holds(const struct roster *roster, unsigned index, roster_tag tag)
{
    uint32_t generation = atomic_load(&roster->slot[index].generation);

    return is_held(generation) && tag_of(index, generation) == tag;
}

/* Between the lock of a joiner and its .tid the word names one thread and .tid another. */
static bool names_same_thread(uint32_t word, int32_t tid)
{
    return word_alive(word) && (int32_t)(word & FUTEX_TID_MASK) == tid;
}

bool brood__roster_alive(const struct roster *roster, roster_tag tag)
{
    unsigned index;
    uint32_t word;

    if (!slot_of(roster, tag, &index))
        return false;
    word = atomic_load(brood__roster_life(roster, index));
    return names_same_thread(word, atomic_load(&roster->slot[index].tid)) &&
           holds(roster, index, tag);
}

/* ---- deaths ---- */

/* The second and the third step of a burial. By any number of processes at once. */
static void end_burial(struct roster *roster, uint64_t burial)
{
    roster_tag tag = (roster_tag)(burial & TAG_MASK);
    unsigned index;

    if (slot_of(roster, tag, &index)) {
        uint32_t generation = atomic_load(&roster->slot[index].generation);

        /* As long as BURIAL is there, nobody can have joined that slot. */
        if (is_held(generation) && tag_of(index, generation) == tag &&
            atomic_load(&roster->burial) == burial)
            (void)atomic_compare_exchange_strong(&roster->slot[index].generation, &generation,
                                                 generation + 1);
    }
#if BROOD_MUTANT == MUTANT_BURIES_BEFORE_TELLING
    (void)atomic_compare_exchange_strong(&roster->burial, &burial, burial & ~TAG_MASK);
#endif
#if BROOD_MUTANT != MUTANT_SILENT_BURIAL
    tell_everybody(roster);
#endif
    (void)atomic_compare_exchange_strong(&roster->burial, &burial, burial & ~TAG_MASK);
}

bool brood__roster_end_burial(struct roster *roster)
{
    uint64_t burial = atomic_load(&roster->burial);

    if ((burial & TAG_MASK) == 0)
        return false;
    end_burial(roster, burial);
    return true;
}

/* Whether the one that holds the slot with this generation is gone. The generation is looked at
 * again last: it is another one if word and tid are of two holders. */
static bool holder_is_gone(const struct roster *roster, unsigned index, uint32_t generation)
{
    int32_t tid = atomic_load(&roster->slot[index].tid);
    uint32_t word = atomic_load(brood__roster_life(roster, index));

    if (atomic_load(&roster->slot[index].generation) != generation)
        return false;
    /* Alive with tid 0: it is leaving. */
    return !word_alive(word) || (tid != 0 && !names_same_thread(word, tid));
}

/* The word of a burial that begins. A farewell was said by a thread that was alive, in the process
 * of the one that is gone, so it was stored before the kernel marked the life word, and whoever has
 * seen that mark sees it. */
static uint64_t burial_of(const struct roster *roster, unsigned index, uint32_t generation,
                          uint64_t last)
{
    bool is_news = atomic_load(&roster->slot[index].farewell) != generation;

    return ((last & ~TAG_MASK) + (is_news ? DEATH_ONE : 0)) | tag_of(index, generation);
}

/* If the CAS succeeds, nobody has been counted since BURIAL was read, so if this
 * one is to be counted it was not yet. One that said farewell may be buried twice, as the word came
 * back to what it was; the second time finds another generation and changes nothing. */
bool brood__roster_bury(struct roster *roster, unsigned index, bool mine)
{
    for (;;) {
        uint64_t burial = atomic_load(&roster->burial);
        uint32_t generation = atomic_load(&roster->slot[index].generation);
        uint64_t next;

        if (!is_held(generation) || !(mine || holder_is_gone(roster, index, generation)))
            return false;
        next = burial_of(roster, index, generation, burial);
        if ((burial & TAG_MASK) != 0) {
            end_burial(roster, burial);
        } else if (atomic_compare_exchange_strong(&roster->burial, &burial, next)) {
            end_burial(roster, next);
            return true;
        }
    }
}

void brood__roster_look(struct roster *roster)
{
    unsigned reach = brood__roster_reach(roster);

    for (unsigned i = 0; i < reach; i++)
        (void)brood__roster_bury(roster, i, false);
    (void)brood__roster_end_burial(roster);
}

bool brood__roster_who(const struct roster *roster, roster_tag tag, int *out_pid, int *out_tid)
{
    const struct roster_slot *slot;
    unsigned index;
    uint32_t generation;

    if (!slot_of(roster, tag, &index))
        return false;
    slot = &roster->slot[index];
    *out_pid = atomic_load(&slot->pid);
    *out_tid = atomic_load(&slot->tid);
    generation = atomic_load(&slot->generation);
    /* An even one: its last holder is buried or has left, and nobody has the slot yet. */
    return generation != 0 && tag_of(index, generation - !is_held(generation)) == tag;
}

void brood__roster_note(struct roster *roster, roster_tag tag, uint64_t note)
{
    atomic_store(&roster->slot[(tag & SLOT_MASK) - 1].note, note);
}

/* Whether the one that left NOTE in the slot is dead. Life word and .tid count only if they are of
 * one holder, so the generation must be the same before and after them. Who leaves is no death: its
 * note is gone before its .tid is 0, so whoever has seen that 0 finds no NOTE afterwards. */
static bool is_dead_with_note(const struct roster *roster, unsigned index, uint64_t note)
{
    const struct roster_slot *slot = &roster->slot[index];

    while (atomic_load(&slot->note) == note) {
        uint32_t generation = atomic_load(&slot->generation);
        int32_t tid = atomic_load(&slot->tid);
        bool alive = names_same_thread(atomic_load(brood__roster_life(roster, index)), tid);

        if (atomic_load(&slot->note) == note && atomic_load(&slot->generation) == generation)
            return !alive;
    }
    return false;
}

bool brood__roster_dead_note(struct roster *roster, uint64_t note)
{
    unsigned reach = brood__roster_reach(roster);

    for (unsigned i = 0; i < reach; i++)
        if (is_dead_with_note(roster, i, note))
            return true;
    return false;
}

void brood__roster_forget_notes(struct roster *roster, uint64_t first, uint64_t last)
{
    unsigned reach = brood__roster_reach(roster);

    for (unsigned i = 0; i < reach; i++) {
        uint64_t note = atomic_load(&roster->slot[i].note);

        /* By CAS: another note that comes meanwhile is not ours to take away. */
        if (note >= first && note <= last)
            (void)atomic_compare_exchange_strong(&roster->slot[i].note, &note, 0);
    }
}

/* ---- joining ---- */

/* Where libc keeps the robust mutexes of this thread, and how far from there their words are:
 * written when it has joined. A forked child has them at the same addresses. */
static _Thread_local struct robust_list_head *robust_locks;
static _Thread_local long robust_offset;

static void note_robust_locks(void)
{
    if (robust_locks == NULL)
        robust_locks = brood__robust_list();
    if (robust_locks != NULL)
        robust_offset = robust_locks->futex_offset;
}

static void raise_reach(struct roster *roster, uint32_t reach)
{
    uint32_t old = atomic_load(&roster->reach);

    while (old < reach && !atomic_compare_exchange_weak(&roster->reach, &old, reach))
        continue;
}

/* The slot is ours if nobody alive has it. Its last holder may have died unnoticed, and is buried
 * before we are in its place: then its death still shows if we are killed. */
static bool take_slot(struct roster *roster, unsigned index)
{
    struct roster_slot *slot = &roster->slot[index];
    int r;

    raise_reach(roster, index + 1);
    (void)brood__roster_bury(roster, index, false);
    r = pthread_mutex_trylock(&slot->life);
    if (r != 0 && r != EOWNERDEAD)
        return false;
    if (r == EOWNERDEAD)
        (void)pthread_mutex_consistent(&slot->life);
    (void)brood__roster_bury(roster, index, true);
    return true;
}

/* A dead slot with a note is left for those who wait for that one, as long as there are others. */
static bool worth_taking(const struct roster *roster, unsigned index, bool noted_too)
{
    if (word_alive(atomic_load_explicit(brood__roster_life(roster, index), memory_order_relaxed)))
        return false;
    return noted_too || atomic_load_explicit(&roster->slot[index].note, memory_order_relaxed) == 0;
}

/* One of the first so many slots, in turn; -EAGAIN: none. */
static int find_slot_among(struct roster *roster, unsigned slots, unsigned start, bool noted_too)
{
    for (unsigned i = 0; i < slots; i++) {
        unsigned index = (start + i) % slots;

        if (worth_taking(roster, index, noted_too) && take_slot(roster, index))
            return (int)index;
    }
    return -EAGAIN;
}

/* Among the first ones, so that sleepers have few to watch, but among enough of them that none is
 * taken again soon. */
static int find_slot(struct roster *roster, unsigned slots)
{
    unsigned start = atomic_fetch_add(&roster->next, 1);
    int index = -EAGAIN;

    for (unsigned among = FIRST_SLOTS; index < 0 && among < slots; among *= 4)
        index = find_slot_among(roster, among, start, false);
    if (index < 0)
        index = find_slot_among(roster, slots, start, false);
    return index >= 0 ? index : find_slot_among(roster, slots, start, true);
}

int brood__roster_join(struct roster *roster, roster_tag *out_tag)
{
    unsigned slots = slots_of(roster);
    struct roster_slot *slot;
    uint32_t generation;
    int index;

    if (slots == 0 || life_offset() == SIZE_MAX)
        return BROOD_EABI;
    index = find_slot(roster, slots);
    if (index < 0)
        return index;
    slot = &roster->slot[index];
    note_robust_locks();
    atomic_store(&slot->pid, (int32_t)getpid());
    atomic_store(&slot->tid, (int32_t)gettid());
    atomic_store(&slot->note, 0);
    generation = atomic_fetch_add(&slot->generation, 1) + 1;
    /* Before the first operation: from now on every sleeper watches us too. */
#if BROOD_MUTANT != MUTANT_SILENT_JOIN
    tell_everybody(roster);
#endif
    *out_tag = tag_of((unsigned)index, generation);
    return 0;
}

/* Killed before everybody is told, it is a death, and its generation shows that. */
void brood__roster_leave(struct roster *roster, roster_tag tag)
{
    unsigned index = (tag & SLOT_MASK) - 1;
    struct roster_slot *slot = &roster->slot[index];
    bool mine = holds(roster, index, tag);

    atomic_store(&slot->note, 0);
#if BROOD_MUTANT == MUTANT_LEAVES_BEFORE_TELLING
    if (mine)
        (void)atomic_fetch_add(&slot->generation, 1);
    mine = false;
#endif
    atomic_store(&slot->tid, 0);
    tell_everybody(roster);
    if (mine)
        (void)atomic_fetch_add(&slot->generation, 1);
    (void)pthread_mutex_unlock(&slot->life);
}

void brood__roster_farewell(struct roster *roster, roster_tag tag)
{
    unsigned index;
    uint32_t generation;

    if (!slot_of(roster, tag, &index))
        return;
    generation = atomic_load(&roster->slot[index].generation);
    if (is_held(generation) && tag_of(index, generation) == tag)
        atomic_store(&roster->slot[index].farewell, generation);
}

/* ---- forked children ---- */

/* musl leaves the parent's list in the child, whose next lock would be put into it: into the
 * parent's locks, in shared memory. (glibc empties it.) Locks of the child's own are in front, and
 * stay. */
void brood__roster_forked(void)
{
    struct robust_list_head *head = robust_locks;
    uintptr_t node = head == NULL ? 0 : (uintptr_t)head->list.next;
    uint32_t word;

    if (head == NULL || node == (uintptr_t)head)
        return;
    word = *(const volatile uint32_t *)(node + (uintptr_t)robust_offset);
    if ((word & FUTEX_TID_MASK) != (uint32_t)gettid())
        head->list.next = &head->list;
}

static void renew_slot(struct roster *roster, unsigned index, bool keep)
{
    struct roster_slot *slot = &roster->slot[index];

    (void)new_life(&slot->life);
    if (keep) {
        (void)pthread_mutex_trylock(&slot->life);
        atomic_store(&slot->pid, (int32_t)getpid());
        atomic_store(&slot->tid, (int32_t)gettid());
    } else if (is_held(atomic_load(&slot->generation))) {
        atomic_fetch_add(&slot->generation, 1);
    }
}

void brood__roster_inherit(struct roster *roster, roster_tag keep)
{
    unsigned reach = brood__roster_reach(roster);

    for (unsigned i = 0; i < reach; i++)
        renew_slot(roster, i, i + 1 == (keep & SLOT_MASK) && holds(roster, i, keep));
    (void)atomic_fetch_and(&roster->burial, ~TAG_MASK);
}
