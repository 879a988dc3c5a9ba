/* SPDX-License-Identifier: MIT */
/*
 * A command with replacement strings.
 *
 *     words    what blanks separate; with -q: the words of the command line
 *     pieces   of a word: literal text, or a replacement
 *
 * A command is expanded in one of two ways. As text for a shell, where arguments are quoted and the
 * literal text is not (with -q it is too). Or, when the literal text has nothing in it that a shell
 * would see, as words for execve(2), and no shell is started: the same words that the shell would
 * have made of the text.
 *
 * Several arguments in one {}: x{}y becomes "xa by" (in place), or "xay xby" where words are
 * repeated (-X).
 *
 * Both ways walk the pieces once through struct sink, so they cannot disagree about the order.
 */
#include "template.h"

#include "replace.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct piece {
    struct text literal; /* if not .replaced */
    bool replaced;
    struct replacement replacement;
};

struct word {
    size_t blanks; /* in front of it */
    struct piece *pieces;
    size_t count;
    bool each; /* has a replacement that stands for every argument */
};

struct template
{
    struct word *words;
    size_t word_count;
    size_t blanks_behind;
    bool quotes;     /* arguments are quoted */
    bool word_quote; /* -q */
    bool repeats, replaces, needs_total;
    bool direct; /* needs no shell, as far as the literal text goes */
};

/* ---- parsing ---- */

static struct word *add_word(struct template *template, size_t blanks)
{
    struct word *word;

    template->words =
        memory_grow(template->words, (template->word_count + 1) * sizeof *template->words);
    word = &template->words[template->word_count++];
    *word = (struct word){.blanks = blanks};
    return word;
}

static struct piece *add_piece(struct word *word, bool replaced)
{
    word->pieces = memory_grow(word->pieces, (word->count + 1) * sizeof *word->pieces);
    word->pieces[word->count] = (struct piece){.replaced = replaced};
    return &word->pieces[word->count++];
}

static void add_literal(struct word *word, char c)
{
    struct piece *piece = word->count == 0 ? NULL : &word->pieces[word->count - 1];

    if (piece == NULL || piece->replaced)
        piece = add_piece(word, false);
    text_char(&piece->literal, c);
}

static void add_replacement(struct template *template, struct word *word,
                            const struct replacement *replacement)
{
    add_piece(word, true)->replacement = *replacement;
    template->replaces = true;
    if (replacement->what == WHAT_TOTAL || replacement->what == WHAT_SEQUENCE_0)
        template->needs_total = true;
    if (replacement->what == WHAT_ARGUMENT && !replacement->positional)
        word->each = true;
}

/* Cuts STRING into words at blanks if SPLIT; else it is one word. */
static void parse(struct template *template, const struct options *options,
                  const struct list *names, const char *string, bool split)
{
    struct word *word = NULL;
    size_t blanks = 0;

    if (!split)
        word = add_word(template, template->word_count > 0 ? 1 : 0);
    while (*string != '\0') {
        struct replacement replacement;
        size_t len;

        if (split && *string == ' ') {
            blanks++;
            string++;
            word = NULL;
            continue;
        }
        if (word == NULL)
            word = add_word(template, blanks);
        blanks = 0;
        len = replacement_parse(options, names, string, &replacement);
        if (len > 0)
            add_replacement(template, word, &replacement);
        else
            add_literal(word, *string);
        string += len > 0 ? len : 1;
    }
    template->blanks_behind = blanks;
}

/* ---- is a shell needed? ---- */

static bool is_plain_char(unsigned char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           (c != '\0' && strchr("_+-./,:@%^=", c) != NULL) || c >= 0x80;
}

/* Names that mean something else to a shell than to execvp(3). */
static bool is_for_shell(const char *name)
{
    static const char *const names[] = {
        ".",      ":",       "[",        "alias",   "bg",        "bind",     "break",   "builtin",
        "caller", "case",    "cd",       "command", "compgen",   "complete", "compopt", "continue",
        "coproc", "declare", "dirs",     "disown",  "do",        "done",     "elif",    "else",
        "enable", "esac",    "eval",     "exec",    "exit",      "export",   "fc",      "fg",
        "fi",     "for",     "function", "getopts", "hash",      "help",     "history", "if",
        "in",     "jobs",    "kill",     "let",     "local",     "logout",   "mapfile", "popd",
        "printf", "pushd",   "pwd",      "read",    "readarray", "readonly", "return",  "select",
        "set",    "shift",   "shopt",    "source",  "suspend",   "test",     "then",    "time",
        "times",  "trap",    "type",     "typeset", "ulimit",    "umask",    "unalias", "unset",
        "until",  "wait",    "while"};

    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strcmp(name, names[i]) == 0)
            return true;
    return false;
}

