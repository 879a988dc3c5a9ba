/* SPDX-License-Identifier: MIT */
/* Names of functions, from the symbol tables of ELF files of this machine. */
#ifndef BROOD_SRC_SYS_LINUX_SYMBOL_H
#define BROOD_SRC_SYS_LINUX_SYMBOL_H

#include <stdint.h>

enum { SYMBOL_NAME_SIZE = 96 };

struct symbol {
    uint64_t address;            /* in the file's own numbers: who wants to know its name */
    uint64_t start, len;         /* of the function that it is in */
    char name[SYMBOL_NAME_SIZE]; /* empty: not found */
};

/* Names for COUNT addresses in the file at PATH, by one pass over it. What has no name in it, or
 * if it is no ELF file, stays as it was. */
void brood__symbols_find(const char *path, struct symbol *symbols, unsigned count);

#endif
