/* SPDX-License-Identifier: MIT */
/*
 * The books of the demo. Each task is counted once, under the way it ended; those that ended
 * badly for the same reason are one line of the table, with the place of the first.
 */
#include "report.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

static const char *const ending_name[ENDINGS] = {
    [ENDING_DONE] = "done",           [ENDING_CRASHED] = "crashed",
    [ENDING_TIMED_OUT] = "timed out", [ENDING_OUT_OF_MEMORY] = "out of memory",
    [ENDING_FAILED] = "failed",
};

static enum ending ending_of(const brood_outcome *outcome)
{
    switch (outcome->cause) {
    case BROOD_RETURNED:
        return outcome->verdict >= 0 ? ENDING_DONE : ENDING_FAILED;
    case BROOD_EXITED:
    case BROOD_SIGNALLED:
        return ENDING_CRASHED;
    case BROOD_TIMED_OUT:
        return ENDING_TIMED_OUT;
    case BROOD_OUT_OF_MEMORY:
        return ENDING_OUT_OF_MEMORY;
    default:
        return ENDING_FAILED;
    }
}

static void describe_signal(int signo, char *out_text, size_t size)
{
    switch (signo) {
    case SIGSEGV:
        snprintf(out_text, size, "SIGSEGV");
        break;
    case SIGABRT:
        snprintf(out_text, size, "SIGABRT");
        break;
    case SIGBUS:
        snprintf(out_text, size, "SIGBUS");
        break;
    default:
        snprintf(out_text, size, "signal %d", signo);
    }
}

static void describe(const brood_outcome *outcome, char *out_text, size_t size)
{
    switch (ending_of(outcome)) {
    case ENDING_CRASHED:
        if (outcome->signal != 0)
            describe_signal(outcome->signal, out_text, size);
        else
            snprintf(out_text, size, "exit(%d)", outcome->code);
        break;
    case ENDING_TIMED_OUT:
        snprintf(out_text, size, "stopped after %.1f s", (double)outcome->wall_us / 1e6);
        break;
    case ENDING_OUT_OF_MEMORY:
        snprintf(out_text, size, "stopped at its limit");
        break;
    default:
        snprintf(out_text, size, "%s", brood_strerror(outcome->verdict));
    }
}

/* The innermost function of the report that is ours: "box_text+0x2a", or "" without a report. The
 * compiler may have split a function; its parts are called box_text.cold and the like. */
static void find_place(const char *report, char *out_place, size_t size)
{
    out_place[0] = '\0';
    for (const char *line = report; line != NULL; line = strchr(line, '\n')) {
        line += *line == '\n';
        size_t len = strcspn(line, "\n");
        const char *name = memmem(line, len, "box_", 4);
        if (name != NULL) {
            const char *offset = name + strcspn(name, "+ \n");
            snprintf(out_place, size, "%.*s%.*s", (int)strcspn(name, ".+ \n"), name,
                     (int)strcspn(offset, " \n"), offset);
            return;
        }
    }
}

static bool is_same(const struct incident *a, const struct incident *b)
{
    return a->ending == b->ending && a->story == b->story &&
           (a->ending != ENDING_CRASHED || strcmp(a->how, b->how) == 0);
}

static void add_incident(struct tally *tally, const struct incident *incident)
{
    for (unsigned i = 0; i < tally->incident_count; i++)
        if (is_same(&tally->incidents[i], incident)) {
            tally->incidents[i].count++;
            return;
        }
    if (tally->incident_count < INCIDENTS_MAX)
        tally->incidents[tally->incident_count++] = *incident;
}

static void note_surprise(struct tally *tally, const struct job *job, const brood_outcome *outcome)
{
    char text[128];

    if (tally->surprises++ == 0)
        snprintf(tally->surprise, sizeof tally->surprise, "%s: %s", job->path,
                 brood_outcome_text(outcome, text, sizeof text));
}

