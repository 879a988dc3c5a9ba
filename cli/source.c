/* SPDX-License-Identifier: MIT */
/*
 * The inputs of the jobs.
 *
 *     source  one ":::" or one file: gives values one by one
 *     group   a source and those linked to it by ":::+": gives tuples, as many as its shortest has
 *     inputs  every combination of the groups' tuples; the last group varies fastest
 *     record  a tuple split into columns: what a job is made of
 *
 * What always holds
 *   - The first group is never kept in memory: a list from stdin may be endless. The others are
 *     read as a whole when the first combination is asked for, since they are needed again.
 *   - With --link there is one group of all sources, and a source that ends begins again, until the
 *     longest has ended; then values are kept, unless there is only one source.
 *   - A source without any value counts as one empty value beside others, as GNU parallel has it.
 */
#include "source.h"

#include "columns.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#define BUFFER_SIZE 65536

struct source {
    char **words; /* borrowed; NULL for a file */
    size_t word_count, word_next;
    int fd; /* of a file */
    char *buffer;
    size_t buffer_len, buffer_next;
    bool is_file, linked, ended, at_end;
    const char *path;
    char *kept_back;    /* read already, to be given next */
    struct list recall; /* --link: what it has given */
    size_t given;
};

struct group {
    size_t first, end;   /* its sources */
    struct list *tuples; /* all but the first group */
    size_t tuple_count, tuple_room, at;
};

struct inputs {
    const struct options *options;
    struct source *sources;
    size_t source_count;
    struct group *groups;
    size_t group_count;
    struct text delimiter;
    struct columns *columns;
    struct list names;
    struct list current; /* the tuple of the first group */
    bool started, ended, uses_stdin, told_of_nul;
    struct list *shuffled;
    size_t shuffled_count, shuffled_next;
};

/* ---- separators ---- */

struct mark {
    bool words, files, linked;
};

static struct mark mark_of(const struct options *options, const char *word)
{
    const char *words = options->separator_words, *files = options->separator_files;
    const size_t words_len = strlen(words), files_len = strlen(files);
    struct mark mark = {0};

    if (strncmp(word, files, files_len) == 0 &&
        (word[files_len] == '\0' || strcmp(word + files_len, "+") == 0)) {
        mark.files = true;
        mark.linked = word[files_len] == '+';
    } else if (strncmp(word, words, words_len) == 0 &&
               (word[words_len] == '\0' || strcmp(word + words_len, "+") == 0)) {
        mark.words = true;
        mark.linked = word[words_len] == '+';
    }
    return mark;
}

size_t inputs_begin(const struct options *options, char **argv, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const struct mark mark = mark_of(options, argv[i]);

        if (mark.words || mark.files)
            return i;
    }
    return count;
}

/* ---- one source ---- */

static struct source *add_source(struct inputs *inputs, bool linked)
{
    struct source *source;

    inputs->sources =
        memory_grow(inputs->sources, (inputs->source_count + 1) * sizeof *inputs->sources);
    source = &inputs->sources[inputs->source_count++];
    *source = (struct source){.linked = linked};
    return source;
}

static void add_file(struct inputs *inputs, const char *path, bool linked)
{
    struct source *source = add_source(inputs, linked);

    source->is_file = true;
    source->path = path;
    if (strcmp(path, "-") == 0) {
        source->fd = STDIN_FILENO;
        inputs->uses_stdin = true;
        return;
    }
    source->fd = open(path, O_RDONLY | O_CLOEXEC);
    if (source->fd < 0)
        die("cannot open the list of inputs '%s': %s", path, strerror(errno));
}

static bool ends_with(const struct text *text, const struct text *end)
{
    return end->len > 0 && text->len >= end->len &&
           memcmp(text->data + text->len - end->len, end->data, end->len) == 0;
}

/* No argument can have a NUL byte in it. */
static void add_nul(struct inputs *inputs, const struct source *source, struct text *out)
{
    if (!inputs->told_of_nul)
        warn("there are NUL bytes in '%s', which become \\0; for inputs that end in NUL use -0",
             source->path);
    inputs->told_of_nul = true;
    text_puts(out, "\\0");
}

