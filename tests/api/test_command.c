/* SPDX-License-Identifier: MIT */
/*
 * Commands and their three streams: what goes in comes out, however much it is, in whatever order
 * the two sides read and write; what is kept of it is bounded; and the end says how it ended.
 */
#include "api/command_kit.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum { LARGE_LEN = 16 << 20 };

static char *large_text(void)
{
    char *text = malloc(LARGE_LEN);
    uint64_t word = 1;

    CHECK(text != NULL);
    for (size_t i = 0; i < LARGE_LEN; i++) {
        word = word * UINT64_C(6364136223846793005) + 1442695040888963407;
        text[i] = (char)(word >> 56);
    }
    return text;
}

/* ---- how it ended ---- */

TEST(the_exit_status_is_what_a_call_returns)
{
    brood_outcome outcome;

    CHECK_EQ(brood_call(BROOD_ARGV("true"), NULL, NULL), 0);
    CHECK_EQ(brood_call(BROOD_SHELL("exit 7"), NULL, &outcome), 7);
    CHECK_EQ(outcome.cause, BROOD_EXITED);
    CHECK_EQ(outcome.code, 7);
    CHECK_EQ(outcome.verdict, 7);
    CHECK_EQ(outcome.attempts, 1);
    CHECK(outcome.wall_us > 0);
    CHECK(outcome.peak_rss > 0);
    CHECK_EQ(brood_call(BROOD_SHELL("exit 255"), NULL, NULL), 255);
}

TEST(a_signal_is_a_crash_and_is_named)
{
    brood_outcome outcome;

    CHECK_ERR(brood_call(BROOD_SHELL("kill -SEGV $$"), NULL, &outcome), BROOD_ECRASHED);
    CHECK_EQ(outcome.cause, BROOD_SIGNALLED);
    CHECK_EQ(outcome.signal, SIGSEGV);
}

TEST(a_checked_call_takes_another_status_for_an_error)
{
    brood_outcome outcome;
    char *text = NULL;
    size_t len = 0;

    CHECK_EQ(brood_check_call(BROOD_ARGV("true"), NULL, NULL), 0);
    CHECK_ERR(brood_check_call(BROOD_ARGV("false"), NULL, &outcome), BROOD_EEXIT);
    CHECK_EQ(outcome.code, 1);
    CHECK_ERR(brood_check_output(BROOD_SHELL("echo some; exit 1"), NULL, &text, &len), BROOD_EEXIT);
    CHECK_STR(text, "some\n");
    CHECK_EQ(len, 5);
    free(text);
    CHECK_ERR(brood_check_output(BROOD_ARGV("/no/program"), NULL, &text, &len), -ENOENT);
    CHECK(text == NULL);
}

/* ---- in, out, err ---- */

TEST(bytes_go_in_and_come_out)
{
    check_output("sort -u", &(brood_command_options){.in = BROOD_TEXT("b\na\nb\n")}, "a\nb\n");
    check_output("cat", &(brood_command_options){.in = {.kind = BROOD_NULL}}, "");
    check_output("cat", &(brood_command_options){.in = BROOD_TEXT("")}, "");
}

TEST(more_than_pipes_hold_goes_both_ways_at_once)
{
    char *text = large_text();
    brood_command *command = NULL;
    const brood_command_options options = {
        .in = {.kind = BROOD_BYTES, .data = text, .len = LARGE_LEN}};

    CHECK_EQ(brood_run(&command, BROOD_ARGV("tee", "/dev/stderr"), &options), 0);
    CHECK_EQ(brood_command_out(command).len, LARGE_LEN);
    CHECK_EQ(brood_command_err(command).len, LARGE_LEN);
    CHECK(memcmp(brood_command_out(command).data, text, LARGE_LEN) == 0);
    CHECK(memcmp(brood_command_err(command).data, text, LARGE_LEN) == 0);
    CHECK_EQ(brood_command_out(command).lost, 0);
    brood_command_free(command);
    free(text);
}

