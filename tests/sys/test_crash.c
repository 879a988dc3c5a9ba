/* SPDX-License-Identifier: MIT */
/*
 * Crash reports: a process dies as it would have died without them, and the parent can say
 * where. The record is written by a process that may have gone mad, so the report is also made
 * of random bytes and of damaged records, and must survive.
 *
 * Each scenario forks a child that asks for reports and then crashes in a way of its own. Its
 * functions have names that the report must contain.
 */
#include "harness/test.h"

#include "base/clock.h"
#include "base/memory.h"
#include "sys/crash.h"
#include "sys/kernel.h"
#include "sys/linux/crash_record.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#if defined(__clang__)
#define APART __attribute__((noinline, no_sanitize("undefined")))
#else
#define APART __attribute__((noinline, noclone, no_sanitize("undefined")))
#endif

static struct crash_record *record;
static char *report;

/* The sanitizers' own handlers make room, as if there were none. */
static void drop_handlers(void)
{
    const int signals[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGSYS, SIGTRAP};
    const struct rlimit none = {0, 0};

    for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++)
        (void)signal(signals[i], SIG_DFL);
    (void)setrlimit(RLIMIT_CORE, &none);
}

static void record_make(void)
{
    void *memory;

    CHECK_OK(brood__memory_map_family(&memory, CRASH_RECORD_SIZE));
    record = memory;
}

static void record_drop(void)
{
    brood__free(report);
    brood__memory_unmap(record, CRASH_RECORD_SIZE);
}

#ifndef __GLIBC__
/*
 * A C library without unwind tables is left by searching the stack, which may find a call that
 * returned long ago: here those of the preparations. None of them is left.
 */
APART static void forget_calls(void)
{
    volatile char room[8192];

    for (size_t i = 0; i < sizeof room; i++)
        room[i] = 0;
}
#else
static void forget_calls(void)
{
}
#endif

/* Forks a child that runs FUNCTION with crashes being caught; its status. */
static int run_child(void (*function)(void))
{
    int status;
    pid_t pid = CHECK_OK(fork());

    if (pid == 0) {
        drop_handlers();
        if (brood__crash_catch(record) < 0)
            _exit(99);
        forget_calls();
        function();
        _exit(98);
    }
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    return status;
}

/* The same; it must die by SIGNO and leave a report. */
static void crash(void (*function)(void), int signo)
{
    int status, seen = 0;

    record_make();
    status = run_child(function);
    CHECK(WIFSIGNALED(status));
    CHECK_EQ(WTERMSIG(status), signo);
    CHECK(brood__crash_seen(record, &seen, NULL));
    CHECK_EQ(seen, signo);
    report = brood__crash_report(record);
    CHECK(report != NULL);
    puts(report);
}

static void check_contains(const char *part)
{
    if (strstr(report, part) == NULL)
        FAIL("\"%s\" is not in the report:\n%s", part, report);
}

/* FIRST is in the trace, and SECOND called it, directly or not. */
static void check_called_by(const char *first, const char *second)
{
    const char *at = strstr(report, first);

    check_contains(first);
    if (strstr(at, second) == NULL)
        FAIL("\"%s\" does not follow \"%s\" in the report:\n%s", second, first, report);
}

/* ---- faults ---- */

static volatile int depth;

APART static void touch(volatile int *address)
{
    *address = 7;
    depth++;
}

APART static void parse_header(void)
{
    volatile int *nowhere = (volatile int *)(uintptr_t)(depth * 0 + 16);

    touch(nowhere);
    depth++;
}

APART static void parse_file(void)
{
    parse_header();
    depth++;
}

TEST(a_fault_is_told_with_its_address_and_its_callers)
{
    crash(parse_file, SIGSEGV);
    check_contains("SIGSEGV at address 0x10 (address not mapped)\n");
    check_contains("#0 ");
    check_called_by("touch+0x", "parse_header+0x");
    check_called_by("parse_header+0x", "parse_file+0x");
    check_called_by("parse_file+0x", "run_child+0x");
    check_called_by("run_child+0x", "main+0x");
    CHECK(strstr(report, "refused") == NULL);
    record_drop();
}

APART static void run_out_of_memory(void)
{
    errno = ENOMEM;
    touch(NULL);
    depth++;
}

