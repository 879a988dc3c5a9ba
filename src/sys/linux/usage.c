/* SPDX-License-Identifier: MIT */
/*
 * Memory of a process, from /proc/PID/statm: what is resident less what is shared or of a file.
 *
 * The kernel keeps these counts per CPU and may be late by some hundred KiB. Pages that a forked
 * process still shares with its parent count as its own: whoever wants growth takes the
 * difference to the start. Keeps no state; a process that is gone is an error, a dead one not
 * yet reaped has 0.
 */
#include "sys/usage.h"

#include "sys/kernel.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

/* Zeroing and mapping pages takes a CPU about a second for 8 GiB; some may do it at once. */
static const uint64_t FILL_BYTES_PER_NS = 32;

static const int64_t SOON_NS = 1000000, LATE_NS = 1000000000;

int64_t brood__usage_private(pid_t pid)
{
    char path[32], text[128];
    long long resident, shared;
    int64_t r;

    (void)snprintf(path, sizeof path, "/proc/%d/statm", (int)pid);
    r = brood__file_read(path, text, sizeof text);
    if (r < 0)
        return r == -ENOENT ? -ESRCH : r;
    if (sscanf(text, "%*s %lld %lld", &resident, &shared) != 2)
        return -EIO;
    return resident > shared ? (resident - shared) * sysconf(_SC_PAGESIZE) : 0;
}

int64_t brood__usage_look_again_ns(uint64_t growth_left)
{
    uint64_t ns = growth_left / FILL_BYTES_PER_NS;

    if (ns < (uint64_t)SOON_NS)
        return SOON_NS;
    return ns > (uint64_t)LATE_NS ? LATE_NS : (int64_t)ns;
}
