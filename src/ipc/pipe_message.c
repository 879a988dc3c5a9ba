/* SPDX-License-Identifier: MIT */
/*
 * Messages through the ends of a pipe.
 *
 *     small    [ head | bytes ]                      one packet of a SEQPACKET socket
 *     large    [ head | length ] + memory object     the object sealed: nobody changes it any more
 *     lent     [ head | length ] + object + receipt  to be copied out, and given back
 *
 * Large messages are lent where that can be (ipc/loan.h), because new objects are slow. The user's
 * descriptors travel behind ours. The socket keeps packets whole and in order, so a sender killed
 * at any instruction has sent all of a message or nothing, and the objects of messages that are
 * never received go with the socket. A receiver that is killed takes along the message that it was
 * getting, as it does one that it had got.
 *
 * The other end may be anybody's: each packet is checked, and a wrong one is dropped (-EPROTO)
 * with all that came along. An object that is mapped counts only if it is sealed against writing
 * and cutting and has all its pages; else its owner could make us fault, or change what we have
 * checked. One that is lent is only read, with a call that cannot fault, and not beyond its end.
 *
 * The kernel drops descriptors that a receiver has no room for and delivers the bytes. The head
 * says how many there were; if some are missing, or the object is, the message is lost and get
 * returns -EMFILE. All other errors leave the message in the handle (see pipe.c).
 */
#include "ipc/message.h"
#include "ipc/pipe.h"

#include "base/clock.h"
#include "base/memory.h"
#include "sys/kernel.h"
#include "sys/sockets.h"

#include <errno.h>
#include <poll.h>
#include <string.h>

enum { HEAD_MAGIC = 0xb42d, COPIED_MAX = 1024 };
enum { KIND_INLINE = 1, KIND_OBJECT, KIND_LENT };

struct head {
    uint16_t magic;
    uint8_t kind;
    uint8_t fd_count; /* of the user */
    uint32_t zero;
};
_Static_assert(sizeof(struct head) == 8 && PIPE_PACKET_LEN == 8 + PIPE_INLINE_MAX + 1,
               "a packet is its head and the message");

/* From so many bytes on a message is a long one: it is worth a few more instructions to copy it
 * once less. A packet that is about an object has SHORT_MAX bytes behind its head at most. */
enum { LONG_MIN = 16 * 1024, SHORT_MAX = 64 };

static int check(const struct brood_pipe *pipe, bool to_send)
{
    if (pipe == NULL || pipe->magic != PIPE_MAGIC)
        return BROOD_EHANDLE;
    return pipe->stream || !(to_send ? pipe->sends : pipe->receives) ? -EINVAL : 0;
}

/* ---- sending ---- */

/* A message as its sender gave it. */
struct letter {
    const void *data;
    size_t len;
    const int *fds;
    unsigned fd_count;
    int object;        /* made for it, or -1 */
    struct loan *loan; /* or NULL; neither: inline */
};

/* Copying a few bytes is cheaper than a call with two parts. */
static inline __attribute__((always_inline)) int64_t send_copied(const struct brood_pipe *pipe,
                                                                 const struct letter *letter)
{
    const struct head head = {.magic = HEAD_MAGIC, .kind = KIND_INLINE};
    char packet[sizeof head + COPIED_MAX];

    memcpy(packet, &head, sizeof head);
    if (letter->len > 0)
        memcpy(packet + sizeof head, letter->data, letter->len);
    return brood__socket_send(pipe->fd, packet, sizeof head + letter->len);
}

static int64_t send_inline(const struct brood_pipe *pipe, const struct letter *letter)
{
    struct head head = {
        .magic = HEAD_MAGIC, .kind = KIND_INLINE, .fd_count = (uint8_t)letter->fd_count};
    const struct iovec parts[] = {
        {.iov_base = &head, .iov_len = sizeof head},
        {.iov_base = (void *)(uintptr_t)letter->data, .iov_len = letter->len}};

    return brood__socket_send_parts(pipe->fd, parts, 2, letter->fds, letter->fd_count);
}

