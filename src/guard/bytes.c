/* SPDX-License-Identifier: MIT */
/*
 * Bytes and numbers, without a C library: short rather than fast, as the guard copies little.
 *
 * A death leaves nothing.
 */
#include "guard/bytes.h"

void *memcpy(void *restrict to, const void *restrict from, size_t len)
{
    unsigned char *out = to;
    const unsigned char *in = from;

    for (size_t i = 0; i < len; i++)
        out[i] = in[i];
    return to;
}

void *memmove(void *to, const void *from, size_t len)
{
    unsigned char *out = to;
    const unsigned char *in = from;

    if (out <= in)
        return memcpy(to, from, len);
    while (len-- > 0)
        out[len] = in[len];
    return to;
}

void *memset(void *to, int byte, size_t len)
{
    unsigned char *out = to;

    for (size_t i = 0; i < len; i++)
        out[i] = (unsigned char)byte;
    return to;
}

int memcmp(const void *left, const void *right, size_t len)
{
    const unsigned char *a = left, *b = right;

    for (size_t i = 0; i < len; i++) {
        if (a[i] != b[i])
            return a[i] - b[i];
    }
    return 0;
}

void text_add(struct text *text, const char *piece)
{
    while (*piece != '\0' && text->len + 1 < sizeof text->bytes)
        text->bytes[text->len++] = *piece++;
    text->bytes[text->len] = '\0';
}

void text_add_number(struct text *text, uint64_t number)
{
    char digits[24];
    size_t at = sizeof digits;

    digits[--at] = '\0';
    do {
        digits[--at] = (char)('0' + number % 10);
        number /= 10;
    } while (number > 0);
    text_add(text, digits + at);
}
