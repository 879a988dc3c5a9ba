/* SPDX-License-Identifier: MIT */
/*
 * Two ends and messages between them. Promise: a message arrives whole, once and in its order, of
 * any size; what does not fit stays; the end comes after the last message, however the other side
 * went; and every wait ends in time.
 */
#include "api/pipe_kit.h"
#include "harness/gate.h"
#include "harness/test.h"

#include <brood.h>
#include <brood/pipe.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { INLINE_MAX = 192 * 1024, LARGE = 3 * 1024 * 1024 + 17 };

/* ---- messages ---- */

TEST(messages_of_every_size_arrive_whole_both_ways)
{
    static const size_t sizes[] = {0,
                                   1,
                                   8,
                                   63,
                                   64,
                                   65,
                                   1023,
                                   1024,
                                   1025,
                                   4096,
                                   16383,
                                   16384,
                                   49151,
                                   49152,
                                   65536,
                                   INLINE_MAX,
                                   INLINE_MAX - 1,
                                   INLINE_MAX,
                                   INLINE_MAX + 1,
                                   200000,
                                   300000,
                                   5,
                                   70000,
                                   1 << 20,
                                   LARGE - 16,
                                   LARGE - 15,
                                   LARGE - 14,
                                   LARGE};
    struct ends pipe = new_pipe(NULL);
    char *out = malloc(LARGE);
    char *in = malloc(LARGE);

    CHECK(out != NULL && in != NULL);
    for (unsigned i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        brood_pipe *from = i % 2 == 0 ? pipe.left : pipe.right;
        brood_pipe *to = i % 2 == 0 ? pipe.right : pipe.left;
        brood_message message = {0};
        size_t len = SIZE_MAX;

        fill(out, sizes[i], i);
        CHECK_OK(brood_pipe_put(from, out, sizes[i], TEST_PATIENCE_MS));
        CHECK_OK(brood_pipe_put(from, out, sizes[i], TEST_PATIENCE_MS));
        CHECK_EQ(brood_pipe_get(to, in, LARGE, &len, TEST_PATIENCE_MS), 1);
        CHECK_EQ(len, sizes[i]);
        check_filled(in, len, i);
        CHECK_EQ(brood_pipe_take(to, TEST_PATIENCE_MS, &message), 1);
        CHECK_EQ(message.len, sizes[i]);
        CHECK(message.data != NULL);
        check_filled(message.data, message.len, i);
        memset(message.data, 1, message.len); /* it is ours alone */
        brood_message_done(&message);
        CHECK(message.data == NULL && message.len == 0 && message.reserved[0] == 0);
        brood_message_done(&message);
        CHECK_ERR(brood_pipe_get(to, in, LARGE, NULL, 0), -ETIMEDOUT);
    }
    free(out);
    free(in);
    free_pipe(pipe);
}

TEST(messages_of_all_sizes_mixed_keep_their_order)
{
    enum { COUNT = 2000 };
    struct ends pipe = new_pipe(NULL);
    pid_t pid = CHECK_OK(fork());

    if (pid == 0) {
        char *bytes = malloc(500000);

        CHECK(bytes != NULL);
        brood_pipe_free(pipe.right);
        for (unsigned i = 0; i < COUNT; i++) {
            size_t len = 4 + (i * 7919) % (i % 50 == 0 ? 500000 - 4 : 3000);

            memcpy(bytes, &i, sizeof i);
            fill(bytes + 4, len - 4, i);
            CHECK_OK(brood_pipe_put(pipe.left, bytes, len, TEST_PATIENCE_MS));
        }
        brood_pipe_free(pipe.left);
        free(bytes);
        _exit(0);
    }
    brood_pipe_free(pipe.left);
    for (unsigned i = 0; i < COUNT; i++) {
        brood_message message = {0};
        unsigned number;

        CHECK_EQ(brood_pipe_take(pipe.right, TEST_PATIENCE_MS, &message), 1);
        memcpy(&number, message.data, sizeof number);
        CHECK_EQ(number, i);
        CHECK_EQ(message.len, 4 + (i * 7919) % (i % 50 == 0 ? 500000 - 4 : 3000));
        check_filled((char *)message.data + 4, message.len - 4, i);
        brood_message_return(&message);
    }
    CHECK_EQ(brood_pipe_get(pipe.right, NULL, 0, NULL, TEST_PATIENCE_MS), 0);
    expect_success(pid);
    brood_pipe_free(pipe.right);
}

