/* SPDX-License-Identifier: MIT */
/*
 * The other end of a pipe may be anybody's. Promise: whatever comes out of it, a message is got
 * that a brood could have sent, or -EPROTO (-EMFILE if descriptors are missing) is returned and
 * the next message is got; no descriptor is left, and nothing can be changed or taken away once it
 * is got.
 */
#include "harness/sweep.h"
#include "harness/test.h"

#include "ipc/pipe.h"
#include "sys/kernel.h"
#include "sys/sockets.h"

#include <brood/pipe.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { OBJECT_LEN = 300000 };

struct attack {
    const char *bytes;
    size_t len;
    unsigned fd_count;
    int expected;
};

static void send_raw(const brood_pipe *pipe, const void *bytes, size_t len, const int *fds,
                     unsigned fd_count)
{
    const struct iovec part = {.iov_base = (void *)(uintptr_t)bytes, .iov_len = len};

    CHECK_EQ(brood__socket_send_parts(pipe->fd, &part, 1, fds, fd_count), (int64_t)len);
}

static void check_goes_on(struct brood_pipe *left, struct brood_pipe *right)
{
    char bytes[8] = "";
    size_t len = 0;

    CHECK_OK(brood_pipe_put(left, "good", 4, 0));
    CHECK_EQ(brood_pipe_get(right, bytes, sizeof bytes, &len, 0), 1);
    CHECK_EQ(len, 4);
    CHECK_EQ(memcmp(bytes, "good", 4), 0);
    CHECK_ERR(brood_pipe_get(right, bytes, sizeof bytes, &len, 0), -ETIMEDOUT);
}

static void expect(const struct attack *attack, const int *fds)
{
    brood_pipe *left = NULL, *right = NULL;
    char bytes[64];

    CHECK_OK(brood_pipe_new(&left, &right, NULL));
    send_raw(left, attack->bytes, attack->len, fds, attack->fd_count);
    CHECK_EQ(brood_pipe_get(right, bytes, sizeof bytes, NULL, 0), attack->expected);
    check_goes_on(left, right);
    brood_pipe_free(left);
    brood_pipe_free(right);
}

#define INLINE "\x2d\xb4\1"
#define OBJECT "\x2d\xb4\2"
#define LENT "\x2d\xb4\3"
#define ZERO "\0\0\0\0"

TEST(packets_that_no_end_sends_are_dropped_one_by_one)
{
    static const struct attack attacks[] = {
        {"", 0, 0, -EPROTO},
        {"", 0, 1, -EPROTO},
        {INLINE "\0" ZERO, 7, 0, -EPROTO},
        {"\x2d\xb5\1\0" ZERO, 8, 0, -EPROTO},
        {"\x2d\xb4\0\0" ZERO, 8, 0, -EPROTO},
        {"\x2d\xb4\4\0" ZERO, 8, 0, -EPROTO},
        {INLINE "\0\1\0\0\0", 8, 0, -EPROTO},
        {INLINE "\x41" ZERO, 8, 0, -EPROTO},
        {INLINE "\0" ZERO, 8, 1, -EPROTO},
        {INLINE "\1" ZERO, 8, 2, -EPROTO},
        {INLINE "\1" ZERO, 8, 80, -EPROTO},
        {INLINE "\1" ZERO, 8, 0, -EMFILE},
        {OBJECT "\0" ZERO "\0\1\0\0\0\0\0", 15, 1, -EPROTO},
        {OBJECT "\0" ZERO "\0\1\0\0\0\0\0\0\0", 17, 1, -EPROTO},
        {OBJECT "\0" ZERO "\0\1\0\0\0\0\0\0", 16, 0, -EMFILE},
        {OBJECT "\0" ZERO "\0\0\0\0\0\0\0\0", 16, 1, -EPROTO},
        {OBJECT "\0" ZERO "\0\1\0\0\0\0\0\0", 16, 1, -EPROTO},
        {OBJECT "\0" ZERO "\377\377\377\377\377\377\377\377", 16, 1, -EPROTO},
        {LENT "\0" ZERO, 8, 2, -EPROTO},
        {LENT "\0" ZERO "\0\1\0\0\0\0\0", 15, 2, -EPROTO},
        {LENT "\0" ZERO "\0\1\0\0\0\0\0\0", 16, 0, -EMFILE},
        {LENT "\0" ZERO "\0\1\0\0\0\0\0\0", 16, 1, -EMFILE},
        {LENT "\0" ZERO "\0\1\0\0\0\0\0\0", 16, 3, -EPROTO},
        {LENT "\0" ZERO "\0\0\0\0\0\0\0\0", 16, 2, -EPROTO},
        {LENT "\0" ZERO "\0\1\0\0\0\0\0\0", 16, 2, -EPROTO},
        {LENT "\0" ZERO "\377\377\377\377\377\377\377\377", 16, 2, -EPROTO},
    };
    int fds[SOCKET_FDS_MAX];

    for (int i = 0; i < SOCKET_FDS_MAX; i++)
        fds[i] = CHECK_OK(open("/dev/null", O_RDONLY | O_CLOEXEC));
    for (size_t i = 0; i < sizeof attacks / sizeof attacks[0]; i++)
        expect(&attacks[i], fds);
    for (int i = 0; i < SOCKET_FDS_MAX; i++)
        CHECK_OK(close(fds[i]));
}

