/* SPDX-License-Identifier: MIT */
/*
 * Large messages: a block of the region, and a cell that says where it is; and who waits until all
 * is done.
 *
 *     put       take a block: scan for chunks that can be had; CAS the first one to MAKING(me), and
 *               each further one to BODY(first), or give the first one back; fill it; claim a cell,
 *               write the block's place; block LINKED(t); cell FULL(t)
 *     get       cell READING(t, me); look whether the block lives; read it; see its word; done:
 *               EMPTY(t+N), and if that was LINKED(t), CAS it to FREE, ring memory; or return: FULL(t)
 *     to be had MAKING of a dead one; LINKED to a ticket that is over (and the WRITING of a dead
 *               one is repaired, and over then); FREE; a BODY whose first chunk says so, or is the
 *               first of another block (its serial tells)
 *     wait      for memory: arm the bell, try again, sleep. Join: note the end; arm done, look
 *               whether all before is over, sleep
 *
 * Who waits for a cell to be free or full is only held up here: that waiting is in queue.pml.
 * Putter 0 sends messages of two chunks, the others of one; so claims meet.
 *
 * Proved, within the bounds that tests/model/run names (cells, chunks, putters, getters, joiners,
 * messages, returns, deaths), with a death before every access to shared memory:
 *   - What a getter reads in a block is the whole message of its ticket, so no two messages are
 *     ever in one chunk; each message is done once.
 *   - When nobody can move any more, nobody alive sleeps for memory that is there, provided that
 *     the getters have got what there was (GETS); and no joiner sleeps when all is done.
 *   - After that one who comes alone gets what is left, and then can have all chunks and all cells:
 *     neither a dead putter nor a dead getter keeps any memory.
 *   - A joiner that was let go had nothing before its end in the ring, or in a living hand.
 *
 * One bound of the algorithm shows. Who gives back a first chunk because a further one was lost
 * tells nobody: with GETS 0 one sleeps beside that chunk (until the doze, or the next message that
 * is done). And why the word is seen before the message is done: LINKED has the low part of the
 * ticket only. Without SEES_BEFORE_DONE, and with LOW 2, a getter that stands still after its
 * message was done, while LOW others follow, gives away the block of another one. Seen before, the
 * word has another serial.
 *
 * Not said: anything about weaker memory than a sequentially consistent one; pages, hints, growth
 * of the table; blocks of the user's; serials that come round.
 */
#ifndef N
#define N 1
#endif
#ifndef CHUNKS
#define CHUNKS 2
#endif
#ifndef PUTTERS
#define PUTTERS 2
#endif
#ifndef GETTERS
#define GETTERS 1
#endif
#ifndef JOINERS
#define JOINERS 0
#endif
#ifndef MESSAGES
#define MESSAGES 1
#endif
#ifndef GETS
#define GETS (PUTTERS * MESSAGES)
#endif
#ifndef RETURNS
#define RETURNS 0
#endif
#ifndef SEES_BEFORE_DONE
#define SEES_BEFORE_DONE 1
#endif
#ifndef LOW
#define LOW 64
#endif
#define PARTICIPANTS (PUTTERS + GETTERS + JOINERS)

#include "sleepers.pml"

#define PLAIN_BODY 1
#define ANONYMOUS_CLAIM 3
#define LINKS_AFTER_FULL 4
#define UNLINKS_WHAT_IT_READ 5
#define UNLINKS_BEFORE_DONE 6
#define UNLINK_IS_SILENT 7
#define DONE_IS_SILENT 8
#define WRITING_OF_THE_DEAD_LIVES 9
#define TAKES_WITHOUT_SECOND_LOOK 10

#define MEMORY 1
#define ALL_DONE 2

#define EMPTY 0
#define WRITING 1
#define FULL 2
#define READING 3

#define FREE 0
#define MAKING 1
#define LINKED 2
#define BODY 3
#define KEPT 4 /* of mutants only */

typedef cell {
    byte ticket, state, owner; /* one word */
    byte block, chunk_count
};
cell cells[N];
typedef chunk {
    byte state, serial, owner; /* one word */
    byte last_serial;
    byte data
};
chunk chunks[CHUNKS];
byte tail;
byte bell[3]; /* by futex */

