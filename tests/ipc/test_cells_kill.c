/* SPDX-License-Identifier: MIT */
/*
 * A participant of a queue may be killed, or held up, before any of its instructions, and still
 * each message that was put is got once, whole and in order, nobody sleeps over anything, and the
 * queue is as good as new. Small messages, which lie in the cells; those in blocks, and what a
 * handle's life has, are in test_queue_kill.c.
 *
 * The scene, and the questions asked after each death, are in queue_scene.h.
 *
 * This file is compiled again for each mutant of cells.c, queue_wait.c and queue_copy.c
 * (BROOD_MUTANT), in which one of the tests must fail; those at the end look whether they do.
 */
#include "ipc/queue_scene.h"

#include <fcntl.h>

#ifndef BROOD_MUTANT
#define BROOD_MUTANT 0
#endif

/* ---- what victims do ---- */

static void put_one(struct queue_scene *scene)
{
    (void)scene_put_text(scene, 0);
}

static void put_waiting(struct queue_scene *scene)
{
    (void)scene_put_text(scene, BROOD_FOREVER);
}

static void get_one(struct queue_scene *scene)
{
    unsigned party = 0, number = 0;

    (void)scene_get(scene, 0, &party, &number);
}

static void get_waiting(struct queue_scene *scene)
{
    unsigned party = 0, number = 0;

    (void)scene_get(scene, BROOD_FOREVER, &party, &number);
}

static void join_waiting(struct queue_scene *scene)
{
    CHECK_EQ(brood_queue_join(scene->queue, BROOD_FOREVER), 0);
}

static void close_it(struct queue_scene *scene)
{
    brood_queue_close(scene->queue);
}

static void reserve_one(struct queue_scene *scene)
{
    CHECK_EQ(brood_queue_reserve(scene->queue, scene_len(scene), 0, &scene->message), 0);
}

static void reserve_and_fill(struct queue_scene *scene)
{
    reserve_one(scene);
    message_fill(scene->message.data, scene_len(scene), VICTIM, 0);
}

static void send_one(struct queue_scene *scene)
{
    if (brood_queue_send(scene->queue, &scene->message) == 0)
        (void)atomic_fetch_add(&scene->books->put[VICTIM][0], 1);
}

static void take_one(struct queue_scene *scene)
{
    CHECK_EQ(brood_queue_take(scene->queue, 0, &scene->message), 1);
}

static void done_one(struct queue_scene *scene)
{
    unsigned party = 0, number = 0;

    memcpy(scene->text, scene->message.data, scene->message.len);
    brood_message_done(&scene->message);
    scene_book(scene, &party, &number);
}

static void drop_one(struct queue_scene *scene)
{
    brood_message_done(&scene->message);
}

static void return_one(struct queue_scene *scene)
{
    brood_message_return(&scene->message);
}

/* ---- killed ---- */

TEST_LIMIT(a_producer_may_die_in_a_put, 300)
{
    struct queue_scene scene = {.operate = put_one, .messages = 1};

    scene_kill(&scene, "put");
}

TEST_LIMIT(a_producer_may_die_in_its_first_put, 300)
{
    struct queue_scene scene = {.operate = put_one, .messages = 1, .getters = 0, .joins = true};

    scene_kill(&scene, "join and put");
}

TEST_LIMIT(a_getter_sleeps_over_no_put_that_died, 300)
{
    struct queue_scene scene = {.operate = put_one, .getters = 1};

    scene_kill(&scene, "put with a sleeping getter");
}

TEST_LIMIT(a_getter_sleeps_over_no_first_put_that_died, 300)
{
    struct queue_scene scene = {.operate = put_one, .getters = 1, .joins = true};

    scene_kill(&scene, "join and put with a sleeping getter");
}

TEST_LIMIT(a_producer_may_die_at_a_full_queue, 300)
{
    struct queue_scene scene = {.operate = put_waiting, .messages = SCENE_CAPACITY, .putters = 1};

    scene_kill(&scene, "put to a full ring, beside a sleeping putter");
}