TEST(who_does_not_read_its_input_is_no_error_and_no_signal)
{
    char *text = large_text();
    const brood_command_options options = {
        .in = {.kind = BROOD_BYTES, .data = text, .len = LARGE_LEN}};

    CHECK_EQ(brood_call(BROOD_ARGV("true"), &options, NULL), 0);
    CHECK_EQ(brood_call(BROOD_SHELL("exec <&-; exit 3"), &options, NULL), 3);
    free(text);
}

TEST(a_signal_of_a_broken_pipe_that_was_pending_stays_so)
{
    char *text = large_text();
    const brood_command_options options = {
        .in = {.kind = BROOD_BYTES, .data = text, .len = LARGE_LEN}};
    sigset_t only, pending;

    (void)sigemptyset(&only);
    (void)sigaddset(&only, SIGPIPE);
    CHECK_EQ(sigprocmask(SIG_BLOCK, &only, NULL), 0);
    CHECK_EQ(brood_call(BROOD_ARGV("true"), &options, NULL), 0);
    (void)sigpending(&pending);
    CHECK_EQ(sigismember(&pending, SIGPIPE), 0);
    (void)raise(SIGPIPE);
    CHECK_EQ(brood_call(BROOD_ARGV("true"), &options, NULL), 0);
    (void)sigpending(&pending);
    CHECK_EQ(sigismember(&pending, SIGPIPE), 1);
    free(text);
}

TEST(stderr_may_go_where_stdout_goes_in_the_order_written)
{
    check_output("echo a; echo b >&2; echo c",
                 &(brood_command_options){.err = {.kind = BROOD_MERGE}}, "a\nb\nc\n");
}

TEST(run_captures_both_and_gives_the_command)
{
    brood_command *command = NULL;

    CHECK_EQ(brood_run(&command, BROOD_SHELL("echo out; echo err >&2; exit 4"), NULL), 4);
    CHECK_STR(brood_command_out(command).data, "out\n");
    CHECK_STR(brood_command_err(command).data, "err\n");
    CHECK_EQ(brood_command_outcome(command)->code, 4);
    CHECK_EQ(brood_command_poll(command, NULL), 1);
    brood_command_free(command);
}

static char *temporary(const char *name)
{
    static char path[4096];
    const char *folder = getenv("TMPDIR");

    (void)snprintf(path, sizeof path, "%s/%s", folder == NULL ? "/tmp" : folder, name);
    return path;
}

TEST(files_are_read_written_emptied_and_added_to)
{
    const char *path = temporary("file");
    const brood_stream file = {.kind = BROOD_FILE, .path = path};
    const brood_stream added = {.kind = BROOD_FILE, .path = path, .append = true};
    const mode_t mask = umask(022);
    struct stat status;

    CHECK_EQ(brood_call(BROOD_ARGV("echo", "old"), &(brood_command_options){.out = file}, NULL), 0);
    CHECK_EQ(brood_call(BROOD_ARGV("echo", "1"), &(brood_command_options){.out = file}, NULL), 0);
    CHECK_EQ(brood_call(BROOD_ARGV("echo", "2"), &(brood_command_options){.out = added}, NULL), 0);
    check_output("cat", &(brood_command_options){.in = file}, "1\n2\n");
    CHECK_EQ(stat(path, &status), 0);
    CHECK_EQ(status.st_mode & 0777, 0644);
    (void)umask(mask);
    (void)unlink(path);
    CHECK_ERR(brood_call(BROOD_ARGV("cat"), &(brood_command_options){.in = file}, NULL), -ENOENT);
    CHECK(strstr(brood_command_start_error(), "for stdin: ") != NULL);
}

TEST(a_descriptor_of_mine_serves_and_stays_mine)
{
    int ends[2];
    char text[8] = "";

    CHECK_EQ(pipe2(ends, O_CLOEXEC), 0);
    CHECK_EQ(brood_call(BROOD_ARGV("echo", "hi"),
                        &(brood_command_options){.out = {.kind = BROOD_FD, .fd = ends[1]}}, NULL),
             0);
    CHECK_EQ(read(ends[0], text, sizeof text), 3);
    CHECK_EQ(fcntl(ends[1], F_GETFD), FD_CLOEXEC);
    (void)close(ends[0]);
    (void)close(ends[1]);
}

