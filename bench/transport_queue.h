/* SPDX-License-Identifier: MIT */
/* brood's queue as a transport: message by message, in batches, by reference; and as one that
 * asks again and again instead of sleeping. */
#ifndef BROOD_BENCH_TRANSPORT_QUEUE_H
#define BROOD_BENCH_TRANSPORT_QUEUE_H

#include "transport.h"

#include <brood/easy.h>
#include <brood/queue.h>

enum { QUEUE_BATCH = 64 };

static brood_queue *the_queue;
static brood_message the_message; /* of this process: reserved, or taken */

static inline bool queue_open(size_t len, unsigned producers, unsigned consumers)
{
    const brood_queue_options options = {.item_size = len, .capacity = transport_depth(len)};

    (void)producers;
    (void)consumers;
    (void)BROOD_MUST(brood_queue_new(&the_queue, &options));
    return true;
}

static inline bool queue_open_packed(size_t len, unsigned producers, unsigned consumers)
{
    const brood_queue_options options = {
        .item_size = len, .capacity = transport_depth(len), .pack = true};

    (void)producers;
    (void)consumers;
    (void)BROOD_MUST(brood_queue_new(&the_queue, &options));
    return true;
}

static inline void queue_put(void *data, size_t len, unsigned count)
{
    (void)count;
    (void)BROOD_MUST(brood_queue_put(the_queue, data, len, BROOD_FOREVER));
}

static inline unsigned queue_get(void **inout_data, size_t len, unsigned count_max)
{
    (void)count_max;
    return (unsigned)BROOD_MUST(brood_queue_get(the_queue, *inout_data, len, BROOD_FOREVER));
}

static inline unsigned queue_get_spinning(void **inout_data, size_t len, unsigned count_max)
{
    int r;

    (void)count_max;
    while ((r = brood_queue_get(the_queue, *inout_data, len, 0)) == -ETIMEDOUT)
        bench_relax();
    return (unsigned)BROOD_MUST(r);
}

static inline void queue_put_batch(void *data, size_t len, unsigned count)
{
    for (unsigned done = 0; done < count;)
        done += (unsigned)BROOD_MUST(brood_queue_put_many(the_queue, (char *)data + done * len,
                                                          count - done, BROOD_FOREVER));
}

static inline unsigned queue_get_batch(void **inout_data, size_t len, unsigned count_max)
{
    (void)len;
    return (unsigned)BROOD_MUST(
        brood_queue_get_many(the_queue, *inout_data, count_max, BROOD_FOREVER));
}

static inline void *queue_reserve(size_t len)
{
    (void)BROOD_MUST(brood_queue_reserve(the_queue, len, BROOD_FOREVER, &the_message));
    return the_message.data;
}

static inline void queue_send(void *data, size_t len, unsigned count)
{
    (void)data;
    (void)len;
    (void)count;
    (void)BROOD_MUST(brood_queue_send(the_queue, &the_message));
}

static inline unsigned queue_take(void **inout_data, size_t len, unsigned count_max)
{
    (void)count_max;
    const int got = BROOD_MUST(brood_queue_take(the_queue, BROOD_FOREVER, &the_message));

    bench_must(the_message.len == len, "the length of a message");
    *inout_data = the_message.data;
    return (unsigned)got;
}

static inline void queue_done(void)
{
    brood_message_done(&the_message);
}

static inline void queue_close(void)
{
    brood_queue_free(the_queue);
    the_queue = NULL;
}

static const struct transport QUEUE_SINGLE = {
    .name = "queue", .open = queue_open, .put = queue_put, .get = queue_get, .close = queue_close};

static const struct transport QUEUE_SPINNING = {.name = "queue",
                                                .spins = true,
                                                .open = queue_open,
                                                .put = queue_put,
                                                .get = queue_get_spinning,
                                                .close = queue_close};

static const struct transport QUEUE_BATCHES = {.name = "queue, batches of 64",
                                               .batch = QUEUE_BATCH,
                                               .open = queue_open_packed,
                                               .put = queue_put_batch,
                                               .get = queue_get_batch,
                                               .close = queue_close};

static const struct transport QUEUE_BY_REFERENCE = {.name = "queue, by reference",
                                                    .open = queue_open,
                                                    .reserve = queue_reserve,
                                                    .put = queue_send,
                                                    .get = queue_take,
                                                    .done = queue_done,
                                                    .close = queue_close};

#endif
