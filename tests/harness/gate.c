/* SPDX-License-Identifier: MIT */
/*
 * A gate is a futex word that only grows: 0 closed, more than 0 open, or how often it was passed.
 *
 * Opening is one atomic addition and one wake, so a death before it leaves the gate closed and a
 * death between the two leaves it open with its waiters asleep. Waiters therefore look again
 * whenever a slice of their time is over; that costs nothing, and only such a death needs it.
 */
#include "harness/gate.h"

#include "harness/test.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { SLICE_MS = 500 };

struct gate {
    _Atomic uint32_t word;
};

struct gate *gate_new(void)
{
    struct gate *gate =
        mmap(NULL, sizeof *gate, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    CHECK(gate != MAP_FAILED);
    return gate;
}

void gate_free(struct gate *gate)
{
    if (gate != NULL)
        (void)munmap(gate, sizeof *gate);
}

void gate_count(struct gate *gate)
{
    int saved = errno;

    atomic_fetch_add(&gate->word, 1);
    (void)syscall(SYS_futex, &gate->word, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
    errno = saved;
}

void gate_open(struct gate *gate)
{
    gate_count(gate);
}

uint32_t gate_counted(const struct gate *gate)
{
    return atomic_load(&gate->word);
}

bool gate_is_open(const struct gate *gate)
{
    return gate_counted(gate) > 0;
}

static int64_t monotonic_ms(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static bool wait_until(struct gate *gate, uint32_t count, int64_t timeout_ms)
{
    int64_t start_ms = monotonic_ms();

    for (;;) {
        uint32_t word = gate_counted(gate);
        int64_t left_ms = timeout_ms < 0 ? SLICE_MS : start_ms + timeout_ms - monotonic_ms();
        struct timespec slice;

        if (word >= count)
            return true;
        if (left_ms <= 0)
            return false;
        left_ms = left_ms < SLICE_MS ? left_ms : SLICE_MS;
        slice.tv_sec = (time_t)(left_ms / 1000);
        slice.tv_nsec = (long)(left_ms % 1000) * 1000000;
        (void)syscall(SYS_futex, &gate->word, FUTEX_WAIT, word, &slice, NULL, 0);
    }
}

bool gate_wait_ms(struct gate *gate, int64_t timeout_ms)
{
    return wait_until(gate, 1, timeout_ms);
}

void gate_wait_count(struct gate *gate, uint32_t count)
{
    if (!wait_until(gate, count, TEST_PATIENCE_MS))
        FAIL("a gate was passed %u times, not %u", gate_counted(gate), count);
}

void gate_wait(struct gate *gate)
{
    if (!wait_until(gate, 1, TEST_PATIENCE_MS))
        FAIL("a gate stayed closed");
}
