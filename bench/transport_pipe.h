/* SPDX-License-Identifier: MIT */
/* brood's pipe as a transport: messages that are copied out, messages that are taken, a stream. */
#ifndef BROOD_BENCH_TRANSPORT_PIPE_H
#define BROOD_BENCH_TRANSPORT_PIPE_H

#include "transport.h"

#include <brood/easy.h>
#include <brood/pipe.h>

static struct {
    brood_pipe *left, *right; /* right sends */
    brood_message message;    /* of this process: taken */
} the_ends;

static inline bool ends_open(unsigned producers, unsigned consumers, bool stream)
{
    const brood_pipe_options options = {.one_way = true, .stream = stream};

    if (producers + consumers != 2)
        return false;
    (void)BROOD_MUST(brood_pipe_new(&the_ends.left, &the_ends.right, &options));
    return true;
}

static inline bool ends_open_messages(size_t len, unsigned producers, unsigned consumers)
{
    (void)len;
    return ends_open(producers, consumers, false);
}

static inline bool ends_open_stream(size_t len, unsigned producers, unsigned consumers)
{
    (void)len;
    return ends_open(producers, consumers, true);
}

static inline void ends_put(void *data, size_t len, unsigned count)
{
    (void)count;
    (void)BROOD_MUST(brood_pipe_put(the_ends.right, data, len, BROOD_FOREVER));
}

static inline unsigned ends_get(void **inout_data, size_t len, unsigned count_max)
{
    size_t got_len = 0;

    (void)count_max;
    const int got =
        BROOD_MUST(brood_pipe_get(the_ends.left, *inout_data, len, &got_len, BROOD_FOREVER));

    bench_must(got_len == len, "the length of a message");
    return (unsigned)got;
}

static inline unsigned ends_take(void **inout_data, size_t len, unsigned count_max)
{
    (void)count_max;
    const int got = BROOD_MUST(brood_pipe_take(the_ends.left, BROOD_FOREVER, &the_ends.message));

    bench_must(the_ends.message.len == len, "the length of a message");
    *inout_data = the_ends.message.data;
    return (unsigned)got;
}

static inline void ends_done(void)
{
    brood_message_done(&the_ends.message);
}

static inline void ends_write(void *data, size_t len, unsigned count)
{
    (void)count;
    bench_must(brood_pipe_write(the_ends.right, data, len, BROOD_FOREVER) == (int64_t)len,
               "all bytes are written");
}

static inline unsigned ends_read(void **inout_data, size_t len, unsigned count_max)
{
    (void)count_max;
    for (size_t at = 0; at < len;) {
        const int64_t got =
            brood_pipe_read(the_ends.left, (char *)*inout_data + at, len - at, BROOD_FOREVER);

        bench_must(got > 0, "bytes of a stream");
        at += (size_t)got;
    }
    return 1;
}

static inline void ends_close(void)
{
    brood_pipe_free(the_ends.left);
    brood_pipe_free(the_ends.right);
}

static const struct transport PIPE_COPIED = {.name = "brood_pipe",
                                             .open = ends_open_messages,
                                             .put = ends_put,
                                             .get = ends_get,
                                             .close = ends_close};

static const struct transport PIPE_TAKEN = {.name = "brood_pipe, taken",
                                            .open = ends_open_messages,
                                            .put = ends_put,
                                            .get = ends_take,
                                            .done = ends_done,
                                            .close = ends_close};

static const struct transport PIPE_STREAM = {.name = "brood_pipe, stream",
                                             .open = ends_open_stream,
                                             .put = ends_write,
                                             .get = ends_read,
                                             .close = ends_close};

#endif
