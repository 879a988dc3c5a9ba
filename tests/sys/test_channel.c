/* SPDX-License-Identifier: MIT */
/*
 * What a channel does with descriptors: each one that is received has exactly one owner. One that
 * is closed twice, or by somebody who never had it, takes a descriptor away from another thread.
 */
#include "harness/test.h"
#include "sys/kernel.h"
#include "sys/sockets.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>

static bool is_open(int fd)
{
    return fcntl(fd, F_GETFD) >= 0;
}

static unsigned open_count(void)
{
    unsigned count = 0;

    for (int fd = 0; fd < 256; fd++)
        count += is_open(fd) ? 1 : 0;
    return count;
}

static void send_with(int fd, size_t len, unsigned fd_count)
{
    const char data[64] = {0};
    int fds[CHANNEL_FDS_MAX] = {0};

    CHECK(len <= sizeof data && fd_count <= CHANNEL_FDS_MAX);
    for (unsigned i = 0; i < fd_count; i++)
        fds[i] = CHECK_OK(brood__fd_event());
    CHECK_OK(brood__channel_send(fd, data, len, fds, fd_count, false));
    for (unsigned i = 0; i < fd_count; i++)
        brood__fd_close(fds[i]);
}

TEST(descriptors_beyond_the_room_are_closed)
{
    unsigned before = open_count();
    int ends[2], fds[2];
    unsigned count = 2;
    char data[64];

    CHECK_OK(brood__channel_new(ends));
    send_with(ends[0], 3, CHANNEL_FDS_MAX);
    CHECK_EQ(brood__channel_receive(ends[1], data, sizeof data, fds, &count, false), 3);
    CHECK_EQ(count, 2);
    CHECK(is_open(fds[0]) && is_open(fds[1]));
    CHECK_EQ(open_count(), before + 4);
    for (int i = 0; i < 2; i++) {
        brood__fd_close(fds[i]);
        brood__fd_close(ends[i]);
    }
}

TEST(more_descriptors_than_a_message_may_have_are_refused)
{
    const int fds[CHANNEL_FDS_MAX + 1] = {0};
    int ends[2];

    CHECK_OK(brood__channel_new(ends));
    CHECK_EQ(brood__channel_send(ends[0], "x", 1, fds, CHANNEL_FDS_MAX + 1, false), -EINVAL);
    brood__fd_close(ends[0]);
    brood__fd_close(ends[1]);
}

TEST(a_message_that_is_too_long_is_lost_with_its_descriptors)
{
    unsigned before = open_count();
    int fds[2] = {-1, -1};
    unsigned count = 2;
    char data[8];
    int ends[2];

    CHECK_OK(brood__channel_new(ends));
    send_with(ends[0], 9, 2);
    CHECK_EQ(brood__channel_receive(ends[1], data, sizeof data, fds, &count, false), -EMSGSIZE);
    /* A caller that closes what it got closes nothing, by whichever of the two it goes. */
    CHECK_EQ(count, 0);
    CHECK(fds[0] == -1 && fds[1] == -1);
    CHECK_EQ(open_count(), before + 2);
    brood__fd_close(ends[0]);
    brood__fd_close(ends[1]);
}

/* Receives a message with a descriptor, and then the end of a peer that left one unread: what the
 * first call has written on the stack must not look like descriptors to the second. */
TEST(the_end_of_a_peer_that_read_nothing_brings_no_descriptors)
{
    int fds[2] = {-1, -1};
    unsigned count = 0;
    char data[64];
    int ends[2];

    CHECK_OK(brood__channel_new(ends));
    send_with(ends[0], 3, 1);
    send_with(ends[1], 3, 0);
    for (int i = 0; i < 2; i++) {
        int64_t len = i == 0 ? 3 : 0;

        count = 1;
        CHECK_EQ(brood__channel_receive(ends[1], data, sizeof data, &fds[i], &count, false), len);
        CHECK_EQ(count, i == 0 ? 1 : 0);
        if (i == 0)
            ends[0] = brood__fd_close(ends[0]);
    }
    CHECK(is_open(fds[0]));
    CHECK_EQ(fds[1], -1);
    brood__fd_close(fds[0]);
    brood__fd_close(ends[1]);
}