void tally_work(struct tally *tally, const struct work *work)
{
    tally->ended[ENDING_DONE]++;
    tally->sum.bytes += work->bytes;
    tally->sum.lines += work->lines;
    tally->sum.words += work->words;
    tally->sum.digest ^= work->digest;
}

void tally_result(struct tally *tally, struct job *job, const brood_result *result)
{
    enum ending ending = ending_of(&result->outcome);

    if (ending != (job->trap != NULL ? job->trap->ending : ENDING_DONE))
        note_surprise(tally, job, &result->outcome);
    if (ending == ENDING_DONE && job->trap == NULL) {
        job->good = true;
        tally_work(tally, result->data);
        return;
    }
    tally->ended[ending]++;
    if (ending == ENDING_DONE)
        return;
    struct incident incident = {.ending = ending, .count = 1};
    incident.story = job->trap != NULL ? job->trap->story : job->path;
    describe(&result->outcome, incident.how, sizeof incident.how);
    find_place(result->outcome.report, incident.where, sizeof incident.where);
    add_incident(tally, &incident);
}

static void print_incident(const struct screen *screen, const struct incident *incident)
{
    bool narrow = screen->width < 78;

    printf("        %3u %s %-36s", incident->count, screen->unicode ? "×" : "x", incident->story);
    if (narrow)
        printf("\n              ");
    printf("%s %s%s%s%s\n", screen_style(screen, STYLE_DIM), incident->how,
           incident->where[0] != '\0' ? " in " : "", incident->where,
           screen_style(screen, STYLE_PLAIN));
}

static void print_ending(const struct screen *screen, const struct tally *tally, enum ending ending)
{
    static const enum style style[ENDINGS] = {
        [ENDING_DONE] = STYLE_GOOD,      [ENDING_CRASHED] = STYLE_BAD,
        [ENDING_TIMED_OUT] = STYLE_SLOW, [ENDING_OUT_OF_MEMORY] = STYLE_SLOW,
        [ENDING_FAILED] = STYLE_BAD,
    };

    printf("  %s%-14s %8s%s", screen_style(screen, style[ending]), ending_name[ending],
           COUNT_TEXT(tally->ended[ending]), screen_style(screen, STYLE_PLAIN));
    if (ending == ENDING_DONE)
        printf("   %s, %s lines, %s words", SIZE_TEXT(tally->sum.bytes),
               COUNT_TEXT(tally->sum.lines), COUNT_TEXT(tally->sum.words));
    printf("\n");
    for (unsigned i = 0; i < tally->incident_count; i++)
        if (tally->incidents[i].ending == ending)
            print_incident(screen, &tally->incidents[i]);
}

void report_table(const struct screen *screen, const struct tally *tally)
{
    for (unsigned ending = 0; ending < ENDINGS; ending++)
        if (tally->ended[ending] > 0 || ending != ENDING_FAILED)
            print_ending(screen, tally, (enum ending)ending);
}

/* A pool is slower than a loop where there is nothing to gain. */
static const char *why_no_faster(const struct tally *base)
{
    if (brood_cpu_count() == 1)
        return "there is one CPU only";
    if (base->wall_us < 100000)
        return "too little work to share out";
    return "other programs were using the CPUs, or all waited for the disk";
}

void report_speed(const struct screen *screen, const char *label, const struct tally *tally,
                  size_t files, const struct tally *base)
{
    double seconds = (double)(tally->wall_us + !tally->wall_us) / 1e6;

    printf("  %-14s %6.2f s   %s files/s", label, seconds,
           COUNT_TEXT((uint64_t)((double)files / seconds)));
    if (base != NULL)
        printf("   %s%.2f times as fast%s", screen_style(screen, STYLE_BOLD),
               (double)base->wall_us / 1e6 / seconds, screen_style(screen, STYLE_PLAIN));
    if (base != NULL && tally->wall_us >= base->wall_us)
        printf(": %s", why_no_faster(base));
    printf("\n");
}
