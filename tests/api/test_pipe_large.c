/* SPDX-License-Identifier: MIT */
/*
 * Long messages are received where they are to be in the end; longer ones travel in memory that
 * their sender uses again and again. Promise: all the same each arrives as it was put, whoever else
 * sends, however many wait, whoever dies or forks; and the sender never waits for somebody who does
 * not receive.
 */
#include "api/pipe_kit.h"
#include "harness/gate.h"
#include "harness/test.h"

#include <brood/pipe.h>

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    INLINE_MAX = 192 * 1024,
    SIZE_MIN = 200000,
    SIZE_STEP = 77777,
    SIZE_STEPS = 20,
    SIZE_MAX_HERE = 2000000
};

/* Message I of sender SENDER: its length, and all its bytes, say which it is. */
static size_t len_of(unsigned sender, unsigned i)
{
    return SIZE_MIN + (sender * 3 + i * 7) % SIZE_STEPS * SIZE_STEP;
}

static void put_large(brood_pipe *pipe, unsigned sender, unsigned count)
{
    char *bytes = malloc(SIZE_MAX_HERE);

    CHECK(bytes != NULL);
    for (unsigned i = 0; i < count; i++) {
        size_t len = len_of(sender, i);

        memcpy(bytes, &sender, sizeof sender);
        memcpy(bytes + 4, &i, sizeof i);
        fill(bytes + 8, len - 8, sender * 1000 + i);
        CHECK_OK(brood_pipe_put(pipe, bytes, len, TEST_PATIENCE_MS));
    }
    free(bytes);
}

enum { SENDERS_MAX = 4 };

/* Which message of each sender comes next. */
struct expected {
    unsigned next[SENDERS_MAX];
};

static void check_large(struct expected *expected, const char *bytes, size_t len)
{
    unsigned sender, i;

    CHECK(len >= 8);
    memcpy(&sender, bytes, sizeof sender);
    memcpy(&i, bytes + 4, sizeof i);
    CHECK(sender < SENDERS_MAX);
    CHECK_EQ(i, expected->next[sender]++);
    CHECK_EQ(len, len_of(sender, i));
    check_filled(bytes + 8, len - 8, sender * 1000 + i);
}

/* COUNT messages, copied and taken in turns. */
static void get_large(brood_pipe *pipe, struct expected *expected, unsigned count)
{
    char *bytes = malloc(SIZE_MAX_HERE);

    CHECK(bytes != NULL);
    for (unsigned i = 0; i < count; i++) {
        brood_message message = {0};
        size_t len;

        if (i % 2 == 0) {
            CHECK_EQ(brood_pipe_get(pipe, bytes, SIZE_MAX_HERE, &len, TEST_PATIENCE_MS), 1);
            check_large(expected, bytes, len);
        } else {
            CHECK_EQ(brood_pipe_take(pipe, TEST_PATIENCE_MS, &message), 1);
            check_large(expected, message.data, message.len);
            brood_message_done(&message);
        }
    }
    free(bytes);
}

TEST(large_messages_one_after_the_other_arrive_as_they_were_put)
{
    enum { COUNT = 200 };
    struct ends pipe = new_pipe(NULL);
    struct expected expected = {{0}};
    pid_t pid = CHECK_OK(fork());

    if (pid == 0) {
        brood_pipe_free(pipe.right);
        put_large(pipe.left, 0, COUNT);
        brood_pipe_free(pipe.left);
        _exit(0);
    }
    brood_pipe_free(pipe.left);
    get_large(pipe.right, &expected, COUNT);
    CHECK_EQ(brood_pipe_get(pipe.right, NULL, 0, NULL, TEST_PATIENCE_MS), 0);
    expect_success(pid);
    brood_pipe_free(pipe.right);
}

TEST(many_large_messages_wait_for_a_receiver_who_is_late)
{
    enum { COUNT = 40 };
    struct ends pipe = new_pipe(NULL);
    struct expected expected = {{0}};

    for (int round = 0; round < 2; round++) {
        expected.next[0] = 0;
        put_large(pipe.left, 0, COUNT);
        get_large(pipe.right, &expected, COUNT);
    }
    free_pipe(pipe);
}

TEST(a_large_message_is_put_or_not_without_waiting)
{
    struct ends pipe = new_pipe(NULL);
    char *bytes = calloc(1, SIZE_MIN);
    int64_t start = now_ms();
    unsigned put = 0;
    int r;

    CHECK(bytes != NULL);
    while ((r = brood_pipe_put(pipe.left, bytes, SIZE_MIN, 0)) == 0 && put < 10000)
        put++;
    CHECK_ERR(r, -ETIMEDOUT);
    CHECK(put > 20);
    CHECK_ERR(brood_pipe_put(pipe.left, bytes, SIZE_MIN, 30), -ETIMEDOUT);
    CHECK(now_ms() - start >= 30);
    for (unsigned i = 0; i < put; i++)
        CHECK_EQ(brood_pipe_get(pipe.right, bytes, SIZE_MIN, NULL, 0), 1);
    CHECK_ERR(brood_pipe_get(pipe.right, bytes, SIZE_MIN, NULL, 0), -ETIMEDOUT);
    free(bytes);
    free_pipe(pipe);
}

