/* SPDX-License-Identifier: MIT */
/*
 * The queue: a ring of cells whose words {ticket, state, owner} are the truth, hints where its head
 * and tail are, .closed, and two bells {sequence, flag}: filled for getters, room for putters.
 *
 *     put      walk from the tail to the first EMPTY(t), CAS it to WRITING(t, me); closed:
 *              EMPTY(t+N) and refuse; else write both halves of the message, FULL(t), ring
 *              filled for one
 *     get      load closed; walk from the head past what is over or at the living; CAS the first
 *              FULL(t) to READING(t, me), if no WRITING that was passed has changed; read;
 *              EMPTY(t+N); ring room, and filled too if it is closed
 *     end      it was closed before the walk, which met nothing FULL, and nobody at a cell
 *     repair   whoever meets the cell of a dead one: WRITING to EMPTY(t+N), READING to FULL(t)
 *     wait     read the moment, set the bell's flag, look again, sleep on the bell. Who has slept
 *              and found what it wanted, or that it is closed: sets the flag again, and rings if
 *              there is more, or it is closed (so does a putter that is refused)
 *     ring     if there is the flag: CAS {sequence + 1, no flag}, wake one
 *     close    closed = 1, ring all bells for all
 *
 * Proved, within the bounds that tests/model/run names (cells, putters, getters, messages, deaths,
 * timeouts), with a death before every access to shared memory:
 *   - No message is torn, got twice, or got out of its putter's order (as long as no getter died),
 *     and none is got that was not accepted.
 *   - Once a getter has been told the end, all that was accepted has been got.
 *   - When nobody can move any more: no living getter sleeps while there is a message or the queue
 *     is closed, no living putter while there is room or the queue is closed.
 *   - After that one who comes alone gets every accepted message that nobody has got, and has the
 *     full capacity: no cell is lost.
 *
 * Not said: anything about weaker memory than a sequentially consistent one; rings of more than N
 * cells, with more than one WRITING passed; tickets that come round; several items in a cell;
 * blocks; messages given back; whether a walk that is restarted for ever by others' progress ends.
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
#define PARTICIPANTS (PUTTERS + GETTERS + CLOSERS)

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

#define FILLED 1
#define ROOM 2

#define EMPTY 0
#define WRITING 1
#define FULL 2
#define READING 3

typedef cell {
    byte ticket, state, owner; /* one word */
    byte first, second         /* the halves of the message */
};
cell cells[N];
byte head, tail;
bool closed;
byte bell[3]; /* 2 * sequence + flag, by futex */

/* What is proved, not what is computed. */
short accepted, got; /* bits, by message */
byte newest[PUTTERS + N + 1];
bool ended;

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

/* ---- bells ---- */

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
       recycle_rings()
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
    atomic {
        MAY_DIE;
        SET(ticket + N, EMPTY, 0);
        assert((accepted & (1 << message)) && !(got & (1 << message)));
        got = got | (1 << message);
        message = 0
    };
    recycle_rings();
    atomic { MAY_DIE; if :: leading && head == ticket -> head = ticket + 1 :: else fi };
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
                  assert(GETTER_DEAD || CELL.first > newest[PUTTER_OF(CELL.first)]);
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

/* Is there another message? One access for each cell. */
inline look_for_filled()
{
    atomic { MAY_DIE; ticket = head; start = 0 };
    do
    :: start < N && !more ->
       atomic {
           MAY_DIE;
           if
           :: CELL.ticket == ticket && CELL.state == FULL -> more = true
           :: else
           fi;
           ticket++;
           start++
       }
    :: else -> break
    od;
    atomic { MAY_DIE; more = more || closed; ticket = 0; start = 0 }
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

#define SAME_BELL(which) (bell[which] == armed)

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
          atomic { slept = true; late = timed_out; timed_out = false }
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
          atomic { slept = true; late = timed_out; timed_out = false }
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
    byte known_moment, watched, armed, round;                       \
    bool was_closed, slept, timed_out, late, more
#define FORGET                                                      \
    ticket = 0; start = 0; seen_ticket = 0; seen_state = 0; seen_owner = 0; seen_bell = 0; \
    outcome = 0; known_moment = 0; watched = 0; armed = 0; round = 0; was_closed = 0; \
    slept = 0; timed_out = 0; late = 0; more = 0
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
    assert((finished | dead | asleep) == ALL);
    assert(!SLEEPS_ON(FILLED) || !closed);
    assert(!SLEEPS_ON(ROOM) || !closed);
    assert(!ended || accepted == got);
    ticket = 0;
    do
    :: ticket < N ->
       READ;
       assert(!SLEEPS_ON(FILLED) || seen_state != FULL);
       assert(!SLEEPS_ON(ROOM) || seen_state == FULL);
       assert(seen_state == EMPTY || seen_state == FULL || OWNER_DEAD);
       assert(!asleep || !OWNER_DEAD);
       ticket++
    :: else -> break
    od
}

#define EXTRA(index) (PUTTERS * MESSAGES + 1 + (index))

proctype judge(byte me)
{
    LOCALS;
    GET_LOCALS;

    atomic {
        timeout ->
        nobody_sleeps_in_vain();
        deaths_left = 0;
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
