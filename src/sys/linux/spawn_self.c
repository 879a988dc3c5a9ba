/* SPDX-License-Identifier: MIT */
/*
 * posix_spawn() of /proc/self/exe, which is this program even when its file was renamed or
 * deleted; without /proc, of the name it was started by.
 *
 * Descriptors of the program that are not close-on-exec are closed one by one on the way. One
 * that another thread opens just then may slip through; it is open there until the child ends.
 *
 * A death of the caller in here leaves the child; it finds out by the pidfd it is given.
 */
#include "sys/spawn_self.h"

#include "base/fault.h"
#include "base/memory.h"
#include "sys/kernel.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>

extern char **environ;

struct directory_entry {
    uint64_t inode;
    int64_t offset;
    uint16_t len;
    unsigned char type;
    char name[];
};

static bool is_inherited(int fd)
{
    int flags = fcntl(fd, F_GETFD);

    return flags >= 0 && (flags & FD_CLOEXEC) == 0;
}

static int close_listed(posix_spawn_file_actions_t *actions, const char *buffer, int64_t len)
{
    int r = 0;

    for (int64_t at = 0; at < len && r == 0;) {
        const struct directory_entry *entry = (const void *)(buffer + at);
        int fd = (int)strtol(entry->name, NULL, 10); /* "." and ".." give 0 */

        if (fd > STDERR_FILENO && is_inherited(fd))
            r = -posix_spawn_file_actions_addclose(actions, fd);
        at += entry->len;
    }
    return r;
}

static int close_inherited(posix_spawn_file_actions_t *actions)
{
    _Alignas(uint64_t) char buffer[4096];
    int fd = brood__fd_open("/proc/self/fd", O_RDONLY | O_DIRECTORY);
    int64_t len = 0;
    int r = 0;

    if (fd < 0)
        return 0; /* without /proc they stay */
    while (r == 0 && (len = brood__directory_read(fd, buffer, sizeof buffer)) > 0)
        r = close_listed(actions, buffer, len);
    brood__fd_close(fd);
    return r;
}

static int prepare(posix_spawn_file_actions_t *actions, posix_spawnattr_t *attributes,
                   const int *keep_fds, unsigned keep_count)
{
    sigset_t none;
    int r = close_inherited(actions);

    /* To the same number: that clears close-on-exec, and only there. */
    for (unsigned i = 0; i < keep_count && r == 0; i++)
        r = -posix_spawn_file_actions_adddup2(actions, keep_fds[i], keep_fds[i]);
    (void)sigemptyset(&none);
    (void)posix_spawnattr_setsigmask(attributes, &none);
    (void)posix_spawnattr_setflags(attributes, POSIX_SPAWN_SETSIGMASK);
    return r;
}

/* The environment with VARIABLE in front; only the array is new. */
static char **extended_environment(const char *variable)
{
    size_t count = 0;
    char **extended;

    while (environ != NULL && environ[count] != NULL)
        count++;
    extended = brood__alloc((count + 2) * sizeof *extended);
    if (extended == NULL)
        return NULL;
    extended[0] = (char *)(uintptr_t)variable;
    if (count > 0)
        memcpy(extended + 1, environ, count * sizeof *extended);
    extended[count + 1] = NULL;
    return extended;
}

static int spawn(pid_t *out_pid, char **environment, const posix_spawn_file_actions_t *actions,
                 const posix_spawnattr_t *attributes)
{
    char *arguments[] = {program_invocation_name, NULL};
    const char *name = (const char *)(uintptr_t)getauxval(AT_EXECFN);
    int fault = BROOD_FAULT("posix_spawn");
    int r;

    if (fault != 0)
        return -fault;
    r = -posix_spawn(out_pid, "/proc/self/exe", actions, attributes, arguments, environment);
    if (r == -ENOENT && name != NULL)
        r = -posix_spawn(out_pid, name, actions, attributes, arguments, environment);
    return r;
}

pid_t brood__spawn_self(const char *variable, const int *keep_fds, unsigned keep_count)
{
    char **environment = extended_environment(variable);
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    pid_t pid = 0;
    int r;

    if (environment == NULL || posix_spawn_file_actions_init(&actions) != 0) {
        brood__free(environment);
        return -ENOMEM;
    }
    r = -posix_spawnattr_init(&attributes);
    if (r == 0) {
        r = prepare(&actions, &attributes, keep_fds, keep_count);
        if (r == 0)
            r = spawn(&pid, environment, &actions, &attributes);
        (void)posix_spawnattr_destroy(&attributes);
    }
    (void)posix_spawn_file_actions_destroy(&actions);
    brood__free(environment);
    return r < 0 ? r : pid;
}
