/* SPDX-License-Identifier: MIT */
/* "What did you leave behind?": asked inside a process, of its descendants, and of folders. */
#ifndef BROOD_TESTS_HARNESS_LEFTOVER_H
#define BROOD_TESTS_HARNESS_LEFTOVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum { INVENTORY_FDS_MAX = 2048 };

/* What a process holds: taken before a function runs, and compared after it. */
struct inventory {
    uint64_t fds[INVENTORY_FDS_MAX]; /* which open file a descriptor is, 0: none */
    unsigned threads;
    unsigned memory_objects; /* mappings of memfds */
};

void inventory_take(struct inventory *inventory);
/* Whether this process holds just what it held, and has no child. If not, TEXT says what. */
bool inventory_compare(const struct inventory *before, char *text, size_t size);

/*
 * Reaps every child of this process, which is a subreaper. Those dead or about to die by
 * themselves (a SIGKILL is on its way, or they are exiting) are nobody's fault. The others get
 * PATIENCE_MS to end; who does not is killed, and named in TEXT. True if there was none of them.
 */
bool orphans_reap(int64_t patience_ms, char *text, size_t size);

/* One line for each process below this one, for a test that hangs. */
void descendants_describe(char *text, size_t size);

/* The names in a folder. */
void folder_list(const char *path, char *text, size_t size);
void folder_remove(const char *path);

#endif