/* Reads more. False at the end of the file. */
static bool read_more(struct source *source)
{
    ssize_t got;

    if (source->buffer == NULL)
        source->buffer = memory_grow(NULL, BUFFER_SIZE);
    do
        got = source->at_end ? 0 : read(source->fd, source->buffer, BUFFER_SIZE);
    while (got < 0 && errno == EINTR);
    if (got < 0)
        die("cannot read the list of inputs '%s': %s", source->path, strerror(errno));
    source->at_end = got == 0;
    source->buffer_len = (size_t)got;
    source->buffer_next = 0;
    return got > 0;
}

/* Up to the delimiter, which is left out. False at the end of the file. */
static bool read_value(struct inputs *inputs, struct source *source, struct text *out)
{
    const struct text *delimiter = &inputs->delimiter;
    const char last = delimiter->len == 0 ? '\0' : delimiter->data[delimiter->len - 1];
    bool any = false;

    while (source->buffer_next < source->buffer_len || read_more(source)) {
        const char c = source->buffer[source->buffer_next++];

        any = true;
        if (c == '\0' && (last != '\0' || delimiter->len == 0)) {
            add_nul(inputs, source, out);
            continue;
        }
        text_char(out, c);
        if (c == last && ends_with(out, delimiter)) {
            out->len -= delimiter->len;
            out->data[out->len] = '\0';
            return true;
        }
    }
    return any;
}

static bool plain_value(struct inputs *inputs, struct source *source, struct text *out)
{
    if (source->is_file)
        return read_value(inputs, source, out);
    if (source->word_next == source->word_count)
        return false;
    text_puts(out, source->words[source->word_next++]);
    return true;
}

static bool is_blank(const char *string)
{
    return string[strspn(string, " \t\r\n\v\f")] == '\0';
}

/* The next value, owned by the caller; NULL at the end. */
static char *source_next(struct inputs *inputs, struct source *source)
{
    const struct options *options = inputs->options;
    char *value = source->kept_back;

    source->kept_back = NULL;
    if (value != NULL)
        return value;
    while (!source->ended) {
        struct text text = {0};

        if (!plain_value(inputs, source, &text)) {
            text_done(&text);
            break;
        }
        while (options->has_lines_max && text.len > 0 &&
               strchr(" \t", text.data[text.len - 1]) != NULL && plain_value(inputs, source, &text))
            continue;
        if (text.data == NULL)
            text_puts(&text, "");
        if (options->end_of_file != NULL && strcmp(text.data, options->end_of_file) == 0) {
            text_done(&text);
            break;
        }
        source->given++;
        if (!options->skip_empty || !is_blank(text.data))
            return text.data;
        text_done(&text);
    }
    source->ended = true;
    return NULL;
}

/* With several sources one without values stands for one empty value. */
static void give_empty_one(struct inputs *inputs)
{
    for (size_t i = 0; inputs->source_count > 1 && i < inputs->source_count; i++) {
        struct source *source = &inputs->sources[i];

        if (source->kept_back == NULL)
            source->kept_back = source_next(inputs, source);
        if (source->kept_back == NULL)
            source->kept_back = text_copy("");
    }
}

/* ---- groups ---- */

static void make_groups(struct inputs *inputs)
{
    for (size_t i = 0; i < inputs->source_count; i++) {
        if (i == 0 || (!inputs->sources[i].linked && !inputs->options->link)) {
            inputs->groups =
                memory_grow(inputs->groups, (inputs->group_count + 1) * sizeof *inputs->groups);
            inputs->groups[inputs->group_count++] = (struct group){.first = i};
        }
        inputs->groups[inputs->group_count - 1].end = i + 1;
    }
}

static bool tuple_in_step(struct inputs *inputs, const struct group *group, struct list *out)
{
    for (size_t i = group->first; i < group->end; i++) {
        char *value = source_next(inputs, &inputs->sources[i]);

        if (value == NULL) {
            list_clear(out);
            return false;
        }
        list_add(out, value);
    }
    return true;
}

