/* SPDX-License-Identifier: MIT */
/*
 * The mechanics of stopping a process before a given instruction.
 *
 *     child:  ptrace(TRACEME) - before() - trap - operation() - trap - _exit()
 *
 * The two breakpoints are part of this file and mark where the operation begins and ends. The
 * child is a fork of ours, so its code lies where ours does, and we read instructions from our
 * own memory, where no breakpoint was ever written.
 *
 * A breakpoint in the child is written into its private copy of the page. It is never left in place
 * while the instruction below it is executed: hit, restored, rewound, stepped, written again.
 * Where a machine has sequences that steps can not go through, a step goes over the whole one.
 *
 * A system call may put the child to sleep for ever. Only then is time involved: a child that is
 * shown as sleeping in the kernel for LOOKS_ASLEEP looks in a row is asleep; one that only waits
 * for its turn on the CPU is shown as running. We sleep on SIGCHLD between looks.
 *
 * The children die with us (PTRACE_O_EXITKILL), and trace_kill() reaps them.
 *
 * Not here: what differs between machines (machine_*.c). On others there are no steps, and the
 * build leaves this file out.
 */
#include "harness/trace.h"

#include "harness/machine.h"
#include "harness/test.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { LOOKS_ASLEEP = 4, LOOK_NS = 2000000, PLACES_MAX = 4000000, STEPS_BACK_MAX = 64 };

struct trace_setting {
    cpu_set_t cpus;
    sigset_t mask;
};

struct trace_setting *trace_enter(void)
{
    struct trace_setting *setting = malloc(sizeof *setting);
    int cpu = sched_getcpu();
    cpu_set_t one;
    sigset_t child;

    CHECK(setting != NULL);
    CHECK_OK(sched_getaffinity(0, sizeof setting->cpus, &setting->cpus));
    CPU_ZERO(&one);
    CPU_SET((size_t)(cpu < 0 ? 0 : cpu), &one);
    (void)sched_setaffinity(0, sizeof one, &one);
    (void)sigemptyset(&child);
    (void)sigaddset(&child, SIGCHLD);
    CHECK_OK(sigprocmask(SIG_BLOCK, &child, &setting->mask));
    return setting;
}

void trace_leave(struct trace_setting *setting)
{
    static const struct timespec none;
    sigset_t child;

    (void)sigemptyset(&child);
    (void)sigaddset(&child, SIGCHLD);
    (void)sigtimedwait(&child, NULL, &none); /* the last one is not for the test to see */
    (void)sched_setaffinity(0, sizeof setting->cpus, &setting->cpus);
    (void)sigprocmask(SIG_SETMASK, &setting->mask, NULL);
    free(setting);
}

/* ---- looking ---- */

static bool is_at_marker(uint64_t place)
{
    const void *address;
    uintptr_t number = (uintptr_t)place;

    memcpy(&address, &number, sizeof address);
    return memcmp(address, machine_breakpoint, BREAKPOINT_LEN) == 0;
}

static bool looks_asleep(pid_t pid)
{
    char path[64];
    char text[256];
    const char *end;
    ssize_t len;
    int fd;

    (void)snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    len = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    if (fd >= 0)
        (void)close(fd);
    if (len <= 0)
        return false;
    text[len] = '\0';
    end = strrchr(text, ')');
    return end != NULL && end[1] == ' ' && end[2] == 'S';
}

/* ---- waiting ---- */

static void wait_a_look(void)
{
    const struct timespec look = {.tv_nsec = LOOK_NS};
    sigset_t child;

    (void)sigemptyset(&child);
    (void)sigaddset(&child, SIGCHLD);
    (void)sigtimedwait(&child, NULL, &look);
}

static void pass_signal(pid_t pid, int signo, bool stepping)
{
    if (stepping)
        CHECK_OK(ptrace(PTRACE_SINGLESTEP, pid, NULL, (long)signo));
    else
        CHECK_OK(ptrace(PTRACE_CONT, pid, NULL, (long)signo));
}

/* A trap that is part of the operation kills it as it would do without us. */
static bool is_own_trap(pid_t pid)
{
    siginfo_t info;
    uint64_t place = machine_place(pid);

    CHECK_OK(ptrace(PTRACE_GETSIGINFO, pid, NULL, &info));
    return info.si_code == TRAP_BRKPT && !is_at_marker(place) && machine_is_trap(place);
}

/* The next stop. Signals other than our own traps are handed on, and do not count. */
static enum trace_event wait_stop(struct tracee *tracee, bool stepping)
{
    unsigned looks = 0;
    int status;

