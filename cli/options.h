/* SPDX-License-Identifier: MIT */
/* The options of brood map and brood run: one table for the parser, --help and the completions. */
#ifndef BROOD_CLI_OPTIONS_H
#define BROOD_CLI_OPTIONS_H

#include "text.h"

#include <stdio.h>

enum verb { VERB_MAP = 1, VERB_RUN = 2 };

enum argument { ARGUMENT_NONE, ARGUMENT_NEEDED, ARGUMENT_MAY };

/* One line of the table. Lines with the same ID are names of the same thing. */
struct option_line {
    int id;
    const char *name; /* long, without dashes; or NULL */
    char letter;      /* or 0 */
    enum argument kind;
    const char *argument; /* what --help calls it */
    const char *help;     /* or NULL: works, and is not shown */
    int verbs;
};

enum grouping { GROUP_JOB, GROUP_LINES, GROUP_NONE };

/* Replacement strings that have a name of their own: the order of REPLACE_... below. */
enum replaceable {
    REPLACE_ALL,
    REPLACE_STEM,
    REPLACE_BASE,
    REPLACE_DIRECTORY,
    REPLACE_BASE_STEM,
    REPLACE_SEQUENCE,
    REPLACE_SLOT,
    REPLACE_COUNT
};

struct options {
    /* inputs */
    struct list files; /* -a */
    const char *separator_words, *separator_files;
    const char *delimiter, *column_separator, *header, *trim, *end_of_file;
    bool link, skip_empty, shuffle;
    /* the command */
    const char *replace[REPLACE_COUNT];
    bool plus, quote;
    /* packing */
    bool context, many, xargs, fixed; /* -X, -m, --xargs, -N */
    bool has_args_max, has_lines_max, exact;
    size_t args_max, command_max;
    /* pipe */
    bool pipe, remove_separator;
    double block_size;
    const char *record_start, *record_end;
    /* running */
    const char *jobs, *load, *memory_free, *directory, *slot_variable;
    struct list environment;
    double delay_s;
    bool has_nice, dry_run, keep_order;
    int nice, retries, verbose;
    const char *timeout, *halt, *stop_sequence;
    bool verbose_error;
    /* output */
    enum grouping grouping;
    bool tag, files_only;
    const char *tag_text, *results, *joblog, *temporary;
    bool resume, resume_failed, retry_failed;
    bool progress, bar, eta;
    double total;
    /* beyond */
    double memory_max, cpu_time_s;
    bool namespace_wanted, json;
    const char *report;
};

/* Reads the options in front of the command. Returns the index of the first word that is none.
 * Does not return for --help, and for mistakes. */
int options_read(struct options *options, enum verb verb, int argc, char **argv);
void options_help(enum verb verb, FILE *out);
/* "bash", "zsh" or "fish". Returns false for any other. */
bool options_completion(const char *shell, FILE *out);

#endif
