/* SPDX-License-Identifier: MIT */
/*
 * A barrier: one word, {epoch:16 | generation:31 | broken:1 | arrived:16}, changed by CAS only.
 *
 *     arrive:  arrived + 1; the last one: generation + 1, arrived 0     who waits goes through
 *     break:   broken                                                   who waits or comes: error
 *     reset:   epoch + 1, generation + 1, arrived 0, whole              who waits: error
 *
 * Who waits belongs to one generation. When the word says another one, everybody had arrived (or
 * it was reset: the epoch differs); when it says broken, not.
 *
 * Before it arrives, a participant notes barrier and epoch in its slot of the roster, where the
 * note stays when it dies. Whoever arrives or waits and finds such a note of a dead one breaks the
 * barrier, so no dead arrival is ever counted, and nobody waits for one that will not come back. A
 * reset begins a new epoch, so earlier deaths do not count. Time over breaks it too. An init takes
 * away all notes of its place, as those of an earlier barrier there would be taken for its own.
 *
 * Sleepers wait on .turns, which is incremented after each change that lets them go; it is read
 * before the word is looked at.
 *
 * Deaths: anywhere between noting and the end: the note breaks it, or the generation had gone on
 * before. Killed between the CAS and the wake-up: the death wakes all sleepers (roster.h), and
 * they look at the word. In an init: it has not happened, and is to be done again.
 *
 * Orders: each arrival's CAS releases, and whoever sees the next generation acquires: through the
 * chain of CASes on one word all that was written before any arrival is seen by all who go
 * through. All are sequentially consistent besides, for wake_sleepers().
 */
#include <brood/sync.h>

#include "ipc/waiting.h"

#include <errno.h>
#include <string.h>

struct barrier_words {
    _Atomic uint64_t word;
    _Atomic uint32_t turns; /* a futex word */
    _Atomic uint32_t sleepers;
    uint32_t parties; /* written by init only */
    uint32_t unused[3];
};
_Static_assert(sizeof(struct barrier_words) == sizeof(brood_barrier), "it has other words");

#define ARRIVED_MASK ((uint64_t)0xffff)
#define BROKEN ((uint64_t)1 << 16)
#define GENERATION_ONE ((uint64_t)1 << 17)
#define EPOCH_ONE ((uint64_t)1 << 48)
#define EPOCH_SHIFT 48
#define EPOCH_BITS 16
#define GENERATION_MASK (EPOCH_ONE - GENERATION_ONE)
enum { PARTIES_MAX = 65535 };

/* Mutants that the crash sweeps must catch; see tests/ipc/test_barrier_kill.c. */
#define MUTANT_COUNTS_THE_DEAD 81
#define MUTANT_NOTES_LATE 82
#define MUTANT_WAITS_FOR_THE_DEAD 83
#ifndef BROOD_MUTANT
#define BROOD_MUTANT 0
#endif

struct barrier_wait {
    struct barrier_words *words;
    struct roster *roster;
    uint64_t place;   /* of the barrier, for all who have it */
    uint64_t arrived; /* the word just before this one arrived */
};

/* The same for all who have the barrier. Private memory has no beginning to count from. */
static uint64_t place_of(const brood_barrier *barrier, const struct member *member)
{
    return (uintptr_t)barrier - (member->is_private ? 0 : member->base);
}

/* The note of a barrier in the epoch of WORD; never 0. */
static uint64_t note_of(uint64_t place, uint64_t word)
{
    return (place + 1) << EPOCH_BITS | word >> EPOCH_SHIFT;
}

int brood_barrier_init(brood_barrier *barrier, unsigned parties)
{
    struct barrier_words *words = (void *)barrier;
    const struct member *member;
    int r;

    if (!is_placed(barrier) || parties == 0 || parties > PARTIES_MAX)
        return -EINVAL;
    r = brood__member(barrier, &member);
    if (r < 0)
        return r;
    brood__roster_forget_notes(member->roster, note_of(place_of(barrier, member), 0),
                               note_of(place_of(barrier, member), UINT64_MAX));
    memset(barrier, 0, sizeof *barrier);
    words->parties = parties;
    return 0;
}

/* ---- changes ---- */

static uint64_t after_arrival(uint64_t word, uint32_t parties)
{
    if ((word & ARRIVED_MASK) + 1 < parties)
        return word + 1;
    return (word & ~(GENERATION_MASK | ARRIVED_MASK)) | ((word + GENERATION_ONE) & GENERATION_MASK);
}

static uint64_t after_reset(uint64_t word)
{
    return ((word & ~(EPOCH_ONE - 1)) + EPOCH_ONE) | ((word + GENERATION_ONE) & GENERATION_MASK);
}

static void let_go(struct barrier_words *words)
{
    (void)atomic_fetch_add(&words->turns, 1);
    wake_sleepers(&words->turns, &words->sleepers, UINT32_MAX);
}

/* WORD is what it was; false: it is not any more. */
static bool break_it(struct barrier_words *words, uint64_t word)
{
    if (!atomic_compare_exchange_strong(&words->word, &word, word | BROKEN))
        return false;
    let_go(words);
    return true;
}

/* ---- who has died ---- */

static bool somebody_died(const struct barrier_wait *wait, uint64_t word)
{
    return brood__roster_dead_note(wait->roster, note_of(wait->place, word));
}

/* ---- waiting ---- */

