/* SPDX-License-Identifier: MIT */
/*
 * Memory for handles that stays readable for ever: what is given back serves the next object of
 * the same size and is never unmapped. So a call with a freed handle reads a magic word that
 * says so, instead of somebody else's memory. Costs the most there ever were at once.
 */
#ifndef BROOD_SRC_BASE_STABLE_H
#define BROOD_SRC_BASE_STABLE_H

#include <pthread.h>
#include <stddef.h>

struct stable_list {
    pthread_mutex_t lock;
    void *first;
};
#define STABLE_LIST ((struct stable_list){.lock = PTHREAD_MUTEX_INITIALIZER})

/* SIZE zeroed bytes; always the same size for one list. The first word of a block that was given
 * back links the list, so magic words stand behind it. NULL: no memory. */
void *brood__stable_take(struct stable_list *list, size_t size);
void brood__stable_give(struct stable_list *list, void *memory);

#endif
