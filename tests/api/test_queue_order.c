/* SPDX-License-Identifier: MIT */
/*
 * The law of a queue where the simple cases do not reach: messages that were given up, taken for
 * long, returned, packed; who may overtake whom, and when a closed queue has come to its end.
 */
#include "harness/gate.h"
#include "harness/test.h"

#include <brood.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static brood_queue *new_queue(const brood_queue_options *options)
{
    brood_queue *queue = NULL;

    CHECK_OK(brood_queue_new(&queue, options));
    return queue;
}

static void put_int(brood_queue *queue, int value)
{
    CHECK_OK(brood_queue_put(queue, &value, sizeof value, 0));
}

static int get_int(brood_queue *queue)
{
    int value = -1;

    CHECK_EQ(brood_queue_get(queue, &value, sizeof value, TEST_PATIENCE_MS), 1);
    return value;
}

static brood_message taken(brood_queue *queue)
{
    brood_message message;

    CHECK_EQ(brood_queue_take(queue, TEST_PATIENCE_MS, &message), 1);
    return message;
}

TEST(messages_given_up_for_many_laps_do_not_hide_the_next_one)
{
    brood_queue *queue = new_queue(&(brood_queue_options){.item_size = sizeof(int), .capacity = 4});
    brood_message message;

    for (int i = 0; i < 100; i++) {
        CHECK_OK(brood_queue_reserve(queue, sizeof(int), 0, &message));
        brood_message_done(&message);
    }
    put_int(queue, 8);
    CHECK_EQ(brood_queue_size(queue), 1);
    CHECK_OK(brood_queue_fd(queue) >= 0 ? 0 : -1);
    CHECK_EQ(get_int(queue), 8);
    CHECK_OK(brood_queue_join(queue, 0));
    brood_queue_free(queue);
}

TEST(a_message_that_is_taken_lets_others_pass_and_comes_back_first)
{
    brood_queue *queue = new_queue(&(brood_queue_options){.item_size = sizeof(int)});
    brood_message first;

    for (int i = 0; i < 3; i++)
        put_int(queue, i);
    first = taken(queue);
    CHECK_EQ(*(int *)first.data, 0);
    CHECK_EQ(get_int(queue), 1);
    brood_message_return(&first);
    CHECK(first.data == NULL);
    CHECK_EQ(get_int(queue), 0);
    CHECK_EQ(get_int(queue), 2);
    brood_queue_free(queue);
}

TEST(a_taken_message_keeps_its_cell_so_that_the_queue_is_full_with_it)
{
    brood_queue *queue = new_queue(&(brood_queue_options){.item_size = sizeof(int), .capacity = 2});
    brood_message first;
    int value = 9;

    put_int(queue, 1);
    put_int(queue, 2);
    first = taken(queue);
    CHECK_ERR(brood_queue_put(queue, &value, sizeof value, 0), -ETIMEDOUT);
    brood_message_done(&first);
    put_int(queue, 3);
    CHECK_EQ(get_int(queue), 2);
    CHECK_EQ(get_int(queue), 3);
    brood_queue_free(queue);
}

/* ---- the end ---- */

struct getter {
    brood_queue *queue;
    struct gate *started;
    int result, value;
};

static void *get_one(void *arg)
{
    struct getter *getter = arg;

    gate_open(getter->started);
    getter->result =
        brood_queue_get(getter->queue, &getter->value, sizeof getter->value, TEST_PATIENCE_MS);
    return NULL;
}

static pthread_t start_getter(struct getter *getter, brood_queue *queue)
{
    pthread_t thread;

    getter->queue = queue;
    getter->started = gate_new();
    CHECK_EQ(pthread_create(&thread, NULL, get_one, getter), 0);
    gate_wait(getter->started);
    return thread;
}

static void end_getter(struct getter *getter, pthread_t thread)
{
    CHECK_EQ(pthread_join(thread, NULL), 0);
    gate_free(getter->started);
}

