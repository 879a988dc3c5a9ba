/* SPDX-License-Identifier: MIT */
/*
 * The first words of every object that a user has a pointer to. The magic word says what it is, and
 * is 0 once it is freed; its memory is of sys/stable.h, so that it may be read then.
 */
#ifndef BROOD_SRC_BASE_HANDLE_H
#define BROOD_SRC_BASE_HANDLE_H

#include <stddef.h>
#include <stdint.h>

#define POOL_MAGIC UINT64_C(0x706f6f6c2d414c56)
#define FUTURE_MAGIC UINT64_C(0x667574722d414c56)
#define GROUP_MAGIC UINT64_C(0x67726f752d414c56)
#define PROCESS_MAGIC UINT64_C(0x70726f632d414c56)
#define PIPE_MAGIC UINT64_C(0x706970652d414c56)
#define QUEUE_MAGIC UINT64_C(0x717565752d414c56)
#define COMMAND_MAGIC UINT64_C(0x636f6d6d2d414c56)
#define REGION_MAGIC UINT64_C(0x726567692d414c56)

struct handle {
    void *stable_link;
    uint64_t magic;
};

/* That a struct begins as a handle does. */
#define HANDLE_BEGINS(type)                                                                        \
    _Static_assert(offsetof(type, magic) == offsetof(struct handle, magic) &&                      \
                       sizeof(((type *)0)->magic) == sizeof(uint64_t),                             \
                   "every handle has its magic word at the same place")

static inline uint64_t handle_magic(const void *handle)
{
    return *(const uint64_t *)((const char *)handle + offsetof(struct handle, magic));
}

#endif
