/* SPDX-License-Identifier: MIT */
/*
 * Waiting for the first of several objects of any kind. Promise: the index of the first that is
 * ready, nothing taken from it, no CPU burnt and no wait that does not end; and wrong handles are
 * named.
 */
#include "harness/gate.h"
#include "harness/test.h"

#include <brood.h>
#include <brood/wait.h>

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { COUNT = 6, MANY = 100 };

struct zoo {
    brood_process *process;
    brood_pool *pool;
    brood_future *future;
    brood_group *group;
    brood_queue *queue;
    brood_pipe *left, *right;
    struct gate *go;
};

static struct gate *go; /* inherited by workers and children */
static const brood_process_options beside_threads = {.allow_threads = true}; /* of sanitizers */

static int wait_for_gate(void *unused)
{
    (void)unused;
    gate_wait(go);
    return 0;
}

static int task_for_gate(brood_task *task)
{
    (void)task;
    gate_wait(go);
    return 0;
}

static void called_back(const brood_result *result, void *context)
{
    (void)result;
    (void)context;
}

/* Objects in the order of COUNT; none is ready. */
static void new_zoo(struct zoo *zoo, void *objects[COUNT])
{
    *zoo = (struct zoo){.go = gate_new()};
    go = zoo->go;
    CHECK_OK(brood_process_start(&zoo->process, wait_for_gate, NULL, 0, &beside_threads));
    CHECK_OK(
        brood_pool_new(&zoo->pool, &(brood_pool_options){.workers = 3, .allow_threads = true}));
    CHECK_OK(brood_pool_submit(zoo->pool, task_for_gate, NULL, 0, NULL, &zoo->future));
    CHECK_OK(brood_group_new(&zoo->group, zoo->pool, NULL));
    CHECK_OK(brood_group_submit(zoo->group, task_for_gate, NULL, 0, NULL));
    CHECK_OK(brood_pool_submit(zoo->pool, task_for_gate, NULL, 0,
                               &(brood_task_options){.on_done = called_back}, NULL));
    CHECK_OK(brood_queue_new(&zoo->queue, NULL));
    CHECK_OK(brood_pipe_new(&zoo->left, &zoo->right, NULL));
    memcpy(
        objects,
        (void *[COUNT]){zoo->pool, zoo->future, zoo->group, zoo->process, zoo->queue, zoo->right},
        sizeof(void *) * COUNT);
}

static void free_zoo(struct zoo *zoo)
{
    gate_open(zoo->go);
    brood_process_free(zoo->process);
    brood_future_free(zoo->future);
    brood_group_free(zoo->group);
    brood_pool_free(zoo->pool);
    brood_queue_free(zoo->queue);
    brood_pipe_free(zoo->left);
    brood_pipe_free(zoo->right);
    gate_free(zoo->go);
}

TEST(a_queue_is_ready_as_soon_as_its_put_has_returned)
{
    for (int i = 0; i < 100; i++) {
        brood_queue *queue = NULL;
        void *object;
        char byte;

        CHECK_OK(brood_queue_new(&queue, NULL));
        object = queue;
        CHECK_OK(brood_queue_put(queue, "x", 1, 0));
        CHECK_EQ(brood_wait_any(&object, 1, 0), 0);
        CHECK_EQ(brood_queue_get(queue, &byte, 1, 0), 1);
        CHECK_ERR(brood_wait_any(&object, 1, 0), -ETIMEDOUT);
        CHECK_OK(brood_queue_put(queue, "x", 1, 0));
        CHECK_EQ(brood_wait_any(&object, 1, 0), 0);
        brood_queue_free(queue);
    }
}

TEST(the_index_of_the_first_that_is_ready_is_returned)
{
    struct zoo zoo;
    void *objects[COUNT];
    char bytes[8];

    new_zoo(&zoo, objects);
    CHECK_ERR(brood_wait_any(objects, COUNT, 0), -ETIMEDOUT);
    CHECK_ERR(brood_wait_any(objects, COUNT, 30), -ETIMEDOUT);
    CHECK_OK(brood_pipe_put(zoo.left, "long", 4, 0));
    CHECK_EQ(brood_wait_any(objects, COUNT, BROOD_FOREVER), 5);
    CHECK_ERR(brood_pipe_get(zoo.right, bytes, 1, NULL, 0), -EMSGSIZE);
    CHECK_EQ(brood_wait_any(objects, COUNT, BROOD_FOREVER), 5);
    CHECK_OK(brood_queue_put(zoo.queue, "x", 1, 0));
    CHECK_EQ(brood_wait_any(objects + 4, 1, BROOD_FOREVER), 0);
    CHECK_EQ(brood_wait_any(objects, COUNT, BROOD_FOREVER), 4);
    CHECK_EQ(brood_queue_get(zoo.queue, bytes, 1, 0), 1);
    CHECK_ERR(brood_wait_any(objects, 5, 0), -ETIMEDOUT);
    CHECK_EQ(brood_wait_any(objects, COUNT, BROOD_FOREVER), 5);
    CHECK_EQ(brood_pipe_get(zoo.right, bytes, 8, NULL, 0), 1);
    CHECK_ERR(brood_wait_any(objects, COUNT, 0), -ETIMEDOUT);
    gate_open(zoo.go);
    for (int i = 0; i < 4; i++) /* each in turn is the only one */
        CHECK_EQ(brood_wait_any(&objects[i], 1, TEST_PATIENCE_MS), 0);
    CHECK_EQ(brood_wait_any(objects, COUNT, BROOD_FOREVER), 0);
    CHECK_EQ(brood_pool_dispatch(zoo.pool), 1);
    CHECK_EQ(brood_wait_any(objects, COUNT, BROOD_FOREVER), 1);
    CHECK_EQ(brood_wait_any(objects + 2, 2, BROOD_FOREVER), 0);
    free_zoo(&zoo);
}

