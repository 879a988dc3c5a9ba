/* SPDX-License-Identifier: MIT */
/*
 * A sweep that cannot fail proves nothing: each must find the mistake made for it, and must find
 * nothing in the same scenario without the mistake (programs/misbehave_sweep.c).
 */
#include "harness/report.h"
#include "harness/sweep.h"
#include "harness/test.h"

#include <stdlib.h>
#include <string.h>

#ifdef BROOD_FAULTS
#define NEEDS_FAULTS() ((void)0)
#else
#define NEEDS_FAULTS() SKIP("built without -Dfaults=true")
#endif

static void must_fail(const char *name, const char *reason)
{
    NEEDS_FAULTS();
    report_must_fail("misbehave_sweep", name, reason);
}

static void must_pass(const char *name, const char *note)
{
    static struct report report;

    NEEDS_FAULTS();
    report_of("misbehave_sweep", name, &report);
    if (report.exit_code != 0 || !report_has(&report, note))
        FAIL("\"%s\" expected, status %d:\n%s", note, report.exit_code, report.text);
}

TEST(correct_code_survives_all_faults)
{
    must_pass("faults_find_nothing", "sweep of faults: 3 of 3 points tried, 3 reached");
}

TEST(a_leak_after_a_fault_is_found)
{
    must_fail("faults_find_a_leak", "left behind: descriptor");
    must_fail("faults_find_a_leak", "with a failure of eventfd in the caller");
}

TEST(an_ignored_error_is_found)
{
    must_fail("faults_find_an_ignored_error", "with a failure of write in the caller");
}

TEST(a_crash_after_a_fault_is_found)
{
    must_fail("faults_find_a_crash", "with a failure of malloc in the caller");
}

TEST(a_hang_after_a_fault_is_found)
{
    must_fail("faults_find_a_hang", "still running after 300 ms");
}

TEST(a_program_that_is_executed_anew_follows_the_plan)
{
    must_pass("faults_follow_into_a_new_program", "1 of 1 points tried, 1 reached");
    must_pass("kills_follow_into_a_new_program", "1 of 1 points tried, 1 reached");
}

TEST(correct_code_survives_all_kills)
{
    must_pass("kills_find_nothing", "sweep of kills: 2 of 2 points tried, 2 reached");
}

TEST(a_missing_repair_is_found)
{
    must_fail("kills_find_a_missing_repair", "with a kill in place of between in the worker");
}

TEST(a_child_that_dies_with_its_parent_is_no_leak)
{
    must_pass("caller_dies_and_all_with_it", "2 of 2 points tried, 2 reached");
}

TEST(a_child_that_outlives_its_parent_is_found)
{
    must_fail("caller_dies_and_leaves_a_child", "left behind: process");
}

TEST(the_observer_is_asked_after_each_run)
{
    must_fail("observer_is_asked", "the observer saw it");
}

TEST(the_environment_chooses_the_number_of_points)
{
    CHECK_OK(unsetenv("BROOD_SWEEP"));
    CHECK_EQ(sweep_share(100, 30), 30);
    CHECK_EQ(sweep_share(10, 30), 10);
    CHECK_OK(setenv("BROOD_SWEEP", "50", 1));
    CHECK_EQ(sweep_share(100, 30), 50);
    CHECK_OK(setenv("BROOD_SWEEP", "all", 1));
    CHECK_EQ(sweep_share(100, 30), 100);
}
