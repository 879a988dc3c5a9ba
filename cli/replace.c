/* SPDX-License-Identifier: MIT */
/*
 * Replacement strings.
 *
 *     { [which] [operation] }     which: 3, -1, or a column's name; operation: . / // /. and so on
 *
 * Operations of --plus are known only with it. What does not parse is no replacement string and
 * stays as it is, as {c} does without a column c.
 */
#include "replace.h"

#include "columns.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

struct simple {
    const char *name;
    enum operation operation;
    bool plus;
};

static const struct simple simples[] = {
    {"", KEEP_ALL, false},        {".", STEM, false},         {"/", BASE, false},
    {"//", DIRECTORY, false},     {"/.", BASE_STEM, false},   {"..", STEM_2, true},
    {"...", STEM_3, true},        {"/..", BASE_STEM_2, true}, {"/...", BASE_STEM_3, true},
    {"+/", DIRECTORY_PART, true}, {"+.", EXTENSION, true},    {"+..", EXTENSION_2, true},
    {"+...", EXTENSION_3, true},
};

static bool is_replaced(const struct options *options, enum replaceable which)
{
    return options->replace[which] != NULL;
}

/* clang-format off */

/* Has the user given this operation, without number, another name? */
static bool renamed(const struct options *options, enum operation operation)
{
    switch (operation) {
    case KEEP_ALL: return is_replaced(options, REPLACE_ALL);
    case STEM: return is_replaced(options, REPLACE_STEM);
    case BASE: return is_replaced(options, REPLACE_BASE);
    case DIRECTORY: return is_replaced(options, REPLACE_DIRECTORY);
    case BASE_STEM: return is_replaced(options, REPLACE_BASE_STEM);
    default: return false;
    }
}

/* clang-format on */

static bool parse_simple(const struct options *options, const char *body, struct replacement *out)
{
    for (size_t i = 0; i < sizeof simples / sizeof simples[0]; i++) {
        if (strcmp(body, simples[i].name) != 0 || (simples[i].plus && !options->plus))
            continue;
        if (!out->positional && renamed(options, simples[i].operation))
            return false;
        out->operation = simples[i].operation;
        return true;
    }
    return false;
}

static bool parse_number(const struct options *options, const char *body, struct replacement *out)
{
    static const struct {
        const char *name;
        enum what what;
        bool plus;
    } numbers[] = {{"#", WHAT_SEQUENCE, false},
                   {"%", WHAT_SLOT, false},
                   {"##", WHAT_TOTAL, true},
                   {"0#", WHAT_SEQUENCE_0, true},
                   {"0%", WHAT_SLOT_0, true}};

    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        if (strcmp(body, numbers[i].name) != 0 || (numbers[i].plus && !options->plus))
            continue;
        if ((numbers[i].what == WHAT_SEQUENCE && is_replaced(options, REPLACE_SEQUENCE)) ||
            (numbers[i].what == WHAT_SLOT && is_replaced(options, REPLACE_SLOT)))
            return false;
        out->what = numbers[i].what;
        return true;
    }
    if (!options->plus || (strcmp(body, "slot") != 0 && strcmp(body, "host") != 0))
        return false;
    out->what = WHAT_TEXT;
    out->text = text_copy(body[0] == 's' ? "${PARALLEL_JOBSLOT}" : "${PARALLEL_SSHHOST}");
    return true;
}

/* BEFORE and AFTER stand around the user's EXPRESSION. */
static void set_regex(struct replacement *out, const char *before, const char *expression,
                      size_t len, const char *after)
{
    struct text text = {0};

    text_puts(&text, before);
    text_add(&text, expression, len);
    text_puts(&text, after);
    out->regex = memory_get(sizeof *out->regex);
    regex_make(out->regex, text.data, "replacement string");
    text_done(&text);
}

static bool parse_substring(const char *body, struct replacement *out)
{
    char *end;

    if (strncmp(body, ":-", 2) == 0) {
        out->operation = OR_ELSE;
        out->text = text_copy(body + 2);
        return true;
    }
    if (!isdigit((unsigned char)body[1]))
        return false;
    out->operation = SUBSTRING;
    out->from = strtol(body + 1, &end, 10);
    out->len = -1;
    if (*end == ':' && isdigit((unsigned char)end[1]))
        out->len = strtol(end + 1, &end, 10);
    return *end == '\0';
}

static bool parse_substitute(const char *body, struct replacement *out)
{
    const bool all = body[1] == '/';
    const char *expression = body + (all ? 2 : 1), *slash = strchr(expression, '/');

    if (slash == NULL || slash == expression)
        return false;
    out->operation = all ? SUBSTITUTE_ALL : SUBSTITUTE;
    set_regex(out, "", expression, (size_t)(slash - expression), "");
    out->text = text_copy(slash + 1);
    return true;
}

/* What FIRST, alone or TWICE, does with what it matches. */
static enum operation cut_or_case(char first, bool twice)
{
    if (first == '#')
        return CUT_FRONT;
    if (first == '%')
        return CUT_END;
    if (first == '^')
        return twice ? UPPER_ALL : UPPER_FIRST;
    return twice ? LOWER_ALL : LOWER_FIRST;
}

