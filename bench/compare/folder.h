/* SPDX-License-Identifier: MIT */
/* A folder with a socket of each producer's, for transports that need names. */
#ifndef BROOD_BENCH_COMPARE_FOLDER_H
#define BROOD_BENCH_COMPARE_FOLDER_H

#include "bench.h"

enum { FOLDER_ADDRESS_LEN = 128 };

static struct {
    char path[64];
    unsigned producers;
} folder;

static inline bool folder_open(size_t len, unsigned producers, unsigned consumers)
{
    (void)len;
    (void)consumers;
    (void)snprintf(folder.path, sizeof folder.path, "/tmp/bench-XXXXXX");
    bench_must(mkdtemp(folder.path) != NULL, "mkdtemp");
    folder.producers = producers;
    return true;
}

/* Writes to TEXT, of FOLDER_ADDRESS_LEN bytes, and returns it. */
static inline const char *folder_address(unsigned producer, char *text)
{
    (void)snprintf(text, FOLDER_ADDRESS_LEN, "ipc://%s/%u", folder.path, producer);
    return text;
}

static inline void folder_close(void)
{
    char address[FOLDER_ADDRESS_LEN];

    for (unsigned i = 0; i < folder.producers; i++)
        (void)unlink(folder_address(i, address) + strlen("ipc://"));
    (void)rmdir(folder.path);
}

#endif
