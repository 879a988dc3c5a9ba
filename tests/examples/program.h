/* SPDX-License-Identifier: MIT */
/*
 * Runs a program of the examples as a user would, and looks at what it printed, line by line.
 * Everything runs into a pipe, where text that a fork had doubled or a worker had not flushed would
 * show, or at a terminal.
 */
#ifndef BROOD_TEST_EXAMPLES_PROGRAM_H
#define BROOD_TEST_EXAMPLES_PROGRAM_H

#include "harness/test.h"

#include <fcntl.h>
#include <poll.h>
#include <regex.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { TEXT_MAX = 64 * 1024, LINES_MAX = 256, MATCHES = 4 };

/* How to run a program, and what came of it. */
struct run {
    const char *program; /* below the folder of the examples */
    const char *argument[4];
    const char *input;    /* for stdin, at most what a pipe holds */
    const char *variable; /* one more for the environment: "NO_COLOR=1" */
    bool terminal;        /* stdout is one */
    int status;           /* exit status, or -N for signal N */
    char out[TEXT_MAX], error[TEXT_MAX];
};

static inline void example_path(const char *program, char *out_path, size_t size)
{
    char self[2048];
    ssize_t len = CHECK_OK(readlink("/proc/self/exe", self, sizeof self - 1));

    self[len] = '\0';
    *strrchr(self, '/') = '\0'; /* build/x/tests */
    *strrchr(self, '/') = '\0';
    snprintf(out_path, size, "%s/examples/%s", self, program);
}

static inline int open_terminal(int *out_other)
{
    const struct winsize size = {.ws_row = 24, .ws_col = 100};
    int fd = CHECK_OK(posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC));

    CHECK_OK(grantpt(fd));
    CHECK_OK(unlockpt(fd));
    *out_other = CHECK_OK(open(ptsname(fd), O_RDWR | O_NOCTTY | O_CLOEXEC));
    CHECK_OK(ioctl(*out_other, TIOCSWINSZ, &size));
    return fd;
}

static inline void become(const struct run *run, int in, int out, int error)
{
    char path[4096];
    const char *argv[] = {
        path, run->argument[0], run->argument[1], run->argument[2], run->argument[3], NULL};
    char *variable = run->variable != NULL ? strdup(run->variable) : NULL;

    example_path(run->program, path, sizeof path);
    if (dup2(in, 0) < 0 || dup2(out, 1) < 0 || dup2(error, 2) < 0)
        _exit(126);
    unsetenv("NO_COLOR");
    setenv("TERM", "xterm", 1);
    setenv("LC_ALL", "C.UTF-8", 1);
    if (variable != NULL)
        putenv(variable);
    execv(path, (char *const *)(uintptr_t)argv);
    _exit(127);
}

/* Reads until both ends are closed. A terminal whose other side is gone says EIO. */
static inline void read_both(int out, int error, struct run *run)
{
    struct pollfd fds[] = {{.fd = out, .events = POLLIN}, {.fd = error, .events = POLLIN}};
    char *text[] = {run->out, run->error};
    size_t len[] = {0, 0};

    while (fds[0].fd >= 0 || fds[1].fd >= 0) {
        CHECK_OK(poll(fds, 2, -1));
        for (int i = 0; i < 2; i++) {
            if (fds[i].fd < 0 || fds[i].revents == 0)
                continue;
            ssize_t n = read(fds[i].fd, text[i] + len[i], TEXT_MAX - 1 - len[i]);
            if (n > 0)
                len[i] += (size_t)n;
            else
                fds[i].fd = -1;
        }
    }
    run->out[len[0]] = run->error[len[1]] = '\0';
}

static inline void run_program(struct run *run)
{
    int in[2], out[2], error[2], status;

    CHECK_OK(pipe2(in, O_CLOEXEC));
    CHECK_OK(pipe2(error, O_CLOEXEC));
    if (run->terminal)
        out[0] = open_terminal(&out[1]);
    else
        CHECK_OK(pipe2(out, O_CLOEXEC));
    if (run->input != NULL)
        CHECK_EQ(write(in[1], run->input, strlen(run->input)), strlen(run->input));
    pid_t pid = CHECK_OK(fork());
    if (pid == 0)
        become(run, in[0], out[1], error[1]);
    close(in[0]);
    close(in[1]);
    close(out[1]);
    close(error[1]);
    read_both(out[0], error[0], run);
    close(out[0]);
    close(error[0]);
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    run->status = WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

static inline bool matches(const char *line, const char *pattern, regmatch_t *out_match)
{
    char whole[512];
    regex_t regex;

    snprintf(whole, sizeof whole, "^%s$", pattern);
    CHECK_EQ(regcomp(&regex, whole, REG_EXTENDED), 0);
    bool yes = regexec(&regex, line, MATCHES, out_match, 0) == 0;
    regfree(&regex);
    return yes;
}

/* Cuts TEXT into lines, in place. */
static inline size_t cut(char *text, char *lines[LINES_MAX])
{
    size_t count = 0;

    for (char *end; (end = strchr(text, '\n')) != NULL; text = end + 1) {
        CHECK(count < LINES_MAX);
        *end = '\0';
        lines[count++] = text;
    }
    CHECK_STR(text, ""); /* the last line ends like the others */
    return count;
}

/* The number that the first parenthesis of PATTERN finds in the line. */
static inline long number_in(const char *line, const char *pattern)
{
    regmatch_t match[MATCHES];

    if (!matches(line, pattern, match))
        FAIL("\"%s\" is not \"%s\"", line, pattern);
    return strtol(line + match[1].rm_so, NULL, 10);
}

static inline void check_line(const char *line, const char *pattern)
{
    regmatch_t match[MATCHES];

    if (!matches(line, pattern, match))
        FAIL("\"%s\" is not \"%s\"", line, pattern);
}

/* The place of the first line that matches, from line FIRST. */
static inline size_t find(char *lines[], size_t count, size_t first, const char *pattern)
{
    regmatch_t match[MATCHES];

    for (size_t i = first; i < count; i++)
        if (matches(lines[i], pattern, match))
            return i;
    FAIL("no line is \"%s\"", pattern);
}

#endif