TEST(a_packet_that_is_too_long_is_no_message)
{
    brood_pipe *left = NULL, *right = NULL;
    char *bytes = calloc(1, PIPE_PACKET_LEN + 1);
    char *got = calloc(1, PIPE_PACKET_LEN + 1);
    brood_message message = {0};

    CHECK(bytes != NULL && got != NULL);
    CHECK_OK(brood_pipe_new(&left, &right, NULL));
    memcpy(bytes, INLINE, 3);
    for (size_t len = PIPE_PACKET_LEN - 1; len <= PIPE_PACKET_LEN + 1; len++) {
        send_raw(left, bytes, len, NULL, 0);
        CHECK_EQ(brood_pipe_take(right, 0, &message), len < PIPE_PACKET_LEN ? 1 : -EPROTO);
        brood_message_done(&message);
        send_raw(left, bytes, len, NULL, 0);
        CHECK_EQ(brood_pipe_get(right, got, PIPE_PACKET_LEN + 1, NULL, 0),
                 len < PIPE_PACKET_LEN ? 1 : -EPROTO);
        send_raw(left, bytes, PIPE_PACKET_LEN - 1, NULL, 0); /* the next is expected to be long */
        CHECK_EQ(brood_pipe_get(right, got, PIPE_PACKET_LEN + 1, NULL, 0), 1);
        send_raw(left, bytes, len, NULL, 0);
        CHECK_EQ(brood_pipe_get(right, got, PIPE_PACKET_LEN + 1, NULL, 0),
                 len < PIPE_PACKET_LEN ? 1 : -EPROTO);
        check_goes_on(left, right);
    }
    free(got);
    brood_pipe_free(left);
    brood_pipe_free(right);
    free(bytes);
}

TEST(a_packet_of_nothing_before_the_end_is_not_the_end)
{
    brood_pipe *left = NULL, *right = NULL;
    char bytes[8];

    CHECK_OK(brood_pipe_new(&left, &right, NULL));
    send_raw(left, "", 0, NULL, 0);
    CHECK_OK(brood_pipe_put(left, "last", 4, 0));
    brood_pipe_free(left);
    CHECK_ERR(brood_pipe_get(right, bytes, sizeof bytes, NULL, 0), -EPROTO);
    CHECK_EQ(brood_pipe_get(right, bytes, sizeof bytes, NULL, 0), 1);
    CHECK_EQ(brood_pipe_get(right, bytes, sizeof bytes, NULL, 0), 0);
    brood_pipe_free(right);
}

/* ---- objects ---- */

static int new_object(uint64_t len, bool filled, int seals)
{
    static const char bytes[4096];
    int fd = CHECK_OK(memfd_create("attack", MFD_CLOEXEC | MFD_ALLOW_SEALING));

    CHECK_OK(ftruncate(fd, (off_t)len));
    for (uint64_t done = 0; filled && done < len; done += sizeof bytes)
        CHECK_OK(
            pwrite(fd, bytes, len - done < sizeof bytes ? len - done : sizeof bytes, (off_t)done));
    if (seals != 0)
        CHECK_OK(fcntl(fd, F_ADD_SEALS, seals));
    return fd;
}

