/* SPDX-License-Identifier: MIT */
/*
 * The examples of queues, pipes and shared memory do what the guide says they do; as
 * test_programs.c for the others. The chat and the strangers are run twice, as two users would, and
 * one of those who chat is killed.
 */
#include "examples/program.h"

TEST(queue_passes_three_letters_and_outlives_its_reader)
{
    static struct run run = {.program = "example-queue"};
    char *lines[LINES_MAX], pattern[64];
    const char *of_writer = "Process to write: ([0-9]+)", *of_reader = "Process to read: ([0-9]+)";
    size_t last = 0;

    run_program(&run);
    CHECK_STR(run.error, "");
    CHECK_EQ(run.status, 0);
    CHECK_EQ(cut(run.out, lines), 10);
    long writer = number_in(lines[find(lines, 8, 0, of_writer)], of_writer);
    long reader = number_in(lines[find(lines, 8, 0, of_reader)], of_reader);
    CHECK(writer != reader);
    for (char letter = 'A'; letter <= 'C'; letter++) {
        snprintf(pattern, sizeof pattern, "Put %c to queue\\.\\.\\.", letter);
        size_t put = find(lines, 8, last, pattern);
        snprintf(pattern, sizeof pattern, "Get %c from queue\\.", letter);
        CHECK(find(lines, 8, last, pattern) > put);
        last = put;
    }
    check_line(lines[8], "The reader: killed by SIGTERM after .*");
    CHECK_STR(lines[9], "The queue is whole: put D, got D, 0 left.");
}

TEST(pipe_carries_text_an_open_file_and_the_end)
{
    static struct run run = {.program = "example-pipe"};

    run_program(&run);
    CHECK_STR(run.error, "");
    CHECK_STR(run.out, "Parent: \"hello\" gives \"HELLO\".\n"
                       "Parent: \"into a file\" gives \"done\".\n"
                       "Parent: the file says \"INTO A FILE\".\n"
                       "Child: the parent's end is gone.\n");
    CHECK_EQ(run.status, 0);
}

TEST(shared_counter_loses_no_step)
{
    static struct run run = {.program = "example-shared_counter"};

    run_program(&run);
    CHECK_STR(run.error, "");
    CHECK_STR(run.out, "4 processes counted to 40000\n");
    CHECK_EQ(run.status, 0);
}

TEST(frames_arrive_whole_and_once)
{
    static struct run run = {.program = "example-frames"};
    const char *left = "left: ([0-9]+) whole frames", *right = "right: ([0-9]+) whole frames";
    char *lines[LINES_MAX];

    run_program(&run);
    CHECK_STR(run.error, "");
    CHECK_EQ(run.status, 0);
    CHECK_EQ(cut(run.out, lines), 2);
    CHECK_EQ(number_in(lines[find(lines, 2, 0, left)], left) +
                 number_in(lines[find(lines, 2, 0, right)], right),
             300);
}

TEST(readings_of_three_producers_add_up)
{
    static struct run run = {.program = "example-readings"};

    run_program(&run);
    CHECK_STR(run.error, "");
    CHECK_STR(run.out, "sum: 749250\n");
    CHECK_EQ(run.status, 0);
}

TEST(owner_died_is_told_once_and_the_account_is_right)
{
    static struct run run = {.program = "example-owner_died"};
    char *lines[LINES_MAX], *errors[LINES_MAX], wanted[128];

    if (TEST_ASAN || TEST_TSAN)
        SKIP("a sanitizer ends crashes in its own way");
    run_program(&run);
    CHECK_EQ(run.status, 0);
    CHECK(cut(run.error, errors) >= 1);
    check_line(errors[0], "careless: killed by SIGABRT.*");
    CHECK_EQ(cut(run.out, lines), 2);
    long total = number_in(lines[0], "The last owner died: ([0-9]+) is not [0-9]+ \\+ 100");
    snprintf(wanted, sizeof wanted, "The last owner died: %ld is not %ld + 100", total, total - 99);
    CHECK_STR(lines[0], wanted);
    CHECK_STR(lines[1], "1601 = 1501 + 100");
}

