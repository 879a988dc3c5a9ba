/* SPDX-License-Identifier: MIT */
/*
 * Memory cgroups. Version 2 is tried first: the group is made beside or below our own, in the
 * nearest folder upwards that hands the memory controller on to its children and that we may write
 * to, as one that was delegated to us. Then version 1: below our own, which needs root. Nothing
 * that is there is changed, so where no folder hands the controller on there is no group.
 *
 * A child tries whether we may move processes into it, which is another right than making it.
 *
 * A group is named after the process that made it. A test that fails or is killed leaves its group,
 * empty, as its processes are killed by the runner; whoever makes the next group in that folder
 * removes it, when nobody has that number any more.
 */
#include "harness/memory_group.h"

#include "harness/process.h"
#include "harness/test.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define PREFIX "brood-test-"

enum { PATH_LEN = 512, FOLDER_LEN = PATH_LEN - 64, MOUTHFUL = 1 << 20, PAGE = 4096 };

/* ---- files of a group ---- */

static bool read_in(const char *folder, const char *name, char *text, size_t size)
{
    char path[PATH_LEN + 64];
    ssize_t len = -1;
    int fd;

    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        len = read(fd, text, size - 1);
        (void)close(fd);
    }
    text[len > 0 ? len : 0] = '\0';
    return len >= 0;
}

static bool write_in(const char *folder, const char *name, const char *text)
{
    char path[PATH_LEN + 64];
    bool written;
    int fd;

    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    written = write(fd, text, strlen(text)) == (ssize_t)strlen(text);
    (void)close(fd);
    return written;
}

/* ---- where ---- */

/* Our own group in the hierarchy whose line in /proc/self/cgroup has CONTROLLER, below MOUNT. */
static bool own_folder(const char *mount, const char *controller, char *out)
{
    char text[4096];
    char *rest = text;
    char *line;

    if (!read_in("/proc/self", "cgroup", text, sizeof text))
        return false;
    while ((line = strsep(&rest, "\n")) != NULL) {
        char *path = line;
        (void)strsep(&path, ":");
        char *controllers = path != NULL ? strsep(&path, ":") : NULL;

        if (path == NULL || strcmp(controllers, controller) != 0)
            continue;
        (void)snprintf(out, FOLDER_LEN, "%s%s", mount, strcmp(path, "/") == 0 ? "" : path);
        return access(out, F_OK) == 0;
    }
    return false;
}

/* Those whose makers have ended, reaped or not. Another user's may stay. */
static void remove_old(const char *folder)
{
    DIR *entries = opendir(folder);
    const struct dirent *entry;

    if (entries == NULL)
        return;
    while ((entry = readdir(entries)) != NULL) {
        pid_t maker = strncmp(entry->d_name, PREFIX, strlen(PREFIX)) == 0
                          ? (pid_t)strtol(entry->d_name + strlen(PREFIX), NULL, 10)
                          : 0;

        if (maker > 0 && strchr("ZX?", process_state(maker)) != NULL)
            (void)unlinkat(dirfd(entries), entry->d_name, AT_REMOVEDIR);
    }
    (void)closedir(entries);
}

static bool may_be_joined(const struct memory_group *group)
{
    pid_t pid = CHECK_OK(fork());
    int status;

    if (pid == 0)
        _exit(write_in(group->path, "cgroup.procs", "0") ? 0 : 1);
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    return status == 0;
}

/* LIMIT is the file with the limit. What is swapped out does not count there, so nothing is to be;
 * which of these files exist depends on the version and on the kernel's options. */
static bool make_in(const char *folder, const char *limit, struct memory_group *group)
{
    char text[32];

    remove_old(folder);
    (void)snprintf(group->path, sizeof group->path, "%s/" PREFIX "%d", folder, (int)getpid());
    if (mkdir(group->path, 0755) < 0)
        return false;
    (void)snprintf(text, sizeof text, "%llu", (unsigned long long)group->len_max);
    if (write_in(group->path, limit, text) && may_be_joined(group)) {
        (void)write_in(group->path, "memory.swap.max", "0");
        (void)write_in(group->path, "memory.swappiness", "0");
        return true;
    }
    (void)rmdir(group->path);
    return false;
}

static bool make_v2(const char *mount, struct memory_group *group)
{
    char folder[FOLDER_LEN];
    char text[512];
    char *end;

    if (!own_folder(mount, "", folder))
        return false;
    do {
        if (read_in(folder, "cgroup.subtree_control", text, sizeof text) &&
            strstr(text, "memory") != NULL && make_in(folder, "memory.max", group))
            return true;
        end = strrchr(folder, '/');
        *end = '\0';
    } while (strlen(folder) >= strlen(mount));
    return false;
}

static bool make_v1(const char *mount, struct memory_group *group)
{
    char folder[FOLDER_LEN];

    return own_folder(mount, "memory", folder) && make_in(folder, "memory.limit_in_bytes", group);
}

/* ---- a group ---- */

const char *memory_group_open(struct memory_group *out, uint64_t len_max)
{
    out->len_max = len_max;
    if (make_v2("/sys/fs/cgroup", out) || make_v2("/sys/fs/cgroup/unified", out) ||
        make_v1("/sys/fs/cgroup/memory", out))
        return NULL;
    return "no memory cgroup can be made here";
}

void memory_group_join(const struct memory_group *group)
{
    if (!write_in(group->path, "cgroup.procs", "0"))
        FAIL("%s cannot be joined", group->path);
}

void memory_group_eat(const struct memory_group *group)
{
    /* A limit that does not hold must not cost the machine its memory. */
    for (uint64_t eaten = 0; eaten <= 2 * group->len_max; eaten += MOUTHFUL) {
        volatile char *memory =
            mmap(NULL, MOUTHFUL, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

        CHECK(memory != MAP_FAILED);
        for (size_t i = 0; i < MOUTHFUL; i += PAGE)
            memory[i] = 1;
    }
    FAIL("%s does not hold its limit", group->path);
}

unsigned memory_group_kills(const struct memory_group *group)
{
    char text[1024];
    const char *line;

    if (!read_in(group->path, "memory.events", text, sizeof text))
        CHECK(read_in(group->path, "memory.oom_control", text, sizeof text));
    line = strstr(text, "oom_kill ");
    CHECK(line != NULL);
    return (unsigned)strtoul(line + strlen("oom_kill "), NULL, 10);
}

void memory_group_close(const struct memory_group *group)
{
    CHECK_OK(rmdir(group->path));
}
