/* SPDX-License-Identifier: MIT */
/* All descendants of this process, as /proc shows them. */
#ifndef BROOD_SRC_GUARD_TREE_H
#define BROOD_SRC_GUARD_TREE_H

#include <stdbool.h>
#include <stdint.h>

/* Looks whether /proc can be believed here: it must show CHILD, our first and only one, under this
 * number. False: without it nothing below finds anybody. SELF: our own number. */
bool tree_open(int32_t child, int32_t self);

/* Sends SIGNAL to each descendant once, parents before their children, and looks again until
 * nobody new is found. WAKE: with SIGCONT behind it, so that stopped ones see it too. */
void tree_signal(int signal, bool wake);

/* Stops everything, so that nobody forks any more, and then kills it. */
void tree_kill(void);

/* The child of a namespace's INIT that came second in it, whatever else it has taken in since; 0:
 * unknown, or gone. */
int32_t tree_second_inside(int32_t init);

/* How many children of this process are alive or not reaped yet. */
unsigned tree_count_children(void);

/* What they all use now. */
struct tree_usage {
    uint64_t pages; /* of memory, resident and anonymous; one that two share counts twice */
    int64_t cpu_us; /* with those that they have waited for */
};
struct tree_usage tree_measure(bool memory, bool cpu);

#endif