TEST(a_closed_standard_stream_of_mine_becomes_the_null_device)
{
    int saved = dup(0);

    (void)close(0);
    check_output("readlink /proc/self/fd/0", NULL, "/dev/null\n");
    CHECK_EQ(dup2(saved, 0), 0);
    (void)close(saved);
}

/* ---- pipes of the caller ---- */

TEST(pipes_are_talked_through_step_by_step)
{
    brood_command *command =
        started(BROOD_ARGV("cat"),
                &(brood_command_options){.in = {.kind = BROOD_PIPE}, .out = {.kind = BROOD_PIPE}});
    int in = CHECK_OK(brood_command_fd(command, 0));
    int out = CHECK_OK(brood_command_fd(command, 1));
    char text[16];

    CHECK_ERR(brood_command_fd(command, 2), -EBADF);
    CHECK_EQ(fcntl(in, F_GETFD), FD_CLOEXEC);
    CHECK_EQ(fcntl(in, F_GETFL) & O_NONBLOCK, 0);
    CHECK_EQ(write(in, "one", 3), 3);
    CHECK_EQ(read(out, text, sizeof text), 3);
    CHECK_EQ(brood_command_poll(command, NULL), 0);
    CHECK_ERR(brood_command_wait(command, 0, NULL), -ETIMEDOUT);
    CHECK_EQ(brood_command_outcome(command)->cause, BROOD_PENDING);
    CHECK_EQ(brood_command_close_in(command), 0);
    CHECK_ERR(brood_command_fd(command, 0), -EBADF);
    CHECK_ERR(brood_command_close_in(command), -EBADF);
    CHECK_EQ(read(out, text, sizeof text), 0);
    CHECK_EQ(waited(command).verdict, 0);
    brood_command_free(command);
}

TEST(communicate_writes_closes_and_reads)
{
    char *text = large_text();
    brood_command *command = started(
        BROOD_ARGV("cat"), &(brood_command_options){.in = {.kind = BROOD_PIPE}, .out = CAPTURED});
    brood_outcome outcome;

    CHECK_OK(brood_command_communicate(command, text, LARGE_LEN, TEST_PATIENCE_MS, &outcome));
    CHECK_EQ(outcome.verdict, 0);
    CHECK_EQ(brood_command_out(command).len, LARGE_LEN);
    CHECK(memcmp(brood_command_out(command).data, text, LARGE_LEN) == 0);
    brood_command_free(command);
    free(text);
}

TEST(communicate_goes_on_where_it_was)
{
    char *text = large_text();
    brood_command *command =
        started(BROOD_ARGV("cat"), &(brood_command_options){.in = {.kind = BROOD_PIPE},
                                                            .out = {.kind = BROOD_CAPTURE}});
    unsigned late = 0;
    int r;

    while ((r = brood_command_communicate(command, text, LARGE_LEN, 0, NULL)) == -ETIMEDOUT)
        late++;
    CHECK_EQ(r, 0);
    CHECK(late > 1);
    CHECK_EQ(brood_command_out(command).len, LARGE_LEN);
    CHECK(memcmp(brood_command_out(command).data, text, LARGE_LEN) == 0);
    CHECK_EQ(brood_command_communicate(command, text, LARGE_LEN, 0, NULL), 0);
    brood_command_free(command);
    free(text);
}

TEST(communicate_needs_a_pipe_for_bytes_only)
{
    brood_command *command = started(BROOD_ARGV("true"), NULL);

    CHECK_ERR(brood_command_communicate(command, "x", 1, TEST_PATIENCE_MS, NULL), -EINVAL);
    CHECK_OK(brood_command_communicate(command, NULL, 0, TEST_PATIENCE_MS, NULL));
    brood_command_free(command);
}

