/* SPDX-License-Identifier: MIT */
/*
 * --results: output of each job in files, or all of it in a table.
 *
 *     NAME                 NAME/<column>/<value>/.../{stdout,stderr,seq}
 *     NAME with {}         NAME, NAME.err, NAME.seq; or as above below it, if it ends in '/'
 *     NAME.csv .tsv .json  a table; "-.csv" is stdout
 *
 * The job itself writes the files, so large output goes nowhere else. A '/' in a value becomes
 * "\_" and a '\' is doubled, so a value is always one directory.
 */
#include "job.h"
#include "template.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct results {
    const char *name;
    struct template *template; /* NULL: a plain directory */
    char separator;            /* ',' or '\t', 'j' for JSON, or 0 */
    FILE *table;
    bool head_written;
};

static char table_separator(const char *name)
{
    const char *dot = strrchr(name, '.');

    if (dot == NULL)
        return '\0';
    if (strcmp(dot, ".csv") == 0)
        return ',';
    if (strcmp(dot, ".tsv") == 0)
        return '\t';
    return strcmp(dot, ".json") == 0 ? 'j' : '\0';
}

struct results *results_new(const struct options *options, const struct list *names)
{
    const char *name = options->results;
    struct results *results;

    if (name == NULL)
        return NULL;
    results = memory_get(sizeof *results);
    results->name = name;
    results->separator = table_separator(name);
    if (results->separator != '\0') {
        const bool to_stdout = name[0] == '-' && name[1] == '.';

        results->table = to_stdout ? stdout : fopen(name, "we");
        if (results->table == NULL)
            die("cannot open the results '%s': %s", name, strerror(errno));
        return results;
    }
    results->template = template_plain(options, name, names);
    if (!template_replaces(results->template)) {
        template_free(results->template);
        results->template = NULL;
    }
    return results;
}

bool results_are_table(const struct results *results)
{
    return results != NULL && results->separator != '\0';
}

