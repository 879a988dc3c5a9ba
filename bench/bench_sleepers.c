/* SPDX-License-Identifier: MIT */
/*
 * What do many cost who wait for a message that does not come?
 *
 * A hundred processes sleep in get for three seconds, each ready to learn of the death of any
 * other; the kernel's own count of their CPU time and of their context switches should not move.
 * Then as many as are too many for one system call to watch: they look after each other from time
 * to time, and what that costs is shown. In the end each gets one message.
 */
#include "idle.h"

#include <brood/easy.h>
#include <brood/queue.h>
#include <sys/wait.h>

enum { SLEEPERS_FEW = 100, SLEEPERS_MANY = 200 };

static void sleep_in_get(brood_queue *queue, uint64_t *ready)
{
    int number = 0;

    (void)__atomic_fetch_add(ready, 1, __ATOMIC_RELEASE);
    bench_must(BROOD_MUST(brood_queue_get(queue, &number, sizeof number, BROOD_FOREVER)) == 1,
               "a message");
    _exit(number > 0 ? 0 : 1);
}

static void start(brood_queue *queue, pid_t *pids, int count)
{
    uint64_t *ready = bench_shared(sizeof *ready);

    for (int i = 0; i < count; i++) {
        pids[i] = fork();
        bench_must(pids[i] >= 0, "fork");
        if (pids[i] == 0) {
            bench_end_with_parent();
            sleep_in_get(queue, ready);
        }
    }
    while (__atomic_load_n(ready, __ATOMIC_ACQUIRE) < (uint64_t)count)
        bench_pause_us(1000);
    (void)munmap(ready, sizeof *ready);
}

static void wake(brood_queue *queue, const pid_t *pids, int count)
{
    for (int i = 1; i <= count; i++)
        (void)BROOD_MUST(brood_queue_put(queue, &i, sizeof i, BROOD_FOREVER));
    for (int i = 0; i < count; i++) {
        int status = -1;

        bench_must(waitpid(pids[i], &status, 0) == pids[i] && status == 0, "a sleeper's message");
    }
}

static void measure(int count)
{
    pid_t pids[SLEEPERS_MANY];
    char text[64];
    brood_queue *queue = NULL;

    (void)BROOD_MUST(brood_queue_new(&queue, &(brood_queue_options){.item_size = sizeof(int)}));
    start(queue, pids, count);
    (void)snprintf(text, sizeof text, "%d asleep in get", count);
    idle_measure("sleepers", text);
    wake(queue, pids, count);
    brood_queue_free(queue);
}

int main(void)
{
    measure(SLEEPERS_FEW);
    measure(SLEEPERS_MANY);
    return 0;
}
