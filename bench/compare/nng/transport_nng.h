/* SPDX-License-Identifier: MIT */
/*
 * nng, PUSH to PULL over ipc: each producer listens on a socket of its own in a folder for the
 * purpose, each consumer dials all of them. The buffers are as long as it allows to be useful.
 */
#ifndef BROOD_BENCH_COMPARE_NNG_TRANSPORT_NNG_H
#define BROOD_BENCH_COMPARE_NNG_TRANSPORT_NNG_H

#include "folder.h"
#include "transport.h"

#include <nng/nng.h>
#include <nng/protocol/pipeline0/pull.h>
#include <nng/protocol/pipeline0/push.h>

enum { NNG_DEPTH = 128 };

static nng_socket the_nng_socket;

static void nng_must(int r, const char *what)
{
    if (r != 0)
        fprintf(stderr, "%s: %s\n", what, nng_strerror(r));
    bench_must(r == 0, what);
}

/* The depth is an option that not every version of it takes. */
static void nng_produce(unsigned index)
{
    char address[FOLDER_ADDRESS_LEN];

    nng_must(nng_push0_open(&the_nng_socket), "nng_push0_open");
    (void)nng_socket_set_int(the_nng_socket, NNG_OPT_SENDBUF, NNG_DEPTH);
    nng_must(nng_listen(the_nng_socket, folder_address(index, address), NULL, 0), "nng_listen");
}

static void nng_consume(unsigned index)
{
    char address[FOLDER_ADDRESS_LEN];

    (void)index;
    nng_must(nng_pull0_open(&the_nng_socket), "nng_pull0_open");
    (void)nng_socket_set_int(the_nng_socket, NNG_OPT_RECVBUF, NNG_DEPTH);
    nng_must(nng_socket_set_size(the_nng_socket, NNG_OPT_RECVMAXSZ, 0), "NNG_OPT_RECVMAXSZ");
    for (unsigned i = 0; i < folder.producers; i++)
        nng_must(nng_dial(the_nng_socket, folder_address(i, address), NULL, 0), "nng_dial");
}

static void nng_put(void *data, size_t len, unsigned count)
{
    (void)count;
    nng_must(nng_send(the_nng_socket, data, len, 0), "nng_send");
}

static unsigned nng_get(void **inout_data, size_t len, unsigned count_max)
{
    size_t got_len = len;

    (void)count_max;
    nng_must(nng_recv(the_nng_socket, *inout_data, &got_len, 0), "nng_recv");
    bench_must(got_len == len, "the length of a message");
    return 1;
}

static const struct transport NNG_TRANSPORT = {.name = "nng ipc",
                                               .open = folder_open,
                                               .produce = nng_produce,
                                               .consume = nng_consume,
                                               .put = nng_put,
                                               .get = nng_get,
                                               .close = folder_close};

#endif
