/* SPDX-License-Identifier: MIT */
/*
 * What is in a ref: the first word is the number that its maker serves it under (ipc/serve.h). The
 * second is an offset in a region, or says that this is the end of a pipe, and which. So who is
 * given the wrong kind of ref sees it without asking for it: asking takes a pipe's end away.
 */
#ifndef BROOD_SRC_IPC_REFERENCE_H
#define BROOD_SRC_IPC_REFERENCE_H

#include <brood/region.h>

#include <stdbool.h>

/* Larger than every offset. */
#define REFERENCE_PIPE UINT64_C(0x7069706500000000)

enum { REFERENCE_SENDS = 1, REFERENCE_RECEIVES = 2, REFERENCE_STREAM = 4, REFERENCE_FLAGS = 7 };

static inline bool reference_is_pipe(brood_ref ref)
{
    return (ref.word[1] & ~(uint64_t)REFERENCE_FLAGS) == REFERENCE_PIPE;
}

#endif
