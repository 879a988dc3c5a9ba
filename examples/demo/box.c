/* SPDX-License-Identifier: MIT */
/*
 * A parser that was written for good boxes and is fed bad ones. Each bug is of a kind that real
 * parsers are shipped with:
 *
 *   box_text    trusts a length, and reads behind the end of the file
 *   box_list    trusts that a list does not contain itself, and runs out of stack
 *   box_next    trusts that a chain of offsets has an end, and never comes back
 *   box_repeat  trusts a size, and takes all the memory it names
 *   box_node    asserts what it should have checked
 *
 * The functions are visible and not inlined, so that a crash report can name them.
 */
#include "box.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct box {
    const unsigned char *data;
    size_t len;
};

#define NAMED __attribute__((noinline, visibility("default")))

NAMED int64_t box_node(const struct box *box, uint32_t offset);
NAMED int64_t box_text(const struct box *box, uint32_t offset);
NAMED int64_t box_list(const struct box *box, uint32_t offset);
NAMED int64_t box_next(const struct box *box, uint32_t offset);
NAMED int64_t box_repeat(const struct box *box, uint32_t offset);

static uint32_t number_at(const struct box *box, size_t offset)
{
    const unsigned char *p = box->data + offset;

    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static bool is_space(unsigned char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static int64_t count_words(const unsigned char *text, size_t len)
{
    int64_t words = 0;
    bool inside = false;

    for (size_t i = 0; i < len; i++) {
        bool space = is_space(text[i]);
        words += !inside && !space;
        inside = !space;
    }
    return words;
}

int64_t box_text(const struct box *box, uint32_t offset)
{
    return count_words(box->data + offset + 8, number_at(box, offset + 4));
}

int64_t box_list(const struct box *box, uint32_t offset)
{
    int64_t words = 0;

    for (uint32_t i = 0; i < number_at(box, offset + 4); i++)
        words += box_node(box, number_at(box, offset + 8 + 4 * i));
    return words;
}

int64_t box_next(const struct box *box, uint32_t offset)
{
    while (number_at(box, offset) == BOX_NEXT)
        offset = number_at(box, offset + 4);
    return box_node(box, offset);
}

int64_t box_repeat(const struct box *box, uint32_t offset)
{
    enum { PIECE_LEN = 1 << 20 };
    size_t len = number_at(box, offset + 4), filled = 0;
    unsigned char *text = NULL;

    while (filled < len) {
        size_t piece = len - filled < PIECE_LEN ? len - filled : PIECE_LEN;
        unsigned char *more = realloc(text, filled + piece);
        if (more == NULL) {
            free(text);
            return -ENOMEM;
        }
        text = more;
        memset(text + filled, (int)number_at(box, offset + 8), piece);
        filled += piece;
    }
    int64_t words = count_words(text, len);
    free(text);
    return words;
}

int64_t box_node(const struct box *box, uint32_t offset)
{
    switch (number_at(box, offset)) {
    case BOX_TEXT:
        return box_text(box, offset);
    case BOX_LIST:
        return box_list(box, offset);
    case BOX_NEXT:
        return box_next(box, offset);
    case BOX_REPEAT:
        return box_repeat(box, offset);
    default:
        abort(); /* "cannot happen" */
    }
}

bool box_is(const void *data, size_t len)
{
    return len >= 8 && memcmp(data, "BOX1", 4) == 0;
}

int64_t box_count_words(const unsigned char *data, size_t len)
{
    const struct box box = {.data = data, .len = len};

    return box_node(&box, number_at(&box, 4));
}