static int64_t send_object(const struct brood_pipe *pipe, const struct letter *letter)
{
    struct head head = {.magic = HEAD_MAGIC,
                        .kind = letter->loan != NULL ? KIND_LENT : KIND_OBJECT,
                        .fd_count = (uint8_t)letter->fd_count};
    uint64_t len = letter->len;
    const struct iovec parts[] = {{.iov_base = &head, .iov_len = sizeof head},
                                  {.iov_base = &len, .iov_len = sizeof len}};
    int fds[2 + PIPE_FDS_MAX];
    unsigned count = 0;

    fds[count++] = letter->loan != NULL ? letter->loan->object : letter->object;
    if (letter->loan != NULL)
        fds[count++] = letter->loan->receipt;
    if (letter->fd_count > 0)
        memcpy(fds + count, letter->fds, sizeof *fds * letter->fd_count);
    return brood__socket_send_parts(pipe->fd, parts, 2, fds, count + letter->fd_count);
}

static bool is_inline(const struct letter *letter)
{
    return letter->object < 0 && letter->loan == NULL;
}

/* 0: it is in an object now. */
static int make_object(struct brood_pipe *pipe, struct letter *letter, int64_t deadline)
{
    letter->loan = brood__loan_take(&pipe->loans, letter->data, letter->len, deadline);
    if (letter->loan != NULL)
        return 0;
    letter->object = brood__memory_sealed("brood-message", letter->data, letter->len);
    return letter->object < 0 ? letter->object : 0;
}

static int64_t send_letter(const struct brood_pipe *pipe, const struct letter *letter)
{
    int64_t r = -EMSGSIZE;

    if (!is_inline(letter))
        r = send_object(pipe, letter);
    else if (letter->fd_count == 0 && letter->len <= COPIED_MAX)
        r = send_copied(pipe, letter);
    else if (letter->len <= PIPE_INLINE_MAX)
        r = send_inline(pipe, letter);
    return r;
}

/* What does not go inline, as it is long, or the socket has little room or the kernel no memory in
 * one piece, goes as an object. */
static bool needs_object(int64_t r, const struct letter *letter)
{
    return is_inline(letter) &&
           ((r == -EMSGSIZE && letter->len > 0) || (r == -ENOBUFS && letter->len >= LONG_MIN));
}

/* As send_letter(), in whatever way it goes. */
static int64_t send_somehow(struct brood_pipe *pipe, struct letter *letter, int64_t timeout_ms,
                            int64_t *deadline)
{
    int64_t r = send_letter(pipe, letter);

    if (needs_object(r, letter)) {
        if (*deadline == 0 && timeout_ms != 0)
            *deadline = deadline_in(timeout_ms);
        r = make_object(pipe, letter, *deadline);
        if (r == 0)
            r = send_letter(pipe, letter);
    }
    return r == -ENOBUFS ? -ENOMEM : r;
}

static int put(struct brood_pipe *pipe, struct letter *letter, int64_t timeout_ms)
{
    int64_t deadline = 0;
    bool late = false;

    for (;;) {
        int64_t r = send_somehow(pipe, letter, timeout_ms, &deadline);

        if (r != -EAGAIN)
            return r < 0 ? (int)r : 0;
        if (late)
            return -ETIMEDOUT;
        r = brood__pipe_await(pipe, POLLOUT, timeout_ms, &deadline);
        late = r == -ETIMEDOUT && timeout_ms != 0;
        if (r < 0 && !late)
            return (int)r;
    }
}

/* What was made for it. */
static void letter_done(struct brood_pipe *pipe, const struct letter *letter, bool sent)
{
    brood__fd_close(letter->object);
    if (letter->loan != NULL && sent)
        brood__loan_out(&pipe->loans, letter->loan);
    else if (letter->loan != NULL)
        brood__loan_back(&pipe->loans, letter->loan);
}

int brood_pipe_put_fds(brood_pipe *pipe, const void *data, size_t len, const int *fds,
                       unsigned fd_count, int64_t timeout_ms)
{
    struct letter letter = {
        .data = data, .len = len, .fds = fds, .fd_count = fd_count, .object = -1};
    int r = check(pipe, true);

    if (r < 0)
        return r;
    if ((data == NULL && len > 0) || (fds == NULL && fd_count > 0) || fd_count > PIPE_FDS_MAX)
        return -EINVAL;
    r = put(pipe, &letter, timeout_ms);
    letter_done(pipe, &letter, r == 0);
    return r;
}

