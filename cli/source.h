/* SPDX-License-Identifier: MIT */
/* The inputs: words, files and stdin, combined, split into columns, streamed. */
#ifndef BROOD_CLI_SOURCE_H
#define BROOD_CLI_SOURCE_H

#include "options.h"
#include "text.h"

struct inputs;

/* WORDS is what stands behind the command, from the first separator on; sources made by -a come
 * before it. Without any, stdin is the source. */
struct inputs *inputs_new(const struct options *options, char **words, size_t count);
/* The next one: its columns, or one for each source. Owned by the caller. False at the end. */
bool inputs_next(struct inputs *inputs, struct list *out_columns);
/* Column names by --header; empty without. */
const struct list *inputs_names(const struct inputs *inputs);
/* Whether stdin is one of the sources. */
bool inputs_use_stdin(const struct inputs *inputs);
/* The descriptor that the next input is waited for at, or -1 if there is something to read. */
int inputs_blocked_fd(const struct inputs *inputs);
void inputs_free(struct inputs *inputs);
/* Is WORD one of the separators, and the index of such a word in ARGV? */
size_t inputs_begin(const struct options *options, char **argv, size_t count);
/* \n, \t, \0, \101, \x41 ... in a text. */
void unescape(const char *string, struct text *out);

#endif
