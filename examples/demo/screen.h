/* SPDX-License-Identifier: MIT */
/* What the demo shows while it works: a line that moves at a terminal, a few plain ones else. */
#ifndef DEMO_SCREEN_H
#define DEMO_SCREEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum style { STYLE_PLAIN, STYLE_BOLD, STYLE_DIM, STYLE_GOOD, STYLE_BAD, STYLE_SLOW, STYLES };

struct screen {
    bool live;    /* stdout is a terminal that can move its cursor */
    bool colour;  /* ... and colours are wanted: NO_COLOR is not set */
    bool unicode; /* the locale's characters are UTF-8 */
    bool drawn;   /* a line is drawn that the next one replaces */
    unsigned width;
    int64_t next_us; /* when to draw again */
    size_t next_done;
};

struct progress {
    const char *label; /* of plain lines; NULL: none are written */
    const char *note;  /* behind the moving line; NULL: nothing */
    size_t done, total;
    size_t crashed;
    int64_t start_us;
};

void screen_open(struct screen *screen);
void screen_progress(struct screen *screen, const struct progress *progress);
/* Takes the moving line away, or ends it if KEEP. Nothing when piped. */
void screen_progress_end(struct screen *screen, const struct progress *progress, bool keep);
/* The bytes that switch to a style, "" where there are no styles. */
const char *screen_style(const struct screen *screen, enum style style);
/* A rule across the table. */
void screen_rule(const struct screen *screen);

int64_t now_us(void);
/* "1,234,567" and "12.3 MB" in BUFFER, 32 bytes, which is returned. */
const char *count_text(char *buffer, uint64_t count);
const char *size_text(char *buffer, uint64_t bytes);
#define COUNT_TEXT(count) count_text((char[32]){0}, (count))
#define SIZE_TEXT(bytes) size_text((char[32]){0}, (bytes))

#endif
