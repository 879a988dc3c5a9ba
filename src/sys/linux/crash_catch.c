/* SPDX-License-Identifier: MIT */
/*
 * In the process that crashes: copy what is needed to tell why, then die as it would have died.
 *
 *     signal -> catch() on the alternate stack -> record -> default action -> the same signal
 *
 * The handler runs in a process that may have destroyed anything of its own, so it allocates
 * nothing, takes no lock and calls only what is async-signal-safe (signal-safety(7)), and it
 * touches no memory whose state it does not know: the stack is copied by process_vm_readv(),
 * which fails where a load would fault. Should it fault all the same, all crash signals are
 * blocked while it runs, and the kernel then kills: the record stays unfinished, which the
 * parent takes for none.
 *
 * The signal that ends the process is the first one. A fault happens again, as returning makes
 * the same instruction run under the default action, so cores show the true place. A signal that
 * was sent is sent again, with the same data.
 *
 * Handlers survive fork(), so a descendant of the process may come here too. It has another pid
 * than the one that asked, and gets the default action only. One record and one process: the
 * three variables below are all the state, written before a handler is installed.
 *
 * System calls are made directly: a fault point inside a crash would only hide it.
 */
#include "sys/crash.h"

#include "sys/kernel.h"
#include "sys/linux/crash_record.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <ucontext.h>
#include <unistd.h>

#ifndef AT_MINSIGSTKSZ
#define AT_MINSIGSTKSZ 51
#endif

static struct crash_record *the_record;
static pid_t the_process;
static uint64_t the_stack_end; /* of the process's first thread; 0: unknown */

static const int crash_signals[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGSYS, SIGTRAP};

enum { CRASH_SIGNALS = sizeof crash_signals / sizeof crash_signals[0], ALTERNATE_LEN = 64 << 10 };

/* ---- registers ---- */

#if defined(__x86_64__)
static bool save_registers(const ucontext_t *context, uint64_t registers[UNWIND_REGISTERS])
{
    static const unsigned char order[] = {REG_RAX, REG_RDX, REG_RCX, REG_RBX, REG_RSI, REG_RDI,
                                          REG_RBP, REG_RSP, REG_R8,  REG_R9,  REG_R10, REG_R11,
                                          REG_R12, REG_R13, REG_R14, REG_R15, REG_RIP};

    for (unsigned i = 0; i < sizeof order; i++)
        registers[i] = (uint64_t)context->uc_mcontext.gregs[order[i]];
    return true;
}
#elif defined(__aarch64__)
static bool save_registers(const ucontext_t *context, uint64_t registers[UNWIND_REGISTERS])
{
    for (unsigned i = 0; i < 31; i++)
        registers[i] = context->uc_mcontext.regs[i];
    registers[UNWIND_SP] = context->uc_mcontext.sp;
    registers[UNWIND_PC] = context->uc_mcontext.pc;
    return true;
}
#else
static bool save_registers(const ucontext_t *context, uint64_t registers[UNWIND_REGISTERS])
{
    (void)context;
    (void)registers;
    return false;
}
#endif

/* ---- the stack ---- */

enum {
    PIECE_LEN = 4096, /* divides the pages of every machine */
    PIECES = CRASH_STACK_MAX / PIECE_LEN + 1,
    PAGES_TO_TRY = 300,
    STACK_FAR = 8 << 20
};

/* Copies up to CRASH_STACK_MAX bytes from START on, as many as can be read; -1: not allowed. */
static long copy_by_kernel(void *to, uint64_t start)
{
    struct iovec target = {.iov_base = to, .iov_len = CRASH_STACK_MAX};
    struct iovec pieces[PIECES];
    uint64_t at = start;
    unsigned count = 0;

    /* A piece is copied whole or not at all, so none may reach over the end of a page. */
    while (at - start < CRASH_STACK_MAX && at >= start) {
        uint64_t len = PIECE_LEN - at % PIECE_LEN;

        if (len > CRASH_STACK_MAX - (at - start))
            len = CRASH_STACK_MAX - (at - start);
        pieces[count].iov_base = (void *)(uintptr_t)at;
        pieces[count++].iov_len = len;
        at += len;
    }
    return syscall(SYS_process_vm_readv, the_process, &target, 1UL, pieces, (unsigned long)count,
                   0UL);
}

/* A memcpy() to which no sanitizer objects: there are red zones between START and its end. */
__attribute__((no_sanitize("address", "thread"))) static void copy_blindly(unsigned char *to,
                                                                           uint64_t start,
                                                                           uint64_t len)
{
    const volatile unsigned char *from = (const volatile unsigned char *)(uintptr_t)start;

    for (uint64_t i = 0; i < len; i++)
        to[i] = from[i];
}

/* Copies from *INOUT_START on. After an overflow the stack pointer may already be below all that
 * can be read: then *INOUT_START becomes the first page that can. */
static uint32_t copy_stack(unsigned char *to, uint64_t *inout_start)
{
    uint64_t start = *inout_start;
    uint64_t len;

    for (unsigned i = 0; i < PAGES_TO_TRY; i++) {
        long copied = copy_by_kernel(to, start);

        if (copied >= 0) {
            *inout_start = start;
            return (uint32_t)copied;
        }
        if (errno != EFAULT)
            break;
        start += PIECE_LEN - start % PIECE_LEN;
    }
    /* Without that call only the first thread's stack can be read, if this is on it. */
    start = *inout_start;
    if (errno == EFAULT || start >= the_stack_end || the_stack_end - start > STACK_FAR)
        return 0;
    len = the_stack_end - start;
    if (len > CRASH_STACK_MAX)
        len = CRASH_STACK_MAX;
    copy_blindly(to, start, len);
    return (uint32_t)len;
}

