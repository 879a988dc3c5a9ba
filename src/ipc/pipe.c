/* SPDX-License-Identifier: MIT */
/*
 * The ends of pipes: how they are made, handed on, polled and freed; and streams, which are plain
 * sockets. Messages are in pipe_message.c.
 *
 *     end --- unix socket (SEQPACKET or STREAM) === unix socket --- end
 *
 * All that lies between the ends is the kernel's, so a death at any instruction leaves a whole
 * pipe: a message is in the socket or not, and the last copy of an end that is closed ends the
 * pipe for the other side. Nobody repairs anything.
 *
 * One thing lies outside the kernel. Looking at a message before taking it would double the price
 * of each; so a message is always received, and one that does not fit where it was to go waits in
 * the handle (packet), for the next call of this process with that handle. Who sleeps on a socket
 * would not see it: therefore there is an event that is set while a packet waits. Who sleeps for a
 * message sleeps on both; the public descriptor of an end of messages is an epoll of both. A forked
 * child has a copy of the packet, and closes it: the message is its parent's.
 *
 * The kernel wakes a sleeping sender when three quarters of the room are free again, not earlier;
 * so the last thing before -ETIMEDOUT is to try once more.
 */
#include "ipc/pipe.h"

#include "base/clock.h"
#include "base/memory.h"
#include "base/reserved.h"
#include "ipc/reference.h"
#include "ipc/serve.h"
#include "sys/kernel.h"
#include "sys/sockets.h"
#include "sys/stable.h"

#include <errno.h>
#include <poll.h>

/* What is asked of the system for what is under way; it gives less to ordinary users. */
enum { ROOM = 512 * 1024, PACKET_KEY = 1, SOCKET_KEY = 2 };

/* How long a sleep without an event lasts, where there is no descriptor for one. */
enum { DEAF_NS = 50000000 };

static struct stable_list ends;
static const brood_pipe_options no_options;

/* ---- handles ---- */

static bool is_pipe(const struct brood_pipe *pipe)
{
    return pipe != NULL && pipe->magic == PIPE_MAGIC;
}

/* An end without a socket: end_connect() gives it one, or end_drop() takes it back. */
static int end_new(struct brood_pipe **out_pipe, bool stream)
{
    struct brood_pipe *pipe = brood__stable_take(&ends, sizeof *pipe);

    if (pipe == NULL)
        return -ENOMEM;
    pipe->stream = stream;
    pipe->fd = pipe->event = pipe->poller = -1;
    pipe->sends = pipe->receives = true;
    pipe->buffer = stream ? NULL : brood__alloc(PIPE_LEAD + PIPE_PACKET_LEN);
    if (!stream && pipe->buffer == NULL) {
        brood__stable_give(&ends, pipe);
        return -ENOMEM;
    }
    *out_pipe = pipe;
    return 0;
}

static void end_connect(struct brood_pipe *pipe, int fd)
{
    pipe->fd = fd;
    brood__socket_make_room(fd, ROOM);
    pipe->magic = PIPE_MAGIC;
}

static void end_drop(struct brood_pipe *pipe)
{
    brood__free(pipe->buffer);
    brood__stable_give(&ends, pipe);
}

int brood_pipe_new(brood_pipe **out_left, brood_pipe **out_right, const brood_pipe_options *options)
{
    struct brood_pipe *left, *right;
    int fds[2];
    int r;

    if (options == NULL)
        options = &no_options;
    if (out_left == NULL || out_right == NULL || !reserved_are_zero(options->reserved))
        return -EINVAL;
    r = end_new(&left, options->stream);
    if (r < 0)
        return r;
    r = end_new(&right, options->stream);
    if (r == 0) {
        r = brood__socket_pair(options->stream, fds);
        if (r < 0)
            end_drop(right);
    }
    if (r < 0) {
        end_drop(left);
        return r;
    }
    end_connect(left, fds[0]);
    end_connect(right, fds[1]);
    if (options->one_way) {
        brood__channel_finish(left->fd);
        left->sends = right->receives = false;
    }
    *out_left = left;
    *out_right = right;
    return 0;
}

static void close_packet(struct packet *packet)
{
    brood__fd_close(packet->object);
    brood__fd_close(packet->receipt);
    for (unsigned i = 0; i < packet->fd_count; i++)
        brood__fd_close(packet->fds[i]);
}

void brood_pipe_free(brood_pipe *pipe)
{
    int saved = errno;

    if (!is_pipe(pipe))
        return;
    pipe->magic = 0;
    if (pipe->packet_self != 0) /* or a copy of it */
        close_packet(&pipe->packet);
    brood__fd_close(pipe->poller);
    brood__fd_close(pipe->event);
    brood__fd_close(pipe->fd);
    brood__loans_done(&pipe->loans);
    brood__free(pipe->buffer);
    brood__stable_give(&ends, pipe);
    errno = saved;
}

/* ---- a message that waits in the handle ---- */