TEST(a_closed_queue_is_not_at_its_end_while_a_message_may_come_back)
{
    brood_queue *queue = new_queue(&(brood_queue_options){.item_size = sizeof(int)});
    struct getter getter = {0};
    brood_message message;
    pthread_t thread;

    put_int(queue, 4);
    message = taken(queue);
    brood_queue_close(queue);
    thread = start_getter(&getter, queue);
    brood_message_return(&message);
    end_getter(&getter, thread);
    CHECK_EQ(getter.result, 1);
    CHECK_EQ(getter.value, 4);
    CHECK_EQ(brood_queue_get(queue, &getter.value, sizeof getter.value, TEST_PATIENCE_MS), 0);
    brood_queue_free(queue);
}

TEST(the_end_comes_to_waiting_getters_when_the_last_taken_message_is_done)
{
    brood_queue *queue = new_queue(&(brood_queue_options){.item_size = sizeof(int)});
    struct getter getters[3] = {{0}};
    pthread_t threads[3];
    brood_message message;

    put_int(queue, 4);
    message = taken(queue);
    brood_queue_close(queue);
    for (int i = 0; i < 3; i++)
        threads[i] = start_getter(&getters[i], queue);
    brood_message_done(&message);
    for (int i = 0; i < 3; i++) {
        end_getter(&getters[i], threads[i]);
        CHECK_EQ(getters[i].result, 0);
    }
    brood_queue_free(queue);
}

TEST(a_message_reserved_before_the_close_is_refused_at_send_and_the_end_is_clear)
{
    brood_queue *queue = new_queue(&(brood_queue_options){.item_size = sizeof(int)});
    brood_message message;
    int value;

    CHECK_OK(brood_queue_reserve(queue, sizeof(int), 0, &message));
    brood_queue_close(queue);
    CHECK_ERR(brood_queue_get(queue, &value, sizeof value, 0), -ETIMEDOUT);
    CHECK_ERR(brood_queue_send(queue, &message), BROOD_ECLOSED);
    CHECK(message.data == NULL);
    CHECK_EQ(brood_queue_get(queue, &value, sizeof value, 0), 0);
    CHECK_ERR(brood_queue_put(queue, &value, sizeof value, 0), BROOD_ECLOSED);
    brood_queue_free(queue);
}

/* ---- packed items ---- */

TEST(packed_items_come_one_by_one_and_in_many_and_in_order)
{
    brood_queue *queue = new_queue(&(brood_queue_options){.item_size = sizeof(int), .pack = true});
    int items[40], got[40];
    int next = 0;

    CHECK(brood_queue_pack(queue) > 1);
    for (int i = 0; i < 40; i++)
        items[i] = i;
    CHECK_EQ(brood_queue_put_many(queue, items, 40, 0), 40);
    CHECK_EQ(brood_queue_size(queue), 40);
    CHECK_EQ(get_int(queue), next++);
    CHECK_EQ(brood_queue_get_many(queue, got, 7, 0), 7);
    for (int i = 0; i < 7; i++)
        CHECK_EQ(got[i], next++);
    CHECK_EQ(get_int(queue), next++);
    CHECK_EQ(brood_queue_size(queue), 40 - next);
    CHECK_EQ(brood_queue_get_many(queue, got, 40, 0), 40 - next);
    for (int i = 0; next < 40; i++)
        CHECK_EQ(got[i], next++);
    CHECK_OK(brood_queue_join(queue, 0));
    brood_queue_free(queue);
}

TEST(nothing_is_taken_or_reserved_in_a_queue_that_packs)
{
    brood_queue *queue =
        new_queue(&(brood_queue_options){.item_size = sizeof(int), .pack = true, .capacity = 2});
    int items[300] = {0};
    int held = 2 * brood_queue_pack(queue);
    brood_message message;

    CHECK_ERR(brood_queue_reserve(queue, sizeof(int), 0, &message), -EINVAL);
    CHECK_EQ(brood_queue_put_many(queue, items, 300, 0), held);
    CHECK_ERR(brood_queue_take(queue, 0, &message), -EINVAL);
    CHECK_EQ(brood_queue_size(queue), held);
    brood_queue_free(queue);
}