TEST(a_message_that_is_too_long_for_get_stays)
{
    const size_t sizes[] = {9, 5000, 200000};
    struct ends pipe = new_pipe(NULL);
    char *bytes = malloc(200000);
    int fd = CHECK_OK(brood_pipe_fd(pipe.right));

    CHECK(bytes != NULL);
    for (unsigned i = 0; i < 3; i++) {
        size_t len = 0;

        fill(bytes, sizes[i], i);
        CHECK(!is_readable(fd));
        CHECK_OK(brood_pipe_put(pipe.left, bytes, sizes[i], 0));
        CHECK_OK(brood_pipe_put(pipe.left, "next", 4, 0));
        CHECK(is_readable(fd));
        memset(bytes, 0, sizes[i]);
        CHECK_ERR(brood_pipe_get(pipe.right, bytes, 8, &len, 0), -EMSGSIZE);
        CHECK_ERR(brood_pipe_get(pipe.right, bytes, sizes[i] - 1, &len, 0), -EMSGSIZE);
        CHECK_EQ(len, 0);
        CHECK(is_readable(fd));
        CHECK_EQ(brood_pipe_poll(pipe.right, 0), 1);
        CHECK_EQ(brood_pipe_get(pipe.right, bytes, sizes[i], &len, 0), 1);
        CHECK_EQ(len, sizes[i]);
        check_filled(bytes, len, i);
        CHECK_EQ(brood_pipe_get(pipe.right, bytes, 8, &len, 0), 1);
        CHECK_EQ(len, 4);
        CHECK(!is_readable(fd));
        CHECK_EQ(brood_pipe_poll(pipe.right, 0), 0);
    }
    free(bytes);
    free_pipe(pipe);
}

TEST(a_message_that_stays_is_seen_by_a_descriptor_made_later_and_freed_with_the_end)
{
    struct ends pipe = new_pipe(NULL);
    char byte;

    CHECK_OK(brood_pipe_put(pipe.left, "long", 4, 0));
    CHECK_ERR(brood_pipe_get(pipe.right, &byte, 1, NULL, 0), -EMSGSIZE);
    CHECK(is_readable(CHECK_OK(brood_pipe_fd(pipe.right))));
    CHECK_EQ(brood_pipe_ref(pipe.right).word[0], 0);
    free_pipe(pipe);
}

TEST(a_forked_child_does_not_get_what_stays_in_its_parent)
{
    struct ends pipe = new_pipe(NULL);
    char bytes[8];
    pid_t pid;

    CHECK_OK(brood_pipe_put(pipe.left, "parents", 7, 0));
    CHECK_OK(brood_pipe_fd(pipe.right));
    CHECK_ERR(brood_pipe_get(pipe.right, bytes, 1, NULL, 0), -EMSGSIZE);
    pid = CHECK_OK(fork());
    if (pid == 0) {
        CHECK_ERR(brood_pipe_get(pipe.right, bytes, 8, NULL, 0), -ETIMEDOUT);
        CHECK(!is_readable(CHECK_OK(brood_pipe_fd(pipe.right))));
        CHECK_OK(brood_pipe_put(pipe.left, "child", 5, 0));
        CHECK_EQ(brood_pipe_get(pipe.right, bytes, 8, NULL, TEST_PATIENCE_MS), 1);
        CHECK_EQ(memcmp(bytes, "child", 5), 0);
        free_pipe(pipe);
        _exit(0);
    }
    expect_success(pid);
    CHECK_EQ(brood_pipe_get(pipe.right, bytes, 8, NULL, 0), 1);
    CHECK_EQ(memcmp(bytes, "parents", 7), 0);
    free_pipe(pipe);
}

static int expect_end(int fd)
{
    char byte;

    return (int)read(fd, &byte, 1);
}

