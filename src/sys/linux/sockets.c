/* SPDX-License-Identifier: MIT */
/*
 * Unix sockets, once for each call: see sys/sockets.h.
 *
 * What Linux does that is not in its man pages, and that this file is about:
 *   - A message socket whose peer closed with unread messages reports ECONNRESET once, before it
 *     hands out what had been sent. So ECONNRESET is no end: the call is made again. On a channel
 *     it is one: a peer of ours that leaves messages unread has failed, and nobody wants its last.
 *   - Descriptors that a receiver has no room for are dropped, and the bytes are delivered all the
 *     same. Who must not lose them peeks first: peeking installs copies.
 *   - A message of no bytes and the end look alike to a receiver; see brood__socket_at_end().
 *
 * Keeps no state. A death leaves nothing: sockets are the kernel's.
 */
#include "sys/sockets.h"

#include "base/clock.h"
#include "sys/kernel.h"
#include "sys/linux/call.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#endif

enum { BACKLOG = 64, BLOCK_LEN = 512 };

/* ---- ends ---- */

/* ENDS, above the standard streams. */
static int give_ends(int ends[2], int out_ends[2])
{
    ends[0] = above_standard(ends[0]);
    ends[1] = above_standard(ends[1]);
    if (ends[0] < 0 || ends[1] < 0) {
        int r = ends[0] < 0 ? ends[0] : ends[1];

        brood__fd_close(ends[0]);
        brood__fd_close(ends[1]);
        return r;
    }
    out_ends[0] = ends[0];
    out_ends[1] = ends[1];
    return 0;
}

static int make_pair(int type, int out_ends[2])
{
    int ends[2];
    int r = (int)checked(socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, ends));

    return r < 0 ? r : give_ends(ends, out_ends);
}

int brood__socket_pair(bool stream, int out_ends[2])
{
    FAIL_IF_ASKED("socketpair");
    return make_pair(stream ? SOCK_STREAM : SOCK_SEQPACKET, out_ends);
}

void brood__socket_make_room(int fd, int size)
{
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
}

int brood__socket_is_stream(int fd)
{
    int domain = 0, type = 0, listens = 0;
    socklen_t len = sizeof(int);

    if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) < 0 || domain != AF_UNIX ||
        getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) < 0 ||
        getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &len) < 0 || listens != 0)
        return -EPROTO;
    if (type != SOCK_STREAM && type != SOCK_SEQPACKET)
        return -EPROTO;
    return type == SOCK_STREAM;
}

int64_t brood__socket_pending(int fd)
{
    int len = 0;

    return ioctl(fd, FIONREAD, &len) < 0 ? -errno : len;
}

void brood__socket_refuse(int fd)
{
    (void)shutdown(fd, SHUT_RD);
}

bool brood__socket_at_end(int fd)
{
    struct pollfd waited = {.fd = fd, .events = POLLRDHUP};

    return RETRY(poll(&waited, 1, 0)) > 0 && (waited.revents & (POLLRDHUP | POLLHUP)) != 0;
}

/* ---- descriptors that travel with a message ---- */

union control {
    struct cmsghdr align;
    char space[CMSG_SPACE(sizeof(int) * SOCKET_FDS_MAX)];
};

/* FDS go with MESSAGE, SOCKET_FDS_MAX at most; CONTROL is where they are until it is sent. */
static void attach(struct msghdr *message, union control *control, const int *fds, unsigned count)
{
    struct cmsghdr *header;

    if (count == 0)
        return;
    memset(control, 0, sizeof *control);
    message->msg_control = control->space;
    message->msg_controllen = CMSG_SPACE(sizeof(int) * count);
    header = CMSG_FIRSTHDR(message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int) * count);
    memcpy(CMSG_DATA(header), fds, sizeof(int) * count);
}

/* A descriptor of the sender's process, which the kernel adds if the maker of this socket asked for
 * it (SO_PASSPIDFD, of Linux 6.5). */
#define SCM_PROCESS 4

/* The descriptors of a MESSAGE that was received: as many as there is room for, the others are
 * closed. */