/* ---- the modules ---- */

/* "55d0-55d4 r-xp 00001000 fe:01 123 /bin/x": whether it is worth its place. */
static bool is_of_interest(const char *line, uint32_t len)
{
    uint32_t at = 0;

    if (memchr(line, '/', len) == NULL)
        return false;
    while (at < len && line[at] != ' ')
        at++;
    if (len - at < 15)
        return false;
    return line[at + 3] == 'x' || memcmp(line + at + 6, "00000000", 8) == 0;
}

/* Goes over the new bytes of MAPS: keeps lines of interest, and the start of an unfinished one
 * at *INOUT_LINE. Returns the bytes kept. */
static uint32_t sift(char *maps, uint32_t *inout_line, uint32_t end)
{
    uint32_t kept = *inout_line, line = *inout_line;

    for (uint32_t at = line; at < end; at++) {
        uint32_t len = at + 1 - line;

        if (maps[at] != '\n')
            continue;
        if (is_of_interest(maps + line, len)) {
            memmove(maps + kept, maps + line, len);
            kept += len;
        }
        line = at + 1;
    }
    memmove(maps + kept, maps + line, end - line);
    *inout_line = kept;
    return kept + (end - line);
}

static uint32_t copy_maps(char *maps)
{
    int fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
    uint32_t line = 0, end = 0;

    if (fd < 0)
        return 0;
    while (end < CRASH_MAPS_MAX) {
        ssize_t r = read(fd, maps + end, CRASH_MAPS_MAX - end);

        if (r < 0 && errno == EINTR)
            continue;
        if (r <= 0)
            break;
        end = sift(maps, &line, end + (uint32_t)r);
    }
    (void)close(fd);
    return line;
}

/* ---- dying ---- */

static void fill(struct crash_record *record, int signo, const siginfo_t *info,
                 const ucontext_t *context, int error)
{
    struct crash_head *head = &record->head;

    head->signal = signo;
    head->code = info->si_code;
    head->error = error;
    head->self = the_process;
    head->sender = info->si_code <= 0 ? info->si_pid : 0;
    head->address = info->si_code > 0 ? (uint64_t)(uintptr_t)info->si_addr : 0;
    head->stack_len = 0;
    head->maps_len = 0;
    head->has_registers = save_registers(context, head->registers);
    if (head->has_registers) {
        head->stack_start = head->registers[UNWIND_SP];
        head->stack_len = copy_stack(record->stack, &head->stack_start);
        head->maps_len = copy_maps(record->maps);
    }
}

/* Whether the instruction that was interrupted will raise the signal again. */
static bool will_fault_again(int signo, const siginfo_t *info)
{
    return info->si_code > 0 && signo != SIGTRAP && signo != SIGSYS && signo != SIGABRT;
}

static void catch (int signo, siginfo_t *info, void *context)
{
    const struct sigaction fatal = {.sa_handler = SIG_DFL};
    int error = errno;

    if (getpid() == the_process) {
        uint32_t none = CRASH_NONE;

        if (atomic_compare_exchange_strong(&the_record->state, &none, CRASH_WRITING)) {
            fill(the_record, signo, info, context, error);
            atomic_store_explicit(&the_record->state, CRASH_WRITTEN, memory_order_release);
        } else if (none == CRASH_WRITING) {
            for (;;) /* another thread is about to end all of us with its own signal */
                (void)pause();
        }
    }
    (void)sigaction(signo, &fatal, NULL);
    if (!will_fault_again(signo, info)) {
        pid_t thread = (pid_t)syscall(SYS_gettid);

        /* Blocked here, so it strikes on return. */
        if (syscall(SYS_rt_tgsigqueueinfo, getpid(), thread, signo, info) < 0)
            (void)syscall(SYS_tgkill, getpid(), thread, signo);
    }
    errno = error;
}

/* ---- asking for it ---- */

/* A stack for the handler, as the usual one may be what overflowed. One that is there is used. */
static int use_alternate_stack(void)
{
    stack_t old, new = {.ss_flags = 0};
    size_t guard = (size_t)sysconf(_SC_PAGESIZE);
    void *memory;
    int r;

    if (sigaltstack(NULL, &old) == 0 && !(old.ss_flags & SS_DISABLE))
        return 0;
    new.ss_size = ALTERNATE_LEN + (size_t)getauxval(AT_MINSIGSTKSZ);
    new.ss_size = (new.ss_size + guard - 1) / guard *guard;
    r = brood__memory_map_private(&memory, new.ss_size + guard);
    if (r < 0)
        return r;
    r = brood__memory_deny(memory, guard);
    new.ss_sp = (char *)memory + guard;
    if (r == 0 && sigaltstack(&new, NULL) < 0)
        r = -errno;
    if (r < 0)
        brood__memory_unmap(memory, new.ss_size + guard);
    return r;
}

int brood__crash_catch(struct crash_record *record)
{
    struct sigaction action = {.sa_sigaction = catch, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    int r = use_alternate_stack();

    if (r < 0)
        return r;
    the_record = record;
    the_process = getpid();
    the_stack_end = (uint64_t)getauxval(AT_EXECFN); /* a string at the end of the first stack */
    (void)sigemptyset(&action.sa_mask);
    for (unsigned i = 0; i < CRASH_SIGNALS; i++)
        (void)sigaddset(&action.sa_mask, crash_signals[i]);
    for (unsigned i = 0; i < CRASH_SIGNALS; i++) {
        struct sigaction old;

        if (sigaction(crash_signals[i], NULL, &old) < 0)
            return -errno;
        if (!(old.sa_flags & SA_SIGINFO) && old.sa_handler == SIG_DFL &&
            sigaction(crash_signals[i], &action, NULL) < 0)
            return -errno;
    }
    return 0;
}
