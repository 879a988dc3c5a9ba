/* SPDX-License-Identifier: MIT */
/*
 * The kernel calls of brood, each once, but for those of sockets (sockets.c). See sys/kernel.h for
 * what they promise.
 *
 * Nothing here keeps state. Calls newer than the C library go through syscall(), and EPERM of a
 * container's filter is handed on like any error: whoever can do without a call decides.
 */
#include "sys/kernel.h"

#include "base/clock.h"
#include "base/fault.h"
#include "sys/linux/call.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <linux/magic.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <sched.h>
#include <unistd.h>

#ifndef P_PIDFD
#define P_PIDFD 3
#endif
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif
#ifndef PIDFD_SIGNAL_PROCESS_GROUP
#define PIDFD_SIGNAL_PROCESS_GROUP (1U << 2)
#endif
#ifndef SYS_futex_waitv
#define SYS_futex_waitv 449
#endif
#define FUTEX_OF_32_BITS 2U
#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#endif

/* ---- descriptors ---- */

int brood__fd_close(int fd)
{
    int saved = errno;

    if (fd >= 0)
        (void)close(fd); /* EINTR: Linux has closed it all the same */
    errno = saved;
    return -1;
}

int brood__fd_open(const char *path, int flags)
{
    FAIL_IF_ASKED("open");
    return above_standard((int)RETRY(open(path, flags | O_CLOEXEC, 0666)));
}

int brood__fd_duplicate(int fd)
{
    FAIL_IF_ASKED("dup");
    return (int)checked(fcntl(fd, F_DUPFD_CLOEXEC, 3));
}

int64_t brood__fd_read(int fd, void *data, size_t len)
{
    FAIL_IF_ASKED("read");
    return RETRY(read(fd, data, len));
}

int64_t brood__fd_read_at(int fd, void *data, size_t len, uint64_t offset)
{
    FAIL_IF_ASKED("pread");
    return RETRY(pread(fd, data, len, (off_t)offset));
}

int64_t brood__fd_write(int fd, const void *data, size_t len)
{
    FAIL_IF_ASKED("write");
    return RETRY(write(fd, data, len));
}

int brood__fd_event(void)
{
    FAIL_IF_ASKED("eventfd");
    return above_standard((int)checked(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)));
}

int brood__fd_wait(struct pollfd *fds, unsigned count, int64_t deadline)
{
    struct timespec t;
    int r;

    FAIL_IF_ASKED("poll");
    do {
        int64_t left = left_ns(deadline);

        t.tv_sec = (time_t)(left / 1000000000);
        t.tv_nsec = (long)(left % 1000000000);
        r = (int)checked(ppoll(fds, count, deadline == NEVER ? NULL : &t, NULL));
    } while (r == -EINTR);
    return r;
}

bool brood__fd_await(int fd, int64_t deadline)
{
    struct pollfd waited = {.fd = fd, .events = POLLIN};
    int r = -1;

    for (int attempt = 0; attempt < 3 && r < 0; attempt++)
        r = brood__fd_wait(&waited, 1, deadline);
    return r > 0;
}

uint64_t brood__fd_inode(int fd)
{
    struct stat status;

    return fstat(fd, &status) == 0 ? status.st_ino : 0;
}

int brood__fd_inherit(int fd, bool inherit)
{
    FAIL_IF_ASKED("fcntl");
    return (int)checked(fcntl(fd, F_SETFD, inherit ? 0 : FD_CLOEXEC));
}

