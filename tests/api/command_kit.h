/* SPDX-License-Identifier: MIT */
/* What tests of commands have in common. */
#ifndef BROOD_TESTS_API_COMMAND_KIT_H
#define BROOD_TESTS_API_COMMAND_KIT_H

#include "harness/test.h"

#include <brood.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CAPTURED                                                                                   \
    {                                                                                              \
        .kind = BROOD_CAPTURE                                                                      \
    }

/* What a line for the shell writes, which must exit with 0; for free(). */
static inline char *output_of(const char *line, const brood_command_options *options)
{
    char *text = NULL;
    int r = brood_check_output(BROOD_SHELL(line), options, &text, NULL);

    if (r < 0)
        FAIL("%s: %s: %s", line, brood_strerror(r), brood_command_start_error());
    return text;
}

static inline void check_output(const char *line, const brood_command_options *options,
                                const char *expected)
{
    char *text = output_of(line, options);

    CHECK_STR(text, expected);
    free(text);
}

static inline brood_command *started(const char *const *argv, const brood_command_options *options)
{
    brood_command *command = NULL;

    if (brood_command_start(&command, argv, options) < 0)
        FAIL("%s: %s", argv[0], brood_command_start_error());
    return command;
}

static inline brood_outcome waited(brood_command *command)
{
    brood_outcome outcome = {0};

    CHECK_OK(brood_command_wait(command, TEST_PATIENCE_MS, &outcome));
    return outcome;
}

/* Waits until it has written a line that is WORD, on its captured stdout, without a second call. */
static inline int stop_waiting_at_word(void *arg, int fd, const char *data, size_t len)
{
    const char **word = arg;

    (void)fd;
    if (*word != NULL && len == strlen(*word) + 1 && memcmp(data, *word, len - 1) == 0)
        *word = NULL;
    return 0;
}

#endif