/* What is proved, not what is computed. */
byte accepted, got;     /* bits, by message */
byte awaits;            /* who waits for a cell, bits */
byte wants[PARTICIPANTS + 1]; /* chunks, while it waits for them */
byte join_end;
byte returns_left = RETURNS;

#define MESSAGE_OF(putter, round) ((putter) * MESSAGES + (round))
#define COUNT_OF(putter) ((putter) == 0 -> 2 : 1)

#define CELL cells[ticket % N]
#define SET(new_ticket, new_state, new_owner)                       \
    CELL.ticket = new_ticket;                                       \
    CELL.state = new_state;                                         \
    CELL.owner = new_owner
#define CELL_OWNER_DEAD(index)                                      \
    ((cells[index].state == WRITING || cells[index].state == READING) && \
     IS_DEAD(cells[index].owner))
#define IS_MINE(which) (CELL.ticket == ticket && CELL.state == (which) && CELL.owner == me)

/* The word is read and changed in one step: it is a CAS, and of two repairers one does nothing. */
inline repair(index)
{
    if
    :: cells[index].state == WRITING ->
       cells[index].ticket = cells[index].ticket + N;
       cells[index].state = EMPTY;
       cells[index].owner = 0
    :: else -> cells[index].state = FULL; cells[index].owner = 0
    fi
}

/* ---- blocks ---- */

#define WORD_IS(index, a_state, a_serial, an_owner)                 \
    (chunks[index].state == (a_state) && chunks[index].serial == (a_serial) && \
     chunks[index].owner == (an_owner))
#define SET_WORD(index, a_state, a_serial, an_owner)                \
    chunks[index].state = a_state;                                  \
    chunks[index].serial = a_serial;                                \
    chunks[index].owner = an_owner
#define BEGINS(a_state) ((a_state) == MAKING || (a_state) == LINKED || (a_state) == KEPT)

/* The cell that has the low part of a ticket. */
#define AT_LOW(low) cells[(low) % N]
#define IS_OVER(low)                                                \
    (AT_LOW(low).ticket % LOW != (low) || AT_LOW(low).state == EMPTY)

/* Sets can_have: whether the block with this first chunk, seen as f_*, is nobody's. */
inline judge_block()
{
    if
    :: f_state == MAKING -> can_have = IS_DEAD(f_owner)
    :: f_state == KEPT -> can_have = false
    :: f_state == LINKED ->
       if
       :: !WORD_IS(f, f_state, f_serial, f_owner) -> can_have = false
       :: else ->
#if MUTANT != WRITING_OF_THE_DEAD_LIVES
          if
          :: !IS_OVER(f_owner) && AT_LOW(f_owner).state == WRITING &&
             CELL_OWNER_DEAD(f_owner % N) -> repair(f_owner % N)
          :: else
          fi;
#endif
          can_have = IS_OVER(f_owner)
       fi
    :: else -> can_have = true
    fi
}

/* Sets can_have, and w_*: the word that this was said of. */
inline look_at(index)
{
    atomic {
        MAY_DIE;
        w_state = chunks[index].state;
        w_serial = chunks[index].serial;
        w_owner = chunks[index].owner;
        f = index; f_state = w_state; f_serial = w_serial; f_owner = w_owner;
        can_have = false
    };
    if
    :: w_state == BODY ->
       atomic {
           MAY_DIE;
           f = w_owner;
           f_state = chunks[f].state;
           f_serial = chunks[f].serial;
           f_owner = chunks[f].owner;
           can_have = (!BEGINS(f_state) || f_serial != w_serial)
       }
    :: else
    fi;
    if
    :: can_have
    :: else -> atomic { MAY_DIE; judge_block() }
    fi;
    atomic { f = 0; f_state = 0; f_serial = 0; f_owner = 0 }
}

#if MUTANT == ANONYMOUS_CLAIM
#define FIRST_STATE KEPT
#else
#define FIRST_STATE MAKING
#endif

/* The chunk after the first one, which is mine. */
inline claim_body()
{
    look_at(block + 1);
    if
    :: can_have ->
       atomic {
           MAY_DIE;
#if MUTANT == PLAIN_BODY
           SET_WORD(block + 1, BODY, serial, block);
#else
           if
           :: WORD_IS(block + 1, w_state, w_serial, w_owner) ->
              SET_WORD(block + 1, BODY, serial, block)
           :: else -> can_have = false
           fi
#endif
       }
    :: else
    fi;
    if
    :: can_have -> taken = true
    :: else -> atomic { MAY_DIE; SET_WORD(block, FREE, serial, 0) }
    fi
}

