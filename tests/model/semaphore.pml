/* SPDX-License-Identifier: MIT */
/*
 * The semaphore, and with it the loop in which everything but locks and queues is waited for.
 *
 *     acquire   CAS count -> count - 1 if there is any. Else count oneself among the sleepers; read
 *               the moment, look again, sleep while the count is 0; count oneself out. Whose time
 *               is over looks once more. (To sleep while the count is what it was before the look
 *               would be wrong: 1, taken by another, and 1 again by a release whose wake-up came
 *               too early.)
 *     release   add to the count; if there are sleepers, wake one
 *
 * Who is killed asleep stays counted. A participant joins the roster first, in steps of its own, so
 * the model says too why a join must tell.
 *
 * Proved, within the bounds that tests/model/run names (participants, deaths, timeouts), with a
 * death before every access to shared memory:
 *   - No unit is made or lost: those that were taken and those that are left are those that were
 *     released, whoever died.
 *   - When nobody can move any more, nobody alive sleeps while there is a unit.
 *
 * Not said: anything about weaker memory than a sequentially consistent one; the maximum; releases
 * of several units at once (they are as many releases).
 */
#ifndef TAKERS
#define TAKERS 2
#endif
#ifndef GIVERS
#define GIVERS 2
#endif
#define PARTICIPANTS (TAKERS + GIVERS)

#include "sleepers.pml"

#define NO_SECOND_LOOK 1
#define RELEASE_WITHOUT_WAKE 2
#define WAKES_FROM_ZERO_ONLY 3
#define SLEEPER_IS_NOT_COUNTED 4
#define WAKES_BEFORE_IT_ADDS 5
#define SLEEPS_ON_WHAT_IT_SAW 6

#define WORD 1

byte count, sleepers;
byte released, taken; /* what is proved, not what is computed */

inline release()
{
#if MUTANT == WAKES_BEFORE_IT_ADDS
    WAKE_SLEEPERS(sleepers, wake_one, WORD);
    atomic { MAY_DIE; count++; released++ }
#elif MUTANT == RELEASE_WITHOUT_WAKE
    atomic { MAY_DIE; count++; released++ }
#elif MUTANT == WAKES_FROM_ZERO_ONLY
    atomic { MAY_DIE; zero = (count == 0); count++; released++ };
    if
    :: zero -> WAKE_SLEEPERS(sleepers, wake_one, WORD)
    :: else
    fi
#else
    atomic { MAY_DIE; count++; released++ };
    WAKE_SLEEPERS(sleepers, wake_one, WORD)
#endif
}

inline look()
{
    atomic {
        MAY_DIE;
        if
        :: count > 0 -> count--; taken++; got = true
        :: else
        fi
    }
}

inline look_and_sleep()
{
    do
    :: got || timed_out -> break
    :: else ->
       atomic { MAY_DIE; known_moment = moment };
#if MUTANT == SLEEPS_ON_WHAT_IT_SAW || MUTANT == NO_SECOND_LOOK
       atomic { MAY_DIE; value = count };
#endif
#if MUTANT != NO_SECOND_LOOK
       look();
#endif
       if
       :: got
       :: else -> sleep(WORD, count == value)
       fi;
       value = 0
    od;
    if
    :: timed_out && !got -> look()
    :: else
    fi
}

inline acquire()
{
    look();
    if
    :: got
    :: else ->
#if MUTANT != SLEEPER_IS_NOT_COUNTED
       atomic { MAY_DIE; sleepers++ };
#endif
       look_and_sleep();
#if MUTANT != SLEEPER_IS_NOT_COUNTED
       atomic { MAY_DIE; sleepers-- }
#endif
    fi
}

proctype taker(byte me)
{
    byte known_moment, watched, buried, value;
    bool got, timed_out;

    join();
    acquire();
    atomic { finished = finished | BIT(me); known_moment = 0; got = 0; timed_out = 0 };
    goto end;
killed:
    KERNEL_TELLS(known_moment = 0; watched = 0; buried = 0; value = 0; got = 0; timed_out = 0);
end:
    skip
}

proctype giver(byte me)
{
    bool any, zero;

    join();
    release();
    finished = finished | BIT(me);
    goto end;
killed:
    KERNEL_TELLS(any = 0; zero = 0);
end:
    skip
}

proctype judge()
{
    atomic {
        timeout ->
        assert((finished | dead | asleep) == ALL);
        assert(released == taken + count);
        assert(asleep == 0 || count == 0)
    }
}

init
{
    byte i;

    atomic {
        choose_fates();
        do
        :: i < TAKERS -> run taker(i); i++
        :: i >= TAKERS && i < PARTICIPANTS -> run giver(i); i++
        :: else -> break
        od;
        i = 0;
        run judge()
    }
}
