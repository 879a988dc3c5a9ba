/* SPDX-License-Identifier: MIT */
/*
 * A ref is 16 bytes that open a queue, a region or a pipe anywhere: in processes that inherited
 * nothing, under each start method, in workers that are older than what it names, in other
 * programs. And what the others do there is what a participant does: it counts when it dies.
 */
#include "harness/gate.h"
#include "harness/test.h"
#include "run/server.h"
#include "base/clock.h"
#include "sys/kernel.h"
#include "sys/self.h"

#include <brood.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static const int starts[] = {BROOD_START_FORK, BROOD_START_FORKSERVER};
enum { STARTS = 2 };

static brood_queue *new_queue(size_t item_size)
{
    brood_queue *queue = NULL;

    CHECK_OK(brood_queue_new(&queue, &(brood_queue_options){.item_size = item_size}));
    return queue;
}

static int take_int(brood_queue *queue)
{
    int value = -1;

    CHECK_EQ(brood_queue_get(queue, &value, sizeof value, TEST_PATIENCE_MS), 1);
    return value;
}

/* Opens the queue and puts one number: what every stranger below does. */
static int put_by_ref(brood_ref ref, int value)
{
    brood_queue *queue = NULL;
    int r = brood_queue_open(&queue, ref);

    if (r < 0)
        return r;
    r = brood_queue_put(queue, &value, sizeof value, TEST_PATIENCE_MS);
    brood_queue_free(queue);
    return r;
}

/* ---- processes ---- */

static int put_seven(void *arg)
{
    return put_by_ref(*(brood_ref *)arg, 7);
}

TEST(a_process_opens_a_queue_by_the_ref_in_its_argument_under_each_start_method)
{
    for (int i = 0; i < STARTS; i++) {
        brood_queue *queue = new_queue(sizeof(int));
        brood_ref ref = brood_queue_ref(queue);
        brood_process *process = NULL;
        brood_outcome outcome;

        CHECK_OK(brood_process_start(&process, put_seven, &ref, sizeof ref,
                                     &(brood_process_options){.start = starts[i]}));
        CHECK_OK(brood_process_join(process, TEST_PATIENCE_MS, &outcome));
        CHECK_EQ(outcome.verdict, 0);
        CHECK_EQ(take_int(queue), 7);
        brood_process_free(process);
        brood_queue_free(queue);
    }
    brood__server_stop();
}

TEST(a_contained_process_opens_a_queue_by_ref)
{
    brood_queue *queue = new_queue(sizeof(int));
    brood_ref ref = brood_queue_ref(queue);
    brood_process *process = NULL;
    brood_outcome outcome;

    CHECK_OK(brood_process_start(&process, put_seven, &ref, sizeof ref,
                                 &(brood_process_options){.start = BROOD_START_FORKSERVER,
                                                          .containment = BROOD_CONTAIN_NAMESPACE}));
    CHECK_OK(brood_process_join(process, TEST_PATIENCE_MS, &outcome));
    CHECK_EQ(outcome.verdict, 0);
    CHECK_EQ(take_int(queue), 7);
    brood_process_free(process);
    brood_queue_free(queue);
    brood__server_stop();
}

/* ---- tasks ---- */

static int task_put(brood_task *task)
{
    return put_by_ref(*(const brood_ref *)task->in, 9);
}

TEST(a_worker_opens_a_queue_that_is_younger_than_its_pool_by_a_ref_in_the_input)
{
    for (int i = 0; i < STARTS; i++) {
        brood_pool *pool = NULL;
        brood_queue *queue;
        brood_ref ref;

        CHECK_OK(brood_pool_new(&pool, &(brood_pool_options){.workers = 2, .start = starts[i]}));
        queue = new_queue(sizeof(int));
        ref = brood_queue_ref(queue);
        for (int k = 0; k < 4; k++)
            CHECK_EQ(brood_pool_apply(pool, task_put, &ref, sizeof ref, NULL, 0), 0);
        for (int k = 0; k < 4; k++)
            CHECK_EQ(take_int(queue), 9);
        brood_pool_free(pool);
        brood_queue_free(queue);
    }
    brood__server_stop();
}

/* ---- a message between siblings ---- */

struct siblings {
    brood_ref mail, done;
};

/* Makes a queue of its own, sends its ref by mail, and gets a number from it. */
static int elder(void *arg)
{
    const struct siblings *siblings = arg;
    brood_queue *mail = NULL;
    brood_queue *own = NULL;
    brood_ref ref;
    int value = 0;
    int r = brood_queue_open(&mail, siblings->mail);

    if (r == 0)
        r = brood_queue_new(&own, &(brood_queue_options){.item_size = sizeof(int)});
    if (r < 0)
        return r;
    ref = brood_queue_ref(own);
    r = brood_queue_put(mail, &ref, sizeof ref, TEST_PATIENCE_MS);
    if (r == 0)
        r = brood_queue_get(own, &value, sizeof value, TEST_PATIENCE_MS);
    brood_queue_free(own);
    brood_queue_free(mail);
    return r == 1 ? value : r;
}