TEST(a_forked_child_closes_descriptors_that_stay_in_its_parent)
{
    for (int frees = 0; frees < 2; frees++) {
        struct ends pipe = new_pipe(NULL);
        char byte;
        int ends[2];
        pid_t pid;

        CHECK_OK(pipe2(ends, O_CLOEXEC));
        CHECK_OK(brood_pipe_put_fds(pipe.left, "long", 4, &ends[1], 1, 0));
        CHECK_OK(close(ends[1]));
        CHECK_ERR(brood_pipe_get(pipe.right, &byte, 1, NULL, 0), -EMSGSIZE);
        pid = CHECK_OK(fork());
        if (pid == 0) {
            if (frees)
                free_pipe(pipe);
            else
                CHECK_ERR(brood_pipe_get(pipe.right, &byte, 1, NULL, 0), -ETIMEDOUT);
            for (int fd = 3; fd < 64; fd++) /* the writing end is nowhere here */
                if (fd != ends[0] && fcntl(fd, F_GETFD) >= 0)
                    CHECK((fcntl(fd, F_GETFL) & O_ACCMODE) != O_WRONLY);
            _exit(0);
        }
        expect_success(pid);
        free_pipe(pipe);
        CHECK_EQ(expect_end(ends[0]), 0);
        CHECK_OK(close(ends[0]));
    }
}

/* ---- time ---- */

TEST(a_wait_ends_in_time)
{
    struct ends pipe = new_pipe(NULL);
    int64_t start = now_ms();
    char bytes[1000] = {0};

    CHECK_ERR(brood_pipe_get(pipe.right, bytes, sizeof bytes, NULL, 50), -ETIMEDOUT);
    CHECK_EQ(brood_pipe_poll(pipe.right, 50), 0);
    CHECK(now_ms() - start >= 100);
    while (brood_pipe_put(pipe.left, bytes, sizeof bytes, 0) == 0)
        continue;
    start = now_ms();
    CHECK_ERR(brood_pipe_put(pipe.left, bytes, sizeof bytes, 50), -ETIMEDOUT);
    CHECK(now_ms() - start >= 50);
    free_pipe(pipe);
}

static void *get_one(void *pipe)
{
    char bytes[8];

    CHECK_EQ(brood_pipe_get(pipe, bytes, sizeof bytes, NULL, BROOD_FOREVER), 1);
    return NULL;
}

TEST(a_waiting_get_is_woken_by_a_put_and_a_waiting_put_by_gets)
{
    struct ends pipe = new_pipe(NULL);
    char bytes[4096] = {0};
    pthread_t thread;
    int count = 0;
    pid_t pid;

    CHECK_EQ(pthread_create(&thread, NULL, get_one, pipe.right), 0);
    CHECK_OK(brood_pipe_put(pipe.left, "x", 1, 0));
    CHECK_EQ(pthread_join(thread, NULL), 0);
    while (brood_pipe_put(pipe.left, bytes, sizeof bytes, 0) == 0)
        count++;
    pid = CHECK_OK(fork());
    if (pid == 0) {
        for (int i = 0; i < count + 1; i++)
            CHECK_EQ(brood_pipe_get(pipe.right, bytes, sizeof bytes, NULL, TEST_PATIENCE_MS), 1);
        _exit(0);
    }
    CHECK_OK(brood_pipe_put(pipe.left, bytes, sizeof bytes, BROOD_FOREVER));
    expect_success(pid);
    free_pipe(pipe);
}

static void ignore(int signo)
{
    (void)signo;
}

enum { TURNS = 3000 };

struct turns {
    brood_pipe *pipe;
    pthread_barrier_t begins, ends;
    bool by_wait_any;
};

static void *get_in_turns(void *context)
{
    struct turns *turns = context;
    void *object = turns->pipe;
    char bytes[8];

    for (int i = 0; i < TURNS; i++) {
        (void)pthread_barrier_wait(&turns->begins);
        if (turns->by_wait_any)
            CHECK_EQ(brood_wait_any(&object, 1, TEST_PATIENCE_MS), 0);
        CHECK_EQ(brood_pipe_get(turns->pipe, bytes, 8, NULL, TEST_PATIENCE_MS), 1);
        (void)pthread_barrier_wait(&turns->ends);
    }
    return NULL;
}

