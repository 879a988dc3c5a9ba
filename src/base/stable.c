/* SPDX-License-Identifier: MIT */
/* Handles whose memory stays readable: see base/stable.h. Each list has its own lock,
 * and a block given back is the first to be taken again: it is warm. */
#include "base/stable.h"

#include "base/memory.h"

#include <string.h>

void *brood__stable_take(struct stable_list *list, size_t size)
{
    void *memory;

    (void)pthread_mutex_lock(&list->lock);
    memory = list->first;
    if (memory != NULL)
        memcpy(&list->first, memory, sizeof list->first);
    (void)pthread_mutex_unlock(&list->lock);
    if (memory == NULL)
        return brood__alloc_zeroed(1, size);
    memset(memory, 0, size);
    return memory;
}

void brood__stable_give(struct stable_list *list, void *memory)
{
    (void)pthread_mutex_lock(&list->lock);
    memcpy(memory, &list->first, sizeof list->first);
    list->first = memory;
    (void)pthread_mutex_unlock(&list->lock);
}
