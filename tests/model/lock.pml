/* SPDX-License-Identifier: MIT */
/*
 * The lock: a word {WAITED, TORN, GRANTED, owner}, on which its waiters sleep, and the name of one
 * waiter that starves.
 *
 *     acquire    free: CAS to me, TORN kept. Owner dead: CAS to me, TORN. Granted to me, or to one
 *                that is dead or not named in starving: CAS to me, TORN as it was. Else set WAITED
 *                by CAS and sleep on the word. Who has slept takes it with WAITED set: others may
 *                sleep still.
 *     starve     who has waited long names itself: CAS starving 0 -> me, or over a dead one
 *     release    starving names one: look again; it is alive: store {that one, GRANTED, WAITED,
 *                TORN as it was}, wake all; it is dead: CAS starving -> 0. Else, and then, exchange
 *                for TORN or 0; if there was WAITED, wake one.
 *     withdraw   CAS starving me -> 0: after taking, and before giving up
 *     give up    withdraw, look once more; if the lock cannot be had, leave WAITED set by a CAS on
 *                what was seen: so its owner wakes the next one in our place
 *     look       who is not the named one, or saw a grant, sleeps for so long and no longer
 *     expire     a waiter that sees a grant not taken for so long: CAS starving that one -> 0
 *     mend       TORN is cleared by the owner
 *
 * Proved, within the bounds that tests/model/run names (participants, rounds, deaths, timeouts),
 * with a death before every access to shared memory:
 *   - No two of the living are inside.
 *   - Who comes in is told of a death inside if and only if somebody has died inside since the last
 *     mending (one that was only granted the lock was not inside).
 *   - When nobody can move any more, all who live have finished, or wait for an owner that is
 *     stopped: nobody is stranded, and whoever comes next can have the lock.
 *   - While a living one is named, each other comes in once at most, but for deaths and grants that
 *     expired. (One that had read starving before, one that saw an older grant of the same look.)
 *
 * Time passes as it likes: whether a waiter names itself is open at every sleep, and a grant may
 * expire as often as timeouts are allowed. A sleep that is bounded ends by itself when nothing else
 * can happen any more, RESCUES times in all, if there is something to see. The algorithm needs that
 * twice. The same grant may come again, without being meant, between a waiter's look and its sleep:
 * with RESCUES 0 that is found, in two rounds. And the one that a release woke may be stopped
 * before it looks: with RESCUES 0 and STOPS 1 that is found.
 *
 * The named one looks from time to time too, though a release grants it the lock: one that had read
 * starving before sets the lock free and wakes another, and if that one is stopped, or gives the lock
 * to nobody, the named one would sleep beside a free lock until somebody else comes. With STOPS 1
 * and NAMED_LOOKS_TOO 0 that is found.
 *
 * Not said: anything about weaker memory than a sequentially consistent one; slots of the roster
 * that are used again.
 */
#ifndef PARTICIPANTS
#define PARTICIPANTS 3
#endif
#ifndef ROUNDS
#define ROUNDS 1
#endif

#define OWNER 7
#define WAITED 8
#define TORN 16
#define GRANTED 32

/* Whoever sleeps for a bounded time wakes by itself; in the end, with no other hope, so often. */
#ifndef RESCUES
#define RESCUES 3
#endif
#ifndef NAMED_LOOKS_TOO
#define NAMED_LOOKS_TOO 1
#endif
#define OWNER_OF(value) ((value) & OWNER)
#define MINE (me + 1)
#define OWNER_DEAD(value) (OWNER_OF(value) != 0 && IS_DEAD(OWNER_OF(value) - 1))

/* Not that time would know: but a look that finds nothing changes nothing. */
#define MAY_BE_RESCUED(sleeper)                                     \
    ((asleep & bounded & ~woken & BIT(sleeper)) != 0 &&             \
     (word != saw[sleeper] || (saw[sleeper] & GRANTED) || OWNER_DEAD(word)))
#define EXPIRES (MAY_BE_RESCUED(me) && rescues_left > 0)

#include "sleepers.pml"

#define NO_SECOND_LOOK 1
#define RELEASE_WITHOUT_WAKE 2
#define FORGETS_SLEEPERS 3
#define GRANT_WAKES_ONE 4
#define GRANT_HOLDS_FOR_THE_DEAD 5
#define TORN_IS_FORGOTTEN 6
#define NAME_STAYS 7
#define GRANT_HOLDS_UNNAMED 8
#define GIVES_UP_UNMARKED 9
#define FORGETS_THE_DEAD 10
#define GRANT_TO_THE_DEAD_IS_TORN 11
#define NO_CAS_ON_THE_DEAD 12
#define RELEASE_IGNORES_NAMES 13

#define WORD 1

byte word, starving;
byte saw[PARTICIPANTS];      /* each one's own: the word that makes it wait */
byte bounded;                /* whose sleep ends by time, as bits */
byte rescues_left = RESCUES; /* not of the algorithm: so that a rescue in vain is seen */

#define seen saw[me]

