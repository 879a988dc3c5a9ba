/* SPDX-License-Identifier: MIT */
/* From nothing to the command's first instruction. */
#ifndef BROOD_SRC_GUARD_CHILD_H
#define BROOD_SRC_GUARD_CHILD_H

#include "guard/order.h"

#include <stddef.h>
#include <stdint.h>

struct failure {
    uint32_t step; /* enum guard_step; 0: none */
    int32_t error; /* positive */
    uint32_t index;
};

struct birth {
    const struct order *order;
    char *const *argv;
    char *const *environment;
    int32_t parent; /* this process's number, as its child sees it */
    struct failure failure;
};

/* Returns when the command runs: its number. Or -errno, and birth->failure says what failed; then
 * no child is left. */
int child_spawn(struct birth *birth);

/* Closes FIRST to LAST, both included, as well as it can be done. */
void fds_close(unsigned first, unsigned last);

#endif
