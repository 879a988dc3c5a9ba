/* SPDX-License-Identifier: MIT */
/* A command (or a tag, or a file name) with replacement strings: parsed once, expanded often. */
#ifndef BROOD_CLI_TEMPLATE_H
#define BROOD_CLI_TEMPLATE_H

#include "options.h"
#include "text.h"

struct template;

/* What a job puts in. ARGS are borrowed. */
struct filling {
    const struct list *args;
    size_t sequence, slot, total, slot_max;
};

/* The command of the WORDS; NAMES are column names. Appends {} if there is no replacement string
 * and APPEND. */
struct template *template_new(const struct options *options, char **words, size_t count,
                              const struct list *names, bool append);
/* TEXT for a tag or a name: never quoted. */
struct template *template_plain(const struct options *options, const char *text,
                                const struct list *names);
bool template_replaces(const struct template *template); /* has it any replacement string? */
/* Words are repeated for each argument: x{}y gives xay xby. */
void template_repeat_words(struct template *template);
/* The text for a shell. */
void template_text(const struct template *template, const struct filling *filling,
                   struct text *out);
/* The words for execve(2), if no shell is needed: else false, and OUT as it was. */
bool template_argv(const struct template *template, const struct filling *filling,
                   struct list *out);
/* Bytes of the text without arguments, and what one more adds; INDEX counts from 0. */
size_t template_base_len(const struct template *template);
size_t template_argument_len(const struct template *template, const char *argument, size_t index);
/* Needs {##} or {0#} the number of all jobs? */
bool template_needs_total(const struct template *template);
void template_free(struct template *template);

#endif
