/* SPDX-License-Identifier: MIT */
/* Bytes that wait: in memory, and in an unlinked temporary file when they are many. */
#ifndef BROOD_CLI_SPOOL_H
#define BROOD_CLI_SPOOL_H

#include "text.h"

#include <stdint.h>
#include <stdio.h>

/* Zeroed is empty. */
struct spool {
    struct text memory;
    int file; /* its descriptor + 1, or 0 */
    uint64_t len;
    int error; /* negative: something could not be kept, and LEN counts what was */
};

/* Where large output waits; DIRECTORY NULL means $TMPDIR or /tmp. */
void spool_directory_is(const char *directory);
/* 0, or a negative error: then the spool keeps what it had. */
int spool_add(struct spool *spool, const char *data, size_t len);
/* Gives all of it, piece by piece. Returns 0 or a negative error. */
int spool_read(const struct spool *spool, void (*give)(void *arg, const char *data, size_t len),
               void *arg);
void spool_done(struct spool *spool);
/* A new temporary file that stays; its name into OUT_PATH. Its descriptor, or a negative error. */
int temporary_file(struct text *out_path);

#endif
