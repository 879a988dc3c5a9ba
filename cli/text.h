/* SPDX-License-Identifier: MIT */
/*
 * Growing strings, lists of strings, and how the command gives up.
 *
 * A command line program that has no memory left cannot do its job: every allocation goes through
 * memory_get() and memory_grow(), which end the program with one clear message and status 255.
 */
#ifndef BROOD_CLI_TEXT_H
#define BROOD_CLI_TEXT_H

#include <stdbool.h>
#include <stddef.h>

/* Zeroed is empty. DATA is NULL, or ends with a NUL behind its LEN bytes. */
struct text {
    char *data;
    size_t len, room;
};

/* Owned strings. Zeroed is empty. */
struct list {
    char **at;
    size_t count, room;
};

#define EXIT_ERROR 255

__attribute__((format(printf, 1, 2), noreturn)) void die(const char *format, ...);
__attribute__((format(printf, 1, 2))) void warn(const char *format, ...);
/* What stands in front of messages: "brood map" or "brood run". */
void text_program_is(const char *name);

void *memory_get(size_t size); /* zeroed */
void *memory_grow(void *old, size_t size);
char *text_copy(const char *string);

void text_add(struct text *text, const char *data, size_t len);
void text_puts(struct text *text, const char *string);
void text_char(struct text *text, char c);
__attribute__((format(printf, 2, 3))) void text_printf(struct text *text, const char *format, ...);
void text_clear(struct text *text);
/* The text so far, "" for an empty one; borrowed until the next change. */
const char *text_string(const struct text *text);
void text_done(struct text *text);
/* STRING as one word for a POSIX shell. */
void text_quote(struct text *text, const char *string);

void list_add(struct list *list, char *owned);
void list_clear(struct list *list);
void list_done(struct list *list);

/* Numbers as people write them: 10, 4K, 1.5M, 2g. K is 1024, k is 1000. Or -1 for anything else. */
double parse_size(const char *string);
/* 10, 1.5, 2m, 1h30m, 3d; in seconds. Or -1. */
double parse_duration(const char *string);

#endif