/* The message stays, and reaches the sleeper all the same. */
TEST_LIMIT(who_sleeps_for_a_message_gets_what_was_too_long_for_another_thread, 60)
{
    for (int by_wait_any = 0; by_wait_any < 2; by_wait_any++) {
        struct ends pipe = new_pipe(NULL);
        struct turns turns = {.pipe = pipe.right, .by_wait_any = by_wait_any != 0};
        pthread_t thread;
        char byte;

        CHECK_EQ(pthread_barrier_init(&turns.begins, NULL, 2), 0);
        CHECK_EQ(pthread_barrier_init(&turns.ends, NULL, 2), 0);
        CHECK_EQ(pthread_create(&thread, NULL, get_in_turns, &turns), 0);
        for (int i = 0; i < TURNS; i++) {
            int r;

            (void)pthread_barrier_wait(&turns.begins);
            CHECK_OK(brood_pipe_put(pipe.left, "long", 4, 0));
            r = brood_pipe_get(pipe.right, &byte, 1, NULL, 0);
            CHECK(r == -EMSGSIZE || r == -ETIMEDOUT);
            (void)pthread_barrier_wait(&turns.ends);
        }
        CHECK_EQ(pthread_join(thread, NULL), 0);
        CHECK_EQ(pthread_barrier_destroy(&turns.begins), 0);
        CHECK_EQ(pthread_barrier_destroy(&turns.ends), 0);
        free_pipe(pipe);
    }
}

TEST(a_signal_does_not_end_a_wait)
{
    struct ends pipe = new_pipe(NULL);
    struct sigaction action = {.sa_handler = ignore};
    const struct timespec often = {.tv_nsec = 5000000};
    struct itimerspec every = {.it_interval = often, .it_value = often};
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1};
    int64_t start = now_ms();
    timer_t timer;
    char byte;

    CHECK_OK(sigaction(SIGUSR1, &action, NULL));
    CHECK_OK(timer_create(CLOCK_MONOTONIC, &event, &timer));
    CHECK_OK(timer_settime(timer, 0, &every, NULL));
    CHECK_ERR(brood_pipe_get(pipe.right, &byte, 1, NULL, 100), -ETIMEDOUT);
    CHECK(now_ms() - start >= 100);
    CHECK_OK(timer_delete(timer));
    free_pipe(pipe);
}

/* ---- the end ---- */

TEST(the_end_comes_after_what_was_sent_and_a_put_says_so)
{
    struct ends pipe = new_pipe(NULL);
    char *bytes = malloc(LARGE);

    CHECK(bytes != NULL);
    fill(bytes, LARGE, 7);
    CHECK_OK(brood_pipe_put(pipe.right, "unread", 6, 0)); /* makes the kernel report a reset */
    CHECK_OK(brood_pipe_put(pipe.left, "", 0, 0));
    CHECK_OK(brood_pipe_put(pipe.left, bytes, LARGE, 0));
    brood_pipe_free(pipe.left);
    CHECK_EQ(brood_pipe_poll(pipe.right, 0), 1);
    CHECK_EQ(brood_pipe_get(pipe.right, bytes, 0, NULL, 0), 1);
    memset(bytes, 0, LARGE);
    CHECK_EQ(brood_pipe_get(pipe.right, bytes, LARGE, NULL, 0), 1);
    check_filled(bytes, LARGE, 7);
    CHECK_EQ(brood_pipe_get(pipe.right, bytes, 0, NULL, 0), 0);
    CHECK_EQ(brood_pipe_get(pipe.right, bytes, 0, NULL, 0), 0);
    CHECK_EQ(brood_pipe_poll(pipe.right, 0), 1);
    CHECK_ERR(brood_pipe_put(pipe.right, bytes, 1, 0), -EPIPE);
    CHECK_ERR(brood_pipe_put(pipe.right, bytes, LARGE, 0), -EPIPE);
    brood_pipe_free(pipe.right);
    free(bytes);
}

TEST(a_killed_process_is_an_end)
{
    for (int stream = 0; stream < 2; stream++) {
        struct ends pipe = new_pipe(&(brood_pipe_options){.stream = stream != 0});
        struct gate *sent = gate_new();
        char bytes[8];
        pid_t pid = CHECK_OK(fork());

        if (pid == 0) {
            brood_pipe_free(pipe.right);
            if (stream)
                CHECK_EQ(brood_pipe_write(pipe.left, "last", 4, 0), 4);
            else
                CHECK_OK(brood_pipe_put(pipe.left, "last", 4, 0));
            gate_open(sent);
            for (;;)
                (void)pause();
        }
        brood_pipe_free(pipe.left);
        gate_wait(sent);
        CHECK_OK(kill(pid, SIGKILL));
        if (stream) {
            CHECK_EQ(brood_pipe_read(pipe.right, bytes, 8, TEST_PATIENCE_MS), 4);
            CHECK_EQ(brood_pipe_read(pipe.right, bytes, 8, TEST_PATIENCE_MS), 0);
            CHECK_ERR(brood_pipe_write(pipe.right, bytes, 8, TEST_PATIENCE_MS), -EPIPE);
        } else {
            CHECK_EQ(brood_pipe_get(pipe.right, bytes, 8, NULL, TEST_PATIENCE_MS), 1);
            CHECK_EQ(brood_pipe_get(pipe.right, bytes, 8, NULL, TEST_PATIENCE_MS), 0);
            CHECK_ERR(brood_pipe_put(pipe.right, bytes, 8, TEST_PATIENCE_MS), -EPIPE);
        }
        CHECK_EQ(waitpid(pid, NULL, 0), pid);
        gate_free(sent);
        brood_pipe_free(pipe.right);
    }
}