/* Sends OBJECT, which is closed, as a message of LEN bytes: of the kind that is mapped, or lent. */
static int get_object_as(const char *kind, int object, uint64_t len)
{
    const int fds[] = {object, object};
    brood_pipe *left = NULL, *right = NULL;
    brood_message message = {0};
    char packet[16] = "";
    int r;

    memcpy(packet, kind, 3);
    memcpy(packet + 8, &len, sizeof len);
    CHECK_OK(brood_pipe_new(&left, &right, NULL));
    send_raw(left, packet, sizeof packet, fds, kind[2] == 3 ? 2 : 1);
    CHECK_OK(close(object));
    r = brood_pipe_take(right, 0, &message);
    if (r == 1)
        CHECK_EQ(message.len, len);
    brood_message_done(&message);
    check_goes_on(left, right);
    brood_pipe_free(left);
    brood_pipe_free(right);
    return r;
}

static int get_object(int object, uint64_t len)
{
    return get_object_as(OBJECT, object, len);
}

static int get_lent(int object, uint64_t len)
{
    return get_object_as(LENT, object, len);
}

TEST(an_object_counts_only_if_nobody_can_change_or_cut_it_and_it_is_all_there)
{
    const int sealed = F_SEAL_WRITE | F_SEAL_SHRINK;

    CHECK_EQ(get_object(new_object(OBJECT_LEN, true, sealed), OBJECT_LEN), 1);
    CHECK_EQ(get_object(new_object(OBJECT_LEN, true, sealed), OBJECT_LEN - 1), -EPROTO);
    CHECK_EQ(get_object(new_object(OBJECT_LEN, true, sealed), OBJECT_LEN + 1), -EPROTO);
    CHECK_EQ(get_object(new_object(OBJECT_LEN, true, 0), OBJECT_LEN), -EPROTO);
    CHECK_EQ(get_object(new_object(OBJECT_LEN, true, F_SEAL_SHRINK), OBJECT_LEN), -EPROTO);
    CHECK_EQ(get_object(new_object(OBJECT_LEN, true, F_SEAL_WRITE), OBJECT_LEN), -EPROTO);
    CHECK_EQ(get_object(new_object(OBJECT_LEN, false, sealed), OBJECT_LEN), -EPROTO);
    CHECK_EQ(get_object(new_object(UINT64_C(1) << 40, false, sealed), UINT64_C(1) << 40), -EPROTO);
}

TEST(pages_beyond_the_end_of_an_object_fill_no_hole_in_it)
{
    int object = new_object(OBJECT_LEN, false, 0);

    CHECK_OK(pwrite(object, "x", 1, 0));
    CHECK_OK(fallocate(object, FALLOC_FL_KEEP_SIZE, 1 << 20, 4 * OBJECT_LEN));
    CHECK_OK(fcntl(object, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK));
    CHECK_EQ(get_object(object, OBJECT_LEN), -EPROTO);
}

TEST(a_lent_object_counts_only_if_nobody_can_cut_it_and_it_is_long_enough)
{
    const int sealed = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;

    CHECK_EQ(get_lent(new_object(OBJECT_LEN, true, sealed), OBJECT_LEN), 1);
    CHECK_EQ(get_lent(new_object(OBJECT_LEN, true, sealed), OBJECT_LEN - 1), 1);
    CHECK_EQ(get_lent(new_object(OBJECT_LEN, false, sealed), OBJECT_LEN), 1); /* zeros */
    CHECK_EQ(get_lent(new_object(OBJECT_LEN, true, sealed), OBJECT_LEN + 1), -EPROTO);
    CHECK_EQ(get_lent(new_object(OBJECT_LEN, true, 0), OBJECT_LEN), -EPROTO);
    CHECK_EQ(get_lent(new_object(OBJECT_LEN, true, F_SEAL_GROW), OBJECT_LEN), -EPROTO);
}

/* ---- receivers ---- */

static char scratch[OBJECT_LEN];

/* The descriptors of the next message of LEFT, an object and its receipt; or of none: 0. */
static unsigned receive_raw(const brood_pipe *right, int fds[2])
{
    char packet[16];
    struct iovec part = {.iov_base = packet, .iov_len = sizeof packet};
    unsigned count = 2;

    CHECK_EQ(brood__socket_receive_parts(right->fd, &part, 1, fds, &count, false), 16);
    return count;
}

/* The first large message is no loan. */
static void put_first(brood_pipe *left, brood_pipe *right)
{
    CHECK_OK(brood_pipe_put(left, scratch, OBJECT_LEN, 0));
    CHECK_EQ(brood_pipe_get(right, scratch, OBJECT_LEN, NULL, 0), 1);
}

