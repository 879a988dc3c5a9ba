/* SPDX-License-Identifier: MIT */
/*
 * A program in a new process by clone(CLONE_VM | CLONE_VFORK): see sys/spawn.h.
 *
 * The child runs in the caller's memory, on a stack of its own inside the caller's frame, while
 * the calling thread sleeps; so nothing is copied but the table of descriptors, and an error comes
 * back through a variable. All signals are blocked from before the clone, so no handler of the
 * caller can run in the child, and the program starts with all of them blocked.
 *
 * Until it executes, the child has no exit signal, so nobody who waits for any child sees one that
 * fails. execve() gives it SIGCHLD: afterwards it is a child like any other, and somebody who waits
 * for any child may take it. So its pid alone is no name for it. A pidfd is, but costs a
 * descriptor; since Linux 6.9 each has an inode number of its own, which never comes again, so the
 * descriptor is closed and opened when it is needed, and the number says whether that is still the
 * same process. Before, it stays open.
 *
 * A death of the caller leaves the child, which finds out by itself. A death of the child before
 * execve() is told by an unfinished verdict.
 */
#include "sys/spawn.h"

#include "base/clock.h"
#include "sys/kernel.h"
#include "sys/linux/call.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#ifndef CLONE_PIDFD
#define CLONE_PIDFD 0x00001000
#endif
#ifndef P_PIDFD
#define P_PIDFD 3
#endif
#ifndef AT_EMPTY_PATH
#define AT_EMPTY_PATH 0x1000
#endif
#ifndef MFD_EXEC
#define MFD_EXEC 0x0010U
#endif
#ifndef PID_FS_MAGIC
#define PID_FS_MAGIC 0x50494446
#endif
#ifndef TIOCGPTPEER
#define TIOCGPTPEER _IO('T', 0x41)
#endif

enum { STACK_LEN = 16 << 10, FDS_MAX = 128 };

/* ---- in the child ---- */

struct birth {
    const struct spawn *spawn;
    int verdict; /* -EOWNERDEAD until it has said why it fails */
    bool in_exec;
    int fds[FDS_MAX], program;
};

/* Above all places that will be taken. */
static int move_up(int fd, unsigned first)
{
    FAIL_IF_ASKED("dup");
    return (int)checked(fcntl(fd, F_DUPFD_CLOEXEC, (int)first));
}

static int move_all_up(struct birth *birth)
{
    const unsigned count = birth->spawn->fd_count;
    int r = birth->spawn->program;

    if ((unsigned)r < count)
        r = move_up(r, count);
    birth->program = r;
    for (unsigned i = 0; i < count && r >= 0; i++) {
        r = birth->spawn->fds[i];
        if ((unsigned)r < count && (unsigned)r != i)
            r = move_up(r, count);
        birth->fds[i] = r;
    }
    return r < 0 ? r : 0;
}

static int put_in_place(int from, int to)
{
    FAIL_IF_ASKED("dup");
    if (from == to) /* dup2() would leave close-on-exec as it is */
        return (int)checked(fcntl(to, F_SETFD, 0));
    return (int)checked(dup2(from, to));
}

static int arrange(struct birth *birth)
{
    const unsigned count = birth->spawn->fd_count;
    int r = move_all_up(birth);

    for (unsigned i = 0; i < count && r >= 0; i++)
        r = put_in_place(birth->fds[i], (int)i);
    if (r >= 0 && (unsigned)birth->program > count)
        r = brood__fd_close_range(count, (unsigned)birth->program - 1);
    if (r >= 0)
        r = brood__fd_close_range((unsigned)birth->program + 1, UINT_MAX);
    return r < 0 ? r : 0;
}

static int execute(const struct birth *birth)
{
    FAIL_IF_ASKED("execveat");
    return (int)checked(syscall(SYS_execveat, birth->program, "", birth->spawn->argv,
                                birth->spawn->environment, AT_EMPTY_PATH));
}

static int be_born(void *context)
{
    struct birth *birth = context;
    int r = arrange(birth);

    if (r == 0) {
        birth->in_exec = true;
        birth->verdict = 0; /* what the caller finds if all goes well: nobody is here to say so */
        r = execute(birth);
    }
    birth->verdict = r;
    return 127;
}

