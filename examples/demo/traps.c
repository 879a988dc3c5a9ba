/* SPDX-License-Identifier: MIT */
/*
 * The traps: files of a dozen bytes, each of which meets one bug of the parser in box.c. They
 * lie in a folder of their own under $TMPDIR and are files like all others: nothing tells the
 * worker what it opens.
 */
#include "traps.h"
#include "box.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define NUMBERS(...)                                                                               \
    .numbers = (const unsigned[]){__VA_ARGS__},                                                    \
    .count = sizeof((const unsigned[]){__VA_ARGS__}) / sizeof(unsigned)

/* The first number is the offset of the root, 8: right behind it. */
const struct trap traps[TRAP_KINDS] = {
    {"good", "a good box", ENDING_DONE, 2, NUMBERS(8, BOX_LIST, 1, 20, BOX_TEXT, 4, 0x656e6f)},
    {"length", "a length field that lies", ENDING_CRASHED, 3, NUMBERS(8, BOX_TEXT, 0xf0000000)},
    {"itself", "a list that contains itself", ENDING_CRASHED, 3, NUMBERS(8, BOX_LIST, 1, 8)},
    {"kind", "a node of no known kind", ENDING_CRASHED, 2, NUMBERS(8, 77)},
    {"circle", "a chain of offsets that is a circle", ENDING_TIMED_OUT, 2,
     NUMBERS(8, BOX_NEXT, 16, BOX_NEXT, 8)},
    {"bomb", "20 bytes that stand for 3.7 GiB", ENDING_OUT_OF_MEMORY, 2,
     NUMBERS(8, BOX_REPEAT, 0xf0000000, 'x')},
};

static void path_of(const struct trap *trap, const char *folder, char *out_path, size_t size)
{
    snprintf(out_path, size, "%s/%s", folder, trap->name);
}

static int write_trap(const struct trap *trap, const char *path)
{
    FILE *file = fopen(path, "wxe");

    if (file == NULL)
        return -errno;
    fputs("BOX1", file);
    for (size_t i = 0; i < trap->count; i++)
        for (int shift = 0; shift < 32; shift += 8)
            fputc((int)(trap->numbers[i] >> shift & 0xff), file);
    return fclose(file) == 0 ? 0 : -errno;
}

int traps_make(char *out_folder, size_t size)
{
    const char *parent = getenv("TMPDIR");
    char path[4096];

    if (parent == NULL || parent[0] == '\0')
        parent = "/tmp";
    if ((size_t)snprintf(out_folder, size, "%s/brood-demo-XXXXXX", parent) >= size)
        return -ENAMETOOLONG;
    if (mkdtemp(out_folder) == NULL)
        return -errno;
    for (int i = 0; i < TRAP_KINDS; i++) {
        path_of(&traps[i], out_folder, path, sizeof path);
        int r = write_trap(&traps[i], path);
        if (r < 0) {
            traps_remove(out_folder);
            return r;
        }
    }
    return 0;
}

void traps_remove(const char *folder)
{
    char path[4096];

    for (int i = 0; i < TRAP_KINDS; i++) {
        path_of(&traps[i], folder, path, sizeof path);
        unlink(path);
    }
    rmdir(folder);
}