/* 0: through; BROOD_EBROKEN; WAIT_ON. */
static int look(void *object)
{
    const struct barrier_wait *wait = object;

    for (;;) {
        uint64_t word = atomic_load(&wait->words->word);

        if (word >> EPOCH_SHIFT != wait->arrived >> EPOCH_SHIFT)
            return BROOD_EBROKEN;
        if (((word ^ wait->arrived) & GENERATION_MASK) != 0)
            return 0;
        if ((word & BROKEN) != 0)
            return BROOD_EBROKEN;
#if BROOD_MUTANT == MUTANT_WAITS_FOR_THE_DEAD
        return WAIT_ON;
#endif
        if (!somebody_died(wait, word))
            return WAIT_ON;
        if (break_it(wait->words, word))
            return BROOD_EBROKEN;
    }
}

/* Time is over. -ETIMEDOUT, and the barrier is broken; or what look() found first. */
static int break_as_late(struct barrier_wait *wait)
{
    for (;;) {
        uint64_t word = atomic_load(&wait->words->word);
        int r = look(wait);

        if (r != WAIT_ON)
            return r;
        if (break_it(wait->words, word))
            return -ETIMEDOUT;
    }
}

/* WAIT_ON: arrived, and others are missing; 0: arrived as the last one. */
static int arrive(struct barrier_wait *wait, roster_tag me, uint32_t parties)
{
    uint64_t word = atomic_load(&wait->words->word);

    do {
        if ((word & BROKEN) != 0)
            return BROOD_EBROKEN;
#if BROOD_MUTANT != MUTANT_NOTES_LATE
        brood__roster_note(wait->roster, me, note_of(wait->place, word));
#endif
#if BROOD_MUTANT != MUTANT_COUNTS_THE_DEAD
        if (somebody_died(wait, word)) {
            (void)break_it(wait->words, word);
            return BROOD_EBROKEN;
        }
#endif
        wait->arrived = word;
    } while (
        !atomic_compare_exchange_strong(&wait->words->word, &word, after_arrival(word, parties)));
#if BROOD_MUTANT == MUTANT_NOTES_LATE
    brood__roster_note(wait->roster, me, note_of(wait->place, word));
#endif
    if ((wait->arrived & ARRIVED_MASK) + 1 < parties)
        return WAIT_ON;
    let_go(wait->words);
    return 0;
}

static int wait_for_others(struct barrier_wait *wait, const struct member *member,
                           int64_t timeout_ms)
{
    struct waiting waiting = waiting_of(member);
    int r;

    waiting.word = &wait->words->turns;
    waiting.sleepers = &wait->words->sleepers;
    waiting.look = look;
    waiting.object = wait;
    r = brood__wait_for(&waiting, timeout_ms);
    return r == -ETIMEDOUT ? break_as_late(wait) : r;
}

/* The number of parties, read once; or why it cannot be used. */
static int parties_of(const brood_barrier *barrier)
{
    const struct barrier_words *words = (const void *)barrier;
    uint32_t parties;

    if (!is_placed(barrier))
        return -EINVAL;
    parties = *(const volatile uint32_t *)&words->parties;
    if (parties == 0)
        return -EINVAL;
    return parties <= PARTIES_MAX ? (int)parties : BROOD_EABI;
}

int brood_barrier_wait(brood_barrier *barrier, int64_t timeout_ms)
{
    struct barrier_wait wait = {.words = (void *)barrier};
    const struct member *member;
    int parties = parties_of(barrier);
    int r;

    if (parties < 0)
        return parties;
    r = brood__member(barrier, &member);
    if (r < 0)
        return r;
    wait.roster = member->roster;
    wait.place = place_of(barrier, member);
    r = arrive(&wait, member->tag, (uint32_t)parties);
    if (r == WAIT_ON)
        r = wait_for_others(&wait, member, timeout_ms);
    return r == 0 ? (int)(wait.arrived & ARRIVED_MASK) : r;
}

/* ---- from outside ---- */

void brood_barrier_abort(brood_barrier *barrier)
{
    struct barrier_words *words = (void *)barrier;
    const struct member *member;

    if (!is_placed(barrier))
        return;
    /* Who finds no place on the roster does it as well; only its death in here would not be
     * noticed. */
    if (brood__member(barrier, &member) == -EROFS)
        return;
    (void)atomic_fetch_or(&words->word, BROKEN);
    let_go(words);
}

void brood_barrier_reset(brood_barrier *barrier)
{
    struct barrier_words *words = (void *)barrier;
    const struct member *member;
    uint64_t word;

    if (!is_placed(barrier))
        return;
    if (brood__member(barrier, &member) == -EROFS) /* else as for the abort */
        return;
    word = atomic_load(&words->word);
    while (!atomic_compare_exchange_weak(&words->word, &word, after_reset(word)))
        continue;
    let_go(words);
}

bool brood_barrier_broken(const brood_barrier *barrier)
{
    const struct barrier_words *words = (const void *)barrier;

    return is_placed(barrier) && (atomic_load(&words->word) & BROKEN) != 0;
}

int brood_barrier_waiting(const brood_barrier *barrier)
{
    const struct barrier_words *words = (const void *)barrier;
    uint64_t word;

    if (!is_placed(barrier))
        return -EINVAL;
    word = atomic_load(&words->word);
    return (word & BROKEN) != 0 ? 0 : (int)(word & ARRIVED_MASK);
}
