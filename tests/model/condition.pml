/* SPDX-License-Identifier: MIT */
/*
 * The condition: a sequence number that every signal increments, who sleeps on it, and a lock.
 *
 *     wait     with the lock: read the number and the count of deaths; release the lock; count
 *              oneself among the sleepers; read the moment, look, sleep on the number; count
 *              oneself out; take the lock again. Whose time is over looks once more.
 *     look     another number: woken; another count of deaths: told of it; else wait on
 *     signal   number + 1; if there are sleepers, wake one
 *
 * They are used as one uses them: who brings something adds it with the lock, releases, and
 * signals; who wants something waits until there is some. The lock is one step here (lock.pml is
 * about it), and that of a dead owner can be taken.
 *
 * Proved, within the bounds that tests/model/run names (takers, givers, deaths, timeouts), with a
 * death before every access to shared memory:
 *   - Nothing is taken that was not brought, and nothing twice.
 *   - When nobody can move any more, nobody alive sleeps while there is something to take.
 *   - A living sleeper has been told of every death since it began to wait.
 *
 * Not said: anything about weaker memory than a sequentially consistent one; signals to several
 * conditions; sequence numbers that come round during one wait.
 */
#ifndef TAKERS
#define TAKERS 2
#endif
#ifndef GIVERS
#define GIVERS 2
#endif
#define PARTICIPANTS (TAKERS + GIVERS)

#include "sleepers.pml"

#define READS_NUMBER_LATE 1
#define WAKES_BEFORE_IT_COUNTS 2
#define SIGNAL_WITHOUT_WAKE 3
#define SLEEPER_IS_NOT_COUNTED 4
#define NOT_TOLD_OF_DEATHS 5
#define LOCK_OF_THE_DEAD_STAYS 6

#define WORD 1

byte owner; /* of the lock: participant + 1 */
byte number, sleepers;
byte store; /* what there is to take */

#if MUTANT == LOCK_OF_THE_DEAD_STAYS
#define CAN_LOCK (owner == 0)
#else
#define CAN_LOCK (owner == 0 || IS_DEAD(owner - 1))
#endif

inline lock()
{
    if
    :: atomic { CAN_LOCK -> MAY_DIE; owner = me + 1 }
    :: atomic { !(CAN_LOCK) && deaths_left > 0 -> deaths_left--; goto killed }
    fi
}

inline unlock()
{
    atomic { MAY_DIE; assert(owner == me + 1); owner = 0 }
}

inline signal()
{
#if MUTANT == WAKES_BEFORE_IT_COUNTS
    WAKE_SLEEPERS(sleepers, wake_one, WORD);
    atomic { MAY_DIE; number++ }
#elif MUTANT == SIGNAL_WITHOUT_WAKE
    atomic { MAY_DIE; number++ }
#else
    atomic { MAY_DIE; number++ };
    WAKE_SLEEPERS(sleepers, wake_one, WORD)
#endif
}

inline look()
{
    atomic { MAY_DIE; over = (number != my_number) };
#if MUTANT != NOT_TOLD_OF_DEATHS
    atomic { MAY_DIE; over = over || deaths_known != my_deaths }
#endif
}

inline look_and_sleep()
{
    do
    :: over || timed_out -> break
    :: else ->
       atomic { MAY_DIE; known_moment = moment };
       atomic { MAY_DIE; value = number };
       look();
       if
       :: over
       :: else -> sleep(WORD, number == value)
       fi;
       value = 0
    od
}

inline wait()
{
    over = false;
    atomic { MAY_DIE; my_number = number };
    atomic { MAY_DIE; my_deaths = deaths_known };
    unlock();
#if MUTANT == READS_NUMBER_LATE
    atomic { MAY_DIE; my_number = number };
#endif
#if MUTANT != SLEEPER_IS_NOT_COUNTED
    atomic { MAY_DIE; sleepers++ };
#endif
    look_and_sleep();
#if MUTANT != SLEEPER_IS_NOT_COUNTED
    atomic { MAY_DIE; sleepers-- };
#endif
    lock()
}

proctype taker(byte me)
{
    byte known_moment, watched, buried, value, my_number, my_deaths;
    bool over, timed_out, taken;

    lock();
    do
    :: taken || timed_out -> break
    :: else ->
       if
       :: store > 0 -> atomic { MAY_DIE; store--; taken = true }
       :: else -> wait()
       fi
    od;
    if
    :: timed_out && !taken && store > 0 -> atomic { MAY_DIE; store--; taken = true }
    :: else
    fi;
    unlock();
    atomic {
        finished = finished | BIT(me);
        known_moment = 0; my_number = 0; my_deaths = 0; over = 0; timed_out = 0; taken = 0
    };
    goto end;
killed:
    KERNEL_TELLS(known_moment = 0; watched = 0; buried = 0; value = 0; my_number = 0;
                 my_deaths = 0; over = 0; timed_out = 0; taken = 0);
end:
    skip
}

proctype giver(byte me)
{
    bool any;

    lock();
    atomic { MAY_DIE; store++ };
    unlock();
    signal();
    finished = finished | BIT(me);
    goto end;
killed:
    KERNEL_TELLS(any = 0);
end:
    skip
}

proctype judge()
{
    atomic {
        timeout ->
        assert((finished | dead | asleep) == ALL);
        assert(store <= GIVERS);
        assert(asleep == 0 || store == 0);
        assert(asleep == 0 || (dead & ~noticed) == 0)
    }
}

init
{
    byte i;

    atomic {
        choose_fates();
        joined = ALL;
        do
        :: i < TAKERS -> run taker(i); i++
        :: i >= TAKERS && i < PARTICIPANTS -> run giver(i); i++
        :: else -> break
        od;
        i = 0;
        run judge()
    }
}