/* What the lock guards says itself whose it is. */
void brood__pipe_lock(struct brood_pipe *pipe)
{
    brood__own_lock(&pipe->lock, NULL);
}

void brood__pipe_unlock(struct brood_pipe *pipe)
{
    brood__own_unlock(&pipe->lock);
}

bool brood__pipe_has_packet(const struct brood_pipe *pipe)
{
    return pipe->packet_self != 0 && pipe->packet_self == brood__self();
}

void brood__pipe_close_copy(struct brood_pipe *pipe)
{
    if (pipe->packet_self == 0 || brood__pipe_has_packet(pipe))
        return;
    pipe->packet_self = 0;
    close_packet(&pipe->packet);
}

static bool has_poller(const struct brood_pipe *pipe)
{
    return pipe->poller >= 0 && pipe->poller_self == brood__self();
}

static bool has_event(const struct brood_pipe *pipe)
{
    return pipe->event >= 0 && pipe->event_self == brood__self();
}

void brood__pipe_keep_packet(struct brood_pipe *pipe)
{
    uint64_t one = 1;

    pipe->packet_self = brood__self();
    if (has_event(pipe))
        (void)brood__fd_write(pipe->event, &one, sizeof one);
}

void brood__pipe_forget_packet(struct brood_pipe *pipe)
{
    uint64_t count;

    pipe->packet_self = 0;
    if (has_event(pipe))
        (void)brood__fd_read(pipe->event, &count, sizeof count);
}

/* ---- waiting ---- */

int brood__pipe_await(const struct brood_pipe *pipe, short events, int64_t timeout_ms,
                      int64_t *deadline)
{
    struct pollfd waited = {.fd = pipe->fd, .events = events};
    int r;

    if (timeout_ms == 0)
        return -ETIMEDOUT;
    if (*deadline == 0)
        *deadline = deadline_in(timeout_ms);
    r = brood__fd_wait(&waited, 1, *deadline);
    if (r <= 0)
        return r < 0 ? r : -ETIMEDOUT;
    return (waited.revents & POLLNVAL) != 0 ? -EBADF : 0;
}

/* Locked. The event, made if need be; what the parent of this process made stays the parent's. */
static int find_event(struct brood_pipe *pipe)
{
    int event;

    if (has_event(pipe))
        return pipe->event;
    event = brood__fd_event();
    if (event < 0)
        return event;
    brood__fd_close(pipe->event);
    pipe->event = event;
    pipe->event_self = brood__self();
    if (brood__pipe_has_packet(pipe))
        brood__pipe_keep_packet(pipe);
    return event;
}

/* 1: there may be a message; 0: the deadline is over. Both descriptors are looked at, so a message
 * that another thread receives and keeps meanwhile is seen, too. */
static int sleep_for_message(struct brood_pipe *pipe, int64_t deadline)
{
    struct pollfd waited[] = {{.fd = pipe->fd, .events = POLLIN}, {.fd = -1, .events = POLLIN}};
    int64_t until = deadline;
    int r;

    if (!pipe->stream) {
        brood__pipe_lock(pipe);
        waited[1].fd = find_event(pipe);
        brood__pipe_unlock(pipe);
    }
    if (waited[1].fd < 0 && !pipe->stream) {
        until = now_ns() + DEAF_NS;
        until = until < deadline ? until : deadline;
    }
    r = brood__fd_wait(waited, 2, until);
    if (r > 0 && (waited[0].revents & POLLNVAL) != 0)
        return -EBADF;
    return r == 0 && until < deadline ? 1 : r;
}

int brood__pipe_await_message(struct brood_pipe *pipe, int64_t timeout_ms, int64_t *deadline)
{
    int r;

    if (timeout_ms == 0)
        return -ETIMEDOUT;
    if (*deadline == 0)
        *deadline = deadline_in(timeout_ms);
    r = sleep_for_message(pipe, *deadline);
    if (r <= 0)
        return r < 0 ? r : -ETIMEDOUT;
    return 0;
}

/* 1: a message is there, or the end; 0; -EBADF. */
static int look(struct brood_pipe *pipe)
{
    struct pollfd waited = {.fd = pipe->fd, .events = POLLIN};
    bool kept;
    int r;

    brood__pipe_lock(pipe);
    kept = brood__pipe_has_packet(pipe);
    brood__pipe_unlock(pipe);
    if (kept)
        return 1;
    r = brood__fd_wait(&waited, 1, 0);
    return r > 0 && (waited.revents & POLLNVAL) != 0 ? -EBADF : r;
}

int brood_pipe_poll(brood_pipe *pipe, int64_t timeout_ms)
{
    int64_t deadline = 0;
    int r;

    if (!is_pipe(pipe))
        return BROOD_EHANDLE;
    if (!pipe->receives)
        return -EINVAL;
    while ((r = look(pipe)) == 0) {
        r = brood__pipe_await_message(pipe, timeout_ms, &deadline);
        if (r < 0)
            return r == -ETIMEDOUT ? 0 : r;
    }
    return r;
}

