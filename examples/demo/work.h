/* SPDX-License-Identifier: MIT */
/* The work on one file: decompress, count, hash. */
#ifndef DEMO_WORK_H
#define DEMO_WORK_H

#include <stdint.h>

struct work {
    uint64_t bytes; /* of the text, decompressed */
    uint64_t lines, words;
    uint64_t digest; /* the first 64 bits of its SHA-256 */
};

/* 0 and the work done, or a negative errno. Runs anywhere: the demo calls it from tasks of a
 * pool and from a plain loop. */
int work_on_file(const char *path, struct work *out_work);

#endif
