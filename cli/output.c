/* SPDX-License-Identifier: MIT */
/*
 * What is printed when.
 *
 *     group        all of a job when it has ended: its stdout, then its stderr
 *     line buffer  whole lines as they come
 *     ungroup      the job has brood's own stdout and stderr; nothing comes past here
 *
 * With -k jobs are printed in the order of .order: TURN is the one whose output may go out, and
 * those behind it wait in LINE, whether they have ended or still run.
 *
 * What always holds: line[i] has the order turn + i, and is NULL if that job is not made yet.
 */
#include "job.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

struct output {
    const struct options *options;
    bool in_order, table;
    size_t turn;
    struct job **line;
    size_t line_count, line_room;
};

struct printer {
    FILE *file;
    const struct text *tag; /* NULL: lines have none */
    bool in_line;
};

struct output *output_new(const struct options *options, bool table)
{
    struct output *output = memory_get(sizeof *output);

    output->options = options;
    output->table = table;
    output->in_order = options->keep_order && options->grouping != GROUP_NONE;
    setvbuf(stdout, NULL, _IOFBF, 65536);
    return output;
}

/* ---- printing ---- */

static void print(void *arg, const char *data, size_t len)
{
    struct printer *printer = arg;

    while (printer->tag != NULL && len > 0) {
        const char *newline = memchr(data, '\n', len);
        const size_t part = newline == NULL ? len : (size_t)(newline - data) + 1;

        if (!printer->in_line) {
            fwrite(text_string(printer->tag), 1, printer->tag->len, printer->file);
            fputc('\t', printer->file);
        }
        fwrite(data, 1, part, printer->file);
        printer->in_line = newline == NULL;
        data += part;
        len -= part;
    }
    if (len > 0)
        fwrite(data, 1, len, printer->file);
}

static struct printer printer_for(const struct output *output, const struct job *job, FILE *file)
{
    const bool tagged = output->options->tag || output->options->tag_text != NULL;

    return (struct printer){.file = file, .tag = tagged ? &job->tag : NULL};
}

static void print_spool(const struct output *output, struct job *job, struct spool *spool,
                        FILE *file)
{
    struct printer printer = printer_for(output, job, file);
    const int r = spool_read(spool, print, &printer);

    if (r < 0)
        text_printf(&job->message, "its output cannot be read back: %s; ", brood_strerror(r));
    spool_done(spool);
}

/* The whole lines of PART and DATA; the rest stays in PART. */
static void print_lines(const struct output *output, const struct job *job, struct text *part,
                        const char *data, size_t len)
{
    struct printer printer = printer_for(output, job, part == &job->out_line ? stdout : stderr);
    const char *newline = memrchr(data, '\n', len);
    const size_t whole = newline == NULL ? 0 : (size_t)(newline - data) + 1;

    if (whole > 0) {
        text_add(part, data, whole);
        print(&printer, part->data, part->len);
        text_clear(part);
    }
    text_add(part, data + whole, len - whole);
}

static void print_rest(const struct output *output, struct job *job, struct text *part)
{
    struct printer printer = printer_for(output, job, part == &job->out_line ? stdout : stderr);

    print(&printer, text_string(part), part->len);
    text_clear(part);
}

static void print_command(const struct output *output, struct job *job)
{
    const struct options *options = output->options;
    struct printer printer = printer_for(output, job, stdout);

    if ((options->verbose == 0 && !options->dry_run) || job->announced)
        return;
    job->announced = true;
    print(&printer, text_string(&job->command), job->command.len);
    fputc('\n', stdout);
}

/* ---- as it comes ---- */

static bool may_print(const struct output *output, const struct job *job)
{
    return output->options->grouping == GROUP_LINES && !output->table &&
           (!output->in_order || job->order == output->turn);
}

static int take_data(void *arg, int fd, const char *data, size_t len)
{
    struct job *job = arg;
    const struct output *output = job->output;
    struct spool *spool = fd == 1 ? &job->out : &job->err;
    int r;

    if (fd == 1)
        job->received += len;
    if (may_print(output, job)) {
        print_lines(output, job, fd == 1 ? &job->out_line : &job->err_line, data, len);
        return 0;
    }
    r = spool_add(spool, data, len);
    if (r < 0)
        text_printf(&job->message, "stopped, for its output cannot be kept: %s; ",
                    brood_strerror(r));
    return r < 0;
}