TEST(a_child_that_has_a_copy_keeps_the_pipe_open)
{
    struct ends pipe = new_pipe(NULL);
    struct gate *go = gate_new();
    char bytes[8];
    pid_t pid = CHECK_OK(fork());

    if (pid == 0) {
        brood_pipe_free(pipe.right);
        gate_wait(go);
        CHECK_OK(brood_pipe_put(pipe.left, "alive", 5, 0));
        brood_pipe_free(pipe.left);
        _exit(0);
    }
    brood_pipe_free(pipe.left);
    CHECK_ERR(brood_pipe_get(pipe.right, bytes, 8, NULL, 0), -ETIMEDOUT);
    gate_open(go);
    CHECK_EQ(brood_pipe_get(pipe.right, bytes, 8, NULL, TEST_PATIENCE_MS), 1);
    CHECK_EQ(brood_pipe_get(pipe.right, bytes, 8, NULL, TEST_PATIENCE_MS), 0);
    expect_success(pid);
    gate_free(go);
    brood_pipe_free(pipe.right);
}

/* A sender dies anywhere: what came is a whole prefix of what it sends. */
TEST_LIMIT(a_sender_killed_anywhere_sent_whole_messages, 60)
{
    enum { ROUNDS = 60 };
    char *bytes = malloc(LARGE);

    CHECK(bytes != NULL);
    for (int round = 0; round < ROUNDS; round++) {
        struct ends pipe = new_pipe(NULL);
        uint64_t stop = test_random_below(40);
        brood_message message = {0};
        pid_t pid = CHECK_OK(fork());
        unsigned got = 0;
        int r;

        if (pid == 0) {
            brood_pipe_free(pipe.right);
            for (unsigned i = 0;; i++) {
                size_t len = i % 4 == 3 ? 300000 : i % 4 * 700;

                fill(bytes, len, i);
                CHECK_OK(brood_pipe_put(pipe.left, bytes, len, BROOD_FOREVER));
            }
        }
        brood_pipe_free(pipe.left);
        while ((r = brood_pipe_take(pipe.right, TEST_PATIENCE_MS, &message)) == 1) {
            CHECK_EQ(message.len, got % 4 == 3 ? 300000 : got % 4 * 700);
            check_filled(message.data, message.len, got);
            brood_message_done(&message);
            if (got++ == stop)
                CHECK_OK(kill(pid, SIGKILL));
        }
        CHECK_EQ(r, 0);
        CHECK(got > stop);
        CHECK_EQ(waitpid(pid, NULL, 0), pid);
        brood_pipe_free(pipe.right);
    }
    free(bytes);
}

/* ---- one way, and misuse ---- */

TEST(one_way_is_one_way)
{
    for (int stream = 0; stream < 2; stream++) {
        struct ends pipe = new_pipe(&(brood_pipe_options){.one_way = true, .stream = stream != 0});
        char bytes[8];

        if (stream) {
            CHECK_ERR(brood_pipe_write(pipe.left, "x", 1, 0), -EINVAL);
            CHECK_ERR(brood_pipe_read(pipe.right, bytes, 8, 0), -EINVAL);
            CHECK_EQ(brood_pipe_write(pipe.right, "x", 1, 0), 1);
            CHECK_EQ(brood_pipe_read(pipe.left, bytes, 8, 0), 1);
        } else {
            CHECK_ERR(brood_pipe_put(pipe.left, "x", 1, 0), -EINVAL);
            CHECK_ERR(brood_pipe_get(pipe.right, bytes, 8, NULL, 0), -EINVAL);
            CHECK_OK(brood_pipe_put(pipe.right, "x", 1, 0));
            CHECK_EQ(brood_pipe_get(pipe.left, bytes, 8, NULL, 0), 1);
        }
        CHECK_ERR(brood_pipe_fd(pipe.right), -EINVAL);
        CHECK_ERR(brood_pipe_poll(pipe.right, 0), -EINVAL);
        CHECK(!is_readable(CHECK_OK(brood_pipe_fd(pipe.left))));
        free_pipe(pipe);
    }
}

