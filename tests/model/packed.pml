/* SPDX-License-Identifier: MIT */
/*
 * The cells of a queue that packs several items into one, and the tickets in their words.
 *
 *     put      walk from the tail to the first EMPTY(t), CAS it to WRITING(t, me); write how many
 *              and each item; CAS to FULL(t, first 0)
 *     get      walk from the head to the first FULL(t, first), past one WRITING; copy items, each
 *              by itself; CAS to FULL(t, first + copied), or EMPTY(t+N) if those were the last
 *     repair   whoever meets the WRITING of a dead one: CAS to EMPTY(t+N), t being the ticket next
 *              to the tail that has the same low part
 *
 * A ticket has no end; a word has room for a part of it: EMPTY and FULL for the ticket modulo
 * WHOLE, WRITING, where the owner stands, modulo LOW only. Here both are small, and nothing but
 * these parts is ever compared, by the sign of their difference.
 *
 * Proved, within the bounds that tests/model/run names (cells, putters, getters, messages, deaths),
 * with a death before every access to shared memory:
 *   - What a getter has after its CAS are items that were put, of one message, in their order, and
 *     nobody else has had them, however often the cell was used again while it copied.
 *   - Items of one putter come in its order; a getter that is killed while it copies has taken
 *     none.
 *   - After that one who comes alone gets all that was put and nobody got, and has all cells.
 *   - What is safe: fewer than WHOLE tickets, while a getter stands still between copy and CAS.
 *     With one more a getter has what another has had: that is found. LOW has to be more than twice
 *     what is between the tail and a cell under the pen, so a few times N: and the repairer's own
 *     ticket, which may be far behind, is no measure for it (MUTANT REPAIRS_BY_ITS_OWN_TICKET).
 *
 * Not said: anything about weaker memory than a sequentially consistent one (the fences of
 * copy_items() and cell_store()); waiting and closing, for which see queue.pml; that a walk that is
 * restarted for ever by others' progress ends.
 */
#ifndef N
#define N 1
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
#ifndef GETS
#define GETS 1
#endif
#ifndef WHOLE
#define WHOLE 32
#endif
#ifndef LOW
#define LOW 32
#endif
#define PARTICIPANTS (PUTTERS + GETTERS)

#include "sleepers.pml"

#define CLAIMS_BEFORE_IT_COPIES 1
#define NO_CAS_AFTER_COPY 2
#define FIRST_STAYS 3
#define NO_RECHECK 4
#define REPAIR_SAME_LAP 5
#define REPAIRS_BY_ITS_OWN_TICKET 6
#define EARLY_FULL 7

#define EMPTY 0
#define WRITING 1
#define FULL 2

typedef cell {
    byte part, state, rest; /* one word; rest: the owner, or the first item that is left */
    byte items, item[2]     /* the message */
};
cell cells[N];
byte head, tail; /* whole tickets */

/* What is proved, not what is computed: bits, by item. */
int accepted, got;
byte newest[PUTTERS + N + 1];

/* Items from 2 on, in the order of their putter; the rest is the judge's. */
#define ITEM(message, index) (2 * (message) + (index))
#define PUTTER_OF(value) (((value) / 2 - 1) / MESSAGES)

#define MODULUS(state) ((state) == WRITING -> LOW : WHOLE)
#define SIGNED(difference, modulus) \
    (((difference) % (modulus)) >= (modulus) / 2 -> \
         ((difference) % (modulus)) - (modulus) : ((difference) % (modulus)))
/* How far the word that was seen is ahead of the ticket. */
#define AHEAD SIGNED(seen_part + 8 * MODULUS(seen_state) * 8 - ticket, MODULUS(seen_state))

#define CELL cells[ticket % N]
#define READ                                                        \
    seen_part = CELL.part;                                          \
    seen_state = CELL.state;                                        \
    seen_rest = CELL.rest
#define SAME                                                        \
    (CELL.part == seen_part && CELL.state == seen_state && CELL.rest == seen_rest)
#define SET(new_ticket, new_state, new_rest)                        \
    CELL.part = (new_ticket) % MODULUS(new_state);                  \
    CELL.state = new_state;                                         \
    CELL.rest = new_rest
#define OWNER_DEAD (seen_state == WRITING && IS_DEAD(seen_rest))

#if MUTANT == REPAIR_SAME_LAP
#define LAP 0
#else
#define LAP N
#endif