TEST_LIMIT(a_consumer_may_die_in_a_get, 300)
{
    struct queue_scene scene = {.operate = get_one, .messages = 2, .lost_max = 1};

    scene_kill(&scene, "get");
}

TEST_LIMIT(a_consumer_may_die_while_it_falls_asleep, 300)
{
    struct queue_scene scene = {.operate = get_waiting, .getters = 1, .lost_max = 1};

    scene_kill(&scene, "get from an empty ring, beside a sleeping getter");
}

TEST_LIMIT(a_putter_sleeps_over_no_get_that_died, 300)
{
    struct queue_scene scene = {
        .operate = get_one, .messages = SCENE_CAPACITY, .putters = 1, .lost_max = 1};

    scene_kill(&scene, "get with a sleeping putter");
}

static void joiners_know(struct queue_scene *scene)
{
    if (scene->victim->finished)
        scene_await_done(scene, "a join sleeps, and everything is done");
}

TEST_LIMIT(a_join_sleeps_over_no_get_that_died, 300)
{
    struct queue_scene scene = {
        .operate = get_one, .messages = 1, .joiners = 1, .lost_max = 1, .look_after = joiners_know};

    scene_kill(&scene, "get with a sleeping joiner");
}

TEST_LIMIT(a_joiner_may_die, 300)
{
    struct queue_scene scene = {.operate = join_waiting, .messages = 1, .joiners = 1};

    scene_kill(&scene, "join, beside a sleeping joiner");
}

TEST_LIMIT(a_producer_may_die_with_a_reserved_message, 300)
{
    struct queue_scene scene = {.prepare = reserve_and_fill, .operate = send_one, .getters = 1};

    scene_kill(&scene, "send with a sleeping getter");
}

static void arrange_full_but_one(struct queue_scene *scene)
{
    for (unsigned i = 0; i < SCENE_CAPACITY - 1; i++)
        CHECK_EQ(scene_put(scene, OTHERS, i, 0), 0);
}

TEST_LIMIT(a_producer_may_die_while_it_drops_a_message, 300)
{
    struct queue_scene scene = {
        .prepare = reserve_one, .operate = drop_one, .arrange = arrange_full_but_one};

    scene_kill(&scene, "void");
}

TEST_LIMIT(a_consumer_may_die_in_a_take, 300)
{
    struct queue_scene scene = {.operate = take_one, .messages = 2};

    scene_kill(&scene, "take");
}

TEST_LIMIT(a_consumer_may_die_in_a_done, 300)
{
    struct queue_scene scene = {
        .prepare = take_one, .operate = done_one, .messages = 2, .joiners = 1, .lost_max = 1};

    scene_kill(&scene, "done, with a sleeping joiner");
}

TEST_LIMIT(a_consumer_may_die_in_a_return, 300)
{
    struct queue_scene scene = {
        .prepare = take_one, .operate = return_one, .messages = 2, .joiners = 1};

    scene_kill(&scene, "return");
}

/* The queue is closed, and the getter waits only for what the victim has. */
TEST_LIMIT(the_end_is_seen_when_the_last_message_dies_with_its_taker, 300)
{
    struct queue_scene scene = {.prepare = take_one,
                                .operate = done_one,
                                .messages = 1,
                                .closed = true,
                                .getters = 1,
                                .lost_max = 1};

    scene_kill(&scene, "done of the last message of a closed queue, with a sleeping getter");
}

static void all_wake_at_the_end(struct queue_scene *scene)
{
    if (scene->victim->finished)
        CHECK(cells_closed(&scene->queue->cells));
    if (cells_closed(&scene->queue->cells)) {
        scene_await_done(scene, "somebody sleeps, and the queue is closed");
        return;
    }
    brood_queue_close(scene->queue);
    scene_await_done(scene, "a close does not wake everybody");
}

TEST_LIMIT(who_closes_a_queue_may_die, 300)
{
    struct queue_scene scene = {
        .operate = close_it, .getters = 2, .look_after = all_wake_at_the_end};

    scene_kill(&scene, "close with sleeping getters");
}