TEST(what_is_lent_can_only_be_read)
{
    brood_pipe *left = NULL, *right = NULL;
    int fds[2];

    CHECK_OK(brood_pipe_new(&left, &right, NULL));
    put_first(left, right);
    CHECK_OK(brood_pipe_put(left, scratch, OBJECT_LEN, 0));
    CHECK_EQ(receive_raw(right, fds), 2);
    CHECK_EQ(pwrite(fds[0], "x", 1, 0), -1);
    CHECK_EQ(ftruncate(fds[0], 0), -1);
    CHECK_EQ(fallocate(fds[0], FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 65536), -1);
    CHECK(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fds[0], 0) == MAP_FAILED);
    CHECK_OK(close(fds[0]));
    CHECK_OK(close(fds[1]));
    brood_pipe_free(left);
    brood_pipe_free(right);
}

TEST(who_keeps_what_is_lent_stops_nobody_and_costs_a_bounded_amount)
{
    enum { COUNT = 300 };
    brood_pipe *left = NULL, *right = NULL;
    int fds[COUNT][2];
    unsigned counts[COUNT], lent = 0;

    CHECK_OK(brood_pipe_new(&left, &right, NULL));
    put_first(left, right);
    for (int i = 0; i < COUNT; i++) {
        CHECK_OK(brood_pipe_put(left, scratch, OBJECT_LEN, BROOD_FOREVER));
        counts[i] = receive_raw(right, fds[i]);
        lent += counts[i] == 2;
        CHECK(left->loans.room <= LOANS_LEN_MAX);
    }
    /* What is kept is given up, now and then, for a new one. */
    CHECK(lent > LOANS_MAX && lent < 2 * LOANS_MAX);
    for (int i = 0; i < COUNT; i++)
        for (unsigned k = 0; k < counts[i]; k++)
            CHECK_OK(close(fds[i][k]));
    brood_pipe_free(left);
    brood_pipe_free(right);
}

/* Bytes in a receipt, which nobody of ours writes, are no sign of anything. */
TEST(a_receipt_that_is_written_to_is_still_away)
{
    brood_pipe *left = NULL, *right = NULL;
    char *bytes = malloc(OBJECT_LEN);
    int fds[2];

    CHECK(bytes != NULL);
    CHECK_OK(brood_pipe_new(&left, &right, NULL));
    put_first(left, right);
    memset(bytes, 1, OBJECT_LEN);
    CHECK_OK(brood_pipe_put(left, bytes, OBJECT_LEN, 0));
    CHECK_EQ(receive_raw(right, fds), 2);
    CHECK_EQ(write(fds[1], "x", 1), 1);
    memset(bytes, 2, OBJECT_LEN);
    for (int i = 0; i < 2 * LOANS_MAX; i++)
        CHECK_OK(brood_pipe_put(left, bytes, OBJECT_LEN, 0));
    CHECK_EQ(pread(fds[0], bytes, OBJECT_LEN, 0), OBJECT_LEN);
    CHECK_EQ(bytes[0], 1);
    CHECK_EQ(bytes[OBJECT_LEN - 1], 1);
    CHECK_OK(close(fds[0]));
    CHECK_OK(close(fds[1]));
    brood_pipe_free(left);
    brood_pipe_free(right);
    free(bytes);
}

/* ---- faults ---- */

static void check_known(int error)
{
    static const int known[] = {-ENOMEM, -EMFILE, -EIO, -ETIMEDOUT, BROOD_EREF, -EAGAIN, -EINVAL};

    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (known[i] == error)
            return;
    FAIL("unexpected error %d", error);
}

/* A get that failed for want of something leaves the message: the second try gets it. */
static void get_again(brood_pipe *pipe, size_t len)
{
    size_t got = 0;
    int r = brood_pipe_get(pipe, scratch, sizeof scratch, &got, 0);

    if (r < 0) {
        check_known(r);
        CHECK_EQ(brood_pipe_get(pipe, scratch, sizeof scratch, &got, 0), 1);
    }
    CHECK_EQ(got, len);
}

static void take_again(brood_pipe *pipe, size_t len)
{
    brood_message message = {0};
    int r = brood_pipe_take(pipe, 0, &message);

    if (r < 0) {
        check_known(r);
        CHECK_EQ(brood_pipe_take(pipe, 0, &message), 1);
    }
    CHECK_EQ(message.len, len);
    brood_message_done(&message);
}

