/* SPDX-License-Identifier: MIT */
/*
 * Whose a message is, and whose news a death is. Promise: a message in place is ended by the
 * process that has it and by no copy of that, a process that ends in good order is no death, and
 * each death is told once to those who exchange messages and once to those who wait for the end.
 */
#include "api/queue_kit.h"
#include "harness/gate.h"
#include "harness/test.h"

#include <brood/process.h>
#include <brood/queue.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static brood_message parents[2]; /* taken, reserved */

/* Each copy is as good as the other until it is tried. */
static void end_what_is_the_parents(brood_queue *queue)
{
    brood_message taken[2] = {parents[0], parents[0]};
    brood_message reserved[3] = {parents[1], parents[1], parents[1]};
    const brood_message none = {0};

    brood_message_done(&taken[0]);
    brood_message_return(&taken[1]);
    brood_message_done(&reserved[0]);
    brood_message_return(&reserved[1]);
    CHECK_ERR(brood_queue_send(queue, &reserved[2]), BROOD_EFORKED);
    CHECK(memcmp(&reserved[2], &parents[1], sizeof parents[1]) == 0);
    CHECK(memcmp(&taken[0], &none, sizeof none) == 0 && memcmp(&taken[1], &none, sizeof none) == 0);
    CHECK_ERR(get_int(queue, 0), -ETIMEDOUT);
    CHECK_ERR(brood_queue_join(queue, 0), -ETIMEDOUT);
}

TEST(a_forked_child_ends_no_message_of_its_parent)
{
    brood_queue *queue = new_queue(NULL);

    CHECK_EQ(put_int(queue, 42, 0), 0);
    CHECK_EQ(brood_queue_take(queue, 0, &parents[0]), 1);
    CHECK_EQ(brood_queue_reserve(queue, sizeof(int), 0, &parents[1]), 0);
    memcpy(parents[1].data, &(int){43}, sizeof(int));
    await(start(end_what_is_the_parents, queue));
    CHECK_EQ(memcmp(parents[0].data, &(int){42}, sizeof(int)), 0);
    brood_message_return(&parents[0]);
    CHECK_EQ(brood_queue_send(queue, &parents[1]), 0);
    CHECK_EQ(get_int(queue, 0), 42);
    CHECK_EQ(get_int(queue, 0), 43);
    brood_queue_free(queue);
}

static void *send_and_return(void *queue)
{
    CHECK_EQ(brood_queue_send(queue, &parents[1]), 0);
    brood_message_return(&parents[0]);
    return NULL;
}

static void *take_only(void *queue)
{
    CHECK_EQ(brood_queue_take(queue, 0, &parents[0]), 1);
    return NULL;
}

TEST(another_thread_of_a_process_ends_its_messages_as_long_as_their_own_lives)
{
    brood_queue *queue = new_queue(NULL);

    CHECK_EQ(put_int(queue, 42, 0), 0);
    CHECK_EQ(brood_queue_take(queue, 0, &parents[0]), 1);
    CHECK_EQ(brood_queue_reserve(queue, sizeof(int), 0, &parents[1]), 0);
    memcpy(parents[1].data, &(int){43}, sizeof(int));
    in_thread(send_and_return, queue);
    CHECK_EQ(get_int(queue, 0), 42);
    CHECK_EQ(get_int(queue, 0), 43);
    CHECK_EQ(put_int(queue, 44, 0), 0);
    in_thread(take_only, queue);
    brood_message_done(&parents[0]); /* it went back with its thread */
    CHECK_EQ(get_int(queue, 0), 44);
    brood_queue_free(queue);
}

/* ---- deaths ---- */

static struct gate *here;

static void *get_for_ever(void *queue)
{
    CHECK_ERR(get_int(queue, 0), -ETIMEDOUT);
    gate_open(here);
    (void)get_int(queue, BROOD_FOREVER);
    return NULL;
}

