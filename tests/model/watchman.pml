/* SPDX-License-Identifier: MIT */
/*
 * Sleeping among more participants than one can watch (sleep_among_many() of the roster): one word,
 * the post, names the sleeper that looks at all from time to time, the watchman. The others watch
 * that one.
 *
 *     sleep      the post is empty, or its holder dead: CAS to me, wake all who sleep on it
 *     watchman   sleep on the word for a beat and look at all, until something else than the beat
 *                ends it; CAS post me -> 0
 *     others     sleep on the word, the post, and the watchman's life; and a rare look at all
 *     all        who has slept and finds the post empty wakes one of those who sleep on it
 *
 * Whoever looks buries the dead and tells everybody (sleepers.pml). Nobody here watches anybody but
 * the watchman, as if all slots that one can watch were others' already. The sleepers want a unit
 * each; givers bring some, so that the post changes hands at any moment; a bystander does nothing
 * but die.
 *
 * Time stands still while anything else can happen: then a beat ends if there is a death to find,
 * and after that the rare look, if there is a death to find or the post is empty. So the search
 * says what hangs on the beat, and what on the rare look.
 *
 * Proved, within the bounds that tests/model/run names (sleepers, givers, deaths, stops, timeouts),
 * with a death or a stop before every access to shared memory:
 *   - When nobody can move any more: each death has been noticed, if anybody alive sleeps, and the
 *     post is held by one alive, who sleeps and looks, or is stopped.
 *   - The rare look is needed only when nobody has the post, or the one who has it is stopped, or
 *     both that one and who was woken for its death are dead or stopped, or who took the post was
 *     killed before it had woken all. (Without TAKER_WAKES_ALL also when all who sleep watch a
 *     former watchman: a hand-over by itself wakes some and not all.) If nobody but a bystander is
 *     killed, the rare look is not needed at all (DEATHS 0, RARE_LOOKS 0).
 *   - Nobody alive sleeps while there is a unit, but for those taken along by one that is stopped.
 *
 * Not said: anything about weaker memory than a sequentially consistent one; sleepers of both kinds
 * at once, as when the roster grows or shrinks over the number that one can watch; joins; how long
 * a beat is.
 */
#ifndef SLEEPERS
#define SLEEPERS 2
#endif
#ifndef GIVERS
#define GIVERS 0
#endif
#ifndef RARE_LOOKS
#define RARE_LOOKS 1
#endif
#ifndef TAKER_WAKES_ALL
#define TAKER_WAKES_ALL 1
#endif
#ifndef BYSTANDERS
#define BYSTANDERS 1
#endif
#define PARTICIPANTS (SLEEPERS + GIVERS + BYSTANDERS)

#include "sleepers.pml"

#define POST_IS_LEFT_SILENTLY 1
#define POST_IS_KEPT 2
#define WATCHMAN_IS_NOT_WATCHED 3
#define SLEEPS_ON_AN_EMPTY_POST 4
#define SLEEPS_ON_THE_DEAD 5

#define WORD 1

byte count;                /* units; the word that they sleep on */
byte post;                 /* participant + 1 */
byte queued_on_post;       /* bits */
byte looks_at_all;         /* who sleeps as the watchman, bits */

/* What is proved, not what is computed. */
byte given, taken;
byte told_of; /* for whose post all were woken last */

#define MINE (me + 1)
#define HOLDER_DEAD(holder) ((holder) == 0 || IS_DEAD((holder) - 1))
#define SOMETHING_TO_FIND (UNKNOWN_DEAD != 0 || burial != 0)
#define BEAT_IS_DUE (looks_at_all != 0 && SOMETHING_TO_FIND)

inline wake_one_at_post()
{
    if
    :: queued_on_post & BIT(0) -> queued_on_post = queued_on_post & ~BIT(0); WAKE(0)
    :: queued_on_post & BIT(1) -> queued_on_post = queued_on_post & ~BIT(1); WAKE(1)
#if SLEEPERS > 2
    :: queued_on_post & BIT(2) -> queued_on_post = queued_on_post & ~BIT(2); WAKE(2)
#endif
    :: else
    fi
}

