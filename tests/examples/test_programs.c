/* SPDX-License-Identifier: MIT */
/*
 * The examples do what the guide says they do: each is run as a user would run it, and what it
 * prints is compared line by line. Everything is run into a pipe, where text that a fork had
 * doubled or a worker had not flushed would show; the demo also at a terminal. The harness adds
 * its question to each test: whether anything is left running.
 */
#include "examples/program.h"

#include <errno.h>
#include <sys/stat.h>

TEST(hello_loses_one_word_of_five)
{
    static struct run run = {.program = "example-hello"};

    run_program(&run);
    CHECK_STR(run.out, "fig: 3\npear: 4\n"
                       "word 2: crashed: ended by a signal, or by exit() inside a task\n"
                       "apricot: 7\nplum: 4\n");
    if (!TEST_ASAN && !TEST_TSAN) /* they have a word to say about strlen(NULL) */
        CHECK_STR(run.error, "");
    CHECK_EQ(run.status, 0);
}

TEST(command_shows_what_programs_write_and_how_they_end)
{
    static struct run run = {.program = "example-command"};

    run_program(&run);
    CHECK_EQ(run.status, 0);
    CHECK_STR(run.out, "apple\npear\nsort: exit status 0\n"
                       "sleep: stopped: over its own time limit\n"
                       "not started: run 'no-such-program': No such file or directory in any "
                       "folder of its PATH\n");
}

TEST(process_prints_the_classic_lines)
{
    static struct run run = {.program = "example-process"};
    char *lines[LINES_MAX];

    run_program(&run);
    CHECK_EQ(run.status, 0);
    CHECK_EQ(cut(run.out, lines), 4);
    long parent = number_in(lines[0], "Parent process ([0-9]+)\\.");
    CHECK_STR(lines[1], "Child process will start.");
    long child = number_in(lines[2], "Run child process test \\(([0-9]+)\\)\\.\\.\\.");
    CHECK_STR(lines[3], "Child process end.");
    CHECK(parent != child);
}

TEST(pool_runs_five_tasks_in_four_processes)
{
    static struct run run = {.program = "example-pool"};
    char *lines[LINES_MAX], pattern[64];
    long pid[5];

    run_program(&run);
    CHECK_EQ(run.status, 0);
    CHECK_EQ(cut(run.out, lines), 13);
    check_line(lines[0], "Parent process [0-9]+\\.");
    CHECK_STR(lines[1], "Waiting for all subprocesses done...");
    for (int i = 0; i < 5; i++) {
        snprintf(pattern, sizeof pattern, "Run task %d \\(([0-9]+)\\)\\.\\.\\.", i);
        size_t begin = find(lines, 12, 2, pattern);
        pid[i] = number_in(lines[begin], pattern);
        snprintf(pattern, sizeof pattern, "Task %d runs [0-3]\\.[0-9][0-9] seconds\\.", i);
        CHECK(find(lines, 12, 2, pattern) > begin);
    }
    size_t first_end = find(lines, 12, 2, "Task . runs .* seconds\\.");
    CHECK(find(lines, 12, 2, "Run task 4 .*") > first_end);
    CHECK(pid[4] == pid[0] || pid[4] == pid[1] || pid[4] == pid[2] || pid[4] == pid[3]);
    CHECK_STR(lines[12], "All subprocesses done.");
}

TEST(fork_tells_parent_and_child)
{
    static struct run run = {.program = "example-fork"};
    char *lines[LINES_MAX];
    const char *of_parent = "I \\(([0-9]+)\\) just created a child process \\([0-9]+\\)\\.";
    const char *of_child = "I am child process \\([0-9]+\\) and my parent is ([0-9]+)\\.";

    run_program(&run);
    CHECK_EQ(run.status, 0);
    CHECK_EQ(cut(run.out, lines), 3);
    long parent = number_in(lines[0], "Process \\(([0-9]+)\\) start\\.\\.\\.");
    CHECK_EQ(number_in(lines[find(lines, 3, 1, of_parent)], of_parent), parent);
    CHECK_EQ(number_in(lines[find(lines, 3, 1, of_child)], of_child), parent);
}

TEST(map_squares_a_million_numbers)
{
    static struct run run = {.program = "example-map"};

    run_program(&run);
    CHECK_STR(run.out, "999998000001, 0 failed\n");
    CHECK_EQ(run.status, 0);
}

TEST(crash_names_every_way_to_end)
{
    static struct run run = {.program = "example-crash"};
    static const char *const wanted[] = {
        "return well: returned 0.*",
        "return an error: returned -2.*",
        "read through NULL: killed by SIGSEGV.*",
        "call abort: killed by SIGABRT.*",
        "recurse for ever: killed by SIGSEGV.*",
        "call exit: exited with 3.*",
        "be killed: killed by SIGKILL.*",
        "loop for ever: stopped after .*: over its time limit.*",
        "eat memory: stopped .*: over its memory limit.*",
    };
    char *lines[LINES_MAX];
    size_t line = 0;

    if (TEST_ASAN || TEST_TSAN)
        SKIP("a sanitizer ends crashes in its own way");
    run_program(&run);
    CHECK_EQ(run.status, 0);
    CHECK_STR(run.error, "");
    size_t count = cut(run.out, lines);
    for (size_t i = 0; i < sizeof wanted / sizeof wanted[0]; i++) {
        for (; line < count && strncmp(lines[line], "    ", 4) == 0; line++)
            ; /* a report */
        CHECK(line < count);
        check_line(lines[line++], wanted[i]);
    }
    CHECK(find(lines, count, 0, "    .*example-crash.*\\+0x[0-9a-f]+.*") < count);
}

