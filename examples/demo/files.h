/* SPDX-License-Identifier: MIT */
/* Finds files to work on. */
#ifndef DEMO_FILES_H
#define DEMO_FILES_H

#include <stddef.h>

enum { FILES_MAX = 4000, FILE_LEN_MAX = 1 << 20 };

struct files {
    char **paths;
    size_t count;
};

/* Adds readable regular files of 1 byte to FILE_LEN_MAX below FOLDER, COUNT_MAX at most, in the
 * order of their names. Symbolic links are not followed. 0, or a negative errno if FOLDER
 * itself cannot be read. */
int files_find(struct files *files, const char *folder, size_t count_max);
void files_done(struct files *files);

#endif
