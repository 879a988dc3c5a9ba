/* SPDX-License-Identifier: MIT */
/*
 * The queue: a ring of cells whose words {ticket, state, owner} are the truth, hints where its head
 * and tail are, .closed, and two bells {sequence, flag}: filled for getters, room for putters.
 *
 *     put      walk from the tail to the first EMPTY(t), CAS it to WRITING(t, me); closed:
 *              EMPTY(t+N), ring as for a get, and filled, and refuse; else write both halves of the
 *              message, FULL(t), ring filled for one
 *     get      load closed; walk from the head past what is over or at the living; CAS the first
 *              FULL(t) to READING(t, me), if no WRITING that was passed has changed; read;
 *              EMPTY(t+N); ring room, and filled too if it is closed; or give it back: FULL(t),
 *              ring filled for one
 *     end      it was closed before the walk, which met nothing FULL, and nobody at a cell
 *     repair   whoever meets the cell of a dead one: WRITING to EMPTY(t+N), READING to FULL(t)
 *     wait     read the moment, set the bell's flag, look again, sleep on the bell. Who has slept
 *              and found what it wanted, or that it is closed: sets the flag again, and rings if
 *              there is more, or it is closed (so does a putter that is refused)
 *     doze     a sleep ends by itself after long, as who was woken may be stopped before it looks
 *     ring     if there is the flag: CAS {sequence + 1, no flag}, wake one
 *     close    closed = 1, ring all bells for all
 *
 * Proved, within the bounds that tests/model/run names (cells, putters, getters, messages, deaths,
 * timeouts, returns), with a death, or a stop for ever (STOPS), before every access to shared
 * memory:
 *   - No message is torn, got twice, or got out of its putter's order (as long as no getter died),
 *     and none is got that was not accepted.
 *   - Once a getter has been told the end, all that was accepted has been got.
 *   - When nobody can move any more: no living getter sleeps while there is a message or the queue
 *     is closed, no living putter while there is room or the queue is closed.
 *     If nobody is stopped, that needs no doze (DOZES 0). Who is stopped costs the others no more
 *     than the cell that it is at; without dozes (STOPS 1, DOZES 0) it may cost them a wake-up,
 *     which is found.
 *   - After that (if nobody is stopped) one who comes alone gets every accepted message that nobody
 *     has got, and has the full capacity: no cell is lost.
 *
 * Not said: anything about weaker memory than a sequentially consistent one; rings of more than N
 * cells, with more than one WRITING passed; tickets that come round, and several items in a cell
 * (packed.pml); blocks, and joins (large.pml); whether a walk that is restarted for ever by others'
 * progress ends.
 */
#ifndef N
#define N 2
#endif
#ifndef PUTTERS
#define PUTTERS 1
#endif
#ifndef GETTERS
#define GETTERS 1
#endif
#ifndef MESSAGES
#define MESSAGES 2
#endif
#ifndef CLOSERS
#define CLOSERS 0
#endif
#ifndef GETS
#define GETS (PUTTERS * MESSAGES + 1)
#endif
#ifndef RETURNS
#define RETURNS 0
#endif
#ifndef DOZES
#define DOZES 0
#endif
#define PARTICIPANTS (PUTTERS + GETTERS + CLOSERS)

#define FILLED 1
#define ROOM 2

#define EMPTY 0
#define WRITING 1
#define FULL 2
#define READING 3

/* A look that finds nothing changes nothing, so only the others are waited for. */
#define DOZE_HELPS(sleeper)                                         \
    (dozes_left > 0 && (asleep & ~woken & BIT(sleeper)) != 0 &&     \
     ((queued_on[sleeper] == FILLED && SOMETHING_TO_GET) ||         \
      (queued_on[sleeper] == ROOM && (closed || IS_ROOMY))))
#define EXPIRES DOZE_HELPS(me)
#define IS_AT(index)                                                \
    (cells[index].state == WRITING || cells[index].state == READING)