TEST(wrong_calls_are_named)
{
    struct ends pipe = new_pipe(NULL);
    struct ends stream = new_pipe(&(brood_pipe_options){.stream = true});
    brood_pipe *freed = pipe.left;
    brood_message message = {0};
    char bytes[8] = {0};
    unsigned count = 1;
    int fds[65] = {0};

    CHECK_ERR(brood_pipe_new(NULL, &freed, NULL), -EINVAL);
    CHECK_ERR(brood_pipe_new(&freed, NULL, NULL), -EINVAL);
    CHECK_ERR(brood_pipe_new(&freed, &freed, &(brood_pipe_options){.reserved = {1}}), -EINVAL);
    CHECK_ERR(brood_pipe_put(pipe.left, NULL, 1, 0), -EINVAL);
    CHECK_ERR(brood_pipe_put_fds(pipe.left, bytes, 8, NULL, 1, 0), -EINVAL);
    CHECK_ERR(brood_pipe_put_fds(pipe.left, bytes, 8, fds, 65, 0), -EINVAL);
    fds[0] = -1;
    CHECK_ERR(brood_pipe_put_fds(pipe.left, bytes, 8, fds, 1, 0), -EBADF);
    CHECK_ERR(brood_pipe_get(pipe.left, NULL, 1, NULL, 0), -EINVAL);
    CHECK_ERR(brood_pipe_take(pipe.left, 0, NULL), -EINVAL);
    CHECK_ERR(brood_pipe_take_fds(pipe.left, 0, &message, fds, NULL), -EINVAL);
    CHECK_ERR(brood_pipe_take_fds(pipe.left, 0, &message, NULL, &count), -EINVAL);
    CHECK_ERR(brood_pipe_read(pipe.left, bytes, 8, 0), -EINVAL);
    CHECK_ERR(brood_pipe_write(pipe.left, bytes, 8, 0), -EINVAL);
    CHECK_ERR(brood_pipe_put(stream.left, bytes, 8, 0), -EINVAL);
    CHECK_ERR(brood_pipe_get(stream.left, bytes, 8, NULL, 0), -EINVAL);
    CHECK_ERR(brood_pipe_read(stream.left, bytes, 0, 0), -EINVAL);
    CHECK_ERR(brood_pipe_put(NULL, bytes, 8, 0), BROOD_EHANDLE);
    free_pipe(pipe);
    free_pipe(stream);
    CHECK_ERR(brood_pipe_put(freed, bytes, 8, 0), BROOD_EHANDLE);
    CHECK_ERR(brood_pipe_get(freed, bytes, 8, NULL, 0), BROOD_EHANDLE);
    CHECK_ERR(brood_pipe_poll(freed, 0), BROOD_EHANDLE);
    CHECK_ERR(brood_pipe_fd(freed), BROOD_EHANDLE);
    CHECK_EQ(brood_pipe_ref(freed).word[0], 0);
    brood_pipe_free(freed);
    brood_pipe_free(NULL);
    brood_message_done(NULL);
    brood_message_return(NULL);
}

/* ---- descriptors ---- */

static uint64_t inode_of(int fd)
{
    struct stat status;

    CHECK_OK(fstat(fd, &status));
    return status.st_ino;
}

TEST(descriptors_come_along_in_their_order)
{
    const size_t sizes[] = {0, 10, 200000};
    struct ends pipe = new_pipe(NULL);
    char *bytes = calloc(1, 200000);
    int files[64], got[64];

    CHECK(bytes != NULL);
    for (int i = 0; i < 64; i++)
        files[i] = CHECK_OK(open("/dev/zero", O_RDONLY | O_CLOEXEC));
    for (int i = 0; i < 3; i++) {
        brood_message message = {0};
        unsigned count = 64;

        CHECK_OK(dup2(CHECK_OK(fileno(stderr)), files[63]));
        CHECK_OK(brood_pipe_put_fds(pipe.left, bytes, sizes[i], files, 64, 0));
        CHECK_EQ(brood_pipe_take_fds(pipe.right, 0, &message, got, &count), 1);
        CHECK_EQ(count, 64);
        CHECK_EQ(message.len, sizes[i]);
        for (unsigned k = 0; k < count; k++) {
            CHECK_EQ(inode_of(got[k]), inode_of(files[k]));
            CHECK_EQ(fcntl(got[k], F_GETFD), FD_CLOEXEC);
            CHECK_OK(close(got[k]));
        }
        brood_message_done(&message);
    }
    for (int i = 0; i < 64; i++)
        CHECK_OK(close(files[i]));
    free(bytes);
    free_pipe(pipe);
}

