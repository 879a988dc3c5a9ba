/* SPDX-License-Identifier: MIT */
/*
 * The limits for locks: one atomic addition in place of a turn; a word that is taken by an
 * exchange and waited for by spinning; and a ping-pong of two processes that sleep on words.
 */
#include "lock.h"

#include "pingpong.h"

static struct {
    _Alignas(64) _Atomic uint32_t word;
} * shared;

static void word_acquire(void)
{
    while (atomic_exchange_explicit(&shared->word, 1, memory_order_acquire) != 0)
        while (atomic_load_explicit(&shared->word, memory_order_relaxed) != 0)
            bench_relax();
}

static void word_release(void)
{
    atomic_store_explicit(&shared->word, 0, memory_order_release);
}

static void add_measure(unsigned contenders)
{
    struct lock_stage *stage = bench_shared(sizeof *stage);
    pid_t pids[LOCK_CONTENDERS_MAX];

    for (unsigned i = 0; i < contenders; i++) {
        pids[i] = lock_fork(i);
        if (pids[i] != 0)
            continue;
        uint64_t done = 0;

        lock_await(&stage->go);
        while (__atomic_load_n(&stage->stop, __ATOMIC_RELAXED) == 0)
            for (int turn = 0; turn < LOCK_TURNS; turn++, done++)
                (void)__atomic_fetch_add(&stage->count, 1, __ATOMIC_SEQ_CST);
        stage->done[i][0] = done;
        _exit(0);
    }
    lock_emit("limit: fetch_add", contenders, stage, lock_run(stage, pids, contenders));
    (void)munmap(stage, sizeof *stage);
}

static uint64_t answer(uint64_t x)
{
    return x + 1;
}

static void futex_measure(void)
{
    struct pingpong *pair = pingpong_start(answer, true, true);
    const int64_t start_ns = bench_now_ns();
    uint64_t rounds = 0;

    while (bench_now_ns() - start_ns < LOCK_WINDOW_US * (int64_t)1000) {
        bench_must(pingpong_ask(pair, rounds) == rounds + 1, "an answer");
        rounds++;
    }
    bench_emit("lock", "limit: futex, ping-pong", "rounds/s",
               (double)rounds / bench_seconds_since(start_ns));
    pingpong_stop(pair);
}

int main(void)
{
    static const struct lock_kind word = {"limit: spinning word", word_acquire, word_release};

    shared = bench_shared(sizeof *shared);
    add_measure(1);
    add_measure(2);
    add_measure(4);
    lock_measure(&word);
    futex_measure();
    return 0;
}