#define IS_LEFT(index) (IS_AT(index) && IS_DEAD(cells[index].owner))
#define IS_FREE(index) (cells[index].state == EMPTY)
#define IS_FULL(index) (cells[index].state == FULL)
#if N > 1
/* The ticket before that of the free one is claimed or over. */
#define IS_NEXT(index, other)                                       \
    (IS_FREE(index) && (cells[other].ticket >= cells[index].ticket || \
                        (cells[other].ticket + 1 == cells[index].ticket && !IS_FREE(other))))
#define IS_ROOMY (IS_NEXT(0, 1) || IS_NEXT(1, 0) || IS_LEFT(0) || IS_LEFT(1))
#define SOMETHING_TO_GET                                            \
    (IS_FULL(0) || IS_FULL(1) || IS_LEFT(0) || IS_LEFT(1) ||        \
     (closed && !IS_AT(0) && !IS_AT(1)))
#else
#define IS_ROOMY (IS_FREE(0) || IS_LEFT(0))
#define SOMETHING_TO_GET (IS_FULL(0) || IS_LEFT(0) || (closed && !IS_AT(0)))
#endif

#include "sleepers.pml"

#define NO_SECOND_LOOK 1
#define REPAIR_SAME_LAP 2
#define HEAD_OVER_READING 3
#define NO_RECHECK 4
#define NO_BATON 5
#define EARLY_FULL 6
#define ASKS_CLOSED_BEFORE_CLAIM 7
#define ASKS_CLOSED_AFTER_WALK 8
#define LAST_READER_IS_SILENT 9
#define PUT_IS_SILENT 10
#define GET_IS_SILENT 11
#define REFUSED_PASS_NOTHING_ON 12
#define RETURN_IS_SILENT 13

typedef cell {
    byte ticket, state, owner; /* one word */
    byte first, second         /* the halves of the message */
};
cell cells[N];
byte head, tail;
bool closed;
byte dozes_left = DOZES, returns_left = RETURNS;
byte bell[3]; /* by futex */

/* What is proved, not what is computed. */
short accepted, got; /* bits, by message */
byte newest[PUTTERS + N + 1];
bool ended, returned;

/* Messages from 1 on, in the order of their putter; the rest is the judge's. */
#define PUTTER_OF(message) (((message) - 1) / MESSAGES)
#define GETTER_DEAD ((dead >> PUTTERS) != 0)

#define CELL cells[ticket % N]
#define READ                                                        \
    seen_ticket = CELL.ticket;                                      \
    seen_state = CELL.state;                                        \
    seen_owner = CELL.owner
#define SAME                                                        \
    (CELL.ticket == seen_ticket && CELL.state == seen_state && CELL.owner == seen_owner)
#define SET(new_ticket, new_state, new_owner)                       \
    CELL.ticket = new_ticket;                                       \
    CELL.state = new_state;                                         \
    CELL.owner = new_owner

#if MUTANT == REPAIR_SAME_LAP
#define VOID_TICKET seen_ticket
#else
#define VOID_TICKET (seen_ticket + N)
#endif
#define OWNER_DEAD ((seen_state == WRITING || seen_state == READING) && IS_DEAD(seen_owner))

inline repair()
{
    atomic {
        MAY_DIE;
        if
        :: SAME && seen_state == WRITING -> SET(VOID_TICKET, EMPTY, 0)
        :: SAME && seen_state == READING -> SET(seen_ticket, FULL, 0)
        :: else
        fi
    }
}

/* ---- put ---- */

#define LOOKING 0
#define DONE 1
#define NOTHING 2
#define REFUSED 3

inline recycle_rings()
{
#if MUTANT != GET_IS_SILENT
    RING(ROOM, wake_one);
#endif
    atomic { MAY_DIE; was_closed = closed };
#if MUTANT != LAST_READER_IS_SILENT
    if
    :: was_closed -> RING(FILLED, wake_one)
    :: else
    fi;
#endif
    was_closed = false
}

