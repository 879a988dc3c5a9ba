/* SPDX-License-Identifier: MIT */
/*
 * The end of a message in the hands of the user, wherever it came from. Keeps no state: what a
 * death leaves is said where messages are made (pipe_message.c, and the queue's files).
 */
#include "ipc/message.h"

#include <errno.h>
#include <string.h>

static const struct message_kind *kind_of(const brood_message *message)
{
    return (const struct message_kind *)(uintptr_t)message->reserved[0];
}

void brood_message_done(brood_message *message)
{
    int saved = errno;

    if (message == NULL)
        return;
    if (kind_of(message) != NULL)
        kind_of(message)->done(message);
    memset(message, 0, sizeof *message);
    errno = saved;
}

void brood_message_return(brood_message *message)
{
    int saved = errno;

    if (message == NULL)
        return;
    if (kind_of(message) != NULL)
        kind_of(message)->give_back(message);
    memset(message, 0, sizeof *message);
    errno = saved;
}
