/* SPDX-License-Identifier: MIT */
/*
 * What all models share: who takes part, deaths, and sleeping as brood__roster_sleep() does it.
 *
 * A participant is a number; sets of participants are bits of a byte. MAY_DIE stands before each
 * access to shared memory, inside the atomic step of it: a process may stop there for ever.
 * How many die, and how many sleeps end by a timeout, is chosen before anything runs, so that a
 * state in which nobody can move any more is met with every number of deaths.
 *
 * The kernel, as far as it matters:
 *   - A sleep begins only if the word, the roster's moment and the life words of all whom the
 *     sleeper watches are unchanged: one step, as futex_waitv() does it.
 *   - A death is two steps: the life word is marked, then ONE of those queued on it is woken.
 *   - Who has been woken but has not run yet is still queued on its other words, and may swallow a
 *     wake-up there. It may die before it runs.
 *   - Which of several sleepers is woken is not determined.
 *
 * A burial is three steps in one word, as in the code: the dead one goes in and the count of deaths
 * up; it is noticed, and everybody is told; it goes out. Whoever finds one there does the rest.
 *
 * Who is stopped (STOPS) stands still before an access for ever, and is alive: what the rest can do
 * without it, it must do. One that sleeps and is stopped is no longer queued anywhere, so it takes
 * no wake-up away; one that was woken and is stopped then has taken one.
 *
 * A model includes this file after defining PARTICIPANTS (at most 4), and each of its processes has
 * a label "killed" that does KERNEL_TELLS and ends. A bound of all models: memory is sequentially
 * consistent. The order of single loads and stores on weaker machines is argued where the C code
 * has them.
 */
#define BIT(participant) (1 << (participant))
#define ALL (BIT(PARTICIPANTS) - 1)

#ifndef DEATHS
#define DEATHS 1
#endif
#ifndef STOPS
#define STOPS 0
#endif
#ifndef TIMEOUTS
#define TIMEOUTS 0
#endif
#ifndef MUTANT
#define MUTANT 0
#endif

/* Mutants of what is shared. */
#define NOBODY_WATCHES 90
#define NOTICE_IS_KEPT_SECRET 91
#define JOIN_IS_KEPT_SECRET 92
#define NO_MOMENT 93

byte joined, dead, noticed, finished, halted;
byte asleep, woken;
byte queued_on[PARTICIPANTS]; /* the word; 0: on none, or woken there already */
byte watches[PARTICIPANTS];   /* whose life words it is queued on */
byte moment, deaths_known;
byte burial; /* participant + 1; 0: none is under way */
byte deaths_left, timeouts_left, stops_left;

#define IS_DEAD(participant) ((dead & BIT(participant)) != 0)

#if STOPS > 0
#define MAY_DIE                                                     \
    if                                                              \
    :: true                                                         \
    :: deaths_left > 0 -> deaths_left--; goto killed                \
    :: stops_left > 0 -> stops_left--; halted = halted | BIT(me); false \
    fi
#else
#define MAY_DIE                                                     \
    if                                                              \
    :: true                                                         \
    :: deaths_left > 0 -> deaths_left--; goto killed                \
    fi
#endif

inline choose_fates()
{
    if
    :: deaths_left = 0
#if DEATHS > 0
    :: deaths_left = 1
#endif
#if DEATHS > 1
    :: deaths_left = 2
#endif
    fi;
    if
    :: stops_left = 0
#if STOPS > 0
    :: stops_left = STOPS
#endif
    fi;
    if
    :: timeouts_left = 0
#if TIMEOUTS > 0
    :: timeouts_left = 1
#endif
    fi
}

/* ---- the kernel ---- */

#define WAKE(sleeper) woken = woken | BIT(sleeper)

inline wake_one(futex)
{
    if
    :: queued_on[0] == futex -> queued_on[0] = 0; WAKE(0)
    :: queued_on[1] == futex -> queued_on[1] = 0; WAKE(1)
#if PARTICIPANTS > 2
    :: queued_on[2] == futex -> queued_on[2] = 0; WAKE(2)
#endif
#if PARTICIPANTS > 3
    :: queued_on[3] == futex -> queued_on[3] = 0; WAKE(3)
#endif
    :: else
    fi
}

#define WAKE_IF(sleeper, futex)                                     \
    if                                                              \
    :: queued_on[sleeper] == futex -> queued_on[sleeper] = 0; WAKE(sleeper) \
    :: else                                                         \
    fi

inline wake_all(futex)
{
    d_step {
        WAKE_IF(0, futex);
        WAKE_IF(1, futex);
#if PARTICIPANTS > 2
        WAKE_IF(2, futex);
#endif
#if PARTICIPANTS > 3
        WAKE_IF(3, futex);
#endif
        skip
    }
}

/* Everybody who sleeps is queued on the roster's moment. */
inline wake_everybody()
{
    woken = woken | asleep
}

inline leave_kernel()
{
    queued_on[me] = 0;
    watches[me] = 0;
    asleep = asleep & ~BIT(me);
    woken = woken & ~BIT(me)
}

#define WATCHER(sleeper)                                            \
    (watches[sleeper] & BIT(me)) -> watches[sleeper] = watches[sleeper] & ~BIT(me); WAKE(sleeper)

/* At the label "killed": ON_DEATH is what the model itself notes about it. */
#define KERNEL_TELLS(on_death)                                      \
    atomic {                                                        \
        leave_kernel();                                             \
        dead = dead | BIT(me);                                      \
        on_death                                                    \
    };                                                              \
    atomic {                                                        \
        if                                                          \
        :: WATCHER(0)                                               \
        :: WATCHER(1)                                               \
        WATCHERS_MORE                                               \
        :: else                                                     \
        fi                                                          \
    }
