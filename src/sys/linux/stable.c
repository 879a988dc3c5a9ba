/* SPDX-License-Identifier: MIT */
/*
 * Handles whose memory stays readable: see sys/stable.h. One lock guards all lists. A fork may
 * copy a list while a thread changes it, so the child begins with an empty one; what was in it
 * is lost there. A block given back is the first to be taken again: it is warm.
 */
#include "sys/stable.h"

#include "base/memory.h"
#include "sys/self.h"

#include <string.h>

static struct own_lock lists = OWN_LOCK;

/* Each list sees by its own word that it is in another process. */
static void lock_list(struct stable_list *list)
{
    brood__own_lock(&lists, NULL);
    if (list->self != brood__self())
        *list = (struct stable_list){.self = brood__self()};
}

void *brood__stable_take(struct stable_list *list, size_t size)
{
    void *memory;

    lock_list(list);
    memory = list->first;
    if (memory != NULL)
        memcpy(&list->first, memory, sizeof list->first);
    brood__own_unlock(&lists);
    if (memory == NULL)
        return brood__alloc_zeroed(1, size);
    memset(memory, 0, size);
    return memory;
}

void brood__stable_give(struct stable_list *list, void *memory)
{
    lock_list(list);
    memcpy(memory, &list->first, sizeof list->first);
    list->first = memory;
    brood__own_unlock(&lists);
}
