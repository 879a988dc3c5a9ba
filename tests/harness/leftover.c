/* SPDX-License-Identifier: MIT */
/*
 * Takes stock of what a process holds, and of the processes it has become responsible for.
 *
 * A descriptor is identified by the file behind it, so one that was closed and another opened
 * under its number is seen. Threads and processes that are already on their way out do not count:
 * pthread_join() returns before the kernel has forgotten the thread, and a process whose parent
 * died gets its parent-death signal some instructions before it ends. The kernel shows both
 * states in /proc, as the flag PF_EXITING and as a pending SIGKILL. So no grace time is needed,
 * and a process that merely happens to end soon is still a leak.
 *
 * All is read from /proc of this process; without /proc only children and descriptors are seen.
 */
#include "harness/leftover.h"

#include "harness/test.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { FLAG_EXITING = 0x4 }; /* PF_EXITING of the kernel's task flags */

struct process_state {
    pid_t parent;
    char state;
    unsigned flags;
    char name[64];
};

static void append(char *text, size_t size, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static void append(char *text, size_t size, const char *format, ...)
{
    size_t len = strlen(text);
    va_list arguments;

    if (len + 1 >= size)
        return;
    if (len > 0)
        (void)snprintf(text + len, size - len, ", ");
    len = strlen(text);
    va_start(arguments, format);
    (void)vsnprintf(text + len, size - len, format, arguments);
    va_end(arguments);
}

/* The text of a small file; false if there is none. */
static bool read_text(const char *path, char *text, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t len;

    if (fd < 0)
        return false;
    len = read(fd, text, size - 1);
    (void)close(fd);
    text[len > 0 ? len : 0] = '\0';
    return len > 0;
}

/* Of a /proc/.../stat. A name may hold spaces and brackets, so the last bracket ends it. */
static bool read_state(const char *path, struct process_state *out)
{
    char text[1024];
    char *start;
    char *end;
    int parent;

    if (!read_text(path, text, sizeof text))
        return false;
    start = strchr(text, '(');
    end = strrchr(text, ')');
    if (start == NULL || end == NULL ||
        sscanf(end + 1, " %c %d %*d %*d %*d %*d %u", &out->state, &parent, &out->flags) != 3)
        return false;
    *end = '\0';
    (void)snprintf(out->name, sizeof out->name, "%s", start + 1);
    out->parent = parent;
    return true;
}

static bool ends_by_itself(const struct process_state *state)
{
    return state->state == 'Z' || state->state == 'X' || (state->flags & FLAG_EXITING) != 0;
}

/* ---- inside this process ---- */

static uint64_t fd_identity(int fd)
{
    struct stat status;

    if (fstat(fd, &status) != 0)
        return 0;
    return ((uint64_t)status.st_dev << 40) ^ (uint64_t)status.st_ino ^ (UINT64_C(1) << 63);
}

static unsigned count_threads(void)
{
    DIR *folder = opendir("/proc/self/task");
    struct process_state state;
    struct dirent *entry;
    unsigned count = 0;
    char path[64];

    if (folder == NULL)
        return 0;
    while ((entry = readdir(folder)) != NULL) {
        (void)snprintf(path, sizeof path, "/proc/self/task/%.20s/stat", entry->d_name);
        if (entry->d_name[0] != '.' && read_state(path, &state) && !ends_by_itself(&state))
            count++;
    }
    (void)closedir(folder);
    return count;
}

static unsigned count_memory_objects(void)
{
    FILE *maps = fopen("/proc/self/maps", "re");
    unsigned count = 0;
    char line[512];

    if (maps == NULL)
        return 0;
    while (fgets(line, sizeof line, maps) != NULL)
        count += strstr(line, "/memfd:") != NULL;
    (void)fclose(maps);
    return count;
}

void inventory_take(struct inventory *inventory)
{
    inventory->threads = count_threads();
    inventory->memory_objects = count_memory_objects();
    for (int fd = 0; fd < INVENTORY_FDS_MAX; fd++)
        inventory->fds[fd] = fd_identity(fd);
}

static void describe_fd(int fd, bool is_open, char *text, size_t size)
{
    char path[64];
    char target[128] = "?";
    ssize_t len;

    (void)snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    len = is_open ? readlink(path, target, sizeof target - 1) : 0;
    if (len > 0)
        target[len] = '\0';
    if (is_open)
        append(text, size, "descriptor %d (%s)", fd, target);
    else
        append(text, size, "descriptor %d closed, which was open before", fd);
}

static void describe_children(char *text, size_t size)
{
    siginfo_t info = {0};

    if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) != 0)
        return; /* ECHILD */
    if (info.si_pid != 0)
        append(text, size, "zombie %d", (int)info.si_pid);
    else {
        char names[512] = "";

        descendants_describe(names, sizeof names);
        append(text, size, "running child %s", names);
    }
}

/* The program of the guards, which the first command of a process makes and which stays. */
static bool is_guard_program(int fd)
{
    char path[64];
    char target[64] = "";

    (void)snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    return readlink(path, target, sizeof target - 1) > 0 &&
           strncmp(target, "/memfd:brood guard", strlen("/memfd:brood guard")) == 0;
}

