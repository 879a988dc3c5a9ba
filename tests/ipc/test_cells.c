/* SPDX-License-Identifier: MIT */
/*
 * The ring without deaths: everything that is put is got once, in the order of its producer, and
 * untorn, whoever the participants are; the capacity is exact; tickets may come round; what is
 * woken is enough. With deaths: test_cells_kill.c.
 */
#include "ipc/queue_scene.h"

#include <pthread.h>

enum { CREW_MAX = 8, TICKET_ROUND = 1 << 28 };

/* ---- a crew of producers and consumers ---- */

struct crew {
    brood_queue *queue;
    unsigned producers, consumers, messages; /* of each producer */
    unsigned many;                           /* at once */
    bool in_place;
    _Atomic unsigned producing;
    _Atomic uint64_t got[CREW_MAX]; /* of each producer: how many */
    _Atomic uint64_t sum[CREW_MAX];
};

struct item {
    uint32_t producer, number;
    uint32_t check[2];
};

struct crew_member {
    struct crew *crew;
    unsigned index;
    pthread_t thread;
    pid_t pid;
};

static struct item make_item(unsigned producer, unsigned number)
{
    return (struct item){producer, number, {producer ^ number, ~number}};
}

static void produce(struct crew *crew, unsigned producer)
{
    struct item items[64];
    unsigned number = 0;

    while (number < crew->messages) {
        unsigned left = crew->messages - number;
        unsigned many = crew->many > 0 ? crew->many : 1;
        unsigned count = many < left ? many : left;
        int r;

        for (unsigned i = 0; i < count; i++)
            items[i] = make_item(producer, number + i);
        if (count > 1)
            r = CHECK_OK(brood_queue_put_many(crew->queue, items, count, BROOD_FOREVER));
        else
            r = CHECK_OK(brood_queue_put(crew->queue, items, sizeof *items, BROOD_FOREVER)) + 1;
        number += (unsigned)r;
    }
    if (atomic_fetch_sub(&crew->producing, 1) == 1)
        brood_queue_close(crew->queue);
}

static void check_item(struct crew *crew, const struct item *item, uint32_t *next)
{
    CHECK(item->producer < crew->producers);
    CHECK_EQ(item->check[0], item->producer ^ item->number);
    CHECK_EQ(item->check[1], ~item->number);
    if (item->number < next[item->producer])
        FAIL("message %u of producer %u comes after %u", item->number, item->producer,
             next[item->producer] - 1);
    next[item->producer] = item->number + 1;
    (void)atomic_fetch_add(&crew->got[item->producer], 1);
    (void)atomic_fetch_add(&crew->sum[item->producer], item->number);
}

static int take_item(struct crew *crew, struct item *item)
{
    brood_message message;
    int r = brood_queue_take(crew->queue, BROOD_FOREVER, &message);

    if (r != 1)
        return r;
    CHECK_EQ(message.len, sizeof *item);
    memcpy(item, message.data, sizeof *item);
    brood_message_done(&message);
    return 1;
}

static void consume(struct crew *crew)
{
    uint32_t next[CREW_MAX] = {0};
    struct item items[64];

    for (;;) {
        int r;

        if (crew->many > 1)
            r = brood_queue_get_many(crew->queue, items, crew->many, BROOD_FOREVER);
        else if (crew->in_place)
            r = take_item(crew, items);
        else
            r = brood_queue_get(crew->queue, items, sizeof *items, BROOD_FOREVER);
        if (CHECK_OK(r) == 0)
            return;
        for (int i = 0; i < r; i++)
            check_item(crew, &items[i], next);
    }
}

static void *crew_work(void *argument)
{
    struct crew_member *member = argument;

    if (member->index < member->crew->producers)
        produce(member->crew, member->index);
    else
        consume(member->crew);
    return NULL;
}

static void start_member(struct crew_member *member, bool in_process)
{
    if (!in_process) {
        CHECK_EQ(pthread_create(&member->thread, NULL, crew_work, member), 0);
        return;
    }
    member->pid = CHECK_OK(fork());
    if (member->pid == 0) {
        (void)crew_work(member);
        _exit(0);
    }
}

static void await_member(struct crew_member *member, bool in_process)
{
    int status;

    if (!in_process) {
        CHECK_EQ(pthread_join(member->thread, NULL), 0);
        return;
    }
    CHECK_EQ(waitpid(member->pid, &status, 0), member->pid);
    CHECK_EQ(status, 0);
}