TEST(a_queue_that_does_not_pack_holds_its_capacity)
{
    brood_queue *queue = new_queue(&(brood_queue_options){.item_size = 1, .capacity = 200});
    char items[300] = {0};

    CHECK_EQ(brood_queue_pack(queue), 1);
    CHECK_EQ(brood_queue_put_many(queue, items, 300, 0), 200);
    CHECK_EQ(brood_queue_get_many(queue, items, 300, 0), 200);
    brood_queue_free(queue);
}

/* ---- handles that are gone ---- */

TEST(a_message_of_a_freed_handle_does_nothing_to_the_next_queue)
{
    brood_queue *queue = new_queue(&(brood_queue_options){.item_size = sizeof(int)});
    brood_message stale, message;

    put_int(queue, 1);
    stale = taken(queue);
    brood_queue_free(queue);
    brood_message_done(&stale);
    CHECK(stale.data == NULL);
    queue = new_queue(&(brood_queue_options){.item_size = sizeof(int)});
    put_int(queue, 1);
    stale = taken(queue);
    brood_queue_free(queue);
    queue = new_queue(&(brood_queue_options){.item_size = sizeof(int)});
    put_int(queue, 2);
    message = taken(queue);
    brood_message_done(&stale);
    brood_message_return(&message);
    CHECK_EQ(get_int(queue), 2);
    brood_queue_free(queue);
}

TEST(a_closed_queue_polls_readable_only_at_its_end)
{
    brood_queue *queue = new_queue(&(brood_queue_options){.item_size = sizeof(int)});
    struct pollfd poll_fd = {.events = POLLIN};
    brood_message message;
    int value;

    put_int(queue, 1);
    message = taken(queue);
    poll_fd.fd = CHECK_OK(brood_queue_fd(queue));
    brood_queue_close(queue);
    CHECK_ERR(brood_queue_get(queue, &value, sizeof value, 0), -ETIMEDOUT);
    CHECK_EQ(poll(&poll_fd, 1, 50), 0);
    brood_message_done(&message);
    CHECK_EQ(poll(&poll_fd, 1, (int)TEST_PATIENCE_MS), 1);
    CHECK_EQ(brood_queue_get(queue, &value, sizeof value, 0), 0);
    brood_queue_free(queue);
}

TEST(put_many_puts_what_there_is_room_for)
{
    brood_queue *queue = new_queue(&(brood_queue_options){.item_size = 200, .capacity = 3});
    char items[5][200];
    char got[5][200];

    memset(items, 0, sizeof items);
    for (int i = 0; i < 5; i++)
        items[i][0] = (char)i;
    CHECK_EQ(brood_queue_pack(queue), 1);
    CHECK_EQ(brood_queue_put_many(queue, items, 5, 0), 3);
    CHECK_ERR(brood_queue_put_many(queue, items, 1, 0), -ETIMEDOUT);
    CHECK_EQ(brood_queue_get_many(queue, got, 5, 0), 3);
    for (int i = 0; i < 3; i++)
        CHECK_EQ(got[i][0], i);
    CHECK_ERR(brood_queue_get_many(queue, got, 5, 0), -ETIMEDOUT);
    brood_queue_free(queue);
}

TEST(items_too_large_for_a_cell_go_in_many_too)
{
    enum { LEN = 10000 };
    brood_queue *queue = new_queue(&(brood_queue_options){.item_size = LEN, .capacity = 8});
    static char items[4][LEN], got[4][LEN];

    for (int i = 0; i < 4; i++)
        memset(items[i], 'a' + i, LEN);
    CHECK_EQ(brood_queue_put_many(queue, items, 4, 0), 4);
    CHECK_EQ(brood_queue_get_many(queue, got, 4, 0), 4);
    CHECK_EQ(memcmp(items, got, sizeof got), 0);
    brood_queue_free(queue);
}