/* The operations of --plus that have a parameter. */
static bool parse_dynamic(const char *body, struct replacement *out)
{
    const char first = body[0];
    const bool twice = first != '\0' && body[1] == first;
    const char *rest = body + (twice ? 2 : 1);

    if (first == '\0' || body[1] == '\0')
        return false;
    if (first == ':')
        return parse_substring(body, out);
    if (first == '/')
        return parse_substitute(body, out);
    if (strchr("#%^,", first) == NULL || *rest == '\0')
        return false;
    out->greedy = twice;
    out->operation = cut_or_case(first, twice);
    if (first == '%')
        set_regex(out, "(", rest, strlen(rest), ")$");
    else
        set_regex(out, first == '#' || !twice ? "^(" : "(", rest, strlen(rest), ")");
    return true;
}

static bool parse_operation(const struct options *options, const char *body,
                            struct replacement *out)
{
    return parse_simple(options, body, out) || (options->plus && parse_dynamic(body, out));
}

static bool parse_named(const struct options *options, const struct list *names, const char *body,
                        struct replacement *out)
{
    for (size_t i = 0; i < names->count; i++) {
        const size_t len = strlen(names->at[i]);

        if (len == 0 || strncmp(body, names->at[i], len) != 0)
            continue;
        *out = (struct replacement){.index = (long)i + 1, .positional = true};
        if (parse_operation(options, body + len, out))
            return true;
    }
    return false;
}

static bool parse_body(const struct options *options, const struct list *names, const char *body,
                       struct replacement *out)
{
    const char *digits = body + (*body == '-' ? 1 : 0);
    char *end;

    *out = (struct replacement){0};
    if (parse_named(options, names, body, out))
        return true;
    *out = (struct replacement){0};
    if (parse_number(options, body, out) || parse_operation(options, body, out))
        return true;
    if (!isdigit((unsigned char)*digits))
        return false;
    *out = (struct replacement){.positional = true};
    out->index = strtol(body, &end, 10);
    while (*end == ' ')
        end++;
    return parse_operation(options, end, out);
}

/* The names that the user has given. */
static size_t parse_renamed(const struct options *options, const char *string,
                            struct replacement *out)
{
    static const enum operation operations[] = {KEEP_ALL,  STEM,     BASE,    DIRECTORY,
                                                BASE_STEM, KEEP_ALL, KEEP_ALL};

    for (int i = 0; i < REPLACE_COUNT; i++) {
        const char *name = options->replace[i];
        const size_t len = name == NULL ? 0 : strlen(name);

        if (len == 0 || strncmp(string, name, len) != 0)
            continue;
        *out = (struct replacement){.operation = operations[i]};
        if (i == REPLACE_SEQUENCE || i == REPLACE_SLOT)
            out->what = i == REPLACE_SEQUENCE ? WHAT_SEQUENCE : WHAT_SLOT;
        return len;
    }
    return 0;
}

size_t replacement_parse(const struct options *options, const struct list *names,
                         const char *string, struct replacement *out)
{
    size_t len = parse_renamed(options, string, out);
    const char *end;
    char *body;
    bool known;

    if (len > 0)
        return len;
    end = *string == '{' ? strchr(string, '}') : NULL;
    if (end == NULL)
        return 0;
    len = (size_t)(end - string) - 1;
    body = memory_grow(NULL, len + 1);
    memcpy(body, string + 1, len);
    body[len] = '\0';
    known = parse_body(options, names, body, out);
    free(body);
    return known ? len + 2 : 0;
}

/* ---- applying ---- */

/* Where the last component begins, and where its COUNT last extensions begin: the end if it has
 * not so many. */
static const char *base_of(const char *argument)
{
    const char *slash = strrchr(argument, '/');

    return slash == NULL ? argument : slash + 1;
}

static size_t stem_len(const char *argument, int count)
{
    const char *base = base_of(argument), *at = argument + strlen(argument);
    const char *const end = at;

    for (int i = 0; i < count; i++) {
        const char *dot = at - 1;

        while (dot >= base && *dot != '.')
            dot--;
        if (dot < base || (dot == at - 1 && count > 1))
            return (size_t)(end - argument);
        at = dot;
    }
    return (size_t)(at - argument);
}

/* As dirname(1) has it. */
static void add_directory(const char *argument, struct text *out)
{
    size_t len = strlen(argument);

    while (len > 0 && argument[len - 1] == '/')
        len--;
    if (len == 0) {
        text_char(out, *argument == '/' ? '/' : '.');
        return;
    }
    while (len > 0 && argument[len - 1] != '/')
        len--;
    if (len == 0) {
        text_char(out, '.');
        return;
    }
    while (len > 1 && argument[len - 1] == '/')
        len--;
    text_add(out, argument, len);
}