/* ---- in the caller ---- */

static pid_t clone_birth(struct birth *birth, int *out_pidfd)
{
    _Alignas(16) char stack[STACK_LEN];

    FAIL_IF_ASKED("clone");
    return (pid_t)checked(clone(be_born, stack + sizeof stack, CLONE_VM | CLONE_VFORK | CLONE_PIDFD,
                                birth, out_pidfd));
}

static uint64_t identity_of(int pidfd)
{
    struct statfs system;
    struct stat status;

    if (fstatfs(pidfd, &system) < 0 || (uint64_t)system.f_type != PID_FS_MAGIC ||
        fstat(pidfd, &status) < 0)
        return 0;
    return status.st_ino;
}

static int close_quietly(int fd)
{
    if (fd > 0)
        (void)brood__fd_close(fd);
    return 0;
}

static void remember(struct spawned *child, pid_t pid, int pidfd)
{
    *child = (struct spawned){.pid = pid};
    if (pidfd < 0)
        return; /* before Linux 5.2 */
    pidfd = above_standard(pidfd);
    child->identity = pidfd < 0 ? 0 : identity_of(pidfd);
    child->pidfd = child->identity != 0 ? close_quietly(pidfd) : pidfd;
    if (child->pidfd < 0)
        child->pidfd = 0;
}

int brood__spawn(const struct spawn *spawn, struct spawned *out, bool *out_in_exec)
{
    struct birth birth = {.spawn = spawn, .verdict = -EOWNERDEAD};
    sigset_t mask;
    int pidfd = -1;
    pid_t pid;
    int r;

    *out_in_exec = false;
    if (spawn->fd_count > FDS_MAX)
        return -EINVAL;
    r = brood__mask_block_all(&mask);
    if (r < 0)
        return r;
    pid = clone_birth(&birth, &pidfd);
    brood__mask_restore(&mask);
    if (pid < 0)
        return pid;
    if (birth.verdict == 0) {
        remember(out, pid, pidfd);
        return 0;
    }
    *out_in_exec = birth.in_exec;
    brood__fd_close(pidfd);
    (void)RETRY(waitpid(pid, NULL, __WALL));
    return birth.verdict;
}

/* ---- afterwards ---- */

/* A pidfd of CHILD, for put_down(); -ESRCH: it is gone. */
static int pick_up(const struct spawned *child)
{
    int pidfd;

    if (child->pidfd > 0)
        return child->pidfd;
    pidfd = brood__pidfd_open(child->pid);
    if (pidfd >= 0 && child->identity != 0 && identity_of(pidfd) != child->identity) {
        brood__fd_close(pidfd);
        return -ESRCH;
    }
    return pidfd;
}

static void put_down(const struct spawned *child, int pidfd)
{
    if (pidfd != child->pidfd)
        brood__fd_close(pidfd);
}

int brood__spawned_signal(const struct spawned *child, int signo)
{
    int pidfd = child->pid > 0 ? pick_up(child) : -ESRCH;
    int r;

    if (pidfd < 0)
        return pidfd;
    r = brood__pidfd_signal(pidfd, signo);
    put_down(child, pidfd);
    return r;
}

/* Whether it is reaped, by us or by somebody else. */
static bool take(int pidfd)
{
    siginfo_t info = {0};
    int r = (int)RETRY(waitid((idtype_t)P_PIDFD, (id_t)pidfd, &info, WEXITED | WNOHANG | __WALL));

    return r < 0 ? r == -ECHILD : info.si_pid != 0;
}

/* There is no descriptor to be had: by its number, which in that case must do. */
static bool take_blindly(const struct spawned *child)
{
    pid_t r = (pid_t)RETRY(waitpid(child->pid, NULL, WNOHANG | __WALL));

    return r == child->pid || r == -ECHILD;
}

bool brood__spawned_reap(struct spawned *child, int64_t deadline)
{
    bool gone = child->pid <= 0;
    int pidfd = gone ? -1 : pick_up(child);

    if (pidfd >= 0) {
        (void)brood__fd_await(pidfd, deadline);
        gone = take(pidfd);
        put_down(child, pidfd);
    } else if (!gone) {
        gone = pidfd == -ESRCH || take_blindly(child);
    }
    if (gone) {
        close_quietly(child->pidfd);
        *child = (struct spawned){0};
    }
    return gone;
}