/* Sets taken: chunks from block on, so many, are mine. */
inline claim(chunk_count)
{
    look_at(block);
    if
    :: can_have ->
       atomic {
           MAY_DIE;
           chunks[block].last_serial++;
           serial = chunks[block].last_serial
       };
       atomic {
           MAY_DIE;
           if
           :: WORD_IS(block, w_state, w_serial, w_owner) ->
              SET_WORD(block, FIRST_STATE, serial, me)
           :: else -> can_have = false
           fi
       };
       if
       :: can_have && chunk_count == 1 -> taken = true
       :: can_have && chunk_count == 2 -> claim_body()
       :: else
       fi
    :: else
    fi;
    atomic { w_state = 0; w_serial = 0; w_owner = 0; can_have = false }
}

inline search(chunk_count)
{
    block = 0;
    taken = false;
    do
    :: taken || block + chunk_count > CHUNKS -> break
    :: else ->
       look_at(block);
       if
       :: can_have && chunk_count == 2 -> look_at(block + 1)
       :: else
       fi;
       if
       :: can_have -> claim(chunk_count)
       :: else
       fi;
       if
       :: taken
       :: else -> block++
       fi
    od;
    atomic { w_state = 0; w_serial = 0; w_owner = 0; can_have = false }
}

/* ---- put ---- */

inline take_block(chunk_count)
{
    search(chunk_count);
    do
    :: taken -> break
    :: else ->
       atomic { wants[me] = chunk_count };
       atomic { MAY_DIE; known_moment = moment };
       arm(MEMORY);
#if MUTANT != TAKES_WITHOUT_SECOND_LOOK
       search(chunk_count);
#endif
       if
       :: taken -> known_moment = 0
       :: else ->
          block = 0;
          serial = 0;
          sleep(MEMORY, SAME_BELL(MEMORY));
#if MUTANT == TAKES_WITHOUT_SECOND_LOOK
          search(chunk_count)
#endif
       fi;
       armed = 0;
       wants[me] = 0
    od
}

/* From the tail to a cell that is free: CELL is WRITING by me then. */
inline claim_cell()
{
    atomic { MAY_DIE; ticket = tail };
    do
    :: atomic {
           awaits = awaits & ~BIT(me);
           MAY_DIE;
           if
           :: CELL.ticket > ticket || (CELL.ticket == ticket && CELL.state != EMPTY) -> ticket++
           :: CELL.ticket == ticket && CELL.state == EMPTY -> SET(ticket, WRITING, me); break
           :: CELL.ticket < ticket ->
              awaits = awaits | BIT(me);
              if
              :: CELL_OWNER_DEAD(ticket % N) -> repair(ticket % N)
              :: CELL.ticket >= ticket
              fi
           fi
       }
    od;
    awaits = awaits & ~BIT(me);
    atomic { MAY_DIE; if :: tail < ticket + 1 -> tail = ticket + 1 :: else fi }
}

/* As long as it is mine: who was repaired is dead, so it always is. */
inline link_block()
{
    atomic { MAY_DIE; chunks[block].state = LINKED; chunks[block].owner = ticket % LOW }
}

inline publish(message)
{
    atomic {
        MAY_DIE;
        assert(IS_MINE(WRITING));
        SET(ticket, FULL, 0);
        accepted = accepted | BIT(message)
    }
}

inline put(message, message_count)
{
    take_block(message_count);
    atomic { MAY_DIE; chunks[block].data = message + 1 };
    if
    :: message_count == 2 -> atomic { MAY_DIE; chunks[block + 1].data = message + 1 }
    :: else
    fi;
    claim_cell();
    atomic { MAY_DIE; CELL.block = block; CELL.chunk_count = message_count };
#if MUTANT == LINKS_AFTER_FULL
    publish(message);
    link_block();
#else
    link_block();
    publish(message);
#endif
    atomic { block = 0; serial = 0; ticket = 0; taken = false }
}

