/* SPDX-License-Identifier: MIT */
/*
 * The roster: life locks, tags, and sleeping with an eye on everybody.
 *
 *     slot:   free ----------join----------> held ---leave---> free
 *             generation even                odd               even
 *                                             |
 *                                             +-- the thread is gone: the kernel sets OWNER_DIED in
 *                                                 the life word; whoever notices makes the
 *                                                 generation even (the burial) and wakes everybody
 *
 * The life lock is locked by trylock only, and unlocked by leave only; nobody ever waits in libc for
 * it. Others read its word: a thread id means alive, 0 or OWNER_DIED not. Its place in a
 * pthread_mutex_t is looked up once, by locking one and looking for our thread id.
 *
 * What always holds
 *   - A tag has an odd generation, and is alive as long as its slot has the same one and the life word
 *     says so. So a slot that is being joined (locked, generation still even) makes no old tag live.
 *   - Every change that a sleeper may have to know (a join, a burial, a leave) increments .moment and
 *     wakes all who sleep with it.
 *
 * Deaths: a joiner killed anywhere leaves a lock marked OWNER_DIED, which the next joiner takes over.
 * Killed between burial and wake, the burier is itself a death that every sleeper watches. The kernel
 * wakes one watcher of a death; that one looks through the roster and wakes the rest, and if it is
 * killed before, its own death wakes the next.
 *
 * Orders: the generation is stored with release after pid, tid and note, and loaded with acquire
 * before them. .moment is sequentially consistent with everything a sleeper looks at: it is read
 * before the look, and changed after what it tells about.
 */
#include "ipc/roster.h"

#include "base/clock.h"
#include "sys/kernel.h"

#include <brood/base.h>

#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

enum {
    GENERATION_SHIFT = 12,
    SLOT_MASK = 0xfff,
    GENERATION_MASK = 0xffff,
    WATCHED_MAX = 120,
    LIBC_IS_GLIBC = 1,
    LAYOUT = 1, /* of what lies in shared memory; any change counts it up */
    EVERYBODY = 0x7fffffff
};
#define HEARTBEAT_NS 50000000

struct roster_slot {
    _Alignas(64) pthread_mutex_t life;
    _Atomic uint32_t generation;
    _Atomic int32_t pid, tid;
    _Atomic uint64_t note;
};

struct roster {
    _Alignas(64) uint32_t slots;
    _Atomic uint32_t moment;
    _Atomic uint32_t deaths;
    _Atomic uint32_t next;  /* where the next joiner looks first; a hint */
    _Atomic uint32_t reach; /* no slot from here on was ever joined */
    struct roster_slot slot[];
};

/* ---- the life word ---- */

static pthread_once_t looked = PTHREAD_ONCE_INIT;
static size_t life_offset; /* written once, under LOOKED */

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

/* The kernel finds the word by an offset that libc gave it, and nobody else: so look. */
static void look_for_life_word(void)
{
    pthread_mutex_t mutex;
    int32_t tid = (int32_t)gettid();
    int32_t word;

    life_offset = SIZE_MAX;
    if (new_life(&mutex) != 0 || pthread_mutex_lock(&mutex) != 0)
        return;
    for (size_t i = 0; i + sizeof word <= sizeof mutex && life_offset == SIZE_MAX;
         i += sizeof word) {
        memcpy(&word, (const char *)&mutex + i, sizeof word);
        if (word == tid)
            life_offset = i;
    }
    (void)pthread_mutex_unlock(&mutex);
    (void)pthread_mutex_destroy(&mutex);
}

static _Atomic uint32_t *life_word(const struct roster *roster, unsigned index)
{
    return (_Atomic uint32_t *)((uintptr_t)&roster->slot[index].life + life_offset);
}

static bool word_alive(uint32_t word)
{
    return (word & FUTEX_TID_MASK) != 0 && (word & FUTEX_OWNER_DIED) == 0;
}

/* ---- the roster as a whole ---- */

size_t brood__roster_len(unsigned slots)
{
    return sizeof(struct roster) + slots * sizeof(struct roster_slot);
}

