/* SPDX-License-Identifier: MIT */
/*
 * The runner as seen by its user: a program, its output and its exit status.
 *
 * The program is started as a child of the test, and its output read to the end before it is
 * waited for; it is below our own runner, so what it leaves would fail the test that started it.
 */
#include "harness/report.h"

#include "harness/step.h"
#include "harness/test.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static void read_all(int fd, char *text, size_t size)
{
    size_t have = 0;
    ssize_t len;

    while (have < size - 1 && (len = read(fd, text + have, size - 1 - have)) > 0)
        have += (size_t)len;
    text[have] = '\0';
}

static void run(char **arguments, struct report *out)
{
    int ends[2];
    int status;
    pid_t pid;

    CHECK_OK(pipe2(ends, O_CLOEXEC));
    pid = CHECK_OK(fork());
    if (pid == 0) {
        (void)dup2(ends[1], 1);
        (void)dup2(ends[1], 2);
        (void)execv(arguments[0], arguments);
        FAIL("no program %s", arguments[0]);
    }
    (void)close(ends[1]);
    read_all(ends[0], out->text, sizeof out->text);
    (void)close(ends[0]);
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    out->exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    out->seed = strncmp(out->text, "seed ", 5) == 0 ? strtoull(out->text + 5, NULL, 10) : 0;
}

/* execv() takes pointers to what it does not change. */
static char *writable(const char *text)
{
    char *copy;

    memcpy(&copy, &text, sizeof copy);
    return copy;
}

void report_of(const char *program, const char *name, struct report *out)
{
    run((char *[]){writable(test_program(program)), writable(name), NULL}, out);
}

void report_of_seed(const char *program, const char *name, uint64_t seed, struct report *out)
{
    char number[32];

    (void)snprintf(number, sizeof number, "%llu", (unsigned long long)seed);
    run((char *[]){writable(test_program(program)), writable("--seed"), number, writable(name),
                   NULL},
        out);
}

bool report_has(const struct report *report, const char *text)
{
    return strstr(report->text, text) != NULL;
}

void report_must_fail(const char *program, const char *name, const char *reason)
{
    static struct report report;
    char verdict[128];

    /* What it fails by is often that somebody waits in vain, so it gets less patience. */
    (void)snprintf(verdict, sizeof verdict, "%g", test_time_factor() / 5);
    CHECK_EQ(setenv("BROOD_TEST_TIME_FACTOR", verdict, 1), 0);
    /* And it is tried at as many points as the test wants: with few it may go by unseen. */
    CHECK_EQ(unsetenv("BROOD_SWEEP"), 0);
    report_of(program, name, &report);
    (void)snprintf(verdict, sizeof verdict, "\nFAILED %s\n", name);
    if (!report_has(&report, verdict) || !report_has(&report, reason) ||
        !report_has(&report, "\n0 passed, 1 failed, 0 skipped\n") || report.exit_code != 1)
        FAIL("\"%s\" expected, status %d:\n%s", reason, report.exit_code, report.text);
}

void report_must_catch(const char *mutant, const char *sweep, const char *reason)
{
    const char *impossible = step_is_impossible();

    if (impossible != NULL)
        SKIP("%s", impossible);
    report_must_fail(mutant, sweep, reason);
}
