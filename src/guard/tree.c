/* SPDX-License-Identifier: MIT */
/*
 * Finding descendants: from the list of our own children down, /proc/PID/task/TID/children.
 *
 *     guard --- command --- child --- ...         what is still where it was born
 *       \------ orphan --- child                  who lost its parent: the guard is the subreaper
 *
 * Nobody gets out of this: a process that leaves its group, its session and its parent becomes a
 * child of the guard, or of another subreaper below it. A list that is being read while processes
 * fork and die may miss some, so it is read again until a whole pass finds nobody new.
 *
 * Who is found is signalled at once, parents before children. After SIGSTOP (of a process with
 * one thread) and after SIGKILL no fork() of it succeeds any more, so against a fork bomb each pass
 * leaves fewer that fork. Stopping them first keeps the tree in its shape while it is walked, and
 * keeps numbers from being used again: a stopped parent does not reap.
 *
 * A number that is not our child's might have a new owner by the time it is used. So a pidfd is
 * taken first, then the parent is looked at again, and the signal goes through the pidfd. Kernels
 * without pidfds (before 5.3) get a plain kill().
 *
 * /proc of another PID namespace shows other numbers; tree_open() notices. With hidepid=2 the
 * children of processes of other users are hidden until they are orphans.
 *
 * A death leaves nothing but the processes, stopped ones among them.
 */
#include "guard/tree.h"

#include "guard/bytes.h"
#include "guard/calls.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stddef.h>

enum {
    PID_LIMIT = 1 << 22, /* the kernel's own */
    TREE_MAX = 16384,    /* others are found when these are gone */
    PASSES_MAX = 4,      /* then who has died is reaped, before it takes all numbers there are */
    TICK_US = 10000      /* what /proc counts CPU time in */
};

/* Untouched parts of these take no memory. */
static struct {
    int32_t pid[TREE_MAX];
    int32_t parent[TREE_MAX];
    uint64_t seen[PID_LIMIT / 64];
    unsigned count;
    int32_t self;
    int children_fd; /* our own list */
    bool open;       /* there is a /proc to believe */
} tree;

/* ---- small files ---- */

/* All that fits, with a NUL; or -errno. */
static long read_file(const char *path, char *bytes, long size)
{
    long fd = CALL4(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0);
    long len;

    if (fd < 0)
        return fd;
    len = CALL3(SYS_read, fd, bytes, size - 1);
    (void)CALL1(SYS_close, fd);
    if (len >= 0)
        bytes[len] = '\0';
    return len;
}

static long read_of(int32_t pid, const char *name, char *bytes, long size)
{
    struct text path = {.len = 0};

    text_add(&path, "/proc/");
    text_add_number(&path, (uint64_t)pid);
    text_add(&path, name);
    return read_file(path.bytes, bytes, size);
}

/* The next number at *AT, which moves behind it. Minus signs are passed over. */
static uint64_t next_number(const char **at)
{
    uint64_t number = 0;

    while (**at != '\0' && (**at < '0' || **at > '9'))
        (*at)++;
    for (; **at >= '0' && **at <= '9'; (*at)++)
        number = number * 10 + (uint64_t)(**at - '0');
    return number;
}

/* Behind the name in a stat file, which may hold anything: after the last bracket. NULL: gone. */
static const char *read_stat(int32_t pid, char *bytes, long size)
{
    const char *end = NULL;

    if (read_of(pid, "/stat", bytes, size) <= 0)
        return NULL;
    for (const char *at = bytes; *at != '\0'; at++) {
        if (*at == ')')
            end = at + 1;
    }
    return end;
}

static int32_t parent_of(int32_t pid)
{
    char bytes[512];
    const char *at = read_stat(pid, bytes, sizeof bytes);

    return at == NULL ? -1 : (int32_t)next_number(&at);
}

/* ---- lists of children ---- */

struct visit {
    void (*found)(int32_t pid, int32_t parent, const struct visit *visit);
    int signal; /* 0: none */
    bool wake;
};