/* ---- threads that end ---- */

static void *take_and_end(void *arg)
{
    brood_message *message = arg;
    brood_queue *queue = (brood_queue *)message->data;

    CHECK_EQ(brood_queue_take(queue, 0, message), 1);
    return NULL;
}

TEST(a_message_taken_by_a_thread_that_ended_goes_back_and_cannot_be_done_any_more)
{
    brood_queue *queue = new_queue(&(brood_queue_options){.item_size = sizeof(int)});
    brood_message message = {.data = queue};
    pthread_t thread;

    put_int(queue, 6);
    CHECK_EQ(pthread_create(&thread, NULL, take_and_end, &message), 0);
    CHECK_EQ(pthread_join(thread, NULL), 0);
    CHECK_EQ(get_int(queue), 6);
    put_int(queue, 7);
    brood_message_done(&message);
    CHECK_EQ(get_int(queue), 7);
    brood_queue_free(queue);
}

static void *reserve_and_end(void *arg)
{
    brood_message *message = arg;
    brood_queue *queue = (brood_queue *)message->data;

    CHECK_OK(brood_queue_reserve(queue, 5000, 0, message));
    return NULL;
}

TEST(a_message_reserved_by_a_thread_that_ended_cannot_be_sent)
{
    brood_queue *queue = new_queue(&(brood_queue_options){.capacity = 2});
    brood_message message = {.data = queue};
    char text[3];
    pthread_t thread;

    CHECK_EQ(pthread_create(&thread, NULL, reserve_and_end, &message), 0);
    CHECK_EQ(pthread_join(thread, NULL), 0);
    for (int i = 0; i < 4; i++) {
        CHECK_OK(brood_queue_put(queue, "abc", 3, 0));
        CHECK_EQ(brood_queue_get(queue, text, 3, 0), 1);
    }
    CHECK_ERR(brood_queue_send(queue, &message), -EOWNERDEAD);
    CHECK_ERR(brood_queue_get(queue, text, 3, 0), -ETIMEDOUT);
    brood_queue_free(queue);
}

TEST(what_has_another_size_stays_and_can_be_taken)
{
    brood_queue *queue = new_queue(NULL);
    brood_message message;
    char text[4];

    CHECK_OK(brood_queue_put(queue, "four", 4, 0));
    CHECK_OK(brood_queue_put(queue, "", 0, 0));
    CHECK_ERR(brood_queue_get(queue, text, 3, 0), -EMSGSIZE);
    message = taken(queue);
    CHECK_EQ(message.len, 4);
    CHECK_EQ(memcmp(message.data, "four", 4), 0);
    brood_message_done(&message);
    CHECK_EQ(brood_queue_get(queue, NULL, 0, 0), 1);
    brood_queue_free(queue);
}

TEST(memory_for_large_messages_is_waited_for_and_comes_back)
{
    enum { LEN = 600000 };
    brood_queue *queue = new_queue(&(brood_queue_options){.memory_max = 1000000});
    static char data[LEN];

    for (int i = 0; i < 20; i++) {
        CHECK_OK(brood_queue_put(queue, data, LEN, 0));
        CHECK_ERR(brood_queue_put(queue, data, LEN, 0), -ETIMEDOUT);
        CHECK_OK(brood_queue_put(queue, data, 200, 0));
        CHECK_EQ(brood_queue_get(queue, data, LEN, 0), 1);
        CHECK_EQ(brood_queue_get(queue, data, 200, 0), 1);
    }
    CHECK_ERR(brood_queue_put(queue, data, (size_t)2 << 20, 0), -EMSGSIZE);
    brood_queue_free(queue);
}
