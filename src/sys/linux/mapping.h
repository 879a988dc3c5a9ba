/* SPDX-License-Identifier: MIT */
/* Lines of /proc/PID/maps. The text may come from a process that lies: nothing is for sure. */
#ifndef BROOD_SRC_SYS_LINUX_MAPPING_H
#define BROOD_SRC_SYS_LINUX_MAPPING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct mapping {
    uint64_t start, end; /* addresses */
    uint64_t offset;     /* in the file */
    uint64_t device, inode;
    bool is_code;     /* may be executed */
    const char *path; /* inside of the text, not NUL-terminated; empty: no file */
    size_t path_len;
};

/* Text that is read line by line. */
struct mappings {
    const char *at, *end;
};

/* The next mapping; lines that are none are left out. False: no more. */
bool brood__mapping_next(struct mappings *mappings, struct mapping *out_mapping);
/* The one that holds ADDRESS. */
bool brood__mapping_at(struct mappings mappings, uint64_t address, struct mapping *out_mapping);
/* The one in MAPPINGS that shows the same byte of the same file as OTHER does at ADDRESS; then
 * *OUT_ADDRESS is where. */
bool brood__mapping_same(struct mappings mappings, const struct mapping *other, uint64_t address,
                         struct mapping *out_mapping, uint64_t *out_address);

#endif