TEST_LIMIT(who_closes_a_full_queue_may_die, 300)
{
    struct queue_scene scene = {.operate = close_it,
                                .messages = SCENE_CAPACITY,
                                .putters = 2,
                                .look_after = all_wake_at_the_end};

    scene_kill(&scene, "close with sleeping putters");
}

/* ---- packed ---- */

enum { ITEM_LEN = 16, ITEMS = 7, PACKED_CAPACITY = 124 };

static struct queue_scene packed_scene(scene_fn *operate)
{
    return (struct queue_scene){
        .options = {.item_size = ITEM_LEN, .capacity = PACKED_CAPACITY, .pack = true},
        .len = ITEM_LEN,
        .operate = operate,
    };
}

static void fill_items(char *items, unsigned party, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        message_fill(items + i * ITEM_LEN, ITEM_LEN, party, i);
}

static void put_items(struct queue_scene *scene, unsigned party)
{
    CHECK_EQ(brood_queue_put_many(scene->queue, scene->text, ITEMS, 0), ITEMS);
    for (unsigned i = 0; i < ITEMS; i++)
        (void)atomic_fetch_add(&scene->books->put[party][i], 1);
}

static void arrange_items(struct queue_scene *scene)
{
    CHECK(brood_queue_pack(scene->queue) >= ITEMS);
    fill_items(scene->text, OTHERS, ITEMS);
    put_items(scene, OTHERS);
}

static void get_some(struct queue_scene *scene)
{
    char items[ITEMS * ITEM_LEN];
    unsigned party = 0, number = 0;
    int r = brood_queue_get_many(scene->queue, items, 3, 0);

    for (int i = 0; i < r; i++) {
        memcpy(scene->text, items + i * ITEM_LEN, ITEM_LEN);
        scene_book(scene, &party, &number);
    }
}

static void prepare_items(struct queue_scene *scene)
{
    fill_items(scene->text + ITEM_LEN, VICTIM, ITEMS);
}

static void put_prepared(struct queue_scene *scene)
{
    memmove(scene->text, scene->text + ITEM_LEN, ITEMS * ITEM_LEN);
    put_items(scene, VICTIM);
}

/* While the victim notes what it got, some are in its books and some are not. */
TEST_LIMIT(a_consumer_may_die_in_a_packed_get, 300)
{
    struct queue_scene scene = packed_scene(get_some);

    scene.arrange = arrange_items;
    scene.lost_max = 3;
    scene_kill(&scene, "get of 3 of 7 items of a cell");
}

static void all_or_none(struct queue_scene *scene)
{
    int size = brood_queue_size(scene->queue);

    if (size != 0 && size != ITEMS)
        FAIL("%d of %d items of a cell were put", size, ITEMS);
    for (unsigned i = 0; i < ITEMS; i++)
        atomic_store(&scene->books->put[VICTIM][i], size != 0);
}

TEST_LIMIT(a_producer_may_die_in_a_packed_put, 300)
{
    struct queue_scene scene = packed_scene(put_prepared);

    scene.prepare = prepare_items;
    scene.look_after = all_or_none;
    scene_kill(&scene, "put of 7 items");
}

/* ---- killed twice ---- */

static void get_and_put(struct queue_scene *scene)
{
    unsigned party = 0, number = 0;

    (void)scene_get(scene, 0, &party, &number);
    (void)scene_put(scene, VICTIM, 1, 0);
}

TEST_LIMIT(a_producer_and_who_comes_next_may_die, 600)
{
    struct queue_scene scene = {
        .operate = put_one, .repair = get_and_put, .messages = 1, .lost_max = 1};

    scene_kill_repair(&scene, "put, then get and put");
}

TEST_LIMIT(a_consumer_and_who_comes_next_may_die, 600)
{
    struct queue_scene scene = {.operate = get_one,
                                .repair = get_and_put,
                                .messages = SCENE_CAPACITY,
                                .lost_max = 2,
                                .lost_before = true};

    scene_kill_repair(&scene, "get, then get and put");
}

TEST_LIMIT(a_full_ring_may_be_repaired_by_the_dying, 600)
{
    struct queue_scene scene = {.prepare = reserve_and_fill,
                                .arrange = arrange_full_but_one,
                                .operate = drop_one,
                                .repair = get_and_put,
                                .lost_max = 1};

    scene_kill_repair(&scene, "void in a full ring, then get and put");
}