/* The short way of a short message. Each return after a call into the kernel is a miss of the
 * processor's, so here are few. Whatever goes wrong goes the long way, which says what it is. */
int brood_pipe_put(brood_pipe *pipe, const void *data, size_t len, int64_t timeout_ms)
{
    const struct letter letter = {.data = data, .len = len, .object = -1};

    if (len <= COPIED_MAX && check(pipe, true) == 0 && (data != NULL || len == 0) &&
        send_copied(pipe, &letter) >= 0)
        return 0;
    return brood_pipe_put_fds(pipe, data, len, NULL, 0, timeout_ms);
}

/* ---- receiving ---- */

static void close_each(const int *fds, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        brood__fd_close(fds[i]);
}

/* Of an object: whether it is what its packet says. */
static bool object_counts(int object, uint8_t packet_kind, uint64_t len)
{
    uint64_t object_len;
    bool readonly;

    if (len == 0 || len > SIZE_MAX)
        return false;
    if (packet_kind == KIND_OBJECT)
        return brood__memory_sealed_check(object, len) == 0;
    return brood__memory_inspect(object, &object_len, &readonly) == 0 && object_len >= len;
}

/* Descriptors of ours before the user's. */
static unsigned own_fds(uint8_t packet_kind)
{
    return packet_kind == KIND_INLINE ? 0 : packet_kind == KIND_OBJECT ? 1 : 2;
}

/* As read_packet(), of a packet with this HEAD and the right descriptors. */
static int read_object_packet(struct head head, const char *bytes, const int *fds,
                              struct packet *out)
{
    uint64_t len;

    memcpy(&len, bytes + sizeof head, sizeof len);
    if (!object_counts(fds[0], head.kind, len))
        return -EPROTO;
    out->data = NULL;
    out->len = len;
    out->object = fds[0];
    out->receipt = head.kind == KIND_LENT ? fds[1] : -1;
    return 0;
}

/* What LEN bytes of a packet with COUNT descriptors are: 0 and the packet, which has them now;
 * else they are still the caller's. */
static inline int read_packet(const char *bytes, size_t len, const int *fds, unsigned count,
                              struct packet *out)
{
    struct head head;
    unsigned expected;

    if (len < sizeof head || len > sizeof head + PIPE_INLINE_MAX)
        return -EPROTO;
    memcpy(&head, bytes, sizeof head);
    if (head.magic != HEAD_MAGIC || head.zero != 0 || head.fd_count > PIPE_FDS_MAX ||
        head.kind < KIND_INLINE || head.kind > KIND_LENT)
        return -EPROTO;
    if (head.kind != KIND_INLINE && len != sizeof head + sizeof(uint64_t))
        return -EPROTO;
    expected = head.fd_count + own_fds(head.kind);
    if (count != expected)
        return count < expected ? -EMFILE : -EPROTO;
    out->data = bytes + sizeof head;
    out->len = len - sizeof head;
    out->object = out->receipt = -1;
    out->fd_count = head.fd_count;
    memcpy(out->fds, fds + (count - head.fd_count), sizeof *fds * head.fd_count);
    return head.kind == KIND_INLINE ? 0 : read_object_packet(head, bytes, fds, out);
}

/* A packet of no bytes, which no end sends, looks like the end of the pipe. */
static int judge_nothing(const struct brood_pipe *pipe)
{
    return brood__socket_at_end(pipe->fd) && brood__socket_pending(pipe->fd) <= 0 ? 0 : -EPROTO;
}

/* Where a message goes. */
struct target {
    void *data; /* SIZE bytes there */
    size_t size;
    size_t *out_len;
    brood_message *message; /* or this */
    int *fds;
    unsigned *inout_count;
};

/* As receive_parts(), with the bytes of a long message to where they are to go in the end, if they
 * fit there; *OUT_THERE says so. All else is in the buffer, as ever. */