TEST(descriptors_that_nobody_wants_are_closed)
{
    struct ends pipe = new_pipe(NULL);
    char *bytes = calloc(1, 200000);
    int files[2], got[1];

    CHECK(bytes != NULL);
    CHECK_OK(pipe2(files, O_CLOEXEC));
    for (int i = 0; i < 2; i++) {
        size_t len = i == 0 ? 3 : 200000;
        brood_message message = {0};
        unsigned count = 1;

        for (int k = 0; k < 4; k++)
            CHECK_OK(brood_pipe_put_fds(pipe.left, bytes, len, files, 2, 0));
        CHECK_EQ(brood_pipe_get(pipe.right, bytes, len, NULL, 0), 1);
        CHECK_EQ(brood_pipe_take(pipe.right, 0, &message), 1);
        brood_message_done(&message);
        CHECK_EQ(brood_pipe_take_fds(pipe.right, 0, &message, got, &count), 1);
        CHECK_EQ(count, 1);
        CHECK_OK(close(got[0]));
        brood_message_done(&message);
        count = 0;
        CHECK_EQ(brood_pipe_take_fds(pipe.right, 0, &message, NULL, &count), 1);
        brood_message_done(&message);
        /* And those of a message that stays, or is never received, go with the end. */
        CHECK_OK(brood_pipe_put_fds(pipe.left, bytes, len, files, 2, 0));
        CHECK_ERR(brood_pipe_get(pipe.right, bytes, 2, NULL, 0), -EMSGSIZE);
        if (i == 0)
            CHECK_EQ(brood_pipe_get(pipe.right, bytes, len, NULL, 0), 1);
        CHECK_OK(brood_pipe_put_fds(pipe.left, bytes, len, files, 2, 0));
    }
    free_pipe(pipe);
    CHECK_OK(close(files[1]));
    CHECK_EQ(read(files[0], bytes, 1), 0); /* nobody has the other one any more */
    CHECK_OK(close(files[0]));
    free(bytes);
}

TEST(a_receiver_without_room_for_descriptors_is_told)
{
    struct ends pipe = new_pipe(NULL);
    char *bytes = calloc(1, 200000);
    struct rlimit old, none;
    int fd = CHECK_OK(open("/dev/null", O_RDONLY | O_CLOEXEC));
    brood_message message = {0};
    unsigned count = 1;
    int got;

    CHECK(bytes != NULL);
    CHECK_OK(getrlimit(RLIMIT_NOFILE, &old));
    none = old;
    none.rlim_cur = 3;
    for (int i = 0; i < 2; i++)
        CHECK_OK(brood_pipe_put_fds(pipe.left, bytes, 5, &fd, 1, 0));
    CHECK_OK(brood_pipe_put(pipe.left, bytes, 200000, 0));
    CHECK_OK(brood_pipe_put(pipe.left, "next", 4, 0));
    CHECK_OK(setrlimit(RLIMIT_NOFILE, &none));
    CHECK_ERR(brood_pipe_take_fds(pipe.right, 0, &message, &got, &count), -EMFILE);
    CHECK_ERR(brood_pipe_get(pipe.right, bytes, 200000, NULL, 0), -EMFILE);
    CHECK_ERR(brood_pipe_get(pipe.right, bytes, 200000, NULL, 0), -EMFILE);
    CHECK_EQ(brood_pipe_get(pipe.right, bytes, 200000, NULL, 0), 1);
    CHECK_EQ(memcmp(bytes, "next", 4), 0);
    CHECK_OK(setrlimit(RLIMIT_NOFILE, &old));
    CHECK_OK(close(fd));
    free(bytes);
    free_pipe(pipe);
}

/* ---- streams ---- */

