/* SPDX-License-Identifier: MIT */
/* Whole files as text. */
#ifndef BROOD_SRC_SYS_FILE_H
#define BROOD_SRC_SYS_FILE_H

#include <stddef.h>

/* All of a file of up to LEN_MAX bytes and a NUL, to be freed by base/memory.h, and its length;
 * NULL: it cannot be read, it is longer, or there is no memory. For files of /proc, which do not
 * tell their size before. OUT_LEN may be NULL. */
char *brood__file_text(const char *path, size_t len_max, size_t *out_len);

#endif
