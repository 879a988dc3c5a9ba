/* SPDX-License-Identifier: MIT */
/* Malformed files that make the parser of box.c crash, hang or eat memory. */
#ifndef DEMO_TRAPS_H
#define DEMO_TRAPS_H

#include <stddef.h>

enum ending {
    ENDING_DONE,
    ENDING_CRASHED,
    ENDING_TIMED_OUT,
    ENDING_OUT_OF_MEMORY,
    ENDING_FAILED, /* the function said so: an errno */
    ENDINGS
};

struct trap {
    const char *name;
    const char *story;  /* what is wrong with the file */
    enum ending ending; /* what the parser makes of it */
    size_t copies;
    const unsigned *numbers; /* what the file says, after its first four bytes */
    size_t count;
};

enum { TRAP_KINDS = 6 };
extern const struct trap traps[TRAP_KINDS];

/* A new folder with every trap once, named after it. 0 or a negative errno. */
int traps_make(char *out_folder, size_t size);
void traps_remove(const char *folder);

#endif