/* What {+.} {+..} {+...} leave: the extensions without the first dot. */
static void add_extension(const char *argument, int count, struct text *out)
{
    const char *dot = strrchr(argument, '.');
    const size_t len = stem_len(argument, count);

    if (count == 1)
        text_puts(out, dot == NULL ? "" : dot + 1);
    else if (argument[len] == '.')
        text_puts(out, argument + len + 1);
}

static void add_cut(const struct replacement *replacement, const char *argument, struct text *out)
{
    const bool front = replacement->operation == CUT_FRONT;
    const size_t len = strlen(argument);
    regmatch_t match;

    /* Not greedy: the shortest that matches, found by trying. */
    for (size_t part = 0; !replacement->greedy && part <= len; part++) {
        char *piece = text_copy(front ? argument : argument + len - part);

        if (front)
            piece[part] = '\0';
        if (regexec(replacement->regex, piece, 1, &match, 0) == 0 &&
            match.rm_eo - match.rm_so == (regoff_t)part) {
            text_add(out, front ? argument + part : argument, len - part);
            free(piece);
            return;
        }
        free(piece);
    }
    if (!replacement->greedy || regexec(replacement->regex, argument, 1, &match, 0) != 0) {
        text_puts(out, argument);
        return;
    }
    if (front)
        text_puts(out, argument + match.rm_eo);
    else
        text_add(out, argument, (size_t)match.rm_so);
}

static void add_cased(const char *from, size_t len, bool upper, struct text *out)
{
    for (size_t i = 0; i < len; i++)
        text_char(
            out, (char)(upper ? toupper((unsigned char)from[i]) : tolower((unsigned char)from[i])));
}

static void add_substituted(const struct replacement *replacement, const char *argument,
                            struct text *out)
{
    const enum operation operation = replacement->operation;
    const bool all =
        operation == SUBSTITUTE_ALL || operation == UPPER_ALL || operation == LOWER_ALL;
    regmatch_t match;
    bool first = true;

    while ((first || all) &&
           regexec(replacement->regex, argument, 1, &match, first ? 0 : REG_NOTBOL) == 0) {
        if (match.rm_eo == match.rm_so)
            break;
        text_add(out, argument, (size_t)match.rm_so);
        if (replacement->text != NULL)
            text_puts(out, replacement->text);
        else
            add_cased(argument + match.rm_so, (size_t)(match.rm_eo - match.rm_so),
                      operation == UPPER_FIRST || operation == UPPER_ALL, out);
        argument += match.rm_eo;
        first = false;
    }
    text_puts(out, argument);
}

static void add_substring(const struct replacement *replacement, const char *argument,
                          struct text *out)
{
    const size_t len = strlen(argument), from = (size_t)replacement->from;
    size_t taken;

    if (from >= len)
        return;
    taken = len - from;
    if (replacement->len >= 0 && (size_t)replacement->len < taken)
        taken = (size_t)replacement->len;
    text_add(out, argument + from, taken);
}

static void add_base_stem(const char *argument, int count, struct text *out)
{
    const char *base = base_of(argument);

    text_add(out, base, stem_len(base, count));
}

/* clang-format off */

void replacement_apply(const struct replacement *replacement, const char *argument,
                       struct text *out)
{
    const char *slash;

    switch (replacement->operation) {
    case KEEP_ALL: text_puts(out, argument); break;
    case STEM: text_add(out, argument, stem_len(argument, 1)); break;
    case STEM_2: text_add(out, argument, stem_len(argument, 2)); break;
    case STEM_3: text_add(out, argument, stem_len(argument, 3)); break;
    case BASE: text_puts(out, base_of(argument)); break;
    case DIRECTORY: add_directory(argument, out); break;
    case BASE_STEM: add_base_stem(argument, 1, out); break;
    case BASE_STEM_2: add_base_stem(argument, 2, out); break;
    case BASE_STEM_3: add_base_stem(argument, 3, out); break;
    case DIRECTORY_PART:
        slash = strrchr(argument, '/');
        text_add(out, argument, slash == NULL ? 0 : (size_t)(slash - argument));
        break;
    case EXTENSION: add_extension(argument, 1, out); break;
    case EXTENSION_2: add_extension(argument, 2, out); break;
    case EXTENSION_3: add_extension(argument, 3, out); break;
    case OR_ELSE:
        text_puts(out, *argument == '\0' || strcmp(argument, "0") == 0 ? replacement->text
                                                                       : argument);
        break;
    case SUBSTRING: add_substring(replacement, argument, out); break;
    case CUT_FRONT:
    case CUT_END: add_cut(replacement, argument, out); break;
    case SUBSTITUTE:
    case SUBSTITUTE_ALL:
    case UPPER_FIRST:
    case UPPER_ALL:
    case LOWER_FIRST:
    case LOWER_ALL: add_substituted(replacement, argument, out); break;
    }
}

/* clang-format on */

void replacement_done(struct replacement *replacement)
{
    free(replacement->text);
    if (replacement->regex != NULL)
        regfree(replacement->regex);
    free(replacement->regex);
    *replacement = (struct replacement){0};
}
