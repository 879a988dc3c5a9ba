/* SPDX-License-Identifier: MIT */
/*
 * One line on stderr: at a terminal it is rewritten in place, at most ten times a second; elsewhere
 * it is a line every ten seconds, and one at the end.
 */
#include "progress.h"

#include "slots.h"

#include <unistd.h>

#define BAR_WIDTH 30

void progress_begin(struct progress *progress, const struct options *options, size_t total)
{
    progress->on = options->progress || options->bar || options->eta;
    progress->bar = options->bar;
    progress->eta = options->eta || options->bar;
    progress->terminal = isatty(STDERR_FILENO) != 0;
    progress->total = total;
    progress->began_us = progress->last_us = clock_us();
}

bool progress_is_on(const struct progress *progress)
{
    return progress->on;
}

void progress_ended(struct progress *progress, const struct job *job, size_t running)
{
    progress->ended++;
    if (job_failed(job))
        progress->failed++;
    progress_show(progress, running);
}

static void print_bar(const struct progress *progress)
{
    const size_t filled = progress->ended * BAR_WIDTH / progress->total;

    fputc('[', stderr);
    for (size_t i = 0; i < BAR_WIDTH; i++)
        fputc(i < filled ? '#' : ' ', stderr);
    fputs("] ", stderr);
}

static void print_line(const struct progress *progress, size_t running)
{
    const double elapsed_s = (double)(clock_us() - progress->began_us) / 1e6;
    const double rate = elapsed_s > 0 ? (double)progress->ended / elapsed_s : 0;

    if (progress->terminal)
        fputs("\r\033[K", stderr);
    if (progress->bar && progress->total > 0)
        print_bar(progress);
    fprintf(stderr, "%zu running, %zu done", running, progress->ended);
    if (progress->total > 0)
        fprintf(stderr, " of %zu (%zu%%)", progress->total,
                progress->ended * 100 / progress->total);
    if (progress->failed > 0)
        fprintf(stderr, ", %zu failed", progress->failed);
    fprintf(stderr, ", %.1f/s", rate);
    if (progress->eta && progress->total > progress->ended && rate > 0)
        fprintf(stderr, ", %.0f s left", (double)(progress->total - progress->ended) / rate);
    if (!progress->terminal)
        fputc('\n', stderr);
}

void progress_show(struct progress *progress, size_t running)
{
    const int64_t now = clock_us(), every = progress->terminal ? 100000 : 10000000;

    if (!progress->on || now - progress->last_us < every)
        return;
    progress->last_us = now;
    progress->shown = true;
    fflush(stdout);
    print_line(progress, running);
}

void progress_end(struct progress *progress)
{
    if (!progress->on)
        return;
    fflush(stdout);
    print_line(progress, 0);
    if (progress->terminal)
        fputc('\n', stderr);
}