TEST(a_stream_carries_all_bytes)
{
    struct ends pipe = new_pipe(&(brood_pipe_options){.stream = true});
    char *bytes = malloc(LARGE);
    size_t have = 0;
    int64_t r;
    pid_t pid;

    CHECK(bytes != NULL);
    fill(bytes, LARGE, 3);
    pid = CHECK_OK(fork());
    if (pid == 0) {
        brood_pipe_free(pipe.right);
        CHECK_EQ(brood_pipe_write(pipe.left, bytes, LARGE, TEST_PATIENCE_MS), LARGE);
        _exit(0);
    }
    brood_pipe_free(pipe.left);
    memset(bytes, 0, LARGE);
    while ((r = brood_pipe_read(pipe.right, bytes + have, LARGE - have + 1, TEST_PATIENCE_MS)) > 0)
        have += (size_t)r;
    CHECK_EQ(r, 0);
    CHECK_EQ(have, LARGE);
    check_filled(bytes, LARGE, 3);
    expect_success(pid);
    brood_pipe_free(pipe.right);
    free(bytes);
}

TEST(a_stream_says_how_much_it_wrote)
{
    struct ends pipe = new_pipe(&(brood_pipe_options){.stream = true});
    char *bytes = calloc(1, LARGE);
    int64_t wrote;
    char byte;

    CHECK(bytes != NULL);
    CHECK_EQ(brood_pipe_write(pipe.left, bytes, 0, 0), 0);
    CHECK_ERR(brood_pipe_read(pipe.right, &byte, 1, 20), -ETIMEDOUT);
    wrote = CHECK_OK(brood_pipe_write(pipe.left, bytes, LARGE, 20));
    CHECK(wrote > 0 && wrote < LARGE);
    CHECK_ERR(brood_pipe_write(pipe.left, bytes, LARGE, 0), -ETIMEDOUT);
    CHECK_EQ(brood_pipe_read(pipe.right, &byte, 1, 0), 1);
    brood_pipe_free(pipe.right);
    CHECK_ERR(brood_pipe_write(pipe.left, bytes, 1, 0), -EPIPE);
    brood_pipe_free(pipe.left);
    free(bytes);
}

/* ---- many at once ---- */

struct crowd {
    struct ends pipe;
    unsigned messages;
    struct gate *got;
};

static void *get_until_end(void *context)
{
    struct crowd *crowd = context;
    brood_message message = {0};

    while (brood_pipe_take(crowd->pipe.right, TEST_PATIENCE_MS, &message) == 1) {
        unsigned seed;

        memcpy(&seed, message.data, sizeof seed);
        check_filled((char *)message.data + 4, message.len - 4, seed);
        brood_message_done(&message);
        gate_count(crowd->got);
    }
    return NULL;
}

static void put_many(struct crowd *crowd, unsigned seed)
{
    char bytes[3000];

    for (unsigned i = 0; i < crowd->messages; i++) {
        size_t len = 4 + (i * 37 + seed * 1000) % (sizeof bytes - 4);

        memcpy(bytes, &seed, sizeof seed);
        fill(bytes + 4, len - 4, seed);
        CHECK_OK(brood_pipe_put(crowd->pipe.left, bytes, len, TEST_PATIENCE_MS));
    }
}

TEST(threads_and_processes_share_both_ends_and_lose_nothing)
{
    enum { SENDERS = 3, MESSAGES = 2000 };
    struct crowd crowd = {.pipe = new_pipe(NULL), .messages = MESSAGES, .got = gate_new()};
    pthread_t threads[2];
    pid_t senders[SENDERS], receiver;

    receiver = CHECK_OK(fork());
    if (receiver == 0) {
        brood_pipe_free(crowd.pipe.left);
        (void)get_until_end(&crowd);
        _exit(0);
    }
    for (unsigned i = 0; i < SENDERS; i++) {
        senders[i] = CHECK_OK(fork());
        if (senders[i] == 0) {
            put_many(&crowd, i);
            _exit(0);
        }
    }
    brood_pipe_free(crowd.pipe.left);
    for (int i = 0; i < 2; i++)
        CHECK_EQ(pthread_create(&threads[i], NULL, get_until_end, &crowd), 0);
    for (int i = 0; i < 2; i++)
        CHECK_EQ(pthread_join(threads[i], NULL), 0);
    for (int i = 0; i < SENDERS; i++)
        expect_success(senders[i]);
    expect_success(receiver);
    CHECK_EQ(gate_counted(crowd.got), SENDERS * MESSAGES);
    brood_pipe_free(crowd.pipe.right);
    gate_free(crowd.got);
}