bool inventory_compare(const struct inventory *before, char *text, size_t size)
{
    unsigned threads = count_threads();
    unsigned memory_objects = count_memory_objects();

    text[0] = '\0';
    for (int fd = 0; fd < INVENTORY_FDS_MAX; fd++) {
        uint64_t now = fd_identity(fd);

        if (now != before->fds[fd] && !is_guard_program(fd))
            describe_fd(fd, now != 0, text, size);
    }
    /* TSan starts a thread of its own with the first of the test's. */
    if (threads > before->threads + TEST_TSAN)
        append(text, size, "%u threads", threads - before->threads - TEST_TSAN);
    if (memory_objects > before->memory_objects)
        append(text, size, "%u mappings of memory objects",
               memory_objects - before->memory_objects);
    describe_children(text, size);
    return text[0] == '\0';
}

/* ---- processes below this one ---- */

static bool has_pending_kill(pid_t pid)
{
    static const char *const keys[] = {"\nSigPnd:", "\nShdPnd:"};
    char path[64];
    char text[4096];

    (void)snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
    if (!read_text(path, text, sizeof text))
        return false;
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        const char *found = strstr(text, keys[i]);

        if (found != NULL && (strtoull(found + 8, NULL, 16) >> (SIGKILL - 1) & 1) != 0)
            return true;
    }
    return false;
}

static bool process_state(pid_t pid, struct process_state *out)
{
    char path[64];

    (void)snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    return read_state(path, out);
}

/* A child of PARENT with a pid above AFTER, the lowest; 0 if there is none. */
static pid_t next_child(pid_t parent, pid_t after)
{
    DIR *folder = opendir("/proc");
    struct process_state state;
    struct dirent *entry;
    pid_t best = 0;

    if (folder == NULL)
        return 0;
    while ((entry = readdir(folder)) != NULL) {
        pid_t pid = (pid_t)strtol(entry->d_name, NULL, 10);

        if (pid > after && (best == 0 || pid < best) && process_state(pid, &state) &&
            state.parent == parent)
            best = pid;
    }
    (void)closedir(folder);
    return best;
}

static int64_t monotonic_ms(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* Whether PID ends before DEADLINE. It stays a zombie. */
static bool ends_before(pid_t pid, int64_t deadline_ms)
{
    struct pollfd poller = {.events = POLLIN};
    int64_t left_ms;
    int r;

    poller.fd = (int)syscall(SYS_pidfd_open, pid, 0);
    if (poller.fd < 0)
        return false;
    do {
        left_ms = deadline_ms - monotonic_ms();
        r = poll(&poller, 1, left_ms > 0 ? (int)left_ms : 0);
    } while (r < 0 && errno == EINTR);
    (void)close(poller.fd);
    return r == 1;
}

static void reap(pid_t pid)
{
    siginfo_t info;

    while (waitid(P_PID, (id_t)pid, &info, WEXITED) != 0 && errno == EINTR)
        ;
}

static void reap_orphan(pid_t pid, int64_t deadline_ms, char *text, size_t size)
{
    struct process_state state = {.name = "?", .state = '?'};

    if ((process_state(pid, &state) && ends_by_itself(&state)) || has_pending_kill(pid) ||
        ends_before(pid, deadline_ms)) {
        reap(pid);
        return;
    }
    append(text, size, "process %d (%s, %c)", (int)pid, state.name, state.state);
    (void)kill(pid, SIGKILL);
    reap(pid);
}

bool orphans_reap(int64_t patience_ms, char *text, size_t size)
{
    int64_t deadline_ms = monotonic_ms() + patience_ms;
    siginfo_t info;

    text[0] = '\0';
    for (;;) {
        pid_t pid;

        info.si_pid = 0;
        if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG) != 0 && errno == ECHILD)
            return text[0] == '\0';
        if (info.si_pid != 0)
            continue;
        pid = next_child(getpid(), 0);
        if (pid > 0)
            reap_orphan(pid, deadline_ms, text, size);
        else if (waitid(P_ALL, 0, &info, WEXITED) == 0)
            continue; /* it ended while we looked for its name */
    }
}

static void describe_below(pid_t parent, unsigned depth, char *text, size_t size)
{
    struct process_state state;

    for (pid_t pid = next_child(parent, 0); pid != 0; pid = next_child(parent, pid)) {
        if (process_state(pid, &state))
            append(text, size, "%d (%s, %c)", (int)pid, state.name, state.state);
        if (depth < 8)
            describe_below(pid, depth + 1, text, size);
    }
}

void descendants_describe(char *text, size_t size)
{
    text[0] = '\0';
    describe_below(getpid(), 0, text, size);
}

/* ---- folders ---- */

void folder_list(const char *path, char *text, size_t size)
{
    DIR *folder = opendir(path);
    struct dirent *entry;

    text[0] = '\0';
    if (folder == NULL)
        return;
    while ((entry = readdir(folder)) != NULL)
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            append(text, size, "%s", entry->d_name);
    (void)closedir(folder);
}

static int remove_entry(const char *path, const struct stat *status, int kind, struct FTW *place)
{
    (void)status;
    (void)kind;
    (void)place;
    (void)remove(path);
    return 0;
}

void folder_remove(const char *path)
{
    (void)nftw(path, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}
