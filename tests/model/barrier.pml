/* SPDX-License-Identifier: MIT */
/*
 * The barrier: one word {epoch, generation, broken, arrived}, changed by CAS only, and a number of
 * turns to sleep on.
 *
 *     arrive   broken: error. Note the epoch in the own slot; if a dead one has noted this epoch,
 *              break it; else CAS arrived + 1, or, as the last one, generation + 1 and arrived 0,
 *              turns + 1, wake all
 *     wait     count oneself among the sleepers; read the moment and turns, look, sleep on turns
 *     look     another epoch: broken; another generation: through; broken: broken; a dead one has
 *              noted this epoch: break it by CAS; else wait on
 *     break    CAS broken, turns + 1, wake all; also by whose time is over
 *     reset    CAS epoch + 1, generation + 1, arrived 0, whole; turns + 1, wake all
 *
 * Proved, within the bounds that tests/model/run names (parties, rounds, resets, deaths, timeouts),
 * with a death before every access to shared memory:
 *   - Nobody passes a generation in which not all parties had arrived, and nobody one to which a
 *     party came that began to come after another had arrived and died.
 *   - When nobody can move any more, a living sleeper belongs to the present generation, that is
 *     whole, none of its epoch has died, and exactly the sleepers are counted as arrived: each
 *     waits for parties that have not come, and for nobody who cannot.
 *
 * The looking for a dead note is one step here, and a loop over the slots in the code; a slot may
 * change from living to dead during that loop, as it may right after the step.
 *
 * Not said: anything about weaker memory than a sequentially consistent one; slots of the roster
 * that are used again (their note is gone then).
 */
#ifndef PARTIES
#define PARTIES 3
#endif
#ifndef ROUNDS
#define ROUNDS 1
#endif
#ifndef RESETS
#define RESETS 0
#endif
#define PARTICIPANTS (PARTIES + RESETS)

#include "sleepers.pml"

#define COUNTS_THE_DEAD 1
#define NOTES_LATE 2
#define WAITS_FOR_THE_DEAD 3
#define LAST_DOES_NOT_WAKE 4
#define READS_TURNS_LATE 5
#define NO_NEW_EPOCH 6
#define BREAKS_SILENTLY 7

#define WORD 1
#define GENERATIONS (ROUNDS + RESETS + 1)

byte epoch, generation, arrived; /* one word */
bool broken;                     /* of it too */
byte turns, sleepers;
byte note[PARTICIPANTS]; /* epoch + 1; 0: none */

/* What is proved, not what is computed. */
byte arrivals[GENERATIONS + 1]; /* who, as bits */
bool spoilt[GENERATIONS + 1];   /* one came after another had arrived and died */

#define DEAD_NOTE(participant, epoch_then) \
    (IS_DEAD(participant) && note[participant] == (epoch_then) + 1)
#if PARTICIPANTS > 3
#define SOMEBODY_DIED(epoch_then)                                   \
    (DEAD_NOTE(0, epoch_then) || DEAD_NOTE(1, epoch_then) ||        \
     DEAD_NOTE(2, epoch_then) || DEAD_NOTE(3, epoch_then))
#elif PARTICIPANTS > 2
#define SOMEBODY_DIED(epoch_then)                                   \
    (DEAD_NOTE(0, epoch_then) || DEAD_NOTE(1, epoch_then) || DEAD_NOTE(2, epoch_then))
#else
#define SOMEBODY_DIED(epoch_then) (DEAD_NOTE(0, epoch_then) || DEAD_NOTE(1, epoch_then))
#endif

#define SEE                                                         \
    seen_epoch = epoch;                                             \
    seen_generation = generation;                                   \
    seen_arrived = arrived;                                         \
    seen_broken = broken
#define UNCHANGED                                                   \
    (seen_epoch == epoch && seen_generation == generation &&        \
     seen_arrived == arrived && seen_broken == broken)
#define FORGET                                                      \
    seen_epoch = 0;                                                 \
    seen_generation = 0;                                            \
    seen_arrived = 0;                                               \
    seen_broken = 0

#define MISSING 0
#define THROUGH 1
#define BROKEN 2

inline let_go()
{
    atomic { MAY_DIE; turns++ };
    WAKE_SLEEPERS(sleepers, wake_all, WORD)
}

/* done: it was as seen. */
inline break_it()
{
    atomic {
        MAY_DIE;
        if
        :: UNCHANGED -> broken = true; done = true
        :: else -> done = false
        fi
    };
#if MUTANT != BREAKS_SILENTLY
    if
    :: done -> let_go()
    :: else
    fi
#endif
}

inline look()
{
    do
    :: atomic {
           MAY_DIE;
           SEE;
           outcome = MISSING;
           if
           :: epoch != my_epoch -> outcome = BROKEN
           :: epoch == my_epoch && generation != my_generation -> outcome = THROUGH
           :: epoch == my_epoch && generation == my_generation && broken -> outcome = BROKEN
           :: else
           fi
       };
#if MUTANT == WAITS_FOR_THE_DEAD
       break
#else
       if
       :: outcome != MISSING -> break
       :: else ->
          atomic { MAY_DIE; died = SOMEBODY_DIED(seen_epoch) };
          if
          :: !died -> break
          :: else ->
             died = false;
             break_it();
             if
             :: done -> outcome = BROKEN; break
             :: else
             fi
          fi
       fi
#endif
    od
}