inline leave()
{
    leave_kernel();
    queued_on_post = queued_on_post & ~BIT(me);
    looks_at_all = looks_at_all & ~BIT(me)
}

#define ASLEEP (asleep & BIT(me))
#define UNTOUCHED (ASLEEP && !(woken & BIT(me)))

/* In the kernel, or not at all. TIME: when the sleep ends by itself, in the end. */
inline be_asleep(time)
{
    if
    :: atomic { !UNTOUCHED -> leave() }
    :: atomic { UNTOUCHED && timeouts_left > 0 -> timeouts_left--; timed_out = true; leave() }
    :: atomic { timeout && UNTOUCHED && (time) -> beat = true; leave() }
    :: atomic { ASLEEP && deaths_left > 0 -> deaths_left--; goto killed }
#if STOPS > 0
    :: atomic { UNTOUCHED && stops_left > 0 ->
                leave(); stops_left--; halted = halted | BIT(me); false }
#endif
    fi
}

inline look_for_all()
{
    do
    :: atomic {
           MAY_DIE;
           if
           :: count == 0 && moment == known_moment ->
              d_step {
                  queued_on[me] = WORD;
                  asleep = asleep | BIT(me);
                  looks_at_all = looks_at_all | BIT(me)
              }
           :: else
           fi
       };
       be_asleep(SOMETHING_TO_FIND);
       look_for_deaths();
       if
       :: beat && moment == known_moment -> beat = false
       :: else -> break
       fi
    od;
    beat = false;
#if MUTANT != POST_IS_KEPT
    atomic { MAY_DIE; if :: post == MINE -> post = 0 :: else fi }
#endif
}

#if MUTANT == SLEEPS_ON_AN_EMPTY_POST
#define SAME_POST true
#else
#define SAME_POST (post == seen_post)
#endif

#define RARE_LOOK_IS_DUE \
    (RARE_LOOKS && !BEAT_IS_DUE && (SOMETHING_TO_FIND || post == 0))

/* The post is empty; or who has it is stopped; or that one is dead, and so is the one that the
 * kernel woke for it, or it is stopped. */
#define SOMEBODY_ELSE_FELL(holder) \
    (((dead & ~BIT(holder) & (BIT(SLEEPERS) - 1)) | halted) != 0)
#define NOBODY_COULD_LOOK                                           \
    (post == 0 || (halted & BIT(post - 1)) ||                       \
     (IS_DEAD(post - 1) && SOMEBODY_ELSE_FELL(post - 1)))

/* All who slept, and still do or have just woken by time, watch a former watchman. */
#if TAKER_WAKES_ALL
#define ALL_ARE_BEHIND (told_of != post) /* it was killed before it woke them */
#else
#define ALL_ARE_BEHIND (seen_post != post && !WATCHED(post - 1))
#endif
#if PARTICIPANTS > 3
#define WATCHED(holder) \
    (((watches[0] | watches[1] | watches[2] | watches[3]) & BIT(holder)) != 0)
#else
#define WATCHED(holder) (((watches[0] | watches[1] | watches[2]) & BIT(holder)) != 0)
#endif

inline watch_watchman()
{
    /* The life word as it is now: the kernel sees whether it changes. */
    atomic { MAY_DIE; was_dead = HOLDER_DEAD(seen_post) };
#if MUTANT == SLEEPS_ON_THE_DEAD
    if
#else
    if
    :: was_dead
#endif
    :: else ->
       atomic {
           MAY_DIE;
           if
           :: count == 0 && moment == known_moment && SAME_POST &&
              HOLDER_DEAD(seen_post) == was_dead ->
              d_step {
                  queued_on[me] = WORD;
                  queued_on_post = queued_on_post | BIT(me);
#if MUTANT != WATCHMAN_IS_NOT_WATCHED
                  watches[me] = BIT(seen_post - 1);
#endif
                  asleep = asleep | BIT(me)
              }
           :: else
           fi
       };
       be_asleep(RARE_LOOK_IS_DUE);
       if
       :: beat ->
          beat = false;
          assert(NOBODY_COULD_LOOK || ALL_ARE_BEHIND)
       :: else
       fi;
       look_for_deaths()
    fi;
    was_dead = false
}

