/* SPDX-License-Identifier: MIT */
/* One job of brood map, and what its parts share. */
#ifndef BROOD_CLI_JOB_H
#define BROOD_CLI_JOB_H

#include "options.h"
#include "spool.h"
#include "text.h"

#include <brood.h>

struct output;

struct job {
    struct output *output;
    size_t sequence, slot, order; /* order: among those that are printed, from 0 */
    size_t attempts;
    struct list args;
    struct text command; /* as a shell would have it */
    bool given;          /* the command comes from a joblog, not from the template */
    struct text input;   /* --pipe */
    struct text tag;
    brood_command *running;
    int64_t started_us; /* monotonic */
    double started_s;   /* since 1970 */
    double runtime_s;
    bool timed_out, announced, ended; /* announced: -v has printed it */
    int exit_value, signal;
    uint64_t received;
    struct spool out, err;
    struct text out_line, err_line; /* --line-buffer: not yet a whole line */
    struct text out_path, err_path; /* --results, --files */
    struct text message;            /* what brood itself says about it */
    struct job *next, *previous;    /* among the running ones */
};

static inline bool job_failed(const struct job *job)
{
    return job->exit_value != 0 || job->signal != 0;
}

/* The log of jobs: joblog.c */
struct joblog;
struct joblog *joblog_open(const struct options *options);
void joblog_add(struct joblog *joblog, const struct job *job);
/* Did a former run do this one, so that it is left out? */
bool joblog_skips(const struct joblog *joblog, size_t sequence);
/* --retry-failed: the commands of those that failed, one by one. */
bool joblog_failed_next(struct joblog *joblog, size_t *out_sequence, struct text *out_command);
void joblog_close(struct joblog *joblog);

/* When to end early: halt.c */
struct halt {
    enum { HALT_NEVER, HALT_SOON, HALT_NOW } when;
    enum { HALT_FAIL, HALT_SUCCESS, HALT_DONE } why;
    double limit;
    bool percent;
    size_t failed, succeeded, total; /* total: of all jobs, if .percent */
    bool reached;
    int first_status; /* of the first that failed */
};
void halt_parse(struct halt *halt, const char *value);
/* Counts a job that has ended. Returns whether this is when to halt. */
bool halt_count(struct halt *halt, const struct job *job);
int halt_status(const struct halt *halt);

/* Output files: results.c */
struct template;
struct results;
struct results *results_new(const struct options *options, const struct list *names);
/* Sets .out_path and .err_path, and makes directories, if there are such files. */
void results_prepare(struct results *results, struct job *job, const struct list *names);
/* Is there a table instead, .csv, .tsv or .json? */
bool results_are_table(const struct results *results);
void results_add(struct results *results, const struct job *job);
bool results_have(struct results *results, struct job *job, const struct list *names);
void results_free(struct results *results);

/* What is printed when: output.c */
/* TABLE: nothing of the jobs is printed. */
struct output *output_new(const struct options *options, bool table);
/* Fills in the streams of a job that is about to start. */
void output_streams(struct output *output, struct job *job, brood_command_options *out);
/* Prints what may be printed of a job that has just ended, and of those that waited for it; these
 * are freed. */
void output_ended(struct output *output, struct job *job);
void output_flush(struct output *output);
void output_free(struct output *output);

void job_free(struct job *job);

#endif