static void put_again(brood_pipe *pipe, size_t len)
{
    int r = brood_pipe_put(pipe, scratch, len, 0);

    if (r < 0) {
        check_known(r);
        CHECK_OK(brood_pipe_put(pipe, scratch, len, 0));
    }
}

static void talk(void *unused)
{
    const size_t sizes[] = {3, 4000, 100000, OBJECT_LEN, OBJECT_LEN};
    brood_pipe *left = NULL, *right = NULL;
    int r = brood_pipe_new(&left, &right, NULL);

    (void)unused;
    if (r < 0) {
        check_known(r);
        return;
    }
    r = brood_pipe_fd(right);
    if (r < 0)
        check_known(r);
    for (int i = 0; i < 5; i++) {
        put_again(left, sizes[i]);
        get_again(right, sizes[i]);
        put_again(left, sizes[i]);
        take_again(right, sizes[i]);
    }
    r = brood_pipe_get(right, scratch, 1, NULL, 1);
    check_known(r);
    brood_pipe_free(left);
    brood_pipe_free(right);
}

TEST_LIMIT(a_failing_call_is_told_and_loses_no_message, 120)
{
    sweep_faults(talk, NULL, &(struct sweep_options){.sample = 100, .passages_max = 8});
}

static void *return_at_once(void *unused)
{
    return unused;
}

/* How many threads there are without one of brood's. A sanitizer may add some with the first. */
static int usual_threads(void)
{
    pthread_t thread;

    CHECK_EQ(pthread_create(&thread, NULL, return_at_once, NULL), 0);
    CHECK_EQ(pthread_join(thread, NULL), 0);
    return CHECK_OK(brood__thread_count());
}

static void hand_over(void *unused)
{
    const int usual = usual_threads();
    brood_pipe *left = NULL, *right = NULL, *opened = NULL;
    brood_ref ref;
    int r = brood_pipe_new(&left, &right, NULL);

    (void)unused;
    if (r < 0)
        return;
    ref = brood_pipe_ref(right);
    brood_pipe_free(right);
    if (ref.word[0] != 0) {
        r = brood_pipe_open(&opened, ref);
        if (r < 0)
            check_known(r);
        if (r < 0) /* or it waits for somebody who opens it */
            brood_pipe_free(brood_pipe_open(&right, ref) == 0 ? right : NULL);
    }
    brood_pipe_free(opened);
    r = brood_pipe_get(left, scratch, 1, NULL, TEST_PATIENCE_MS);
    CHECK(r == 0 || r == -ENOMEM);
    brood_pipe_free(left);
    while (brood__thread_count() != usual)
        brood__yield();
}

TEST_LIMIT(a_ref_that_fails_leaves_nothing, 120)
{
    sweep_faults(hand_over, NULL,
                 &(struct sweep_options){.sample = 60, .except = "open read getdents"});
}

/* ---- deaths ---- */

/* The victim puts messages of all kinds; what comes of them is the first few, each whole. */
static void talk_to_a_victim(void *unused)
{
    const size_t sizes[] = {3, 4000, OBJECT_LEN, 0, OBJECT_LEN, 100000, OBJECT_LEN, OBJECT_LEN};
    enum { COUNT = sizeof sizes / sizeof sizes[0] };
    brood_pipe *left = NULL, *right = NULL;
    brood_message message = {0};
    unsigned got = 0;
    pid_t pid;

    (void)unused;
    CHECK_OK(brood_pipe_new(&left, &right, NULL));
    pid = CHECK_OK(fork());
    if (pid == 0) {
        brood__fault_role(ROLE_WORKER);
        brood_pipe_free(right);
        for (int i = 0; i < COUNT; i++) {
            memset(scratch, i, sizes[i]);
            CHECK_OK(brood_pipe_put_fds(left, scratch, sizes[i], &left->fd, i == 4, 0));
        }
        _exit(0);
    }
    brood_pipe_free(left);
    while (brood_pipe_take(right, TEST_PATIENCE_MS, &message) == 1) {
        CHECK_EQ(message.len, sizes[got]);
        for (size_t i = 0; i < message.len; i++)
            CHECK_EQ(((char *)message.data)[i], (char)got);
        brood_message_done(&message);
        got++;
    }
    CHECK_EQ(brood_pipe_take(right, 0, &message), 0);
    CHECK_EQ(waitpid(pid, NULL, 0), pid);
    brood_pipe_free(right);
}

TEST_LIMIT(a_sender_may_die_at_any_call, 120)
{
    sweep_kills(talk_to_a_victim, NULL, NULL);
}
