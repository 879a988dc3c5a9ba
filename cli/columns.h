/* SPDX-License-Identifier: MIT */
/* Splitting an input into columns by --colsep, and cutting off blanks by --trim. */
#ifndef BROOD_CLI_COLUMNS_H
#define BROOD_CLI_COLUMNS_H

#include "text.h"

#include <regex.h>

struct columns;

/* SEPARATOR is a regular expression, or NULL: one column. TRIM is as --trim, or NULL; TRIM_BOTH
 * says what NULL means. */
struct columns *columns_new(const char *separator, const char *trim, bool trim_both);
void columns_split(const struct columns *columns, const char *value, struct list *out);
void columns_free(struct columns *columns);

/* Compiles a regular expression as people know them from Perl: \t \n \s \S \d \D \w \W, and what
 * POSIX has. PURPOSE stands in the message if that fails; then it does not return. */
void regex_make(regex_t *out, const char *expression, const char *purpose);

#endif
