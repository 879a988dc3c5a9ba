/* SPDX-License-Identifier: MIT */
/*
 * Processes as the kernel shows them: their state in /proc, their end by a pidfd.
 *
 * Whether somebody sleeps can only be looked at again and again. The looks give way in between, as
 * on a machine with one CPU the other would not come to its sleep otherwise. An end is waited for.
 */
#include "harness/process.h"

#include "harness/test.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

char process_state(pid_t pid)
{
    char path[64];
    char text[512];
    const char *end;
    ssize_t len;
    int fd;

    (void)snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return '?';
    len = read(fd, text, sizeof text - 1);
    (void)close(fd);
    text[len > 0 ? len : 0] = '\0';
    /* The name before it may hold brackets too. */
    end = strrchr(text, ')');
    return end != NULL && end[1] == ' ' ? end[2] : '?';
}

void process_await_rest(pid_t pid)
{
    while (strchr("SZX?", process_state(pid)) == NULL)
        (void)sched_yield();
}

bool process_has_ended(pid_t pid, int64_t timeout_ms)
{
    struct pollfd fd = {.fd = CHECK_OK((int)syscall(SYS_pidfd_open, pid, 0)), .events = POLLIN};
    int r = poll(&fd, 1, (int)timeout_ms);

    CHECK(r >= 0);
    (void)close(fd.fd);
    return r == 1;
}

void process_await_end(pid_t pid, const char *complaint)
{
    if (!process_has_ended(pid, TEST_PATIENCE_MS))
        FAIL("%s", complaint);
}
