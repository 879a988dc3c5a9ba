/* SPDX-License-Identifier: MIT */
/*
 * What a command finds where it begins: its environment, folder, descriptors, rights and limits are
 * those of its options, and nothing of the caller's beside. And what is said of a command that
 * could not begin: which step failed, on what, and why.
 */
#include "api/command_kit.h"

#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define ENVIRONMENT(...) ((const char *const[]){__VA_ARGS__, NULL})

static const char *folder(void)
{
    const char *path = getenv("TMPDIR");

    return path == NULL ? "/tmp" : path;
}

/* A file of that text and mode below the test's folder. */
static const char *make_file(const char *name, const char *text, mode_t mode)
{
    static char path[4096];
    int fd;

    (void)snprintf(path, sizeof path, "%s/%s", folder(), name);
    fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    CHECK_OK(fd);
    CHECK_EQ(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    CHECK_EQ(fchmod(fd, mode), 0);
    (void)close(fd);
    return path;
}

/* ---- environment and folder ---- */

TEST(variables_are_set_changed_and_unset)
{
    CHECK_EQ(setenv("BROOD_TEST_A", "old", 1), 0);
    CHECK_EQ(setenv("BROOD_TEST_B", "kept", 1), 0);
    CHECK_EQ(setenv("BROOD_TEST_C", "gone", 1), 0);
    check_output("echo $BROOD_TEST_A $BROOD_TEST_B ${BROOD_TEST_C-none} $BROOD_TEST_D",
                 &(brood_command_options){.env = ENVIRONMENT("BROOD_TEST_A=new", "BROOD_TEST_C",
                                                             "BROOD_TEST_D=1", "BROOD_TEST_D=2")},
                 "new kept none 2\n");
    check_output("echo $A ${HOME-none}",
                 &(brood_command_options){.env_clear = true, .env = ENVIRONMENT("A=b c")},
                 "b c none\n");
}

TEST(an_empty_environment_is_empty)
{
    char *text = NULL;

    CHECK_EQ(brood_check_output(BROOD_ARGV("/usr/bin/env"),
                                &(brood_command_options){.env_clear = true}, &text, NULL),
             0);
    CHECK_STR(text, "");
    free(text);
}

TEST(programs_are_sought_in_the_path_that_the_command_gets)
{
    char variable[4200];
    const char *path = make_file("brood-test-program", "#!/bin/sh\necho found\n", 0700);
    char *text = NULL;

    (void)snprintf(variable, sizeof variable, "PATH=/nowhere::%s:/bin", folder());
    CHECK_ERR(brood_call(BROOD_ARGV("brood-test-program"), NULL, NULL), -ENOENT);
    CHECK(strstr(brood_command_start_error(), "PATH") != NULL);
    CHECK_EQ(brood_check_output(BROOD_ARGV("brood-test-program"),
                                &(brood_command_options){.env = ENVIRONMENT(variable)}, &text,
                                NULL),
             0);
    CHECK_STR(text, "found\n");
    free(text);
    CHECK_EQ(brood_call(BROOD_ARGV("sh", "-c", "exit 5"),
                        &(brood_command_options){.env_clear = true}, NULL),
             5);
    (void)unlink(path);
}

TEST(it_runs_where_it_is_told_and_relative_programs_begin_there)
{
    char *text = NULL;
    const char *path = make_file("tool", "#!/bin/sh\necho tool\n", 0700);

    check_output("pwd -P", &(brood_command_options){.cwd = "/proc"}, "/proc\n");
    CHECK_EQ(brood_check_output(BROOD_ARGV("./tool"), &(brood_command_options){.cwd = folder()},
                                &text, NULL),
             0);
    CHECK_STR(text, "tool\n");
    free(text);
    (void)unlink(path);
}

/* ---- what it inherits ---- */

TEST(it_gets_the_descriptors_that_are_named_and_no_others)
{
    int stray = open("/dev/null", O_RDONLY); /* not close-on-exec, as others open them */
    int given = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
    const brood_pass pass[] = {{given, 3}, {given, 9}, {stray, 4}};

    char *text = NULL;

    /* One is that of the listing itself. */
    CHECK_EQ(brood_check_output(BROOD_ARGV("ls", "/proc/self/fd"), NULL, &text, NULL), 0);
    CHECK_STR(text, "0\n1\n2\n3\n");
    free(text);
    CHECK_EQ(brood_check_output(BROOD_ARGV("ls", "/proc/self/fd"),
                                &(brood_command_options){.pass = pass, .pass_count = 3}, &text,
                                NULL),
             0);
    CHECK_STR(text, "0\n1\n2\n3\n4\n5\n9\n");
    free(text);
    check_output("readlink /proc/$$/fd/3 /proc/$$/fd/4 /proc/$$/fd/9 | sed s,.*/,,",
                 &(brood_command_options){.pass = pass, .pass_count = 3}, "status\nnull\nstatus\n");
    (void)close(stray);
    (void)close(given);
}

TEST(descriptors_may_change_places)
{
    int ends[2];
    const brood_pass *pass;

    CHECK_EQ(pipe2(ends, O_CLOEXEC), 0);
    pass = (const brood_pass[]){{ends[0], ends[1]}, {ends[1], ends[0]}};
    for (int i = 0; i < 2; i++) {
        char *line = NULL;

        CHECK(asprintf(&line, "test -w /dev/fd/%d; echo x >&%d", ends[0], ends[0]) > 0);
        free(output_of(line, &(brood_command_options){.pass = pass, .pass_count = 2}));
        free(line);
    }
    (void)close(ends[0]);
    (void)close(ends[1]);
}

TEST(the_signal_mask_is_empty_and_broken_pipes_kill)
{
    sigset_t all, old;

    (void)sigfillset(&all);
    CHECK_EQ(sigprocmask(SIG_SETMASK, &all, &old), 0);
    (void)signal(SIGPIPE, SIG_IGN);
    (void)signal(SIGCHLD, SIG_IGN);
    (void)signal(SIGHUP, SIG_IGN);
    check_output("grep -E 'Sig(Blk|Ign)' /proc/self/status", NULL,
                 "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000001\n");
    CHECK_EQ(sigprocmask(SIG_SETMASK, &old, NULL), 0);
}

/* ---- who and how ---- */

TEST(mask_priority_and_processors_are_as_told)
{
    unsigned mask = 0027, cpu = 0;
    cpu_set_t set;
    char expected[32];

    CHECK_EQ(sched_getaffinity(0, sizeof set, &set), 0);
    while (!CPU_ISSET(cpu, &set))
        cpu++;
    (void)snprintf(expected, sizeof expected, "0027\n5\n%u\n", cpu);
    check_output(
        "umask; nice; sed -n 's/Cpus_allowed_list:.//p' /proc/self/status",
        &(brood_command_options){
            .umask = &mask, .nice = 5 - getpriority(PRIO_PROCESS, 0), .cpus = &cpu, .cpu_count = 1},
        expected);
}

TEST(limits_are_set)
{
    const brood_limit limits[] = {{RLIMIT_NOFILE, 77, 99}, {RLIMIT_CORE, 0, 0}};

    check_output("ulimit -Sn; ulimit -Hn; ulimit -c",
                 &(brood_command_options){.limits = limits, .limit_count = 2}, "77\n99\n0\n");
}

TEST(it_is_in_my_group_unless_it_has_its_own_or_a_session)
{
    char expected[32];

    (void)snprintf(expected, sizeof expected, "%d\n", (int)getpgrp());
    check_output("cut -d' ' -f5 /proc/$$/stat", NULL, expected);
    check_output("test $(cut -d' ' -f5 /proc/$$/stat) = $$ && echo own",
                 &(brood_command_options){.new_group = true}, "own\n");
    check_output("test $(cut -d' ' -f6 /proc/$$/stat) = $$ && echo own",
                 &(brood_command_options){.new_session = true}, "own\n");
}

TEST(ids_change_where_that_is_allowed)
{
    const unsigned groups[] = {33, 44};
    const brood_ids ids = {.uid = 12, .gid = 34, .groups = groups, .group_count = 2};

    if (geteuid() != 0) {
        CHECK_ERR(brood_call(BROOD_ARGV("true"), &(brood_command_options){.ids = &ids}, NULL),
                  -EPERM);
        SKIP("needs root to change them");
    }
    check_output("id -u; id -g; id -G", &(brood_command_options){.ids = &ids},
                 "12\n34\n34 33 44\n");
}

TEST(no_new_privileges_is_set)
{
    check_output("sed -n 's/NoNewPrivs:.//p' /proc/self/status",
                 &(brood_command_options){.no_new_privs = true}, "1\n");
}

TEST(a_namespace_is_made_or_a_lesser_containment_is_told)
{
    brood_outcome outcome;

    CHECK_EQ(brood_call(BROOD_ARGV("true"),
                        &(brood_command_options){.containment = BROOD_CONTAIN_NAMESPACE}, &outcome),
             0);
    CHECK(outcome.containment == BROOD_CONTAIN_NAMESPACE ||
          outcome.containment == BROOD_CONTAIN_GROUP);
    CHECK_EQ(brood_call(BROOD_ARGV("true"), NULL, &outcome), 0);
    CHECK_EQ(outcome.containment, BROOD_CONTAIN_GROUP);
}

TEST(a_terminal_is_one)
{
    brood_command *command = started(BROOD_SHELL("test -t 0 && test -t 1 && test -t 2 && tty"),
                                     &(brood_command_options){.terminal = true});
    int fd = CHECK_OK(brood_command_fd(command, 0));
    char text[100] = "";
    ssize_t len;

    CHECK_EQ(waited(command).verdict, 0);
    len = read(fd, text, sizeof text - 1);
    CHECK(len > 0 && strncmp(text, "/dev/pts/", 9) == 0);
    CHECK_ERR(brood_command_fd(command, 1), -EBADF);
    CHECK_ERR(brood_command_close_in(command), -EBADF);
    brood_command_free(command);
}

/* ---- what could not begin ---- */

TEST(each_step_that_fails_is_named)
{
    const char *script = make_file("no-program", "echo no first line\n", 0700);
    char path[4096];
    brood_outcome outcome;

    CHECK_ERR(brood_call(BROOD_ARGV("true"), &(brood_command_options){.cwd = "/nowhere"}, &outcome),
              -ENOENT);
    CHECK(strstr(outcome.report, "chdir to '/nowhere'") != NULL);
    CHECK_EQ(outcome.cause, BROOD_NOT_STARTED);
    CHECK_EQ(outcome.code, -ENOENT);
    (void)snprintf(path, sizeof path, "%s", script);
    CHECK_ERR(brood_call(BROOD_ARGV(path), NULL, &outcome), -ENOEXEC);
    CHECK(strstr(outcome.report, "#!/bin/sh") != NULL);
    CHECK_EQ(chmod(path, 0600), 0);
    CHECK_ERR(brood_call(BROOD_ARGV(path), NULL, &outcome), -EACCES);
    CHECK(strstr(outcome.report, path) != NULL);
    CHECK_ERR(brood_call(BROOD_ARGV("/dev"), NULL, &outcome), -EACCES);
    CHECK_ERR(brood_call(BROOD_ARGV("/dev/null/x"), NULL, &outcome), -ENOTDIR);
    CHECK_STR(outcome.report, brood_command_start_error());
    (void)unlink(path);
}

TEST(words_beyond_what_the_kernel_takes_are_told)
{
    enum { WORD_LEN = 1 << 20 };
    char *word = malloc(WORD_LEN + 1);
    brood_command *command = NULL;
    brood_outcome outcome;

    CHECK(word != NULL);
    memset(word, 'x', WORD_LEN);
    word[WORD_LEN] = '\0';
    CHECK_ERR(brood_call(BROOD_ARGV("echo", word), NULL, &outcome), -E2BIG);
    CHECK(strstr(outcome.report, "stdin") != NULL);
    CHECK_ERR(brood_run(&command, BROOD_ARGV("echo", word), NULL), -E2BIG);
    CHECK_EQ(brood_command_outcome(command)->cause, BROOD_NOT_STARTED);
    brood_command_free(command);
    free(word);
}

TEST(words_of_a_mebibyte_in_all_are_handed_on)
{
    enum { WORDS = 100, WORD_LEN = 10000 };
    const char *argv[WORDS + 5] = {"sh", "-c", "echo $# ${#1}", "sh"};
    char *word = malloc(WORD_LEN + 1);
    char *text = NULL;

    CHECK(word != NULL);
    memset(word, 'x', WORD_LEN);
    word[WORD_LEN] = '\0';
    for (unsigned i = 0; i < WORDS; i++)
        argv[4 + i] = word;
    CHECK_EQ(brood_check_output(argv, NULL, &text, NULL), 0);
    CHECK_STR(text, "100 10000\n");
    free(text);
    free(word);
}

TEST(run_gives_a_command_that_the_system_refused)
{
    brood_command *command = NULL;

    CHECK_ERR(brood_run(&command, BROOD_ARGV("/no/program"), NULL), -ENOENT);
    CHECK_EQ(brood_command_outcome(command)->cause, BROOD_NOT_STARTED);
    CHECK(brood_command_outcome(command)->report != NULL);
    CHECK_EQ(brood_command_wait(command, 0, NULL), 0);
    CHECK_EQ(brood_command_poll(command, NULL), 1);
    CHECK_ERR(brood_command_kill(command), -ESRCH);
    CHECK_STR(brood_command_out(command).data, "");
    brood_command_free(command);
    CHECK_ERR(brood_run(&command, NULL, NULL), -EINVAL);
    CHECK(command == NULL);
}

static void refused(const brood_command_options *options, const char *word)
{
    brood_command *command = NULL;

    CHECK_ERR(brood_command_start(&command, BROOD_ARGV("true"), options), -EINVAL);
    CHECK(command == NULL);
    if (strstr(brood_command_start_error(), word) == NULL)
        FAIL("\"%s\" does not name %s", brood_command_start_error(), word);
}

TEST(options_out_of_range_are_refused_by_name)
{
    const unsigned mask = 01000, cpu = 5000;
    const brood_limit limit = {RLIMIT_NOFILE, 2, 1};
    const brood_pass twice[] = {{0, 3}, {1, 3}}, standard = {1, 2};
    const brood_ids ids = {.group_count = 65};
    const brood_ids nobody = {.uid = UINT_MAX}, no_group = {.gid = UINT_MAX};

    refused(&(brood_command_options){.ids = &nobody}, ".ids->uid");
    refused(&(brood_command_options){.ids = &no_group}, ".ids->gid");
    refused(&(brood_command_options){.in = {.kind = BROOD_CAPTURE}}, ".in");
    refused(&(brood_command_options){.out = {.kind = BROOD_BYTES}}, ".out");
    refused(&(brood_command_options){.out = {.kind = BROOD_MERGE}}, ".out");
    refused(&(brood_command_options){.err = {.kind = 99}}, ".err.kind");
    refused(&(brood_command_options){.in = {.reserved = {1}}}, ".in.reserved");
    refused(&(brood_command_options){.in = {.kind = BROOD_BYTES, .len = 1}}, ".in.data");
    refused(&(brood_command_options){.in = {.kind = BROOD_FILE}}, ".in.path");
    refused(&(brood_command_options){.in = {.kind = BROOD_FD, .fd = -1}}, ".in.fd");
    refused(&(brood_command_options){.out = {.kind = BROOD_CAPTURE, .keep = 7}}, ".out.keep");
    refused(&(brood_command_options){.out = {.kind = BROOD_CAPTURE, .lines = true}}, ".out.lines");
    refused(&(brood_command_options){.pass_count = 65}, ".pass_count");
    refused(&(brood_command_options){.pass = twice, .pass_count = 2}, ".pass");
    refused(&(brood_command_options){.pass = &standard, .pass_count = 1}, ".pass[0]");
    refused(&(brood_command_options){.env = ENVIRONMENT("=x")}, ".env[0]");
    refused(&(brood_command_options){.limits = &limit, .limit_count = 1}, ".limits[0]");
    refused(&(brood_command_options){.limit_count = 17}, ".limit_count");
    refused(&(brood_command_options){.cpus = &cpu, .cpu_count = 1}, ".cpus[0]");
    refused(&(brood_command_options){.cpu_count = 1}, ".cpus");
    refused(&(brood_command_options){.ids = &ids}, ".ids");
    refused(&(brood_command_options){.umask = &mask}, ".umask");
    refused(&(brood_command_options){.nice = 41}, ".nice");
    refused(&(brood_command_options){.cgroup_fd = -1}, ".cgroup_fd");
    refused(&(brood_command_options){.containment = 4}, ".containment");
    refused(&(brood_command_options){.stop_signal = 65}, ".stop_signal");
    refused(&(brood_command_options){.cpu_time_ms = -1}, ".cpu_time_ms");
    refused(&(brood_command_options){.reserved = {[7] = 1}}, ".reserved");
    CHECK_ERR(brood_command_start(NULL, BROOD_ARGV("true"), NULL), -EINVAL);
    CHECK_ERR(brood_call(BROOD_ARGV(""), NULL, NULL), -EINVAL);
    CHECK_ERR(brood_call((const char *const[]){NULL}, NULL, NULL), -EINVAL);
    CHECK_ERR(
        brood_call(BROOD_ARGV("cat"), &(brood_command_options){.in = {.kind = BROOD_PIPE}}, NULL),
        -EINVAL);
    CHECK_ERR(brood_call(BROOD_ARGV("cat"), &(brood_command_options){.terminal = true}, NULL),
              -EINVAL);
}

TEST(a_descriptor_that_is_not_open_is_told)
{
    CHECK_ERR(brood_call(BROOD_ARGV("cat"),
                         &(brood_command_options){.in = {.kind = BROOD_FD, .fd = 1999}}, NULL),
              -EBADF);
    CHECK(strstr(brood_command_start_error(), "descriptor") != NULL);
}