/* Programs that a shell has inside too; for plain words both do the same. */
static bool is_twofold(const char *name)
{
    return strcmp(name, "echo") == 0 || strcmp(name, "true") == 0 || strcmp(name, "false") == 0;
}

static bool is_exported_function(const char *name)
{
    struct text variable = {0};
    bool found;

    text_printf(&variable, "BASH_FUNC_%s%%%%", name);
    found = getenv(variable.data) != NULL;
    text_done(&variable);
    return found;
}

static bool is_in_path(const char *name)
{
    const char *path = getenv("PATH");
    struct text text = {0};
    bool found = false;

    if (strchr(name, '/') != NULL)
        return access(name, X_OK) == 0;
    while (path != NULL && !found) {
        const size_t len = strcspn(path, ":");

        text_clear(&text);
        text_add(&text, path, len);
        text_printf(&text, "%s%s", len > 0 ? "/" : "", name);
        found = access(text.data, X_OK) == 0;
        path = path[len] == ':' ? path + len + 1 : NULL;
    }
    text_done(&text);
    return found;
}

static bool first_word_is_program(const struct template *template)
{
    const struct word *word = template->word_count == 0 ? NULL : &template->words[0];
    const char *name;

    if (word == NULL || word->count != 1 || word->pieces[0].replaced)
        return false;
    name = word->pieces[0].literal.data;
    return strchr(name, '=') == NULL && !is_for_shell(name) && !is_exported_function(name) &&
           is_in_path(name);
}

static bool literals_are_plain(const struct template *template)
{
    for (size_t i = 0; i < template->word_count; i++)
        for (size_t j = 0; j < template->words[i].count; j++) {
            const struct piece *piece = &template->words[i].pieces[j];

            if (piece->replaced && piece->replacement.what == WHAT_TEXT)
                return false;
            for (size_t k = 0; !piece->replaced && k < piece->literal.len; k++)
                if (!is_plain_char((unsigned char)piece->literal.data[k]))
                    return false;
        }
    return true;
}

/* ---- making ---- */

static struct template *make(const struct options *options, const char *string,
                             const struct list *names)
{
    struct template *template = memory_get(sizeof *template);

    parse(template, options, names, string, true);
    return template;
}

struct template *template_new(const struct options *options, char **words, size_t count,
                              const struct list *names, bool append)
{
    struct template *template;
    struct text text = {0};

    for (size_t i = 0; i < count; i++)
        text_printf(&text, "%s%s", i == 0 ? "" : " ", words[i]);
    if (options->quote) {
        template = memory_get(sizeof *template);
        for (size_t i = 0; i < count; i++)
            parse(template, options, names, words[i], false);
        template->word_quote = template->quotes = true;
    } else {
        template = make(options, text_string(&text), names);
    }
    if (!template->replaces && append) {
        const struct replacement each = {0};

        template->blanks_behind = 0;
        add_replacement(template, add_word(template, count == 0 ? 0 : 1), &each);
    }
    if (!options->quote) {
        struct replacement first;

        template->quotes =
            count > 0 && replacement_parse(options, names, text_string(&text), &first) == 0;
        if (count > 0 && !template->quotes)
            replacement_done(&first);
    }
    template->direct = template->quotes && (options->quote || literals_are_plain(template)) &&
                       first_word_is_program(template);
    text_done(&text);
    return template;
}

struct template *template_plain(const struct options *options, const char *text,
                                const struct list *names)
{
    return make(options, text, names);
}

bool template_replaces(const struct template *template)
{
    return template->replaces;
}

bool template_needs_total(const struct template *template)
{
    return template->needs_total;
}

void template_repeat_words(struct template *template)
{
    template->repeats = true;
}

