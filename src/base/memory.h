/* SPDX-License-Identifier: MIT */
/* Private memory of this process. All give NULL when there is none; free takes NULL. */
#ifndef BROOD_SRC_BASE_MEMORY_H
#define BROOD_SRC_BASE_MEMORY_H

#include <stddef.h>

void *brood__alloc(size_t len);                      /* not zeroed */
void *brood__alloc_zeroed(size_t count, size_t len); /* NULL too if count * len overflows */
void *brood__realloc(void *memory, size_t len);      /* on failure MEMORY stays */
char *brood__copy_string(const char *string);
void brood__free(void *memory); /* errno is preserved */

#endif