uint32_t brood__roster_abi(void)
{
    uint32_t abi = LAYOUT << 24 | (uint32_t)sizeof(struct roster_slot) << 8;

    (void)pthread_once(&looked, look_for_life_word);
#ifdef __GLIBC__
    abi |= LIBC_IS_GLIBC << 7;
#endif
    return abi | (uint32_t)(life_offset & 0x7f);
}

void brood__roster_init(struct roster *roster, unsigned slots)
{
    pthread_mutex_t life;

    (void)pthread_once(&looked, look_for_life_word);
    memset(&life, 0, sizeof life);
    (void)new_life(&life);
    for (unsigned i = 0; i < slots; i++)
        memcpy(&roster->slot[i].life, &life, sizeof life);
    roster->slots = slots;
}

unsigned brood__roster_check(const struct roster *roster, size_t len)
{
    uint32_t slots;

    if (len < sizeof *roster)
        return 0;
    slots = *(const volatile uint32_t *)&roster->slots;
    (void)pthread_once(&looked, look_for_life_word);
    if (slots == 0 || slots > ROSTER_SLOTS_MAX || brood__roster_len(slots) > len ||
        life_offset == SIZE_MAX)
        return 0;
    return slots;
}

/* Slots that anybody may have; whatever the shared words say, no more than fit. */
static unsigned reach_of(const struct roster *roster)
{
    uint32_t reach = atomic_load_explicit(&roster->reach, memory_order_acquire);
    uint32_t slots = roster->slots;

    if (slots > ROSTER_SLOTS_MAX)
        slots = 0;
    return reach < slots ? reach : slots;
}

uint32_t brood__roster_moment(const struct roster *roster)
{
    return atomic_load(&roster->moment);
}

uint32_t brood__roster_deaths(const struct roster *roster)
{
    return atomic_load(&roster->deaths);
}

static void tell_everybody(struct roster *roster)
{
    atomic_fetch_add(&roster->moment, 1);
    brood__futex_wake(&roster->moment, EVERYBODY);
}

/* ---- deaths ---- */

/* True: this call was the one that did it. */
static bool bury(struct roster *roster, unsigned index)
{
    struct roster_slot *slot = &roster->slot[index];
    uint32_t generation = atomic_load(&slot->generation);

    if ((generation & 1) == 0 || word_alive(atomic_load(life_word(roster, index))))
        return false;
    if (!atomic_compare_exchange_strong(&slot->generation, &generation, generation + 1))
        return false;
    atomic_fetch_add(&roster->deaths, 1);
    tell_everybody(roster);
    return true;
}

/* True: somebody had died. */
static bool look(struct roster *roster)
{
    unsigned reach = reach_of(roster);
    bool any = false;

    for (unsigned i = 0; i < reach; i++)
        if (!word_alive(atomic_load_explicit(life_word(roster, i), memory_order_acquire)))
            any = bury(roster, i) || any;
    return any;
}

void brood__roster_look(struct roster *roster)
{
    (void)look(roster);
}

static bool slot_of(const struct roster *roster, roster_tag tag, unsigned *out_index)
{
    unsigned index = (tag & SLOT_MASK) - 1;

    if (index >= reach_of(roster))
        return false;
    *out_index = index;
    return true;
}

static uint32_t generation_of(roster_tag tag)
{
    return tag >> GENERATION_SHIFT & GENERATION_MASK;
}

static bool same_generation(const struct roster_slot *slot, roster_tag tag)
{
    return (atomic_load(&slot->generation) & GENERATION_MASK) == generation_of(tag);
}