static unsigned take_descriptors(struct msghdr *message, int *fds, unsigned room)
{
    unsigned count = 0;

    for (struct cmsghdr *h = CMSG_FIRSTHDR(message); h != NULL; h = CMSG_NXTHDR(message, h)) {
        size_t n = (h->cmsg_len - CMSG_LEN(0)) / sizeof(int);

        if (h->cmsg_level != SOL_SOCKET ||
            (h->cmsg_type != SCM_RIGHTS && h->cmsg_type != SCM_PROCESS))
            continue;
        for (size_t i = 0; i < n; i++) {
            int fd;

            memcpy(&fd, CMSG_DATA(h) + i * sizeof fd, sizeof fd);
            fd = above_standard(fd);
            if (count < room && fd >= 0 && h->cmsg_type == SCM_RIGHTS)
                fds[count++] = fd;
            else
                brood__fd_close(fd);
        }
    }
    return count;
}

/* ---- messages and bytes ---- */

static int64_t judge_sent(int64_t r)
{
    return r == -ECONNRESET || r == -ENOTCONN ? -EPIPE : r;
}

int64_t brood__socket_send(int fd, const void *data, size_t len)
{
    FAIL_IF_ASKED("sendmsg");
    return judge_sent(RETRY(send(fd, data, len, MSG_NOSIGNAL | MSG_DONTWAIT)));
}

int64_t brood__socket_send_parts(int fd, const struct iovec *parts, unsigned part_count,
                                 const int *fds, unsigned fd_count)
{
    struct msghdr message = {.msg_iov = (struct iovec *)(uintptr_t)parts, .msg_iovlen = part_count};
    union control control;

    FAIL_IF_ASKED("sendmsg");
    if (fd_count > SOCKET_FDS_MAX)
        return -EINVAL;
    attach(&message, &control, fds, fd_count);
    return judge_sent(RETRY(sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT)));
}

static int64_t receive(int fd, void *data, size_t size, int flags)
{
    int64_t r;

    do
        r = RETRY(recv(fd, data, size, MSG_DONTWAIT | flags));
    while (r == -ECONNRESET); /* reported once */
    return r;
}

int64_t brood__socket_receive(int fd, void *data, size_t size)
{
    FAIL_IF_ASKED("recvmsg");
    return receive(fd, data, size, 0);
}

int64_t brood__socket_peek(int fd, void *data, size_t size)
{
    FAIL_IF_ASKED("recvmsg");
    return receive(fd, data, size, MSG_PEEK | MSG_TRUNC);
}

int64_t brood__socket_receive_parts(int fd, struct iovec *parts, unsigned part_count, int *fds,
                                    unsigned *inout_count, bool peek)
{
    int flags = MSG_CMSG_CLOEXEC | MSG_DONTWAIT | (peek ? MSG_PEEK : 0);
    union control control;
    struct msghdr message;
    int64_t r;

    FAIL_IF_ASKED("recvmsg");
    do {
        message = (struct msghdr){.msg_iov = parts,
                                  .msg_iovlen = part_count,
                                  .msg_control = control.space,
                                  .msg_controllen = sizeof control.space};
        r = RETRY(recvmsg(fd, &message, flags));
    } while (r == -ECONNRESET);
    if (r < 0)
        return r;
    *inout_count = take_descriptors(&message, fds, *inout_count);
    return r;
}

/* ---- channels ---- */

int brood__channel_new(int out_ends[2])
{
    FAIL_IF_ASKED("socketpair");
    return make_pair(SOCK_SEQPACKET, out_ends);
}

int brood__channel_send(int fd, const void *data, size_t len, const int *fds, unsigned fd_count,
                        bool wait)
{
    struct iovec part = {.iov_base = (void *)(uintptr_t)data, .iov_len = len};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    union control control;
    int64_t r;

    FAIL_IF_ASKED("sendmsg");
    if (fd_count > CHANNEL_FDS_MAX)
        return -EINVAL;
    attach(&message, &control, fds, fd_count);
    r = judge_sent(RETRY(sendmsg(fd, &message, MSG_NOSIGNAL | (wait ? 0 : MSG_DONTWAIT))));
    return r < 0 ? (int)r : 0;
}

