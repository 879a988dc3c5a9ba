/* SPDX-License-Identifier: MIT */
/*
 * Refs over sockets: one message of a fixed size, with the descriptor of the region beside it.
 *
 *     message:  { magic | word 0 | word 1 }  + SCM_RIGHTS { memory object }
 *
 * Unix sockets deliver so short a message whole, also a stream, so ours never comes in parts. One
 * that does is put together as far as the deadline allows: a sender that breaks off in the middle
 * costs the receiver its time and no more. Every descriptor that came is kept or closed, whatever
 * else is wrong.
 *
 * The region that was received is parked: mapped here, with one user for each ref that came, who is
 * whoever opens one. A ref that is never opened keeps it until the process ends.
 *
 * Deaths: a sender killed before its one call has sent nothing, and after it everything. A
 * receiver takes its region along.
 */
#include "base/clock.h"
#include "ipc/reference.h"
#include "ipc/region.h"
#include "sys/kernel.h"
#include "sys/sockets.h"

#include <brood/region.h>

#include <errno.h>
#include <poll.h>

#define REF_MAGIC UINT64_C(0x666572646f6f7262)

struct ref_message {
    uint64_t magic;
    brood_ref ref;
};

/* 0, or -ETIMEDOUT. */
static int await(int socket, short events, int64_t deadline)
{
    struct pollfd fd = {.fd = socket, .events = events};
    int r = brood__fd_wait(&fd, 1, deadline);

    if (r < 0)
        return r;
    return r == 0 ? -ETIMEDOUT : 0;
}

static int send_message(int socket, const struct ref_message *message, int fd, int64_t deadline)
{
    const struct iovec part = {.iov_base = (void *)(uintptr_t)message, .iov_len = sizeof *message};

    for (;;) {
        int64_t sent = brood__socket_send_parts(socket, &part, 1, &fd, 1);
        int r;

        if (sent >= 0)
            return sent == (int64_t)sizeof *message ? 0 : -EPIPE;
        if (sent != -EAGAIN)
            return (int)sent;
        r = await(socket, POLLOUT, deadline);
        if (r < 0)
            return r;
    }
}

int brood_ref_send(int socket, brood_ref ref, int64_t timeout_ms)
{
    const struct ref_message message = {.magic = REF_MAGIC, .ref = ref};
    int64_t deadline = deadline_in(timeout_ms);
    struct region *region;
    int r;

    if (brood__socket_is_stream(socket) < 0 || reference_is_pipe(ref))
        return -EINVAL;
    region = brood__region_known(ref);
    if (region == NULL)
        return BROOD_EREF;
    r = brood__region_offset(region, ref) == 0
            ? -EINVAL
            : send_message(socket, &message, region->fd, deadline);
    brood__region_leave(region);
    return r;
}

/* What has come so far. */
struct receiving {
    struct ref_message message;
    size_t len;
    char beyond; /* of a packet that is longer than ours */
    int fd;      /* the first that came, or -1 */
};

/* Bytes that came, or what brood__socket_receive_parts() says. */
static int64_t receive_part(int socket, bool is_stream, struct receiving *receiving)
{
    struct iovec parts[] = {{.iov_base = (char *)&receiving->message + receiving->len,
                             .iov_len = sizeof receiving->message - receiving->len},
                            {.iov_base = &receiving->beyond, .iov_len = 1}};
    unsigned count = receiving->fd < 0 ? 1U : 0U;
    int fd = -1;
    int64_t got =
        brood__socket_receive_parts(socket, parts, is_stream ? 1U : 2U, &fd, &count, false);

    if (got >= 0 && count > 0)
        receiving->fd = fd;
    return got;
}

/* 1 whole, 0 the end before anything, or a negative error. */
static int receive_message(int socket, struct receiving *receiving, int64_t deadline)
{
    int is_stream = brood__socket_is_stream(socket);

    if (is_stream < 0)
        return -EINVAL;
    while (receiving->len < sizeof receiving->message) {
        int64_t got = receive_part(socket, is_stream == 1, receiving);

        if (got == -EAGAIN)
            got = await(socket, POLLIN, deadline);
        else if (got == 0)
            return receiving->len > 0 ? -EPROTO : 0;
        else if (got > 0)
            receiving->len += (size_t)got;
        if (got < 0)
            return got == -ETIMEDOUT && receiving->len > 0 ? -EPROTO : (int)got;
        if (is_stream == 0 && receiving->len > 0)
            break;
    }
    return receiving->len == sizeof receiving->message ? 1 : -EPROTO;
}

/* Takes the descriptor. */
static int take_region(struct receiving *receiving)
{
    struct region *region;
    int fd = receiving->fd;
    int r;

    receiving->fd = -1;
    r = brood__region_adopt(&region, fd);
    if (r < 0)
        return r == -EINVAL ? -EPROTO : r;
    if (brood__region_offset(region, receiving->message.ref) == 0) {
        brood__region_drop(region);
        return -EPROTO;
    }
    brood__region_park(region);
    return 1;
}

int brood_ref_receive(int socket, brood_ref *out_ref, int64_t timeout_ms)
{
    struct receiving receiving = {.fd = -1};
    int r;

    if (out_ref == NULL)
        return -EINVAL;
    r = receive_message(socket, &receiving, deadline_in(timeout_ms));
    if (r == 1 && (receiving.message.magic != REF_MAGIC || receiving.fd < 0))
        r = -EPROTO;
    if (r == 1)
        r = take_region(&receiving);
    brood__fd_close(receiving.fd);
    if (r == 1)
        *out_ref = receiving.message.ref;
    return r;
}