/* ---- expanding ---- */

/*
 * Where expanded text goes. A "cut" ends a word inside a word of the template: between two
 * arguments in one {}. PART is what has come for the word that is not complete.
 */
struct sink {
    const struct template *template;
    struct text *text;  /* as text, or */
    struct list *words; /* as words */
    struct text part, scratch;
    bool some; /* the word has something in it, be it "" */
};

static bool collects_parts(const struct sink *sink)
{
    return sink->words != NULL || sink->template->word_quote;
}

static void sink_end_word(struct sink *sink, bool keep_empty)
{
    if (collects_parts(sink) && (sink->some || keep_empty)) {
        if (sink->words != NULL)
            list_add(sink->words, text_copy(text_string(&sink->part)));
        else
            text_quote(sink->text, text_string(&sink->part));
    }
    text_clear(&sink->part);
    sink->some = false;
}

static void sink_cut(struct sink *sink)
{
    sink_end_word(sink, false);
    if (sink->text != NULL)
        text_char(sink->text, ' ');
}

static void sink_literal(struct sink *sink, const char *data, size_t len)
{
    text_add(collects_parts(sink) ? &sink->part : sink->text, data, len);
    sink->some = true;
}

static void sink_argument(struct sink *sink, const struct replacement *replacement,
                          const char *argument)
{
    sink->some = true;
    if (collects_parts(sink)) {
        replacement_apply(replacement, argument, &sink->part);
    } else if (!sink->template->quotes) {
        replacement_apply(replacement, argument, sink->text);
    } else {
        text_clear(&sink->scratch);
        replacement_apply(replacement, argument, &sink->scratch);
        text_quote(sink->text, text_string(&sink->scratch));
    }
}

static int digits_of(size_t number)
{
    int digits = 1;

    while (number >= 10) {
        number /= 10;
        digits++;
    }
    return digits;
}

static void sink_number(struct sink *sink, enum what what, const struct filling *filling)
{
    char number[48];
    int len = 0;

    if (what == WHAT_SEQUENCE)
        len = snprintf(number, sizeof number, "%zu", filling->sequence);
    else if (what == WHAT_SLOT)
        len = snprintf(number, sizeof number, "%zu", filling->slot);
    else if (what == WHAT_TOTAL)
        len = snprintf(number, sizeof number, "%zu", filling->total);
    else if (what == WHAT_SEQUENCE_0)
        len =
            snprintf(number, sizeof number, "%0*zu", digits_of(filling->total), filling->sequence);
    else if (what == WHAT_SLOT_0)
        len = snprintf(number, sizeof number, "%0*zu", digits_of(filling->slot_max), filling->slot);
    sink_literal(sink, number, (size_t)len);
}

/* The argument that a positional replacement means, or NULL. */
static const char *positional(const struct replacement *replacement, const struct list *args)
{
    const long index = replacement->index;

    if (index > 0)
        return (size_t)index <= args->count ? args->at[index - 1] : NULL;
    if (args->count == 0 || (size_t)-index > args->count)
        return NULL;
    return args->at[args->count - (index == 0 ? 1 : (size_t)-index)];
}

/* ONLY: the one argument that {} stands for, or NULL for all. */
static void expand_piece(struct sink *sink, const struct piece *piece,
                         const struct filling *filling, const char *only)
{
    const struct replacement *replacement = &piece->replacement;
    const char *argument;

    if (!piece->replaced) {
        sink_literal(sink, text_string(&piece->literal), piece->literal.len);
    } else if (replacement->what == WHAT_TEXT) {
        sink_literal(sink, replacement->text, strlen(replacement->text));
    } else if (replacement->what != WHAT_ARGUMENT) {
        sink_number(sink, replacement->what, filling);
    } else if (replacement->positional) {
        argument = positional(replacement, filling->args);
        if (argument != NULL)
            sink_argument(sink, replacement, argument);
        else if (replacement->operation == OR_ELSE)
            sink_argument(sink, replacement, "");
    } else if (only != NULL) {
        sink_argument(sink, replacement, only);
    } else {
        for (size_t i = 0; i < filling->args->count; i++) {
            if (i > 0)
                sink_cut(sink);
            sink_argument(sink, replacement, filling->args->at[i]);
        }
    }
}