static int64_t receive_there(struct brood_pipe *pipe, const struct target *target, int *fds,
                             unsigned *inout_count, bool *out_there)
{
    char *bytes = pipe->buffer + PIPE_LEAD + sizeof(struct head);
    const size_t direct = target->size < PIPE_INLINE_MAX ? target->size : PIPE_INLINE_MAX;
    struct iovec parts[] = {{.iov_base = pipe->buffer + PIPE_LEAD, .iov_len = sizeof(struct head)},
                            {.iov_base = target->data, .iov_len = direct},
                            {.iov_base = bytes + direct, .iov_len = PIPE_INLINE_MAX + 1 - direct}};
    int64_t len = brood__socket_receive_parts(pipe->fd, parts, 3, fds, inout_count, false);
    size_t message_len = len > (int64_t)sizeof(struct head) ? (size_t)len - sizeof(struct head) : 0;

    *out_there = message_len > SHORT_MAX && message_len <= direct;
    if (!*out_there)
        memcpy(bytes, target->data, message_len < direct ? message_len : direct);
    return len;
}

/* Locked. 1 and the next message, in pipe->packet; 0 at the end; -EAGAIN. */
static inline int receive(struct brood_pipe *pipe, const struct target *target)
{
    struct iovec part = {.iov_base = pipe->buffer + PIPE_LEAD, .iov_len = PIPE_PACKET_LEN};
    int fds[SOCKET_FDS_MAX];
    unsigned count = SOCKET_FDS_MAX;
    bool there = false;
    int64_t len;
    int r;

    if (brood__pipe_has_packet(pipe))
        return 1;
    brood__pipe_close_copy(pipe);
    if (pipe->long_before && target->data != NULL && target->size >= LONG_MIN)
        len = receive_there(pipe, target, fds, &count, &there);
    else
        len = brood__socket_receive_parts(pipe->fd, &part, 1, fds, &count, false);
    if (len < 0)
        return (int)len;
    if (len == 0 && count == 0)
        return judge_nothing(pipe);
    r = read_packet(pipe->buffer + PIPE_LEAD, (size_t)len, fds, count, &pipe->packet);
    if (r < 0) {
        close_each(fds, count);
        return r;
    }
    if (there)
        pipe->packet.data = target->data;
    pipe->long_before = len >= LONG_MIN;
    return 1;
}

static int read_object(int object, char *data, size_t len)
{
    size_t done = 0;

    while (done < len) {
        int64_t r = brood__fd_read_at(object, data + done, len - done, done);

        if (r <= 0)
            return r < 0 ? (int)r : -EIO;
        done += (size_t)r;
    }
    return 0;
}

static inline int copy_out(const struct packet *packet, const struct target *target)
{
    int r = 0;

    if (packet->len > target->size)
        return -EMSGSIZE;
    if (packet->object >= 0)
        r = read_object(packet->object, target->data, packet->len);
    else if (packet->len > 0 && packet->data != target->data)
        memcpy(target->data, packet->data, packet->len);
    if (r == 0 && target->out_len != NULL)
        *target->out_len = packet->len;
    return r;
}

/* reserved[1]: the length of the mapping, or 0; reserved[2] then: the memory of the allocator. */
static void pipe_message_done(brood_message *message)
{
    if (message->reserved[1] != 0)
        brood__memory_unmap(message->data, message->reserved[1]);
    else
        brood__free((void *)(uintptr_t)message->reserved[2]);
}

static const struct message_kind kind = {.done = pipe_message_done, .give_back = pipe_message_done};

static int map_message(const struct packet *packet, brood_message *message)
{
    int r = brood__memory_map_copy(&message->data, packet->object, packet->len);

    if (r == 0)
        message->reserved[1] = packet->len;
    return r;
}

static int copy_message(const struct packet *packet, brood_message *message)
{
    void *data = brood__alloc(packet->len);
    const struct target target = {.data = data, .size = packet->len};
    int r = data == NULL ? -ENOMEM : copy_out(packet, &target);

    if (r < 0) {
        brood__free(data);
        return r;
    }
    message->data = data;
    message->reserved[2] = (uintptr_t)data;
    return 0;
}