TEST(several_long_messages_fit_before_anybody_gets_them)
{
    struct ends pipe = new_pipe(NULL);
    char *bytes = calloc(1, INLINE_MAX);
    int count = 0;

    CHECK(bytes != NULL);
    while (brood_pipe_put(pipe.left, bytes, INLINE_MAX, 0) == 0)
        count++;
    CHECK(count >= 2);
    CHECK_ERR(brood_pipe_put(pipe.left, bytes, INLINE_MAX, 0), -ETIMEDOUT);
    for (; count > 0; count--)
        CHECK_EQ(brood_pipe_get(pipe.right, bytes, INLINE_MAX, NULL, 0), 1);
    CHECK_ERR(brood_pipe_get(pipe.right, bytes, INLINE_MAX, NULL, 0), -ETIMEDOUT);
    free(bytes);
    free_pipe(pipe);
}

/* What an end has received tells it how to receive the next, which may be of any other kind. */
TEST(a_long_message_is_followed_by_one_of_any_length)
{
    static const size_t sizes[] = {0, 1, 64, 65, 5000, 20000, 100000, INLINE_MAX, 300000};
    enum { COUNT = sizeof sizes / sizeof sizes[0] };
    struct ends pipe = new_pipe(NULL);
    char *bytes = malloc(300000);

    CHECK(bytes != NULL);
    for (unsigned i = 0; i < COUNT * 3; i++) {
        const size_t size = sizes[i / 3];
        const size_t room = i % 3 == 0 ? 300000 : i % 3 == 1 ? 20000 : 50000;
        size_t len = 0;
        int r;

        fill(bytes, 300000, i);
        CHECK_OK(brood_pipe_put(pipe.left, bytes, 60000, 0));
        CHECK_OK(brood_pipe_put(pipe.left, bytes, size, 0));
        memset(bytes, 0, 300000);
        CHECK_EQ(brood_pipe_get(pipe.right, bytes, 60000, &len, 0), 1);
        CHECK_EQ(len, 60000);
        check_filled(bytes, len, i);
        memset(bytes, 0, 300000);
        r = brood_pipe_get(pipe.right, bytes, room, &len, 0);
        CHECK_EQ(r, size <= room ? 1 : -EMSGSIZE);
        if (r < 0)
            CHECK_EQ(brood_pipe_get(pipe.right, bytes, 300000, &len, 0), 1);
        CHECK_EQ(len, size);
        check_filled(bytes, len, i);
    }
    free(bytes);
    free_pipe(pipe);
}

/* ---- several senders ---- */

TEST(a_forked_child_sends_large_messages_beside_its_parent)
{
    enum { COUNT = 40 };
    struct ends pipe = new_pipe(NULL);
    struct expected expected = {{0}};
    pid_t pids[3];

    /* So that there is memory which children could take for theirs. */
    put_large(pipe.left, 3, 6);
    get_large(pipe.right, &expected, 4);
    for (unsigned i = 0; i < 3; i++) {
        pids[i] = CHECK_OK(fork());
        if (pids[i] == 0) {
            put_large(pipe.left, i, COUNT);
            free_pipe(pipe);
            _exit(0);
        }
    }
    get_large(pipe.right, &expected, 2 + 3 * COUNT);
    for (unsigned i = 0; i < 3; i++)
        expect_success(pids[i]);
    free_pipe(pipe);
}

struct sender {
    brood_pipe *pipe;
    unsigned number, count;
};

static void *send_in_thread(void *context)
{
    struct sender *sender = context;

    put_large(sender->pipe, sender->number, sender->count);
    return NULL;
}

TEST(threads_send_large_messages_beside_each_other)
{
    enum { COUNT = 40 };
    struct ends pipe = new_pipe(NULL);
    struct expected expected = {{0}};
    struct sender senders[SENDERS_MAX];
    pthread_t threads[SENDERS_MAX];

    for (unsigned i = 0; i < SENDERS_MAX; i++) {
        senders[i] = (struct sender){pipe.left, i, COUNT};
        CHECK_EQ(pthread_create(&threads[i], NULL, send_in_thread, &senders[i]), 0);
    }
    get_large(pipe.right, &expected, SENDERS_MAX * COUNT);
    for (unsigned i = 0; i < SENDERS_MAX; i++)
        CHECK_EQ(pthread_join(threads[i], NULL), 0);
    free_pipe(pipe);
}

