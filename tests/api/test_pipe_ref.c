/* SPDX-License-Identifier: MIT */
/*
 * An end of a pipe by its ref. Promise: whoever has the sixteen bytes opens it, once, with its ways
 * and its kind, and what was sent before is not lost; the end lives until then, and not longer.
 */
#include "api/pipe_kit.h"
#include "harness/test.h"

#include <brood.h>

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static nlink_t count_threads(void)
{
    struct stat status;

    CHECK_OK(stat("/proc/self/task", &status));
    return status.st_nlink; /* a folder for each, and two more */
}

static void *return_at_once(void *unused)
{
    return unused;
}

/* How many there are without one of brood's. A sanitizer may add some with the first. */
static nlink_t usual_threads(void)
{
    pthread_t thread;

    CHECK_EQ(pthread_create(&thread, NULL, return_at_once, NULL), 0);
    CHECK_EQ(pthread_join(thread, NULL), 0);
    while (count_threads() > 3 + 2 * TEST_TSAN) /* the joined one is still leaving */
        (void)sched_yield();
    return count_threads();
}

/* The thread that served the ref ends by itself. */
static void await_threads(nlink_t usual)
{
    int64_t deadline = now_ms() + TEST_PATIENCE_MS;

    while (count_threads() != usual) {
        CHECK(now_ms() < deadline);
        (void)sched_yield();
    }
}

TEST(a_ref_is_opened_elsewhere_once)
{
    const nlink_t usual = usual_threads();
    struct ends pipe = new_pipe(NULL);
    brood_ref ref = brood_pipe_ref(pipe.right);
    char bytes[8];
    pid_t pid;

    CHECK(ref.word[0] != 0);
    brood_pipe_free(pipe.right);
    CHECK_OK(brood_pipe_put(pipe.left, "before", 6, 0));
    pid = CHECK_OK(fork());
    if (pid == 0) {
        brood_pipe *mine = NULL, *second = NULL;

        brood_pipe_free(pipe.left);
        CHECK_OK(brood_pipe_open(&mine, ref));
        CHECK_ERR(brood_pipe_open(&second, ref), BROOD_EREF);
        CHECK_EQ(brood_pipe_get(mine, bytes, 8, NULL, TEST_PATIENCE_MS), 1);
        CHECK_EQ(memcmp(bytes, "before", 6), 0);
        CHECK_OK(brood_pipe_put(mine, "answer", 6, 0));
        brood_pipe_free(mine);
        _exit(0);
    }
    CHECK_EQ(brood_pipe_get(pipe.left, bytes, 8, NULL, TEST_PATIENCE_MS), 1);
    CHECK_EQ(brood_pipe_get(pipe.left, bytes, 8, NULL, TEST_PATIENCE_MS), 0);
    expect_success(pid);
    brood_pipe_free(pipe.left);
    await_threads(usual);
}

TEST(a_ref_tells_ways_and_kinds)
{
    const nlink_t usual = usual_threads();
    for (int stream = 0; stream < 2; stream++) {
        struct ends pipe = new_pipe(&(brood_pipe_options){.one_way = true, .stream = stream != 0});
        brood_pipe *left = NULL, *right = NULL;
        char byte;

        CHECK_OK(brood_pipe_open(&left, brood_pipe_ref(pipe.left)));
        CHECK_OK(brood_pipe_open(&right, brood_pipe_ref(pipe.right)));
        free_pipe(pipe);
        if (stream) {
            CHECK_ERR(brood_pipe_write(left, "x", 1, 0), -EINVAL);
            CHECK_ERR(brood_pipe_read(right, &byte, 1, 0), -EINVAL);
            CHECK_EQ(brood_pipe_write(right, "x", 1, 0), 1);
            CHECK_EQ(brood_pipe_read(left, &byte, 1, 0), 1);
        } else {
            CHECK_ERR(brood_pipe_put(left, "x", 1, 0), -EINVAL);
            CHECK_ERR(brood_pipe_get(right, &byte, 1, NULL, 0), -EINVAL);
            CHECK_OK(brood_pipe_put(right, "x", 1, 0));
            CHECK_EQ(brood_pipe_get(left, &byte, 1, NULL, 0), 1);
        }
        brood_pipe_free(left);
        brood_pipe_free(right);
    }
    await_threads(usual);
}

TEST(what_names_no_pipe_is_not_opened)
{
    const nlink_t usual = usual_threads();
    struct ends pipe = new_pipe(NULL);
    brood_ref ref = brood_pipe_ref(pipe.left);
    brood_pipe *out = NULL;
    brood_region *region = NULL;
    brood_queue *queue = NULL;
    brood_ref other;

    CHECK_ERR(brood_region_open(&region, ref), -EINVAL); /* and the end is still to be had */
    CHECK_ERR(brood_queue_open(&queue, ref), -EINVAL);
    CHECK_OK(brood_queue_new(&queue, NULL));
    other = brood_queue_ref(queue);
    CHECK(other.word[0] != 0);
    CHECK_ERR(brood_pipe_open(&out, other), -EINVAL);
    brood_queue_free(queue);
    CHECK_ERR(brood_pipe_open(&out, (brood_ref){{0, 0}}), -EINVAL);
    CHECK_ERR(brood_pipe_open(&out, (brood_ref){{ref.word[0], 4096}}), -EINVAL);
    CHECK_ERR(brood_pipe_open(NULL, ref), -EINVAL);
    CHECK_ERR(brood_pipe_open(&out, (brood_ref){{ref.word[0] + 1, ref.word[1]}}), BROOD_EREF);
    CHECK_OK(brood_pipe_open(&out, ref));
    brood_pipe_free(out);
    free_pipe(pipe);
    await_threads(usual);
}
