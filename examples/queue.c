/* SPDX-License-Identifier: MIT */
/* One process writes to a queue, another one reads from it. The reader would wait for ever, so the
 * parent terminates it, in the middle of its take; and the queue is as good as before. */
#include <brood/easy.h>
#include <time.h>
#include <unistd.h>

static int write_letters(void *arg)
{
    const struct timespec moment = {.tv_nsec = 50 * 1000 * 1000};
    brood_queue *queue = arg;

    printf("Process to write: %d\n", (int)getpid());
    for (char letter = 'A'; letter <= 'C'; letter++) {
        printf("Put %c to queue...\n", letter);
        BROOD_MUST(brood_queue_put(queue, &letter, sizeof letter, BROOD_FOREVER));
        nanosleep(&moment, NULL);
    }
    return 0;
}

static int read_letters(void *arg)
{
    brood_queue *queue = arg;
    brood_message message;

    printf("Process to read: %d\n", (int)getpid());
    while (BROOD_MUST(brood_queue_take(queue, BROOD_FOREVER, &message)) == 1) {
        printf("Get %c from queue.\n", *(const char *)message.data);
        brood_message_done(&message);
    }
    return 0;
}

int main(void)
{
    BROOD_AUTO(queue) *queue = NULL;
    BROOD_AUTO(process) *writer = NULL;
    BROOD_AUTO(process) *reader = NULL;
    brood_outcome outcome;
    char letter = 'D';

    setvbuf(stdout, NULL, _IOLBF, BUFSIZ); /* who is terminated cannot write what is in a buffer */
    BROOD_MUST(brood_queue_new(&queue, &(brood_queue_options){.item_size = sizeof letter}));
    BROOD_MUST(brood_process_start(&writer, write_letters, queue, 0, NULL));
    BROOD_MUST(brood_process_start(&reader, read_letters, queue, 0, NULL));
    BROOD_MUST(brood_process_join(writer, BROOD_FOREVER, NULL));
    BROOD_MUST(brood_queue_join(queue, BROOD_FOREVER)); /* until each letter is done */

    BROOD_MUST(brood_process_terminate(reader));
    BROOD_MUST(brood_process_join(reader, BROOD_FOREVER, &outcome));
    brood_outcome_print(stdout, "The reader", &outcome);

    BROOD_MUST(brood_queue_put(queue, &letter, sizeof letter, BROOD_FOREVER));
    letter = '?';
    BROOD_MUST(brood_queue_get(queue, &letter, sizeof letter, BROOD_FOREVER));
    printf("The queue is whole: put D, got %c, %d left.\n", letter, brood_queue_size(queue));
    return 0;
}