TEST(a_refused_allocation_before_the_crash_is_told)
{
    int error = 0;

    crash(run_out_of_memory, SIGSEGV);
    CHECK(brood__crash_seen(record, NULL, &error));
    CHECK_EQ(error, ENOMEM);
    check_contains("an allocation had been refused just before (errno ENOMEM)\n");
    record_drop();
}

APART static void give_up(void)
{
    abort();
}

TEST(abort_ends_as_abort)
{
    crash(give_up, SIGABRT);
    check_contains("SIGABRT raised by the process itself\n");
    check_contains("give_up+0x");
    record_drop();
}

APART static int recurse(volatile char *above)
{
    volatile char room[500];

    room[0] = above[0];
    return depth < 0 ? 0 : recurse(room) + room[0];
}

static void overflow(void)
{
    volatile char room[1] = {0};

    depth = recurse(room);
}

TEST(a_stack_overflow_is_caught_and_named)
{
    crash(overflow, SIGSEGV);
    check_contains("(stack overflow)");
    check_called_by("recurse+0x", "recurse+0x");
    check_contains("  ...\n");
    record_drop();
}

static void (*volatile no_function)(void);

APART static void call_nothing(void)
{
    no_function();
    depth++;
}

TEST(a_call_of_null_shows_who_called)
{
    crash(call_nothing, SIGSEGV);
    check_contains("SIGSEGV at address 0x0 (address not mapped)\n");
    check_contains("#0  0x0000000000000000  in no file\n");
    check_contains("#1 ");
    check_contains("call_nothing+0x");
    record_drop();
}

APART static void trap(void)
{
    (void)raise(SIGTRAP);
    depth++;
}

APART static void bad_call(void)
{
    (void)raise(SIGSYS);
    depth++;
}

TEST(signals_that_do_not_come_again_by_themselves_end_the_process_too)
{
    crash(trap, SIGTRAP);
    check_contains("trap+0x");
    record_drop();
    crash(bad_call, SIGSYS);
    check_contains("bad_call+0x");
    record_drop();
}

#if defined(__x86_64__)
APART static void divide(void)
{
    volatile int zero = 0, number = 100;

    depth = number / zero;
}

TEST(a_division_by_zero_is_named)
{
    crash(divide, SIGFPE);
    check_contains("SIGFPE (integer divided by zero)\n");
    check_contains("divide+0x");
    record_drop();
}

APART static void wild_address(void)
{
    touch((volatile int *)(uintptr_t)0xDEAD00000000BEEF);
}

TEST(an_address_that_is_not_one_is_told)
{
    crash(wild_address, SIGSEGV);
    check_contains("SIGSEGV at an address that is not one\n");
    check_contains("touch+0x");
    record_drop();
}
#endif

APART static void on_signal(int signo)
{
    (void)signo;
    parse_header();
    depth++;
}

APART static void interrupted(void)
{
    (void)signal(SIGUSR1, on_signal);
    (void)raise(SIGUSR1);
    depth++;
}

TEST(the_trace_goes_through_a_signal_handler)
{
    crash(interrupted, SIGSEGV);
    check_called_by("parse_header+0x", "on_signal+0x");
#if defined(__GLIBC__) /* musl says nothing about the frame of a signal */
    check_called_by("on_signal+0x", "interrupted+0x");
#endif
    record_drop();
}

static void *crash_in_thread(void *unused)
{
    parse_file();
    return unused;
}

static void start_thread_that_crashes(void)
{
    pthread_t thread;

    if (pthread_create(&thread, NULL, crash_in_thread, NULL) == 0)
        (void)pthread_join(thread, NULL);
}

TEST(a_crash_of_any_thread_is_told)
{
    crash(start_thread_that_crashes, SIGSEGV);
    check_called_by("parse_file+0x", "crash_in_thread+0x");
    record_drop();
}

static void many_threads_crash(void)
{
    pthread_t threads[8];

    for (size_t i = 0; i < 8; i++)
        if (pthread_create(&threads[i], NULL, crash_in_thread, NULL) != 0)
            _exit(97);
    for (size_t i = 0; i < 8; i++)
        (void)pthread_join(threads[i], NULL);
}

TEST(threads_that_crash_together_leave_one_whole_record)
{
    for (unsigned i = 0; i < 20; i++) {
        crash(many_threads_crash, SIGSEGV);
        check_called_by("parse_file+0x", "crash_in_thread+0x");
        record_drop();
    }
}

/* ---- what must not be recorded ---- */