/* What is proved, not what is computed. */
byte inside;       /* bits */
bool died_inside;  /* and nobody has mended since */
byte overtaken;    /* how often another came in while one was named */
byte excused;      /* deaths and grants that expired */

/* In the same step as the CAS that took the lock. */
inline come_in(told)
{
    d_step {
        assert((inside & ~dead) == 0);
        assert(told == died_inside);
        inside = BIT(me);
        held = true;
        torn = told;
        if
        :: starving != 0 && starving != MINE && !IS_DEAD(starving - 1) ->
           overtaken++;
           assert(overtaken < PARTICIPANTS + excused)
        :: else
        fi
    }
}

#if MUTANT == FORGETS_SLEEPERS
#define MORE_WAIT 0
#else
#define MORE_WAIT (slept -> WAITED : 0)
#endif

#if MUTANT == GRANT_HOLDS_FOR_THE_DEAD
#define GRANT_HOLDS(owner) (starving == owner)
#elif MUTANT == GRANT_HOLDS_UNNAMED
#define GRANT_HOLDS(owner) (!IS_DEAD(owner - 1))
#else
#define GRANT_HOLDS(owner) (starving == owner && !IS_DEAD(owner - 1))
#endif

/* Sets wanted: what the word is to become, or 0: wait. The word was seen in an earlier step. */
inline choose_next()
{
    wanted = MINE | (seen & (WAITED | TORN)) | MORE_WAIT;
    if
    :: OWNER_OF(seen) == 0
    :: OWNER_OF(seen) != 0 && !(seen & GRANTED) ->
       if
       :: !OWNER_DEAD(seen) -> wanted = 0
#if MUTANT == FORGETS_THE_DEAD
       :: else
#else
       :: else -> wanted = wanted | TORN
#endif
       fi
    :: OWNER_OF(seen) != 0 && (seen & GRANTED) ->
       if
       :: OWNER_OF(seen) != MINE && GRANT_HOLDS(OWNER_OF(seen)) -> wanted = 0
#if MUTANT == GRANT_TO_THE_DEAD_IS_TORN
       :: OWNER_OF(seen) != MINE && OWNER_DEAD(seen) -> wanted = wanted | TORN
#endif
       :: else
       fi
    fi
}

#if MUTANT == NO_CAS_ON_THE_DEAD
#define UNCHANGED (word == seen || OWNER_DEAD(seen))
#else
#define UNCHANGED (word == seen)
#endif

/* Until the lock is taken, or was seen to be another's. */
inline try_take()
{
    atomic { MAY_DIE; seen = word };
    do
    :: atomic { MAY_DIE; choose_next() };
       if
       :: wanted == 0 -> break
       :: else ->
          atomic {
              MAY_DIE;
              if
              :: UNCHANGED -> word = wanted; come_in((wanted & TORN) != 0)
              :: else -> seen = word
              fi;
              wanted = 0
          };
          if
          :: held -> break
          :: else
          fi
       fi
    od
}

/* marked: WAITED is in the word, which is else as it was seen. */
inline mark_waited()
{
    if
    :: seen & WAITED -> marked = true
    :: else ->
       atomic {
           MAY_DIE;
#if MUTANT == NO_SECOND_LOOK
           word = word | WAITED;
           seen = word;
           marked = true
#else
           if
           :: word == seen -> word = seen | WAITED; seen = word; marked = true
           :: else -> marked = false
           fi
#endif
       }
    fi
}

/* ---- the one that starves ---- */

inline name_myself()
{
    atomic {
        MAY_DIE;
        if
        :: starving == 0 || (starving != MINE && IS_DEAD(starving - 1)) ->
           starving = MINE;
           overtaken = 0
        :: else
        fi
    }
}

inline withdraw()
{
    atomic {
        MAY_DIE;
        if
        :: starving == MINE -> starving = 0; overtaken = 0
        :: else
        fi
    }
}

/* The grant that was seen has not been taken for long. */
inline expire()
{
    atomic {
        MAY_DIE;
        if
        :: word == seen && starving == OWNER_OF(seen) -> starving = 0; overtaken = 0; excused++
        :: else
        fi
    }
}

/* ---- acquire ---- */

inline give_up()
{
    withdraw();
#if MUTANT == GIVES_UP_UNMARKED
    gone = true
#else
    do
    :: try_take();
       if
       :: held -> break
       :: else ->
          mark_waited();
          if
          :: marked -> gone = true; break
          :: else
          fi
       fi
    od
#endif
}

/* Who was woken may be late all the same. */
inline look_at_clock()
{
    atomic {
        if
        :: slept && !timed_out && timeouts_left > 0 -> timeouts_left--; timed_out = true
        :: true
        fi
    }
}

