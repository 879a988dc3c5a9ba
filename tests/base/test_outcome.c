/* SPDX-License-Identifier: MIT */
/* An outcome as text: what people read in their logs when something died. */
#include "harness/test.h"

#include "base/signal_name.h"

#include <brood/base.h>
#include <errno.h>
#include <limits.h>
#include <locale.h>
#include <signal.h>
#include <string.h>

static const char *text_of(brood_outcome outcome)
{
    static char buffer[256];

    return brood_outcome_text(&outcome, buffer, sizeof buffer);
}

static const char *time_of(int64_t us)
{
    return text_of((brood_outcome){.cause = BROOD_RETURNED, .wall_us = us});
}

static const char *peak_of(uint64_t bytes)
{
    return text_of((brood_outcome){.cause = BROOD_RETURNED, .peak_rss = bytes});
}

TEST(every_cause_has_its_words)
{
    CHECK_STR(text_of((brood_outcome){0}), "pending");
    CHECK_STR(text_of((brood_outcome){.cause = BROOD_RETURNED, .code = -22}),
              "returned -22 (Invalid argument)");
    CHECK_STR(
        text_of((brood_outcome){.cause = BROOD_RETURNED, .wall_us = 1000, .peak_rss = 1153435}),
        "returned 0 after 0.001 s, peak 1.1 MiB");
    CHECK_STR(text_of((brood_outcome){.cause = BROOD_EXITED, .code = 3}), "exited with 3");
    CHECK_STR(
        text_of((brood_outcome){
            .cause = BROOD_SIGNALLED, .signal = SIGSEGV, .wall_us = 310000, .peak_rss = 12 << 20}),
        "killed by SIGSEGV after 0.31 s, peak 12 MiB");
    CHECK_STR(text_of((brood_outcome){.cause = BROOD_TIMED_OUT, .wall_us = 10000000}),
              "stopped after 10.0 s: over its time limit");
    CHECK_STR(text_of((brood_outcome){.cause = BROOD_OUT_OF_MEMORY, .peak_rss = 1 << 30}),
              "stopped: over its memory limit, peak 1.0 GiB");
    CHECK_STR(text_of((brood_outcome){.cause = BROOD_CANCELLED}), "cancelled before it started");
    CHECK_STR(text_of((brood_outcome){.cause = BROOD_CANCELLED, .attempts = 1, .wall_us = 5000}),
              "cancelled after 0.005 s");
    CHECK_STR(text_of((brood_outcome){.cause = BROOD_LOST}), "lost: how it ended is not known");
    CHECK_STR(text_of((brood_outcome){.cause = BROOD_NOT_STARTED, .code = -ENOMEM}),
              strcmp(brood_strerror(-ENOMEM), "Out of memory") == 0 /* as musl has it */
                  ? "not started: Out of memory"
                  : "not started: Cannot allocate memory");
    CHECK_STR(text_of((brood_outcome){.cause = BROOD_NOT_STARTED, .code = BROOD_ECLOSED}),
              "not started: closed: it takes no more work");
}

/* What libc says of these numbers is about something else. */
TEST(errors_that_brood_means_otherwise_have_texts_of_its_own)
{
    CHECK_STR(brood_strerror(-ETIMEDOUT), "timed out: the time to wait is over");
    CHECK_STR(brood_strerror(-EMSGSIZE),
              "wrong size: the message does not fit, or is not of the size asked for");
    CHECK_STR(brood_strerror(-EDEADLK), "this thread has it already, and would wait for itself");
    CHECK_STR(brood_strerror(-ENOENT), strerror(ENOENT));
    CHECK_STR(brood_strerror(1), "success");
}

TEST(attempts_and_quarantine_are_told)
{
    CHECK_STR(text_of((brood_outcome){.cause = BROOD_SIGNALLED, .signal = SIGABRT, .attempts = 1}),
              "killed by SIGABRT");
    CHECK_STR(text_of((brood_outcome){
                  .cause = BROOD_SIGNALLED, .signal = SIGABRT, .attempts = 3, .quarantined = true}),
              "killed by SIGABRT, 3 attempts, quarantined");
}

