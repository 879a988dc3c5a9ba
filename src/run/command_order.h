/* SPDX-License-Identifier: MIT */
/* The options of a command as an order to its guard. */
#ifndef BROOD_SRC_RUN_COMMAND_ORDER_H
#define BROOD_SRC_RUN_COMMAND_ORDER_H

#include <brood/command.h>

#include "run/guard_wire.h"

#include <stddef.h>

enum {
    PASS_MAX = 64,
    GROUPS_MAX = 64,
    LIMITS_MAX = GUARD_LIMITS_MAX,
    EXTRA_FDS_MAX = PASS_MAX + 2
};

/* Zeroed is empty. */
struct command_order {
    const char *const *environment;
    const char **own_environment; /* the same, if it had to be made; strings are borrowed */
    unsigned char *packet;
    size_t packet_len;
    int fds[EXTRA_FDS_MAX]; /* what becomes 4 and so on in the guard; borrowed */
    unsigned fd_count;
};

/* Whether ARGV and OPTIONS are as command.h says: 0, or -EINVAL and the thread's start error. */
int brood__order_check(const char *const *argv, const brood_command_options *options);
/* For what has been checked. CALLER is a pidfd of this process or -1. 0 or -ENOMEM, -E2BIG. */
int brood__order_make(struct command_order *order, const char *const *argv,
                      const brood_command_options *options, int caller);
void brood__order_done(struct command_order *order);

#endif