inline repair()
{
#if MUTANT == REPAIRS_BY_ITS_OWN_TICKET
    whole = ticket;
#else
    atomic { MAY_DIE; whole = tail };
#endif
    atomic {
        MAY_DIE;
        if
        :: SAME ->
           whole = whole + SIGNED(seen_part + 64 * LOW - whole, LOW);
           SET(whole + LAP, EMPTY, 0)
        :: else
        fi;
        whole = 0
    }
}

/* ---- put ---- */

#define LOOKING 0
#define DONE 1
#define NOTHING 2

/* CELL is WRITING by me, with the ticket. */
inline fill(message)
{
    atomic { MAY_DIE; if :: tail == start -> tail = ticket + 1 :: else fi };
    atomic { MAY_DIE; CELL.items = 2 };
    atomic { MAY_DIE; CELL.item[0] = ITEM(message, 0) };
#if MUTANT != EARLY_FULL
    atomic { MAY_DIE; CELL.item[1] = ITEM(message, 1) };
#endif
    atomic {
        MAY_DIE;
        SET(ticket, FULL, 0);
        accepted = accepted | (3 << ITEM(message, 0));
        outcome = DONE
    }
#if MUTANT == EARLY_FULL
    ;
    atomic { MAY_DIE; CELL.item[1] = ITEM(message, 1) }
#endif
}

inline try_put(message)
{
    outcome = LOOKING;
    atomic { MAY_DIE; ticket = tail; start = tail };
    do
    :: outcome != LOOKING -> break
    :: else ->
       if
       :: ticket - start > 2 * N -> outcome = NOTHING
       :: else ->
          atomic { MAY_DIE; READ };
          if
          :: AHEAD > 0 || (AHEAD == 0 && seen_state != EMPTY) -> ticket++
          :: AHEAD == 0 && seen_state == EMPTY ->
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
          :: AHEAD < 0 && OWNER_DEAD -> repair()
          :: AHEAD < 0 && !OWNER_DEAD -> outcome = NOTHING
          fi
       fi
    od;
    atomic { ticket = 0; start = 0; seen_part = 0; seen_state = 0; seen_rest = 0 }
}

/* ---- get ---- */

#define NO_CELL 255
#define SKIPPED cells[skipped % N]

inline restart()
{
    atomic { MAY_DIE; ticket = head; leading = true; skipped = NO_CELL; room = N + 1 }
}

inline take_note(value)
{
    assert((accepted & (1 << (value))) && !(got & (1 << (value))));
    assert((value) > newest[PUTTER_OF(value)]);
    newest[PUTTER_OF(value)] = value;
    got = got | (1 << (value))
}

/* In the step of the CAS: what was copied is the caller's. */
inline note_what_was_got()
{
    if
    :: first == 0 -> assert(copied[0] % 2 == 0); take_note(copied[0])
    :: else
    fi;
    if
    :: first + count > 1 ->
       assert(copied[1] % 2 == 1);
       assert(first > 0 || copied[1] == copied[0] + 1);
       take_note(copied[1])
    :: else
    fi
}

#if MUTANT == NO_CAS_AFTER_COPY
#define STILL_THERE (CELL.state == FULL)
#else
#define STILL_THERE SAME
#endif

#if MUTANT == FIRST_STAYS
#define NEXT_FIRST 0
#else
#define NEXT_FIRST (first + count)
#endif

inline claim_copied()
{
    atomic {
        MAY_DIE;
        if
        :: STILL_THERE ->
           d_step {
               if
               :: first + count < items -> SET(ticket, FULL, NEXT_FIRST)
               :: else -> SET(ticket + N, EMPTY, 0)
               fi;
#if MUTANT != CLAIMS_BEFORE_IT_COPIES
               note_what_was_got();
#endif
               outcome = DONE
           }
        :: else
        fi
    }
}

inline copy()
{
    if
    :: first == 0 -> atomic { MAY_DIE; copied[0] = CELL.item[0] }
    :: else
    fi;
    if
    :: first + count > 1 -> atomic { MAY_DIE; copied[1] = CELL.item[1] }
    :: else
    fi
}

/* One item, or as many as there are. */
inline copy_and_claim()
{
    first = seen_rest;
    atomic { MAY_DIE; items = CELL.items };
    if
    :: items <= first || items > 2 -> /* damage, if the word is still the same */
       atomic { MAY_DIE; assert(!SAME) }
    :: else ->
       if
       :: count = 1
       :: first == 0 && items == 2 -> count = 2
       fi;
#if MUTANT == CLAIMS_BEFORE_IT_COPIES
       claim_copied();
       if
       :: outcome == DONE -> copy(); d_step { note_what_was_got() }
       :: else
       fi
#else
       copy();
       claim_copied()
#endif
    fi;
    if
    :: outcome == DONE && first + count == items ->
       atomic { MAY_DIE; if :: head == ticket -> head = ticket + 1 :: else fi }
    :: else
    fi;
    atomic { first = 0; count = 0; items = 0; copied[0] = 0; copied[1] = 0 }
}

