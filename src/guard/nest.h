/* SPDX-License-Identifier: MIT */
/* A PID namespace for the command, with an init of ours in it. */
#ifndef BROOD_SRC_GUARD_NEST_H
#define BROOD_SRC_GUARD_NEST_H

#include "guard/child.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/resource.h>

enum nest_news_kind {
    NEST_STARTED = 1,
    NEST_NOT_STARTED, /* .failure */
    NEST_ENDED,       /* the command: .status, .usage */
    NEST_KILLING,     /* the answer to NEST_ASK_CLEAN: .killed so far */
    NEST_EMPTY        /* nobody but the init is left; .killed */
};

struct nest_news {
    uint32_t kind;
    struct failure failure;
    int32_t status;
    uint32_t killed; /* by NEST_ASK_CLEAN: descendants that SIGKILL ended, not the command */
    struct rusage usage;
};

enum nest_question_kind { NEST_ASK_SIGNAL = 1, NEST_ASK_CLEAN };

struct nest_question {
    uint32_t kind;
    int32_t signal;
    uint32_t whom; /* enum guard_whom */
    uint32_t wake; /* SIGCONT behind it */
};

struct nest {
    int32_t init; /* its number here; 0: there is no namespace */
    int channel;  /* news come by it, questions go */
};

/* Makes the namespace and starts the command in it. 0: done, nest->init is set. A positive number:
 * no namespace is to be had, and nothing is left of the attempt; it is an errno. -errno: the
 * command could not be started there, birth->failure says why. */
int nest_start(struct nest *out, struct birth *birth);

/* Lost if the init is gone, and everything with it. */
void nest_ask(const struct nest *nest, const struct nest_question *question);
/* 1: something has come. 0: nothing yet. -EPIPE: the init is gone. */
int nest_hear(const struct nest *nest, struct nest_news *out);

#endif
