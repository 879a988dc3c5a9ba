/* SPDX-License-Identifier: MIT */
/*
 * Once: a word that is 0, names who runs the function, or says DONE.
 *
 *     0 --CAS--> tag --CAS--> DONE                  it returned 0 or more
 *                 |
 *                 +------CAS--> 0                   it failed: the next may try
 *     tag of a dead one --CAS--> my tag | DIED      an attempt died: it is run again
 *
 * DIED stays in the word until the function has run, so that whoever succeeds knows what it found.
 *
 * Who returns from the function may be a child that was forked inside it. In shared memory the word
 * names the thread of the parent, which runs it still, and the child leaves the word alone. A copy
 * of private memory is the child's own, where it has the parent's tag.
 *
 * Deaths: in the function, or before the word says that it has run: the word names the dead, the
 * death wakes all sleepers (roster.h), and one of them takes over. After that, before the wake-up:
 * the death wakes them as well. The word is never repaired by anybody but the next runner.
 *
 * Orders: DONE is written with release and loaded with acquire, so what the function wrote is seen
 * by all who return from here. Everything but that first load is sequentially consistent besides,
 * for wake_sleepers().
 */
#include <brood/sync.h>

#include "ipc/waiting.h"

#include <errno.h>

struct once_words {
    _Atomic uint32_t word; /* {DONE:1 | DIED:1 | 0:2 | tag:28}, a futex word */
    _Atomic uint32_t sleepers;
    uint32_t unused[6];
};
_Static_assert(sizeof(struct once_words) == sizeof(brood_once), "a once has other words");

#define ONCE_DONE ((uint32_t)1 << 31)
#define ONCE_DIED ((uint32_t)1 << 30)
#define ONCE_TAG (((uint32_t)1 << TAG_BITS) - 1)

/* Mutants that the crash sweeps must catch; see tests/ipc/test_sync_kill.c. */
#define MUTANT_DONE_FIRST 91
#ifndef BROOD_MUTANT
#define BROOD_MUTANT 0
#endif

enum { IT_HAS_RUN = 0, IT_IS_OURS = 1 };

struct once_take {
    struct once_words *words;
    const struct roster *roster;
    roster_tag me;
    uint64_t self;   /* the process of the attempt */
    bool is_private; /* the memory */
    bool died;       /* an attempt before ours */
    uint32_t seen;   /* the word that made us wait */
};

/* IT_HAS_RUN, IT_IS_OURS, WAIT_ON or -EDEADLK. */
static int try_take(void *object)
{
    struct once_take *take = object;
    uint32_t word = atomic_load(&take->words->word);
    uint32_t next;

    do {
        roster_tag owner = word & ONCE_TAG;

        if ((word & ONCE_DONE) != 0)
            return IT_HAS_RUN;
        if (owner == take->me)
            return -EDEADLK;
        if (owner != 0 && brood__roster_alive(take->roster, owner)) {
            take->seen = word;
            return WAIT_ON;
        }
        next = take->me | (owner != 0 ? ONCE_DIED : word & ONCE_DIED);
    } while (!atomic_compare_exchange_weak(&take->words->word, &word, next));
    take->died = (next & ONCE_DIED) != 0;
    return IT_IS_OURS;
}

/* Nothing happens if the word is not ours any more: it was damaged, or made new. */
static void end_attempt(const struct once_take *take, uint32_t next, unsigned wakes)
{
    struct once_words *words = take->words;
    uint32_t mine = take->me | (take->died ? ONCE_DIED : 0);

    if (atomic_compare_exchange_strong(&words->word, &mine, next))
        wake_sleepers(&words->word, &words->sleepers, wakes);
}

static int run(const struct once_take *take, int (*fn)(void *arg), void *arg)
{
    int r;

#if BROOD_MUTANT == MUTANT_DONE_FIRST
    atomic_store(&take->words->word, ONCE_DONE);
#endif
    r = fn(arg);
    if (!take->is_private && take->self != brood__self())
        return r < 0 ? r : 0;
    if (r < 0) {
        end_attempt(take, take->died ? ONCE_DIED : 0, 1);
        return r;
    }
    end_attempt(take, ONCE_DONE, UINT32_MAX);
    return take->died ? BROOD_OWNER_DIED : 0;
}

static int wait_and_take(struct once_take *take, const struct member *member, int64_t timeout_ms)
{
    struct waiting waiting = waiting_of(member);

    waiting.word = &take->words->word;
    waiting.sleepers = &take->words->sleepers;
    waiting.look = try_take;
    waiting.object = take;
    waiting.seen = &take->seen;
    return brood__wait_for(&waiting, timeout_ms);
}

int brood_once_run(brood_once *once, int (*fn)(void *arg), void *arg, int64_t timeout_ms)
{
    struct once_take take = {.words = (void *)once};
    const struct member *member;
    int r;

    if (!is_placed(once) || fn == NULL)
        return -EINVAL;
    /* Acquire, with the CAS to DONE in end_attempt(). */
    if ((atomic_load_explicit(&take.words->word, memory_order_acquire) & ONCE_DONE) != 0)
        return 0;
    r = brood__member(once, &member);
    if (r < 0)
        return r;
    take.roster = member->roster;
    take.me = member->tag;
    take.self = member->self;
    take.is_private = member->is_private;
    r = wait_and_take(&take, member, timeout_ms);
    return r == IT_IS_OURS ? run(&take, fn, arg) : r;
}
