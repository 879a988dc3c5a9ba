/* SPDX-License-Identifier: MIT */
/* The order, checked, and where its parts are. */
#ifndef BROOD_SRC_GUARD_ORDER_H
#define BROOD_SRC_GUARD_ORDER_H

#include "run/guard_wire.h"

struct order {
    const struct guard_order *head;
    const struct guard_limit *limits;
    const struct guard_fd *fds;
    const uint32_t *groups;
    const char *cwd;        /* NULL: none */
    const char *candidates; /* one behind the other, each with its NUL */
};

/* Takes the packet that waits in the control socket. 0, -EINVAL for one that breaks a rule, or
 * another -errno: there is none. */
int order_read(struct order *out);

#endif