TEST(times_keep_the_digits_that_count)
{
    CHECK_STR(time_of(-5), "returned 0");
    CHECK_STR(time_of(7), "returned 0 after 7 us");
    CHECK_STR(time_of(999), "returned 0 after 999 us");
    CHECK_STR(time_of(99499), "returned 0 after 0.099 s");
    CHECK_STR(time_of(99500), "returned 0 after 0.10 s");
    CHECK_STR(time_of(995000), "returned 0 after 1.00 s");
    CHECK_STR(time_of(1410000), "returned 0 after 1.41 s");
    CHECK_STR(time_of(9994999), "returned 0 after 9.99 s");
    CHECK_STR(time_of(9995000), "returned 0 after 10.0 s");
    CHECK_STR(time_of(999949999), "returned 0 after 999.9 s");
    CHECK_STR(time_of(999950000), "returned 0 after 1000 s");
    CHECK_STR(time_of(INT64_MAX), "returned 0 after 9223372036855 s");
}

TEST(sizes_keep_the_digits_that_count)
{
    CHECK_STR(peak_of(1), "returned 0, peak 1 B");
    CHECK_STR(peak_of(1023), "returned 0, peak 1023 B");
    CHECK_STR(peak_of(1024), "returned 0, peak 1.0 KiB");
    CHECK_STR(peak_of(10 * 1024 - 100), "returned 0, peak 9.9 KiB");
    CHECK_STR(peak_of(13000000), "returned 0, peak 12 MiB");
    CHECK_STR(peak_of(13200000), "returned 0, peak 13 MiB");
    CHECK_STR(peak_of(10 * 1024), "returned 0, peak 10 KiB");
    CHECK_STR(peak_of((1 << 20) - 1), "returned 0, peak 1.0 MiB");
    CHECK_STR(peak_of(UINT64_MAX), "returned 0, peak 16 EiB");
}

TEST(a_text_is_cut_to_any_size)
{
    brood_outcome outcome = {.cause = BROOD_SIGNALLED,
                             .signal = SIGSEGV,
                             .wall_us = 310000,
                             .peak_rss = 12 << 20,
                             .attempts = 3,
                             .quarantined = true};
    const char *whole = text_of(outcome);
    char buffer[128];

    for (size_t size = 0; size <= sizeof buffer; size++) {
        memset(buffer, '#', sizeof buffer);
        CHECK_EQ(brood_outcome_text(&outcome, buffer, size), buffer);
        if (size > 0) {
            CHECK(strlen(buffer) < size);
            CHECK(strncmp(buffer, whole, strlen(buffer)) == 0);
            CHECK(strlen(buffer) == size - 1 || strlen(buffer) == strlen(whole));
        }
        for (size_t i = size; i < sizeof buffer; i++)
            CHECK_EQ(buffer[i], '#');
    }
    CHECK_EQ(brood_outcome_text(&outcome, NULL, 0), NULL);
    CHECK_STR(brood_outcome_text(NULL, buffer, sizeof buffer), "");
}

TEST(signals_without_a_name_have_a_number)
{
    char name[SIGNAL_NAME_SIZE];

    CHECK_STR(brood__signal_name(SIGKILL, name), "SIGKILL");
    CHECK_STR(brood__signal_name(0, name), "signal 0");
    CHECK_STR(brood__signal_name(-1, name), "signal -1");
    CHECK_STR(brood__signal_name(INT_MAX, name), "signal 2147483647");
    CHECK_STR(brood__signal_name(INT_MIN, name), "signal -2147483648");
    CHECK_STR(brood__signal_name(SIGRTMIN, name), "SIGRTMIN+0");
    CHECK_STR(brood__signal_name(SIGRTMAX, name)[0] == 'S' ? "ok" : "not", "ok");
}