/* ---- programs in memory ---- */

bool brood__fd_identity(int fd, struct file_identity *out)
{
    struct stat status;

    if (fstat(fd, &status) < 0)
        return false;
    *out = (struct file_identity){.device = status.st_dev, .inode = status.st_ino};
    return true;
}

static int write_program(int fd, const char *data, size_t len)
{
    while (len > 0) {
        int64_t r = RETRY(write(fd, data, len));

        if (r <= 0)
            return r == 0 || r == -ENOSPC ? -ENOMEM : (int)r;
        data += r;
        len -= (size_t)r;
    }
    return 0;
}

int brood__program_new(const char *name, const void *data, size_t len)
{
    int fd, r;

    FAIL_IF_ASKED("memfd_create");
    fd = (int)checked(memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_EXEC));
    if (fd == -EINVAL) /* before Linux 6.3 */
        fd = (int)checked(memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING));
    fd = above_standard(fd);
    if (fd < 0)
        return fd;
    r = write_program(fd, data, len);
    if (r == 0)
        r = (int)checked(
            fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE));
    if (r < 0) {
        brood__fd_close(fd);
        return r;
    }
    return fd;
}

/* ---- pipes and terminals ---- */

int brood__pipe_pair(int out_ends[2])
{
    int ends[2], r;

    FAIL_IF_ASKED("pipe2");
    r = (int)checked(pipe2(ends, O_CLOEXEC));
    if (r < 0)
        return r;
    ends[0] = above_standard(ends[0]);
    ends[1] = above_standard(ends[1]);
    if (ends[0] < 0 || ends[1] < 0) {
        r = ends[0] < 0 ? ends[0] : ends[1];
        brood__fd_close(ends[0]);
        brood__fd_close(ends[1]);
        return r;
    }
    out_ends[0] = ends[0];
    out_ends[1] = ends[1];
    return 0;
}

int brood__fd_set_blocking(int fd, bool blocking)
{
    int flags;

    FAIL_IF_ASKED("fcntl");
    flags = fcntl(fd, F_GETFL);
    if (flags < 0)
        return -errno;
    return (int)checked(fcntl(fd, F_SETFL, blocking ? flags & ~O_NONBLOCK : flags | O_NONBLOCK));
}

int64_t brood__fd_write_quiet(int fd, const void *data, size_t len)
{
    sigset_t pending, pipe_only, old;
    int64_t r;

    FAIL_IF_ASKED("write");
    (void)sigpending(&pending);
    (void)sigemptyset(&pipe_only);
    (void)sigaddset(&pipe_only, SIGPIPE);
    r = -pthread_sigmask(SIG_BLOCK, &pipe_only, &old);
    if (r < 0)
        return r;
    r = RETRY(write(fd, data, len));
    /* The write's signal is this thread's; one that was pending before is not ours to take. */
    if (r == -EPIPE && sigismember(&pending, SIGPIPE) == 0) {
        const struct timespec at_once = {0};

        while (sigtimedwait(&pipe_only, NULL, &at_once) < 0 && errno == EINTR)
            continue;
    }
    (void)pthread_sigmask(SIG_SETMASK, &old, NULL);
    return r;
}

int64_t brood__pipe_pending(int fd)
{
    int len = 0;

    return ioctl(fd, FIONREAD, &len) < 0 ? -errno : len;
}

static int open_program_side(int user)
{
    const int locked = 0;

    if (ioctl(user, TIOCSPTLCK, &locked) < 0)
        return -errno;
    return above_standard((int)checked(ioctl(user, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC)));
}

int brood__terminal_new(int *out_user, int *out_program)
{
    int user = brood__fd_open("/dev/ptmx", O_RDWR | O_NOCTTY);
    int program;

    if (user < 0)
        return user;
    program = open_program_side(user);
    if (program < 0) {
        brood__fd_close(user);
        return program;
    }
    *out_user = user;
    *out_program = program;
    return 0;
}
