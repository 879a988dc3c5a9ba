/* SPDX-License-Identifier: MIT */
/*
 * Lines of /proc/PID/maps: "start-end perms offset major:minor inode    path".
 *
 * Numbers are read by hand: the text has a length and no NUL, and may be garbage. A number that
 * overflows is wrong and nothing worse. Keeps no state.
 */
#include "sys/linux/mapping.h"

#include <string.h>

/* A number in BASE up to the character AFTER, which is skipped. False: it is not there. */
static bool read_number(struct mappings *line, unsigned base, char after, uint64_t *out_number)
{
    uint64_t number = 0;

    for (; line->at < line->end && *line->at != after; line->at++) {
        char c = *line->at;
        unsigned digit;

        if (c >= '0' && c <= '9')
            digit = (unsigned)(c - '0');
        else if (c >= 'a' && c <= 'f')
            digit = (unsigned)(c - 'a') + 10;
        else
            return false;
        if (digit >= base)
            return false;
        number = number * base + digit;
    }
    if (line->at == line->end)
        return false;
    line->at++;
    *out_number = number;
    return true;
}

/* "r-xp " */
static bool read_rights(struct mappings *line, bool *out_is_code)
{
    if (line->end - line->at < 5 || line->at[4] != ' ')
        return false;
    *out_is_code = line->at[2] == 'x';
    line->at += 5;
    return true;
}

static bool parse(struct mappings line, struct mapping *mapping)
{
    uint64_t major, minor;

    if (!read_number(&line, 16, '-', &mapping->start) ||
        !read_number(&line, 16, ' ', &mapping->end) || !read_rights(&line, &mapping->is_code) ||
        !read_number(&line, 16, ' ', &mapping->offset) || !read_number(&line, 16, ':', &major) ||
        !read_number(&line, 16, ' ', &minor) || !read_number(&line, 10, ' ', &mapping->inode))
        return false;
    while (line.at < line.end && *line.at == ' ')
        line.at++;
    mapping->device = major << 32 | minor;
    mapping->path = line.at;
    mapping->path_len = (size_t)(line.end - line.at);
    return mapping->start < mapping->end;
}

bool brood__mapping_next(struct mappings *mappings, struct mapping *out_mapping)
{
    while (mappings->at < mappings->end) {
        size_t left = (size_t)(mappings->end - mappings->at);
        const char *newline = memchr(mappings->at, '\n', left);
        struct mappings line = {.at = mappings->at,
                                .end = newline == NULL ? mappings->end : newline};

        mappings->at = newline == NULL ? mappings->end : newline + 1;
        if (parse(line, out_mapping))
            return true;
    }
    return false;
}

bool brood__mapping_at(struct mappings mappings, uint64_t address, struct mapping *out_mapping)
{
    struct mapping mapping;

    while (brood__mapping_next(&mappings, &mapping))
        if (address >= mapping.start && address < mapping.end) {
            *out_mapping = mapping;
            return true;
        }
    return false;
}

bool brood__mapping_same(struct mappings mappings, const struct mapping *other, uint64_t address,
                         struct mapping *out_mapping, uint64_t *out_address)
{
    uint64_t offset = address - other->start + other->offset;
    struct mapping mapping;

    while (brood__mapping_next(&mappings, &mapping)) {
        if (mapping.inode == 0 || mapping.inode != other->inode ||
            mapping.device != other->device || mapping.path_len != other->path_len ||
            memcmp(mapping.path, other->path, mapping.path_len) != 0 || offset < mapping.offset ||
            offset - mapping.offset >= mapping.end - mapping.start)
            continue;
        *out_mapping = mapping;
        *out_address = mapping.start + (offset - mapping.offset);
        return true;
    }
    return false;
}
