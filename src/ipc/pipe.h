/* SPDX-License-Identifier: MIT */
/* What the files of brood_pipe share. */
#ifndef BROOD_SRC_IPC_PIPE_H
#define BROOD_SRC_IPC_PIPE_H

#include "base/handle.h"
#include "ipc/loan.h"
#include "sys/self.h"

#include <brood/pipe.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The user's descriptors in a message; bytes of a message that is not sent as an object; bytes of a
 * packet, and one more, by which a packet that is too long gives itself away. In the buffer of an
 * end something stands before the packet, so that the message in it is aligned. */
enum {
    PIPE_FDS_MAX = 64,
    PIPE_INLINE_MAX = 192 * 1024,
    PIPE_PACKET_LEN = 8 + PIPE_INLINE_MAX + 1,
    PIPE_LEAD = 8
};

/* A message that has come out of the kernel. */
struct packet {
    const char *data; /* in the end's buffer; NULL: in the object */
    size_t len;
    int object;  /* or -1 */
    int receipt; /* of an object that is lent, else -1 */
    unsigned fd_count;
    int fds[PIPE_FDS_MAX];
};

struct brood_pipe {
    void *stable_link;
    uint64_t magic;
    int fd;
    bool sends, receives, stream;
    struct own_lock lock; /* guards what follows: one thread at a time receives */
    char *buffer;         /* of messages: one as it came, behind PIPE_LEAD bytes */
    bool long_before;     /* the last message was a long one, so the next may be */
    struct packet packet; /* received and not yet got */
    uint64_t packet_self; /* the process that received it; 0: there is none */
    int event;            /* readable while there is a packet, or -1 */
    uint64_t event_self;  /* the process that made it */
    int poller;           /* of the socket and the event, or -1 */
    uint64_t poller_self; /* the process that made it */
    struct loans loans;   /* for large messages that are sent */
};
HANDLE_BEGINS(struct brood_pipe);

void brood__pipe_lock(struct brood_pipe *pipe);
void brood__pipe_unlock(struct brood_pipe *pipe);
/* Whether a message waits that this process has received. Locked. */
bool brood__pipe_has_packet(const struct brood_pipe *pipe);
/* There is one from now on, or no more. Locked. */
void brood__pipe_keep_packet(struct brood_pipe *pipe);
void brood__pipe_forget_packet(struct brood_pipe *pipe);
/* What was copied by a fork is not this process's message, and is closed. Locked. */
void brood__pipe_close_copy(struct brood_pipe *pipe);
/* Until one of EVENTS is there. *DEADLINE is made of TIMEOUT_MS by the first call, and 0 before. 0,
 * -ETIMEDOUT or an error. */
int brood__pipe_await(const struct brood_pipe *pipe, short events, int64_t timeout_ms,
                      int64_t *deadline);
/* The same, until there may be a message, in the socket or in the handle. */
int brood__pipe_await_message(struct brood_pipe *pipe, int64_t timeout_ms, int64_t *deadline);

#endif
