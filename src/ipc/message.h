/* SPDX-License-Identifier: MIT */
/* What brood_message_done() and brood_message_return() do, by where a message came from. */
#ifndef BROOD_SRC_IPC_MESSAGE_H
#define BROOD_SRC_IPC_MESSAGE_H

#include <brood/queue.h>

/* message->reserved[0] is the address of one of these, or 0; the other words are its own. */
struct message_kind {
    void (*done)(brood_message *message);      /* need not zero it */
    void (*give_back)(brood_message *message); /* the same */
};

#endif