#if PARTICIPANTS > 3
#define WATCHERS_MORE :: WATCHER(2) :: WATCHER(3)
#elif PARTICIPANTS > 2
#define WATCHERS_MORE :: WATCHER(2)
#else
#define WATCHERS_MORE
#endif

/* ---- the roster ---- */

inline tell_everybody()
{
    atomic { MAY_DIE; moment++ };
    atomic { MAY_DIE; wake_everybody() }
}

inline join()
{
    atomic { MAY_DIE; joined = joined | BIT(me) };
#if MUTANT != JOIN_IS_KEPT_SECRET
    tell_everybody()
#endif
}

#define UNKNOWN_DEAD (dead & joined & ~noticed)

inline begin_burial()
{
    d_step {
        if
        :: UNKNOWN_DEAD & BIT(0) -> burial = 1
        :: !(UNKNOWN_DEAD & BIT(0)) && (UNKNOWN_DEAD & BIT(1)) -> burial = 2
        :: !(UNKNOWN_DEAD & 3) && (UNKNOWN_DEAD & BIT(2)) -> burial = 3
        :: !(UNKNOWN_DEAD & 7) && (UNKNOWN_DEAD & BIT(3)) -> burial = 4
        fi;
        buried = burial;
        deaths_known++
    }
}

/* The second and the third step, by any number of processes at once. */
inline end_burial()
{
    atomic { MAY_DIE; if :: burial == buried -> noticed = noticed | BIT(buried - 1) :: else fi };
#if MUTANT != NOTICE_IS_KEPT_SECRET
    tell_everybody();
#endif
    atomic { MAY_DIE; if :: burial == buried -> burial = 0 :: else fi; buried = 0 }
}

/* Buries the dead that nobody has noticed, one by one. Uses the local variable buried. */
inline look_for_deaths()
{
    do
    :: atomic { burial != 0 -> MAY_DIE; buried = burial }; end_burial()
    :: atomic { burial == 0 && UNKNOWN_DEAD != 0 -> MAY_DIE; begin_burial() }; end_burial()
    :: atomic { burial == 0 && UNKNOWN_DEAD == 0 -> MAY_DIE; break }
    od
}

#if MUTANT == NO_MOMENT
#define SAME_MOMENT true
#else
#define SAME_MOMENT (moment == known_moment)
#endif

/* EXPIRES: a sleep that the algorithm itself bounds; it ends when nothing else can happen any more,
 * with the local variable expired.
 * UNCHANGED: the word still has the value that the sleeper saw. Uses the local variables
 * known_moment, watched, buried and timed_out. */
inline sleep(futex, unchanged)
{
    atomic {
        MAY_DIE;
#if MUTANT == NOBODY_WATCHES
        watched = 0
#else
        watched = joined & ~noticed & ~BIT(me)
#endif
    };
    /* A slot that shows no death may have been cleared by one who was killed before it told. */
    atomic { MAY_DIE; buried = burial };
    atomic {
        MAY_DIE;
        if
        :: buried == 0 && (unchanged) && SAME_MOMENT && (watched & dead) == 0 ->
           d_step {
               queued_on[me] = futex;
               watches[me] = watched;
               asleep = asleep | BIT(me)
           }
        :: else
        fi;
        buried = 0;
        watched = 0;
        known_moment = 0
    };
    if
    :: atomic { !(asleep & BIT(me)) || (woken & BIT(me)) -> leave_kernel() }
    :: atomic {
           (asleep & BIT(me)) && !(woken & BIT(me)) && timeouts_left > 0 ->
           timeouts_left--;
           timed_out = true;
           leave_kernel()
       }
#ifdef EXPIRES
    :: atomic {
           timeout && (asleep & BIT(me)) && !(woken & BIT(me)) && (EXPIRES) ->
           expired = true;
           leave_kernel()
       }
#endif
    :: atomic { (asleep & BIT(me)) && deaths_left > 0 -> deaths_left--; goto killed }
    fi;
    look_for_deaths()
}

/* ---- a word, and a count of those who sleep on it ---- */

/* The word has been changed before this. WAKE is wake_one or wake_all. */
#define WAKE_SLEEPERS(sleepers, wake, futex)                        \
    atomic { MAY_DIE; any = sleepers > 0 };                         \
    if                                                              \
    :: any -> any = false; atomic { MAY_DIE; wake(futex) }          \
    :: else                                                         \
    fi

/* ---- bells: 2 * sequence + flag, in bell[futex] ---- */

#define RUNG 255 /* no value of a bell */
#define RING(which, wake) \
    atomic { MAY_DIE; seen_bell = bell[which] }; \
    do \
    :: seen_bell & 1 -> \
       atomic { \
           MAY_DIE; \
           if \
           :: bell[which] == seen_bell -> bell[which] = seen_bell + 1; seen_bell = RUNG \
           :: else -> seen_bell = bell[which] \
           fi \
       }; \
       if \
       :: seen_bell == RUNG -> atomic { MAY_DIE; wake(which) }; break \
       :: else \
       fi \
    :: else -> break \
    od; \
    seen_bell = 0

inline arm(which)
{
    atomic { MAY_DIE; bell[which] = bell[which] | 1; armed = bell[which] }
}

#define SAME_BELL(which) (bell[which] == armed)