/* --link: who has ended begins again, as long as one has something new. */
static bool tuple_recycled(struct inputs *inputs, struct list *out)
{
    bool any = false;

    for (size_t i = 0; i < inputs->source_count; i++) {
        struct source *source = &inputs->sources[i];
        char *value = source_next(inputs, source);

        if (value != NULL) {
            any = true;
            list_add(&source->recall, text_copy(value));
            source->given = source->recall.count;
        } else {
            value = text_copy(source->recall.at[source->given % source->recall.count]);
            source->given++;
        }
        list_add(out, value);
    }
    if (!any)
        list_clear(out);
    return any;
}

static bool group_next(struct inputs *inputs, const struct group *group, struct list *out)
{
    if (inputs->options->link && inputs->source_count > 1)
        return tuple_recycled(inputs, out);
    return tuple_in_step(inputs, group, out);
}

/* Reads all tuples of all groups but the first. */
static void read_groups(struct inputs *inputs)
{
    for (size_t i = 1; i < inputs->group_count; i++) {
        struct group *group = &inputs->groups[i];
        struct list tuple = {0};

        while (group_next(inputs, group, &tuple)) {
            if (group->tuple_count == group->tuple_room) {
                group->tuple_room = group->tuple_room == 0 ? 16 : 2 * group->tuple_room;
                group->tuples =
                    memory_grow(group->tuples, group->tuple_room * sizeof *group->tuples);
            }
            group->tuples[group->tuple_count++] = tuple;
            tuple = (struct list){0};
        }
        list_done(&tuple);
    }
}

/* Steps the groups behind the first like an odometer. False when all have turned over. */
static bool turn(struct inputs *inputs)
{
    for (size_t i = inputs->group_count; i-- > 1;) {
        if (++inputs->groups[i].at < inputs->groups[i].tuple_count)
            return true;
        inputs->groups[i].at = 0;
    }
    return false;
}

static void split_into(struct inputs *inputs, const struct list *values, struct list *out)
{
    for (size_t i = 0; i < values->count; i++)
        columns_split(inputs->columns, values->at[i], out);
}

/* One combination, or false when there is none left. */
static bool combine(struct inputs *inputs, struct list *out)
{
    if (!inputs->started) {
        inputs->started = true;
        give_empty_one(inputs);
        read_groups(inputs);
        if (!group_next(inputs, &inputs->groups[0], &inputs->current))
            return false;
    } else if (!turn(inputs)) {
        list_clear(&inputs->current);
        if (!group_next(inputs, &inputs->groups[0], &inputs->current))
            return false;
    }
    split_into(inputs, &inputs->current, out);
    for (size_t i = 1; i < inputs->group_count; i++) {
        const struct group *group = &inputs->groups[i];

        if (group->tuple_count == 0)
            return false;
        split_into(inputs, &group->tuples[group->at], out);
    }
    return true;
}

/* ---- header, shuffle ---- */

static void read_header(struct inputs *inputs)
{
    const char *header = inputs->options->header;
    char *end;
    unsigned long lines = 1;

    if (header == NULL)
        return;
    if (header[0] >= '0' && header[0] <= '9') {
        lines = strtoul(header, &end, 10);
        if (*end != '\0')
            die("--header is ':' or a number of lines, not '%s'", header);
    } else if (strcmp(header, ":") != 0 && strcmp(header, ".*\\n") != 0) {
        die("--header is ':' or a number of lines, not '%s'", header);
    }
    for (size_t i = 0; i < inputs->source_count; i++) {
        struct source *source = &inputs->sources[i];

        if (lines == 0)
            list_add(&inputs->names, text_copy(source->path == NULL ? "" : source->path));
        for (unsigned long line = 0; line < lines; line++) {
            char *value = source_next(inputs, source);

            if (value != NULL && line == 0)
                columns_split(inputs->columns, value, &inputs->names);
            free(value);
        }
    }
}

static uint64_t random_below(uint64_t limit)
{
    uint64_t number = 0;

    if (getrandom(&number, sizeof number, 0) != (ssize_t)sizeof number)
        die("--shuf needs random numbers, and the system gives none: %s", strerror(errno));
    return number % limit;
}