int64_t brood__channel_receive(int fd, void *data, size_t size, int *fds, unsigned *inout_count,
                               bool wait)
{
    union control control;
    struct iovec part = {.iov_base = data, .iov_len = size};
    struct msghdr message = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = control.space,
                             .msg_controllen = CMSG_SPACE(sizeof(int) * CHANNEL_FDS_MAX)};
    unsigned room = inout_count == NULL ? 0 : *inout_count;
    unsigned count;
    int64_t r;

    FAIL_IF_ASKED("recvmsg");
    r = RETRY(recvmsg(fd, &message, MSG_CMSG_CLOEXEC | (wait ? 0 : MSG_DONTWAIT)));
    if (r == -ECONNRESET) {
        r = 0;
        message.msg_controllen = 0; /* a call that failed leaves the length of the room there */
    }
    if (r < 0)
        return r;
    count = take_descriptors(&message, fds, room);
    if (message.msg_flags & MSG_TRUNC) {
        while (count > 0) {
            count--;
            fds[count] = brood__fd_close(fds[count]);
        }
        r = -EMSGSIZE;
    }
    if (inout_count != NULL)
        *inout_count = count;
    return r;
}

void brood__channel_shutdown(int fd)
{
    (void)shutdown(fd, SHUT_RDWR);
}

void brood__channel_finish(int fd)
{
    (void)shutdown(fd, SHUT_WR);
}

/* ---- names ---- */

static socklen_t make_address(const char *name, struct sockaddr_un *out)
{
    size_t len = strlen(name);

    *out = (struct sockaddr_un){.sun_family = AF_UNIX};
    if (len > sizeof out->sun_path - 1)
        len = sizeof out->sun_path - 1;
    memcpy(out->sun_path + 1, name, len);
    return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + len);
}

static int new_socket(int flags)
{
    return above_standard((int)checked(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | flags, 0)));
}

int brood__socket_listen(const char *name)
{
    struct sockaddr_un address;
    socklen_t len = make_address(name, &address);
    int fd, r;

    FAIL_IF_ASKED("socket");
    fd = new_socket(SOCK_NONBLOCK);
    if (fd < 0)
        return fd;
    r = (int)checked(bind(fd, (const struct sockaddr *)&address, len));
    if (r == 0)
        r = (int)checked(listen(fd, BACKLOG));
    if (r < 0) {
        brood__fd_close(fd);
        return r;
    }
    return fd;
}

/* A full backlog makes connect() sleep for the time to send. A time of 0 would be no limit. */
static int connect_by(int fd, const struct sockaddr_un *address, socklen_t len, int64_t deadline)
{
    int r;

    do {
        int64_t left = left_ns(deadline);
        struct timeval t = {.tv_sec = (time_t)(left / 1000000000),
                            .tv_usec = (suseconds_t)(left % 1000000000 / 1000)};

        if (t.tv_sec == 0 && t.tv_usec == 0)
            t.tv_usec = 1;
        if (setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &t, sizeof t) < 0)
            return -errno;
        r = (int)checked(connect(fd, (const struct sockaddr *)address, len));
    } while (r == -EINTR);
    return r == -EAGAIN ? -ETIMEDOUT : r;
}

int brood__socket_connect(const char *name, int64_t deadline)
{
    struct sockaddr_un address;
    socklen_t len = make_address(name, &address);
    int fd, r;

    FAIL_IF_ASKED("socket");
    fd = new_socket(0);
    if (fd < 0)
        return fd;
    r = connect_by(fd, &address, len, deadline);
    if (r < 0) {
        brood__fd_close(fd);
        return r;
    }
    return fd;
}

int brood__socket_accept(int fd)
{
    FAIL_IF_ASKED("accept");
    return above_standard((int)RETRY(accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK)));
}

