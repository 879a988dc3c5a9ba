/* SPDX-License-Identifier: MIT */
/*
 * Whichever call of ours fails on the way of a command: the caller is told, nothing is left behind,
 * and where the command did run, what is said of it is true.
 */
#include "harness/sweep.h"
#include "harness/test.h"

#include <brood/pipeline.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static bool is_of_the_system(int r)
{
    static const int errors[] = {-EMFILE, -ENOMEM, -EAGAIN, -ENOSYS, -EBADF,
                                 -EIO,    -EPERM,  -EINVAL, -EACCES, BROOD_ELOST};

    for (unsigned i = 0; i < sizeof errors / sizeof errors[0]; i++)
        if (errors[i] == r)
            return true;
    return false;
}

static void check_told(int r)
{
    if (!is_of_the_system(r))
        FAIL("an unexpected error: %s", brood_strerror(r));
}

static void capture_all(void *context)
{
    char text[100000];
    brood_command *command = NULL;
    const brood_command_options options = {
        .in = {.kind = BROOD_BYTES, .data = text, .len = sizeof text},
        .env = (const char *const[]){"BROOD_TEST_A=1", NULL},
        .timeout_ms = 60000};
    int r;

    (void)context;
    memset(text, 'x', sizeof text);
    r = brood_run(&command, BROOD_ARGV("cat"), &options);
    if (r < 0) {
        check_told(r);
    } else {
        brood_bytes bytes = brood_command_out(command);

        CHECK_EQ(r, 0);
        CHECK(bytes.len + bytes.lost <= sizeof text);
        CHECK(memcmp(bytes.data, text, bytes.len) == 0);
    }
    brood_command_free(command);
}

TEST_LIMIT(a_failing_call_is_told_and_leaves_nothing, 300)
{
    sweep_faults(capture_all, NULL, &(struct sweep_options){.sample = 200});
}

static void stop_and_free(void *context)
{
    brood_command *command = NULL;
    int r = brood_command_start(&command, BROOD_ARGV("sleep", "1000"),
                                &(brood_command_options){.in = {.kind = BROOD_PIPE},
                                                         .out = {.kind = BROOD_CAPTURE},
                                                         .stop_grace_ms = 1});

    (void)context;
    if (r < 0) {
        check_told(r);
        CHECK(brood_command_start_error()[0] != '\0');
        return;
    }
    (void)brood_command_poll_fd(command);
    r = brood_command_wait(command, 1, NULL);
    CHECK(r == -ETIMEDOUT || is_of_the_system(r));
    (void)brood_command_stop(command);
    brood_command_free(command);
}

TEST_LIMIT(a_failing_call_does_not_keep_a_command_from_its_end, 300)
{
    sweep_faults(stop_and_free, NULL, &(struct sweep_options){.sample = 200});
}

static void make_pipeline(void *context)
{
    const char *const *const argvs[] = {BROOD_ARGV("echo", "x"), BROOD_ARGV("cat")};
    brood_command *commands[2] = {NULL, NULL};
    int r = brood_pipeline_start(commands, 2, argvs, NULL);

    (void)context;
    if (r == 0)
        r = brood_pipeline_wait(commands, 2, TEST_PATIENCE_MS, NULL);
    if (r < 0)
        check_told(r);
    brood_command_free(commands[0]);
    brood_command_free(commands[1]);
}

TEST_LIMIT(a_pipeline_that_fails_half_way_leaves_nothing, 300)
{
    sweep_faults(make_pipeline, NULL, &(struct sweep_options){.sample = 200});
}

static void end_somewhere(void *context)
{
    brood_command *command = NULL;

    (void)context;
    if (brood_command_start(&command, BROOD_ARGV("sh", "-c", "setsid sleep 1000 & sleep 1000"),
                            &(brood_command_options){.in = {.kind = BROOD_PIPE},
                                                     .out = {.kind = BROOD_CAPTURE}}) == 0) {
        CHECK_ERR(brood_command_wait(command, 1, NULL), -ETIMEDOUT);
        brood_command_free(command);
    }
}

TEST_LIMIT(a_caller_that_is_killed_anywhere_leaves_nothing, 300)
{
    sweep_kills(end_somewhere, NULL,
                &(struct sweep_options){.sample = 200, .roles = 1 << ROLE_CALLER});
}