/* ---- the wake-up that is passed on ---- */

/* Two messages are there when the victim wakes, and it got the only ring, as after a burst. Until
 * then their cells say that they are empty. */
static struct {
    struct cell *cell;
    uint64_t word;
} hidden[2];

#define STATE_BITS ((uint64_t)3 << 34)

static void arrange_hidden(struct queue_scene *scene)
{
    const struct cells_view *view = &scene->queue->cells;
    uint64_t first = atomic_load(&view->shared->head);

    for (unsigned i = 0; i < 2; i++) {
        CHECK_EQ(scene_put(scene, OTHERS, i, 0), 0);
        hidden[i].cell = (struct cell *)(void *)(view->first + (first + i) % view->shape.count *
                                                                   view->shape.stride);
        hidden[i].word = atomic_load(&hidden[i].cell->word);
        atomic_store(&hidden[i].cell->word, hidden[i].word & ~STATE_BITS);
    }
}

/* Once, whether the victim came so far or not. */
static bool show_hidden(void)
{
    bool shown = false;

    for (unsigned i = 0; i < 2; i++) {
        uint64_t empty = hidden[i].word & ~STATE_BITS;

        if (atomic_compare_exchange_strong(&hidden[i].cell->word, &empty, hidden[i].word))
            shown = true;
    }
    return shown;
}

static void show_silently(struct queue_scene *scene)
{
    (void)show_hidden();
    (void)atomic_fetch_and(&scene->queue->cells.shared->filled.word, ~1U);
}

static void show_and_ring(struct queue_scene *scene)
{
    if (!show_hidden())
        return;
    (void)brood__bell_arm(&scene->queue->cells.shared->filled);
    bell_ring(&scene->queue->cells.shared->filled);
}

TEST_LIMIT(a_wake_that_dies_with_its_receiver_strands_nobody, 300)
{
    struct queue_scene scene = {.arrange = arrange_hidden,
                                .operate = get_waiting,
                                .nap = show_silently,
                                .getters = 1,
                                .lost_max = 1,
                                .look_after = show_and_ring};

    scene_kill(&scene, "a wake passed on");
}

static void everybody_got_one(struct queue_scene *scene)
{
    CHECK(scene->victim->finished);
    scene_await_done(scene, "a ring was not passed on");
}

TEST_LIMIT(a_ring_is_passed_on, 300)
{
    struct queue_scene scene = {.arrange = arrange_hidden,
                                .operate = get_waiting,
                                .nap = show_silently,
                                .getters = 1,
                                .deaf = true,
                                .look_after = everybody_got_one};

    scene_pause(&scene, "a wake passed on");
}

/* ---- held up ---- */

static void must_finish(struct queue_scene *scene)
{
    if (!scene->victim->finished)
        FAIL("somebody sleeps, and has something to do");
}

static void others_put(struct queue_scene *scene)
{
    CHECK_EQ(scene_put(scene, OTHERS, 100, 0), 0);
}

static void others_get(struct queue_scene *scene)
{
    unsigned party = 0, number = 0;

    CHECK_EQ(scene_get(scene, 0, &party, &number), 1);
}

TEST_LIMIT(no_message_is_slept_over, 300)
{
    struct queue_scene scene = {
        .operate = get_waiting, .meanwhile = others_put, .look_after = must_finish};

    scene_pause(&scene, "a get that falls asleep, and a put");
}

TEST_LIMIT(no_room_is_slept_over, 300)
{
    struct queue_scene scene = {.operate = put_waiting,
                                .messages = SCENE_CAPACITY,
                                .meanwhile = others_get,
                                .look_after = must_finish};

    scene_pause(&scene, "a put that falls asleep, and a get");
}

TEST_LIMIT(no_join_sleeps_over_the_last_get, 300)
{
    struct queue_scene scene = {
        .operate = join_waiting, .messages = 1, .meanwhile = others_get, .look_after = must_finish};

    scene_pause(&scene, "a join that falls asleep, and a get");
}

