/* SPDX-License-Identifier: MIT */
/*
 * A lock whose word names its owner.
 *
 *     0 --CAS--> tag --exchange--> 0                      nobody waits: one instruction each
 *     tag of a dead owner --CAS--> my tag | TORN          "the owner died"
 *     tag --store--> other tag | GRANTED --CAS--> other tag     handed to one who starves
 *
 * A waiter sets WAITED and sleeps on the word; who releases takes WAITED away and wakes one. The
 * flag is lost then for those who sleep on, so whoever has slept takes the lock with WAITED set,
 * or sets it before it gives up. TORN stays, through any number of owners, until one calls
 * consistent.
 *
 * Nobody starves: who has waited for a millisecond writes its tag into .starving (one at a time).
 * A release that finds a living tag there grants the lock to it instead of freeing it. A grant
 * holds as long as .starving names the same thread; without that anybody takes it like a free
 * lock. So a waiter that gives up withdraws by clearing .starving, and need not know whether a
 * release has just seen it. A grant that is not taken for 100 ms, by a stopped thread, is
 * withdrawn by another waiter. Who waits long looks again as often, the one in .starving too: the
 * one that a release woke may be stopped before it looks, and others take the lock and give it
 * without knowing that anybody sleeps; and a release that looked at .starving before there was
 * anybody frees the lock, and may be stopped before it wakes.
 *
 * What always holds: only the owner of the word, alive, changes the tag in it, or somebody who
 * takes a free word, that of a dead owner, or a grant.
 *
 * Deaths: inside, or in a release before the word is changed: the next owner is told. After that,
 * before the wake-up, or woken and before the lock is taken: the death wakes all sleepers
 * (roster.h), and each looks. As the one that starves: a dead tag in .starving is written over,
 * and a grant to the dead is taken without notice, as it was never inside. A killed waiter may
 * leave WAITED set, for one needless wake-up.
 *
 * Orders: who takes the word acquires, who changes its tag in a release releases. WAITED needs no
 * more than that it is in the same word. A withdrawal and a grant are each "I write mine, then
 * read yours", in two words and up to three threads; all accesses of the slow paths are
 * sequentially consistent for that.
 */
#include "ipc/lock.h"

#include "base/clock.h"
#include "ipc/spin.h"
#include "ipc/waiting.h"

/* Mutants that the crash sweeps must catch; see tests/ipc/test_lock_kill.c. */
#define MUTANT_NO_SECOND_LOOK 22
#define MUTANT_FORGETS_SLEEPERS 23
#define MUTANT_FORGETS_THE_DEAD 24
#define MUTANT_GRANT_HOLDS 25
#define MUTANT_GIVES_UP_SILENTLY 26
#define MUTANT_NO_GRANT 27

#define STARVING_NS 1000000
/* How long a grant may wait to be taken. Not only for the sake of those who wait for a stopped
 * thread: it is needed for correctness. Between a waiter's look and its sleep the grant may be
 * taken, and the same tag | GRANTED come back into the word with its wake-up over. The kernel takes
 * the new grant for the old one, and nothing but this time ends that sleep. */
#define GRANT_NS 100000000

enum { BACKOFF_MAX = 64 };

struct taking {
    struct lock_words *lock;
    struct roster *roster;
    roster_tag me;
    bool slept;
    uint32_t seen; /* the word that made us wait */
    int64_t deadline;
    int64_t starving_at;
};

static bool grant_holds(const struct taking *taking, roster_tag owner)
{
#if BROOD_MUTANT == MUTANT_GRANT_HOLDS
    return brood__roster_alive(taking->roster, owner);
#else
    return atomic_load(&taking->lock->starving) == owner &&
           brood__roster_alive(taking->roster, owner);
#endif
}

/* 0 and what WORD is to become; or WAIT_ON or -EDEADLK. */
static int next_word(const struct taking *taking, uint32_t word, uint32_t *out_next)
{
    roster_tag owner = word & LOCK_TAG;
    uint32_t flags = word & (LOCK_WAITED | LOCK_TORN);

#if BROOD_MUTANT != MUTANT_FORGETS_SLEEPERS
    if (taking->slept)
        flags |= LOCK_WAITED;
#endif
    if (owner != 0 && (word & LOCK_GRANTED) == 0) {
        if (owner == taking->me)
            return -EDEADLK;
        if (brood__roster_alive(taking->roster, owner))
            return WAIT_ON;
#if BROOD_MUTANT != MUTANT_FORGETS_THE_DEAD
        flags |= LOCK_TORN;
#endif
    } else if (owner != 0 && owner != taking->me && grant_holds(taking, owner)) {
        return WAIT_ON;
    }
    *out_next = taking->me | flags;
    return 0;
}

