/* SPDX-License-Identifier: MIT */
/*
 * Growing strings, lists of strings, quoting, numbers, and how the command gives up.
 *
 * What always holds: text.data ends with a NUL behind its len bytes, so it is a C string as soon as
 * there is any; room counts that NUL.
 */
#include "text.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *program = "brood";

void text_program_is(const char *name)
{
    program = name;
}

static void complain(const char *format, va_list list)
{
    fflush(stdout);
    fprintf(stderr, "%s: ", program);
    vfprintf(stderr, format, list);
    fputc('\n', stderr);
}

void die(const char *format, ...)
{
    va_list list;

    va_start(list, format);
    complain(format, list);
    va_end(list);
    exit(EXIT_ERROR);
}

void warn(const char *format, ...)
{
    va_list list;

    va_start(list, format);
    complain(format, list);
    va_end(list);
}

void *memory_grow(void *old, size_t size)
{
    void *memory = realloc(old, size | 1); /* never 0, which would free it */

    if (memory == NULL)
        die("out of memory: %zu bytes were not to be had", size);
    return memory;
}

void *memory_get(size_t size)
{
    return memset(memory_grow(NULL, size), 0, size);
}

char *text_copy(const char *string)
{
    const size_t size = strlen(string) + 1;

    return memcpy(memory_grow(NULL, size), string, size);
}

static void make_room(struct text *text, size_t more)
{
    size_t room = text->room == 0 ? 64 : text->room;

    if (text->room > more && text->room - more > text->len)
        return;
    if (more > SIZE_MAX / 4)
        die("out of memory: %zu bytes were not to be had", more);
    while (room <= text->len + more)
        room *= 2;
    text->data = memory_grow(text->data, room);
    text->room = room;
}

void text_add(struct text *text, const char *data, size_t len)
{
    make_room(text, len);
    if (len > 0)
        memcpy(text->data + text->len, data, len);
    text->len += len;
    text->data[text->len] = '\0';
}

void text_puts(struct text *text, const char *string)
{
    text_add(text, string, strlen(string));
}

void text_char(struct text *text, char c)
{
    text_add(text, &c, 1);
}

void text_printf(struct text *text, const char *format, ...)
{
    va_list list;
    int len;

    va_start(list, format);
    len = vsnprintf(NULL, 0, format, list);
    va_end(list);
    if (len < 0)
        return;
    make_room(text, (size_t)len);
    va_start(list, format);
    vsnprintf(text->data + text->len, (size_t)len + 1, format, list);
    va_end(list);
    text->len += (size_t)len;
}

void text_clear(struct text *text)
{
    text->len = 0;
    if (text->data != NULL)
        text->data[0] = '\0';
}

const char *text_string(const struct text *text)
{
    return text->data == NULL ? "" : text->data;
}

void text_done(struct text *text)
{
    free(text->data);
    *text = (struct text){0};
}

static bool needs_no_quotes(unsigned char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           (c != '\0' && strchr("_+-./", c) != NULL);
}

/*
 * Apostrophes stand in double quotes and all else in apostrophes; an empty pair at either end is
 * left away.
 */
void text_quote(struct text *text, const char *string)
{
    const char *c = string;
    bool open = false;

    while (needs_no_quotes((unsigned char)*c))
        c++;
    if (*c == '\0' && c != string) {
        text_puts(text, string);
        return;
    }
    if (string[0] != '\'') {
        text_char(text, '\'');
        open = true;
    }
    for (c = string; *c != '\0'; c++) {
        if (*c != '\'') {
            text_char(text, *c);
            continue;
        }
        if (open)
            text_char(text, '\'');
        text_puts(text, "\"'\"");
        open = c[1] != '\0';
        if (open)
            text_char(text, '\'');
    }
    if (open)
        text_char(text, '\'');
}

void list_add(struct list *list, char *owned)
{
    if (list->count == list->room) {
        list->room = list->room == 0 ? 4 : list->room * 2;
        list->at = memory_grow(list->at, list->room * sizeof *list->at);
    }
    list->at[list->count++] = owned;
}

void list_clear(struct list *list)
{
    for (size_t i = 0; i < list->count; i++)
        free(list->at[i]);
    list->count = 0;
}

void list_done(struct list *list)
{
    list_clear(list);
    free(list->at);
    *list = (struct list){0};
}

double parse_size(const char *string)
{
    static const char units[] = "KMGTP", small[] = "kmgtp";
    char *end;
    double value = strtod(string, &end), factor = 1;
    const char *unit;

    if (end == string || value < 0)
        return -1;
    if (*end != '\0' && (unit = strchr(units, *end)) != NULL) {
        for (; unit >= units; unit--)
            factor *= 1024;
        end++;
    } else if (*end != '\0' && (unit = strchr(small, *end)) != NULL) {
        for (; unit >= small; unit--)
            factor *= 1000;
        end++;
    }
    return *end == '\0' ? value * factor : -1;
}

double parse_duration(const char *string)
{
    double sum = 0;

    if (*string == '\0')
        return -1;
    while (*string != '\0') {
        char *end;
        const double value = strtod(string, &end);
        double factor = 1;

        if (end == string || value < 0)
            return -1;
        if (*end == 'm')
            factor = 60;
        else if (*end == 'h')
            factor = 3600;
        else if (*end == 'd')
            factor = 86400;
        if (*end != '\0' && strchr("smhd", *end) != NULL)
            end++;
        else if (*end != '\0')
            return -1;
        sum += value * factor;
        string = end;
    }
    return sum;
}
