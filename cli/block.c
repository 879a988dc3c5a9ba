/* SPDX-License-Identifier: MIT */
/*
 * Cutting stdin into blocks.
 *
 * A block ends where a record ends: behind RECEND and in front of RECSTART. It has N records (-N),
 * or as many as fit into --block bytes, but at least one. With -L a record is that many lines.
 * What is read and not given is in CARRY: hardly more than one block and one record.
 */
#include "block.h"

#include "source.h"

#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct blocks {
    const struct options *options;
    struct text start, end, seam; /* seam: END and START together */
    struct text carry, header;
    size_t block_len, lines_each;
    bool at_end, header_read;
};

struct blocks *blocks_new(const struct options *options)
{
    struct blocks *blocks = memory_get(sizeof *blocks);
    const char *end = options->record_end;

    if (end == NULL)
        end = options->record_start == NULL ? "\\n" : "";
    blocks->options = options;
    unescape(end, &blocks->end);
    unescape(options->record_start == NULL ? "" : options->record_start, &blocks->start);
    text_add(&blocks->seam, text_string(&blocks->end), blocks->end.len);
    text_add(&blocks->seam, text_string(&blocks->start), blocks->start.len);
    blocks->block_len = options->block_size >= 1 ? (size_t)options->block_size : (size_t)1 << 20;
    blocks->lines_each = options->has_lines_max && options->args_max > 0 ? options->args_max : 1;
    return blocks;
}

/* Reads until CARRY has LEN bytes, or the end. */
static void read_to(struct blocks *blocks, size_t len)
{
    char buffer[65536];

    while (!blocks->at_end && blocks->carry.len < len) {
        const ssize_t got = read(STDIN_FILENO, buffer, sizeof buffer);

        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            die("cannot read stdin: %s", strerror(errno));
        if (got == 0)
            blocks->at_end = true;
        else
            text_add(&blocks->carry, buffer, (size_t)got);
    }
}

/* Where the record ends that goes on at FROM: 0 if that is not in CARRY. */
static size_t record_end(const struct blocks *blocks, size_t from)
{
    const struct text *carry = &blocks->carry, *seam = &blocks->seam;
    const size_t begin = from + (blocks->end.len == 0 ? 1 : 0);
    const char *found;

    if (seam->len == 0 || begin >= carry->len)
        return 0;
    found = memmem(carry->data + begin, carry->len - begin, seam->data, seam->len);
    return found == NULL ? 0 : (size_t)(found - carry->data) + blocks->end.len;
}

/* The end of LINES_EACH records behind FROM, or 0. */
static size_t unit_end(const struct blocks *blocks, size_t from)
{
    for (size_t i = 0; i < blocks->lines_each && (i == 0 || from > 0); i++)
        from = record_end(blocks, from);
    return from;
}

static bool counts_records(const struct options *options)
{
    return options->fixed && !options->has_lines_max && options->args_max > 0;
}

/* Where to cut for N records: reads as much as that needs. */
static size_t cut_by_count(struct blocks *blocks)
{
    size_t at = 0, count = 0, len = blocks->block_len;

    read_to(blocks, len);
    while (count < blocks->options->args_max) {
        const size_t next = record_end(blocks, at);

        if (next > 0) {
            at = next;
            count++;
        } else if (blocks->at_end) {
            return blocks->carry.len;
        } else {
            len = blocks->carry.len + blocks->block_len;
            read_to(blocks, len);
        }
    }
    return at;
}

/* The end of the last record that ends within LEN bytes, or 0. */
static size_t last_unit_end(const struct blocks *blocks, size_t len)
{
    size_t at = 0, next;

    while ((next = unit_end(blocks, at)) > 0 && next <= len)
        at = next;
    return at;
}

static size_t cut_by_size(struct blocks *blocks)
{
    size_t len = blocks->block_len;

    for (;;) {
        size_t at;

        read_to(blocks, len);
        if (blocks->at_end && blocks->carry.len < len)
            return blocks->lines_each > 1 && last_unit_end(blocks, len) > 0
                       ? last_unit_end(blocks, len)
                       : blocks->carry.len;
        if (blocks->seam.len == 0)
            return len < blocks->carry.len ? len : blocks->carry.len;
        at = last_unit_end(blocks, len);
        if (at > 0 || (blocks->at_end && blocks->carry.len <= len))
            return at > 0 ? at : blocks->carry.len;
        len += len / 3 + 1;
    }
}

