/* SPDX-License-Identifier: MIT */
/*
 * The fork server: one clean process of this program, which forks zygotes on request.
 *
 * It is this program executed anew by the first BROOD_START_FORKSERVER; brood_init() in it does
 * not return. It has none of the program's threads, memory or descriptors but the standard ones,
 * so its children cost the same whatever the program has grown to.
 */
#ifndef BROOD_SRC_RUN_SERVER_H
#define BROOD_SRC_RUN_SERVER_H

#include "run/code_map.h"
#include "run/zygote_inside.h"

/*
 * Has the server fork a zygote; starts a server if none runs. SETUP's descriptors are borrowed.
 *
 * 0, and sets *OUT_PIDFD to what was forked and *OUT_MAP to where its functions are, both the
 * caller's; or BROOD_EINIT, ZYGOTE_AGAIN (with a channel of its own), or what executing or
 * forking failed with. When only the map failed, *OUT_PIDFD is set all the same, to be waited for.
 */
int brood__server_make(const struct zygote_setup *setup, int *out_pidfd, struct code_map **out_map);

/* Ends the server of this process, if one runs, and reaps it; what it forked lives on. */
void brood__server_stop(void);

#endif