/* CELL is WRITING by me. */
inline fill(message)
{
    atomic { MAY_DIE; if :: tail == start -> tail = ticket + 1 :: else fi };
#if MUTANT != ASKS_CLOSED_BEFORE_CLAIM
    atomic { MAY_DIE; was_closed = closed };
#endif
    if
    :: was_closed ->
       outcome = REFUSED;
       atomic { MAY_DIE; SET(ticket + N, EMPTY, 0) };
       recycle_rings();
       RING(FILLED, wake_one)
    :: else ->
       atomic { MAY_DIE; CELL.first = message };
#if MUTANT == EARLY_FULL
       atomic { MAY_DIE; SET(ticket, FULL, 0); accepted = accepted | (1 << message) };
       atomic { MAY_DIE; CELL.second = message };
#else
       atomic { MAY_DIE; CELL.second = message };
       atomic { MAY_DIE; SET(ticket, FULL, 0); accepted = accepted | (1 << message) };
#endif
#if MUTANT != PUT_IS_SILENT
       RING(FILLED, wake_one);
#endif
       outcome = DONE
    fi
}

inline try_put(message)
{
    atomic {
        MAY_DIE;
        was_closed = closed;
        outcome = (closed -> REFUSED : LOOKING)
    };
    atomic { MAY_DIE; ticket = tail; start = tail };
    do
    :: outcome != LOOKING -> break
    :: else ->
       atomic { MAY_DIE; READ };
       if
       :: seen_ticket == ticket && seen_state == EMPTY ->
          atomic {
              MAY_DIE;
              if
              :: SAME -> SET(ticket, WRITING, me); seen_state = WRITING
              :: else
              fi
          };
          if
          :: seen_state == WRITING -> fill(message)
          :: else
          fi
       :: seen_ticket > ticket || (seen_ticket == ticket && seen_state != EMPTY) -> ticket++
       :: seen_ticket < ticket && OWNER_DEAD -> repair()
       :: seen_ticket < ticket && !OWNER_DEAD -> outcome = NOTHING
       fi
    od;
    atomic {
        ticket = 0; start = 0; seen_ticket = 0; seen_state = 0; seen_owner = 0; was_closed = false
    }
}

/* ---- get ---- */

#define NO_CELL 255

inline restart()
{
    atomic { MAY_DIE; ticket = head; leading = true; pending = false; skipped = NO_CELL }
}

/* CELL is READING by me. */
inline read_and_free()
{
    atomic { MAY_DIE; message = CELL.first };
    atomic { MAY_DIE; assert(CELL.second == message) };
    if
#if RETURNS > 0
    :: atomic {
           returns_left > 0 ->
           MAY_DIE;
           returns_left--;
           returned = true;
           SET(ticket, FULL, 0);
           message = 0
       };
#if MUTANT != RETURN_IS_SILENT
       RING(FILLED, wake_one)
#endif
#endif
    :: true ->
       atomic {
           MAY_DIE;
           SET(ticket + N, EMPTY, 0);
           assert((accepted & (1 << message)) && !(got & (1 << message)));
           got = got | (1 << message);
           message = 0
       };
       atomic { MAY_DIE; if :: head == ticket -> head = ticket + 1 :: else fi };
       recycle_rings()
    fi;
    outcome = DONE
}

/* What was skipped is as it was: WRITING by the same one. */
#define SKIPPED cells[skipped % N]
#if MUTANT == NO_RECHECK
#define SKIPPED_SAME true
#else
#define SKIPPED_SAME                                                \
    (skipped == NO_CELL || (SKIPPED.ticket == skipped && SKIPPED.state == WRITING && \
                            SKIPPED.owner == skipped_owner))
#endif