static void others_close(struct queue_scene *scene)
{
    brood_queue_close(scene->queue);
}

TEST_LIMIT(no_close_is_slept_over_by_a_getter, 300)
{
    struct queue_scene scene = {
        .operate = get_waiting, .meanwhile = others_close, .look_after = must_finish};

    scene_pause(&scene, "a get that falls asleep, and a close");
}

TEST_LIMIT(no_close_is_slept_over_by_a_putter, 300)
{
    struct queue_scene scene = {.operate = put_waiting,
                                .messages = SCENE_CAPACITY,
                                .meanwhile = others_close,
                                .look_after = must_finish};

    scene_pause(&scene, "a put that falls asleep, and a close");
}

/* The one who slept is woken by the putter itself, not by its end. */
static void deaf_sleepers_are_done(struct queue_scene *scene)
{
    scene_await_done(scene, "a finished operation has not woken who waited for it");
}

TEST_LIMIT(a_put_wakes_a_getter, 300)
{
    struct queue_scene scene = {
        .operate = put_one, .getters = 1, .deaf = true, .look_after = deaf_sleepers_are_done};

    scene_pause(&scene, "a put with a sleeping getter");
}

TEST_LIMIT(a_get_wakes_a_putter, 300)
{
    struct queue_scene scene = {.operate = get_one,
                                .messages = SCENE_CAPACITY,
                                .putters = 1,
                                .deaf = true,
                                .look_after = deaf_sleepers_are_done};

    scene_pause(&scene, "a get with a sleeping putter");
}

TEST_LIMIT(a_done_wakes_all_who_join, 300)
{
    struct queue_scene scene = {.prepare = take_one,
                                .operate = done_one,
                                .messages = 1,
                                .joiners = 2,
                                .deaf = true,
                                .look_after = deaf_sleepers_are_done};

    scene_pause(&scene, "a done with two sleeping joiners");
}

/* A full ring goes round while somebody is held up anywhere. */
static void others_go_round(struct queue_scene *scene)
{
    unsigned party = 0, number = 0;
    unsigned next = 0;

    for (unsigned i = 0; i < 3 * SCENE_CAPACITY; i++) {
        (void)scene_put(scene, OTHERS, 20 + i, 0);
        if (scene_get(scene, 0, &party, &number) != 1 || party != OTHERS)
            continue;
        CHECK(number >= next);
        next = number + 1;
    }
}

TEST_LIMIT(a_put_may_be_held_up_anywhere, 300)
{
    struct queue_scene scene = {.operate = put_one, .messages = 1, .meanwhile = others_go_round};

    scene_pause(&scene, "a put, and others go round");
}

TEST_LIMIT(a_get_may_be_held_up_anywhere, 300)
{
    struct queue_scene scene = {.operate = get_one, .messages = 2, .meanwhile = others_go_round};

    scene_pause(&scene, "a get, and others go round");
}

TEST_LIMIT(a_take_may_be_held_up_anywhere, 300)
{
    struct queue_scene scene = {.operate = take_one, .messages = 2, .meanwhile = others_go_round};

    scene_pause(&scene, "a take, and others go round");
}

/* A producer publishes its first message, and its second, while a getter is on its way past the
 * first. */
static void arrange_pen(struct queue_scene *scene)
{
    CHECK_EQ(brood_queue_reserve(scene->queue, scene_len(scene), 0, &scene->message), 0);
    message_fill(scene->message.data, scene_len(scene), OTHERS, 0);
}

static void send_and_put(struct queue_scene *scene)
{
    CHECK_EQ(brood_queue_send(scene->queue, &scene->message), 0);
    (void)atomic_fetch_add(&scene->books->put[OTHERS][0], 1);
    CHECK_EQ(scene_put(scene, OTHERS, 1, 0), 0);
}

static void first_is_got_first(struct queue_scene *scene)
{
    CHECK(scene->victim->finished);
    if (atomic_load(&scene->books->got[OTHERS][0]) != 1)
        FAIL("the second message of a producer is got before the first");
}