inline count_arrival()
{
    if
    :: UNCHANGED ->
       arrivals[generation] = arrivals[generation] | BIT(me);
       spoilt[generation] = spoilt[generation] || spoils;
       my_epoch = epoch;
       my_generation = generation;
       if
       :: arrived + 1 < PARTIES -> arrived++; outcome = MISSING
       :: else -> arrived = 0; generation++; outcome = THROUGH
       fi;
       done = true
    :: else -> done = false
    fi;
    spoils = false
}

inline arrive()
{
    done = false;
    do
    :: done -> break
    :: else ->
       atomic { MAY_DIE; SEE };
       if
       :: seen_broken -> outcome = BROKEN; break
       :: else
       fi;
#if MUTANT != NOTES_LATE
       atomic { MAY_DIE; note[me] = seen_epoch + 1 };
#endif
       atomic {
           MAY_DIE;
#if MUTANT != COUNTS_THE_DEAD
           died = SOMEBODY_DIED(seen_epoch);
#endif
           spoils = !died && (arrivals[seen_generation] & dead) != 0
       };
       if
       :: died -> died = false; break_it(); outcome = BROKEN; break
       :: else
       fi;
       atomic { MAY_DIE; count_arrival() };
#if MUTANT == NOTES_LATE
       atomic { MAY_DIE; note[me] = seen_epoch + 1 };
#endif
#if MUTANT != LAST_DOES_NOT_WAKE
       if
       :: done && outcome == THROUGH -> let_go()
       :: else
       fi
#endif
    od
}

inline wait_for_others()
{
    atomic { MAY_DIE; sleepers++ };
    do
    :: outcome != MISSING || timed_out -> break
    :: else ->
       atomic { MAY_DIE; known_moment = moment };
#if MUTANT == READS_TURNS_LATE
       look();
       atomic { MAY_DIE; known_turns = turns };
#else
       atomic { MAY_DIE; known_turns = turns };
       look();
#endif
       if
       :: outcome == MISSING -> FORGET; sleep(WORD, turns == known_turns)
       :: else
       fi;
       known_turns = 0
    od;
    atomic { MAY_DIE; sleepers--; known_moment = 0 };
    do
    :: outcome != MISSING -> break
    :: else -> /* time is over */
       look();
       if
       :: outcome == MISSING ->
          break_it();
          if
          :: done -> outcome = BROKEN
          :: else
          fi
       :: else
       fi
    od;
    timed_out = false
}

proctype party(byte me)
{
    byte known_moment, watched, buried, known_turns, outcome, my_epoch, my_generation, round;
    byte seen_epoch, seen_generation, seen_arrived;
    bool seen_broken, timed_out, any, done, died, spoils;

    do
    :: round < ROUNDS && outcome != BROKEN ->
       arrive();
       if
       :: outcome == MISSING -> wait_for_others()
       :: else
       fi;
       if
       :: outcome == THROUGH ->
          atomic {
              assert(arrivals[my_generation] == BIT(PARTIES) - 1);
              assert(!spoilt[my_generation]);
              round++;
              FORGET;
              my_epoch = 0;
              my_generation = 0;
              done = false
          }
       :: else
       fi
    :: else -> break
    od;
    atomic {
        finished = finished | BIT(me);
        FORGET;
        outcome = 0; my_epoch = 0; my_generation = 0; round = 0; done = false
    };
    goto end;
killed:
    KERNEL_TELLS(FORGET; known_moment = 0; watched = 0; buried = 0; known_turns = 0; outcome = 0;
                 my_epoch = 0; my_generation = 0; round = 0; timed_out = 0; any = 0; done = 0;
                 died = 0; spoils = 0);
end:
    skip
}

proctype resetter(byte me)
{
    bool any;

    atomic {
        MAY_DIE;
#if MUTANT != NO_NEW_EPOCH
        epoch++;
#endif
        generation++;
        arrived = 0;
        broken = false
    };
    let_go();
    finished = finished | BIT(me);
    goto end;
killed:
    KERNEL_TELLS(any = 0);
end:
    skip
}

proctype judge()
{
    byte sleeping, i;

    atomic {
        timeout ->
        assert((finished | dead | asleep) == ALL);
        do
        :: i < PARTICIPANTS -> sleeping = sleeping + ((asleep & BIT(i)) != 0); i++
        :: else -> break
        od;
        assert(sleeping == 0 || (!broken && !SOMEBODY_DIED(epoch) && sleeping == arrived));
        assert(sleeping < PARTIES)
    }
}

init
{
    byte i;

    atomic {
        choose_fates();
        joined = ALL;
        do
        :: i < PARTIES -> run party(i); i++
        :: i >= PARTIES && i < PARTICIPANTS -> run resetter(i); i++
        :: else -> break
        od;
        i = 0;
        run judge()
    }
}