/* Locked. */
static int make_poller(struct brood_pipe *pipe)
{
    int event = find_event(pipe);
    int poller = event < 0 ? event : brood__poller_new();
    int r = poller < 0 ? poller : brood__poller_add(poller, pipe->fd, SOCKET_KEY);

    if (r >= 0)
        r = brood__poller_add(poller, event, PACKET_KEY);
    if (r < 0) {
        brood__fd_close(poller);
        return r;
    }
    brood__fd_close(pipe->poller);
    pipe->poller = poller;
    pipe->poller_self = brood__self();
    return poller;
}

int brood_pipe_fd(brood_pipe *pipe)
{
    int r;

    if (!is_pipe(pipe))
        return BROOD_EHANDLE;
    if (!pipe->receives)
        return -EINVAL;
    if (pipe->stream)
        return pipe->fd;
    brood__pipe_lock(pipe);
    r = has_poller(pipe) ? pipe->poller : make_poller(pipe);
    brood__pipe_unlock(pipe);
    return r;
}

/* ---- refs ---- */

static uint64_t describe(const struct brood_pipe *pipe)
{
    return REFERENCE_PIPE | (pipe->sends ? REFERENCE_SENDS : 0U) |
           (pipe->receives ? REFERENCE_RECEIVES : 0U) | (pipe->stream ? REFERENCE_STREAM : 0U);
}

brood_ref brood_pipe_ref(brood_pipe *pipe)
{
    const brood_ref none = {{0, 0}};
    brood_ref ref = none;
    bool waits;
    int fd;

    if (!is_pipe(pipe))
        return none;
    brood__pipe_lock(pipe);
    waits = brood__pipe_has_packet(pipe); /* it could not go along */
    brood__pipe_unlock(pipe);
    if (waits || brood__serve_number(&ref.word[0]) < 0)
        return none;
    fd = brood__fd_duplicate(pipe->fd);
    if (fd < 0 || brood__serve(ref.word[0], fd, true) < 0)
        return none;
    ref.word[1] = describe(pipe);
    return ref;
}

int brood_pipe_open(brood_pipe **out_pipe, brood_ref ref)
{
    bool stream = (ref.word[1] & REFERENCE_STREAM) != 0;
    struct brood_pipe *pipe;
    int fd, r;

    if (out_pipe == NULL || ref.word[0] == 0 || !reference_is_pipe(ref))
        return -EINVAL;
    /* First all that may fail: what is asked for is given once. */
    r = end_new(&pipe, stream);
    if (r < 0)
        return r;
    fd = brood__serve_ask(ref.word[0]);
    r = fd < 0 ? fd : brood__socket_is_stream(fd) == (int)stream ? 0 : -EINVAL;
    if (r < 0) {
        brood__fd_close(fd);
        end_drop(pipe);
        return r;
    }
    end_connect(pipe, fd);
    pipe->sends = (ref.word[1] & REFERENCE_SENDS) != 0;
    pipe->receives = (ref.word[1] & REFERENCE_RECEIVES) != 0;
    *out_pipe = pipe;
    return 0;
}

/* ---- streams ---- */

int64_t brood_pipe_read(brood_pipe *pipe, void *data, size_t size, int64_t timeout_ms)
{
    int64_t deadline = 0;
    int64_t r;

    if (!is_pipe(pipe))
        return BROOD_EHANDLE;
    if (!pipe->receives || !pipe->stream || data == NULL || size == 0)
        return -EINVAL;
    while ((r = brood__socket_receive(pipe->fd, data, size)) == -EAGAIN) {
        r = brood__pipe_await(pipe, POLLIN, timeout_ms, &deadline);
        if (r < 0)
            break;
    }
    return r;
}

/* As many of LEN bytes as there is room for by the deadline, at least one. */
static int64_t write_some(struct brood_pipe *pipe, const char *data, size_t len, int64_t timeout_ms,
                          int64_t *deadline)
{
    bool late = false;

    for (;;) {
        int64_t r = brood__socket_send(pipe->fd, data, len);

        if (r != -EAGAIN)
            return r;
        if (late)
            return -ETIMEDOUT;
        r = brood__pipe_await(pipe, POLLOUT, timeout_ms, deadline);
        late = r == -ETIMEDOUT;
        if (r < 0 && !late)
            return r;
    }
}

int64_t brood_pipe_write(brood_pipe *pipe, const void *data, size_t len, int64_t timeout_ms)
{
    int64_t deadline = 0;
    size_t done = 0;

    if (!is_pipe(pipe))
        return BROOD_EHANDLE;
    if (!pipe->sends || !pipe->stream || (data == NULL && len > 0) || len > INT64_MAX)
        return -EINVAL;
    while (done < len) {
        int64_t r = write_some(pipe, (const char *)data + done, len - done, timeout_ms, &deadline);

        if (r < 0)
            return done > 0 ? (int64_t)done : r;
        done += (size_t)r;
    }
    return (int64_t)done;
}
