/* SPDX-License-Identifier: MIT */
/*
 * A participant of a queue may be killed, or held up, before any instruction of what it does with a
 * large message, whose bytes are in a block, and of what it does with its handle: open, free,
 * leave. No message is lost or torn, no memory is lost, and nobody sleeps for memory that is free.
 *
 * The scene, and the questions asked after each death, are in queue_scene.h; small messages and the
 * mutants in test_cells_kill.c.
 */
#include "ipc/queue_scene.h"

/* Copies of more than 2 KiB are one instruction a byte in single steps: so that is rare here. */
enum { LARGE = 600, TWO_PAGES = 4200, ROOM_FOR_ONE = 4096 };

/* ---- what victims do ---- */

static void put_one(struct queue_scene *scene)
{
    (void)scene_put_text(scene, 0);
}

static void put_waiting(struct queue_scene *scene)
{
    (void)scene_put_text(scene, BROOD_FOREVER);
}

/* The check of so many bytes is not cut into points. */
static void get_one(struct queue_scene *scene)
{
    if (brood_queue_get(scene->queue, scene->text, scene_len(scene), 0) == 1)
        (void)atomic_fetch_add(
            &scene->books->got[(unsigned char)scene->text[0]][(unsigned char)scene->text[1]], 1);
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

static void drop_one(struct queue_scene *scene)
{
    brood_message_done(&scene->message);
}

static void take_one(struct queue_scene *scene)
{
    CHECK_EQ(brood_queue_take(scene->queue, 0, &scene->message), 1);
}

static void done_one(struct queue_scene *scene)
{
    const unsigned char *text = scene->message.data;
    unsigned party = text[0], number = text[1];

    brood_message_done(&scene->message);
    (void)atomic_fetch_add(&scene->books->got[party][number], 1);
}

static void return_one(struct queue_scene *scene)
{
    brood_message_return(&scene->message);
}

/* ---- large messages ---- */

TEST_LIMIT(a_producer_may_die_in_a_large_put, 300)
{
    struct queue_scene scene = {.len = LARGE, .operate = put_one, .messages = 1};

    scene_kill(&scene, "large put");
}

TEST_LIMIT(a_producer_may_die_in_a_put_of_two_pages, 300)
{
    struct queue_scene scene = {.len = TWO_PAGES, .operate = put_one, .messages = 1};

    scene_kill(&scene, "put of two pages");
}

TEST_LIMIT(a_getter_sleeps_over_no_large_put_that_died, 300)
{
    struct queue_scene scene = {.len = LARGE, .operate = put_one, .getters = 1};

    scene_kill(&scene, "large put with a sleeping getter");
}

TEST_LIMIT(a_consumer_may_die_in_a_large_get, 300)
{
    struct queue_scene scene = {.len = LARGE, .operate = get_one, .messages = 2, .lost_max = 1};

    scene_kill(&scene, "large get");
}

TEST_LIMIT(a_producer_may_die_in_a_reserve, 300)
{
    struct queue_scene scene = {.len = LARGE, .operate = reserve_one, .messages = 1};

    scene_kill(&scene, "large reserve");
}

TEST_LIMIT(a_producer_may_die_in_a_send, 300)
{
    struct queue_scene scene = {
        .len = LARGE, .prepare = reserve_and_fill, .operate = send_one, .getters = 1};

    scene_kill(&scene, "large send with a sleeping getter");
}

TEST_LIMIT(a_producer_may_die_while_it_drops_a_large_message, 300)
{
    struct queue_scene scene = {
        .len = LARGE, .prepare = reserve_one, .operate = drop_one, .messages = 1};

    scene_kill(&scene, "large drop");
}

TEST_LIMIT(a_consumer_may_die_in_a_large_take, 300)
{
    struct queue_scene scene = {.len = LARGE, .operate = take_one, .messages = 2};

    scene_kill(&scene, "large take");
}

TEST_LIMIT(a_consumer_may_die_in_a_large_done, 300)
{
    struct queue_scene scene = {
        .len = LARGE, .prepare = take_one, .operate = done_one, .messages = 2, .lost_max = 1};

    scene_kill(&scene, "large done");
}

TEST_LIMIT(a_consumer_may_die_in_a_large_return, 300)
{
    struct queue_scene scene = {
        .len = LARGE, .prepare = take_one, .operate = return_one, .messages = 2};

    scene_kill(&scene, "large return");
}

/* ---- memory ---- */

/* There is memory for one message only; whoever wants to put another one sleeps for it. */
static struct queue_scene narrow_scene(scene_fn *operate)
{
    return (struct queue_scene){
        .options = {.memory_max = ROOM_FOR_ONE},
        .len = LARGE,
        .filler_len = LEN_DEFAULT,
        .operate = operate,
    };
}

/* Only what is there is got: a get on its way also repairs, and here the sleeper has to do that. */
static bool has_message(struct queue_scene *scene)
{
    return brood_queue_size(scene->queue) > 0 || victim_reads(scene);
}

/* The sleeper must put as soon as the memory is free. */
static void memory_is_found(struct queue_scene *scene)
{
    int64_t deadline = deadline_in(TEST_PATIENCE_MS);
    unsigned party = OTHERS, number = 0;

    while (party != SLEEPERS) {
        if (has_message(scene))
            (void)scene_get(scene, 0, &party, &number);
        if (left_ns(deadline) == 0)
            FAIL("a putter sleeps for memory, and it is free");
        brood__yield();
    }
    scene_await_done(scene, "a putter is not done when its message is got");
}

TEST_LIMIT(a_putter_sleeps_over_no_memory_of_a_dead_getter, 300)
{
    struct queue_scene scene = narrow_scene(get_one);

    scene.messages = 1;
    scene.putters = 1;
    scene.lost_max = 1;
    scene.look_after = memory_is_found;
    scene_kill(&scene, "large get with a putter that sleeps for memory");
}

TEST_LIMIT(a_putter_sleeps_over_no_memory_of_a_dead_taker, 300)
{
    struct queue_scene scene = narrow_scene(done_one);

    scene.prepare = take_one;
    scene.messages = 1;
    scene.putters = 1;
    scene.lost_max = 1;
    scene.look_after = memory_is_found;
    scene_kill(&scene, "large done with a putter that sleeps for memory");
}

TEST_LIMIT(a_putter_sleeps_over_no_memory_of_a_dead_producer, 300)
{
    struct queue_scene scene = narrow_scene(send_one);

    scene.prepare = reserve_and_fill;
    scene.putters = 1;
    scene.look_after = memory_is_found;
    scene_kill(&scene, "large send with a putter that sleeps for memory");
}

TEST_LIMIT(a_putter_sleeps_over_no_memory_of_a_dead_dropper, 300)
{
    struct queue_scene scene = narrow_scene(drop_one);

    scene.prepare = reserve_one;
    scene.putters = 1;
    scene.look_after = memory_is_found;
    scene_kill(&scene, "large drop with a putter that sleeps for memory");
}

TEST_LIMIT(a_producer_may_die_while_it_waits_for_memory, 300)
{
    struct queue_scene scene = narrow_scene(put_waiting);

    scene.messages = 1;
    scene.putters = 1;
    scene.look_after = memory_is_found;
    scene_kill(&scene, "large put that waits for memory, beside another");
}

static void others_get(struct queue_scene *scene)
{
    unsigned party, number;

    CHECK_EQ(scene_get(scene, 0, &party, &number), 1);
}

static void victim_has_put(struct queue_scene *scene)
{
    if (!scene->victim->finished)
        FAIL("a putter sleeps for memory, and it is free");
    others_get(scene);
}

TEST_LIMIT(no_memory_is_slept_over, 300)
{
    struct queue_scene scene = narrow_scene(put_waiting);

    scene.messages = 1;
    scene.meanwhile = others_get;
    scene.look_after = victim_has_put;
    scene_pause(&scene, "a large put that falls asleep, and a get");
}

static void fill_with_small_ones(struct queue_scene *scene)
{
    scene->len = LEN_DEFAULT;
    for (unsigned i = 0; i < SCENE_CAPACITY; i++)
        CHECK_EQ(scene_put(scene, OTHERS, i, 0), 0);
    scene->len = LARGE;
}

/* Whoever gives up waiting for room has had the memory that another waits for. */
static void let_another_sleep(struct queue_scene *scene)
{
    atomic_store(&scene->books->go, 1);
    brood__futex_wake(&scene->books->go, 1);
    while (atomic_load(&scene->books->sleeps) == 0 || !looks_asleep(scene->pids[0]))
        brood__yield();
}

static pid_t start_impatient(struct queue_scene *scene)
{
    pid_t pid = CHECK_OK(fork());

    if (pid != 0)
        return pid;
    nap_once = let_another_sleep;
    CHECK_ERR(scene_put(scene, OTHERS, 100, (int64_t)(100 * test_time_factor())), -ETIMEDOUT);
    stay_alive(scene);
    return 0;
}

TEST(who_gives_up_gives_the_memory_to_those_who_wait)
{
    static struct queue_scene scene;
    struct scene_books *books = share(sizeof *books);
    unsigned party, number;
    pid_t impatient;

    scene = narrow_scene(NULL);
    scene.deaf = true;
    scene.putters = 1;
    scene.arrange = fill_with_small_ones;
    scene_set_up(books, &scene);
    impatient = start_impatient(&scene);
    scene.len = LEN_DEFAULT;
    while (atomic_load(&books->done) == 0)
        brood__yield();
    scene.pids[scene.sleeper_count++] = impatient;
    for (unsigned i = 0; i < SCENE_CAPACITY; i++)
        CHECK_EQ(scene_get(&scene, 0, &party, &number), 1);
    scene_await_done(&scene, "a putter sleeps for memory that another has given back");
    scene_clear(books, &scene);
    CHECK_OK(munmap(books, sizeof *books));
}

/* ---- killed twice ---- */

static void get_and_put(struct queue_scene *scene)
{
    get_one(scene);
    message_fill(scene->text, scene_len(scene), VICTIM, 1);
    (void)scene_put_text(scene, 0);
}

TEST_LIMIT(a_large_put_and_who_comes_next_may_die, 600)
{
    struct queue_scene scene = {
        .len = 300, .operate = put_one, .repair = get_and_put, .messages = 1, .lost_max = 1};

    scene_kill_repair(&scene, "large put, then get and put");
}

TEST_LIMIT(a_large_get_and_who_comes_next_may_die, 600)
{
    struct queue_scene scene = {.len = 300,
                                .operate = get_one,
                                .repair = get_and_put,
                                .messages = 2,
                                .lost_max = 2,
                                .lost_before = true};

    scene_kill_repair(&scene, "large get, then get and put");
}

/* ---- the life of a handle ---- */

static void free_it(struct queue_scene *scene)
{
    brood_queue_free(scene->queue);
}

TEST_LIMIT(a_participant_may_die_while_it_frees_its_handle, 300)
{
    struct queue_scene scene = {.prepare = take_one, .operate = free_it, .messages = 2};

    scene_kill(&scene, "free, with a taken message");
}

static void leave(struct queue_scene *scene)
{
    (void)scene;
    brood__member_leave_all();
}

/* The message that the victim has taken is for the one who sleeps. */
static void sleeper_got_it(struct queue_scene *scene)
{
    scene_await_done(scene, "a message of the dead is there, and a getter sleeps");
}

TEST_LIMIT(a_participant_may_die_while_it_leaves, 300)
{
    struct queue_scene scene = {.prepare = take_one,
                                .operate = leave,
                                .messages = 1,
                                .getters = 1,
                                .look_after = sleeper_got_it};

    scene_kill(&scene, "leave, with a taken message and a sleeping getter");
}

static brood_ref ref;

/* Before the victim is born: to serve a ref takes a thread, and steps are for one. */
static void make_ref(struct queue_scene *scene)
{
    ref = brood_queue_ref(scene->queue);
}

static void open_and_free(struct queue_scene *scene)
{
    brood_queue *queue;

    (void)scene;
    CHECK_EQ(brood_queue_open(&queue, ref), 0);
    brood_queue_free(queue);
}

TEST_LIMIT(a_participant_may_die_while_it_opens_the_queue, 300)
{
    struct queue_scene scene = {
        .arrange = make_ref, .prepare = take_one, .operate = open_and_free, .messages = 2};

    scene_kill(&scene, "open and free, with a taken message");
}
