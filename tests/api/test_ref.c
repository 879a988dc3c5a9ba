/* SPDX-License-Identifier: MIT */
/*
 * Refs sent over a socket: the receiver can open what was sent, whoever lives then, and whatever
 * else comes over the socket costs it nothing: no crash, no descriptor, no waiting past its time.
 */
#include "harness/gate.h"
#include "harness/sweep.h"
#include "harness/test.h"

#include <brood/pipe.h>
#include <brood/queue.h>
#include <brood/region.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static const int kinds[] = {SOCK_STREAM, SOCK_SEQPACKET};
enum { KINDS = sizeof kinds / sizeof kinds[0], RECORD = 24 };
/* The second word of the ref of a pipe's end that sends. */
#define PIPES_WORD UINT64_C(0x7069706500000001)

static void connect_pair(int kind, int ends[2])
{
    CHECK_OK(socketpair(AF_UNIX, kind | SOCK_CLOEXEC, 0, ends));
}

static void close_pair(const int ends[2])
{
    CHECK_OK(close(ends[0]));
    CHECK_OK(close(ends[1]));
}

static brood_region *region_with(const char *text, brood_ref *out_ref)
{
    brood_region *region = NULL;
    char *memory;

    CHECK_OK(brood_region_new(&region, &(brood_region_options){.size_max = 1 << 20}));
    memory = brood_region_alloc(region, 100);
    CHECK(memory != NULL);
    memcpy(memory, text, strlen(text) + 1);
    *out_ref = brood_region_ref(region, memory);
    CHECK(out_ref->word[0] != 0);
    return region;
}

/* ---- what is sent arrives ---- */

/* Sends from a process that ends before anybody has opened the ref. */
static void send_and_end(int socket)
{
    pid_t pid = CHECK_OK(fork());
    int status = 0;
    brood_ref ref;

    if (pid == 0) {
        (void)region_with("by mail", &ref);
        CHECK_OK(brood_ref_send(socket, ref, TEST_PATIENCE_MS));
        CHECK_OK(brood_ref_send(socket, ref, TEST_PATIENCE_MS));
        _exit(0);
    }
    CHECK_OK(waitpid(pid, &status, 0));
    CHECK_EQ(status, 0);
}

TEST(what_was_received_can_be_opened_when_the_sender_is_dead)
{
    for (unsigned i = 0; i < KINDS; i++) {
        brood_region *region = NULL;
        brood_ref ref = {{0, 0}}, again = {{0, 0}};
        int ends[2];

        connect_pair(kinds[i], ends);
        send_and_end(ends[0]);
        CHECK_EQ(brood_ref_receive(ends[1], &ref, TEST_PATIENCE_MS), 1);
        CHECK_EQ(brood_ref_receive(ends[1], &again, TEST_PATIENCE_MS), 1);
        CHECK(memcmp(&ref, &again, sizeof ref) == 0);
        CHECK_OK(brood_region_open(&region, ref));
        CHECK_STR(brood_region_at(region, ref), "by mail");
        brood_region_free(region);
        CHECK_OK(brood_region_open(&region, again));
        CHECK_STR(brood_region_at(region, ref), "by mail");
        brood_region_free(region);
        /* It was received and opened twice, and nobody serves it. */
        CHECK_ERR(brood_region_open(&region, ref), BROOD_EREF);
        close_pair(ends);
    }
}

TEST(a_ref_can_be_passed_on_by_who_received_it)
{
    brood_region *region = NULL;
    brood_ref ref;
    int ends[2];

    connect_pair(SOCK_STREAM, ends);
    send_and_end(ends[0]);
    CHECK_EQ(brood_ref_receive(ends[1], &ref, TEST_PATIENCE_MS), 1);
    CHECK_OK(brood_ref_send(ends[1], ref, TEST_PATIENCE_MS));
    CHECK_EQ(brood_ref_receive(ends[0], &ref, TEST_PATIENCE_MS), 1);
    for (int i = 0; i < 2; i++) { /* received twice, and to be opened as often */
        CHECK_OK(brood_region_open(&region, ref));
        CHECK_STR(brood_region_at(region, ref), "by mail");
        brood_region_free(region);
    }
    CHECK_ERR(brood_region_open(&region, ref), BROOD_EREF);
    /* The second copy, unread, goes with the socket. */
    close_pair(ends);
}

