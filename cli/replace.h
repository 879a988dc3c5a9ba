/* SPDX-License-Identifier: MIT */
/* What stands between { and }: which argument, and what is done to it. */
#ifndef BROOD_CLI_REPLACE_H
#define BROOD_CLI_REPLACE_H

#include "options.h"

#include <regex.h>

enum what {
    WHAT_ARGUMENT,
    WHAT_SEQUENCE,
    WHAT_SLOT,
    WHAT_TOTAL,
    WHAT_SEQUENCE_0,
    WHAT_SLOT_0,
    WHAT_TEXT
};

enum operation {
    KEEP_ALL,
    STEM,      /* {.} */
    BASE,      /* {/} */
    DIRECTORY, /* {//} */
    BASE_STEM, /* {/.} */
    STEM_2,    /* {..} */
    STEM_3,
    BASE_STEM_2, /* {/..} */
    BASE_STEM_3,
    DIRECTORY_PART, /* {+/} */
    EXTENSION,      /* {+.} */
    EXTENSION_2,
    EXTENSION_3,
    OR_ELSE,    /* {:-text} */
    SUBSTRING,  /* {:from} {:from:len} */
    CUT_FRONT,  /* {#regex}, {##regex} */
    CUT_END,    /* {%regex}, {%%regex} */
    SUBSTITUTE, /* {/regex/text} */
    SUBSTITUTE_ALL,
    UPPER_FIRST, /* {^regex} */
    UPPER_ALL,
    LOWER_FIRST,
    LOWER_ALL
};

struct replacement {
    enum what what;
    enum operation operation;
    long index;      /* 1 is the first, -1 the last; 0 with .positional is the last too */
    bool positional; /* else each argument */
    char *text;      /* WHAT_TEXT, OR_ELSE, SUBSTITUTE */
    long from, len;  /* SUBSTRING */
    bool greedy;
    regex_t *regex;
};

/* Parses what stands at STRING. Returns how many bytes that is, or 0 if it is no replacement. */
size_t replacement_parse(const struct options *options, const struct list *names,
                         const char *string, struct replacement *out);
/* Appends what becomes of ARGUMENT. */
void replacement_apply(const struct replacement *replacement, const char *argument,
                       struct text *out);
void replacement_done(struct replacement *replacement);

#endif