static void run_crew(const struct crew *like, unsigned capacity, bool in_processes)
{
    struct crew_member members[2 * CREW_MAX];
    struct crew *crew = share(sizeof *crew);
    unsigned count = like->producers + like->consumers;
    uint64_t n = like->messages;

    *crew = *like;
    crew->producing = crew->producers;
    CHECK_OK(
        brood_queue_new(&crew->queue, &(brood_queue_options){.capacity = capacity,
                                                             .item_size = sizeof(struct item)}));
    for (unsigned i = 0; i < count; i++) {
        members[i] = (struct crew_member){.crew = crew, .index = i};
        start_member(&members[i], in_processes);
    }
    for (unsigned i = 0; i < count; i++)
        await_member(&members[i], in_processes);
    for (unsigned i = 0; i < crew->producers; i++) {
        CHECK_EQ(crew->got[i], n);
        CHECK_EQ(crew->sum[i], n * (n - 1) / 2);
    }
    CHECK_EQ(brood_queue_size(crew->queue), 0);
    brood_queue_free(crew->queue);
    CHECK_OK(munmap(crew, sizeof *crew));
}

static const unsigned capacities[] = {1, 2, 3, 7, 64, 1000};

static void run_crews(const struct crew *like, bool in_processes)
{
    for (unsigned i = 0; i < sizeof capacities / sizeof *capacities; i++) {
        test_where("capacity %u", capacities[i]);
        run_crew(like, capacities[i], in_processes);
    }
    test_where("%s", "");
}

TEST_LIMIT(threads_get_each_message_once_and_in_order, 120)
{
    run_crews(&(struct crew){.producers = 3, .consumers = 3, .messages = 2000}, false);
}

TEST_LIMIT(processes_get_each_message_once_and_in_order, 120)
{
    run_crews(&(struct crew){.producers = 3, .consumers = 3, .messages = 4000}, true);
}

TEST_LIMIT(a_single_consumer_gets_all_in_the_order_of_each_producer, 120)
{
    run_crews(&(struct crew){.producers = 4, .consumers = 1, .messages = 3000}, true);
}

TEST_LIMIT(packed_messages_are_got_once_and_in_order, 120)
{
    run_crews(&(struct crew){.producers = 2, .consumers = 3, .messages = 8000, .many = 40}, true);
}

TEST_LIMIT(messages_in_place_are_got_once, 120)
{
    run_crews(&(struct crew){.producers = 2, .consumers = 2, .messages = 3000, .in_place = true},
              true);
}

/* ---- the ring itself ---- */

struct ring {
    struct cells_view view;
    struct roster *roster;
    struct cells *shared;
    void *memory;
    size_t len;
    roster_tag me;
};

static struct ring new_ring(uint32_t count, uint64_t start)
{
    struct cells_shape shape = brood__cells_shape(count, sizeof(uint64_t), false);
    size_t roster_len = (brood__roster_len(8) + 4095) & ~(size_t)4095;
    struct ring ring = {.len = roster_len + sizeof(struct cells) + brood__cells_len(&shape)};
    const struct member *member;

    ring.memory = share(ring.len);
    ring.roster = ring.memory;
    ring.shared = (struct cells *)(void *)((char *)ring.memory + roster_len);
    brood__roster_init(ring.roster, 8);
    brood__cells_view(&ring.view, ring.shared, (char *)(ring.shared + 1), &shape, ring.roster);
    brood__cells_init(&ring.view, start);
    CHECK_OK(brood__member_list(ring.memory, ring.len, ring.roster));
    CHECK_OK(brood__member(ring.memory, &member));
    ring.me = member->tag;
    return ring;
}

static void free_ring(struct ring *ring)
{
    CHECK(brood__member_unlist(ring->memory, NULL, NULL));
    CHECK_OK(munmap(ring->memory, ring->len));
}

static int ring_put(struct ring *ring, uint64_t value)
{
    struct cell_claim claim;
    int r = brood__cells_put(&ring->view, ring->me, &claim);

    if (r < 0)
        return r;
    atomic_store(&claim.cell->len, (uint32_t)sizeof value);
    atomic_store(&claim.cell->items, 1);
    memcpy(claim.cell->data, &value, sizeof value);
    CHECK(brood__cells_publish(&ring->view, &claim));
    return 0;
}

