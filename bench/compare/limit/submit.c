/* SPDX-License-Identifier: MIT */
/*
 * The limit of submitting: two forked workers, a ring each way in shared memory, 64 tasks in
 * flight for each worker, and no system call but sched_yield when a ring stays empty. Nothing
 * here survives a death, sleeps, or carries more than a number.
 */
#include "bench.h"

#include <signal.h>
#include <stdatomic.h>
#include <sys/wait.h>

enum { RING_SLOTS = 256, WORKERS = 2, IN_FLIGHT = 64, TASKS = 20000000 };

struct ring {
    _Alignas(64) _Atomic uint32_t head;
    _Alignas(64) _Atomic uint32_t tail;
    _Alignas(64) uint64_t slots[RING_SLOTS];
};

struct lane {
    struct ring tasks, results;
};

static void wait_a_bit(unsigned *waits)
{
    if (++*waits < 100)
        bench_relax();
    else
        (void)sched_yield();
}

static void work(struct lane *lane)
{
    uint32_t done = 0;

    for (;;) {
        unsigned waits = 0;
        uint32_t head = 0;

        while ((head = atomic_load_explicit(&lane->tasks.head, memory_order_acquire)) == done)
            wait_a_bit(&waits);
        for (; done != head; done++) {
            const uint64_t x = lane->tasks.slots[done % RING_SLOTS];
            lane->results.slots[done % RING_SLOTS] = x * x;
        }
        atomic_store_explicit(&lane->results.head, done, memory_order_release);
    }
}

/* The caller's side of one lane. */
struct progress {
    uint32_t sent, taken;
};

static uint64_t take(struct lane *lane, struct progress *progress)
{
    const uint32_t head = atomic_load_explicit(&lane->results.head, memory_order_acquire);
    uint64_t sum = 0;

    for (; progress->taken != head; progress->taken++)
        sum += lane->results.slots[progress->taken % RING_SLOTS];
    return sum;
}

static void fill(struct lane *lane, struct progress *progress, uint64_t *next)
{
    const uint32_t before = progress->sent;

    while (progress->sent - progress->taken < IN_FLIGHT && *next < TASKS)
        lane->tasks.slots[progress->sent++ % RING_SLOTS] = (*next)++;
    if (progress->sent != before)
        atomic_store_explicit(&lane->tasks.head, progress->sent, memory_order_release);
}

static uint64_t run_all(struct lane *lanes)
{
    struct progress progress[WORKERS] = {{0}};
    uint64_t next = 0;
    uint64_t sum = 0;
    unsigned waits = 0;

    while (progress[0].taken + progress[1].taken < TASKS) {
        const uint32_t before = progress[0].taken + progress[1].taken;

        for (int i = 0; i < WORKERS; i++) {
            sum += take(&lanes[i], &progress[i]);
            fill(&lanes[i], &progress[i], &next);
        }
        if (progress[0].taken + progress[1].taken == before)
            wait_a_bit(&waits);
        else
            waits = 0;
    }
    return sum;
}

int main(void)
{
    struct lane *lanes = bench_shared(WORKERS * sizeof *lanes);
    pid_t pids[WORKERS];

    for (int i = 0; i < WORKERS; i++) {
        pids[i] = fork();
        bench_must(pids[i] >= 0, "fork");
        if (pids[i] == 0)
            work(&lanes[i]);
    }
    const int64_t start_ns = bench_now_ns();
    const uint64_t sum = run_all(lanes);
    const double seconds = bench_seconds_since(start_ns);
    for (int i = 0; i < WORKERS; i++) {
        (void)kill(pids[i], SIGKILL);
        (void)waitpid(pids[i], NULL, 0);
    }
    bench_must(sum == bench_square_sum(TASKS), "the sum of the tasks");
    bench_emit("submit", "limit: spinning rings", "tasks/s", TASKS / seconds);
    return 0;
}
