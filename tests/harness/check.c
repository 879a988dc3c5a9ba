/* SPDX-License-Identifier: MIT */
/*
 * Checks, and what happens when one fails.
 *
 * The first failure wins: it moves the record from RUNNING to WRITING, writes its message, says
 * FAILED and wakes the runner, which kills all that belongs to the test. The failing process then
 * ends at once, without destructors, so no forked child ever returns into code of the runner.
 * A process that dies in WRITING leaves half a message, and the test has failed all the same.
 *
 * Not here: who listens (runner.c), and what else can be wrong with a test (leftover.c).
 */
#include "harness/record.h"

#include "harness/leftover.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { EXIT_FAILED_CHECK = 1 };

struct record *record_get(void)
{
    static struct record *record;

    if (record == NULL) {
        record =
            mmap(NULL, sizeof *record, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        if (record == MAP_FAILED) {
            perror("harness: mmap");
            _exit(2);
        }
    }
    return record;
}

void record_reset(void)
{
    struct record *record = record_get();

    atomic_store(&record->state, RECORD_RUNNING);
    atomic_store(&record->owner, getpid());
    atomic_store(&record->notes_len, 0);
    record->where[0] = record->message[0] = record->notes[0] = '\0';
}

void record_event(void)
{
    struct record *record = record_get();
    int saved = errno;

    atomic_fetch_add(&record->events, 1);
    (void)syscall(SYS_futex, &record->events, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
    errno = saved;
}

/* Ends this process with MESSAGE as the fate of the test, if it is the first to have one. */
static __attribute__((noreturn, format(printf, 2, 0))) void conclude(enum record_state state,
                                                                     const char *format,
                                                                     va_list arguments)
{
    struct record *record = record_get();
    uint32_t running = RECORD_RUNNING;

    if (atomic_compare_exchange_strong(&record->state, &running, RECORD_WRITING)) {
        (void)vsnprintf(record->message, sizeof record->message, format, arguments);
        atomic_store(&record->state, state);
        record_event();
    }
    if (record->in_place) {
        (void)fprintf(stderr, "%s\n", record->message);
        if (state == RECORD_FAILED)
            abort(); /* the debugger stops here */
        exit(0);
    }
    _exit(state == RECORD_FAILED ? EXIT_FAILED_CHECK : 0);
}

static __attribute__((noreturn, format(printf, 1, 2))) void fail_plainly(const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    conclude(RECORD_FAILED, format, arguments);
}

void test_fail(const char *file, int line, const char *format, ...)
{
    const char *where = record_get()->where;
    const char *stem = strrchr(file, '/');
    char text[1024];
    va_list arguments;

    va_start(arguments, format);
    (void)vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    fail_plainly("%s:%d: %s%s%s", stem == NULL ? file : stem + 1, line, text,
                 where[0] == '\0' ? "" : "\n", where);
}

void test_skip(const char *format, ...)
{
    va_list arguments;

    if (getpid() != atomic_load(&record_get()->owner))
        fail_plainly("SKIP in a child: %s", format);
    va_start(arguments, format);
    conclude(RECORD_SKIPPED, format, arguments);
}

void test_check_eq(const char *file, int line, const char *text, intmax_t left, intmax_t right)
{
    if (left != right)
        test_fail(file, line, "%s: %jd and %jd (0x%jx and 0x%jx)", text, left, right,
                  (uintmax_t)left, (uintmax_t)right);
}

void test_check_string(const char *file, int line, const char *text, const char *left,
                       const char *right)
{
    if (left == NULL || right == NULL ? left != right : strcmp(left, right) != 0)
        test_fail(file, line, "%s: \"%s\" and \"%s\"", text, left == NULL ? "(NULL)" : left,
                  right == NULL ? "(NULL)" : right);
}

/* Both ranges of brood's errors, without needing brood: errno in words, the others as numbers. */
static const char *error_text(intmax_t error)
{
    return error < 0 && error > -4096 ? strerror((int)-error) : "not an errno";
}

intmax_t test_check_ok(const char *file, int line, const char *text, intmax_t value)
{
    if (value < 0)
        test_fail(file, line, "%s: %jd (%s)", text, value, error_text(value));
    return value;
}

void test_check_error(const char *file, int line, const char *text, intmax_t value, intmax_t error)
{
    if (value != error)
        test_fail(file, line, "%s: %jd (%s), not %jd (%s)", text, value, error_text(value), error,
                  error_text(error));
}

void test_note(const char *format, ...)
{
    struct record *record = record_get();
    uint32_t start = atomic_load(&record->notes_len);
    va_list arguments;
    int len;

    if (start + 1 >= sizeof record->notes)
        return;
    va_start(arguments, format);
    len = vsnprintf(record->notes + start, sizeof record->notes - start, format, arguments);
    va_end(arguments);
    if (len < 0 || start + (uint32_t)len + 2 > sizeof record->notes)
        return;
    record->notes[start + (uint32_t)len] = '\n';
    record->notes[start + (uint32_t)len + 1] = '\0';
    atomic_store(&record->notes_len, start + (uint32_t)len + 1);
}

void test_where(const char *format, ...)
{
    struct record *record = record_get();
    va_list arguments;

    va_start(arguments, format);
    (void)vsnprintf(record->where, sizeof record->where, format, arguments);
    va_end(arguments);
}

void run_as_owner(void (*function)(void *), void *context, bool finished)
{
    struct record *record = record_get();
    struct inventory before;
    pid_t self = getpid();
    char text[1024];

    atomic_store(&record->owner, self);
    inventory_take(&before);
    function(context);
    if (getpid() != self)
        fail_plainly("a forked child returned from the test function%s%s",
                     record->where[0] == '\0' ? "" : "\n", record->where);
    if (!inventory_compare(&before, text, sizeof text))
        fail_plainly("left behind: %s%s%s", text, record->where[0] == '\0' ? "" : "\n",
                     record->where);
    if (finished) {
        uint32_t running = RECORD_RUNNING;

        (void)atomic_compare_exchange_strong(&record->state, &running, RECORD_FINISHED);
    }
    exit(0);
}
