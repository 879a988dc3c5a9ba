/* SPDX-License-Identifier: MIT */
/*
 * A queue under fire: producers and consumers are killed, stopped and let go on at random moments
 * for some seconds, and new ones take their places. It imitates a busy machine on which a killer of
 * processes goes mad: small messages and large ones, little memory, a short ring. What must hold
 * then is said in queue_storm.h.
 */
#include "api/queue_storm.h"

#include <time.h>

enum { STORM_MS = 2500 };

static int64_t now_ms(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* By the clock and not by the storm's progress, which stops when all producers are stopped. */
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

static void run_storm(struct storm *storm)
{
    open_storm(storm);
    for (unsigned i = 0; i < storm->producers + storm->consumers; i++)
        start_one(storm, i);
    rage(storm);
    close_storm(storm);
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
