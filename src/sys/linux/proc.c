/* SPDX-License-Identifier: MIT */
/*
 * Reading /proc: small files of numbers, nothing kept, nothing held when a process dies here.
 *
 * /proc/thread-self/children needs a kernel with CONFIG_PROC_CHILDREN, as distributions build
 * them. It is read in pieces, because a zygote may have thousands of children.
 */
#include "sys/proc.h"

#include "sys/kernel.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SMALL = 2048 };

/* Digits may be cut by the end of a piece, so the number is carried to the next one. */
struct number {
    long value;
    bool open;
};

static void read_numbers(struct number *number, const char *text, size_t len,
                         void (*each)(pid_t pid, void *context), void *context)
{
    for (size_t i = 0; i < len; i++) {
        if (text[i] >= '0' && text[i] <= '9') {
            number->value = number->value * 10 + (text[i] - '0');
            number->open = true;
        } else if (number->open) {
            each((pid_t)number->value, context);
            *number = (struct number){0};
        }
    }
}

int brood__proc_children(void (*each)(pid_t pid, void *context), void *context)
{
    struct number number = {0};
    char text[SMALL];
    int fd = brood__fd_open("/proc/thread-self/children", O_RDONLY);
    int64_t r;

    if (fd < 0)
        return fd;
    while ((r = brood__fd_read(fd, text, sizeof text)) > 0)
        read_numbers(&number, text, (size_t)r, each, context);
    read_numbers(&number, " ", 1, each, context);
    brood__fd_close(fd);
    return (int)r;
}

/* The text behind "NAME:" at a line's start, or NULL. */
static const char *value_of(const char *text, const char *name)
{
    size_t len = strlen(name);

    for (const char *at = text; at != NULL; at = strchr(at, '\n')) {
        at += *at == '\n';
        if (strncmp(at, name, len) == 0 && at[len] == ':')
            return at + len + 1;
    }
    return NULL;
}

/* The N-th number from 0, or -1 and *OUT_COUNT (may be NULL), how many there are. */
static long number_at(const char *at, unsigned n, unsigned *out_count)
{
    for (unsigned i = 0;; i++) {
        char *end;
        long number;

        at += strspn(at, " \t");
        if (*at < '0' || *at > '9') {
            if (out_count != NULL)
                *out_count = i;
            return -1;
        }
        number = strtol(at, &end, 10);
        if (i == n)
            return number;
        at = end;
    }
}

/* Looks through the whole lines in TEXT. True: VALUE is what stands behind "NSpid:". Else *OUT_REST
 * is where the last line begins, which is not whole. */
static bool find_namespace_line(const char *text, const char **out_value, const char **out_rest)
{
    const char *line = text;

    for (const char *end = strchr(line, '\n'); end != NULL; end = strchr(line, '\n')) {
        if (strncmp(line, "NSpid:", 6) == 0) {
            *out_value = line + 6;
            return true;
        }
        line = end + 1;
    }
    *out_rest = line;
    return false;
}

/* The N-th number of NSpid in PATH; -1 and their count if there are fewer; or -errno. Read in
 * pieces, because the list of groups before it may be long; without the allocator, because a
 * zygote must find strangers also when memory is short. */
static long namespace_pid(const char *path, unsigned n, unsigned *out_count)
{
    char text[SMALL];
    size_t have = 0;
    long pid = -ENOSYS;
    int fd = brood__fd_open(path, O_RDONLY);

    if (fd < 0)
        return fd;
    for (;;) {
        const char *value, *rest;
        int64_t r = brood__fd_read(fd, text + have, sizeof text - 1 - have);

        if (r <= 0) {
            pid = r < 0 ? (long)r : pid;
            break;
        }
        text[have + (size_t)r] = '\0';
        if (find_namespace_line(text, &value, &rest)) {
            pid = number_at(value, n, out_count);
            break;
        }
        have = strlen(rest);
        memmove(text, rest, have);
        if (have == sizeof text - 1) /* a line that is longer, and so not ours */
            have = 0;
    }
    brood__fd_close(fd);
    return pid;
}

pid_t brood__proc_inner_pid(pid_t pid)
{
    char path[64];
    unsigned depth = 0;
    long inner;

    /* /proc lists a process by its numbers in all namespaces from that of /proc inwards. Which one
     * is ours, our own line tells: its last. The other process may be in a deeper one. */
    inner = namespace_pid("/proc/thread-self/status", UINT_MAX, &depth);
    if (inner != -1 || depth == 0)
        return inner < -1 ? (pid_t)inner : -ENOSYS;
    (void)snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
    inner = namespace_pid(path, depth - 1, NULL);
    return inner == -1 ? -ESRCH : (pid_t)inner;
}

pid_t brood__proc_pidfd_pid(int pidfd)
{
    char path[64], text[SMALL];
    const char *value;
    long pid;
    int64_t r;

    (void)snprintf(path, sizeof path, "/proc/self/fdinfo/%d", pidfd);
    r = brood__file_read(path, text, sizeof text);
    if (r < 0)
        return (pid_t)r;
    value = value_of(text, "Pid");
    if (value == NULL)
        return -ENOSYS;
    pid = strtol(value, NULL, 10);
    return pid > 0 ? (pid_t)pid : -ESRCH;
}

int64_t brood__proc_data_size(void)
{
    unsigned long long pages = 0;
    char text[256];
    int64_t r = brood__file_read("/proc/self/statm", text, sizeof text);

    if (r < 0)
        return r;
    if (sscanf(text, "%*u %*u %*u %*u %*u %llu", &pages) != 1)
        return -ENOSYS;
    return (int64_t)pages * sysconf(_SC_PAGESIZE);
}
