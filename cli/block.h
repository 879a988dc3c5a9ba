/* SPDX-License-Identifier: MIT */
/* --pipe: stdin cut into blocks between records. */
#ifndef BROOD_CLI_BLOCK_H
#define BROOD_CLI_BLOCK_H

#include "options.h"
#include "text.h"

struct blocks;

struct blocks *blocks_new(const struct options *options);
/* The bytes for the next job. False at the end. */
bool blocks_next(struct blocks *blocks, struct text *out);
/* Reads what there is to read now. Returns whether a block can be cut without waiting. */
bool blocks_ready(struct blocks *blocks);
void blocks_free(struct blocks *blocks);

#endif
