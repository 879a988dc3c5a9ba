/* SPDX-License-Identifier: MIT */
/*
 * When to end early, and with which exit status.
 *
 * Status: the number of failed jobs, 101 for more than 100; with a percentage the share of them;
 * with fail=1 that of the job that failed; with success=... that were reached, 0.
 */
#include "job.h"

#include <stdlib.h>
#include <string.h>

static void bad_value(const char *value)
{
    die("--halt is never, or now or soon, then ,fail= ,success= or ,done= and a number or N%%; "
        "not '%s'",
        value);
}

static bool old_value(struct halt *halt, const char *value)
{
    char *end;
    const double number = strtod(value, &end);

    if (end == value)
        return false;
    if (*end == '%' && end[1] == '\0') {
        halt->when = HALT_SOON;
        halt->limit = number;
        halt->percent = true;
        return true;
    }
    if (*end != '\0' || (number != 0 && number != 1 && number != 2 && number != -1 && number != -2))
        return false;
    if (number != 0)
        halt->when = number == 1 || number == -1 ? HALT_SOON : HALT_NOW;
    halt->why = number < 0 ? HALT_SUCCESS : HALT_FAIL;
    halt->limit = 1;
    return true;
}

void halt_parse(struct halt *halt, const char *value)
{
    const char *why = value == NULL ? NULL : strchr(value, ',');
    char *end;

    if (value == NULL || strcmp(value, "never") == 0 || old_value(halt, value))
        return;
    if (why == NULL || (strncmp(value, "now,", 4) != 0 && strncmp(value, "soon,", 5) != 0))
        bad_value(value);
    halt->when = value[0] == 'n' ? HALT_NOW : HALT_SOON;
    why++;
    if (strncmp(why, "fail=", 5) == 0)
        halt->why = HALT_FAIL;
    else if (strncmp(why, "success=", 8) == 0)
        halt->why = HALT_SUCCESS;
    else if (strncmp(why, "done=", 5) == 0)
        halt->why = HALT_DONE;
    else
        bad_value(value);
    why = strchr(why, '=') + 1;
    halt->limit = strtod(why, &end);
    halt->percent = *end == '%';
    if (end == why || halt->limit <= 0 || strcmp(end, halt->percent ? "%" : "") != 0)
        bad_value(value);
}

bool halt_count(struct halt *halt, const struct job *job)
{
    double count;
    const bool failed = job_failed(job);

    if (failed && halt->failed++ == 0)
        halt->first_status = job->signal != 0 ? 128 + job->signal : job->exit_value;
    if (!failed)
        halt->succeeded++;
    if (halt->when == HALT_NEVER)
        return false;
    count = (double)(halt->why == HALT_FAIL      ? halt->failed
                     : halt->why == HALT_SUCCESS ? halt->succeeded
                                                 : halt->failed + halt->succeeded);
    if (halt->percent)
        count = halt->total == 0 ? 0 : count * 100 / (double)halt->total;
    if (count < halt->limit || (halt->why != HALT_DONE && failed != (halt->why == HALT_FAIL)))
        return false;
    halt->reached = true;
    return true;
}

int halt_status(const struct halt *halt)
{
    if (halt->reached && halt->why == HALT_SUCCESS)
        return 0;
    if (halt->reached && halt->why == HALT_FAIL && !halt->percent && halt->limit <= 1)
        return halt->first_status & 0xff;
    if (halt->when != HALT_NEVER && halt->percent && halt->total > 0)
        return (int)((double)halt->failed * 100 / (double)halt->total + 0.5);
    return halt->failed > 100 ? 101 : (int)halt->failed;
}