TEST(queue_epoll_gets_all_that_three_producers_put)
{
    static struct run run = {.program = "example-queue_epoll"};

    run_program(&run);
    CHECK_STR(run.error, "");
    CHECK_STR(run.out, "The sum of all is 1501500.\n");
    CHECK_EQ(run.status, 0);
}

TEST(wait_any_gets_all_answers_and_then_sees_the_death)
{
    static struct run run = {.program = "example-wait_any"};
    char *lines[LINES_MAX];

    run_program(&run);
    CHECK_STR(run.error, "");
    CHECK_EQ(run.status, 0);
    CHECK_EQ(cut(run.out, lines), 4);
    CHECK_STR(lines[0], "Answer: 1");
    CHECK_STR(lines[1], "Answer: 4");
    CHECK_STR(lines[2], "Answer: 9");
    check_line(lines[3], "The child: killed by SIGKILL.*");
}

TEST(race_starts_together_and_ends_with_the_last)
{
    static struct run run = {.program = "example-race"};

    run_program(&run);
    CHECK_STR(run.error, "");
    CHECK_STR(run.out, "All 3 are at the start.\n3 have finished.\n");
    CHECK_EQ(run.status, 0);
}

TEST(squares_add_up_to_what_the_same_program_in_python_says)
{
    static struct run run = {.program = "example-squares"};

    run_program(&run);
    CHECK_STR(run.error, "");
    CHECK_STR(run.out, "sum of squares: 333833500\n");
    CHECK_EQ(run.status, 0);
}

TEST(regions_are_opened_once_and_their_blocks_found)
{
    static struct run run = {.program = "example-regions"};

    run_program(&run);
    CHECK_STR(run.error, "");
    CHECK_STR(run.out, "The sum of all is 3600000.\n");
    CHECK_EQ(run.status, 0);
}

TEST(two_stages_lose_nothing_and_know_what_came_twice)
{
    static struct run run = {.program = "example-two_stages"};
    char *errors[LINES_MAX];

    run_program(&run);
    CHECK_STR(run.out, "2000 of 2000 squares, 1 came twice, the sum is 2664667000\n");
    CHECK_EQ(cut(run.error, errors), 1);
    check_line(errors[0], "worker: killed by SIGKILL.*");
    CHECK_EQ(run.status, 0);
}

TEST(turns_are_taken_by_all_four)
{
    static struct run run = {.program = "example-turns"};

    run_program(&run);
    CHECK_STR(run.error, "");
    CHECK_STR(run.out, "12 pages, settings loaded 1 time.\n");
    CHECK_EQ(run.status, 0);
}

TEST(report_deaths_tells_a_producer_that_nobody_is_left)
{
    static struct run run = {.program = "example-report_deaths"};

    run_program(&run);
    CHECK_STR(run.error, "");
    CHECK_STR(run.out, "After 10 numbers: a participant died, and what was waited for has not "
                       "come\n");
    CHECK_EQ(run.status, 0);
}

/* ---- two programs that talk ---- */

struct talker {
    pid_t pid;
    int keyboard; /* what is written here, it reads */
    FILE *screen; /* what it prints, is read here */
};

static void program_start(struct talker *talker, const struct run *run)
{
    int in[2], out[2];

    CHECK_OK(pipe2(in, O_CLOEXEC));
    CHECK_OK(pipe2(out, O_CLOEXEC));
    talker->pid = CHECK_OK(fork());
    if (talker->pid == 0)
        become(run, in[0], out[1], 2);
    close(in[0]);
    close(out[1]);
    talker->keyboard = in[1];
    talker->screen = fdopen(out[0], "r");
    CHECK(talker->screen != NULL);
}

static void talker_start(struct talker *talker, const char *digits)
{
    const struct run run = {.program = "example-chat", .argument = {digits}};

    program_start(talker, &run);
}

static void types(const struct talker *talker, const char *line)
{
    CHECK_EQ(write(talker->keyboard, line, strlen(line)), strlen(line));
}

static void reads(const struct talker *talker, const char *wanted)
{
    char line[128];

    CHECK(fgets(line, sizeof line, talker->screen) != NULL);
    CHECK_STR(line, wanted);
}