static void grandchild_crashes(void)
{
    int status;
    pid_t pid = fork();

    if (pid == 0)
        parse_file();
    if (waitpid(pid, &status, 0) != pid || !WIFSIGNALED(status) || WTERMSIG(status) != SIGSEGV)
        _exit(97);
    _exit(5);
}

TEST(a_crash_of_a_descendant_is_not_its_parents)
{
    int status;

    record_make();
    status = run_child(grandchild_crashes);
    CHECK(WIFEXITED(status));
    CHECK_EQ(WEXITSTATUS(status), 5);
    CHECK(!brood__crash_seen(record, NULL, NULL));
    CHECK(brood__crash_report(record) == NULL);
    record_drop();
}

static sigjmp_buf back;

static void jump_back(int signo)
{
    siglongjmp(back, signo);
}

TEST(a_handler_of_the_program_stays)
{
    pid_t pid;
    int status;

    record_make();
    pid = CHECK_OK(fork());
    if (pid == 0) {
        drop_handlers();
        (void)signal(SIGSEGV, jump_back);
        if (brood__crash_catch(record) < 0)
            _exit(99);
        if (sigsetjmp(back, 1) == 0)
            parse_file();
        _exit(7);
    }
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK(WIFEXITED(status));
    CHECK_EQ(WEXITSTATUS(status), 7);
    CHECK(!brood__crash_seen(record, NULL, NULL));
    record_drop();
}

static void wait_for_ever(void)
{
    for (;;)
        (void)pause();
}

TEST(a_signal_sent_from_outside_tells_the_sender)
{
    char line[80];
    siginfo_t info;
    pid_t pid;
    int gate[2];
    char byte;

    record_make();
    CHECK_OK(pipe(gate));
    pid = CHECK_OK(fork());
    if (pid == 0) {
        drop_handlers();
        if (brood__crash_catch(record) < 0 || write(gate[1], "x", 1) != 1)
            _exit(99);
        wait_for_ever();
    }
    CHECK_EQ(read(gate[0], &byte, 1), 1);
    CHECK_OK(kill(pid, SIGBUS));
    CHECK_OK(waitid(P_PID, (id_t)pid, &info, WEXITED));
    CHECK_EQ(info.si_status, SIGBUS);
    report = brood__crash_report(record);
    CHECK(report != NULL);
    (void)snprintf(line, sizeof line, "SIGBUS sent by process %d\n", (int)getpid());
    check_contains(line);
    check_contains("  #0 ");
    close(gate[0]);
    close(gate[1]);
    record_drop();
}

/* ---- systems that refuse something ---- */

#ifdef SYS_process_vm_readv
static void crash_without_reading(void)
{
    struct sock_filter lines[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_process_vm_readv, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {.len = 4, .filter = lines};

    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) < 0)
        _exit(97);
    parse_file();
}

TEST(a_filter_that_forbids_reading_costs_nothing_on_the_first_stack)
{
    crash(crash_without_reading, SIGSEGV);
    check_called_by("parse_header+0x", "parse_file+0x");
    check_called_by("parse_file+0x", "run_child+0x");
    record_drop();
}
#endif

TEST(without_a_map_our_own_is_taken)
{
    crash(parse_file, SIGSEGV);
    brood__free(report);
    record->head.maps_len = 0;
    report = brood__crash_report(record);
    CHECK(report != NULL);
    check_called_by("touch+0x", "parse_header+0x");
    check_called_by("parse_file+0x", "run_child+0x");
    record_drop();
}

TEST(modules_of_another_program_are_found_where_they_lie_here)
{
    int fd = CHECK_OK(brood__memory_object("crash", CRASH_RECORD_SIZE));
    char number[16];
    void *memory;
    int status;
    pid_t pid;

    CHECK_OK(brood__memory_map(&memory, fd, 0, CRASH_RECORD_SIZE));
    record = memory;
    (void)snprintf(number, sizeof number, "%d", fd);
    pid = CHECK_OK(fork());
    if (pid == 0) {
        if (brood__fd_inherit(fd, true) == 0)
            (void)execl(test_program("crash_elsewhere"), "crash_elsewhere", number, (char *)NULL);
        _exit(98);
    }
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK(WIFSIGNALED(status));
    CHECK_EQ(WTERMSIG(status), SIGABRT);
    report = brood__crash_report(record);
    CHECK(report != NULL);
    puts(report);
#if defined(__GLIBC__) /* of a static library the two programs have no file in common */
    check_called_by("abort+0x", "crash_elsewhere+0x");
#endif
    brood__fd_close(fd);
    record_drop();
}

