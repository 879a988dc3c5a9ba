/* SPDX-License-Identifier: MIT */
/*
 * A queue under fire: producers and consumers are killed, stopped and let go on at random moments
 * for some seconds, and new ones take their places. It imitates a busy machine on which a killer of
 * processes goes mad: small messages and large ones, little memory, a short ring.
 *
 * Producers number their messages, and note a number after put has returned; consumers note what
 * they get. So, when the storm is over and everything is drained:
 *   - what is noted as put was got, but for one message that a killed consumer may have had and not
 *     noted: one for each that was killed, at most, and none if it notes between take and done;
 *   - what was got twice is one for each killed, at most: a producer that had put and not noted
 *     puts it again, and a consumer that had noted and not done gives it back;
 *   - a number that comes after a greater one of the same producer is a message that came back from
 *     a dead consumer: one for each killed, at most;
 *   - no message is torn, nobody is left asleep, and the queue has room for all of its capacity.
 */
#include "harness/record.h"
#include "harness/test.h"

#include <brood.h>
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
    STORM_MS = 2500,
    PRODUCERS_MAX = 4,
    CONSUMERS_MAX = 4,
    CREW_MAX = PRODUCERS_MAX + CONSUMERS_MAX,
    NUMBERS_MAX = 1 << 22,
    LEN_MAX = 6000,
    MEMORY = 40000
};

struct books {
    _Atomic bool over;
    _Atomic uint32_t next[PRODUCERS_MAX]; /* numbers below were put */
    _Atomic uint32_t strays;              /* that came after a greater number */
    _Atomic unsigned char got[PRODUCERS_MAX][NUMBERS_MAX];
};

struct head {
    uint32_t producer, number, len;
};

struct storm {
    brood_queue *queue;
    struct books *books;
    unsigned producers, consumers, capacity;
    bool in_place;
    pid_t pids[CREW_MAX];
    bool stopped[CREW_MAX];
    unsigned producer_kills, consumer_kills, stops;
};

