/* SPDX-License-Identifier: MIT */
/* The last words of every options struct are kept for later versions, and are zero until then. */
#ifndef BROOD_SRC_BASE_RESERVED_H
#define BROOD_SRC_BASE_RESERVED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

static inline bool reserved_are_zero(const uint64_t reserved[4])
{
    return (reserved[0] | reserved[1] | reserved[2] | reserved[3]) == 0;
}

#endif