inline sleep_among_many()
{
    atomic { MAY_DIE; buried = burial };
    if
    :: buried != 0 -> buried = 0
    :: else ->
       atomic { MAY_DIE; seen_post = post };
       atomic { MAY_DIE; vacant = HOLDER_DEAD(seen_post) };
       if
       :: vacant ->
          vacant = false;
          atomic {
              MAY_DIE;
              if
              :: post == seen_post -> post = MINE; seen_post = MINE
              :: else -> seen_post = post
              fi
          };
#if TAKER_WAKES_ALL
          if
          :: seen_post == MINE ->
             atomic { MAY_DIE; woken = woken | queued_on_post; queued_on_post = 0; told_of = MINE }
          :: else
          fi
#endif
       :: else
       fi;
       if
       :: seen_post == MINE -> look_for_all()
       :: seen_post != MINE ->
          atomic { MAY_DIE; vacant = HOLDER_DEAD(seen_post) };
          if
          :: !vacant -> watch_watchman()
          :: else -> vacant = false
          fi
       fi;
       seen_post = 0;
#if MUTANT != POST_IS_LEFT_SILENTLY
       atomic { MAY_DIE; vacant = (post == 0) };
       if
       :: vacant -> vacant = false; atomic { MAY_DIE; wake_one_at_post() }
       :: else
       fi
#endif
    fi;
    look_for_deaths()
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

proctype sleeper(byte me)
{
    byte known_moment, buried, seen_post;
    bool got, timed_out, beat, vacant, was_dead;

    do
    :: got || timed_out -> break
    :: else ->
       atomic { MAY_DIE; known_moment = moment };
       look();
       if
       :: got
       :: else -> sleep_among_many()
       fi
    od;
    if
    :: timed_out && !got -> look()
    :: else
    fi;
    atomic { finished = finished | BIT(me); known_moment = 0; got = 0; timed_out = 0 };
    goto end;
killed:
    KERNEL_TELLS(queued_on_post = queued_on_post & ~BIT(me);
                 looks_at_all = looks_at_all & ~BIT(me); known_moment = 0; buried = 0;
                 seen_post = 0; got = 0; timed_out = 0; beat = 0; vacant = 0; was_dead = 0);
end:
    skip
}

proctype giver(byte me)
{
    atomic { MAY_DIE; count++; given++ };
    atomic { MAY_DIE; wake_one(WORD) };
    finished = finished | BIT(me);
    goto end;
killed:
    KERNEL_TELLS(skip);
end:
    skip
}

/* Its death costs none of the others'. */
proctype bystander(byte me)
{
    if
    :: finished = finished | BIT(me); goto end
    :: goto killed
    fi;
killed:
    KERNEL_TELLS(skip);
end:
    skip
}

proctype judge()
{
    byte sleeping;

    atomic {
        timeout && !BEAT_IS_DUE && !(asleep != 0 && RARE_LOOK_IS_DUE) ->
        sleeping = asleep & ~dead;
        assert((finished | dead | asleep | halted) == ALL);
        assert(given == taken + count);
        assert(sleeping == 0 || !SOMETHING_TO_FIND);
        assert(sleeping == 0 || !HOLDER_DEAD(post));
        assert(sleeping == 0 || ((looks_at_all | halted) & BIT(post - 1)));
        assert(sleeping == 0 || count == 0 || halted != 0)
    }
}

init
{
    byte i;

    atomic {
        choose_fates();
        joined = ALL;
        do
        :: i < SLEEPERS -> run sleeper(i); i++
        :: i >= SLEEPERS && i < SLEEPERS + GIVERS -> run giver(i); i++
        :: i >= SLEEPERS + GIVERS && i < PARTICIPANTS -> run bystander(i); i++
        :: else -> break
        od;
        i = 0;
        run judge()
    }
}