static int64_t now_ms(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* ---- messages ---- */

/* Most are small; one in eight needs a block of one page or two. */
static uint32_t len_of(uint32_t producer, uint32_t number)
{
    uint32_t hash = (number * 2654435761U) ^ (producer * 40503U);

    return (uint32_t)sizeof(struct head) +
           (hash % 8 == 0 ? hash / 8 % (LEN_MAX - 100) : hash / 8 % 150);
}

static void make_message(char *data, uint32_t producer, uint32_t number)
{
    struct head head = {producer, number, len_of(producer, number)};

    memset(data, (int)(producer * 101 + number), head.len);
    memcpy(data, &head, sizeof head);
}

static struct head check_message(const struct storm *storm, const char *data, size_t len)
{
    struct head head;

    CHECK(len >= sizeof head);
    memcpy(&head, data, sizeof head);
    if (head.producer >= storm->producers || head.number >= NUMBERS_MAX || head.len != len ||
        len != len_of(head.producer, head.number))
        FAIL("a torn message: %u of %u, length %u", head.number, head.producer, head.len);
    for (size_t i = sizeof head; i < len; i++)
        if (data[i] != (char)(head.producer * 101 + head.number))
            FAIL("a torn message: %u of %u at %zu", head.number, head.producer, i);
    return head;
}

/* ---- what the crew does ---- */

static void produce(struct storm *storm, unsigned producer)
{
    static char data[LEN_MAX];
    struct books *books = storm->books;

    while (!books->over) {
        uint32_t number = books->next[producer];

        if (number == NUMBERS_MAX)
            return;
        make_message(data, producer, number);
        CHECK_EQ(brood_queue_put(storm->queue, data, len_of(producer, number), BROOD_FOREVER), 0);
        books->next[producer] = number + 1;
    }
}

static void note(struct storm *storm, const struct head *head, int64_t *last)
{
    struct books *books = storm->books;

    if (head->number < last[head->producer])
        (void)atomic_fetch_add(&books->strays, 1);
    else
        last[head->producer] = head->number;
    (void)atomic_fetch_add(&books->got[head->producer][head->number], 1);
}

static void consume(struct storm *storm)
{
    static char data[LEN_MAX];
    int64_t last[PRODUCERS_MAX] = {-1, -1, -1, -1};
    brood_message message;
    struct head head;
    int r;

    while ((r = brood_queue_take(storm->queue, BROOD_FOREVER, &message)) == 1) {
        if (storm->in_place) {
            head = check_message(storm, message.data, message.len);
            note(storm, &head, last);
            brood_message_done(&message);
        } else {
            size_t len = message.len;

            memcpy(data, message.data, len);
            brood_message_done(&message);
            head = check_message(storm, data, len);
            note(storm, &head, last);
        }
    }
    CHECK_EQ(r, 0);
}

/* ---- the storm ---- */

static void start_one(struct storm *storm, unsigned index)
{
    storm->stopped[index] = false;
    storm->pids[index] = CHECK_OK(fork());
    if (storm->pids[index] != 0)
        return;
    if (index < storm->producers)
        produce(storm, index);
    else
        consume(storm);
    _exit(0);
}

static void kill_one(struct storm *storm, unsigned index)
{
    CHECK_OK(kill(storm->pids[index], SIGKILL));
    CHECK_EQ(waitpid(storm->pids[index], NULL, 0), storm->pids[index]);
    if (index < storm->producers)
        storm->producer_kills++;
    else
        storm->consumer_kills++;
    start_one(storm, index);
}

static void stop_or_go(struct storm *storm, unsigned index)
{
    CHECK_OK(kill(storm->pids[index], storm->stopped[index] ? SIGCONT : SIGSTOP));
    storm->stopped[index] = !storm->stopped[index];
    storm->stops++;
}

static void rage(struct storm *storm)
{
    unsigned crew = storm->producers + storm->consumers;
    int64_t end_ms = now_ms() + (int64_t)(STORM_MS * test_time_factor());

    while (now_ms() < end_ms) {
        unsigned index = (unsigned)test_random_below(crew);
        struct timespec pause = {.tv_nsec = (long)test_random_below(2000000)};

        if (test_random_below(3) == 0)
            stop_or_go(storm, index);
        else
            kill_one(storm, index);
        (void)nanosleep(&pause, NULL);
    }
}

static void await_end(struct storm *storm, unsigned index)
{
    int64_t end_ms = now_ms() + TEST_PATIENCE_MS;
    int status;
    pid_t pid;

    while ((pid = waitpid(storm->pids[index], &status, WNOHANG)) == 0) {
        struct timespec pause = {.tv_nsec = 1000000};

        if (now_ms() > end_ms)
            FAIL("%s %u is left asleep", index < storm->producers ? "producer" : "consumer", index);
        (void)nanosleep(&pause, NULL);
    }
    CHECK_EQ(pid, storm->pids[index]);
    CHECK_EQ(status, 0);
}

/* By the process of the test, alone. */
static void check_room(struct storm *storm)
{
    static char data[MEMORY];

    CHECK_EQ(brood_queue_size(storm->queue), 0);
    CHECK_EQ(brood_queue_put(storm->queue, data, MEMORY, 0), 0);
    CHECK_EQ(brood_queue_get(storm->queue, data, MEMORY, 0), 1);
    for (unsigned i = 0; i < storm->capacity; i++)
        CHECK_EQ(brood_queue_put(storm->queue, &i, sizeof i, 0), 0);
    CHECK_ERR(brood_queue_put(storm->queue, data, 1, 0), -ETIMEDOUT);
    for (unsigned i = 0; i < storm->capacity; i++) {
        unsigned value;

        CHECK_EQ(brood_queue_get(storm->queue, &value, sizeof value, 0), 1);
        CHECK_EQ(value, i);
    }
}

static void calm_down(struct storm *storm)
{
    unsigned crew = storm->producers + storm->consumers;

    for (unsigned i = 0; i < crew; i++)
        if (storm->stopped[i])
            stop_or_go(storm, i);
    storm->books->over = true;
    for (unsigned i = 0; i < storm->producers; i++)
        await_end(storm, i);
    CHECK_EQ(brood_queue_join(storm->queue, TEST_PATIENCE_MS), 0);
    /* A message that is done may not be noted yet, and never will. */
    for (unsigned i = storm->producers; i < crew; i++) {
        CHECK_OK(kill(storm->pids[i], SIGKILL));
        CHECK_EQ(waitpid(storm->pids[i], NULL, 0), storm->pids[i]);
        storm->consumer_kills++;
    }
    check_room(storm);
    for (unsigned i = storm->producers; i < crew; i++)
        start_one(storm, i);
    brood_queue_close(storm->queue);
    for (unsigned i = storm->producers; i < crew; i++)
        await_end(storm, i);
}

static void check_books(struct storm *storm)
{
    struct books *books = storm->books;
    unsigned lost = 0, twice = 0, put = 0;
    unsigned lost_max = storm->in_place ? 0 : storm->consumer_kills;
    unsigned twice_max = storm->producer_kills + (storm->in_place ? storm->consumer_kills : 0);

    for (unsigned producer = 0; producer < storm->producers; producer++) {
        put += books->next[producer];
        for (uint32_t number = 0; number < books->next[producer]; number++) {
            unsigned got = books->got[producer][number];

            lost += got == 0;
            twice += got > 1 ? got - 1 : 0;
        }
    }
    test_note("%u messages, %u producers and %u consumers killed, %u stops: %u lost, %u twice, "
              "%u behind others",
              put, storm->producer_kills, storm->consumer_kills, storm->stops, lost, twice,
              books->strays);
    CHECK(put > 100);
    CHECK(lost <= lost_max);
    CHECK(twice <= twice_max);
    CHECK(books->strays <= storm->consumer_kills);
}

static void run_storm(struct storm *storm)
{
    storm->books = mmap(NULL, sizeof *storm->books, PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    CHECK(storm->books != MAP_FAILED);
    CHECK_EQ(brood_queue_new(&storm->queue, &(brood_queue_options){.capacity = storm->capacity,
                                                                   .memory_max = MEMORY}),
             0);
    for (unsigned i = 0; i < storm->producers + storm->consumers; i++)
        start_one(storm, i);
    rage(storm);
    calm_down(storm);
    check_books(storm);
    brood_queue_free(storm->queue);
    CHECK_OK(munmap(storm->books, sizeof *storm->books));
}

TEST_LIMIT(a_storm_costs_a_killed_consumer_its_own_message_and_nothing_else, 60)
{
    struct storm storm = {.producers = 2, .consumers = 2, .capacity = 16};

    run_storm(&storm);
}

TEST_LIMIT(a_storm_costs_nothing_if_messages_are_noted_before_they_are_done, 60)
{
    struct storm storm = {.producers = 3, .consumers = 3, .capacity = 64, .in_place = true};

    run_storm(&storm);
}

TEST_LIMIT(a_storm_at_a_queue_of_one_strands_nobody, 60)
{
    struct storm storm = {.producers = 4, .consumers = 4, .capacity = 1};

    run_storm(&storm);
}
