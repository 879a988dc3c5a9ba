/* SPDX-License-Identifier: MIT */
/*
 * Drawing. At a terminal one line is drawn over and over, at most 20 times a second, as wide as
 * the terminal is at that moment; a line longer than that would wrap and leave its head behind,
 * so what does not fit is left out, the least needed first. Into a pipe or file a plain line is
 * written at each quarter.
 */
#include "screen.h"

#include <inttypes.h>
#include <langinfo.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

enum { REDRAW_US = 50000, WIDTH_DEFAULT = 80, WIDTH_MAX = 120, BAR_MAX = 48 };

int64_t now_us(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

const char *count_text(char *buffer, uint64_t count)
{
    char digits[24];
    int len = snprintf(digits, sizeof digits, "%" PRIu64, count), n = 0;

    for (int i = 0; i < len; i++) {
        if (i > 0 && (len - i) % 3 == 0)
            buffer[n++] = ',';
        buffer[n++] = digits[i];
    }
    buffer[n] = '\0';
    return buffer;
}

const char *size_text(char *buffer, uint64_t bytes)
{
    if (bytes < 1000000)
        snprintf(buffer, 32, "%.1f kB", (double)bytes / 1e3);
    else
        snprintf(buffer, 32, "%.1f MB", (double)bytes / 1e6);
    return buffer;
}

static unsigned terminal_width(void)
{
    struct winsize size;

    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) < 0 || size.ws_col == 0)
        return WIDTH_DEFAULT;
    return size.ws_col;
}

void screen_open(struct screen *screen)
{
    const char *terminal = getenv("TERM");
    const char *no_color = getenv("NO_COLOR");

    setlocale(LC_CTYPE, "");
    *screen = (struct screen){.width = WIDTH_DEFAULT};
    screen->unicode = strcmp(nl_langinfo(CODESET), "UTF-8") == 0;
    screen->live = isatty(STDOUT_FILENO) && terminal != NULL && strcmp(terminal, "dumb") != 0;
    screen->colour = screen->live && (no_color == NULL || no_color[0] == '\0');
    if (screen->live)
        screen->width = terminal_width();
}

const char *screen_style(const struct screen *screen, enum style style)
{
    static const char *const code[STYLES] = {
        [STYLE_PLAIN] = "\033[0m", [STYLE_BOLD] = "\033[1m", [STYLE_DIM] = "\033[2m",
        [STYLE_GOOD] = "\033[32m", [STYLE_BAD] = "\033[31m", [STYLE_SLOW] = "\033[33m",
    };

    return screen->colour ? code[style] : "";
}

static void repeat(const char *text, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        fputs(text, stdout);
}

void screen_rule(const struct screen *screen)
{
    unsigned width = screen->width < WIDTH_DEFAULT ? screen->width : WIDTH_DEFAULT;

    printf("  %s", screen_style(screen, STYLE_DIM));
    repeat(screen->unicode ? "─" : "-", width > 4 ? width - 4 : 0);
    printf("%s\n", screen_style(screen, STYLE_PLAIN));
}

/* Three looks of one cell: full, the half one at the edge, and what is still to do. */
static void draw_bar(const struct screen *screen, const struct progress *progress, unsigned width)
{
    const char *const ascii[] = {"=", ">", "."};
    const char *const lines[] = {"━", "╸", "─"};
    const char *const *look = screen->unicode ? lines : ascii;
    size_t halves = progress->total > 0 ? progress->done * 2 * width / progress->total : 0;
    unsigned full = (unsigned)(halves / 2), half = (unsigned)(halves % 2);

    fputs(screen_style(screen, STYLE_GOOD), stdout);
    repeat(look[0], full);
    repeat(look[1], half);
    printf("%s%s", screen_style(screen, STYLE_PLAIN), screen_style(screen, STYLE_DIM));
    repeat(look[2], width - full - half);
    fputs(screen_style(screen, STYLE_PLAIN), stdout);
}

static void describe(char *out_text, size_t size, const struct progress *progress, int64_t now)
{
    double elapsed = (double)(now - progress->start_us) / 1e6;
    double rate = elapsed > 0 ? (double)progress->done / elapsed : 0;

    if (progress->note != NULL)
        snprintf(out_text, size, "  %s", progress->note);
    else if (progress->done == progress->total)
        snprintf(out_text, size, "  %s/s  %.1f s", COUNT_TEXT((uint64_t)rate), elapsed);
    else if (elapsed < 0.3 || rate <= 0)
        out_text[0] = '\0';
    else
        snprintf(out_text, size, "  %s/s  %.0f s left", COUNT_TEXT((uint64_t)rate),
                 (double)(progress->total - progress->done) / rate + 0.5);
}

static void draw(struct screen *screen, const struct progress *progress, int64_t now)
{
    char left[64], count[80], bad[64] = "";
    unsigned fixed, bar;

    screen->width = terminal_width();
    describe(left, sizeof left, progress, now);
    snprintf(count, sizeof count, "  %s of %s", COUNT_TEXT(progress->done),
             COUNT_TEXT(progress->total));
    if (progress->crashed > 0)
        snprintf(bad, sizeof bad, "  %s%zu crashed", screen->unicode ? "✗ " : "",
                 progress->crashed);
    if (strlen(count) + strlen(bad) + strlen(left) + 20 > screen->width)
        left[0] = '\0';
    if (strlen(count) + strlen(bad) + strlen(left) + 20 > screen->width)
        count[0] = '\0';
    fixed = (unsigned)(strlen(count) + strlen(bad) + strlen(left)) + 9;
    bar = screen->width > fixed ? screen->width - fixed : 0;

    fputs("\r  ", stdout);
    draw_bar(screen, progress, bar < BAR_MAX ? bar : BAR_MAX);
    printf(" %3zu%%%s%s%s%s%s%s%s\033[K",
           progress->done * 100 / (progress->total + !progress->total), count,
           screen_style(screen, STYLE_DIM), left, screen_style(screen, STYLE_PLAIN),
           screen_style(screen, STYLE_BAD), bad, screen_style(screen, STYLE_PLAIN));
    fflush(stdout);
    screen->drawn = true;
}

static void write_plainly(struct screen *screen, const struct progress *progress)
{
    if (progress->label == NULL)
        return;
    if (progress->done < screen->next_done && progress->done < progress->total)
        return;
    if (progress->done >= screen->next_done)
        screen->next_done += (progress->total + 3) / 4;
    printf("  %s: %s of %s", progress->label, COUNT_TEXT(progress->done),
           COUNT_TEXT(progress->total));
    if (progress->crashed > 0)
        printf(", %zu crashed", progress->crashed);
    printf("\n");
    fflush(stdout);
}

void screen_progress(struct screen *screen, const struct progress *progress)
{
    int64_t now = now_us();

    if (progress->done == 0)
        screen->next_done = (progress->total + 3) / 4;
    if (!screen->live) {
        if (progress->done >= screen->next_done && progress->done < progress->total)
            write_plainly(screen, progress);
        return;
    }
    if (now < screen->next_us)
        return;
    screen->next_us = now + REDRAW_US;
    draw(screen, progress, now);
}

void screen_progress_end(struct screen *screen, const struct progress *progress, bool keep)
{
    if (!screen->live) {
        write_plainly(screen, progress);
        return;
    }
    if (keep) {
        draw(screen, progress, now_us());
        printf("\n");
    } else if (screen->drawn) {
        printf("\r\033[K");
    }
    fflush(stdout);
    screen->drawn = false;
    screen->next_us = 0;
}