static void file_stream(brood_stream *stream, const struct text *path)
{
    *stream = (brood_stream){.kind = BROOD_FILE, .path = path->data};
}

static void enter_line(struct output *output, struct job *job)
{
    const size_t index = job->order - output->turn;

    while (index >= output->line_room) {
        const size_t old = output->line_room;

        output->line_room = old == 0 ? 64 : 2 * old;
        output->line = memory_grow(output->line, output->line_room * sizeof(struct job *));
    }
    while (output->line_count <= index)
        output->line[output->line_count++] = NULL;
    output->line[index] = job;
}

void output_streams(struct output *output, struct job *job, brood_command_options *out)
{
    const struct options *options = output->options;
    const brood_stream captured = {
        .kind = BROOD_CAPTURE, .max = BROOD_KEEP_NOTHING, .on_data = take_data, .arg = job};

    if (options->verbose_error)
        fprintf(stderr, "%s\n", text_string(&job->command));
    if (job->out_path.len > 0) {
        file_stream(&out->out, &job->out_path);
    } else if (options->grouping != GROUP_NONE) {
        out->out = captured;
    }
    if (job->err_path.len > 0)
        file_stream(&out->err, &job->err_path);
    else if (options->grouping != GROUP_NONE)
        out->err = captured;
    if (output->in_order)
        enter_line(output, job);
    if (options->grouping == GROUP_NONE || may_print(output, job)) {
        print_command(output, job);
        fflush(stdout);
    }
}

/* ---- when it has ended ---- */

static void print_ended(struct output *output, struct job *job)
{
    if (!output->table)
        print_command(output, job);
    if (output->options->files_only && job->out_path.len > 0)
        printf("%s\n", job->out_path.data);
    if (!output->table) {
        print_spool(output, job, &job->out, stdout);
        print_rest(output, job, &job->out_line);
        if (job->err.len > 0 || job->err_line.len > 0)
            fflush(stdout);
        print_spool(output, job, &job->err, stderr);
        print_rest(output, job, &job->err_line);
    }
    if (job->message.len > 0) {
        output_flush(output);
        job->message.len -= 2;
        job->message.data[job->message.len] = '\0';
        warn("job %zu: %s: %s", job->sequence, job->message.data, text_string(&job->command));
    }
}

/* It is the turn of a job that still runs: what waits of it goes out, and the rest as it comes. */
static void begin_turn(struct output *output, struct job *job)
{
    if (output->options->grouping != GROUP_LINES || output->table)
        return;
    print_command(output, job);
    print_spool(output, job, &job->out, stdout);
    print_spool(output, job, &job->err, stderr);
}

void output_ended(struct output *output, struct job *job)
{
    size_t done = 0;

    job->ended = true;
    if (!output->in_order) {
        print_ended(output, job);
        job_free(job);
        return;
    }
    enter_line(output, job);
    while (done < output->line_count && output->line[done] != NULL && output->line[done]->ended) {
        print_ended(output, output->line[done]);
        job_free(output->line[done++]);
    }
    output->turn += done;
    output->line_count -= done;
    memmove(output->line, output->line + done, output->line_count * sizeof(struct job *));
    if (done > 0 && output->line_count > 0 && output->line[0] != NULL)
        begin_turn(output, output->line[0]);
}

void output_flush(struct output *output)
{
    (void)output;
    if (fflush(stdout) != 0 || ferror(stdout))
        die("cannot write to stdout: %s", strerror(errno));
}

void output_free(struct output *output)
{
    for (size_t i = 0; i < output->line_count; i++)
        if (output->line[i] != NULL && output->line[i]->ended)
            job_free(output->line[i]);
    free(output->line);
    free(output);
}

void job_free(struct job *job)
{
    list_done(&job->args);
    text_done(&job->command);
    text_done(&job->input);
    text_done(&job->tag);
    text_done(&job->out_line);
    text_done(&job->err_line);
    text_done(&job->out_path);
    text_done(&job->err_path);
    text_done(&job->message);
    spool_done(&job->out);
    spool_done(&job->err);
    free(job);
}