proctype putter(byte me)
{
    byte known_moment, watched, buried, armed, seen_bell, round;
    byte block, serial, ticket, f, f_state, f_serial, f_owner, w_state, w_serial, w_owner;
    bool can_have, taken, timed_out;

    do
    :: round < MESSAGES -> put(MESSAGE_OF(me, round), COUNT_OF(me)); round++
    :: else -> break
    od;
    atomic { finished = finished | BIT(me); round = 0 };
    goto end;
killed:
    KERNEL_TELLS(awaits = awaits & ~BIT(me); wants[me] = 0; known_moment = 0; watched = 0;
                 buried = 0; armed = 0; seen_bell = 0; round = 0; block = 0; serial = 0; ticket = 0;
                 f = 0; f_state = 0; f_serial = 0; f_owner = 0; w_state = 0; w_serial = 0;
                 w_owner = 0; can_have = 0; taken = 0; timed_out = 0);
end:
    skip
}

/* ---- get ---- */

#define HAS(index) (cells[index].state == FULL || CELL_OWNER_DEAD(index))
#if N > 1
#define HAS_ANY (HAS(0) || HAS(1))
#define CHOOSE(index) :: HAS(0) -> index = 0 :: HAS(1) -> index = 1
#else
#define HAS_ANY HAS(0)
#define CHOOSE(index) :: HAS(0) -> index = 0
#endif

/* The order is that of queue.pml; here any cell that is FULL will do. */
inline claim_full()
{
    awaits = awaits | BIT(me);
    do
    :: atomic {
           HAS_ANY ->
           MAY_DIE;
           if
           CHOOSE(at)
           fi;
           if
           :: cells[at].state == FULL ->
              ticket = cells[at].ticket;
              SET(ticket, READING, me);
              awaits = awaits & ~BIT(me);
              at = 0;
              break
           :: else -> repair(at); at = 0
           fi
       }
    od
}

inline read_block()
{
    atomic { MAY_DIE; block = CELL.block; message_count = CELL.chunk_count };
    atomic { MAY_DIE; assert(BEGINS(chunks[block].state)); message = chunks[block].data };
    assert(message > 0 && (accepted & BIT(message - 1)) && !(got & BIT(message - 1)));
    assert(message_count == COUNT_OF((message - 1) / MESSAGES));
    if
    :: message_count == 2 -> atomic { MAY_DIE; assert(chunks[block + 1].data == message) }
    :: else
    fi
}

inline finish()
{
    atomic {
        MAY_DIE;
        assert(IS_MINE(READING));
        SET(ticket + N, EMPTY, 0);
        assert(!(got & BIT(message - 1)));
        got = got | BIT(message - 1)
    };
#if MUTANT != DONE_IS_SILENT
    RING(ALL_DONE, wake_all);
#endif
    message = 0
}

inline see_block()
{
    atomic {
        MAY_DIE;
        f_state = chunks[block].state;
        f_serial = chunks[block].serial;
        f_owner = chunks[block].owner
    }
}

inline unlink()
{
#if !SEES_BEFORE_DONE
    see_block();
#endif
    if
#if MUTANT == UNLINKS_WHAT_IT_READ
    :: BEGINS(f_state) ->
#else
    :: f_state == LINKED && f_owner == ticket % LOW ->
#endif
       atomic {
           MAY_DIE;
           if
           :: WORD_IS(block, f_state, f_serial, f_owner) -> SET_WORD(block, FREE, f_serial, 0)
           :: else
           fi
       }
    :: else
    fi;
#if MUTANT != UNLINK_IS_SILENT
    RING(MEMORY, wake_all);
#endif
    atomic { f_state = 0; f_serial = 0; f_owner = 0 }
}

inline get()
{
    claim_full();
    read_block();
    if
    :: atomic { returns_left > 0 -> MAY_DIE; returns_left--; SET(ticket, FULL, 0); message = 0 }
    :: true ->
#if MUTANT == UNLINKS_BEFORE_DONE
       unlink();
       finish()
#else
#if SEES_BEFORE_DONE
       see_block();
#endif
       finish();
       unlink()
#endif
    fi;
    atomic { ticket = 0; block = 0; message_count = 0 }
}

proctype getter(byte me)
{
    byte seen_bell, at, ticket, block, message, message_count, f_state, f_serial, f_owner, round;

    do
    :: round < GETS -> get(); round++
    :: else -> break
    od;
    atomic { finished = finished | BIT(me); round = 0 };
    goto end;
killed:
    KERNEL_TELLS(awaits = awaits & ~BIT(me); seen_bell = 0; at = 0; ticket = 0; block = 0;
                 message = 0; message_count = 0; f_state = 0; f_serial = 0; f_owner = 0; round = 0);
end:
    skip
}

