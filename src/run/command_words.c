/* SPDX-License-Identifier: MIT */
/*
 * Words of a POSIX shell: taking a line apart, and making one word safe.
 *
 * A line is read once, from left to right, in one of three states: outside of quotes, in '...' and
 * in "...". Words never grow by unquoting, so the block is as large as the line plus a NUL for each
 * word, and is asked for once: first the array, then the text of the words.
 *
 * Nothing here is shared, and nothing is left by a death.
 */
#include <brood/words.h>

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "base/memory.h"

/* ---- taking apart ---- */

struct reader {
    const char *at; /* in the line */
    char *out;      /* where the next character goes; NULL: words are only counted */
};

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\n';
}

static void put(struct reader *reader, char c)
{
    if (reader->out != NULL)
        *reader->out++ = c;
}

/* Behind the opening quote; false: there is no closing one. */
static bool read_single(struct reader *reader)
{
    for (; *reader->at != '\''; reader->at++) {
        if (*reader->at == '\0')
            return false;
        put(reader, *reader->at);
    }
    reader->at++;
    return true;
}

/* In "..." a backslash is one unless it stands before one of these; before a newline both go. */
static bool read_double(struct reader *reader)
{
    for (; *reader->at != '"'; reader->at++) {
        if (*reader->at == '\0')
            return false;
        if (*reader->at == '\\' && reader->at[1] != '\0' && strchr("$`\"\\\n", reader->at[1])) {
            reader->at++;
            if (*reader->at == '\n')
                continue;
        }
        put(reader, *reader->at);
    }
    reader->at++;
    return true;
}

/* A backslash outside of quotes; false: it is the last character. */
static bool read_escaped(struct reader *reader)
{
    if (*reader->at == '\0')
        return false;
    if (*reader->at != '\n')
        put(reader, *reader->at);
    reader->at++;
    return true;
}

static void skip_blanks(struct reader *reader)
{
    while (is_blank(*reader->at) || (reader->at[0] == '\\' && reader->at[1] == '\n'))
        reader->at += *reader->at == '\\' ? 2 : 1;
}

static bool read_word(struct reader *reader)
{
    while (*reader->at != '\0' && !is_blank(*reader->at)) {
        char c = *reader->at++;
        bool whole = true;

        if (c == '\'')
            whole = read_single(reader);
        else if (c == '"')
            whole = read_double(reader);
        else if (c == '\\')
            whole = read_escaped(reader);
        else
            put(reader, c);
        if (!whole)
            return false;
    }
    put(reader, '\0');
    return true;
}

/* How many words LINE has; with WORDS NULL they are only counted. */
static int64_t read_line(const char *line, char **words, char *text)
{
    struct reader reader = {.at = line, .out = text};
    int64_t count = 0;

    for (skip_blanks(&reader); *reader.at != '\0'; skip_blanks(&reader)) {
        if (words != NULL)
            words[count] = reader.out;
        if (!read_word(&reader))
            return -EINVAL;
        count++;
    }
    return count;
}

int brood_split(const char *line, char ***out_argv)
{
    int64_t count;
    size_t array_len;
    char **words;

    if (line == NULL || out_argv == NULL)
        return -EINVAL;
    count = read_line(line, NULL, NULL);
    if (count < 0)
        return (int)count;
    if (count > INT32_MAX - 1)
        return -ENOMEM;
    array_len = ((size_t)count + 1) * sizeof *words;
    words = brood__alloc(array_len + strlen(line) + 1);
    if (words == NULL)
        return -ENOMEM;
    (void)read_line(line, words, (char *)words + array_len);
    words[count] = NULL;
    *out_argv = words;
    return (int)count;
}

/* ---- putting into quotes ---- */

static bool is_plain(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           (c != '\0' && strchr("_-./,:+@%", c) != NULL);
}

static bool needs_quotes(const char *text)
{
    const char *c = text;

    while (is_plain(*c))
        c++;
    return *c != '\0' || c == text;
}

int brood_quote(const char *text, char **out_word)
{
    static const char escaped[] = {'\'', '\\', '\'', '\''};
    size_t len = 0;
    char *word, *out;

    if (text == NULL || out_word == NULL)
        return -EINVAL;
    for (const char *c = text; *c != '\0'; c++)
        len += *c == '\'' ? sizeof escaped : 1;
    word = out = brood__alloc(len + 3);
    if (word == NULL)
        return -ENOMEM;
    if (!needs_quotes(text)) {
        memcpy(word, text, len + 1);
        *out_word = word;
        return 0;
    }
    *out++ = '\'';
    for (const char *c = text; *c != '\0'; c++) {
        if (*c == '\'') { /* leave the quotes, an escaped quote, enter them again */
            memcpy(out, escaped, sizeof escaped);
            out += sizeof escaped;
        } else {
            *out++ = *c;
        }
    }
    memcpy(out, "'", 2);
    *out_word = word;
    return 0;
}
