/* SPDX-License-Identifier: MIT */
/*
 * The seam to the kernel for unix sockets and for what travels over them; with the promises of
 * sys/kernel.h.
 *
 * What comes from a socket was written by somebody else: lengths, flags and numbers of descriptors
 * here are the kernel's word, the bytes are not. No call here sleeps, but for socket_connect,
 * poller_wait and those of a channel that are told to wait; whoever wants to wait uses
 * brood__fd_wait().
 */
#ifndef BROOD_SRC_SYS_SOCKETS_H
#define BROOD_SRC_SYS_SOCKETS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

enum { SOCKET_FDS_MAX = 80, CHANNEL_FDS_MAX = 16 };

/* ---- ends ---- */

int brood__socket_pair(bool stream, int out_ends[2]);
/* Room for what is under way; as much of SIZE as the system allows. Never fails. */
void brood__socket_make_room(int fd, int size);
/* 1 a stream, 0 messages; -EPROTO: it is no connected unix socket of these kinds. */
int brood__socket_is_stream(int fd);
/* From here on the other side's sends fail; what it has sent can be received. */
void brood__socket_refuse(int fd);
/* Bytes that wait to be received. */
int64_t brood__socket_pending(int fd);
/* Nothing more will come; what came before may wait still. */
bool brood__socket_at_end(int fd);

/* ---- messages and bytes ---- */

/* Bytes; -EAGAIN: it is full now; -EMSGSIZE: it is longer than the socket takes; -EPIPE. */
int64_t brood__socket_send(int fd, const void *data, size_t len);
/* The same from PARTS, with descriptors, SOCKET_FDS_MAX at most. */
int64_t brood__socket_send_parts(int fd, const struct iovec *parts, unsigned part_count,
                                 const int *fds, unsigned fd_count);
/* Bytes, 0 at the end; -EAGAIN. Descriptors that come along are closed; bytes of a message beyond
 * SIZE are lost. */
int64_t brood__socket_receive(int fd, void *data, size_t size);
/* The length of the whole next message, which stays; as much of it as SIZE is copied. */
int64_t brood__socket_peek(int fd, void *data, size_t size);
/* As receive, with up to *INOUT_COUNT descriptors, the caller's from now on; those beyond are
 * closed. *INOUT_COUNT is set to how many there are: fewer than were sent if this process has no
 * room for more. PEEK: the message stays, and so do its descriptors: these are copies. */
int64_t brood__socket_receive_parts(int fd, struct iovec *parts, unsigned part_count, int *fds,
                                    unsigned *inout_count, bool peek);

/* ---- a message channel: both ends are ours, keep messages whole, and pass descriptors ---- */

int brood__channel_new(int out_ends[2]);
/* With CHANNEL_FDS_MAX descriptors at most. 0, or -EPIPE when the other end is gone, -EAGAIN when
 * it is full and WAIT is false. */
int brood__channel_send(int fd, const void *data, size_t len, const int *fds, unsigned fd_count,
                        bool wait);
/* Bytes of one message; 0: the other end is gone, and what it had sent is lost if it left something
 * unread; -EAGAIN: none now, and WAIT is false; -EMSGSIZE: longer than SIZE, lost with its
 * descriptors. Sets *INOUT_COUNT to the descriptors in FDS, which the caller owns; those beyond
 * *INOUT_COUNT are closed. */
int64_t brood__channel_receive(int fd, void *data, size_t size, int *fds, unsigned *inout_count,
                               bool wait);
/* No more messages either way: both ends see the end, whoever else holds copies of them. */
void brood__channel_shutdown(int fd);
void brood__channel_finish(int fd); /* no more messages from this end; it may still receive */

/* ---- names ---- */

/* NAME is that of an abstract socket, without its leading zero. */
int brood__socket_listen(const char *name); /* -EADDRINUSE */
/* Connected, or -ECONNREFUSED: nobody listens; -ETIMEDOUT. */
int brood__socket_connect(const char *name, int64_t deadline);
int brood__socket_accept(int fd); /* -EAGAIN: nobody is there */
/* The effective user that the other end connected, or listened, as. */
int brood__socket_user(int fd, uid_t *out_user);

/* ---- waiting for many descriptors ---- */

int brood__poller_new(void);
/* FD is readable: KEY is reported. */
int brood__poller_add(int poller, int fd, uint64_t key);
int brood__poller_add_writable(int poller, int fd, uint64_t key);
void brood__poller_remove(int poller, int fd);
/* Sleeps until something is readable; how many KEYS, COUNT at most. */
int brood__poller_wait(int poller, uint64_t *keys, unsigned count);

/* ---- large messages ---- */

/* A memory object that holds LEN bytes, and that nobody can change or cut any more. */
int brood__memory_sealed(const char *name, const void *data, size_t len);
/* 0: it is such an object, of LEN bytes, all there; -EPROTO. */
int brood__memory_sealed_check(int fd, uint64_t len);
/* The ends of a pipe that nothing is written to: [0] hangs up (POLLHUP) when nobody has [1]. */
int brood__receipt_new(int out_ends[2]);

/* ---- others ---- */

int brood__random(void *out, size_t len);

#endif
