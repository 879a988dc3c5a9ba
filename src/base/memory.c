/* SPDX-License-Identifier: MIT */
/*
 * The allocator of the C library behind fault points.
 *
 * Everything private that brood allocates comes through here, so that a test can make the n-th
 * allocation fail. Shared memory is not here: ipc/heap.c and ipc/arena.c.
 */
#include "base/memory.h"

#include "base/fault.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void *brood__alloc(size_t len)
{
    return BROOD_FAULT("malloc") ? NULL : malloc(len == 0 ? 1 : len);
}

void *brood__alloc_zeroed(size_t count, size_t len)
{
    return BROOD_FAULT("calloc") ? NULL : calloc(count == 0 ? 1 : count, len == 0 ? 1 : len);
}

void *brood__realloc(void *memory, size_t len)
{
    return BROOD_FAULT("realloc") ? NULL : realloc(memory, len == 0 ? 1 : len);
}

char *brood__copy_string(const char *string)
{
    size_t size = strlen(string) + 1;
    char *copy = brood__alloc(size);

    return copy == NULL ? NULL : memcpy(copy, string, size);
}

void brood__free(void *memory)
{
    int saved = errno;

    free(memory);
    errno = saved;
}