TEST_LIMIT(a_getter_held_up_keeps_the_order, 300)
{
    struct queue_scene scene = {.arrange = arrange_pen,
                                .operate = get_waiting,
                                .meanwhile = send_and_put,
                                .look_after = first_is_got_first};

    scene_pause(&scene, "a get, and a producer that goes on");
}

/* What was put before the end is seen by everybody before the end. */
static bool end_was_seen;

static void close_and_get(struct queue_scene *scene)
{
    unsigned party = 0, number = 0;
    int r;

    brood_queue_close(scene->queue);
    while ((r = scene_get(scene, 0, &party, &number)) == 1)
        continue;
    CHECK(r == 0 || r == -ETIMEDOUT);
    end_was_seen = r == 0;
}

static void the_end_was_the_end(struct queue_scene *scene)
{
    unsigned party = 0, number = 0;

    CHECK(scene->victim->finished);
    if (end_was_seen && atomic_load(&scene->books->put[VICTIM][0]) != 0 &&
        atomic_load(&scene->books->got[VICTIM][0]) == 0)
        FAIL("a message was put after the end was seen");
    while (scene_get(scene, 0, &party, &number) == 1)
        continue;
    CHECK_EQ(scene_get(scene, 0, &party, &number), 0);
}

TEST_LIMIT(nothing_comes_after_the_end, 300)
{
    struct queue_scene scene = {.operate = put_one,
                                .messages = 1,
                                .meanwhile = close_and_get,
                                .look_after = the_end_was_the_end};

    scene_pause(&scene, "a put, and a close");
}

/* ---- the head ---- */

TEST(a_message_of_the_dead_is_not_left_behind)
{
    struct scene_books *books = share(sizeof *books);
    struct queue_scene scene = {.messages = 3};
    unsigned party = 0, number = 0;
    int ends[2];
    pid_t pid;

    scene_set_up(books, &scene);
    CHECK_OK(pipe2(ends, O_CLOEXEC));
    pid = CHECK_OK(fork());
    if (pid == 0) {
        take_one(&scene);
        CHECK_EQ(write(ends[1], "", 1), 1);
        for (;;)
            (void)pause();
    }
    CHECK_EQ(read(ends[0], scene.text, 1), 1);
    CHECK_EQ(scene_get(&scene, 0, &party, &number), 1);
    CHECK_EQ(number, 1);
    CHECK_OK(kill(pid, SIGKILL));
    CHECK_EQ(waitpid(pid, NULL, 0), pid);
    if (scene_get(&scene, 0, &party, &number) != 1 || number != 0)
        FAIL("the message of a dead getter is behind the head");
    CHECK_EQ(scene_get(&scene, 0, &party, &number), 1);
    CHECK_EQ(number, 2);
    check_capacity(&scene);
    scene_clear(books, &scene);
    CHECK_OK(munmap(books, sizeof *books));
    (void)close(ends[0]);
    (void)close(ends[1]);
}

/* ---- tests that must fail ---- */

#if BROOD_MUTANT == 0

TEST_LIMIT(a_head_that_passes_a_reader_is_caught, 60)
{
    report_must_catch("cells_head_over_reading", "a_message_of_the_dead_is_not_left_behind",
                      "behind the head");
}

TEST_LIMIT(a_walk_that_does_not_look_back_is_caught, 60)
{
    report_must_catch("cells_no_recheck", "a_getter_held_up_keeps_the_order", "before the first");
}

TEST_LIMIT(a_repair_to_the_same_lap_is_caught, 60)
{
    report_must_catch("cells_same_lap", "a_producer_may_die_in_a_put", "scene_put(scene, FILLER");
}

TEST_LIMIT(a_sleep_without_a_second_look_is_caught, 60)
{
    report_must_catch("queue_no_second_look", "no_message_is_slept_over", "somebody sleeps");
}

TEST_LIMIT(a_ring_that_is_not_passed_on_is_caught, 60)
{
    report_must_catch("queue_no_baton", "a_ring_is_passed_on", "not passed on");
}

TEST_LIMIT(a_message_shown_before_it_is_written_is_caught, 60)
{
    report_must_catch("queue_early_full", "a_put_may_be_held_up_anywhere", "a torn message");
}

#endif
