/* SPDX-License-Identifier: MIT */
/* Boost.Interprocess's message_queue, as deep as transport_depth() says, in /dev/shm. */
#ifndef BROOD_BENCH_COMPARE_BOOST_TRANSPORT_BOOST_H
#define BROOD_BENCH_COMPARE_BOOST_TRANSPORT_BOOST_H

#include "transport.h"

#include <boost/interprocess/ipc/message_queue.hpp>
#include <memory>
#include <string>
#include <sys/statvfs.h>

static std::unique_ptr<boost::interprocess::message_queue> boost_queue;

/* It does not notice that the file system is full, but dies of it later. */
static bool boost_has_room(size_t len)
{
    struct statvfs shm;

    return statvfs("/dev/shm", &shm) == 0 && shm.f_bavail * shm.f_bsize > 2 * len;
}

static bool boost_open(size_t len, unsigned, unsigned)
{
    const unsigned depth = transport_depth(len);
    const std::string name = "bench-" + std::to_string(getpid());

    if (!boost_has_room(depth * len))
        return false;
    boost_queue = std::make_unique<boost::interprocess::message_queue>(
        boost::interprocess::create_only, name.c_str(), depth, len);
    boost::interprocess::message_queue::remove(name.c_str());
    return true;
}

static void boost_put(void *data, size_t len, unsigned)
{
    boost_queue->send(data, len, 0);
}

static unsigned boost_get(void **inout_data, size_t len, unsigned)
{
    size_t got_len = 0;
    unsigned priority = 0;

    boost_queue->receive(*inout_data, len, got_len, priority);
    bench_must(got_len == len, "the length of a message");
    return 1;
}

static void boost_close()
{
    boost_queue.reset();
}

static transport boost_transport()
{
    transport boost = {};

    boost.name = "Boost message_queue";
    boost.open = boost_open;
    boost.put = boost_put;
    boost.get = boost_get;
    boost.close = boost_close;
    return boost;
}

#endif