static void expand_word(struct sink *sink, const struct word *word, const struct filling *filling)
{
    const bool repeats = sink->template->repeats && word->each && filling->args->count > 0;
    const size_t times = repeats ? filling->args->count : 1;

    for (size_t i = 0; i < times; i++) {
        if (i > 0)
            sink_cut(sink);
        for (size_t j = 0; j < word->count; j++)
            expand_piece(sink, &word->pieces[j], filling, repeats ? filling->args->at[i] : NULL);
    }
    sink_end_word(sink, sink->template->word_quote && !word->each);
}

static void expand(struct sink *sink, const struct filling *filling)
{
    const struct template *template = sink->template;

    for (size_t i = 0; i < template->word_count; i++) {
        for (size_t j = 0; sink->text != NULL && j < template->words[i].blanks; j++)
            text_char(sink->text, ' ');
        expand_word(sink, &template->words[i], filling);
    }
    for (size_t j = 0; sink->text != NULL && j < template->blanks_behind; j++)
        text_char(sink->text, ' ');
    text_done(&sink->part);
    text_done(&sink->scratch);
}

void template_text(const struct template *template, const struct filling *filling, struct text *out)
{
    struct sink sink = {.template = template, .text = out};

    expand(&sink, filling);
}

/* A shell's echo may read backslashes and options otherwise than the program does. */
static bool same_as_program(const struct list *words)
{
    for (size_t i = 1; i < words->count; i++)
        if (words->at[i][0] == '-' || strchr(words->at[i], '\\') != NULL)
            return false;
    return true;
}

bool template_argv(const struct template *template, const struct filling *filling, struct list *out)
{
    struct sink sink = {.template = template, .words = out};

    if (!template->direct)
        return false;
    expand(&sink, filling);
    if (!is_twofold(out->at[0]) || same_as_program(out))
        return true;
    list_clear(out);
    return false;
}

/* ---- lengths ---- */

size_t template_base_len(const struct template *template)
{
    const struct list none = {0};
    const struct filling filling = {.args = &none, .sequence = 1, .slot = 1, .total = 1};
    struct text text = {0};
    size_t len;

    template_text(template, &filling, &text);
    len = text.len;
    for (size_t i = 0; template->repeats && i < template->word_count; i++)
        for (size_t j = 0; template->words[i].each && j < template->words[i].count; j++)
            len -= template->words[i].pieces[j].literal.len;
    text_done(&text);
    return len;
}

static size_t piece_len(const struct template *template, const struct piece *piece,
                        const char *argument)
{
    struct text text = {0}, quoted = {0};
    size_t len;

    if (!piece->replaced)
        return piece->literal.len;
    replacement_apply(&piece->replacement, argument, &text);
    if (template->quotes)
        text_quote(&quoted, text_string(&text));
    len = template->quotes ? quoted.len : text.len;
    text_done(&text);
    text_done(&quoted);
    return len;
}

size_t template_argument_len(const struct template *template, const char *argument, size_t index)
{
    size_t len = 0;

    for (size_t i = 0; i < template->word_count; i++) {
        const struct word *word = &template->words[i];

        for (size_t j = 0; j < word->count; j++) {
            const struct piece *piece = &word->pieces[j];
            const bool fixed = piece->replaced && piece->replacement.positional;
            const bool each = piece->replaced && !fixed && piece->replacement.what == WHAT_ARGUMENT;

            const bool its_own = fixed && piece->replacement.index == (long)index + 1;
            const bool repeated = !piece->replaced && template->repeats && word->each;

            if (its_own || each || repeated)
                len += piece_len(template, piece, argument);
            if (each && !template->repeats && index > 0)
                len++;
        }
        if (template->repeats && word->each && index > 0)
            len++;
    }
    return len;
}

void template_free(struct template *template)
{
    if (template == NULL)
        return;
    for (size_t i = 0; i < template->word_count; i++) {
        for (size_t j = 0; j < template->words[i].count; j++) {
            text_done(&template->words[i].pieces[j].literal);
            replacement_done(&template->words[i].pieces[j].replacement);
        }
        free(template->words[i].pieces);
    }
    free(template->words);
    free(template);
}
