/* SPDX-License-Identifier: MIT */
/*
 * Memory for handles that stays readable for ever: what is given back serves the next object of
 * the same size and is never unmapped. So a call with a freed handle reads a magic word that
 * says so, instead of somebody else's memory. Costs the most there ever were at once.
 */
#ifndef BROOD_SRC_SYS_STABLE_H
#define BROOD_SRC_SYS_STABLE_H

#include <stddef.h>
#include <stdint.h>

/* All zero is an empty one. */
struct stable_list {
    uint64_t self; /* whose it is: in a forked child it is empty */
    void *first;
};

/* SIZE zeroed bytes; always the same size for one list. The first word of a block that was given
 * back links the list, so magic words stand behind it. NULL: no memory. */
void *brood__stable_take(struct stable_list *list, size_t size);
void brood__stable_give(struct stable_list *list, void *memory);

#endif
