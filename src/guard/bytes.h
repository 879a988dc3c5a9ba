/* SPDX-License-Identifier: MIT */
/* Bytes and numbers, without a C library. The compiler itself calls the first four. */
#ifndef BROOD_SRC_GUARD_BYTES_H
#define BROOD_SRC_GUARD_BYTES_H

#include <stddef.h>
#include <stdint.h>

void *memcpy(void *restrict to, const void *restrict from, size_t len);
void *memmove(void *to, const void *from, size_t len);
void *memset(void *to, int byte, size_t len);
int memcmp(const void *left, const void *right, size_t len);

/* A text that is put together from pieces. What does not fit is cut; the NUL is always there. */
struct text {
    char bytes[64];
    size_t len;
};

void text_add(struct text *text, const char *piece);
void text_add_number(struct text *text, uint64_t number);

#endif