/* A number may be cut by the end of a piece, so it is carried to the next one. */
static void read_list(int fd, int32_t parent, const struct visit *visit)
{
    char piece[256] = {0};
    uint64_t offset = 0, number = 0;
    long len;

    while ((len = CALL4(SYS_pread64, fd, piece, sizeof piece, offset)) > 0) {
        for (long i = 0; i < len; i++) {
            if (piece[i] >= '0' && piece[i] <= '9') {
                number = number * 10 + (uint64_t)(piece[i] - '0');
            } else if (number > 0) {
                visit->found((int32_t)number, parent, visit);
                number = 0;
            }
        }
        offset += (uint64_t)len;
    }
}

static void read_thread(long task, const char *name, int32_t parent, const struct visit *visit)
{
    struct text path = {.len = 0};
    long fd;

    text_add(&path, name);
    text_add(&path, "/children");
    fd = CALL4(SYS_openat, task, path.bytes, O_RDONLY | O_CLOEXEC, 0);
    if (fd < 0)
        return;
    read_list((int)fd, parent, visit);
    (void)CALL1(SYS_close, fd);
}

/* The children of all threads of PID. */
static void read_process(int32_t pid, const struct visit *visit)
{
    struct text path = {.len = 0};
    char entries[512] = {0};
    long task, len;

    text_add(&path, "/proc/");
    text_add_number(&path, (uint64_t)pid);
    text_add(&path, "/task");
    task = CALL4(SYS_openat, AT_FDCWD, path.bytes, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    if (task < 0)
        return;
    while ((len = CALL3(SYS_getdents64, task, entries, sizeof entries)) > 0) {
        for (long at = 0; at < len;) {
            const char *entry = entries + at; /* inode 8, offset 8, length 2, type 1, name */
            unsigned short entry_len;

            memcpy(&entry_len, entry + 16, sizeof entry_len);
            if (entry[19] != '.')
                read_thread(task, entry + 19, pid, visit);
            at += entry_len;
        }
    }
    (void)CALL1(SYS_close, task);
}

/* ---- the tree ---- */

static void signal_stranger(int32_t pid, int32_t parent, int signal)
{
    long fd = CALL2(SYS_pidfd_open, pid, 0);
    int32_t now;

    if (fd == -ENOSYS)
        (void)CALL2(SYS_kill, pid, signal);
    if (fd < 0)
        return;
    now = parent_of(pid);
    if (now == parent || now == tree.self)
        (void)CALL4(SYS_pidfd_send_signal, fd, signal, 0, 0);
    (void)CALL1(SYS_close, fd);
}

static void signal_one(int32_t pid, int32_t parent, int signal)
{
    if (parent == tree.self) /* only we reap it, and we are here */
        (void)CALL2(SYS_kill, pid, signal);
    else
        signal_stranger(pid, parent, signal);
}

static void take(int32_t pid, int32_t parent, const struct visit *visit)
{
    uint64_t bit = (uint64_t)1 << (pid % 64);

    if (pid <= 0 || pid >= PID_LIMIT || tree.count == TREE_MAX || (tree.seen[pid / 64] & bit) != 0)
        return;
    tree.seen[pid / 64] |= bit;
    tree.pid[tree.count] = pid;
    tree.parent[tree.count++] = parent;
    if (visit->signal != 0)
        signal_one(pid, parent, visit->signal);
    if (visit->wake)
        signal_one(pid, parent, SIGCONT);
}

static void forget(void)
{
    while (tree.count > 0)
        tree.seen[tree.pid[--tree.count] / 64] = 0;
}

/* Once through the whole tree; the list grows while it is walked. */
static void walk(const struct visit *visit)
{
    if (!tree.open)
        return;
    read_list(tree.children_fd, tree.self, visit);
    for (unsigned i = 0; i < tree.count; i++)
        read_process(tree.pid[i], visit);
}

static void walk_until_nobody_is_new(const struct visit *visit)
{
    unsigned before;

    forget();
    for (unsigned pass = 0; pass < PASSES_MAX; pass++) {
        before = tree.count;
        walk(visit);
        if (tree.count == before)
            return;
    }
}

void tree_signal(int signal, bool wake)
{
    const struct visit visit = {.found = take, .signal = signal, .wake = wake};

    walk_until_nobody_is_new(&visit);
}

void tree_kill(void)
{
    tree_signal(SIGSTOP, false);
    for (unsigned i = 0; i < tree.count; i++)
        signal_one(tree.pid[i], tree.parent[i], SIGKILL);
}

static void count_one(int32_t pid, int32_t parent, const struct visit *visit)
{
    (void)pid;
    (void)parent;
    (void)visit;
    tree.count++;
}

/* The number of PID in its own namespace: the last in its line "NSpid: 4711 2". 0: unknown. */
static uint64_t number_inside(int32_t pid)
{
    static const char label[] = "\nNSpid:";
    char bytes[1024];
    const char *at = bytes;
    uint64_t number = 0;

    if (read_of(pid, "/status", bytes, sizeof bytes - sizeof label) <= 0)
        return 0;
    while (*at != '\0' && memcmp(at, label, sizeof label - 1) != 0)
        at++;
    if (*at == '\0')
        return 0;
    at += sizeof label - 1;
    while (*at == '\t' || *at == ' ')
        number = next_number(&at);
    return number;
}

static void keep_second(int32_t pid, int32_t parent, const struct visit *visit)
{
    (void)parent;
    (void)visit;
    if (tree.count == 0 && number_inside(pid) == 2)
        tree.pid[tree.count++] = pid;
}

int32_t tree_second_inside(int32_t init)
{
    const struct visit visit = {.found = keep_second};
    int32_t second;

    if (!tree.open)
        return 0;
    forget();
    read_process(init, &visit);
    second = tree.count == 1 ? tree.pid[0] : 0;
    tree.count = 0;
    return second;
}

unsigned tree_count_children(void)
{
    const struct visit visit = {.found = count_one};
    unsigned count;

    if (!tree.open)
        return 0;
    forget();
    read_list(tree.children_fd, tree.self, &visit);
    count = tree.count;
    tree.count = 0;
    return count;
}

bool tree_open(int32_t child, int32_t self)
{
    char piece[32] = {0};
    const char *at = piece;
    long len,
        fd = CALL4(SYS_openat, AT_FDCWD, "/proc/thread-self/children", O_RDONLY | O_CLOEXEC, 0);

    if (fd < 0)
        return false;
    len = CALL4(SYS_pread64, fd, piece, sizeof piece - 1, 0);
    piece[len > 0 ? len : 0] = '\0';
    if (next_number(&at) != (uint64_t)child) {
        (void)CALL1(SYS_close, fd);
        return false;
    }
    tree.children_fd = (int)fd;
    tree.open = true;
    tree.self = self;
    return true;
}

/* ---- what they use ---- */

static uint64_t pages_of(int32_t pid)
{
    char bytes[256];
    const char *at = bytes;
    uint64_t resident, shared;

    if (read_of(pid, "/statm", bytes, sizeof bytes) <= 0)
        return 0;
    (void)next_number(&at);
    resident = next_number(&at);
    shared = next_number(&at);
    return resident > shared ? resident - shared : 0;
}

static int64_t cpu_of(int32_t pid)
{
    enum { BEFORE_TIMES = 10, TIMES = 4 };
    char bytes[512];
    const char *at = read_stat(pid, bytes, sizeof bytes);
    uint64_t ticks = 0;

    if (at == NULL)
        return 0;
    for (unsigned i = 0; i < BEFORE_TIMES; i++)
        (void)next_number(&at);
    for (unsigned i = 0; i < TIMES; i++)
        ticks += next_number(&at);
    return (int64_t)ticks * TICK_US;
}

struct tree_usage tree_measure(bool memory, bool cpu)
{
    const struct visit visit = {.found = take};
    struct tree_usage usage = {0};

    forget();
    walk(&visit);
    for (unsigned i = 0; i < tree.count; i++) {
        if (memory)
            usage.pages += pages_of(tree.pid[i]);
        if (cpu)
            usage.cpu_us += cpu_of(tree.pid[i]);
    }
    return usage;
}
