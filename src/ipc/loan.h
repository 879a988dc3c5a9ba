/* SPDX-License-Identifier: MIT */
/*
 * Memory objects that carry one large message after the other, lent to who receives them.
 *
 *     NONE --take--> FILLED --out--> OUT --receipt hangs up--> HERE --take--> FILLED ...
 *                       |                                       ^
 *                       +----------------- back ----------------+
 *
 * With each message goes one end of a small pipe, the receipt. Whoever has it may read the object;
 * when nobody has it any more, the other end hangs up: then the object is here again.
 */
#ifndef BROOD_SRC_IPC_LOAN_H
#define BROOD_SRC_IPC_LOAN_H

#include "sys/self.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Objects of one end of a pipe; bytes of one; and bytes of all where they are more than two: so
 * many stay in the caches. */
enum { LOANS_MAX = 8, LOAN_LEN_MAX = 32 << 20, LOANS_LEN_MAX = 16 << 20 };

enum loan_state { LOAN_NONE = 0, LOAN_HERE, LOAN_FILLED, LOAN_OUT };

struct loan {
    _Atomic enum loan_state state; /* a fork beside us must not copy it before what it says */
    int object;
    int watched;     /* our end of the receipt, or -1 */
    int receipt;     /* FILLED: to be sent with the object, else -1 */
    uint64_t number; /* OUT: of those that were lent */
    size_t room;
    void *address; /* of ROOM bytes of the object */
};

/* All zero: there are none. */
struct loans {
    struct own_lock lock; /* guards what follows, but for a FILLED loan: that is the taker's */
    uint64_t self;        /* the process that lends */
    uint64_t room;        /* of all */
    uint64_t lent;        /* so many times */
    unsigned misses;      /* takes in vain */
    bool asked;           /* somebody has sent a large message */
    bool in_vain;         /* the last wait; nothing has come back since */
    struct loan all[LOANS_MAX];
};

/* A loan with LEN bytes of DATA in it, FILLED; waits a little for one to come back, until DEADLINE
 * at most. NULL: there is none now; send the message in another way. */
struct loan *brood__loan_take(struct loans *loans, const void *data, size_t len, int64_t deadline);
/* It was sent. */
void brood__loan_out(struct loans *loans, struct loan *loan);
/* It was not. */
void brood__loan_back(struct loans *loans, struct loan *loan);
/* What was lent stays with who has it. In a forked child: its copies of everything. */
void brood__loans_done(struct loans *loans);

#endif