TEST(a_killed_process_and_a_closed_end_are_ready)
{
    brood_pipe *left = NULL, *right = NULL;
    brood_process *process = NULL;
    void *objects[2];

    go = gate_new();
    CHECK_OK(brood_pipe_new(&left, &right, NULL));
    CHECK_OK(brood_process_start(&process, wait_for_gate, NULL, 0, &beside_threads));
    objects[0] = right;
    objects[1] = process;
    CHECK_OK(brood_process_kill(process));
    CHECK_EQ(brood_wait_any(objects, 2, TEST_PATIENCE_MS), 1);
    brood_process_free(process);
    brood_pipe_free(left);
    CHECK_EQ(brood_wait_any(objects, 1, TEST_PATIENCE_MS), 0);
    brood_pipe_free(right);
    gate_free(go);
}

TEST(a_message_that_somebody_else_took_is_waited_for_no_more)
{
    brood_queue *queue = NULL;
    void *objects[1];
    char byte;

    CHECK_OK(brood_queue_new(&queue, NULL));
    objects[0] = queue;
    for (int i = 0; i < 20; i++) {
        int status;
        pid_t pid;

        CHECK_OK(brood_queue_put(queue, "x", 1, 0));
        CHECK_EQ(brood_wait_any(objects, 1, TEST_PATIENCE_MS), 0);
        pid = CHECK_OK(fork());
        if (pid == 0) {
            CHECK_EQ(brood_queue_get(queue, &byte, 1, 0), 1);
            brood_queue_free(queue);
            _exit(0);
        }
        CHECK_EQ(waitpid(pid, &status, 0), pid);
        CHECK_EQ(status, 0);
        CHECK_ERR(brood_wait_any(objects, 1, 0), -ETIMEDOUT);
    }
    brood_queue_free(queue);
}

TEST(many_objects_are_as_good_as_few)
{
    brood_pipe *left[MANY], *right[MANY];
    void *objects[MANY];

    for (int i = 0; i < MANY; i++) {
        CHECK_OK(brood_pipe_new(&left[i], &right[i],
                                &(brood_pipe_options){.one_way = true, .stream = i % 2 != 0}));
        objects[i] = left[i];
    }
    CHECK_ERR(brood_wait_any(objects, MANY, 0), -ETIMEDOUT);
    CHECK_OK(brood_pipe_put(right[98], "x", 1, 0));
    CHECK_EQ(brood_wait_any(objects, MANY, BROOD_FOREVER), 98);
    CHECK_OK(brood_pipe_write(right[71], "x", 1, 0));
    CHECK_EQ(brood_wait_any(objects, MANY, BROOD_FOREVER), 71);
    for (int i = 0; i < MANY; i++) {
        brood_pipe_free(left[i]);
        brood_pipe_free(right[i]);
    }
}

TEST(wrong_objects_are_named)
{
    brood_pipe *left = NULL, *right = NULL;
    void *objects[2];

    CHECK_OK(brood_pipe_new(&left, &right, &(brood_pipe_options){.one_way = true}));
    objects[0] = left;
    objects[1] = NULL;
    CHECK_ERR(brood_wait_any(NULL, 1, 0), -EINVAL);
    CHECK_ERR(brood_wait_any(objects, 0, 0), -EINVAL);
    CHECK_ERR(brood_wait_any(objects, (size_t)INT_MAX + 1, 0), -EINVAL);
    CHECK_ERR(brood_wait_any(objects, 2, 0), BROOD_EHANDLE);
    objects[1] = right;
    CHECK_ERR(brood_wait_any(objects, 2, 0), -EINVAL);
    brood_pipe_free(left);
    brood_pipe_free(right);
    CHECK_ERR(brood_wait_any(objects, 1, 0), BROOD_EHANDLE);
}