/* 0 or BROOD_OWNER_DIED; or WAIT_ON or -EDEADLK. */
static int try_take(struct taking *taking)
{
    uint32_t next = 0;
    int r;

    taking->seen = atomic_load(&taking->lock->word);
    do {
        r = next_word(taking, taking->seen, &next);
        if (r != 0)
            return r;
    } while (!atomic_compare_exchange_weak(&taking->lock->word, &taking->seen, next));
    return (next & LOCK_TORN) != 0 ? BROOD_OWNER_DIED : 0;
}

/* Each look takes the line of the word away from its owner, so they become rarer. */
static int spin(struct taking *taking)
{
    unsigned looks = brood__wait_looks();
    unsigned backoff = 4;
    int r = WAIT_ON;

    for (unsigned i = 0; i < looks && r == WAIT_ON; i += backoff) {
        for (unsigned k = 0; k < backoff; k++)
            spin_relax();
        if (backoff < BACKOFF_MAX)
            backoff *= 2;
        else
            brood__yield();
        r = try_take(taking);
    }
    return r;
}

/* ---- the one that starves ---- */

static void enter_starving(const struct taking *taking)
{
    uint32_t there = atomic_load(&taking->lock->starving);

    if (there == 0 || (there != taking->me && !brood__roster_alive(taking->roster, there)))
        (void)atomic_compare_exchange_strong(&taking->lock->starving, &there, taking->me);
}

static void leave_starving(const struct taking *taking)
{
    uint32_t mine = taking->me;

    if (atomic_load(&taking->lock->starving) == mine)
        (void)atomic_compare_exchange_strong(&taking->lock->starving, &mine, 0);
}

/* The thread that was granted the lock does not take it. It may enter again when it runs. */
static void withdraw_grant(const struct taking *taking)
{
    uint32_t other = taking->seen & LOCK_TAG;

    if (atomic_load(&taking->lock->word) == taking->seen)
        (void)atomic_compare_exchange_strong(&taking->lock->starving, &other, 0);
}

/* ---- sleeping ---- */

/* False: the word has changed since it was looked at. */
static bool mark_waited(struct taking *taking)
{
    uint32_t waited = taking->seen | LOCK_WAITED;

    if (taking->seen == waited)
        return true;
#if BROOD_MUTANT == MUTANT_NO_SECOND_LOOK
    waited = atomic_fetch_or(&taking->lock->word, LOCK_WAITED) | LOCK_WAITED;
#else
    if (!atomic_compare_exchange_strong(&taking->lock->word, &taking->seen, waited))
        return false;
#endif
    taking->seen = waited;
    return true;
}

/* Until when to sleep: there may be something to do before the deadline. */
static int64_t sleep_end(const struct taking *taking, int64_t now)
{
    bool granted = (taking->seen & LOCK_GRANTED) != 0;
    int64_t end = !granted && now < taking->starving_at ? taking->starving_at : now + GRANT_NS;

    return end < taking->deadline ? end : taking->deadline;
}

/* Our time is over, and WAITED has been set since we last slept: whatever wake-up we had taken,
 * the next release wakes somebody in our place. Once we starve no more nobody can grant us the
 * lock, so one more look tells whether somebody has. */
static int give_up(struct taking *taking)
{
    int r;

    leave_starving(taking);
    r = try_take(taking);
    return r == WAIT_ON ? -ETIMEDOUT : r;
}

/* One look and one sleep. WAIT_ON: again. */
static int sleep_once(struct taking *taking)
{
    uint32_t moment = brood__roster_moment(taking->roster);
    int r = try_take(taking);
    int64_t now, end;

    if (r != WAIT_ON)
        return r;
#if BROOD_MUTANT == MUTANT_GIVES_UP_SILENTLY
    if (now_ns() >= taking->deadline)
        return give_up(taking);
#endif
    if (!mark_waited(taking))
        return WAIT_ON;
    now = now_ns();
    if (now >= taking->deadline)
        return give_up(taking);
    if (now >= taking->starving_at)
        enter_starving(taking);
    end = sleep_end(taking, now);
    taking->slept = true;
    r = brood__roster_sleep(taking->roster, taking->me, &taking->lock->word, taking->seen, moment,
                            end);
    /* A sleep that our own deadline cut short says nothing about the other thread. */
    if (r == -ETIMEDOUT && (taking->seen & LOCK_GRANTED) != 0 && end - now >= GRANT_NS)
        withdraw_grant(taking);
    return WAIT_ON;
}