TEST(what_was_received_stays_until_an_open_succeeds)
{
    brood_region *region = NULL;
    brood_queue *queue = NULL;
    brood_pipe *pipe = NULL;
    brood_ref ref;
    int ends[2];

    connect_pair(SOCK_STREAM, ends);
    send_and_end(ends[0]);
    CHECK_EQ(brood_ref_receive(ends[1], &ref, TEST_PATIENCE_MS), 1);
    close_pair(ends);
    for (int i = 0; i < 2; i++) {
        CHECK_ERR(brood_queue_open(&queue, ref), -EINVAL);
        CHECK_ERR(brood_pipe_open(&pipe, ref), -EINVAL);
        CHECK_ERR(brood_region_open(&region, (brood_ref){{ref.word[0], PIPES_WORD}}), -EINVAL);
        CHECK_ERR(brood_region_open(&region, (brood_ref){{ref.word[0], 1}}), -EINVAL);
    }
    CHECK_OK(brood_region_open(&region, ref));
    CHECK_STR(brood_region_at(region, ref), "by mail");
    brood_region_free(region);
    CHECK_ERR(brood_region_open(&region, ref), BROOD_EREF);
}

TEST(a_ref_that_only_looks_like_a_pipes_keeps_no_region)
{
    brood_ref ref;
    brood_region *region = region_with("here", &ref), *again = NULL;

    CHECK_ERR(brood_region_open(&again, (brood_ref){{ref.word[0], PIPES_WORD}}), -EINVAL);
    brood_region_free(region);
    CHECK_ERR(brood_region_open(&again, ref), BROOD_EREF);
}

/* ---- a fork meanwhile ---- */

struct sending {
    int socket;
    brood_ref ref;
    _Atomic int sent;
};

/* Fills the socket, and then waits for room in it until the other end goes. */
static void *send_for_ever(void *context)
{
    struct sending *sending = context;
    int r;

    while ((r = brood_ref_send(sending->socket, sending->ref, 0)) == 0)
        sending->sent++;
    sending->sent = -1;
    r = brood_ref_send(sending->socket, sending->ref, BROOD_FOREVER);
    CHECK(r == -EPIPE || r == -ETOOMANYREFS);
    return NULL;
}

static void free_in_a_child(brood_region *region, brood_ref ref)
{
    void *memory = brood_region_at(region, ref);
    pid_t pid = CHECK_OK(fork());
    int status = 0;

    if (pid == 0) {
        CHECK_OK(msync((void *)((uintptr_t)memory & ~(uintptr_t)4095), 1, MS_ASYNC));
        brood_region_free(region);
        CHECK(msync((void *)((uintptr_t)memory & ~(uintptr_t)4095), 1, MS_ASYNC) < 0);
        CHECK_EQ(errno, ENOMEM);
        _exit(0);
    }
    CHECK_OK(waitpid(pid, &status, 0));
    CHECK_EQ(status, 0);
}

TEST(a_call_of_another_thread_keeps_no_region_in_a_forked_child)
{
    struct sending sending;
    brood_region *region = region_with("here", &sending.ref);
    pthread_t thread;
    int ends[2];

    connect_pair(SOCK_SEQPACKET, ends);
    sending.socket = ends[0];
    sending.sent = 0;
    CHECK_EQ(pthread_create(&thread, NULL, send_for_ever, &sending), 0);
    while (sending.sent >= 0)
        (void)sched_yield();
    for (int i = 0; i < 20; i++)
        free_in_a_child(region, sending.ref);
    CHECK_OK(shutdown(ends[1], SHUT_RDWR));
    CHECK_EQ(pthread_join(thread, NULL), 0);
    close_pair(ends);
    brood_region_free(region);
}

/* ---- what cannot be sent ---- */

