/* SPDX-License-Identifier: MIT */
/*
 * The floor under a megabyte through a task: memcpy between buffers of one process; and the
 * same memcpy by another process that spins, on memory that both share.
 */
#include "payload.h"

#include "pingpong.h"

static char *in, *out;

static double memcpy_ns(void *context, uint64_t mark)
{
    (void)context;
    payload_mark(in, mark);
    const int64_t start_ns = bench_now_ns();
    memcpy(out, in, PAYLOAD_LEN);
    const double taken_ns = (double)(bench_now_ns() - start_ns);
    payload_check(out, mark);
    return taken_ns;
}

static uint64_t copy(uint64_t question)
{
    memcpy(out, in, PAYLOAD_LEN);
    return question;
}

static double remote_memcpy_ns(void *context, uint64_t mark)
{
    payload_mark(in, mark);
    const int64_t start_ns = bench_now_ns();
    (void)pingpong_ask(context, mark);
    const double taken_ns = (double)(bench_now_ns() - start_ns);
    payload_check(out, mark);
    return taken_ns;
}

int main(void)
{
    in = bench_shared(PAYLOAD_LEN);
    out = bench_shared(PAYLOAD_LEN);
    payload_measure("limit: memcpy", memcpy_ns, NULL);
    struct pingpong *pair = pingpong_start(copy, false, false);

    payload_measure("limit: memcpy by a spinning process", remote_memcpy_ns, pair);
    pingpong_stop(pair);
    return 0;
}