static void shuffle(struct inputs *inputs)
{
    struct list record = {0};
    size_t room = 0;

    while (combine(inputs, &record)) {
        if (inputs->shuffled_count == room) {
            room = room == 0 ? 64 : 2 * room;
            inputs->shuffled = memory_grow(inputs->shuffled, room * sizeof *inputs->shuffled);
        }
        inputs->shuffled[inputs->shuffled_count++] = record;
        record = (struct list){0};
    }
    for (size_t i = inputs->shuffled_count; i > 1; i--) {
        const size_t other = (size_t)random_below(i);
        const struct list kept = inputs->shuffled[i - 1];

        inputs->shuffled[i - 1] = inputs->shuffled[other];
        inputs->shuffled[other] = kept;
    }
}

/* ---- the whole ---- */

static void add_words(struct inputs *inputs, char **words, size_t count)
{
    const struct options *options = inputs->options;
    size_t i = 0;

    while (i < count) {
        const struct mark mark = mark_of(options, words[i++]);
        const size_t len = inputs_begin(options, words + i, count - i);

        if (mark.words) {
            struct source *source = add_source(inputs, mark.linked);

            source->words = words + i;
            source->word_count = len;
        }
        for (size_t j = 0; mark.files && j < len; j++)
            add_file(inputs, words[i + j], mark.linked);
        i += len;
    }
}

struct inputs *inputs_new(const struct options *options, char **words, size_t count)
{
    struct inputs *inputs = memory_get(sizeof *inputs);
    const char *separator = options->column_separator;

    inputs->options = options;
    if (separator == NULL && options->header != NULL)
        separator = "\\t";
    inputs->columns = columns_new(separator, options->trim,
                                  options->trim == NULL && options->column_separator != NULL);
    unescape(options->delimiter == NULL ? "\\n" : options->delimiter, &inputs->delimiter);
    for (size_t i = 0; i < options->files.count; i++)
        add_file(inputs, options->files.at[i], false);
    add_words(inputs, words, count);
    if (inputs->source_count == 0 && count == 0)
        add_file(inputs, "-", false);
    make_groups(inputs);
    read_header(inputs);
    return inputs;
}

bool inputs_next(struct inputs *inputs, struct list *out_columns)
{
    if (inputs->source_count == 0 || inputs->ended)
        return false;
    if (!inputs->options->shuffle) {
        inputs->ended = !combine(inputs, out_columns);
        return !inputs->ended;
    }
    if (!inputs->started)
        shuffle(inputs);
    if (inputs->shuffled_next == inputs->shuffled_count)
        return false;
    list_done(out_columns);
    *out_columns = inputs->shuffled[inputs->shuffled_next++];
    return true;
}

const struct list *inputs_names(const struct inputs *inputs)
{
    return &inputs->names;
}

int inputs_blocked_fd(const struct inputs *inputs)
{
    const struct source *source = inputs->sources;
    struct pollfd polled;

    if (inputs->ended || inputs->options->shuffle || inputs->group_count != 1 ||
        inputs->source_count != 1 || !source->is_file || source->at_end || source->ended ||
        source->kept_back != NULL)
        return -1;
    if (source->buffer_next < source->buffer_len)
        return -1;
    polled = (struct pollfd){.fd = source->fd, .events = POLLIN};
    return poll(&polled, 1, 0) == 0 ? source->fd : -1;
}

bool inputs_use_stdin(const struct inputs *inputs)
{
    return inputs->uses_stdin;
}

void inputs_free(struct inputs *inputs)
{
    for (size_t i = 0; i < inputs->source_count; i++) {
        struct source *source = &inputs->sources[i];

        if (source->is_file && source->fd != STDIN_FILENO)
            close(source->fd);
        free(source->buffer);
        free(source->kept_back);
        list_done(&source->recall);
    }
    for (size_t i = 0; i < inputs->group_count; i++) {
        for (size_t j = 0; j < inputs->groups[i].tuple_count; j++)
            list_done(&inputs->groups[i].tuples[j]);
        free(inputs->groups[i].tuples);
    }
    for (size_t i = inputs->shuffled_next; i < inputs->shuffled_count; i++)
        list_done(&inputs->shuffled[i]);
    free(inputs->shuffled);
    free(inputs->sources);
    free(inputs->groups);
    text_done(&inputs->delimiter);
    columns_free(inputs->columns);
    list_done(&inputs->names);
    list_done(&inputs->current);
    free(inputs);
}