inline take()
{
    atomic { MAY_DIE; unchanged = SKIPPED_SAME };
    if
    :: !unchanged -> restart()
    :: else ->
       atomic {
           MAY_DIE;
           if
           :: SAME ->
              d_step {
                  SET(ticket, READING, me);
                  assert(GETTER_DEAD || returned || CELL.first > newest[PUTTER_OF(CELL.first)]);
                  newest[PUTTER_OF(CELL.first)] = CELL.first
              }
           :: else -> unchanged = false
           fi
       };
       if
       :: unchanged -> unchanged = false; read_and_free()
       :: else
       fi
    fi
}

#if MUTANT == HEAD_OVER_READING
#define LEADS leading
#else
#define LEADS false
#endif

inline follow()
{
    if
    :: leading -> atomic { MAY_DIE; if :: head == ticket -> head = ticket + 1 :: else fi }
    :: else
    fi
}

inline walk()
{
    restart();
    do
    :: outcome != LOOKING -> break
    :: else ->
       atomic { MAY_DIE; READ };
       if
       :: seen_ticket > ticket -> follow(); ticket++
       :: seen_ticket < ticket || (seen_ticket == ticket && seen_state == EMPTY) ->
          outcome = NOTHING
       :: seen_ticket == ticket && seen_state == FULL -> take()
       :: seen_ticket == ticket && OWNER_DEAD -> repair()
       :: seen_ticket == ticket && seen_state == READING && !OWNER_DEAD ->
          pending = true;
          leading = LEADS;
#if MUTANT == HEAD_OVER_READING
          follow();
#endif
          ticket++
       :: seen_ticket == ticket && seen_state == WRITING && !OWNER_DEAD ->
          pending = true;
          if
          :: skipped == NO_CELL ->
             skipped = ticket;
             skipped_owner = seen_owner;
             leading = false;
             ticket++
          :: else -> outcome = NOTHING
          fi
       fi
    od
}

/* outcome: DONE, NOTHING, or REFUSED: the end. */
inline try_get()
{
#if MUTANT == ASKS_CLOSED_AFTER_WALK
    outcome = LOOKING;
    walk();
    atomic { MAY_DIE; was_closed = closed };
#else
    atomic { MAY_DIE; asked_closed = closed; outcome = LOOKING };
    walk();
    was_closed = asked_closed;
#endif
    if
    :: outcome == NOTHING && was_closed && !pending -> outcome = REFUSED
    :: else
    fi;
    atomic {
        ticket = 0; seen_ticket = 0; seen_state = 0; seen_owner = 0; was_closed = false;
        asked_closed = false; skipped = 0; skipped_owner = 0; leading = false; pending = false;
        unchanged = false
    }
}

/* ---- waiting ---- */

/* Is there another message? One access for each cell. The message of a dead getter is one. */
inline look_for_filled()
{
    atomic { MAY_DIE; ticket = head };
    do
    :: atomic { MAY_DIE; if :: CELL.ticket > ticket -> ticket++ :: else -> break fi }
    od;
    start = 0;
    do
    :: start < N && !more ->
       atomic { MAY_DIE; READ };
       if
       :: seen_ticket < ticket || (seen_ticket == ticket && seen_state == EMPTY) -> break
       :: seen_ticket == ticket && seen_state == FULL -> more = true
       :: seen_ticket == ticket && seen_state == READING && OWNER_DEAD -> repair(); more = true
       :: else -> ticket++; start++
       fi
    :: else -> break
    od;
    atomic {
        MAY_DIE;
        more = more || closed;
        ticket = 0; start = 0; seen_ticket = 0; seen_state = 0; seen_owner = 0
    }
}

inline look_for_room()
{
    atomic { MAY_DIE; ticket = tail };
    do
    :: atomic {
           MAY_DIE;
           if
           :: CELL.ticket > ticket || (CELL.ticket == ticket && CELL.state != EMPTY) -> ticket++
           :: else -> more = (CELL.ticket == ticket); break
           fi
       }
    od;
#if MUTANT == REFUSED_PASS_NOTHING_ON
    ticket = 0
#else
    atomic { MAY_DIE; more = more || closed; ticket = 0 }
#endif
}