/* ---- join ---- */

#define NOT_OVER(index) \
    (cells[index].ticket < join_end && cells[index].state != EMPTY)

/* One access for each cell. A message that is returned is in its cell again: so not over. */
inline look_for_end()
{
    over = true;
    at = 0;
    do
    :: at < N ->
       atomic {
           MAY_DIE;
           if
           :: NOT_OVER(at) && cells[at].state == WRITING && CELL_OWNER_DEAD(at) -> repair(at)
           :: NOT_OVER(at) && !(cells[at].state == WRITING && CELL_OWNER_DEAD(at)) -> over = false
           :: else
           fi;
           at++
       }
    :: else -> break
    od;
    at = 0
}

proctype joiner(byte me)
{
    byte known_moment, watched, buried, armed, seen_bell, at;
    bool over, slept, timed_out;

    atomic { MAY_DIE; join_end = tail };
    do
    :: over -> break
    :: else ->
       atomic { MAY_DIE; known_moment = moment };
       arm(ALL_DONE);
       look_for_end();
       if
       :: over -> known_moment = 0
       :: else -> sleep(ALL_DONE, SAME_BELL(ALL_DONE)); slept = true
       fi;
       armed = 0
    od;
    if
    :: slept -> RING(ALL_DONE, wake_all)
    :: else
    fi;
    atomic { finished = finished | BIT(me); over = false; slept = false };
    goto end;
killed:
    KERNEL_TELLS(known_moment = 0; watched = 0; buried = 0; armed = 0; seen_bell = 0; at = 0;
                 over = 0; slept = 0; timed_out = 0);
end:
    skip
}

/* ---- afterwards ---- */

inline is_there_memory(chunk_count)
{
    block = 0;
    enough = false;
    do
    :: enough || block + chunk_count > CHUNKS -> break
    :: else ->
       look_at(block);
       if
       :: can_have && chunk_count == 2 -> look_at(block + 1)
       :: else
       fi;
       enough = can_have;
       block++
    od
}

proctype judge(byte me)
{
    byte at, ticket, block, message, message_count, sleeper, seen_bell;
    byte f, f_state, f_serial, f_owner, w_state, w_serial, w_owner;
    bool can_have, enough;

    atomic {
        timeout ->
        assert((finished | dead | asleep | awaits) == ALL);
        deaths_left = 0;
        returns_left = 0;
        do
        :: sleeper < PARTICIPANTS ->
           if
           :: (asleep & BIT(sleeper)) && wants[sleeper] > 0 ->
              is_there_memory(wants[sleeper]);
              assert(!enough)
           :: (asleep & BIT(sleeper)) && wants[sleeper] == 0 ->
              at = 0;
              do
              :: at < N && !enough -> enough = NOT_OVER(at); at++
              :: else -> break
              od;
              assert(enough)
           :: else
           fi;
           enough = false;
           at = 0;
           sleeper++
        :: else -> break
        od;
        do
        :: HAS_ANY ->
           if
           CHOOSE(at)
           fi;
           if
           :: cells[at].state == FULL ->
              ticket = cells[at].ticket;
              SET(ticket, READING, me);
              at = 0;
              read_block();
              finish();
              bell[ALL_DONE] = 0;
              bell[MEMORY] = 0;
              unlink()
           :: else -> repair(at); at = 0
           fi
        :: else -> break
        od;
        assert(accepted == got);
        at = 0;
        do
        :: at < N -> assert(cells[at].state == EMPTY); at++
        :: else -> break
        od;
        at = 0;
        do
        :: at < CHUNKS -> look_at(at); assert(can_have); at++
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
        :: i < N -> cells[i].ticket = i; i++
        :: else -> break
        od;
        choose_fates();
        joined = ALL;
        i = 0;
        do
        :: i < PUTTERS -> run putter(i); i++
        :: i >= PUTTERS && i < PUTTERS + GETTERS -> run getter(i); i++
        :: i >= PUTTERS + GETTERS && i < PARTICIPANTS -> run joiner(i); i++
        :: else -> break
        od;
        i = 0;
        run judge(PARTICIPANTS)
    }
}
