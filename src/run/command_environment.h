/* SPDX-License-Identifier: MIT */
/* The environment of a command, and where its program is sought. */
#ifndef BROOD_SRC_RUN_COMMAND_ENVIRONMENT_H
#define BROOD_SRC_RUN_COMMAND_ENVIRONMENT_H

#include <brood/command.h>

#include <stddef.h>
#include <stdint.h>

/* The array, which ends with NULL, and the same again in *OUT_OWN if it is to be freed by
 * base/memory.h. 0 or -ENOMEM. */
int brood__environment_make(const brood_command_options *options, const char *const **out_entries,
                            const char ***out_own);
/* Its PATH, or what is taken where there is none. */
const char *brood__environment_path(const char *const *entries);
/* The paths under which NAME is sought, each with its NUL, one behind the other: their length all
 * in all. OUT NULL: only that, and how many. */
size_t brood__candidates(const char *name, const char *path, char *out, uint32_t *out_count);

#endif