bool brood__roster_alive(const struct roster *roster, roster_tag tag)
{
    const struct roster_slot *slot;
    unsigned index;
    uint32_t word;

    if (!slot_of(roster, tag, &index) || (generation_of(tag) & 1) == 0)
        return false;
    slot = &roster->slot[index];
    word = atomic_load(life_word(roster, index));
    /* The next holder locks the life lock first and changes .tid and the generation after that. In
     * between the word names one thread and .tid another: ours is dead. */
    return word_alive(word) && (int32_t)(word & FUTEX_TID_MASK) == atomic_load(&slot->tid) &&
           same_generation(slot, tag);
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
    generation = atomic_load(&slot->generation) & GENERATION_MASK;
    /* One more: it was buried, and nobody has the slot yet. */
    return generation == generation_of(tag) ||
           generation == ((generation_of(tag) + 1) & GENERATION_MASK);
}

void brood__roster_note(struct roster *roster, roster_tag tag, uint64_t note)
{
    atomic_store(&roster->slot[(tag & SLOT_MASK) - 1].note, note);
}

bool brood__roster_dead_note(struct roster *roster, uint64_t note)
{
    unsigned reach = reach_of(roster);

    for (unsigned i = 0; i < reach; i++)
        if (atomic_load(&roster->slot[i].note) == note &&
            !word_alive(atomic_load(life_word(roster, i))))
            return true;
    return false;
}

/* ---- joining ---- */

static void raise_reach(struct roster *roster, uint32_t reach)
{
    uint32_t old = atomic_load(&roster->reach);

    while (old < reach && !atomic_compare_exchange_weak(&roster->reach, &old, reach))
        continue;
}

/* The slot is ours if nobody alive has it. Its last holder may have died unnoticed. */
static bool take_slot(struct roster *roster, unsigned index)
{
    struct roster_slot *slot = &roster->slot[index];
    int r;

    raise_reach(roster, index + 1);
    r = pthread_mutex_trylock(&slot->life);
    if (r != 0 && r != EOWNERDEAD)
        return false;
    if (r == EOWNERDEAD)
        (void)pthread_mutex_consistent(&slot->life);
    if ((atomic_load(&slot->generation) & 1) != 0) {
        atomic_fetch_add(&slot->generation, 1);
        atomic_fetch_add(&roster->deaths, 1);
        tell_everybody(roster);
    }
    return true;
}

/* A dead slot with a note is left for those who wait for that one, as long as there are others. */
static bool worth_taking(const struct roster *roster, unsigned index, bool noted_too)
{
    if (word_alive(atomic_load_explicit(life_word(roster, index), memory_order_relaxed)))
        return false;
    return noted_too || atomic_load_explicit(&roster->slot[index].note, memory_order_relaxed) == 0;
}

static int find_slot(struct roster *roster, unsigned slots)
{
    unsigned start = atomic_fetch_add(&roster->next, 1);

    for (int pass = 0; pass < 2; pass++)
        for (unsigned i = 0; i < slots; i++) {
            unsigned index = (start + i) % slots;

            if (worth_taking(roster, index, pass == 1) && take_slot(roster, index))
                return (int)index;
        }
    return -EAGAIN;
}

int brood__roster_join(struct roster *roster, roster_tag *out_tag)
{
    unsigned slots = roster->slots;
    struct roster_slot *slot;
    uint32_t generation;
    int index;

    if (slots == 0 || slots > ROSTER_SLOTS_MAX || life_offset == SIZE_MAX)
        return BROOD_EABI;
    index = find_slot(roster, slots);
    if (index < 0)
        return index;
    slot = &roster->slot[index];
    atomic_store(&slot->pid, (int32_t)getpid());
    atomic_store(&slot->tid, (int32_t)gettid());
    atomic_store(&slot->note, 0);
    generation = atomic_fetch_add(&slot->generation, 1) + 1;
    /* Before the first operation: from now on every sleeper watches us too. */
    tell_everybody(roster);
    *out_tag = (generation & GENERATION_MASK) << GENERATION_SHIFT | ((uint32_t)index + 1);
    return 0;
}

void brood__roster_leave(struct roster *roster, roster_tag tag)
{
    unsigned index = (tag & SLOT_MASK) - 1;
    struct roster_slot *slot = &roster->slot[index];

    atomic_store(&slot->note, 0);
    if (same_generation(slot, tag))
        atomic_fetch_add(&slot->generation, 1);
    tell_everybody(roster);
    (void)pthread_mutex_unlock(&slot->life);
}