static int sleep_until_taken(struct taking *taking, int64_t timeout_ms)
{
    int64_t start = now_ns();
    int r = WAIT_ON;

    taking->starving_at = start + STARVING_NS;
    taking->deadline = timeout_ms < 0 ? NEVER : deadline_after(start, timeout_ms);
    while (r == WAIT_ON)
        r = sleep_once(taking);
    leave_starving(taking);
    return r;
}

/* ---- the inside of both kinds of lock ---- */

__attribute__((noinline)) int brood__lock_take_slowly(struct lock_words *lock,
                                                      const struct member *member,
                                                      int64_t timeout_ms)
{
    struct taking taking = {.lock = lock, .roster = member->roster, .me = member->tag};
    int r = try_take(&taking);

    if (r == WAIT_ON && timeout_ms == 0)
        return -ETIMEDOUT;
    if (r == WAIT_ON)
        r = spin(&taking);
    return r == WAIT_ON ? sleep_until_taken(&taking, timeout_ms) : r;
}

/* A release that found somebody in .starving. All are woken, as the kernel cannot be asked to wake
 * the one that is meant. */
__attribute__((noinline)) void brood__lock_grant(struct lock_words *lock,
                                                 const struct member *member, uint32_t word)
{
    uint32_t starving = atomic_load(&lock->starving);

    if (BROOD_MUTANT != MUTANT_NO_GRANT && starving <= LOCK_TAG &&
        brood__roster_alive(member->roster, starving)) {
        /* Nobody else changes the tag while we are here and alive, so this needs no CAS. */
        atomic_store(&lock->word, starving | LOCK_GRANTED | LOCK_WAITED | (word & LOCK_TORN));
        brood__futex_wake(&lock->word, UINT32_MAX);
        return;
    }
    (void)atomic_compare_exchange_strong(&lock->starving, &starving, 0);
    word = atomic_exchange(&lock->word, word & LOCK_TORN);
    if ((word & LOCK_WAITED) != 0)
        brood__futex_wake(&lock->word, 1);
}

int brood__lock_mend(struct lock_words *lock)
{
    const struct member *member;
    int r = brood__member(lock, &member);

    if (r < 0)
        return r;
    if (!lock_is_mine(atomic_load_explicit(&lock->word, memory_order_relaxed), member->tag))
        return -EPERM;
    /* Relaxed: only owners read TORN, and the release of this one publishes it. */
    (void)atomic_fetch_and_explicit(&lock->word, ~LOCK_TORN, memory_order_relaxed);
    return 0;
}

int brood__lock_who(struct lock_words *lock, brood_owner *out_owner)
{
    const struct member *member;
    int r = brood__member(lock, &member);
    brood_owner owner = {0};
    uint32_t word;

    if (r < 0)
        return r;
    word = atomic_load(&lock->word);
    if ((word & LOCK_TAG) == 0 || (word & LOCK_GRANTED) != 0)
        return 0;
    owner.dead = !brood__roster_alive(member->roster, word & LOCK_TAG);
    if (!brood__roster_who(member->roster, word & LOCK_TAG, &owner.pid, &owner.tid)) {
        owner.pid = owner.tid = 0;
        owner.dead = true;
    }
    if (out_owner != NULL)
        *out_owner = owner;
    return 1;
}

/* ---- the lock ---- */

int brood_lock_acquire(brood_lock *lock, int64_t timeout_ms)
{
    const struct member *member;
    int r;

    if (!is_placed(lock))
        return -EINVAL;
    r = brood__member(lock, &member);
    return r < 0 ? r : lock_take(lock_words(lock), member, timeout_ms);
}

int brood_lock_release(brood_lock *lock)
{
    const struct member *member;
    uint32_t word;
    int r;

    if (!is_placed(lock))
        return -EINVAL;
    r = brood__member(lock, &member);
    if (r < 0)
        return r;
    word = atomic_load_explicit(&lock_words(lock)->word, memory_order_relaxed);
    if (!lock_is_mine(word, member->tag))
        return -EPERM;
    lock_give(lock_words(lock), member, word);
    return 0;
}

int brood_lock_consistent(brood_lock *lock)
{
    return is_placed(lock) ? brood__lock_mend(lock_words(lock)) : -EINVAL;
}

int brood_lock_owner(const brood_lock *lock, brood_owner *out_owner)
{
    return is_placed(lock) ? brood__lock_who(lock_words(lock), out_owner) : -EINVAL;
}
