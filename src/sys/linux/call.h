/* SPDX-License-Identifier: MIT */
/* What the files of the seam to the kernel share: how a call is asked to fail, made and judged. */
#ifndef BROOD_SRC_SYS_LINUX_CALL_H
#define BROOD_SRC_SYS_LINUX_CALL_H

#include "base/fault.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <unistd.h>

/* RESULT as it is, or -errno. */
static inline int64_t checked(int64_t result)
{
    return result < 0 ? -errno : result;
}

#define RETRY(call)                                                                                \
    __extension__({                                                                                \
        int64_t retry_result;                                                                      \
        do                                                                                         \
            retry_result = checked(call);                                                          \
        while (retry_result == -EINTR);                                                            \
        retry_result;                                                                              \
    })
#define FAIL_IF_ASKED(name)                                                                        \
    do {                                                                                           \
        int fault = BROOD_FAULT(name);                                                             \
        if (fault != 0)                                                                            \
            return -fault;                                                                         \
    } while (0)

/* A program that closed its standard streams must not find our descriptors in their place. */
static inline int above_standard(int fd)
{
    int moved;

    if (fd < 0 || fd > 2)
        return fd;
    moved = (int)checked(fcntl(fd, F_DUPFD_CLOEXEC, 3));
    (void)close(fd);
    return moved;
}

#endif