/* ---- a forked child's copy of private memory ---- */

static void renew_slot(struct roster *roster, unsigned index, bool keep)
{
    struct roster_slot *slot = &roster->slot[index];

    (void)new_life(&slot->life);
    if (keep) {
        (void)pthread_mutex_trylock(&slot->life);
        atomic_store(&slot->pid, (int32_t)getpid());
        atomic_store(&slot->tid, (int32_t)gettid());
    } else if ((atomic_load(&slot->generation) & 1) != 0) {
        atomic_fetch_add(&slot->generation, 1);
    }
}

void brood__roster_inherit(struct roster *roster, roster_tag keep)
{
    unsigned reach = reach_of(roster);

    for (unsigned i = 0; i < reach; i++)
        renew_slot(roster, i,
                   i + 1 == (keep & SLOT_MASK) && same_generation(&roster->slot[i], keep));
}

/* ---- sleeping ---- */

/* Adds the life word of a slot to what wakes us. False: its holder is dead, and nobody knew. */
static bool watch_slot(struct roster *roster, unsigned index, struct futex_watch *watches,
                       unsigned *inout_count)
{
    _Atomic uint32_t *life = life_word(roster, index);
    uint32_t word = atomic_load(life);

    /* The kernel wakes watchers of a death only if this bit says that there are any. */
    while (word_alive(word) && (word & FUTEX_WAITERS) == 0)
        if (atomic_compare_exchange_weak(life, &word, word | FUTEX_WAITERS))
            word |= FUTEX_WAITERS;
    if (!word_alive(word))
        return !bury(roster, index);
    if (*inout_count < WATCHED_MAX + 2)
        watches[(*inout_count)++] = (struct futex_watch){.word = (const void *)(uintptr_t)life, .value = word};
    else
        *inout_count = UINT32_MAX; /* too many: see sleep_watching */
    return true;
}

static int64_t heartbeat(int64_t deadline)
{
    int64_t beat = now_ns() + HEARTBEAT_NS;

    return beat < deadline ? beat : deadline;
}

/* -ETIMEDOUT only if DEADLINE is over. */
static int sleep_looking(struct roster *roster, const _Atomic uint32_t *word, uint32_t value,
                         int64_t deadline)
{
    int64_t beat = heartbeat(deadline);
    int r = brood__futex_wait((const void *)(uintptr_t)word, value, beat);

    (void)look(roster);
    return r == -ETIMEDOUT && beat == deadline ? -ETIMEDOUT : 0;
}

/* Fills WATCHES from the third on: how many there are then; 0: somebody had died; or more than
 * fit: UINT32_MAX. */
static unsigned watch_others(struct roster *roster, roster_tag me, struct futex_watch *watches)
{
    unsigned reach = reach_of(roster);
    unsigned count = 2;

    for (unsigned i = 0; i < reach; i++) {
        if (i == (me & SLOT_MASK) - 1)
            continue;
        if (!watch_slot(roster, i, watches, &count))
            return 0;
        if (count == UINT32_MAX)
            break;
    }
    return count;
}

int brood__roster_sleep(struct roster *roster, roster_tag me, const _Atomic uint32_t *word,
                        uint32_t value, uint32_t moment, int64_t deadline)
{
    struct futex_watch watches[FUTEX_WATCHES_MAX];
    unsigned count;
    int r = -ENOSYS;

    watches[0] = (struct futex_watch){.word = (const void *)(uintptr_t)word, .value = value};
    watches[1] = (struct futex_watch){.word = (const void *)(uintptr_t)&roster->moment, .value = moment};
    count = watch_others(roster, me, watches);
    if (count == 0)
        return 0;
    if (count != UINT32_MAX)
        r = brood__futex_wait_any(watches, count, deadline);
    if (r == -ENOSYS)
        return sleep_looking(roster, word, value, deadline);
    /* The kernel woke one of those who watched a death, and it may have been us. */
    (void)look(roster);
    return r;
}