/* Who has slept took a ring that was for one. */
#define PASS_ON(which, look)                                        \
    arm(which);                                                     \
    look();                                                         \
    armed = 0;                                                      \
    if                                                              \
    :: more -> more = false; RING(which, wake_one)                  \
    :: else                                                         \
    fi

inline get()
{
    try_get();
    do
    :: outcome != NOTHING || timed_out -> break
    :: else ->
       atomic { MAY_DIE; known_moment = moment };
       arm(FILLED);
#if MUTANT == NO_SECOND_LOOK
       if
       :: slept -> try_get()
       :: else
       fi;
#else
       try_get();
#endif
       if
       :: outcome != NOTHING || late -> timed_out = late
       :: else ->
          sleep(FILLED, SAME_BELL(FILLED));
          atomic {
              slept = true;
              late = timed_out;
              timed_out = false;
              dozes_left = dozes_left - expired;
              expired = false
          }
       fi;
       armed = 0
    od;
#if MUTANT != NO_BATON
    if
    :: slept && outcome != NOTHING -> PASS_ON(FILLED, look_for_filled)
    :: else
    fi;
#endif
    slept = false
}

inline put(message)
{
    try_put(message);
    do
    :: outcome != NOTHING || timed_out -> break
    :: else ->
       atomic { MAY_DIE; known_moment = moment };
       arm(ROOM);
       try_put(message);
       if
       :: outcome != NOTHING || late -> timed_out = late
       :: else ->
          sleep(ROOM, SAME_BELL(ROOM));
          atomic {
              slept = true;
              late = timed_out;
              timed_out = false;
              dozes_left = dozes_left - expired;
              expired = false
          }
       fi;
       armed = 0
    od;
#if MUTANT == REFUSED_PASS_NOTHING_ON
    if
    :: slept && outcome == DONE -> PASS_ON(ROOM, look_for_room)
    :: else
    fi;
#elif MUTANT != NO_BATON
    if
    :: slept && outcome != NOTHING -> PASS_ON(ROOM, look_for_room)
    :: else
    fi;
#endif
    slept = false
}

/* ---- who takes part ---- */

#define LOCALS                                                      \
    byte ticket, start, seen_ticket, seen_state, seen_owner, seen_bell, outcome; \
    byte known_moment, watched, buried, armed, round;                       \
    bool was_closed, slept, timed_out, expired, late, more
#define FORGET                                                      \
    ticket = 0; start = 0; seen_ticket = 0; seen_state = 0; seen_owner = 0; seen_bell = 0; \
    outcome = 0; known_moment = 0; watched = 0; buried = 0; armed = 0; round = 0; was_closed = 0; \
    slept = 0; timed_out = 0; expired = 0; late = 0; more = 0
#define GET_LOCALS                                                  \
    byte message, skipped, skipped_owner;                           \
    bool asked_closed, leading, pending, unchanged
#define FORGET_GET                                                  \
    message = 0; skipped = 0; skipped_owner = 0; asked_closed = 0; leading = 0; pending = 0; \
    unchanged = 0

proctype putter(byte me)
{
    LOCALS;

    do
    :: round < MESSAGES && outcome != REFUSED && !timed_out ->
       put(me * MESSAGES + round + 1);
       round++
    :: else -> break
    od;
    atomic { finished = finished | BIT(me); FORGET };
    goto end;
killed:
    KERNEL_TELLS(FORGET);
end:
    skip
}

proctype getter(byte me)
{
    LOCALS;
    GET_LOCALS;

    do
    :: round < GETS && outcome != REFUSED && !timed_out -> get(); round++
    :: else -> break
    od;
    atomic {
        if
        :: outcome == REFUSED -> assert(accepted == got); ended = true
        :: else
        fi;
        finished = finished | BIT(me);
        FORGET;
        FORGET_GET
    };
    goto end;
killed:
    KERNEL_TELLS(FORGET; FORGET_GET);
end:
    skip
}