#if MUTANT == NO_RECHECK
#define SKIPPED_SAME true
#else
#define SKIPPED_SAME                                                \
    (skipped == NO_CELL || (SKIPPED.part == skipped % LOW && SKIPPED.state == WRITING && \
                            SKIPPED.rest == skipped_owner))
#endif

/* The ticket is over: most of a long lag is skipped, and the head follows. */
inline go_on()
{
    if
    :: AHEAD > 0 && leading ->
       next = ticket + (AHEAD - 2 * N + 1 > 1 -> AHEAD - 2 * N + 1 : 1);
       atomic { MAY_DIE; if :: head == ticket -> head = next :: else fi };
       ticket = next;
       next = 0
    :: else -> ticket++; room--
    fi
}

inline try_get()
{
    outcome = LOOKING;
    restart();
    do
    :: outcome != LOOKING -> break
    :: else ->
       if
       :: room == 0 -> outcome = NOTHING
       :: else ->
          atomic { MAY_DIE; READ };
          if
          :: AHEAD > 0 -> go_on()
          :: AHEAD < 0 || (AHEAD == 0 && seen_state == EMPTY) -> outcome = NOTHING
          :: AHEAD == 0 && seen_state == FULL ->
             atomic { MAY_DIE; unchanged = SKIPPED_SAME };
             if
             :: unchanged -> unchanged = false; copy_and_claim()
             :: else -> restart()
             fi
          :: AHEAD == 0 && OWNER_DEAD -> repair()
          :: AHEAD == 0 && seen_state == WRITING && !OWNER_DEAD ->
             if
             :: skipped == NO_CELL ->
                skipped = ticket;
                skipped_owner = seen_rest;
                leading = false;
                go_on()
             :: else -> outcome = NOTHING
             fi
          fi
       fi
    od;
    atomic {
        ticket = 0; seen_part = 0; seen_state = 0; seen_rest = 0; skipped = 0; skipped_owner = 0;
        leading = false; room = 0
    }
}

/* ---- who takes part ---- */

#define LOCALS                                                      \
    byte ticket, start, seen_part, seen_state, seen_rest, outcome, round; \
    short whole
#define FORGET                                                      \
    ticket = 0; start = 0; seen_part = 0; seen_state = 0; seen_rest = 0; outcome = 0; round = 0; \
    whole = 0
#define GET_LOCALS                                                  \
    byte skipped, skipped_owner, room, next, first, count, items, copied[2]; \
    bool leading, unchanged
#define FORGET_GET                                                  \
    skipped = 0; skipped_owner = 0; room = 0; next = 0; first = 0; count = 0; items = 0; \
    copied[0] = 0; copied[1] = 0; leading = 0; unchanged = 0

/* While there is no room a putter tries again, or gives up. */
proctype putter(byte me)
{
    LOCALS;

    do
    :: round < MESSAGES ->
       try_put(me * MESSAGES + round + 1);
       if
       :: outcome == DONE -> round++
       :: outcome == NOTHING
       :: outcome == NOTHING -> break
       fi
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
    :: round < GETS ->
       try_get();
       if
       :: outcome == DONE -> round++
       :: else
       fi
    :: break
    od;
    atomic { finished = finished | BIT(me); FORGET; FORGET_GET };
    goto end;
killed:
    KERNEL_TELLS(FORGET; FORGET_GET);
end:
    skip
}

/* ---- afterwards ---- */

#define EXTRA(index) (PUTTERS * MESSAGES + 1 + (index))

/* When all have ended; or all but putters who find no room. */
proctype judge(byte me)
{
    LOCALS;
    GET_LOCALS;

    atomic {
        (finished | dead) == ALL ->
        deaths_left = 0;
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
        :: accepted != got -> try_get(); assert(outcome == DONE)
        :: else -> break
        od;
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
        :: i < N -> cells[i].part = i; i++
        :: else -> break
        od;
        choose_fates();
        joined = ALL;
        i = 0;
        do
        :: i < PUTTERS -> run putter(i); i++
        :: i >= PUTTERS && i < PARTICIPANTS -> run getter(i); i++
        :: else -> break
        od;
        i = 0;
        run judge(PARTICIPANTS)
    }
}