TEST(what_cannot_be_sent_is_refused)
{
    brood_ref ref, wrong;
    brood_region *region = region_with("here", &ref);
    int ends[2];

    connect_pair(SOCK_STREAM, ends);
    CHECK_ERR(brood_ref_send(ends[0], (brood_ref){{0, 0}}, 0), BROOD_EREF);
    CHECK_ERR(brood_ref_send(ends[0], (brood_ref){{ref.word[0] ^ 1, ref.word[1]}}, 0), BROOD_EREF);
    wrong = (brood_ref){{ref.word[0], UINT64_MAX}};
    CHECK_ERR(brood_ref_send(ends[0], wrong, 0), -EINVAL);
    wrong = (brood_ref){{ref.word[0] ^ 1, PIPES_WORD}};
    CHECK_ERR(brood_ref_send(ends[0], wrong, 0), -EINVAL);
    CHECK_ERR(brood_ref_send(-1, ref, 0), -EINVAL);
    CHECK_ERR(brood_ref_receive(-1, &ref, 0), -EINVAL);
    CHECK_ERR(brood_ref_receive(ends[0], NULL, 0), -EINVAL);
    CHECK_OK(close(ends[1]));
    CHECK_ERR(brood_ref_send(ends[0], ref, 0), -EPIPE);
    CHECK_OK(close(ends[0]));
    CHECK_OK(pipe2(ends, O_CLOEXEC));
    CHECK_ERR(brood_ref_send(ends[1], ref, 0), -EINVAL);
    CHECK_ERR(brood_ref_receive(ends[0], &wrong, 0), -EINVAL);
    close_pair(ends);
    brood_region_free(region);
}

TEST(a_socket_that_takes_no_more_times_out)
{
    brood_ref ref;
    brood_region *region = region_with("here", &ref);

    for (unsigned i = 0; i < KINDS; i++) {
        int ends[2];
        int r;

        connect_pair(kinds[i], ends);
        do
            r = brood_ref_send(ends[0], ref, 0);
        while (r == 0);
        CHECK(r == -ETIMEDOUT || r == -ETOOMANYREFS);
        if (r == -ETIMEDOUT)
            CHECK_ERR(brood_ref_send(ends[0], ref, 20), -ETIMEDOUT);
        close_pair(ends);
    }
    brood_region_free(region);
}

/* ---- what else may come ---- */

static void send_raw(int socket, const void *data, size_t len, const int *fds, unsigned fd_count)
{
    union {
        struct cmsghdr align;
        char space[CMSG_SPACE(sizeof(int) * 8)];
    } control = {0};
    struct iovec part = {.iov_base = (void *)(uintptr_t)data, .iov_len = len};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    struct cmsghdr *header;

    if (fd_count > 0) {
        message.msg_control = control.space;
        message.msg_controllen = CMSG_SPACE(sizeof(int) * fd_count);
        header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(sizeof(int) * fd_count);
        memcpy(CMSG_DATA(header), fds, sizeof(int) * fd_count);
    }
    CHECK_EQ(sendmsg(socket, &message, MSG_NOSIGNAL), len);
}

/* A record as it goes over the wire, and the descriptor beside it, taken from a socket. */
static int capture(brood_ref ref, unsigned char record[RECORD])
{
    union {
        struct cmsghdr align;
        char space[CMSG_SPACE(sizeof(int))];
    } control;
    struct iovec part = {.iov_base = record, .iov_len = RECORD};
    struct msghdr message = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = control.space,
                             .msg_controllen = sizeof control.space};
    int ends[2];
    int fd;

    connect_pair(SOCK_SEQPACKET, ends);
    CHECK_OK(brood_ref_send(ends[0], ref, TEST_PATIENCE_MS));
    CHECK_EQ(recvmsg(ends[1], &message, MSG_CMSG_CLOEXEC), RECORD);
    CHECK(CMSG_FIRSTHDR(&message) != NULL);
    memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof fd);
    close_pair(ends);
    return fd;
}

static int receive_raw(int kind, const void *data, size_t len, const int *fds, unsigned fd_count)
{
    brood_ref ref = {{7, 7}};
    int ends[2];
    int r;

    connect_pair(kind, ends);
    if (len > 0)
        send_raw(ends[0], data, len, fds, fd_count);
    CHECK_OK(close(ends[0]));
    r = brood_ref_receive(ends[1], &ref, TEST_PATIENCE_MS);
    CHECK_OK(close(ends[1]));
    if (r <= 0)
        CHECK(ref.word[0] == 7 && ref.word[1] == 7);
    return r;
}