/* ---- hostile records ---- */

static void check_text(void)
{
    char *text = brood__crash_report(record);
    int signo = -1, error = -1;

    if (brood__crash_seen(record, &signo, &error)) {
        CHECK(signo >= 0 && signo <= 64);
        CHECK(error >= 0 && error < 4096);
    }
    if (text == NULL)
        return;
    CHECK(strlen(text) < 20000);
    for (const char *c = text; *c != '\0'; c++)
        CHECK(*c == '\n' || (*c >= ' ' && *c < 0x7F));
    brood__free(text);
}

static void fill_with_noise(size_t from, size_t len)
{
    unsigned char *bytes = (unsigned char *)record;

    for (size_t i = from; i < from + len; i++)
        bytes[i] = (unsigned char)test_random();
}

TEST(random_bytes_make_a_harmless_report)
{
    record_make();
    for (unsigned i = 0; i < 100; i++) {
        fill_with_noise(0, i % 2 == 0 ? sizeof(struct crash_head) + 64 : CRASH_RECORD_SIZE);
        atomic_store(&record->state, CRASH_WRITTEN);
        check_text();
    }
    record_drop();
}

TEST(damaged_records_make_a_harmless_report)
{
    struct crash_record *whole = malloc(CRASH_RECORD_SIZE);

    CHECK(whole != NULL);
    crash(parse_file, SIGSEGV);
    memcpy(whole, record, CRASH_RECORD_SIZE);
    for (unsigned i = 0; i < 600; i++) {
        size_t parts[] = {sizeof(struct crash_head), 4096, CRASH_RECORD_SIZE - 64};
        size_t reach = parts[i % 3];
        size_t start = offsetof(struct crash_record, head);

        if (i % 4 == 3) { /* the map */
            start = offsetof(struct crash_record, maps);
            reach = whole->head.maps_len;
        }
        memcpy((void *)record, whole, CRASH_RECORD_SIZE);
        for (unsigned j = 0; j < 1 + i % 20; j++)
            fill_with_noise(start + test_random_below(reach), 1);
        check_text();
    }
    /* Cut anywhere. */
    memcpy((void *)record, whole, CRASH_RECORD_SIZE);
    for (uint32_t len = record->head.stack_len; len > 0; len = len * 7 / 8) {
        record->head.stack_len = len;
        check_text();
    }
    for (uint32_t len = record->head.maps_len; len > 0; len = len * 15 / 16) {
        record->head.maps_len = len;
        check_text();
    }
    free(whole);
    record_drop();
}

TEST(an_unfinished_record_is_none)
{
    crash(parse_file, SIGSEGV);
    atomic_store(&record->state, CRASH_WRITING);
    CHECK(!brood__crash_seen(record, NULL, NULL));
    CHECK(brood__crash_report(record) == NULL);
    record_drop();
}

TEST(a_cleared_record_is_empty_and_serves_again)
{
    record_make();
    brood__crash_clear(record);
    for (unsigned i = 0; i < 3; i++) {
        unsigned char resident[CRASH_RECORD_SIZE / 4096] = {0};

        CHECK(WIFSIGNALED(run_child(parse_file)));
        CHECK(brood__crash_seen(record, NULL, NULL));
        brood__crash_clear(record);
        CHECK(!brood__crash_seen(record, NULL, NULL));
        CHECK_OK(mincore((void *)record, CRASH_RECORD_SIZE, resident));
        for (size_t page = 1; page < sizeof resident; page++)
            CHECK(!(resident[page] & 1));
    }
    record_drop();
}

/* Not a bench: only a guard, as storms of crashes must stay cheap. */
TEST(a_report_is_cheap)
{
    enum { ROUNDS = 50 };
    int64_t begin;
    double each_us;

    crash(parse_file, SIGSEGV);
    begin = now_ns();
    for (unsigned i = 0; i < ROUNDS; i++)
        brood__free(brood__crash_report(record));
    each_us = (double)(now_ns() - begin) / ROUNDS / 1000;
    printf("a report: %.0f us\n", each_us);
    CHECK(each_us < 20000 * test_time_factor());
    record_drop();
}