static uint64_t ring_get(struct ring *ring)
{
    struct cell_claim claim;
    bool pending = false;
    uint64_t value;

    CHECK_EQ(brood__cells_get(&ring->view, ring->me, &claim, &pending), 0);
    memcpy(&value, claim.cell->data, sizeof value);
    CHECK(brood__cells_finish(&ring->view, &claim, 1));
    return value;
}

static void ring_is_empty(struct ring *ring)
{
    struct cell_claim claim;
    bool pending = true;

    CHECK_EQ(brood__cells_get(&ring->view, ring->me, &claim, &pending), -EAGAIN);
    CHECK(!pending);
    CHECK_EQ(brood__cells_size(&ring->view), 0);
}

/* Round and round, so that each number of messages in the ring meets each ticket around START. */
static void go_round(uint32_t count, uint64_t start)
{
    struct ring ring = new_ring(count, start);
    uint64_t put = 0, got = 0;

    for (unsigned lap = 0; lap < 6; lap++)
        for (uint32_t fill = 1; fill <= count; fill++) {
            for (uint32_t i = 0; i < fill; i++)
                CHECK_EQ(ring_put(&ring, put++), 0);
            CHECK_EQ(brood__cells_size(&ring.view), fill);
            CHECK_EQ(brood__cells_roomy(&ring.view), fill < count);
            CHECK_EQ(ring_put(&ring, 0), fill < count ? 0 : -EAGAIN);
            put += fill < count;
            while (got < put) {
                uint64_t value = ring_get(&ring);

                CHECK(value == got || (value == 0 && got + 1 == put));
                got++;
            }
            ring_is_empty(&ring);
        }
    free_ring(&ring);
}

TEST(tickets_may_come_round)
{
    for (uint32_t count = 1; count <= 9; count++) {
        uint64_t last = (uint64_t)TICKET_ROUND - TICKET_ROUND % count;

        go_round(count, 0);
        go_round(count, last - 2 * count);
        go_round(count, last);
        go_round(count, ((uint64_t)TICKET_ROUND << 5) - ((uint64_t)TICKET_ROUND << 5) % count);
    }
}

TEST(whether_a_ticket_is_over_is_known_when_tickets_come_round)
{
    struct ring ring = new_ring(4, (uint64_t)TICKET_ROUND - 4);

    for (unsigned i = 0; i < 12; i++) {
        uint64_t ticket = (uint64_t)TICKET_ROUND - 4 + i;

        CHECK_EQ(ring_put(&ring, i), 0);
        CHECK(!brood__cells_passed(&ring.view, brood__cell_low_ticket(ticket)));
        CHECK(!brood__cells_passed_all(&ring.view, ticket + 1));
        CHECK_EQ(brood__cells_end(&ring.view), ticket + 1);
        CHECK_EQ(ring_get(&ring), i);
        CHECK(brood__cells_passed(&ring.view, brood__cell_low_ticket(ticket)));
        CHECK(brood__cells_passed_all(&ring.view, ticket + 1));
    }
    free_ring(&ring);
}

/* Hints that somebody left behind by laps and laps: all is found nevertheless. */
TEST(hints_may_lag)
{
    struct ring ring = new_ring(2, 0);

    for (unsigned i = 0; i < 20; i++) {
        CHECK_EQ(ring_put(&ring, i), 0);
        CHECK_EQ(ring_get(&ring), i);
    }
    atomic_store(&ring.shared->head, 0);
    atomic_store(&ring.shared->tail, 17);
    CHECK_EQ(brood__cells_end(&ring.view), 20);
    CHECK_EQ(ring_put(&ring, 20), 0);
    atomic_store(&ring.shared->head, 0);
    CHECK(brood__cells_ready(&ring.view));
    CHECK_EQ(brood__cells_size(&ring.view), 1);
    CHECK_EQ(ring_get(&ring), 20);
    ring_is_empty(&ring);
    free_ring(&ring);
}

TEST(small_items_are_packed_if_asked)
{
    struct cells_shape shape = brood__cells_shape(1000, 8, true);

    CHECK(shape.pack > 1 && shape.pack <= PACK_MAX);
    CHECK(shape.pack * 8 <= shape.room);
    CHECK_EQ(brood__cells_shape(1000, 8, false).pack, 1);
    CHECK_EQ(brood__cells_shape(1000, 0, true).pack, 1);
    CHECK(brood__cells_shape(1000, 4000, true).room >= 4000);
    CHECK(brood__cells_shape(1000, 100000, true).room < 4000);
}