/* The end gets a new buffer, and the message the old one. */
static int give_buffer(struct brood_pipe *pipe, brood_message *message)
{
    char *buffer = brood__alloc(PIPE_LEAD + PIPE_PACKET_LEN);

    if (buffer == NULL)
        return -ENOMEM;
    message->data = pipe->buffer + PIPE_LEAD + sizeof(struct head);
    message->reserved[2] = (uintptr_t)pipe->buffer;
    pipe->buffer = buffer;
    return 0;
}

static int make_message(struct brood_pipe *pipe, brood_message *out_message)
{
    const struct packet *packet = &pipe->packet;
    brood_message message = {.len = packet->len, .reserved = {(uintptr_t)&kind, 0, 0, 0}};
    int r;

    if (packet->object >= 0 && packet->receipt < 0)
        r = map_message(packet, &message);
    else if (packet->object < 0 && packet->len >= PIPE_INLINE_MAX / 4)
        r = give_buffer(pipe, &message);
    else
        r = copy_message(packet, &message);
    if (r == 0)
        *out_message = message;
    return r;
}

static inline void hand_over_fds(const struct packet *packet, const struct target *target)
{
    unsigned room = target->fds == NULL ? 0 : *target->inout_count;
    unsigned count = packet->fd_count < room ? packet->fd_count : room;

    if (count > 0)
        memcpy(target->fds, packet->fds, sizeof *packet->fds * count);
    close_each(packet->fds + count, packet->fd_count - count);
    if (target->fds != NULL)
        *target->inout_count = count;
    brood__fd_close(packet->object);
    brood__fd_close(packet->receipt);
}

/* Locked. As get: without waiting. */
static inline int try_get(struct brood_pipe *pipe, const struct target *target)
{
    bool kept = brood__pipe_has_packet(pipe);
    int r = receive(pipe, target);

    if (r <= 0)
        return r;
    r = target->message != NULL ? make_message(pipe, target->message)
                                : copy_out(&pipe->packet, target);
    if (r < 0) {
        if (!kept)
            brood__pipe_keep_packet(pipe);
        return r;
    }
    /* First: a fork beside us copies a message that is nobody's then, and not the numbers of
     * descriptors that are closed already, or the user's. */
    if (kept)
        brood__pipe_forget_packet(pipe);
    hand_over_fds(&pipe->packet, target);
    return 1;
}

static inline int get(struct brood_pipe *pipe, const struct target *target, int64_t timeout_ms)
{
    int64_t deadline = 0;
    bool late = false;
    int r;

    for (;;) {
        brood__pipe_lock(pipe);
        r = try_get(pipe, target);
        brood__pipe_unlock(pipe);
        if (r != -EAGAIN)
            return r;
        if (late)
            return -ETIMEDOUT;
        r = brood__pipe_await_message(pipe, timeout_ms, &deadline);
        late = r == -ETIMEDOUT && timeout_ms != 0;
        if (r < 0 && !late)
            return r;
    }
}

int brood_pipe_get(brood_pipe *pipe, void *data, size_t size, size_t *out_len, int64_t timeout_ms)
{
    const struct target target = {.data = data, .size = size, .out_len = out_len};
    int r = check(pipe, false);

    if (r < 0)
        return r;
    if (data == NULL && size > 0)
        return -EINVAL;
    return get(pipe, &target, timeout_ms);
}

int brood_pipe_take(brood_pipe *pipe, int64_t timeout_ms, brood_message *out_message)
{
    const struct target target = {.message = out_message};
    int r = check(pipe, false);

    if (r < 0)
        return r;
    return out_message == NULL ? -EINVAL : get(pipe, &target, timeout_ms);
}

int brood_pipe_take_fds(brood_pipe *pipe, int64_t timeout_ms, brood_message *out_message, int *fds,
                        unsigned *inout_count)
{
    const struct target target = {.message = out_message, .fds = fds, .inout_count = inout_count};
    int r = check(pipe, false);

    if (r < 0)
        return r;
    if (out_message == NULL || inout_count == NULL || (fds == NULL && *inout_count > 0))
        return -EINVAL;
    r = get(pipe, &target, timeout_ms);
    if (r == 0 || (r == 1 && fds == NULL))
        *inout_count = 0;
    return r;
}
