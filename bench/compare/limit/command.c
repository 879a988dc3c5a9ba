/* SPDX-License-Identifier: MIT */
/*
 * The floor under a command: a bare vfork, execve, wait. The child has a stack of its own, as
 * vfork(2) in C is a trap; to the kernel both are the same. And pipes of a mebibyte, read into
 * memory that is already there.
 */
#include "command.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/wait.h>

enum { PIPE_LEN = 1 << 20, STACK_LEN = 16384 };

struct start {
    const char *const *argv;
    int in, out; /* -1: the caller's */
};

static char *memory;

static int become(void *arg)
{
    const struct start *start = (const struct start *)arg;

    if ((start->in < 0 || dup2(start->in, 0) == 0) && (start->out < 0 || dup2(start->out, 1) == 1))
        (void)execve(start->argv[0], command_words(start->argv), environ);
    _exit(127);
}

static pid_t begin(const char *const *argv, int in, int out)
{
    static _Thread_local char stack[STACK_LEN] __attribute__((aligned(16)));
    struct start start = {argv, in, out};
    const pid_t pid = clone(become, stack + sizeof stack, CLONE_VM | CLONE_VFORK | SIGCHLD, &start);

    bench_must(pid > 0, "a start");
    return pid;
}

static void finish(pid_t pid)
{
    int status = -1;

    bench_must(waitpid(pid, &status, 0) == pid && status == 0, "the end of a command");
}

static void once(void)
{
    finish(begin(command_true, -1, -1));
}

static void pipe_of(int ends[2])
{
    bench_must(pipe2(ends, O_CLOEXEC) == 0, "a pipe");
    (void)fcntl(ends[1], F_SETPIPE_SZ, PIPE_LEN); /* the limit for users may be below that */
}

static double capture_ns(void)
{
    int out[2];
    size_t len = 0;
    ssize_t got = 1;
    const int64_t start_ns = bench_now_ns();

    pipe_of(out);
    const pid_t pid = begin(command_head, -1, out[1]);
    (void)close(out[1]);
    while (got > 0 && len < COMMAND_OUT_LEN) {
        got = read(out[0], memory + len, COMMAND_OUT_LEN - len);
        len += got > 0 ? (size_t)got : 0;
    }
    (void)close(out[0]);
    finish(pid);
    const double taken_ns = (double)(bench_now_ns() - start_ns);
    command_check_zeros(memory, len);
    return taken_ns;
}

static size_t moved(ssize_t count)
{
    bench_must(count >= 0 || errno == EAGAIN, "a pipe's bytes");
    return count > 0 ? (size_t)count : 0;
}

/* Both ends do not block. Returns how many bytes came back. */
static size_t pump(int in, int out)
{
    const char *input = command_input();
    struct pollfd both[2] = {{.fd = out, .events = POLLIN}, {.fd = in, .events = POLLOUT}};
    size_t given = 0;
    size_t taken = 0;

    while (taken < COMMAND_THROUGH_LEN && poll(both, 2, -1) > 0) {
        if (both[0].revents != 0)
            taken += moved(read(out, memory + taken, COMMAND_THROUGH_LEN - taken));
        if (both[1].fd >= 0 && both[1].revents != 0)
            given += moved(write(in, input + given, COMMAND_THROUGH_LEN - given));
        if (given == COMMAND_THROUGH_LEN)
            both[1].fd = -1;
    }
    return taken;
}

static double communicate_ns(void)
{
    int in[2];
    int out[2];

    (void)command_input();
    const int64_t start_ns = bench_now_ns();
    pipe_of(in);
    pipe_of(out);
    const pid_t pid = begin(command_cat, in[0], out[1]);
    (void)close(in[0]);
    (void)close(out[1]);
    (void)fcntl(in[1], F_SETFL, O_NONBLOCK);
    (void)fcntl(out[0], F_SETFL, O_NONBLOCK);
    const size_t len = pump(in[1], out[0]);
    (void)close(in[1]);
    (void)close(out[0]);
    finish(pid);
    const double taken_ns = (double)(bench_now_ns() - start_ns);
    command_check_echo(memory, len);
    return taken_ns;
}

int main(void)
{
    memory = (char *)bench_map_pages(COMMAND_OUT_LEN, MAP_PRIVATE);
    memset(memory, 1, COMMAND_OUT_LEN);
    command_measure_bytes("limit: vfork and a pipe, 256 MiB", COMMAND_OUT_LEN, capture_ns);
    command_measure_bytes("limit: vfork and two pipes, 64 MiB", COMMAND_THROUGH_LEN,
                          communicate_ns);
    (void)munmap(memory, COMMAND_OUT_LEN);
    command_measure("limit: vfork and execve", once);
    return 0;
}
