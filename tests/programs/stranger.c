/* SPDX-License-Identifier: MIT */
/* Another program: gets the ref of a queue over the socket that is descriptor 3, opens it, and does
 * what its argument says. Ends with 0 if all went well. */
#include <brood.h>
#include <string.h>
#include <unistd.h>

enum { SOCKET = 3, PATIENCE_MS = 20000 };

static int put(brood_queue *queue)
{
    int value = 13;

    return brood_queue_put(queue, &value, sizeof value, PATIENCE_MS);
}

/* Says that it has the message, and waits for the end. */
static int take(brood_queue *queue)
{
    brood_message message;

    if (brood_queue_take(queue, PATIENCE_MS, &message) != 1 || write(SOCKET, "!", 1) != 1)
        return -1;
    for (;;)
        (void)pause();
}

int main(int argc, char **argv)
{
    brood_queue *queue = NULL;
    brood_ref ref;
    int r;

    if (argc != 2 || brood_ref_receive(SOCKET, &ref, PATIENCE_MS) != 1)
        return 2;
    if (brood_queue_open(&queue, ref) < 0)
        return 3;
    r = strcmp(argv[1], "put") == 0 ? put(queue) : take(queue);
    brood_queue_free(queue);
    return r == 0 ? 0 : 4;
}