inline sleep_once()
{
    if
    :: name_myself()
    :: true
    fi;
    slept = true;
    atomic {
        MAY_DIE;
        if
        :: NAMED_LOOKS_TOO || (seen & GRANTED) || starving != MINE -> bounded = bounded | BIT(me)
        :: else
        fi
    };
    sleep(WORD, word == seen);
    /* A grant that was seen so long ago expires, and the waiter goes on. */
    atomic {
        bounded = bounded & ~BIT(me);
        over = expired || (timed_out && (seen & GRANTED));
        expired = false
    };
    if
    :: over ->
       atomic {
           timed_out = false;
           over = false;
           rescues_left = (rescues_left > 0 -> rescues_left - 1 : 0)
       };
       if
       :: seen & GRANTED -> expire()
       :: else
       fi
    :: else
    fi
}

inline acquire()
{
    do
    :: held || gone -> break
    :: else ->
       atomic { MAY_DIE; known_moment = moment };
       try_take();
       if
       :: held -> marked = false
       :: else ->
          look_at_clock();
#if MUTANT == GIVES_UP_UNMARKED
          if
          :: timed_out -> marked = true
          :: else -> mark_waited()
          fi
#else
          mark_waited()
#endif
       fi;
       if
       :: marked && timed_out -> give_up()
       :: marked && !timed_out -> sleep_once()
       :: else
       fi
    od;
#if MUTANT != NAME_STAYS
    withdraw();
#endif
    atomic { seen = 0; marked = false; slept = false; timed_out = false; known_moment = 0 }
}

/* ---- release ---- */

inline grant()
{
    atomic {
        MAY_DIE;
        word = seen | GRANTED | WAITED | (word & TORN);
        inside = inside & ~BIT(me)
    };
#if MUTANT == GRANT_WAKES_ONE
    atomic { MAY_DIE; wake_one(WORD) }
#else
    atomic { MAY_DIE; wake_all(WORD) }
#endif
}

inline set_free(someone)
{
    if
    :: someone -> /* it was named, and is dead */
       atomic { MAY_DIE; if :: starving == seen -> starving = 0; overtaken = 0 :: else fi }
    :: else
    fi;
    atomic {
        MAY_DIE;
        seen = word;
#if MUTANT == TORN_IS_FORGOTTEN
        word = 0;
#else
        word = word & TORN;
#endif
        inside = inside & ~BIT(me)
    };
#if MUTANT != RELEASE_WITHOUT_WAKE
    if
    :: seen & WAITED -> atomic { MAY_DIE; wake_one(WORD) }
    :: else
    fi
#endif
}

inline release()
{
    if
    :: torn -> /* it may have been mended, or not */
       if
       :: atomic { MAY_DIE; word = word & ~TORN; died_inside = false }
       :: true
       fi
    :: else
    fi;
    atomic { MAY_DIE; seen = starving };
    if
    :: seen == 0 -> set_free(false)
    :: else ->
       atomic { MAY_DIE; seen = starving };
       atomic { MAY_DIE; wanted = (seen != 0 && !IS_DEAD(seen - 1)) };
       if
#if MUTANT != RELEASE_IGNORES_NAMES
       :: wanted -> wanted = 0; grant()
#endif
       :: else -> set_free(!wanted); wanted = 0
       fi
    fi;
    atomic { seen = 0; held = false; torn = false }
}

proctype user(byte me)
{
    byte known_moment, watched, buried, wanted, round;
    bool held, torn, slept, marked, timed_out, expired, over, gone;

    do
    :: round < ROUNDS && !gone ->
       acquire();
       if
       :: held -> release()
       :: else
       fi;
       round++
    :: else -> break
    od;
    atomic { finished = finished | BIT(me); round = 0; gone = false };
    goto end;
killed:
    KERNEL_TELLS(died_inside = died_inside || (inside & BIT(me)); excused++;
                 known_moment = 0; watched = 0; buried = 0; seen = 0; wanted = 0; round = 0;
                 held = 0; torn = 0; slept = 0; marked = 0; timed_out = 0; expired = 0; over = 0; gone = 0;
                 bounded = bounded & ~BIT(me));
end:
    skip
}

#if PARTICIPANTS > 2
#define SOMEBODY_MAY_BE_RESCUED (MAY_BE_RESCUED(0) || MAY_BE_RESCUED(1) || MAY_BE_RESCUED(2))
#else
#define SOMEBODY_MAY_BE_RESCUED (MAY_BE_RESCUED(0) || MAY_BE_RESCUED(1))
#endif

/* Somebody stands still inside, alive. */
#define IS_HELD (OWNER_OF(word) != 0 && !(word & GRANTED) && !OWNER_DEAD(word))

proctype judge()
{
    atomic {
        timeout && (rescues_left == 0 || !SOMEBODY_MAY_BE_RESCUED) ->
        assert((finished | dead | halted | asleep) == ALL);
        assert((asleep & ~dead) == 0 || (IS_HELD && (halted & BIT(OWNER_OF(word) - 1))));
        assert(OWNER_OF(word) == 0 || OWNER_DEAD(word) || (halted & BIT(OWNER_OF(word) - 1)) ||
               ((word & GRANTED) && starving != OWNER_OF(word)))
    }
}

init
{
    byte i;

    atomic {
        choose_fates();
        joined = ALL;
        do
        :: i < PARTICIPANTS -> run user(i); i++
        :: else -> break
        od;
        i = 0;
        run judge()
    }
}