int brood__socket_user(int fd, uid_t *out_user)
{
    struct ucred user;
    socklen_t len = sizeof user;

    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &user, &len) < 0)
        return -errno;
    *out_user = user.uid;
    return 0;
}

/* ---- waiting for many descriptors ---- */

int brood__poller_new(void)
{
    FAIL_IF_ASKED("epoll_create");
    return above_standard((int)checked(epoll_create1(EPOLL_CLOEXEC)));
}

static int add(int poller, int fd, uint64_t key, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.u64 = key};

    FAIL_IF_ASKED("epoll_ctl");
    return (int)checked(epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event));
}

int brood__poller_add(int poller, int fd, uint64_t key)
{
    return add(poller, fd, key, EPOLLIN);
}

int brood__poller_add_writable(int poller, int fd, uint64_t key)
{
    return add(poller, fd, key, EPOLLOUT);
}

void brood__poller_remove(int poller, int fd)
{
    struct epoll_event ignored = {0};

    (void)epoll_ctl(poller, EPOLL_CTL_DEL, fd, &ignored);
}

int brood__poller_wait(int poller, uint64_t *keys, unsigned count)
{
    enum { EVENTS = 16 };
    struct epoll_event events[EVENTS];
    int r;

    FAIL_IF_ASKED("epoll_wait");
    r = (int)RETRY(epoll_wait(poller, events, count < EVENTS ? (int)count : EVENTS, -1));
    for (int i = 0; i < r; i++)
        keys[i] = events[i].data.u64;
    return r;
}

/* ---- large messages ---- */

static int write_all(int fd, const char *data, size_t len)
{
    while (len > 0) {
        int64_t r = RETRY(write(fd, data, len));

        if (r <= 0) /* a full file system may tell by a short count, and then by an error */
            return r == 0 || r == -ENOSPC ? -ENOMEM : (int)r;
        data += r;
        len -= (size_t)r;
    }
    return 0;
}

int brood__memory_sealed(const char *name, const void *data, size_t len)
{
    struct rlimit limit;
    int fd, r;

    FAIL_IF_ASKED("memfd_create");
    /* Over this limit write() would not only fail but send SIGXFSZ. */
    if (getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY &&
        limit.rlim_cur < len)
        return -EFBIG;
    fd = (int)checked(memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL));
    if (fd == -EINVAL) /* before Linux 6.3 */
        fd = (int)checked(memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING));
    fd = above_standard(fd);
    if (fd < 0)
        return fd;
    r = write_all(fd, data, len);
    if (r == 0)
        r = (int)checked(
            fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL));
    if (r < 0) {
        brood__fd_close(fd);
        return r;
    }
    return fd;
}

int brood__memory_sealed_check(int fd, uint64_t len)
{
    const int needed = F_SEAL_WRITE | F_SEAL_SHRINK;
    struct stat status;
    int seals = fcntl(fd, F_GET_SEALS);

    if (seals < 0 || (seals & needed) != needed || fstat(fd, &status) < 0)
        return -EPROTO;
    /* A hole is filled when it is first read, and if it cannot be, by a SIGBUS. Pages may also lie
     * beyond the end, where they fill no hole but count as blocks; so the kernel is asked for the
     * first hole, which is the end. That moves the offset of the object, which nobody uses. */
    if ((uint64_t)status.st_size != len || (uint64_t)status.st_blocks < len / BLOCK_LEN ||
        lseek(fd, 0, SEEK_HOLE) < (off_t)len || !brood__memory_is_plain(fd))
        return -EPROTO;
    return 0;
}

int brood__receipt_new(int out_ends[2])
{
    int ends[2];
    int r;

    FAIL_IF_ASKED("pipe");
    r = (int)checked(pipe2(ends, O_CLOEXEC | O_NONBLOCK));
    return r < 0 ? r : give_ends(ends, out_ends);
}

/* ---- others ---- */

int brood__random(void *out, size_t len)
{
    FAIL_IF_ASKED("getrandom");
    return RETRY(getrandom(out, len, 0)) == (int64_t)len ? 0 : -EIO;
}
