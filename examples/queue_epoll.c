/* SPDX-License-Identifier: MIT */
/* A queue in an event loop, beside other things: here the ends of the processes that put into it.
 * When the queue's descriptor is readable, what is there is got without waiting, until there is no
 * more. The descriptor of a closed queue stays readable, so that the loop sees the end. */
#include <brood/easy.h>
#include <sys/epoll.h>
#include <unistd.h>

enum { PRODUCERS = 3, NUMBERS = 1000 };

static int produce(void *arg)
{
    brood_queue *queue = arg;

    for (long number = 1; number <= NUMBERS; number++)
        BROOD_MUST(brood_queue_put(queue, &number, sizeof number, BROOD_FOREVER));
    return 0;
}

/* False: the queue is closed, and everything was got. */
static bool drain(brood_queue *queue, long *inout_sum)
{
    long number;
    int r;

    while ((r = brood_queue_get(queue, &number, sizeof number, 0)) == 1)
        *inout_sum += number;
    if (r == -ETIMEDOUT)
        return true; /* empty for now: back to the loop */
    return BROOD_MUST(r) != 0;
}

static int watch(int epoll_fd, int fd)
{
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};

    return epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0 ? -errno : 0;
}

int main(void)
{
    BROOD_AUTO(queue) *queue = NULL;
    brood_process *producer[PRODUCERS];
    struct epoll_event event;
    int epoll_fd = epoll_create1(EPOLL_CLOEXEC), running = PRODUCERS, failed = 0;
    long sum = 0;
    bool open = true;

    BROOD_MUST(brood_queue_new(&queue, &(brood_queue_options){.item_size = sizeof(long)}));
    for (int i = 0; i < PRODUCERS; i++) {
        BROOD_MUST(brood_process_start(&producer[i], produce, queue, 0, NULL));
        BROOD_MUST(watch(epoll_fd, BROOD_MUST(brood_process_fd(producer[i]))));
    }
    int queue_fd = BROOD_MUST(brood_queue_fd(queue)); /* of this process; a child makes its own */
    BROOD_MUST(watch(epoll_fd, queue_fd));
    while (open && epoll_wait(epoll_fd, &event, 1, -1) == 1) {
        if (event.data.fd == queue_fd) {
            open = drain(queue, &sum);
            continue;
        }
        (void)epoll_ctl(epoll_fd, EPOLL_CTL_DEL, event.data.fd, NULL);
        if (--running == 0)
            brood_queue_close(queue);
    }
    for (int i = 0; i < PRODUCERS; i++)
        failed += brood_process_finish(producer[i], "producer") != 0;
    close(epoll_fd);
    printf("The sum of all is %ld.\n", sum);
    return failed != 0;
}
