/* SPDX-License-Identifier: MIT */
/*
 * A bounded copy of what a command writes.
 *
 *     |<---- head_max ---->|<------- ring ------->|
 *     | first bytes        | the last ones        |          max bytes in all
 *
 * Up to max bytes simply follow each other. What comes then overwrites the oldest byte of the
 * ring, and counts as lost. To keep the head means a ring of no bytes, to keep the tail a head of
 * none. The ring is put in order when somebody looks at it. Memory grows with what comes, by
 * doubling, up to max and one byte for a NUL; when there is none to be had, max becomes what there
 * is, so a command never fails for want of memory to keep its output: more of it is lost.
 *
 * Lines are told as they lie in what was read; only one that goes on in the next piece is copied.
 *
 * All of this is private memory; a death leaves nothing.
 */
#include "run/command_capture.h"

#include "base/memory.h"

#include <string.h>

enum { SIZE_FIRST = 4096, LINE_FIRST = 1024 };
static const size_t max_default = (size_t)64 << 20;

void brood__capture_begin(struct capture *capture, const brood_stream *stream, int fd)
{
    size_t max = stream->max == 0 ? max_default : stream->max;

    if (stream->max == BROOD_KEEP_NOTHING)
        max = 0;
    *capture = (struct capture){.max = max,
                                .head_max = max,
                                .on_data = stream->on_data,
                                .arg = stream->arg,
                                .fd = fd,
                                .lines = stream->lines};
    if (stream->keep == BROOD_KEEP_TAIL)
        capture->head_max = 0;
    else if (stream->keep == BROOD_KEEP_BOTH)
        capture->head_max = max - max / 2;
}

/* ---- what is kept ---- */

static size_t lesser(size_t a, size_t b)
{
    return a < b ? a : b;
}

static void settle_for_less(struct capture *capture)
{
    capture->no_memory = true;
    capture->max = capture->size;
    capture->head_max = lesser(capture->head_max, capture->max);
}

static void grow(struct capture *capture, size_t wanted)
{
    size_t size = capture->size == 0 ? SIZE_FIRST : capture->size;
    char *data;

    while (size < wanted && size <= capture->max / 2)
        size *= 2;
    size = size < wanted || size > capture->max ? capture->max : size;
    data = brood__realloc(capture->data, size + 1);
    if (data == NULL) {
        settle_for_less(capture);
        return;
    }
    capture->data = data;
    capture->size = size;
}

/* All max bytes are there: the ring takes what it can. */
static void turn_ring(struct capture *capture, const char *data, size_t len)
{
    const size_t ring = capture->max - capture->head_max;

    capture->lost += len;
    if (ring == 0)
        return;
    if (len > ring) {
        data += len - ring;
        len = ring;
    }
    while (len > 0) {
        size_t piece = lesser(len, ring - capture->turn);

        memcpy(capture->data + capture->head_max + capture->turn, data, piece);
        capture->turn = (capture->turn + piece) % ring;
        data += piece;
        len -= piece;
    }
}

static void keep(struct capture *capture, const char *data, size_t len)
{
    size_t room;

    if (capture->len < capture->max && len > capture->size - capture->len)
        grow(capture, len > capture->max - capture->len ? capture->max : capture->len + len);
    room = lesser(len, capture->max - capture->len);
    if (room > 0) {
        memcpy(capture->data + capture->len, data, room);
        capture->len += room;
    }
    if (len > room)
        turn_ring(capture, data + room, len - room);
}

static void reverse(char *data, size_t len)
{
    for (size_t i = 0; i < len / 2; i++) {
        char c = data[i];

        data[i] = data[len - 1 - i];
        data[len - 1 - i] = c;
    }
}

/* The ring's oldest byte comes first. */
static void put_in_order(struct capture *capture)
{
    char *ring = capture->data + capture->head_max;
    const size_t len = capture->max - capture->head_max;

    if (capture->turn == 0)
        return;
    reverse(ring, capture->turn);
    reverse(ring + capture->turn, len - capture->turn);
    reverse(ring, len);
    capture->turn = 0;
}

brood_bytes brood__capture_view(struct capture *capture)
{
    brood_bytes bytes = {.data = "", .len = capture->len, .lost = capture->lost};

    bytes.head_len = capture->lost > 0 ? lesser(capture->head_max, capture->len) : capture->len;
    if (capture->data == NULL)
        return bytes;
    put_in_order(capture);
    capture->data[capture->len] = '\0';
    bytes.data = capture->data;
    return bytes;
}

char *brood__capture_take(struct capture *capture, size_t *out_len)
{
    char *data;

    (void)brood__capture_view(capture);
    data = brood__realloc(capture->data, capture->len + 1);
    if (data == NULL)
        return NULL;
    data[capture->len] = '\0';
    *out_len = capture->len;
    capture->data = NULL;
    capture->len = capture->size = 0;
    return data;
}

/* ---- what is told ---- */

static void tell(struct capture *capture, const char *data, size_t len)
{
    if (!capture->refused && len > 0)
        capture->refused = capture->on_data(capture->arg, capture->fd, data, len) != 0;
}

static void tell_begun_line(struct capture *capture)
{
    size_t len = capture->line_len;

    capture->line_len = 0;
    tell(capture, capture->line, len);
}

static bool have_line_room(struct capture *capture, size_t wanted)
{
    size_t size = capture->line_size == 0 ? LINE_FIRST : capture->line_size;
    char *line;

    if (wanted <= capture->line_size)
        return true;
    while (size < wanted)
        size *= 2;
    line = brood__realloc(capture->line, size);
    if (line == NULL)
        return false;
    capture->line = line;
    capture->line_size = size;
    return true;
}

/* A piece of a line behind what has begun already. Without memory the line is cut here. */
static void put_aside(struct capture *capture, const char *data, size_t len)
{
    while (len > 0) {
        size_t piece = lesser(len, CAPTURE_LINE_MAX - capture->line_len);

        if (!have_line_room(capture, capture->line_len + piece)) {
            tell_begun_line(capture);
            tell(capture, data, len);
            return;
        }
        memcpy(capture->line + capture->line_len, data, piece);
        capture->line_len += piece;
        data += piece;
        len -= piece;
        if (capture->line_len == CAPTURE_LINE_MAX)
            tell_begun_line(capture);
    }
}

static void tell_lines(struct capture *capture, const char *data, size_t len)
{
    while (len > 0 && !capture->refused) {
        const char *newline = memchr(data, '\n', len);
        size_t piece = newline == NULL ? len : (size_t)(newline - data) + 1;

        if (capture->line_len > 0 || newline == NULL || piece > CAPTURE_LINE_MAX) {
            put_aside(capture, data, piece);
            if (newline != NULL)
                tell_begun_line(capture);
        } else {
            tell(capture, data, piece);
        }
        data += piece;
        len -= piece;
    }
}

void brood__capture_add(struct capture *capture, const char *data, size_t len)
{
    keep(capture, data, len);
    if (capture->on_data == NULL)
        return;
    if (capture->lines)
        tell_lines(capture, data, len);
    else
        tell(capture, data, len);
}

void brood__capture_finish(struct capture *capture)
{
    if (capture->on_data != NULL)
        tell_begun_line(capture);
}

void brood__capture_done(struct capture *capture)
{
    brood__free(capture->data);
    brood__free(capture->line);
    *capture = (struct capture){0};
}
