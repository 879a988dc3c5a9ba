/* SPDX-License-Identifier: MIT */
/*
 * The runner must see through every kind of misbehaviour, or a green suite means nothing.
 *
 * programs/misbehave.c has one test for each. It runs here with one name at a time, and its report
 * is read as a person would: the verdict, the reason, and the sum in the last line.
 */
#include "harness/gate.h"
#include "harness/report.h"
#include "harness/test.h"

#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static void must_fail(const char *name, const char *reason)
{
    report_must_fail("misbehave", name, reason);
}

TEST(good_tests_pass_quietly)
{
    struct report report;

    report_of("misbehave", "behaves", &report);
    CHECK_EQ(report.exit_code, 0);
    CHECK(report_has(&report, "\n1 passed, 0 failed, 0 skipped\n"));
    CHECK(!report_has(&report, "output of"));
}

TEST(a_skip_says_why_and_is_no_failure)
{
    struct report report;

    report_of("misbehave", "skips_for_a_reason", &report);
    CHECK(report_has(&report, "because of the weather"));
    CHECK(report_has(&report, "\n0 passed, 0 failed, 1 skipped\n"));
}

TEST(output_is_shown_on_failure)
{
    struct report report;

    report_of("misbehave", "fails_a_check", &report);
    CHECK_EQ(report.exit_code, 1);
    CHECK(report_has(&report, "    | output of a test that fails\n"));
    must_fail("fails_a_check", "2 + 2 == 5: 4 and 5");
}

TEST(a_leaked_descriptor_is_a_failure)
{
    must_fail("leaks_a_descriptor", "left behind: descriptor 3 (/dev/null)");
}

TEST(a_descriptor_that_became_another_is_a_failure)
{
    must_fail("swaps_a_descriptor", "left behind: descriptor 0 (/dev/zero)");
}

TEST(a_leaked_mapping_is_a_failure)
{
    must_fail("leaks_a_mapping", "left behind: 1 mappings of memory objects");
}

TEST(a_leaked_thread_is_a_failure)
{
    must_fail("leaks_a_thread", "left behind: 1 threads");
}

TEST(leaked_memory_is_a_failure)
{
    if (!TEST_ASAN)
        SKIP("only the address sanitizer sees it");
    must_fail("leaks_memory", "1000 byte(s) leaked");
}

TEST(a_leaked_child_is_a_failure)
{
    must_fail("leaks_a_child", "left behind: running child");
}

TEST(a_zombie_is_a_failure)
{
    must_fail("leaks_a_zombie", "left behind: zombie");
}

TEST(a_daemon_is_found_and_killed)
{
    must_fail("leaves_a_daemon", "left behind: process");
}

TEST(an_orphan_about_to_die_is_no_failure)
{
    struct report report;

    report_of("misbehave", "orphan_that_dies", &report);
    CHECK(report_has(&report, "\n1 passed, 0 failed, 0 skipped\n"));
}

TEST(a_forgotten_file_is_a_failure)
{
    must_fail("leaves_a_file", "left behind in $TMPDIR: forgotten");
}

TEST(forgotten_shared_memory_is_a_failure)
{
    struct report report;

    report_of("misbehave", "leaves_shared_memory", &report);
    if (report_has(&report, "skip leaves_shared_memory"))
        SKIP("no /dev/shm of our own, so nothing in it can be blamed on a test");
    must_fail("leaves_shared_memory", "left behind in /dev/shm: forgotten");
}

TEST(hanging_is_a_failure)
{
    must_fail("hangs", "still running after");
}

TEST(a_stopped_child_is_found_and_killed)
{
    must_fail("stopped_child", "still running after");
}

TEST(a_crash_is_a_failure)
{
    must_fail("crashes", "killed by signal 9");
}

TEST(exit_inside_a_test_is_a_failure)
{
    must_fail("exits", "ended by exit(0) inside the test");
}

TEST(a_check_in_a_child_fails_the_test)
{
    must_fail("fails_in_a_child", "1 == 2");
}

TEST(a_check_in_a_thread_fails_the_test)
{
    must_fail("fails_in_a_thread", "0 (not an errno), not -1");
}

TEST(a_child_that_returns_fails_the_test)
{
    must_fail("child_returns", "a forked child returned from the test function");
}

TEST(a_child_must_not_skip)
{
    must_fail("child_skips", "SKIP in a child");
}

TEST(the_same_seed_gives_the_same_numbers)
{
    struct report once;
    struct report again;
    const char *drawn;

    report_of("misbehave", "draws_a_number", &once);
    report_of_seed("misbehave", "draws_a_number", once.seed, &again);
    drawn = strstr(once.text, "drew ");
    CHECK(drawn != NULL);
    CHECK(strncmp(drawn, strstr(again.text, "drew "), strcspn(drawn, "\n")) == 0);
}

TEST(a_gate_waits_for_another_process)
{
    struct gate *there = gate_new();
    struct gate *back = gate_new();
    pid_t pid = CHECK_OK(fork());

    if (pid == 0) {
        gate_wait(there);
        for (int i = 0; i < 3; i++)
            gate_count(back);
        _exit(0);
    }
    CHECK(!gate_is_open(back));
    gate_open(there);
    gate_wait_count(back, 3);
    CHECK_EQ(waitpid(pid, NULL, 0), pid);
    gate_free(there);
    gate_free(back);
}

TEST(a_closed_gate_ends_the_wait_in_time)
{
    struct report report;

    report_of("misbehave", "gate_stays_closed", &report);
    CHECK_EQ(report.exit_code, 0);
}