static int younger(void *arg)
{
    const struct siblings *siblings = arg;
    brood_queue *mail = NULL;
    brood_ref ref;
    int r = brood_queue_open(&mail, siblings->mail);

    if (r < 0)
        return r;
    r = brood_queue_get(mail, &ref, sizeof ref, TEST_PATIENCE_MS);
    brood_queue_free(mail);
    return r == 1 ? put_by_ref(ref, 11) : r;
}

TEST(a_ref_in_a_message_opens_what_a_sibling_made)
{
    brood_main_fn *const fns[] = {elder, younger};
    brood_queue *mail = new_queue(sizeof(brood_ref));
    struct siblings siblings = {.mail = brood_queue_ref(mail)};
    brood_process *process[2];

    for (int i = 0; i < 2; i++)
        CHECK_OK(brood_process_start(&process[i], fns[i], &siblings, sizeof siblings,
                                     &(brood_process_options){.start = BROOD_START_FORKSERVER}));
    for (int i = 0; i < 2; i++) {
        brood_outcome outcome;

        CHECK_OK(brood_process_join(process[i], TEST_PATIENCE_MS, &outcome));
        CHECK_EQ(outcome.verdict, i == 0 ? 11 : 0);
        brood_process_free(process[i]);
    }
    brood_queue_free(mail);
    brood__server_stop();
}

/* ---- a lock by ref ---- */

struct guarded {
    brood_lock lock;
    long value;
};

static int die_inside(void *arg)
{
    brood_ref ref = *(brood_ref *)arg;
    brood_region *region = NULL;
    struct guarded *guarded;
    int r = brood_region_open(&region, ref);

    if (r < 0)
        return r;
    guarded = brood_region_at(region, ref);
    if (guarded == NULL)
        return -ENOENT;
    r = brood_lock_acquire(&guarded->lock, TEST_PATIENCE_MS);
    guarded->value++;
    (void)raise(SIGKILL);
    return r;
}

TEST(a_lock_taken_by_ref_tells_of_its_owners_death)
{
    struct guarded *guarded = brood_shared_alloc(sizeof *guarded);
    brood_process *process = NULL;
    brood_outcome outcome;
    brood_ref ref;

    CHECK(guarded != NULL);
    ref = brood_region_ref(NULL, guarded);
    CHECK_OK(brood_process_start(&process, die_inside, &ref, sizeof ref,
                                 &(brood_process_options){.start = BROOD_START_FORKSERVER}));
    CHECK_OK(brood_process_join(process, TEST_PATIENCE_MS, &outcome));
    CHECK_EQ(outcome.signal, SIGKILL);
    CHECK_EQ(brood_lock_acquire(&guarded->lock, TEST_PATIENCE_MS), BROOD_OWNER_DIED);
    CHECK_EQ(guarded->value, 1);
    CHECK_OK(brood_lock_consistent(&guarded->lock));
    CHECK_OK(brood_lock_release(&guarded->lock));
    CHECK_EQ(brood_lock_acquire(&guarded->lock, TEST_PATIENCE_MS), 0);
    CHECK_OK(brood_lock_release(&guarded->lock));
    brood_process_free(process);
    brood_shared_free(guarded);
    brood__server_stop();
}

/* ---- a pipe by ref ---- */

static int answer(void *arg)
{
    brood_pipe *pipe = NULL;
    char text[16];
    size_t len = 0;
    int r = brood_pipe_open(&pipe, *(brood_ref *)arg);

    if (r < 0)
        return r;
    r = brood_pipe_get(pipe, text, sizeof text, &len, TEST_PATIENCE_MS);
    if (r == 1)
        r = brood_pipe_put(pipe, text, len, TEST_PATIENCE_MS);
    brood_pipe_free(pipe);
    return r;
}

/* The thread that served a ref once ends by itself, and takes its descriptors along. */
static void wait_for_threads_to_end(void)
{
    int64_t deadline = deadline_in(TEST_PATIENCE_MS);

    while (brood__thread_count() > 1 && now_ns() < deadline)
        brood__yield();
}