/* ---- what is kept ---- */

TEST(what_is_kept_is_bounded_and_the_rest_is_counted)
{
    const brood_command_options head = {.out = {.kind = BROOD_CAPTURE, .max = 5}};
    const brood_command_options tail = {
        .out = {.kind = BROOD_CAPTURE, .max = 5, .keep = BROOD_KEEP_TAIL}};
    const brood_command_options both = {
        .out = {.kind = BROOD_CAPTURE, .max = 5, .keep = BROOD_KEEP_BOTH}};
    const brood_command_options none = {.out = {.kind = BROOD_CAPTURE, .max = BROOD_KEEP_NOTHING}};
    const brood_command_options *const options[] = {&head, &tail, &both, &none};
    const char *const kept[] = {"01234", "56789", "01289", ""};
    const uint64_t heads[] = {5, 0, 3, 0};

    for (unsigned i = 0; i < 4; i++) {
        brood_command *command =
            started(BROOD_SHELL("printf 01; printf 2345678; printf 9"), options[i]);
        brood_bytes bytes;

        CHECK_EQ(waited(command).verdict, 0);
        bytes = brood_command_out(command);
        CHECK_STR(bytes.data, kept[i]);
        CHECK_EQ(bytes.len, strlen(kept[i]));
        CHECK_EQ(bytes.lost, 10 - strlen(kept[i]));
        CHECK_EQ(bytes.head_len, heads[i]);
        brood_command_free(command);
    }
}

TEST(output_that_did_not_fit_is_an_error_of_check_output)
{
    char *text = NULL;

    CHECK_ERR(brood_check_output(BROOD_ARGV("echo", "0123456789"),
                                 &(brood_command_options){.out = {.kind = BROOD_CAPTURE, .max = 4}},
                                 &text, NULL),
              -EMSGSIZE);
    CHECK_STR(text, "0123");
    free(text);
}

static int note_lines(void *arg, int fd, const char *data, size_t len)
{
    char *noted = arg;

    (void)snprintf(noted + strlen(noted), 200 - strlen(noted), "%d:%.*s|", fd, (int)len, data);
    return 0;
}

TEST(lines_are_told_whole)
{
    char noted[200] = "";
    const brood_stream lines = {
        .kind = BROOD_CAPTURE, .lines = true, .on_data = note_lines, .arg = noted};

    CHECK_EQ(brood_call(BROOD_SHELL("printf 'a\\n\\nb'; printf 'c\\nd'"),
                        &(brood_command_options){.out = lines}, NULL),
             0);
    CHECK_STR(noted, "1:a\n|1:\n|1:bc\n|1:d|");
}

struct sizes {
    size_t largest, sum;
    unsigned count;
};

static int measure(void *arg, int fd, const char *data, size_t len)
{
    struct sizes *sizes = arg;

    (void)fd;
    (void)data;
    sizes->largest = len > sizes->largest ? len : sizes->largest;
    sizes->sum += len;
    sizes->count++;
    return 0;
}

TEST(a_line_of_three_mebibytes_is_cut)
{
    struct sizes sizes = {0};
    const brood_stream lines = {.kind = BROOD_CAPTURE,
                                .max = BROOD_KEEP_NOTHING,
                                .lines = true,
                                .on_data = measure,
                                .arg = &sizes};

    CHECK_EQ(brood_call(BROOD_SHELL("head -c 3145728 /dev/zero; echo"),
                        &(brood_command_options){.out = lines}, NULL),
             0);
    CHECK_EQ(sizes.largest, 1 << 20);
    CHECK_EQ(sizes.sum, (3 << 20) + 1);
    CHECK_EQ(sizes.count, 4);
}

static int refuse(void *arg, int fd, const char *data, size_t len)
{
    (void)fd;
    (void)data;
    (void)len;
    (*(unsigned *)arg)++;
    return 1;
}