    for (;;) {
        pid_t r = waitpid(tracee->pid, &status, WNOHANG | __WALL);

        CHECK(r >= 0);
        if (r == 0) {
            wait_a_look();
            looks = looks_asleep(tracee->pid) ? looks + 1 : 0;
            if (looks < LOOKS_ASLEEP)
                continue;
            tracee->place = 0;
            return TRACE_ASLEEP;
        }
        if (!WIFSTOPPED(status)) {
            tracee->status = status;
            return TRACE_GONE;
        }
        if (WSTOPSIG(status) == SIGTRAP && !is_own_trap(tracee->pid))
            break;
        pass_signal(tracee->pid, WSTOPSIG(status), stepping);
    }
    tracee->place = machine_place(tracee->pid);
    return TRACE_STOPPED;
}

/* ---- breakpoints ---- */

/* Writes CODE at PLACE, by the word that contains it, and keeps what was there before. */
static void write_code(pid_t pid, uint64_t place, const unsigned char code[BREAKPOINT_LEN],
                       unsigned char out_old[BREAKPOINT_LEN])
{
    uint64_t word_place = place & ~(uint64_t)7;
    unsigned char bytes[sizeof(long)];
    long word;

    errno = 0;
    word = ptrace(PTRACE_PEEKTEXT, pid, word_place, NULL);
    CHECK_EQ(errno, 0);
    memcpy(bytes, &word, sizeof bytes);
    if (out_old != NULL)
        memcpy(out_old, bytes + (place - word_place), BREAKPOINT_LEN);
    memcpy(bytes + (place - word_place), code, BREAKPOINT_LEN);
    memcpy(&word, bytes, sizeof word);
    CHECK_OK(ptrace(PTRACE_POKETEXT, pid, word_place, word));
}

/* From a sequence that can not be stepped through, to wherever it is left. */
static enum trace_event step_over(struct tracee *tracee, const uint64_t *exits, unsigned count)
{
    unsigned char old[MACHINE_EXITS_MAX][BREAKPOINT_LEN];
    enum trace_event event;

    for (unsigned i = 0; i < count; i++)
        write_code(tracee->pid, exits[i], machine_breakpoint, old[i]);
    CHECK_OK(ptrace(PTRACE_CONT, tracee->pid, NULL, NULL));
    event = wait_stop(tracee, false);
    if (event == TRACE_STOPPED)
        for (unsigned i = count; i-- > 0;)
            write_code(tracee->pid, exits[i], old[i], NULL);
    return event;
}

static enum trace_event step(struct tracee *tracee)
{
    uint64_t exits[MACHINE_EXITS_MAX];
    unsigned count = machine_exits(tracee->place, exits);

    if (count > 0)
        return step_over(tracee, exits, count);
    CHECK_OK(ptrace(PTRACE_SINGLESTEP, tracee->pid, NULL, NULL));
    return wait_stop(tracee, true);
}

/* The next breakpoint of any kind, with the place put back onto it. */
static enum trace_event wait_breakpoint(struct tracee *tracee)
{
    enum trace_event event = wait_stop(tracee, false);

    if (event != TRACE_STOPPED)
        return event;
    tracee->place = machine_place_hit(tracee->place);
    machine_set_place(tracee->pid, tracee->place);
    return is_at_marker(tracee->place) ? TRACE_AT_END : TRACE_STOPPED;
}

static enum trace_event go_on(struct tracee *tracee)
{
    CHECK_OK(ptrace(PTRACE_CONT, tracee->pid, NULL, NULL));
    return wait_breakpoint(tracee);
}

/* ---- the child ---- */

static __attribute__((noreturn)) void be_traced(void (*before)(void *), void (*operation)(void *),
                                                void *context)
{
    if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0)
        FAIL("no ptrace: %s", strerror(errno));
    if (before != NULL)
        before(context);
    __asm__ volatile(MACHINE_BREAKPOINT ::: "memory");
    operation(context);
    __asm__ volatile(MACHINE_BREAKPOINT ::: "memory");
    _exit(0);
}

void trace_start(struct tracee *out, void (*before)(void *), void (*operation)(void *),
                 void *context)
{
    out->status = 0;
    out->pid = CHECK_OK(fork());
    if (out->pid == 0)
        be_traced(before, operation, context);
    while (waitpid(out->pid, &out->status, __WALL) < 0)
        CHECK_EQ(errno, EINTR);
    while (WIFSTOPPED(out->status) && WSTOPSIG(out->status) != SIGTRAP) {
        pass_signal(out->pid, WSTOPSIG(out->status), false);
        while (waitpid(out->pid, &out->status, __WALL) < 0)
            CHECK_EQ(errno, EINTR);
    }
    if (!WIFSTOPPED(out->status))
        FAIL("the victim ended before its operation, status 0x%x", (unsigned)out->status);
    CHECK_OK(ptrace(PTRACE_SETOPTIONS, out->pid, NULL, (long)PTRACE_O_EXITKILL));
    out->place = machine_place_hit(machine_place(out->pid)) + BREAKPOINT_LEN;
    machine_set_place(out->pid, out->place);
}