/* A file in the folder of this test, which the harness looks after. */
static void write_file(const char *name, const char *text, char *out_path, size_t size)
{
    snprintf(out_path, size, "%s/%s", getenv("TMPDIR"), name);
    FILE *file = fopen(out_path, "we");
    CHECK(file != NULL);
    fputs(text, file);
    CHECK_EQ(fclose(file), 0);
}

TEST(files_loses_only_the_file_that_crashes_the_parser)
{
    static struct run run = {.program = "example-files"};
    char good[512], bad[512], *lines[LINES_MAX], *errors[LINES_MAX];

    write_file("good.conf", "# a comment\nname = value\nother = 1\n", good, sizeof good);
    write_file("bad.conf", "name = value\nnothing here\n", bad, sizeof bad);
    run.argument[0] = bad;
    run.argument[1] = good;
    run_program(&run);
    CHECK_EQ(run.status, 1);
    CHECK_EQ(cut(run.out, lines), 2);
    check_line(lines[0], ".*/good\\.conf: 2 settings, 1 comments");
    CHECK_STR(lines[1], "1 of 2 failed");
    CHECK(cut(run.error, errors) >= 1);
    if (!TEST_ASAN && !TEST_TSAN)
        check_line(errors[0], ".*/bad\\.conf: killed by SIGSEGV.*");
    unlink(good);
    unlink(bad);
}

TEST(endless_finds_ten_primes_in_order)
{
    static struct run run = {.program = "example-endless"};

    run_program(&run);
    CHECK_STR(run.out, "1000000000039\n1000000000061\n1000000000063\n1000000000091\n"
                       "1000000000121\n1000000000163\n1000000000169\n1000000000177\n"
                       "1000000000189\n1000000000193\n");
    CHECK_EQ(run.status, 0);
}

TEST(first_ten_prints_ten)
{
    static struct run run = {.program = "example-first_ten"};
    char *lines[LINES_MAX];

    run_program(&run);
    CHECK_EQ(run.status, 0);
    CHECK_EQ(cut(run.out, lines), 10);
    for (int i = 0; i < 10; i++)
        check_line(lines[i], "seed [0-9]+: 3\\.[0-9]{4}");
}

TEST(epoll_answers_what_comes_from_stdin)
{
    static struct run run = {.program = "example-epoll", .input = "hello\nWorld 1\n"};

    run_program(&run);
    CHECK_STR(run.out, "HELLO\nWORLD 1\n");
    CHECK_EQ(run.status, 0);
}

TEST(contexts_reads_its_file_in_a_clean_worker)
{
    static struct run run = {.program = "example-contexts"};

    if (access("/etc/passwd", R_OK) < 0)
        SKIP("no /etc/passwd here");
    run_program(&run);
    CHECK_STR(run.error, "");
    CHECK(strncmp(run.out, "root:", 5) == 0);
    CHECK_EQ(run.status, 0);
}

/* ---- the demo ---- */

static void make_tree(char *out_folder, size_t size)
{
    char path[512], name[16];

    snprintf(out_folder, size, "%s/tree", getenv("TMPDIR"));
    CHECK_OK(mkdir(out_folder, 0700));
    for (int i = 0; i < 20; i++) {
        snprintf(name, sizeof name, "tree/%d", i);
        write_file(name, "one two\nthree\n", path, sizeof path);
    }
}

static void remove_tree(const char *folder)
{
    char path[512];

    for (int i = 0; i < 20; i++) {
        snprintf(path, sizeof path, "%s/%d", folder, i);
        CHECK_OK(unlink(path));
    }
    CHECK_OK(rmdir(folder));
}

static void run_demo(struct run *run)
{
    char folder[256];

    if (TEST_ASAN || TEST_TSAN)
        SKIP("a sanitizer ends crashes in its own way");
    make_tree(folder, sizeof folder);
    run->program = "demo/demo";
    run->argument[0] = folder;
    run_program(run);
    remove_tree(folder);
    if (run->status != 0)
        FAIL("exit status %d\n%s%s", run->status, run->out, run->error);
    CHECK_STR(run->error, "");
}

TEST(demo_into_a_pipe_is_plain_and_ends_well)
{
    static struct run run;
    char *lines[LINES_MAX];

    run_demo(&run);
    CHECK(strchr(run.out, '\033') == NULL);
    CHECK(strchr(run.out, '\r') == NULL);
    size_t count = cut(run.out, lines);
    find(lines, count, 0, "  done +22   0\\.3 kB, 40 lines, 60 words");
    find(lines, count, 0, "  crashed +8");
    find(lines, count, 0, " +3 .+ a length field that lies +SIGSEGV in box_text.*");
    find(lines, count, 0, " +2 .+ a node of no known kind +SIGABRT.*");
    find(lines, count, 0, "  timed out +2");
    find(lines, count, 0, "  out of memory +2");
    find(lines, count, 0, "  pool of [0-9]+ .* times as fast.*");
}

TEST(demo_at_a_terminal_draws_one_line_over_and_over)
{
    static struct run run = {.terminal = true};

    run_demo(&run);
    CHECK(strstr(run.out, "\033[K") != NULL);
    CHECK(strstr(run.out, "\033[31m") != NULL);
}

TEST(demo_has_no_colours_with_no_color)
{
    static struct run run = {.terminal = true, .variable = "NO_COLOR=1"};

    run_demo(&run);
    CHECK(strstr(run.out, "\033[K") != NULL);
    CHECK(strstr(run.out, "\033[31m") == NULL);
}

TEST(demo_says_how_to_use_it)
{
    static struct run run = {.program = "demo/demo", .argument = {"--help"}};

    run_program(&run);
    CHECK_EQ(run.status, 2);
    CHECK_STR(run.error, "usage: demo [folder]\n");
}
