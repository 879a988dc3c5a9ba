/* SPDX-License-Identifier: MIT */
/* Which inputs go into one command: one, N, as many as fit, or shared out evenly. */
#ifndef BROOD_CLI_PACK_H
#define BROOD_CLI_PACK_H

#include "options.h"
#include "source.h"
#include "template.h"

struct pack;

/* All is borrowed. SLOTS is how many commands run at once; with -X and -m the last inputs are
 * shared out among them. */
struct pack *pack_new(const struct options *options, struct inputs *inputs,
                      struct template *template, size_t slots);
/* The arguments of the next command. False when there is none. */
bool pack_next(struct pack *pack, struct list *out_args);
/* Reads all inputs now, and returns how many commands are to come. */
size_t pack_count_all(struct pack *pack);
void pack_free(struct pack *pack);

#endif