/* ---- who is woken ---- */

static struct scene_books *open_scene(struct queue_scene *scene)
{
    struct scene_books *books = share(sizeof *books);

    scene_set_up(books, scene);
    return books;
}

static void close_scene(struct queue_scene *scene)
{
    struct scene_books *books = scene->books;

    scene_clear(books, scene);
    CHECK_OK(munmap(books, sizeof *books));
}

static void await_done(struct queue_scene *scene, unsigned count)
{
    int64_t deadline = deadline_in(TEST_PATIENCE_MS);

    while (atomic_load(&scene->books->done) < count) {
        if (left_ns(deadline) == 0)
            FAIL("%u of %u are done", atomic_load(&scene->books->done), count);
        brood__yield();
    }
}

/* The ring for the one who can go wakes one who cannot. */
TEST(who_joins_is_not_forgotten_for_one_who_waits_for_more)
{
    struct queue_scene scene = {.messages = 1, .joiners = 1, .deaf = true};
    brood_message taken[3];

    (void)open_scene(&scene);
    scene_let_sleep(&scene);
    CHECK_EQ(scene_put(&scene, OTHERS, 1, 0), 0);
    CHECK_EQ(scene_put(&scene, OTHERS, 2, 0), 0);
    scene_sleeper(&scene, sleeper_joins);
    scene_let_sleep(&scene);
    for (unsigned i = 0; i < 3; i++)
        CHECK_EQ(brood_queue_take(scene.queue, 0, &taken[i]), 1);
    brood_message_done(&taken[1]);
    scene_await_rest(&scene);
    CHECK_EQ(scene.books->done, 0);
    brood_message_done(&taken[0]);
    await_done(&scene, 1);
    brood_message_done(&taken[2]);
    await_done(&scene, 2);
    close_scene(&scene);
}

/* A getter walks past SKIPPED_MAX cells under a pen, and no more. */
TEST(a_dropped_message_shows_the_one_behind_it)
{
    static brood_message reserved[SKIPPED_MAX + 1];
    struct queue_scene scene = {
        .options = {.capacity = 2 * SKIPPED_MAX}, .getters = 1, .deaf = true};

    (void)open_scene(&scene);
    scene_let_sleep(&scene);
    for (unsigned i = 0; i <= SKIPPED_MAX; i++)
        CHECK_EQ(brood_queue_reserve(scene.queue, LEN_DEFAULT, 0, &reserved[i]), 0);
    CHECK_EQ(scene_put(&scene, OTHERS, 0, 0), 0);
    scene_await_rest(&scene);
    brood_message_done(&reserved[7]);
    await_done(&scene, 1);
    for (unsigned i = 0; i <= SKIPPED_MAX; i++)
        brood_message_done(&reserved[i]);
    close_scene(&scene);
}

/* ---- what others may have written ---- */

TEST_LIMIT(no_damage_makes_a_call_crash_or_hang, 60)
{
    brood_queue *queue;
    brood_message message;
    char text[64];

    for (unsigned round = 0; round < 30; round++) {
        CHECK_OK(brood_queue_new(&queue, &(brood_queue_options){.capacity = 5}));
        CHECK_OK(brood_queue_put(queue, "one", 4, 0));
        CHECK_OK(brood_queue_put(queue, "two", 4, 0));
        for (size_t i = 0; i < 5 * queue->cells.shape.stride; i += 8) {
            uint64_t bits = test_random() & test_random();

            if (test_random_below(4) == 0)
                memcpy(queue->cells.first + i, &bits, sizeof bits);
        }
        for (unsigned i = 0; i < 8; i++) {
            (void)!brood_queue_get(queue, text, 1 + test_random_below(sizeof text), 0);
            if (brood_queue_take(queue, 0, &message) == 1)
                brood_message_done(&message);
            if (brood_queue_reserve(queue, sizeof text, 0, &message) == 0)
                (void)!brood_queue_send(queue, &message);
            (void)brood_queue_size(queue);
            (void)!brood_queue_join(queue, 0);
        }
        brood_queue_close(queue);
        brood_queue_free(queue);
    }
}