void trace_kill(struct tracee *tracee)
{
    CHECK_OK(kill(tracee->pid, SIGKILL));
    do
        while (waitpid(tracee->pid, &tracee->status, __WALL) < 0)
            CHECK_EQ(errno, EINTR);
    while (WIFSTOPPED(tracee->status));
}

int trace_finish(struct tracee *tracee)
{
    machine_set_place(tracee->pid, tracee->place + BREAKPOINT_LEN);
    CHECK_OK(ptrace(PTRACE_DETACH, tracee->pid, NULL, NULL));
    while (waitpid(tracee->pid, &tracee->status, __WALL) < 0)
        CHECK_EQ(errno, EINTR);
    return tracee->status;
}

/* ---- recording ---- */

static void append_place(struct trace *trace, uint64_t place)
{
    if (trace->count == trace->room) {
        trace->room = trace->room == 0 ? 1024 : trace->room * 2;
        trace->places = realloc(trace->places, trace->room * sizeof *trace->places);
        CHECK(trace->places != NULL);
    }
    trace->places[trace->count++] = place;
    if (trace->count > PLACES_MAX)
        FAIL("the operation has more than %d instructions; is it a loop that waits?", PLACES_MAX);
}

void trace_record(struct tracee *tracee, struct trace *out)
{
    enum trace_event event = TRACE_STOPPED;

    *out = (struct trace){0};
    while (event == TRACE_STOPPED && !is_at_marker(tracee->place)) {
        append_place(out, tracee->place);
        event = step(tracee);
    }
    if (event == TRACE_GONE)
        FAIL("the victim ended inside its operation, status 0x%x", (unsigned)tracee->status);
    out->end = event == TRACE_STOPPED ? TRACE_AT_END : event;
}

void trace_free(struct trace *trace)
{
    free(trace->places);
    *trace = (struct trace){0};
}

/* ---- going to a point ---- */

static unsigned count_passages(const struct trace *trace, unsigned index)
{
    unsigned count = 0;

    for (unsigned i = 0; i < index; i++)
        count += trace->places[i] == trace->places[index];
    return count;
}

/* The index at which to put the breakpoint so that breakpoint hits and steps after it are the
 * least work; INDEX + 1 if steps from the very beginning are less. A hit costs two stops. */
static unsigned choose_breakpoint(const struct trace *trace, unsigned index, unsigned *out_passages)
{
    unsigned lowest = index > STEPS_BACK_MAX ? index - STEPS_BACK_MAX : 0;
    unsigned best_cost = index + 1;
    unsigned best = index + 1;

    for (unsigned i = index + 1; i-- > lowest && index - i < best_cost;) {
        unsigned passages = count_passages(trace, i);
        unsigned cost = 2 * passages + 2 + (index - i);

        if (cost < best_cost) {
            best_cost = cost;
            best = i;
            *out_passages = passages;
        }
    }
    return best;
}

static enum trace_event step_often(struct tracee *tracee, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        enum trace_event event = is_at_marker(tracee->place) ? TRACE_AT_END : step(tracee);

        if (event != TRACE_STOPPED)
            return event;
    }
    return is_at_marker(tracee->place) ? TRACE_AT_END : TRACE_STOPPED;
}

/* Stops before PLACE after it was passed so many times. */
static enum trace_event go_to_passage(struct tracee *tracee, uint64_t place, unsigned passages)
{
    enum trace_event event = TRACE_STOPPED;
    unsigned char old[BREAKPOINT_LEN];

    for (unsigned i = 0; i <= passages && event == TRACE_STOPPED; i++) {
        if (i > 0)
            event = step(tracee);
        if (event != TRACE_STOPPED)
            break;
        write_code(tracee->pid, place, machine_breakpoint, old);
        event = go_on(tracee);
        if (event != TRACE_GONE && event != TRACE_ASLEEP)
            write_code(tracee->pid, place, old, NULL);
    }
    return event;
}

enum trace_event trace_go_to(struct tracee *tracee, const struct trace *trace, unsigned index)
{
    unsigned passages = 0;
    unsigned breakpoint = choose_breakpoint(trace, index, &passages);
    enum trace_event event;

    if (breakpoint > index)
        return step_often(tracee, index);
    event = go_to_passage(tracee, trace->places[breakpoint], passages);
    return event == TRACE_STOPPED ? step_often(tracee, index - breakpoint) : event;
}

enum trace_event trace_go_on(struct tracee *tracee)
{
    if (tracee->place == 0)
        return wait_breakpoint(tracee); /* it fell asleep while it went on */
    return is_at_marker(tracee->place) ? TRACE_AT_END : go_on(tracee);
}
