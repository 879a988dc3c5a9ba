/* SPDX-License-Identifier: MIT */
/*
 * A queue in a storm: producers and consumers that somebody kills, and that are replaced at once.
 *
 *     struct storm storm = {.producers = 2, .consumers = 2, .capacity = 16};
 *
 *     open_storm(&storm);
 *     ... start_one(&storm, index) for each of the crew, then kill_one() and stop_or_go() ...
 *     close_storm(&storm);
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
#ifndef BROOD_TESTS_API_QUEUE_STORM_H
#define BROOD_TESTS_API_QUEUE_STORM_H

#include "harness/gate.h"
#include "harness/process.h"
#include "harness/record.h"
#include "harness/test.h"

#include <brood.h>

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
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
    /* What a test asks for. */
    unsigned producers, consumers, capacity;
    bool in_place;
    unsigned participants_max; /* at most one more than capacity; 0: that of the queue */
    void (*begin)(struct storm *storm, unsigned index); /* in each of the crew, or NULL */
    void (*in_between)(void); /* then, in the middle of each message, or NULL */

    brood_queue *queue;
    struct books *books;
    pid_t pids[CREW_MAX];
    bool stopped[CREW_MAX];
    unsigned producer_kills, consumer_kills, stops;
};

/* ---- messages ---- */

/* Most are small; one in eight needs a block of one page or two. */
static inline uint32_t len_of(uint32_t producer, uint32_t number)
{
    uint32_t hash = (number * 2654435761U) ^ (producer * 40503U);

    return (uint32_t)sizeof(struct head) +
           (hash % 8 == 0 ? hash / 8 % (LEN_MAX - 100) : hash / 8 % 150);
}

static inline void make_message(char *data, uint32_t producer, uint32_t number)
{
    struct head head = {producer, number, len_of(producer, number)};

    memset(data, (int)(producer * 101 + number), head.len);
    memcpy(data, &head, sizeof head);
}

static inline struct head check_message(const struct storm *storm, const char *data, size_t len)
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

static inline void storm_in_between(struct storm *storm)
{
    if (storm->in_between != NULL)
        storm->in_between();
}

static inline void produce(struct storm *storm, unsigned producer)
{
    static char data[LEN_MAX];
    struct books *books = storm->books;

    while (!books->over) {
        uint32_t number = books->next[producer];

        if (number == NUMBERS_MAX)
            return;
        make_message(data, producer, number);
        CHECK_EQ(brood_queue_put(storm->queue, data, len_of(producer, number), BROOD_FOREVER), 0);
        storm_in_between(storm);
        books->next[producer] = number + 1;
    }
}

static inline void note(struct storm *storm, const struct head *head, int64_t *last)
{
    struct books *books = storm->books;

    if (head->number < last[head->producer])
        (void)atomic_fetch_add(&books->strays, 1);
    else
        last[head->producer] = head->number;
    (void)atomic_fetch_add(&books->got[head->producer][head->number], 1);
}

static inline void consume(struct storm *storm)
{
    static char data[LEN_MAX];
    int64_t last[PRODUCERS_MAX] = {-1, -1, -1, -1};
    brood_message message;
    struct head head;
    int r;

    while ((r = brood_queue_take(storm->queue, BROOD_FOREVER, &message)) == 1) {
        storm_in_between(storm);
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

static inline void start_one(struct storm *storm, unsigned index)
{
    storm->stopped[index] = false;
    storm->pids[index] = CHECK_OK(fork());
    if (storm->pids[index] != 0)
        return;
    if (storm->begin != NULL)
        storm->begin(storm, index);
    if (index < storm->producers)
        produce(storm, index);
    else
        consume(storm);
    _exit(0);
}

static inline void count_kill(struct storm *storm, unsigned index)
{
    if (index < storm->producers)
        storm->producer_kills++;
    else
        storm->consumer_kills++;
}

static inline void kill_one(struct storm *storm, unsigned index)
{
    CHECK_OK(kill(storm->pids[index], SIGKILL));
    CHECK_EQ(waitpid(storm->pids[index], NULL, 0), storm->pids[index]);
    count_kill(storm, index);
    start_one(storm, index);
}

static inline void stop_or_go(struct storm *storm, unsigned index)
{
    CHECK_OK(kill(storm->pids[index], storm->stopped[index] ? SIGCONT : SIGSTOP));
    storm->stopped[index] = !storm->stopped[index];
    storm->stops++;
}

static inline void await_end(struct storm *storm, unsigned index)
{
    int status;

    process_await_end(storm->pids[index], index < storm->producers ? "a producer is left asleep"
                                                                   : "a consumer is left asleep");
    CHECK_EQ(waitpid(storm->pids[index], &status, 0), storm->pids[index]);
    CHECK_EQ(status, 0);
}

/* That many others may take part at once: each does SIT, and stays until all have. */
static inline void check_seats(unsigned others, void (*sit)(void *context), void *context)
{
    struct gate *seated = gate_new();
    struct gate *leave = gate_new();

    for (unsigned i = 0; i < others; i++) {
        if (CHECK_OK(fork()) != 0)
            continue;
        sit(context);
        gate_count(seated);
        gate_wait(leave);
        _exit(0);
    }
    gate_wait_count(seated, others);
    gate_open(leave);
    while (others-- > 0)
        CHECK_OK(waitpid(-1, NULL, 0));
    gate_free(seated);
    gate_free(leave);
}

static inline void sit_at_queue(void *context)
{
    struct storm *storm = context;

    CHECK_EQ(brood_queue_put(storm->queue, "", 1, 0), 0);
}

static inline void check_queue_seats(struct storm *storm)
{
    char data;

    check_seats(storm->participants_max - 1, sit_at_queue, storm);
    for (unsigned i = 1; i < storm->participants_max; i++)
        CHECK_EQ(brood_queue_get(storm->queue, &data, 1, 0), 1);
    CHECK_EQ(brood_queue_size(storm->queue), 0);
}

/* By the process of the test, alone. */
static inline void check_room(struct storm *storm)
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
    if (storm->participants_max != 0)
        check_queue_seats(storm);
}

static inline void calm_down(struct storm *storm)
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

static inline void check_books(struct storm *storm)
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

static inline void open_storm(struct storm *storm)
{
    storm->books = mmap(NULL, sizeof *storm->books, PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    CHECK(storm->books != MAP_FAILED);
    CHECK_EQ(brood_queue_new(&storm->queue,
                             &(brood_queue_options){.capacity = storm->capacity,
                                                    .memory_max = MEMORY,
                                                    .participants_max = storm->participants_max}),
             0);
}

/* Lets all come to their ends, and asks what the books say. */
static inline void close_storm(struct storm *storm)
{
    calm_down(storm);
    check_books(storm);
    brood_queue_free(storm->queue);
    CHECK_OK(munmap(storm->books, sizeof *storm->books));
}

#endif
