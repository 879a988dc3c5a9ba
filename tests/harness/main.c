/* SPDX-License-Identifier: MIT */
/*
 * main() of each test program: options, the list of its tests, the sum.
 *
 *     test_x [--list] [--no-fork] [--seed N] [-v] [name ...]
 *
 * A name chooses the tests that contain it. Tests run one after another, in the order of the
 * file; programs may run side by side (tests/run). The environment:
 *
 *     BROOD_TEST_TIME_FACTOR   multiplies every limit and patience (slow machines)
 *     BROOD_SWEEP              all, or how many points of a sweep to take
 *
 * A program that uses the fork server is started again by the library as that server; that is
 * why brood_init() comes first here.
 */
#include "harness/record.h"
#include "harness/runner.h"

#include <brood/base.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* It is in a program whose tests use a part of the library that asks whether it was called. */
#pragma weak brood_init

struct options {
    bool list;
    bool no_fork;
    bool verbose;
    char **names;
    int name_count;
};

struct sum {
    unsigned passed;
    unsigned failed;
    unsigned skipped;
};

static struct test_case *tests;
static struct test_case **tests_end = &tests;
static uint64_t seed;
static uint64_t random_state;

void test_register(struct test_case *test)
{
    *tests_end = test;
    tests_end = &test->next;
}

/* ---- what tests ask of the run ---- */

double test_time_factor(void)
{
    const char *text = getenv("BROOD_TEST_TIME_FACTOR");
    double factor = text == NULL ? 1 : strtod(text, NULL);

    return factor > 0 ? factor : 1;
}

int64_t test_patience_ms(void)
{
    return (int64_t)(10000 * test_time_factor());
}

uint64_t test_seed(void)
{
    return seed;
}

void random_start(uint64_t start, const char *name)
{
    random_state = start;
    for (; *name != '\0'; name++)
        random_state = (random_state ^ (unsigned char)*name) * UINT64_C(0x100000001b3);
}

/* SplitMix64: a counter and a mixer, so every seed is a good one. */
uint64_t test_random(void)
{
    uint64_t mixed = random_state += UINT64_C(0x9e3779b97f4a7c15);

    mixed = (mixed ^ mixed >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    mixed = (mixed ^ mixed >> 27) * UINT64_C(0x94d049bb133111eb);
    return mixed ^ mixed >> 31;
}

uint64_t test_random_below(uint64_t bound)
{
    return test_random() % bound;
}

const char *test_program(const char *name)
{
    static char path[PATH_MAX];
    char self[PATH_MAX];
    ssize_t len = readlink("/proc/self/exe", self, sizeof self - 1);

    if (len < 0)
        FAIL("no /proc/self/exe");
    self[len] = '\0';
    (void)snprintf(path, sizeof path, "%.*s/%s", PATH_MAX - 256, dirname(self), name);
    return path;
}

/* ---- the run ---- */

static void show_output(int fd)
{
    FILE *output = fd < 0 ? NULL : fdopen(fd, "r");
    char line[1024];

    if (output == NULL)
        return;
    rewind(output);
    while (fgets(line, sizeof line, output) != NULL)
        (void)printf("    | %s%s", line, strchr(line, '\n') == NULL ? "\n" : "");
    (void)fclose(output);
}

static void show_indented(const char *text)
{
    while (*text != '\0') {
        size_t len = strcspn(text, "\n");

        (void)printf("    %.*s\n", (int)len, text);
        text += len + (text[len] == '\n');
    }
}

static void show(const struct test_case *test, struct outcome *outcome, bool verbose)
{
    static const char *const words[] = {[PASSED] = "ok", [FAILED] = "FAILED", [SKIPPED] = "skip"};

    if (outcome->verdict != PASSED || verbose || record_get()->notes[0] != '\0')
        (void)printf("%s %s%s%s\n", words[outcome->verdict], test->name,
                     outcome->verdict == SKIPPED ? ": " : "",
                     outcome->verdict == SKIPPED ? outcome->text : "");
    if (outcome->verdict == FAILED) {
        show_indented(outcome->text);
        (void)printf("    again: --seed %llu %s\n", (unsigned long long)seed, test->name);
    }
    show_indented(record_get()->notes);
    if (outcome->verdict == FAILED || verbose)
        show_output(outcome->output_fd);
    else if (outcome->output_fd >= 0)
        (void)close(outcome->output_fd);
}

static bool is_chosen(const struct test_case *test, const struct options *options)
{
    for (int i = 0; i < options->name_count; i++)
        if (strstr(test->name, options->names[i]) != NULL)
            return true;
    return options->name_count == 0;
}

static void run_one(const struct test_case *test, const struct options *options, struct sum *sum)
{
    static struct outcome outcome;

    if (options->no_fork) {
        runner_run_in_place(test);
        sum->passed++;
        return;
    }
    runner_run(test, &outcome);
    show(test, &outcome, options->verbose);
    sum->passed += outcome.verdict == PASSED;
    sum->failed += outcome.verdict == FAILED;
    sum->skipped += outcome.verdict == SKIPPED;
}

static __attribute__((noreturn)) void usage(const char *program, int code)
{
    (void)fprintf(code == 0 ? stdout : stderr,
                  "usage: %s [--list] [--no-fork] [--seed N] [-v] [name ...]\n"
                  "  --list     names of the tests\n"
                  "  --no-fork  in this process, for a debugger\n"
                  "  --seed N   the random numbers of an earlier run\n"
                  "  -v         show what passes, and all output\n",
                  program);
    exit(code);
}

static struct options read_options(int argc, char **argv)
{
    struct options options = {0};
    int i;

    for (i = 1; i < argc && argv[i][0] == '-'; i++) {
        if (strcmp(argv[i], "--list") == 0)
            options.list = true;
        else if (strcmp(argv[i], "--no-fork") == 0)
            options.no_fork = true;
        else if (strcmp(argv[i], "-v") == 0)
            options.verbose = true;
        else if (strcmp(argv[i], "--seed") == 0 && i + 1 < argc)
            seed = strtoull(argv[++i], NULL, 10);
        else
            usage(argv[0], strcmp(argv[i], "--help") == 0 ? 0 : 2);
    }
    options.names = argv + i;
    options.name_count = argc - i;
    return options;
}

int main(int argc, char **argv)
{
    struct timespec t;
    struct options options;
    struct sum sum = {0};

    if (brood_init != NULL)
        brood_init(argc, argv);
    (void)setvbuf(stdout, NULL, _IOLBF, 0); /* so that a crash keeps what was printed before */
    (void)clock_gettime(CLOCK_REALTIME, &t);
    seed = (uint64_t)t.tv_sec * 1000003 ^ (uint64_t)t.tv_nsec ^ (uint64_t)getpid() << 40;
    options = read_options(argc, argv);
    if (!options.list && !options.no_fork)
        runner_prepare();
    if (!options.list)
        (void)printf("seed %llu\n", (unsigned long long)seed);
    for (const struct test_case *test = tests; test != NULL; test = test->next) {
        if (!is_chosen(test, &options))
            continue;
        if (options.list)
            (void)printf("%s\n", test->name);
        else
            run_one(test, &options, &sum);
        (void)fflush(stdout);
    }
    if (!options.list)
        (void)printf("%u passed, %u failed, %u skipped\n", sum.passed, sum.failed, sum.skipped);
    return sum.failed == 0 ? 0 : 1;
}