/* The exit status, or -N for signal N. */
static int talker_end(struct talker *talker)
{
    int status;

    CHECK_EQ(waitpid(talker->pid, &status, 0), talker->pid);
    close(talker->keyboard);
    CHECK_EQ(fgetc(talker->screen), EOF);
    fclose(talker->screen);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

/* The ref that a talker prints when it starts. */
static void reads_ref(const struct talker *talker, char digits[33])
{
    char line[128];

    CHECK(fgets(line, sizeof line, talker->screen) != NULL);
    *strchrnul(line, '\n') = '\0';
    check_line(line, "Run: chat [0-9a-f]{32}");
    memcpy(digits, strrchr(line, ' ') + 1, 33);
}

/* Both at the ends of one pipe. */
static void talkers_start(struct talker *first, struct talker *second)
{
    char digits[33];

    talker_start(first, NULL);
    reads_ref(first, digits);
    talker_start(second, digits);
}

TEST(chat_carries_lines_both_ways_and_tells_of_a_kill)
{
    struct talker first, second;

    talkers_start(&first, &second);
    types(&first, "hello\n");
    reads(&second, "> hello\n");
    types(&second, "hello yourself\n");
    reads(&first, "> hello yourself\n");
    CHECK_OK(kill(first.pid, SIGKILL));
    reads(&second, "The other one is gone.\n");
    CHECK_EQ(talker_end(&second), 0);
    CHECK_EQ(talker_end(&first), -SIGKILL);
}

TEST(chat_ends_for_both_when_the_second_has_no_more_to_say)
{
    struct talker first, second;

    talkers_start(&first, &second);
    types(&second, "bye\n");
    reads(&first, "> bye\n");
    close(second.keyboard);
    second.keyboard = -1;
    reads(&first, "The other one is gone.\n");
    CHECK_EQ(talker_end(&first), 0);
    CHECK_EQ(talker_end(&second), 0);
}

TEST(chat_with_somebody_who_was_killed_says_so)
{
    static struct run run = {.program = "example-chat"};
    struct talker first;
    char digits[33], *errors[LINES_MAX];

    talker_start(&first, NULL);
    reads_ref(&first, digits);
    CHECK_OK(kill(first.pid, SIGKILL));
    CHECK_EQ(talker_end(&first), -SIGKILL);
    run.argument[0] = digits;
    run_program(&run);
    CHECK_EQ(run.status, 1);
    CHECK_STR(run.out, "");
    CHECK_EQ(cut(run.error, errors), 1);
    check_line(errors[0], ".*chat\\.c:[0-9]+: .*: nobody serves this ref.*");
}

/* The second one is started when the first one says that it can be found at PATH. */
static void strangers_meet(const char *first_verb, const char *second_verb)
{
    static struct run second = {.program = "example-strangers"};
    struct talker first;
    char path[256];

    snprintf(path, sizeof path, "%s/numbers", getenv("TMPDIR"));
    program_start(&first,
                  &(struct run){.program = "example-strangers", .argument = {first_verb, path}});
    reads(&first, "Ready.\n");
    second.argument[0] = second_verb;
    second.argument[1] = path;
    run_program(&second);
    CHECK_STR(second.error, "");
    CHECK_EQ(second.status, 0);
    reads(&first, "Got numbers with the sum 5050.\n");
    CHECK_EQ(talker_end(&first), 0);
}

TEST(strangers_share_a_queue_by_sixteen_bytes_in_a_file)
{
    strangers_meet("write", "read");
}

TEST(strangers_replace_the_file_of_one_that_was_killed)
{
    struct talker dead;
    char path[256];

    snprintf(path, sizeof path, "%s/numbers", getenv("TMPDIR"));
    program_start(&dead,
                  &(struct run){.program = "example-strangers", .argument = {"write", path}});
    reads(&dead, "Ready.\n");
    CHECK_OK(kill(dead.pid, SIGKILL));
    CHECK_EQ(talker_end(&dead), -SIGKILL);
    strangers_meet("write", "read");
}

TEST(strangers_share_a_queue_over_a_unix_socket)
{
    strangers_meet("listen", "connect");
}
