/* SPDX-License-Identifier: MIT */
/* A producer whose consumers all die. The queue cannot know that nobody else will come, so a put
 * into the full queue would wait for ever; with .report_deaths it is told, and decides. */
#include <brood/easy.h>
#include <signal.h>

enum { CONSUMERS = 2, EACH = 3, CAPACITY = 4 };

static int consume(void *arg)
{
    brood_queue *queue = arg;
    long number;

    for (int i = 0; i < EACH; i++)
        while (brood_queue_get(queue, &number, sizeof number, BROOD_FOREVER) == BROOD_EPEER)
            ; /* the other consumer died: wait on */
    return raise(SIGKILL);
}

/* [put] */
/* BROOD_EPEER: there is no room, and no consumer lives that would make some. */
static int put(brood_queue *queue, long number)
{
    int r;

    while ((r = brood_queue_put(queue, &number, sizeof number, BROOD_FOREVER)) == BROOD_EPEER)
        if (brood_queue_deaths(queue) == CONSUMERS)
            break;
    return r;
}
/* [put] */

int main(void)
{
    const brood_queue_options options = {
        .item_size = sizeof(long), .capacity = CAPACITY, .report_deaths = true};
    BROOD_AUTO(queue) *queue = NULL;
    brood_process *consumer[CONSUMERS];
    long count = 0;
    int r;

    BROOD_MUST(brood_queue_new(&queue, &options));
    for (int i = 0; i < CONSUMERS; i++)
        BROOD_MUST(brood_process_start(&consumer[i], consume, queue, 0, NULL));
    while ((r = put(queue, count)) == 0)
        count++;
    printf("After %ld numbers: %s\n", count, brood_strerror(r));
    for (int i = 0; i < CONSUMERS; i++)
        brood_process_free(consumer[i]);
    return r == BROOD_EPEER ? 0 : 1;
}