/* Whoever forks while another thread sends may copy anything half done. */
TEST_LIMIT(forks_beside_a_sender_disturb_nobody, 60)
{
    enum { COUNT = 60, FORKS = 30 };
    struct ends pipe = new_pipe(NULL);
    struct expected expected = {{0}};
    struct sender sender = {pipe.left, 0, COUNT};
    pthread_t thread;
    pid_t pids[FORKS];

    CHECK_EQ(pthread_create(&thread, NULL, send_in_thread, &sender), 0);
    for (unsigned i = 0; i < FORKS; i++) {
        pids[i] = CHECK_OK(fork());
        if (pids[i] == 0) {
            if (i % 2 == 0)
                brood_pipe_free(pipe.left);
            (void)pause();
            _exit(1);
        }
        get_large(pipe.right, &expected, 2);
    }
    CHECK_EQ(pthread_join(thread, NULL), 0);
    for (unsigned i = 0; i < FORKS; i++) {
        CHECK_OK(kill(pids[i], SIGKILL));
        CHECK_EQ(waitpid(pids[i], NULL, 0), pids[i]);
    }
    free_pipe(pipe);
}

/* ---- deaths ---- */

TEST(a_receiver_that_dies_with_large_messages_gives_back_their_memory)
{
    enum { COUNT = 30 };
    struct ends pipe = new_pipe(NULL);

    for (unsigned round = 0; round < 5; round++) {
        struct expected expected = {{0}};
        struct gate *has = gate_new();
        pid_t pid;

        put_large(pipe.left, 0, COUNT);
        pid = CHECK_OK(fork());
        if (pid == 0) {
            char byte;

            get_large(pipe.right, &expected, round);
            CHECK_ERR(brood_pipe_get(pipe.right, &byte, 1, NULL, TEST_PATIENCE_MS), -EMSGSIZE);
            gate_open(has);
            for (;;)
                (void)pause();
        }
        gate_wait(has);
        CHECK_OK(kill(pid, SIGKILL));
        CHECK_EQ(waitpid(pid, NULL, 0), pid);
        gate_free(has);
        expected.next[0] = round + 1;
        get_large(pipe.right, &expected, COUNT - round - 1);
    }
    free_pipe(pipe);
}

TEST_LIMIT(a_sender_killed_among_large_messages_sent_whole_ones, 60)
{
    enum { ROUNDS = 25 };

    for (int round = 0; round < ROUNDS; round++) {
        struct ends pipe = new_pipe(NULL);
        struct expected expected = {{0}};
        unsigned stop = (unsigned)test_random_below(20);
        brood_message message = {0};
        pid_t pid = CHECK_OK(fork());
        int r;

        if (pid == 0) {
            brood_pipe_free(pipe.right);
            put_large(pipe.left, 0, 1000);
            _exit(1);
        }
        brood_pipe_free(pipe.left);
        while ((r = brood_pipe_take(pipe.right, TEST_PATIENCE_MS, &message)) == 1) {
            check_large(&expected, message.data, message.len);
            brood_message_done(&message);
            if (expected.next[0] == stop + 1)
                CHECK_OK(kill(pid, SIGKILL));
        }
        CHECK_EQ(r, 0);
        CHECK_EQ(waitpid(pid, NULL, 0), pid);
        brood_pipe_free(pipe.right);
    }
}

/* Whoever may lock little memory, and locks all. */
static void lock_little(void)
{
    const struct rlimit little = {.rlim_cur = 4 << 20, .rlim_max = 4 << 20};

    CHECK_OK(setgid(65534));
    CHECK_OK(setuid(65534)); /* root may lock all */
    CHECK_OK(setrlimit(RLIMIT_MEMLOCK, &little));
    CHECK_OK(mlockall(MCL_FUTURE));
}

static void take_locked(brood_pipe *pipe)
{
    enum { NOT_FOR_LONG_MS = 100 };
    brood_message message = {0};
    char start[8];

    lock_little();
    CHECK_ERR(brood_pipe_take(pipe, NOT_FOR_LONG_MS, &message), -ENOMEM);
    CHECK_ERR(brood_pipe_get(pipe, start, sizeof start, NULL, 0), -EMSGSIZE);
    CHECK_OK(munlockall());
    CHECK_EQ(brood_pipe_take(pipe, TEST_PATIENCE_MS, &message), 1);
    CHECK_EQ(message.len, 8 << 20);
    brood_message_done(&message);
    brood_pipe_free(pipe);
}

TEST(a_message_that_may_not_be_locked_in_memory_is_an_error_and_stays)
{
    struct ends pipe;
    char *bytes;
    pid_t pid;

    if (geteuid() != 0)
        SKIP("only root can become somebody whose limit counts");
    if (TEST_ASAN || TEST_TSAN)
        SKIP("the sanitizer lets nobody lock memory");
    pipe = new_pipe(NULL);
    bytes = calloc(1, 8 << 20);
    CHECK(bytes != NULL);
    CHECK_OK(brood_pipe_put(pipe.left, bytes, 8 << 20, TEST_PATIENCE_MS));
    free(bytes);
    pid = CHECK_OK(fork());
    if (pid == 0) {
        take_locked(pipe.right);
        _exit(0);
    }
    expect_success(pid);
    free_pipe(pipe);
}
