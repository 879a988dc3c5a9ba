/* SPDX-License-Identifier: MIT */
/*
 * The box format and its parser, which stands for all the parsers that believe their input.
 *
 *     "BOX1"  u32 root                        numbers are little-endian, offsets from the start
 *     node:   u32 kind, then
 *       TEXT    u32 len, bytes                counts its words
 *       LIST    u32 count, u32 offset[count]  each is a node
 *       NEXT    u32 offset                    the node is there
 *       REPEAT  u32 len, u32 byte             stands for that many bytes
 *
 * The parser has the bugs that such parsers have. It is the part of the demo that is meant to
 * crash, hang and eat memory: nothing below is simulated.
 */
#ifndef DEMO_BOX_H
#define DEMO_BOX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum box_kind { BOX_TEXT = 1, BOX_LIST = 2, BOX_NEXT = 3, BOX_REPEAT = 4 };

bool box_is(const void *data, size_t len);
/* The words in the box, or a negative errno. Or anything else that a process can do. */
int64_t box_count_words(const unsigned char *data, size_t len);

#endif