TEST(an_end_of_a_pipe_given_by_ref_belongs_to_who_opens_it_and_its_death_is_the_end)
{
    brood_pipe *left = NULL;
    brood_pipe *right = NULL;
    brood_process *process = NULL;
    char text[16];
    size_t len = 0;
    brood_ref ref;

    CHECK_OK(brood_pipe_new(&left, &right, NULL));
    ref = brood_pipe_ref(right);
    brood_pipe_free(right);
    CHECK_OK(brood_process_start(&process, answer, &ref, sizeof ref,
                                 &(brood_process_options){.start = BROOD_START_FORKSERVER}));
    CHECK_OK(brood_pipe_put(left, "ping", 4, TEST_PATIENCE_MS));
    CHECK_EQ(brood_pipe_get(left, text, sizeof text, &len, TEST_PATIENCE_MS), 1);
    CHECK_EQ(len, 4);
    CHECK_EQ(brood_pipe_get(left, text, sizeof text, &len, TEST_PATIENCE_MS), 0);
    CHECK_OK(brood_process_join(process, TEST_PATIENCE_MS, NULL));
    brood_process_free(process);
    brood_pipe_free(left);
    brood__server_stop();
    wait_for_threads_to_end();
}

/* ---- another program ---- */

/* tests/programs/stranger.c gets one end of a socket as descriptor 3, and over it a ref. */
static pid_t start_stranger(int socket, int other, const char *how)
{
    const char *program = test_program("stranger");
    pid_t pid = fork();

    if (pid == 0) {
        close(other);
        if (dup2(socket, 3) == 3)
            execl(program, program, how, (char *)NULL);
        _exit(127);
    }
    close(socket);
    return pid;
}

static int exit_status(pid_t pid)
{
    int status = -1;

    CHECK_EQ(waitpid(pid, &status, 0), pid);
    return status;
}

TEST(another_program_gets_a_ref_over_a_socket_and_takes_part)
{
    brood_queue *queue = new_queue(sizeof(int));
    int ends[2];
    int status;
    pid_t pid;

    CHECK_OK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends));
    pid = start_stranger(ends[1], ends[0], "put");
    CHECK_OK(brood_ref_send(ends[0], brood_queue_ref(queue), TEST_PATIENCE_MS));
    CHECK_EQ(take_int(queue), 13);
    status = exit_status(pid);
    CHECK(WIFEXITED(status));
    CHECK_EQ(WEXITSTATUS(status), 0);
    CHECK_EQ(brood_queue_deaths(queue), 0);
    close(ends[0]);
    brood_queue_free(queue);
}

TEST(a_message_that_another_program_took_and_died_with_comes_back)
{
    brood_queue *queue = new_queue(sizeof(int));
    int value = 5;
    int ends[2];
    char ready;
    pid_t pid;

    CHECK_OK(brood_queue_put(queue, &value, sizeof value, 0));
    CHECK_OK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends));
    pid = start_stranger(ends[1], ends[0], "take");
    CHECK_OK(brood_ref_send(ends[0], brood_queue_ref(queue), TEST_PATIENCE_MS));
    CHECK_EQ(read(ends[0], &ready, 1), 1);
    CHECK_ERR(brood_queue_get(queue, &value, sizeof value, 0), -ETIMEDOUT);
    CHECK_OK(kill(pid, SIGKILL));
    CHECK_EQ(take_int(queue), 5);
    CHECK_EQ(brood_queue_deaths(queue), 1);
    (void)exit_status(pid);
    close(ends[0]);
    brood_queue_free(queue);
}

/* ---- refs that name nothing ---- */

TEST(a_ref_of_nothing_opens_nothing)
{
    brood_queue *queue = NULL;
    brood_region *region = NULL;
    brood_pipe *pipe = NULL;
    const brood_ref none = {{0, 0}};
    const brood_ref nobodys = {{UINT64_C(0x123456789abcdef0), 4096}};

    CHECK_ERR(brood_queue_open(&queue, none), -EINVAL);
    CHECK_ERR(brood_region_open(&region, none), -EINVAL);
    CHECK_ERR(brood_pipe_open(&pipe, none), -EINVAL);
    CHECK_ERR(brood_queue_open(&queue, nobodys), BROOD_EREF);
    CHECK_ERR(brood_region_open(&region, nobodys), BROOD_EREF);
}

TEST(a_ref_of_a_queue_that_is_gone_opens_nothing)
{
    brood_queue *queue = new_queue(0);
    brood_ref ref = brood_queue_ref(queue);

    brood_queue_free(queue);
    queue = NULL;
    CHECK_ERR(brood_queue_open(&queue, ref), BROOD_EREF);
}

TEST(a_ref_opens_as_what_it_is_and_nothing_else)
{
    brood_queue *queue = new_queue(0);
    brood_region *region = NULL;
    brood_pipe *pipe = NULL;

    CHECK_ERR(brood_region_open(&region, brood_queue_ref(queue)), -EINVAL);
    CHECK_ERR(brood_pipe_open(&pipe, brood_queue_ref(queue)), -EINVAL);
    brood_queue_free(queue);
    queue = NULL;
    CHECK_OK(brood_region_new(&region, NULL));
    CHECK_ERR(brood_queue_open(&queue, brood_region_ref(region, brood_region_alloc(region, 64))),
              -EINVAL);
    brood_region_free(region);
}