/* Takes the separators out of a block: all seams, the end's END and the begin's START. */
static void remove_separators(const struct blocks *blocks, struct text *block)
{
    struct text out = {0};
    const char *at = text_string(block), *const end = at + block->len;

    if (blocks->start.len > 0 && block->len >= blocks->start.len &&
        memcmp(at, blocks->start.data, blocks->start.len) == 0)
        at += blocks->start.len;
    while (blocks->seam.len > 0 && at < end) {
        const char *found = memmem(at, (size_t)(end - at), blocks->seam.data, blocks->seam.len);

        if (found == NULL)
            break;
        text_add(&out, at, (size_t)(found - at));
        at = found + blocks->seam.len;
    }
    text_add(&out, at, (size_t)(end - at));
    if (blocks->start.len > 0 && blocks->end.len > 0 && out.len >= blocks->end.len &&
        memcmp(out.data + out.len - blocks->end.len, blocks->end.data, blocks->end.len) == 0)
        out.len -= blocks->end.len;
    text_done(block);
    *block = out;
}

static void take(struct blocks *blocks, size_t len, struct text *out)
{
    text_add(out, text_string(&blocks->carry), len);
    blocks->carry.len -= len;
    if (blocks->carry.data != NULL)
        memmove(blocks->carry.data, blocks->carry.data + len, blocks->carry.len);
}

/* --header: the first lines, which stand at the head of each block. */
static void read_header(struct blocks *blocks)
{
    const char *header = blocks->options->header;
    const long wanted = header == NULL             ? 0
                        : strcmp(header, ":") == 0 ? 1
                                                   : strtol(header, NULL, 10);

    for (long i = 0; i < wanted; i++) {
        const char *newline = NULL;

        for (size_t len = 1; newline == NULL; len = blocks->carry.len + 1) {
            read_to(blocks, len);
            if (blocks->carry.len > 0)
                newline = memchr(blocks->carry.data, '\n', blocks->carry.len);
            if (blocks->at_end)
                break;
        }
        take(blocks,
             newline == NULL ? blocks->carry.len : (size_t)(newline - blocks->carry.data) + 1,
             &blocks->header);
    }
}

static bool is_blank(const struct text *text)
{
    for (size_t i = 0; i < text->len; i++)
        if (text->data[i] == '\0' || strchr(" \t\r\n", text->data[i]) == NULL)
            return false;
    return true;
}

bool blocks_next(struct blocks *blocks, struct text *out)
{
    struct text block = {0};

    if (!blocks->header_read)
        read_header(blocks);
    blocks->header_read = true;
    for (;;) {
        const size_t len =
            counts_records(blocks->options) ? cut_by_count(blocks) : cut_by_size(blocks);

        if (len == 0)
            return false;
        text_clear(&block);
        take(blocks, len, &block);
        if (!blocks->options->skip_empty || !is_blank(&block))
            break;
    }
    if (blocks->options->remove_separator)
        remove_separators(blocks, &block);
    text_add(out, text_string(&blocks->header), blocks->header.len);
    text_add(out, text_string(&block), block.len);
    text_done(&block);
    return true;
}

bool blocks_ready(struct blocks *blocks)
{
    struct pollfd polled = {.fd = STDIN_FILENO, .events = POLLIN};

    while (!blocks->at_end && blocks->carry.len < blocks->block_len && poll(&polled, 1, 0) > 0)
        read_to(blocks, blocks->carry.len + 1);
    return blocks->at_end || blocks->carry.len >= blocks->block_len;
}

void blocks_free(struct blocks *blocks)
{
    if (blocks == NULL)
        return;
    text_done(&blocks->start);
    text_done(&blocks->end);
    text_done(&blocks->seam);
    text_done(&blocks->carry);
    text_done(&blocks->header);
    free(blocks);
}