proctype closer(byte me)
{
    byte seen_bell;

    atomic { MAY_DIE; closed = true };
    RING(FILLED, wake_all);
    RING(ROOM, wake_all);
    finished = finished | BIT(me);
    goto end;
killed:
    KERNEL_TELLS(seen_bell = 0);
end:
    skip
}

/* ---- afterwards ---- */

#define SLEEPS_ON(which) (queued_on[0] == which || queued_on[1] == which || SLEEPS_MORE(which))
#if PARTICIPANTS > 3
#define SLEEPS_MORE(which) (queued_on[2] == which || queued_on[3] == which)
#elif PARTICIPANTS > 2
#define SLEEPS_MORE(which) (queued_on[2] == which)
#else
#define SLEEPS_MORE(which) false
#endif

inline nobody_sleeps_in_vain()
{
    assert((finished | dead | asleep | halted) == ALL);
    assert(!SLEEPS_ON(FILLED) || !SOMETHING_TO_GET);
    assert(!SLEEPS_ON(ROOM) || !(closed || IS_ROOMY));
    assert(!ended || accepted == got);
    assert(halted != 0 || !SLEEPS_ON(FILLED) || !closed);
    ticket = 0;
    do
    :: ticket < N && halted == 0 ->
       READ;
       assert(!SLEEPS_ON(FILLED) || seen_state != FULL);
       assert(!SLEEPS_ON(ROOM) || seen_state == FULL);
       assert(seen_state == EMPTY || seen_state == FULL || OWNER_DEAD);
       assert(!asleep || !OWNER_DEAD);
       ticket++
    :: else -> break
    od
}

#if PARTICIPANTS > 3
#define SOMEBODY_MAY_DOZE (DOZE_HELPS(0) || DOZE_HELPS(1) || DOZE_HELPS(2) || DOZE_HELPS(3))
#elif PARTICIPANTS > 2
#define SOMEBODY_MAY_DOZE (DOZE_HELPS(0) || DOZE_HELPS(1) || DOZE_HELPS(2))
#else
#define SOMEBODY_MAY_DOZE (DOZE_HELPS(0) || DOZE_HELPS(1))
#endif

#define EXTRA(index) (PUTTERS * MESSAGES + 1 + (index))

proctype judge(byte me)
{
    LOCALS;
    GET_LOCALS;

    atomic {
        timeout && !SOMEBODY_MAY_DOZE ->
        nobody_sleeps_in_vain();
        if
        :: halted != 0 -> ticket = 0; goto end
        :: else
        fi;
        deaths_left = 0;
        returns_left = 0;
        /* Only the cells are looked at from here on: nobody may wake any more. */
        bell[FILLED] = 0;
        bell[ROOM] = 0;
        closed = false;
        do
        :: outcome != NOTHING -> try_get()
        :: else -> break
        od;
        assert(accepted == got);
        do
        :: round < N -> try_put(EXTRA(round)); assert(outcome == DONE); round++
        :: else -> break
        od;
        try_put(EXTRA(N));
        assert(outcome == NOTHING);
        do
        :: round > 0 -> try_get(); assert(outcome == DONE); round--
        :: else -> break
        od;
        assert(accepted == got);
        goto end
    };
killed:
    assert(false);
end:
    skip
}

init
{
    byte i;

    atomic {
        do
        :: i < N -> cells[i].ticket = i; i++
        :: else -> break
        od;
        choose_fates();
        joined = ALL;
        i = 0;
        do
        :: i < PUTTERS -> run putter(i); i++
        :: i >= PUTTERS && i < PUTTERS + GETTERS -> run getter(i); i++
        :: i >= PUTTERS + GETTERS && i < PARTICIPANTS -> run closer(i); i++
        :: else -> break
        od;
        i = 0;
        run judge(PARTICIPANTS)
    }
}