/* Makes all directories that PATH names in front of its last '/'. */
static void make_directories(const char *path)
{
    char *copy = text_copy(path);

    for (char *slash = strchr(copy + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        if (mkdir(copy, 0777) != 0 && errno != EEXIST)
            die("cannot make the directory '%s' for results: %s", copy, strerror(errno));
        *slash = '/';
    }
    free(copy);
}

static void add_value(struct text *path, const char *value)
{
    for (; *value != '\0'; value++)
        if (*value == '/')
            text_puts(path, "\\_");
        else if (*value == '\\')
            text_puts(path, "\\\\");
        else
            text_char(path, *value);
    text_char(path, '/');
}

/* Where the files of JOB are: up to their last '/', or the whole name. */
static void place(const struct results *results, const struct job *job, const struct list *names,
                  struct text *out)
{
    const struct filling filling = {
        .args = &job->args, .sequence = job->sequence, .slot = job->slot};

    if (results->template != NULL) {
        template_text(results->template, &filling, out);
        return;
    }
    text_printf(out, "%s/", results->name);
    for (size_t i = 0; i < job->args.count; i++) {
        if (i < names->count)
            add_value(out, names->at[i]);
        else
            text_printf(out, "%zu/", i + 1);
        add_value(out, job->args.at[i]);
    }
}

static void write_sequence(const char *path, size_t sequence)
{
    FILE *file = fopen(path, "we");

    if (file == NULL)
        die("cannot write '%s': %s", path, strerror(errno));
    fprintf(file, "%zu", sequence);
    fclose(file);
}

void results_prepare(struct results *results, struct job *job, const struct list *names)
{
    struct text path = {0};
    bool directory;

    if (results == NULL || results_are_table(results))
        return;
    text_clear(&job->out_path);
    text_clear(&job->err_path);
    place(results, job, names, &path);
    make_directories(text_string(&path));
    directory = path.len > 0 && path.data[path.len - 1] == '/';
    text_printf(&job->out_path, "%s%s", path.data, directory ? "stdout" : "");
    text_printf(&job->err_path, "%s%s", path.data, directory ? "stderr" : ".err");
    text_puts(&path, directory ? "seq" : ".seq");
    write_sequence(path.data, job->sequence);
    text_done(&path);
}

bool results_have(struct results *results, struct job *job, const struct list *names)
{
    struct text path = {0};
    bool found;

    if (results == NULL || results_are_table(results))
        return false;
    place(results, job, names, &path);
    text_puts(&path, path.data[path.len - 1] == '/' ? "seq" : ".seq");
    found = access(path.data, F_OK) == 0;
    text_done(&path);
    return found;
}

/* ---- tables ---- */

static void add_bytes(void *arg, const char *data, size_t len)
{
    text_add(arg, data, len);
}

static void print_field(const struct results *results, const char *value)
{
    static const char special[] = "\" ,\t\n\r";
    FILE *table = results->table;

    if (strpbrk(value, special) == NULL) {
        fputs(value, table);
        return;
    }
    fputc('"', table);
    for (; *value != '\0'; value++) {
        if (*value == '"')
            fputc('"', table);
        fputc(*value, table);
    }
    fputc('"', table);
}

static void print_json(FILE *table, const char *value)
{
    fputc('"', table);
    for (; *value != '\0'; value++) {
        const unsigned char c = (unsigned char)*value;

        if (c == '"' || c == '\\')
            fprintf(table, "\\%c", c);
        else if (c < 0x20)
            fprintf(table, "\\u%04x", c);
        else
            fputc(c, table);
    }
    fputc('"', table);
}

static void add_json(const struct results *results, const struct job *job, const char *out,
                     const char *err)
{
    FILE *table = results->table;

    fprintf(table,
            "{ \"Seq\": %zu, \"Host\": \":\", \"Starttime\": %.3f, \"JobRuntime\": %.3f, \"Send\": "
            "%zu, \"Receive\": %llu, \"Exitval\": %d, \"Signal\": %d, \"Command\": ",
            job->sequence, job->started_s, job->runtime_s, job->input.len,
            (unsigned long long)job->received, job->exit_value, job->signal);
    print_json(table, text_string(&job->command));
    fputs(", \"V\": [ ", table);
    for (size_t i = 0; i < job->args.count; i++) {
        fputs(i > 0 ? ", " : "", table);
        print_json(table, job->args.at[i]);
    }
    fputs(" ], \"Stdout\": ", table);
    print_json(table, out);
    fputs(", \"Stderr\": ", table);
    print_json(table, err);
    fputs(" }\n", table);
}

static void add_row(struct results *results, const struct job *job, const char *out,
                    const char *err)
{
    static const char *const head[] = {"Seq",     "Host",    "Starttime", "JobRuntime", "Send",
                                       "Receive", "Exitval", "Signal",    "Command"};
    FILE *table = results->table;
    const char c = results->separator;

    if (!results->head_written) {
        for (size_t i = 0; i < sizeof head / sizeof head[0]; i++)
            fprintf(table, "%s%c", head[i], c);
        for (size_t i = 0; i < job->args.count; i++)
            fprintf(table, "V%zu%c", i + 1, c);
        fprintf(table, "Stdout%cStderr\n", c);
        results->head_written = true;
    }
    fprintf(table, "%zu%c:%c%.3f%c%.3f%c%zu%c%llu%c%d%c%d%c", job->sequence, c, c, job->started_s,
            c, job->runtime_s, c, job->input.len, c, (unsigned long long)job->received, c,
            job->exit_value, c, job->signal, c);
    print_field(results, text_string(&job->command));
    for (size_t i = 0; i < job->args.count; i++) {
        fputc(c, table);
        print_field(results, job->args.at[i]);
    }
    fputc(c, table);
    print_field(results, out);
    fputc(c, table);
    print_field(results, err);
    fputc('\n', table);
}

void results_add(struct results *results, const struct job *job)
{
    struct text out = {0}, err = {0};

    if (!results_are_table(results))
        return;
    (void)spool_read(&job->out, add_bytes, &out); /* what cannot be read is missing in the table */
    (void)spool_read(&job->err, add_bytes, &err);
    if (results->separator == 'j')
        add_json(results, job, text_string(&out), text_string(&err));
    else
        add_row(results, job, text_string(&out), text_string(&err));
    fflush(results->table);
    text_done(&out);
    text_done(&err);
}

void results_free(struct results *results)
{
    if (results == NULL)
        return;
    if (results->table != NULL && results->table != stdout && fclose(results->table) != 0)
        warn("the results in '%s' are incomplete: %s", results->name, strerror(errno));
    template_free(results->template);
    free(results);
}
