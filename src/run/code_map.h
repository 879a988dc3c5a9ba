/* SPDX-License-Identifier: MIT */
/*
 * Where functions are in another process that is made of the same modules, or of some of them.
 *
 * A module is the program or a shared object. It is recognised by its build-id, or, without one,
 * by its name and the shape of its segments; where it was loaded does not matter. A map is one
 * block of memory without pointers: it can be copied and sent.
 */
#ifndef BROOD_SRC_RUN_CODE_MAP_H
#define BROOD_SRC_RUN_CODE_MAP_H

#include <stddef.h>
#include <stdint.h>

struct code_map;

/* The modules of this process now; NULL: no memory. */
struct code_map *brood__code_map_new(void);
struct code_map *brood__code_map_copy(const struct code_map *map);
void brood__code_map_free(struct code_map *map); /* NULL is fine */

/* The address there of FN here. 0, or BROOD_EFUNCTION: the module is not there, or differs. */
int brood__code_map_find(const struct code_map *map, uintptr_t fn, uintptr_t *out_there);

/* Over a channel, in as many messages as it takes. 0 or -errno; -EPIPE: whom PEER names is dead;
 * -ETIMEDOUT; -EPROTO: that was no map. After a refusal to receive is the ERROR of it. */
int brood__code_map_send(const struct code_map *map, int channel);
int brood__code_map_refuse(int error, int channel);
int brood__code_map_receive(struct code_map **out_map, int channel, int peer, int64_t deadline);

#endif
