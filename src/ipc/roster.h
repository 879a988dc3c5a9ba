/* SPDX-License-Identifier: MIT */
/*
 * A roster: who takes part in a piece of shared memory, and who of them is dead.
 *
 * Each participating thread holds a slot. In the slot lies its life lock, a robust mutex that it
 * locks when it joins and keeps: when the thread is gone, however it went, the kernel marks the
 * mutex and wakes a waiter. So whether somebody lives is one load, there are no pids to be reused,
 * and it works across PID namespaces and for processes that nobody here has forked.
 *
 * A tag names one participation: slot and generation. Whoever owns a word in shared memory (a lock,
 * a cell, a block) is named there by tag; a tag never comes to life again (a slot's generations
 * come round after 65536 joins of that slot, and joins take the slots in turn).
 *
 * Known limits. Of an exec() by a thread that is not its process's first one the kernel marks
 * nothing: that thread stays alive here for ever. A thread with more than 2048 robust mutexes dies
 * unnoticed in those locked first (so ipc/member.c joins no more than 2000). A process that is
 * stopped just when the kernel has woken it for a death tells the others when it goes on.
 *
 * The law of waiting: a wake-up may die with the process that was to give it. Therefore whoever
 * sleeps here watches all other participants, and whoever learns of a death tells all sleepers. A
 * sleeper looks again at all that it waits for, whatever woke it.
 */
#ifndef BROOD_SRC_IPC_ROSTER_H
#define BROOD_SRC_IPC_ROSTER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { ROSTER_SLOTS_MAX = 4094, ROSTER_SLOTS_DEFAULT = 1022, TAG_BITS = 28 };

/* {generation:16 | slot + 1:12}; 0 is nobody. */
typedef uint32_t roster_tag;

struct roster; /* in the shared memory */

/* Bytes of a roster with so many slots. */
size_t brood__roster_len(unsigned slots);
/* Over zeroed memory with pages. */
void brood__roster_init(struct roster *roster, unsigned slots);
/* The number of slots, if memory of LEN bytes at ROSTER can be used as one; else 0. From then on
 * nothing that is written to it makes anybody go beyond its slots: the number has a copy there, and
 * when the two do not fit nobody finds a slot at all. */
unsigned brood__roster_check(const struct roster *roster, size_t len);
/* What must be equal in all who share a roster: build and C library. */
uint32_t brood__roster_abi(void);

/* The calling thread takes a slot. 0 and the tag, or -EAGAIN: all are taken by the living. */
int brood__roster_join(struct roster *roster, roster_tag *out_tag);
/* Only by the thread that joined. Whatever the tag still owns is as if its owner had died. */
void brood__roster_leave(struct roster *roster, roster_tag tag);
/* Said by a process that ends in good order of those of its threads that run on until then, and
 * keep what they own: their end is told to all sleepers, and does not count as a death. */
void brood__roster_farewell(struct roster *roster, roster_tag tag);
/* In the child of a fork, before its thread locks a robust mutex: it has none of the parent's. */
void brood__roster_forked(void);

/* A roster in private memory, copied by fork(): all its holders are gone but the calling thread,
 * whose tag KEEP stays alive (0: it has none). Before anybody in the child uses it. */
void brood__roster_inherit(struct roster *roster, roster_tag keep);

/* A few loads. False for tags that no roster of this size has given out. */
bool brood__roster_alive(const struct roster *roster, roster_tag tag);
/* How many have died without leaving or a farewell, as far as anybody has noticed. */
uint32_t brood__roster_deaths(const struct roster *roster);
/* Looks for deaths that nobody has noticed yet, and tells all sleepers. */
void brood__roster_look(struct roster *roster);
/* Of the participant TAG, alive or dead: false if the slot has a new holder. TID 0: it has left. */
bool brood__roster_who(const struct roster *roster, roster_tag tag, int *out_pid, int *out_tid);

/* A word of the participant's own that others may read, for a barrier: 0 at first. After a death
 * it stays until the slot has a new holder. */
void brood__roster_note(struct roster *roster, roster_tag tag, uint64_t note);
/* Whether a participant that died, and whose slot nobody has taken since, has NOTE. */
bool brood__roster_dead_note(struct roster *roster, uint64_t note);
/* Notes from FIRST to LAST, of the living and the dead, become 0. */
void brood__roster_forget_notes(struct roster *roster, uint64_t first, uint64_t last);

/*
 * brood__roster_sleep() - sleep on a word of the shared memory.
 *
 *     for (;;) {
 *         uint32_t moment = brood__roster_moment(roster);
 *         value = load(word), and look at everything
 *         ...or return
 *         r = brood__roster_sleep(roster, me, word, value, moment, deadline);
 *         if (r < 0)
 *             return r;
 *     }
 *
 * Sleeps while *WORD == VALUE until it is woken (brood__futex_wake), somebody joins or dies after
 * MOMENT was read, or DEADLINE. Returns 0 or -ETIMEDOUT.
 *
 * Watches up to 120 others by futex_waitv(). Beyond that one of the sleepers looks at all every
 * 50 ms, and the others watch that one. On a kernel without futex_waitv() everybody looks every
 * 50 ms.
 */
uint32_t brood__roster_moment(const struct roster *roster);
int brood__roster_sleep(struct roster *roster, roster_tag me, const _Atomic uint32_t *word,
                        uint32_t value, uint32_t moment, int64_t deadline);

#endif