static void exit_with_a_descriptor(brood_queue *queue)
{
    pthread_t getter;

    CHECK_EQ(put_int(queue, 1, 0), 0);
    CHECK(polls(CHECK_OK(brood_queue_fd(queue)), (int)TEST_PATIENCE_MS));
    CHECK_EQ(get_int(queue, 0), 1);
    CHECK_EQ(pthread_create(&getter, NULL, get_for_ever, queue), 0);
    gate_wait(here);
    exit(0);
}

/* Threads of brood and of the user's that wait are no deaths when their process exits. */
TEST(a_process_that_exits_with_a_descriptor_of_a_queue_is_no_death)
{
    brood_queue *queue = new_queue(&(brood_queue_options){.report_deaths = true});

    here = gate_new();
    await(start(exit_with_a_descriptor, queue));
    CHECK_ERR(get_int(queue, 0), -ETIMEDOUT);
    CHECK_EQ(brood_queue_deaths(queue), 0);
    CHECK_ERR(get_int(queue, 0), -ETIMEDOUT);
    gate_free(here);
    brood_queue_free(queue);
}

static brood_queue *watched;

static int ask_for_a_descriptor(void *unused)
{
    pthread_t getter;

    (void)unused;
    CHECK(!polls(CHECK_OK(brood_queue_fd(watched)), 0));
    CHECK_EQ(pthread_create(&getter, NULL, get_for_ever, watched), 0);
    gate_wait(here);
    return 7;
}

/* It ends by _exit(), and in good order all the same. */
TEST(a_process_of_brood_that_returns_with_threads_at_a_queue_is_no_death)
{
    brood_process *process = NULL;
    int code = -1;

    if (TEST_TSAN)
        SKIP("it has a thread of its own");
    watched = new_queue(&(brood_queue_options){.report_deaths = true});
    here = gate_new();
    CHECK_OK(brood_process_start(&process, ask_for_a_descriptor, NULL, 0, NULL));
    CHECK_OK(brood_process_join(process, TEST_PATIENCE_MS, NULL));
    CHECK_EQ(brood_process_exit_code(process, &code), 1);
    CHECK_EQ(code, 7);
    CHECK_EQ(brood_queue_deaths(watched), 0);
    CHECK_ERR(get_int(watched, 0), -ETIMEDOUT);
    brood_process_free(process);
    gate_free(here);
    brood_queue_free(watched);
}

static void use_and_stay(brood_queue *queue)
{
    CHECK_ERR(get_int(queue, 0), -ETIMEDOUT);
    gate_open(here);
    for (;;)
        (void)pause();
}

/* Who joins has not heard it in place of the one that gets, nor of the descriptor that says that
 * get would not wait. */
TEST(a_death_is_told_to_those_who_join_and_to_those_who_get)
{
    brood_queue *queue = new_queue(&(brood_queue_options){.report_deaths = true});
    int fd = CHECK_OK(brood_queue_fd(queue));
    brood_message message;
    pid_t victim;

    here = gate_new();
    CHECK_EQ(put_int(queue, 42, 0), 0);
    CHECK_EQ(brood_queue_take(queue, 0, &message), 1);
    CHECK(!polls(fd, 0));
    victim = start(use_and_stay, queue);
    gate_wait(here);
    end(victim);
    CHECK_ERR(brood_queue_join(queue, BROOD_FOREVER), BROOD_EPEER);
    CHECK_ERR(brood_queue_join(queue, 10), -ETIMEDOUT);
    CHECK(polls(fd, (int)TEST_PATIENCE_MS));
    CHECK_ERR(get_int(queue, BROOD_FOREVER), BROOD_EPEER);
    CHECK_ERR(get_int(queue, 10), -ETIMEDOUT);
    CHECK(!polls(fd, 0));
    brood_message_done(&message);
    CHECK_EQ(brood_queue_join(queue, BROOD_FOREVER), 0);
    gate_free(here);
    brood_queue_free(queue);
}
