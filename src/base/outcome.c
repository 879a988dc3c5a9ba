/* SPDX-License-Identifier: MIT */
/*
 * An outcome as one line of text.
 *
 * Numbers are written with integer arithmetic: printf() would take its decimal point from the
 * program's locale. A number that was not measured is 0 and is left out.
 */
#include <brood/base.h>

#include "base/signal_name.h"

#include <stdarg.h>
#include <stdio.h>

/* Text that is cut to fit. */
struct line {
    char *buffer;
    size_t size, len; /* len < size */
};

__attribute__((format(printf, 2, 3))) static void add(struct line *line, const char *format, ...)
{
    size_t room = line->size - line->len;
    va_list arguments;
    int len;

    va_start(arguments, format);
    len = vsnprintf(line->buffer + line->len, room, format, arguments);
    va_end(arguments);
    if (len > 0)
        line->len += (size_t)len < room ? (size_t)len : room - 1;
}

/* Two or three digits that count: 12 us, 0.012 s, 0.31 s, 1.41 s, 10.0 s, 1234 s. */
static void add_time(struct line *line, int64_t us)
{
    if (us <= 0)
        return;
    if (us < 1000)
        add(line, " after %d us", (int)us);
    else if (us < 99500)
        add(line, " after 0.%03d s", (int)((us + 500) / 1000));
    else if (us < 9995000)
        add(line, " after %d.%02d s", (int)((us + 5000) / 1000000),
            (int)((us + 5000) / 10000 % 100));
    else if (us < 999950000)
        add(line, " after %d.%d s", (int)((us + 50000) / 1000000),
            (int)((us + 50000) / 100000 % 10));
    else
        add(line, " after %lld s", (long long)(us / 1000000 + (us % 1000000 >= 500000)));
}

/* 900 B, 1.1 MiB, 12 MiB, 3.0 GiB. */
static void add_peak(struct line *line, uint64_t bytes)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    unsigned unit = 0;
    uint64_t tenths;

    if (bytes == 0)
        return;
    while (bytes >> (10 * unit) >= 1024)
        unit++;
    if (unit == 0) {
        add(line, ", peak %d B", (int)bytes);
        return;
    }
    tenths = ((bytes >> (10 * (unit - 1))) * 10 + 512) / 1024;
    if (tenths >= 10235 && unit < 6) { /* 1024 by rounding */
        unit++;
        tenths = 10;
    }
    if (tenths < 100)
        add(line, ", peak %d.%d %s", (int)(tenths / 10), (int)(tenths % 10), units[unit]);
    else
        add(line, ", peak %d %s", (int)((tenths + 5) / 10), units[unit]);
}

static void add_cause(struct line *line, const brood_outcome *outcome)
{
    char name[SIGNAL_NAME_SIZE];

    switch (outcome->cause) {
    case BROOD_PENDING:
        add(line, "pending");
        return;
    case BROOD_RETURNED:
        add(line, "returned %d", outcome->code);
        if (outcome->code < 0)
            add(line, " (%s)", brood_strerror(outcome->code));
        break;
    case BROOD_EXITED:
        add(line, "exited with %d", outcome->code);
        break;
    case BROOD_SIGNALLED:
        add(line, "killed by %s", brood__signal_name(outcome->signal, name));
        break;
    case BROOD_TIMED_OUT:
    case BROOD_OUT_OF_MEMORY:
        add(line, "stopped");
        break;
    case BROOD_CANCELLED:
        add(line, outcome->attempts == 0 ? "cancelled before it started" : "cancelled");
        break;
    case BROOD_LOST:
        add(line, "lost");
        break;
    case BROOD_NOT_STARTED:
        add(line, "not started");
        break;
    }
    add_time(line, outcome->wall_us);
}

static void add_reason(struct line *line, const brood_outcome *outcome)
{
    if (outcome->cause == BROOD_TIMED_OUT)
        add(line, ": over its time limit");
    if (outcome->cause == BROOD_OUT_OF_MEMORY)
        add(line, ": over its memory limit");
    if (outcome->cause == BROOD_LOST)
        add(line, ": how it ended is not known");
    if (outcome->cause == BROOD_NOT_STARTED)
        add(line, ": %s", brood_strerror(outcome->code));
}

const char *brood_outcome_text(const brood_outcome *outcome, char *buffer, size_t size)
{
    struct line line = {.buffer = buffer, .size = size};

    if (buffer == NULL || size == 0)
        return buffer;
    buffer[0] = '\0';
    if (outcome == NULL)
        return buffer;
    add_cause(&line, outcome);
    add_reason(&line, outcome);
    if (outcome->cause == BROOD_PENDING)
        return buffer;
    add_peak(&line, outcome->peak_rss);
    if (outcome->attempts > 1)
        add(&line, ", %u attempts", outcome->attempts);
    if (outcome->quarantined)
        add(&line, ", quarantined");
    return buffer;
}
