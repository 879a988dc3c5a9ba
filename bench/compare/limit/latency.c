/* SPDX-License-Identifier: MIT */
/*
 * The floor under one message at a time: one message in shared memory and a word beside it, which
 * counts. The consumer spins on the word, or sleeps on it and is woken.
 */
#include "latency.h"

#include <linux/futex.h>
#include <stdatomic.h>
#include <sys/syscall.h>

struct board {
    _Alignas(TRANSPORT_LINE) _Atomic uint32_t written;
    char data[TRANSPORT_LINE];
    _Alignas(TRANSPORT_LINE) _Atomic uint32_t read;
};

static struct board *board;
static uint32_t turn; /* each process has its own copy */

static bool board_open(size_t len, unsigned producers, unsigned consumers)
{
    if (len > sizeof board->data || producers + consumers != 2)
        return false;
    board = bench_shared(sizeof *board);
    turn = 0;
    return true;
}

static void board_write(const void *data, size_t len)
{
    while (atomic_load_explicit(&board->read, memory_order_acquire) != turn)
        bench_relax();
    memcpy(board->data, data, len);
    turn++;
    atomic_store_explicit(&board->written, turn, memory_order_release);
}

static void board_put(void *data, size_t len, unsigned count)
{
    (void)count;
    board_write(data, len);
}

static void board_put_and_wake(void *data, size_t len, unsigned count)
{
    (void)count;
    board_write(data, len);
    (void)syscall(SYS_futex, &board->written, FUTEX_WAKE, 1, NULL, NULL, 0);
}

static unsigned board_read(void *data, size_t len)
{
    memcpy(data, board->data, len);
    turn++;
    atomic_store_explicit(&board->read, turn, memory_order_release);
    return 1;
}

static unsigned board_get_spinning(void **inout_data, size_t len, unsigned count_max)
{
    (void)count_max;
    while (atomic_load_explicit(&board->written, memory_order_acquire) == turn)
        bench_relax();
    return board_read(*inout_data, len);
}

static unsigned board_get_asleep(void **inout_data, size_t len, unsigned count_max)
{
    (void)count_max;
    while (atomic_load_explicit(&board->written, memory_order_acquire) == turn)
        (void)syscall(SYS_futex, &board->written, FUTEX_WAIT, turn, NULL, NULL, 0);
    return board_read(*inout_data, len);
}

static void board_close(void)
{
    (void)munmap(board, sizeof *board);
}

int main(void)
{
    const struct transport spinning = {.name = "limit: a word",
                                       .spins = true,
                                       .open = board_open,
                                       .put = board_put,
                                       .get = board_get_spinning,
                                       .close = board_close};
    const struct transport asleep = {.name = "limit: futex",
                                     .open = board_open,
                                     .put = board_put_and_wake,
                                     .get = board_get_asleep,
                                     .close = board_close};

    latency_measure(&spinning);
    latency_measure(&asleep);
    return 0;
}
