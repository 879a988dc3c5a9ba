/* SPDX-License-Identifier: MIT */
/*
 * The log of jobs: a line of nine columns for each, as GNU parallel writes it.
 *
 * Each line is written by one write(2) to a file opened for appending: a death in between leaves
 * whole lines, and perhaps a last one without newline, which a later run completes before its own.
 */
#include "job.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define HEAD "Seq\tHost\tStarttime\tJobRuntime\tSend\tReceive\tExitval\tSignal\tCommand\n"

enum past { UNSEEN, SUCCEEDED, FAILED };

struct joblog {
    int fd;
    bool skips_failed;
    unsigned char *past; /* by sequence: enum past */
    char **commands;     /* --retry-failed */
    size_t past_count, next;
};

static void note(struct joblog *joblog, size_t sequence, enum past past, const char *command)
{
    while (sequence >= joblog->past_count) {
        const size_t old = joblog->past_count, new = old == 0 ? 256 : old * 2;

        joblog->past = memory_grow(joblog->past, new);
        memset(joblog->past + old, 0, new - old);
        joblog->commands = memory_grow(joblog->commands, new * sizeof *joblog->commands);
        memset(joblog->commands + old, 0, (new - old) * sizeof *joblog->commands);
        joblog->past_count = new;
    }
    joblog->past[sequence] = (unsigned char)past;
    free(joblog->commands[sequence]);
    joblog->commands[sequence] = past == FAILED ? text_copy(command) : NULL;
}

/* A line of the log: its columns 1, 7, 8 and 9 count. Newlines of a command stand as NUL. */
static void read_line(struct joblog *joblog, char *line, size_t len)
{
    char *column = line;
    long values[9] = {0};
    int i;

    for (i = 0; i < 8 && column != NULL; i++) {
        values[i] = strtol(column, NULL, 10);
        column = memchr(column, '\t', len - (size_t)(column - line));
        if (column != NULL)
            column++;
    }
    if (i < 8 || column == NULL || values[0] <= 0)
        return;
    for (char *c = column; c < line + len; c++)
        if (*c == '\0')
            *c = '\n';
    note(joblog, (size_t)values[0], values[6] != 0 || values[7] != 0 ? FAILED : SUCCEEDED, column);
}

static void read_past(struct joblog *joblog, const char *path)
{
    FILE *file = fopen(path, "re");
    char *line = NULL;
    size_t room = 0;
    ssize_t len;

    while (file != NULL && (len = getline(&line, &room, file)) > 0) {
        if (line[len - 1] == '\n')
            line[--len] = '\0';
        else
            continue; /* the writer died in it */
        read_line(joblog, line, (size_t)len);
    }
    free(line);
    if (file != NULL)
        fclose(file);
}

static void append(struct joblog *joblog, const char *data, size_t len)
{
    const ssize_t written = write(joblog->fd, data, len);

    if (written < 0 || (size_t)written < len)
        die("the joblog cannot be written: %s", written < 0 ? strerror(errno) : "disk full");
}

static void complete_last_line(struct joblog *joblog, const char *path)
{
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    const off_t end = fd < 0 ? 0 : lseek(fd, 0, SEEK_END);
    char last = '\n';

    if (end > 0 && pread(fd, &last, 1, end - 1) == 1 && last != '\n')
        append(joblog, "\n", 1);
    if (end == 0)
        append(joblog, HEAD, strlen(HEAD));
    if (fd >= 0)
        close(fd);
}

struct joblog *joblog_open(const struct options *options)
{
    const char *path = options->joblog;
    const bool again = options->resume || options->resume_failed || options->retry_failed;
    struct joblog *joblog;
    bool appends;

    if (path == NULL && options->retry_failed)
        die("--retry-failed needs --joblog FILE");
    if (path == NULL && (options->resume || options->resume_failed) && options->results == NULL)
        die("--resume and --resume-failed need --joblog FILE or --results DIR");
    if (path == NULL)
        return NULL;
    appends = again || *path == '+';
    path += *path == '+' ? 1 : 0;
    joblog = memory_get(sizeof *joblog);
    joblog->skips_failed = options->resume && !options->resume_failed;
    if (again)
        read_past(joblog, path);
    joblog->fd =
        open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | (appends ? 0 : O_TRUNC), 0666);
    if (joblog->fd < 0)
        die("cannot open the joblog '%s': %s", path, strerror(errno));
    complete_last_line(joblog, path);
    return joblog;
}

void joblog_add(struct joblog *joblog, const struct job *job)
{
    struct text line = {0};
    size_t begin;

    if (joblog == NULL)
        return;
    text_printf(&line, "%zu\t:\t%.3f\t%10.3f\t%zu\t%llu\t%d\t%d\t", job->sequence, job->started_s,
                job->runtime_s, job->input.len, (unsigned long long)job->received, job->exit_value,
                job->signal);
    begin = line.len;
    text_puts(&line, text_string(&job->command));
    for (size_t i = begin; i < line.len; i++)
        if (line.data[i] == '\n')
            line.data[i] = '\0';
    text_char(&line, '\n');
    append(joblog, line.data, line.len);
    text_done(&line);
}

bool joblog_skips(const struct joblog *joblog, size_t sequence)
{
    const enum past past =
        joblog != NULL && sequence < joblog->past_count ? joblog->past[sequence] : UNSEEN;

    return past == SUCCEEDED || (past == FAILED && joblog->skips_failed);
}

bool joblog_failed_next(struct joblog *joblog, size_t *out_sequence, struct text *out_command)
{
    for (; joblog->next < joblog->past_count; joblog->next++)
        if (joblog->past[joblog->next] == FAILED) {
            *out_sequence = joblog->next;
            text_puts(out_command, joblog->commands[joblog->next++]);
            return true;
        }
    return false;
}

void joblog_close(struct joblog *joblog)
{
    if (joblog == NULL)
        return;
    for (size_t i = 0; i < joblog->past_count; i++)
        free(joblog->commands[i]);
    free(joblog->commands);
    free(joblog->past);
    close(joblog->fd);
    free(joblog);
}