static int close_range_or_each(unsigned first, unsigned last)
{
    struct rlimit limit;
    int r = (int)checked(syscall(SYS_close_range, first, last, 0));

    if (r == 0 || getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return r;
    /* Before Linux 5.9, or forbidden. */
    for (unsigned fd = first; fd <= last && fd < limit.rlim_cur; fd++)
        (void)close((int)fd);
    return 0;
}

int brood__fd_close_range(unsigned first, unsigned last)
{
    FAIL_IF_ASKED("close_range");
    return first > last ? 0 : close_range_or_each(first, last);
}

int brood__fd_signals(const sigset_t *signals)
{
    FAIL_IF_ASKED("signalfd");
    return above_standard((int)checked(signalfd(-1, signals, SFD_CLOEXEC | SFD_NONBLOCK)));
}

int64_t brood__directory_read(int fd, void *buffer, size_t size)
{
    FAIL_IF_ASKED("getdents");
    return checked(syscall(SYS_getdents64, fd, buffer, size));
}

int64_t brood__file_read(const char *path, char *buffer, size_t size)
{
    size_t have = 0;
    int fd = brood__fd_open(path, O_RDONLY);

    if (fd < 0)
        return fd;
    while (have < size - 1) {
        int64_t r = brood__fd_read(fd, buffer + have, size - 1 - have);

        if (r < 0) {
            brood__fd_close(fd);
            return r;
        }
        if (r == 0)
            break;
        have += (size_t)r;
    }
    brood__fd_close(fd);
    buffer[have] = '\0';
    return (int64_t)have;
}

/* ---- memory objects ---- */

static int memory_object(const char *name, uint64_t len, int seals)
{
    struct rlimit limit;
    int fd, r;

    /* Over this limit ftruncate() would not only fail but send SIGXFSZ. */
    if (getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY &&
        limit.rlim_cur < len)
        return -EFBIG;
    fd = (int)checked(memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL));
    if (fd == -EINVAL) /* before Linux 6.3 */
        fd = (int)checked(memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING));
    fd = above_standard(fd);
    if (fd < 0)
        return fd;
    r = (int)RETRY(ftruncate(fd, (off_t)len));
    if (r == 0)
        r = (int)checked(fcntl(fd, F_ADD_SEALS, seals));
    if (r < 0) {
        brood__fd_close(fd);
        return r;
    }
    return fd;
}