TEST(a_callback_that_refuses_stops_the_command)
{
    unsigned calls = 0;
    brood_outcome outcome;
    const brood_stream refused = {.kind = BROOD_CAPTURE, .on_data = refuse, .arg = &calls};

    CHECK_ERR(brood_call(BROOD_ARGV("yes"), &(brood_command_options){.out = refused}, &outcome),
              BROOD_ECANCELLED);
    CHECK_EQ(outcome.cause, BROOD_CANCELLED);
    CHECK_EQ(calls, 1);
    CHECK_ERR(brood_call(BROOD_ARGV("echo"), &(brood_command_options){.out = refused}, NULL),
              BROOD_ECANCELLED);
}

TEST(an_event_loop_learns_of_everything_from_one_descriptor)
{
    brood_command *command = started(
        BROOD_SHELL("cat; echo done"),
        &(brood_command_options){.in = BROOD_TEXT("some\n"), .out = {.kind = BROOD_CAPTURE}});
    struct pollfd waited_for = {.fd = CHECK_OK(brood_command_poll_fd(command)), .events = POLLIN};
    int r = -ETIMEDOUT;

    while (r == -ETIMEDOUT) {
        CHECK_EQ(poll(&waited_for, 1, (int)TEST_PATIENCE_MS), 1);
        r = brood_command_wait(command, 0, NULL);
    }
    CHECK_EQ(r, 0);
    CHECK_EQ(poll(&waited_for, 1, 0), 1);
    CHECK_EQ(brood_command_poll_fd(command), waited_for.fd);
    CHECK_STR(brood_command_out(command).data, "some\ndone\n");
    brood_command_free(command);
}

/* ---- pipelines ---- */

TEST(a_pipeline_hands_on_what_each_writes)
{
    const char *const *const argvs[] = {BROOD_ARGV("cat"), BROOD_ARGV("sort", "-r"),
                                        BROOD_ARGV("head", "-n", "1")};
    const brood_command_options options[] = {
        {.in = BROOD_TEXT("a\nc\nb\n")}, {.nice = 0}, {.out = {.kind = BROOD_CAPTURE}}};
    brood_command *commands[3];
    brood_outcome outcomes[3];

    CHECK_OK(brood_pipeline_start(commands, 3, argvs, options));
    CHECK_OK(brood_pipeline_wait(commands, 3, TEST_PATIENCE_MS, outcomes));
    CHECK_STR(brood_command_out(commands[2]).data, "c\n");
    for (unsigned i = 0; i < 3; i++) {
        CHECK_EQ(outcomes[i].verdict, 0);
        brood_command_free(commands[i]);
    }
}

TEST(who_writes_to_an_end_that_is_gone_ends_by_sigpipe)
{
    const char *const *const argvs[] = {BROOD_ARGV("yes"), BROOD_ARGV("true")};
    brood_command *commands[2];
    brood_outcome outcomes[2];

    CHECK_OK(brood_pipeline_start(commands, 2, argvs, NULL));
    CHECK_OK(brood_pipeline_wait(commands, 2, TEST_PATIENCE_MS, outcomes));
    CHECK_EQ(outcomes[0].signal, SIGPIPE);
    CHECK_EQ(outcomes[1].verdict, 0);
    brood_command_free(commands[0]);
    brood_command_free(commands[1]);
}

TEST(a_pipeline_that_cannot_be_started_leaves_none_of_its_commands)
{
    const char *const *const argvs[] = {BROOD_ARGV("yes"), BROOD_ARGV("/no/program")};
    brood_command *commands[2] = {NULL, NULL};

    CHECK_ERR(brood_pipeline_start(commands, 2, argvs, NULL), -ENOENT);
    CHECK(commands[0] == NULL && commands[1] == NULL);
    CHECK_ERR(brood_pipeline_start(commands, 0, argvs, NULL), -EINVAL);
    CHECK_ERR(
        brood_pipeline_start(commands, 2, argvs,
                             (brood_command_options[]){{.out = {.kind = BROOD_NULL}}, {.nice = 0}}),
        -EINVAL);
}
