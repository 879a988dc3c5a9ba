/* SPDX-License-Identifier: MIT */
/*
 * Columns of an input, and regular expressions.
 *
 * Expressions are POSIX extended ones of libc, with the escapes that people are used to from Perl
 * translated. What POSIX has no word for (look-around, lazy repetition) is refused by a message: an
 * expression that silently means something else would be worse.
 */
#include "columns.h"

#include "source.h"

#include <stdlib.h>
#include <string.h>

struct columns {
    bool splits, plain; /* plain: the separator is a text */
    struct text text;
    regex_t regex;
    bool trim_left, trim_right;
};

static int hexadecimal(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The character behind a backslash at *C, which is moved behind it. */
static char unescape_one(const char **c)
{
    static const char names[] = "abfnrtv", values[] = "\a\b\f\n\r\t\v";
    const char *name = strchr(names, **c);
    int value = 0, digits = 0;

    if (**c == 'x' && hexadecimal((*c)[1]) >= 0) {
        for ((*c)++; digits < 2 && hexadecimal(**c) >= 0; digits++)
            value = value * 16 + hexadecimal(*(*c)++);
        return (char)value;
    }
    if (**c >= '0' && **c <= '7') {
        for (; digits < 3 && **c >= '0' && **c <= '7'; digits++)
            value = value * 8 + (*(*c)++ - '0');
        return (char)value;
    }
    (*c)++;
    return name != NULL ? values[name - names] : (*c)[-1];
}

void unescape(const char *string, struct text *out)
{
    while (*string != '\0') {
        if (*string != '\\' || string[1] == '\0') {
            text_char(out, *string++);
            continue;
        }
        string++;
        text_char(out, unescape_one(&string));
    }
}

/* clang-format off */
static const char *class_of(char letter, bool in_brackets)
{
    switch (letter) {
    case 's': return in_brackets ? "[:space:]" : "[[:space:]]";
    case 'd': return in_brackets ? "0-9" : "[0-9]";
    case 'w': return in_brackets ? "[:alnum:]_" : "[[:alnum:]_]";
    case 'S': return in_brackets ? NULL : "[^[:space:]]";
    case 'D': return in_brackets ? NULL : "[^0-9]";
    case 'W': return in_brackets ? NULL : "[^[:alnum:]_]";
    default: return NULL;
    }
}
/* clang-format on */

static void translate(const char *expression, struct text *out)
{
    bool in_brackets = false;

    for (const char *c = expression; *c != '\0';) {
        if (*c == '\\' && c[1] != '\0') {
            const char *class = class_of(c[1], in_brackets);

            c++;
            if (class != NULL) {
                text_puts(out, class);
                c++;
            } else if (strchr("abfnrtvx0", *c) != NULL) {
                text_char(out, unescape_one(&c));
            } else {
                if (!in_brackets)
                    text_char(out, '\\');
                text_char(out, *c++);
            }
            continue;
        }
        if (*c == '[' && !in_brackets)
            in_brackets = true;
        else if (*c == ']')
            in_brackets = false;
        text_char(out, *c++);
    }
}

void regex_make(regex_t *out, const char *expression, const char *purpose)
{
    struct text translated = {0};
    char message[256];
    int r;

    if (strstr(expression, "(?") != NULL || strstr(expression, "*?") != NULL ||
        strstr(expression, "+?") != NULL)
        die("%s '%s': look-around and lazy repetition are Perl's, and not understood here", purpose,
            expression);
    translate(expression, &translated);
    r = regcomp(out, text_string(&translated), REG_EXTENDED);
    if (r != 0) {
        regerror(r, out, message, sizeof message);
        die("%s '%s': %s", purpose, expression, message);
    }
    text_done(&translated);
}

struct columns *columns_new(const char *separator, const char *trim, bool trim_both)
{
    struct columns *columns = memory_get(sizeof *columns);

    columns->trim_left = trim == NULL ? trim_both : strchr(trim, 'l') != NULL;
    columns->trim_right = trim == NULL ? trim_both : strchr(trim, 'r') != NULL;
    if (separator == NULL || *separator == '\0')
        return columns;
    columns->splits = true;
    columns->plain = strpbrk(separator, ".[](){}*+?|^$") == NULL &&
                     strstr(separator, "\\s") == NULL && strstr(separator, "\\S") == NULL &&
                     strstr(separator, "\\d") == NULL && strstr(separator, "\\D") == NULL &&
                     strstr(separator, "\\w") == NULL && strstr(separator, "\\W") == NULL;
    if (columns->plain)
        unescape(separator, &columns->text);
    else
        regex_make(&columns->regex, separator, "--colsep");
    return columns;
}

static bool is_blank_char(char c)
{
    return c != '\0' && strchr(" \t\n\r\f\v", c) != NULL;
}

static void add_column(const struct columns *columns, const char *from, size_t len,
                       struct list *out)
{
    char *column;

    while (columns->trim_left && len > 0 && is_blank_char(*from)) {
        from++;
        len--;
    }
    while (columns->trim_right && len > 0 && is_blank_char(from[len - 1]))
        len--;
    column = memory_grow(NULL, len + 1);
    memcpy(column, from, len);
    column[len] = '\0';
    list_add(out, column);
}

/* Where the next separator is: false for nowhere. An empty match is none. */
static bool find(const struct columns *columns, const char *from, bool first, regmatch_t *out)
{
    const char *at;

    if (!columns->plain)
        return regexec(&columns->regex, from, 1, out, first ? 0 : REG_NOTBOL) == 0 &&
               out->rm_eo > out->rm_so;
    at = strstr(from, text_string(&columns->text));
    if (at == NULL)
        return false;
    *out = (regmatch_t){(regoff_t)(at - from), (regoff_t)(at - from) + (regoff_t)columns->text.len};
    return true;
}

void columns_split(const struct columns *columns, const char *value, struct list *out)
{
    regmatch_t match;
    bool first = true;

    while (columns->splits && find(columns, value, first, &match)) {
        add_column(columns, value, (size_t)match.rm_so, out);
        value += match.rm_eo;
        first = false;
    }
    add_column(columns, value, strlen(value), out);
}

void columns_free(struct columns *columns)
{
    if (columns->splits && !columns->plain)
        regfree(&columns->regex);
    text_done(&columns->text);
    free(columns);
}
