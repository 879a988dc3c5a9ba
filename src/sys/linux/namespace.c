/* SPDX-License-Identifier: MIT */
/*
 * Entering a PID namespace, as root and as anybody.
 *
 * Root (CAP_SYS_ADMIN) needs nothing but the PID namespace. Others need a user namespace first,
 * and in it a map of their own user and group, written before anything else happens: without it
 * they would be nobody there. Some systems allow the user namespace and forbid the map; then
 * there is no way back, and the process has to be given up. What can be asked before, is: whether
 * the map's file is ours (it is not in a process that changed its ids and was not executed anew).
 *
 * A death leaves nothing: namespaces end with their processes.
 */
#include "sys/namespace.h"

#include "sys/kernel.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static int write_text(const char *path, const char *text)
{
    int fd = brood__fd_open(path, O_WRONLY);
    int64_t r;

    if (fd < 0)
        return fd;
    r = brood__fd_write(fd, text, strlen(text));
    brood__fd_close(fd);
    return r < 0 ? (int)r : 0;
}

static int write_map(const char *path, unsigned id)
{
    char text[64];

    (void)snprintf(text, sizeof text, "%u %u 1\n", id, id);
    return write_text(path, text);
}

static int may_write_maps(void)
{
    int fd = brood__fd_open("/proc/self/uid_map", O_WRONLY);

    if (fd < 0)
        return fd;
    brood__fd_close(fd);
    return 0;
}

static int enter_as_anybody(void)
{
    unsigned user = geteuid(), group = getegid();
    int r = may_write_maps();

    if (r < 0)
        return r;
    r = brood__unshare(CLONE_NEWUSER | CLONE_NEWPID);
    if (r < 0)
        return r;
    /* Since Linux 3.19 a group may be mapped only where setgroups() is given up. */
    (void)write_text("/proc/self/setgroups", "deny");
    if (write_map("/proc/self/uid_map", user) < 0 || write_map("/proc/self/gid_map", group) < 0)
        return -ENOTRECOVERABLE;
    return 0;
}

int brood__namespace_enter(void)
{
    int r = brood__unshare(CLONE_NEWPID);

    return r == -EPERM ? enter_as_anybody() : r;
}