TEST(what_is_no_ref_is_refused_and_its_descriptors_closed)
{
    unsigned char record[RECORD + 40] = {0};
    brood_ref ref;
    brood_region *region = region_with("here", &ref);
    int object = capture(ref, record);
    int other = CHECK_OK(open("/dev/null", O_RDONLY | O_CLOEXEC));
    const int fds[] = {object, other, other};

    for (unsigned i = 0; i < KINDS; i++) {
        CHECK_EQ(receive_raw(kinds[i], "", 0, NULL, 0), 0);
        CHECK_ERR(receive_raw(kinds[i], "hello", 5, NULL, 0), -EPROTO);
        CHECK_ERR(receive_raw(kinds[i], record, RECORD - 1, &object, 1), -EPROTO);
        CHECK_ERR(receive_raw(kinds[i], record, RECORD, NULL, 0), -EPROTO);
        CHECK_ERR(receive_raw(kinds[i], record, RECORD, &other, 1), -EPROTO);
        record[3] ^= 1;
        CHECK_ERR(receive_raw(kinds[i], record, RECORD, &object, 1), -EPROTO);
        record[3] ^= 1;
        record[8] ^= 1; /* another number than that of the object */
        CHECK_ERR(receive_raw(kinds[i], record, RECORD, &object, 1), -EPROTO);
        record[8] ^= 1;
        record[23] ^= 1; /* a place far outside */
        CHECK_ERR(receive_raw(kinds[i], record, RECORD, &object, 1), -EPROTO);
        record[23] ^= 1;
        /* More descriptors than one: those are superfluous, and closed. */
        CHECK_EQ(receive_raw(kinds[i], record, RECORD, fds, 3), 1);
    }
    CHECK_ERR(receive_raw(SOCK_SEQPACKET, record, RECORD + 40, &object, 1), -EPROTO);
    CHECK_OK(close(object));
    CHECK_OK(close(other));
    brood_region_free(region);
    for (unsigned i = 0; i < KINDS; i++) { /* what was received is parked */
        CHECK_OK(brood_region_open(&region, ref));
        brood_region_free(region);
    }
}

TEST(a_record_that_comes_in_parts_is_put_together)
{
    unsigned char record[RECORD];
    brood_ref ref, received = {{0, 0}};
    brood_region *region = region_with("here", &ref);
    int object = capture(ref, record);
    int ends[2];

    connect_pair(SOCK_STREAM, ends);
    send_raw(ends[0], record, 10, &object, 1);
    send_raw(ends[0], record + 10, 4, NULL, 0);
    send_raw(ends[0], record + 14, RECORD - 14, NULL, 0);
    brood_region_free(region);
    CHECK_EQ(brood_ref_receive(ends[1], &received, TEST_PATIENCE_MS), 1);
    CHECK_OK(brood_region_open(&region, received));
    brood_region_free(region);
    close_pair(ends);
    CHECK_OK(close(object));
}

TEST(a_receiver_waits_no_longer_than_its_time)
{
    brood_ref ref;
    int ends[2];

    connect_pair(SOCK_STREAM, ends);
    CHECK_ERR(brood_ref_receive(ends[1], &ref, 0), -ETIMEDOUT);
    CHECK_ERR(brood_ref_receive(ends[1], &ref, 10), -ETIMEDOUT);
    CHECK_EQ(write(ends[0], "refb", 4), 4);
    CHECK_ERR(brood_ref_receive(ends[1], &ref, 10), -EPROTO);
    close_pair(ends);
}

/* ---- failing calls ---- */

static void send_and_receive(void *context)
{
    const int *ends = context;
    brood_ref ref = {{0, 0}}, received;
    brood_region *region = NULL, *again = NULL;
    char *memory;
    int r;

    if (brood_region_new(&region, &(brood_region_options){.size_max = 65536}) < 0)
        return;
    memory = brood_region_alloc(region, 1);
    ref = brood_region_ref(region, memory);
    r = ref.word[0] == 0 ? BROOD_EREF : brood_ref_send(ends[0], ref, 100);
    brood_region_free(region);
    if (r < 0)
        return;
    r = brood_ref_receive(ends[1], &received, 100);
    if (r == 1 && brood_region_open(&again, received) == 0)
        brood_region_free(again);
    else if (r == 1)
        while (brood_region_open(&again, received) < 0)
            continue; /* for want of a handle: it is parked still */
    if (again == NULL)
        (void)recv(ends[1], (char[RECORD]){0}, RECORD, MSG_DONTWAIT);
}

TEST_LIMIT(whatever_call_fails_no_descriptor_is_left, 120)
{
    int ends[2];

    connect_pair(SOCK_SEQPACKET, ends);
    sweep_faults(send_and_receive, ends, NULL);
    close_pair(ends);
}
