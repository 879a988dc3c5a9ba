/* SPDX-License-Identifier: MIT */
/*
 * What the kernel offers to pass messages: a pipe, a SOCK_SEQPACKET pair, a POSIX message queue.
 *
 * The pipe has 1 MiB, and where several share an end and messages are too long to be written in
 * one piece, a mutex for each end. The message queue has the depth and the length that a process
 * may ask for without privileges, so it carries no more than 8 KiB. The sockets carry a mebibyte
 * only where the send buffer may be enlarged at will.
 */
#ifndef BROOD_BENCH_COMPARE_KERNEL_TRANSPORTS_H
#define BROOD_BENCH_COMPARE_KERNEL_TRANSPORTS_H

#include "transport.h"

#include <fcntl.h>
#include <limits.h>
#include <mqueue.h>
#include <pthread.h>
#include <sys/socket.h>

enum { PIPE_LEN = 1 << 20, SOCKET_BUFFER_LEN = 64 << 20, MQ_DEPTH = 10 };

/* ---- pipe ---- */

static struct {
    int ends[2];
    pthread_mutex_t *mutexes; /* one for each end; NULL: not needed */
} the_pipe;

static bool pipe_open(size_t len, unsigned producers, unsigned consumers)
{
    pthread_mutexattr_t shared;

    bench_must(pipe2(the_pipe.ends, O_CLOEXEC) == 0, "pipe2");
    (void)fcntl(the_pipe.ends[1], F_SETPIPE_SZ, PIPE_LEN);
    the_pipe.mutexes = NULL;
    if (len <= PIPE_BUF || producers + consumers == 2)
        return true;
    the_pipe.mutexes = (pthread_mutex_t *)bench_shared(2 * sizeof *the_pipe.mutexes);
    (void)pthread_mutexattr_init(&shared);
    (void)pthread_mutexattr_setpshared(&shared, PTHREAD_PROCESS_SHARED);
    for (int i = 0; i < 2; i++)
        (void)pthread_mutex_init(&the_pipe.mutexes[i], &shared);
    return true;
}

/* All LEN bytes, by read() or write(). */
static void pipe_move(bool writes, char *data, size_t len)
{
    pthread_mutex_t *mutex = the_pipe.mutexes != NULL ? &the_pipe.mutexes[writes] : NULL;

    if (mutex != NULL)
        (void)pthread_mutex_lock(mutex);
    for (size_t at = 0; at < len;) {
        const ssize_t moved = writes ? write(the_pipe.ends[1], data + at, len - at)
                                     : read(the_pipe.ends[0], data + at, len - at);

        bench_must(moved > 0, "a pipe");
        at += (size_t)moved;
    }
    if (mutex != NULL)
        (void)pthread_mutex_unlock(mutex);
}

static void pipe_put(void *data, size_t len, unsigned count)
{
    (void)count;
    pipe_move(true, (char *)data, len);
}

static unsigned pipe_get(void **inout_data, size_t len, unsigned count_max)
{
    (void)count_max;
    pipe_move(false, (char *)*inout_data, len);
    return 1;
}

static void pipe_close(void)
{
    (void)close(the_pipe.ends[0]);
    (void)close(the_pipe.ends[1]);
    if (the_pipe.mutexes != NULL)
        (void)munmap(the_pipe.mutexes, 2 * sizeof *the_pipe.mutexes);
}

static const struct transport PIPE_TRANSPORT = {
    .name = "pipe", .open = pipe_open, .put = pipe_put, .get = pipe_get, .close = pipe_close};

/* ---- sockets ---- */

static int seqpacket_ends[2];

static void seqpacket_close(void)
{
    (void)close(seqpacket_ends[0]);
    (void)close(seqpacket_ends[1]);
}

/* Whether a message of LEN bytes goes through. */
static bool seqpacket_carries(size_t len)
{
    char *data = (char *)bench_map_pages(len, MAP_PRIVATE);
    const bool carried = send(seqpacket_ends[0], data, len, MSG_DONTWAIT) == (ssize_t)len &&
                         recv(seqpacket_ends[1], data, len, MSG_DONTWAIT) == (ssize_t)len;

    (void)munmap(data, len);
    return carried;
}

static bool seqpacket_open(size_t len, unsigned producers, unsigned consumers)
{
    const int buffer_len = SOCKET_BUFFER_LEN;

    (void)producers;
    (void)consumers;
    bench_must(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, seqpacket_ends) == 0,
               "socketpair");
    if (len > BENCH_KIB)
        (void)setsockopt(seqpacket_ends[0], SOL_SOCKET, SO_SNDBUFFORCE, &buffer_len,
                         sizeof buffer_len);
    if (seqpacket_carries(len))
        return true;
    seqpacket_close();
    return false;
}

static void seqpacket_put(void *data, size_t len, unsigned count)
{
    (void)count;
    bench_must(send(seqpacket_ends[0], data, len, MSG_NOSIGNAL) == (ssize_t)len, "send");
}

static unsigned seqpacket_get(void **inout_data, size_t len, unsigned count_max)
{
    (void)count_max;
    bench_must(recv(seqpacket_ends[1], *inout_data, len, 0) == (ssize_t)len, "recv");
    return 1;
}

static const struct transport SEQPACKET_TRANSPORT = {.name = "SOCK_SEQPACKET",
                                                     .open = seqpacket_open,
                                                     .put = seqpacket_put,
                                                     .get = seqpacket_get,
                                                     .close = seqpacket_close};

/* ---- POSIX message queue ---- */

static mqd_t the_mq;

static bool mq_begin(size_t len, unsigned producers, unsigned consumers)
{
    struct mq_attr attributes = {.mq_maxmsg = MQ_DEPTH, .mq_msgsize = (long)len};
    char name[64];

    (void)producers;
    (void)consumers;
    if (len > 8 * BENCH_KIB)
        return false;
    (void)snprintf(name, sizeof name, "/bench-%d", (int)getpid());
    the_mq = mq_open(name, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0600, &attributes);
    if (the_mq < 0)
        return false;
    (void)mq_unlink(name);
    return true;
}

static void mq_put(void *data, size_t len, unsigned count)
{
    (void)count;
    bench_must(mq_send(the_mq, (const char *)data, len, 0) == 0, "mq_send");
}

static unsigned mq_get(void **inout_data, size_t len, unsigned count_max)
{
    (void)count_max;
    bench_must(mq_receive(the_mq, (char *)*inout_data, len, NULL) == (ssize_t)len, "mq_receive");
    return 1;
}

static void mq_end(void)
{
    (void)mq_close(the_mq);
}

static const struct transport MQ_TRANSPORT = {
    .name = "POSIX mq", .open = mq_begin, .put = mq_put, .get = mq_get, .close = mq_end};

#endif