int brood__memory_object(const char *name, uint64_t len)
{
    FAIL_IF_ASKED("memfd_create");
    return memory_object(name, len, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
}

int brood__memory_object_open(const char *name, uint64_t len)
{
    FAIL_IF_ASKED("memfd_create");
    return memory_object(name, len, F_SEAL_SHRINK | F_SEAL_GROW);
}

int brood__memory_forbid(int fd)
{
    FAIL_IF_ASKED("fcntl");
    return (int)checked(fcntl(fd, F_ADD_SEALS, F_SEAL_FUTURE_WRITE | F_SEAL_SEAL));
}

/* Huge pages come from a pool that may be empty when one is needed: then SIGBUS. */
bool brood__memory_is_plain(int fd)
{
    struct statfs status;

    return fstatfs(fd, &status) == 0 && status.f_type == TMPFS_MAGIC;
}

int brood__memory_inspect(int fd, uint64_t *out_len, bool *out_readonly)
{
    const int64_t needed = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;
    struct stat status;
    int64_t seals = checked(fcntl(fd, F_GET_SEALS));

    /* Other kinds of files have no seals, and files of a tmpfs have just F_SEAL_SEAL. */
    if (seals < 0 || (seals & needed) != needed || fstat(fd, &status) < 0 ||
        !brood__memory_is_plain(fd))
        return -EINVAL;
    *out_len = (uint64_t)status.st_size;
    *out_readonly = (seals & F_SEAL_FUTURE_WRITE) != 0;
    return 0;
}

/* -EAGAIN is what mmap() says of memory that would be locked (mlockall()) over its limit: no more
 * is to be had, and to try again is of no use. */
static int judge_map(void *address, void **out_address)
{
    if (address == MAP_FAILED)
        return errno == EAGAIN ? -ENOMEM : -errno;
    *out_address = address;
    return 0;
}

static int map(void **out_address, size_t len, int flags, int fd, uint64_t offset)
{
    return judge_map(mmap(NULL, len, PROT_READ | PROT_WRITE, flags, fd, (off_t)offset),
                     out_address);
}

int brood__memory_map(void **out_address, int fd, uint64_t offset, size_t len)
{
    FAIL_IF_ASKED("mmap");
    return map(out_address, len, MAP_SHARED | MAP_NORESERVE, fd, offset);
}

int brood__memory_map_readonly(void **out_address, int fd, uint64_t offset, size_t len)
{
    FAIL_IF_ASKED("mmap");
    return judge_map(mmap(NULL, len, PROT_READ, MAP_SHARED | MAP_NORESERVE, fd, (off_t)offset),
                     out_address);
}

int brood__memory_map_copy(void **out_address, int fd, size_t len)
{
    FAIL_IF_ASKED("mmap");
    return map(out_address, len, MAP_PRIVATE | MAP_NORESERVE, fd, 0);
}

int brood__memory_map_private(void **out_address, size_t len)
{
    FAIL_IF_ASKED("mmap");
    return map(out_address, len, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

int brood__memory_map_family(void **out_address, size_t len)
{
    FAIL_IF_ASKED("mmap");
    return map(out_address, len, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
}

void brood__memory_unmap(void *address, size_t len)
{
    int saved = errno;

    if (address != NULL)
        (void)munmap(address, len);
    errno = saved;
}

int brood__memory_commit(int fd, uint64_t offset, uint64_t len)
{
    int r;

    FAIL_IF_ASKED("fallocate");
    r = (int)RETRY(fallocate(fd, FALLOC_FL_KEEP_SIZE, (off_t)offset, (off_t)len));
    return r == -ENOSPC ? -ENOMEM : r;
}

int brood__memory_punch(int fd, uint64_t offset, uint64_t len)
{
    FAIL_IF_ASKED("punch");
    return (int)RETRY(
        fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset, (off_t)len));
}

int brood__memory_deny(void *address, size_t len)
{
    FAIL_IF_ASKED("mprotect");
    return (int)checked(mprotect(address, len, PROT_NONE));
}

int brood__memory_populate(void *address, size_t len)
{
    int r;

    FAIL_IF_ASKED("fallocate");
    r = (int)RETRY(madvise(address, len, MADV_POPULATE_WRITE));
    return r == -EFAULT || r == -EHWPOISON ? -ENOMEM : r;
}

int brood__memory_advise(void *address, size_t len, int advice)
{
    FAIL_IF_ASKED("madvise");
    return (int)checked(madvise(address, len, advice));
}

/* ---- futex ---- */

int brood__futex_wait(const void *word, uint32_t value, int64_t deadline)
{
    struct timespec t;
    int64_t r;

    FAIL_IF_ASKED("futex");
    t.tv_sec = (time_t)(deadline / 1000000000);
    t.tv_nsec = (long)(deadline % 1000000000);
    /* WAIT_BITSET takes an absolute time of the monotonic clock. */
    r = checked(syscall(SYS_futex, word, FUTEX_WAIT_BITSET, value, deadline == NEVER ? NULL : &t,
                        NULL, FUTEX_BITSET_MATCH_ANY));
    return r == -ETIMEDOUT ? -ETIMEDOUT : 0;
}

void brood__futex_wake(const void *word, unsigned count)
{
    (void)syscall(SYS_futex, word, FUTEX_WAKE, count > INT_MAX ? INT_MAX : count, NULL, NULL, 0);
}

/* As <linux/futex.h> has it since 5.16. */
struct kernel_watch {
    uint64_t value, address;
    uint32_t flags, reserved;
};

int brood__futex_wait_any(const struct futex_watch *watches, unsigned count, int64_t deadline)
{
    struct kernel_watch list[FUTEX_WATCHES_MAX];
    struct timespec t;
    int64_t r;

    if (BROOD_FAULT("futex_waitv") != 0)
        return -ENOSYS;
    for (unsigned i = 0; i < count; i++)
        list[i] = (struct kernel_watch){.value = watches[i].value,
                                        .address = (uintptr_t)watches[i].word,
                                        .flags = FUTEX_OF_32_BITS};
    t.tv_sec = (time_t)(deadline / 1000000000);
    t.tv_nsec = (long)(deadline % 1000000000);
    r = checked(
        syscall(SYS_futex_waitv, list, count, 0, deadline == NEVER ? NULL : &t, CLOCK_MONOTONIC));
    if (r >= 0 || r == -EAGAIN || r == -EINTR)
        return 0;
    /* Old sandboxes refuse what they do not know with EPERM; and there may be no memory for it. */
    return r == -ETIMEDOUT ? -ETIMEDOUT : -ENOSYS;
}

void *brood__robust_list(void)
{
    void *head = NULL;
    size_t len;

    return syscall(SYS_get_robust_list, 0, &head, &len) == 0 ? head : NULL;
}

/* ---- processes ---- */

pid_t brood__fork(void)
{
    FAIL_IF_ASKED("fork");
    return (pid_t)checked(fork());
}

int brood__pidfd_open(pid_t pid)
{
    FAIL_IF_ASKED("pidfd_open");
    return above_standard((int)checked(syscall(SYS_pidfd_open, pid, 0)));
}

int brood__pidfd_signal(int pidfd, int signo)
{
    FAIL_IF_ASKED("pidfd_send_signal");
    return (int)checked(syscall(SYS_pidfd_send_signal, pidfd, signo, NULL, 0));
}

int brood__pidfd_signal_group(int pidfd, int signo)
{
    FAIL_IF_ASKED("pidfd_send_signal");
    return (int)checked(
        syscall(SYS_pidfd_send_signal, pidfd, signo, NULL, PIDFD_SIGNAL_PROCESS_GROUP));
}

int brood__kill(pid_t pid, int signo)
{
    FAIL_IF_ASKED("kill");
    return (int)checked(kill(pid, signo));
}

pid_t brood__wait(pid_t pid, int *out_status, int flags, struct rusage *out_usage)
{
    FAIL_IF_ASKED("wait4");
    return (pid_t)RETRY(wait4(pid, out_status, flags, out_usage));
}

pid_t brood__wait_peek(void)
{
    siginfo_t info = {0};
    int r;

    FAIL_IF_ASKED("waitid");
    r = (int)RETRY(waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT));
    return r < 0 ? r : info.si_pid;
}

int brood__pidfd_reap(int pidfd)
{
    siginfo_t info;

    FAIL_IF_ASKED("waitid");
    return (int)RETRY(waitid((idtype_t)P_PIDFD, (id_t)pidfd, &info, WEXITED));
}

int64_t brood__affinity_get(void *mask, size_t size)
{
    FAIL_IF_ASKED("sched_getaffinity");
    return checked(syscall(SYS_sched_getaffinity, 0, size, mask)); /* libc's hides the size */
}

int brood__unshare(int flags)
{
    FAIL_IF_ASKED("unshare");
    return (int)checked(unshare(flags));
}

int brood__control(int option, unsigned long argument)
{
    FAIL_IF_ASKED("prctl");
    return (int)checked(prctl(option, argument, 0, 0, 0));
}

int brood__group_set(pid_t pid, pid_t group)
{
    FAIL_IF_ASKED("setpgid");
    return (int)checked(setpgid(pid, group));
}

int brood__limit_set(int resource, uint64_t soft)
{
    struct rlimit limit;
    int r;

    FAIL_IF_ASKED("setrlimit");
    r = (int)checked(getrlimit((unsigned)resource, &limit)); /* an enum in glibc */
    if (r < 0)
        return r;
    limit.rlim_cur = soft < limit.rlim_max ? (rlim_t)soft : limit.rlim_max;
    return (int)checked(setrlimit((unsigned)resource, &limit));
}

int brood__mask_block_all(sigset_t *out_old)
{
    sigset_t all;

    (void)sigfillset(&all);
    return -pthread_sigmask(SIG_SETMASK, &all, out_old);
}

void brood__mask_restore(const sigset_t *old)
{
    (void)pthread_sigmask(SIG_SETMASK, old, NULL);
}

static bool is_crash_signal(int signo)
{
    return signo == SIGSEGV || signo == SIGBUS || signo == SIGILL || signo == SIGFPE ||
           signo == SIGABRT || signo == SIGSYS || signo == SIGTRAP;
}

void brood__signals_reset(void)
{
    for (int signo = 1; signo < NSIG; signo++) {
        struct sigaction action;

        if (sigaction(signo, NULL, &action) < 0 || is_crash_signal(signo))
            continue;
        if (action.sa_handler == SIG_DFL || (action.sa_handler == SIG_IGN && signo != SIGCHLD))
            continue;
        action = (struct sigaction){.sa_handler = SIG_DFL};
        (void)sigaction(signo, &action, NULL);
    }
}

void brood__yield(void)
{
    (void)sched_yield();
}

#ifdef BROOD_COVER
void __gcov_dump(void);
#endif

void brood__exit_now(int code)
{
#ifdef BROOD_COVER
    __gcov_dump(); /* _exit() would forget what this process has counted */
#endif
    _exit(code);
}
