/* SPDX-License-Identifier: MIT */
/*
 * ZeroMQ, PUSH to PULL over ipc: each producer binds a socket of its own in a folder for the
 * purpose, each consumer connects to all of them. Its I/O threads send what put has returned from.
 */
#ifndef BROOD_BENCH_COMPARE_ZEROMQ_TRANSPORT_ZEROMQ_H
#define BROOD_BENCH_COMPARE_ZEROMQ_TRANSPORT_ZEROMQ_H

#include "folder.h"
#include "transport.h"

#include <zmq.h>

static void *zeromq_socket;

static void zeromq_produce(unsigned index)
{
    char address[FOLDER_ADDRESS_LEN];

    zeromq_socket = zmq_socket(zmq_ctx_new(), ZMQ_PUSH);
    bench_must(zeromq_socket != NULL, "zmq_socket");
    bench_must(zmq_bind(zeromq_socket, folder_address(index, address)) == 0, "zmq_bind");
}

static void zeromq_consume(unsigned index)
{
    char address[FOLDER_ADDRESS_LEN];

    (void)index;
    zeromq_socket = zmq_socket(zmq_ctx_new(), ZMQ_PULL);
    bench_must(zeromq_socket != NULL, "zmq_socket");
    for (unsigned i = 0; i < folder.producers; i++)
        bench_must(zmq_connect(zeromq_socket, folder_address(i, address)) == 0, "zmq_connect");
}

static void zeromq_put(void *data, size_t len, unsigned count)
{
    (void)count;
    bench_must(zmq_send(zeromq_socket, data, len, 0) == (int)len, "zmq_send");
}

static unsigned zeromq_get(void **inout_data, size_t len, unsigned count_max)
{
    (void)count_max;
    bench_must(zmq_recv(zeromq_socket, *inout_data, len, 0) == (int)len, "zmq_recv");
    return 1;
}

static const struct transport ZEROMQ_TRANSPORT = {.name = "ZeroMQ ipc",
                                                  .open = folder_open,
                                                  .produce = zeromq_produce,
                                                  .consume = zeromq_consume,
                                                  .put = zeromq_put,
                                                  .get = zeromq_get,
                                                  .close = folder_close};

#endif
