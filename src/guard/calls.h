/* SPDX-License-Identifier: MIT */
/*
 * The kernel's calls as the guard makes them: without a C library, each returns 0 or more, or
 * -errno. Only calls that all machines have are used (openat, ppoll, clone), so that what differs
 * between machines is in this file: how a call is made, how a program and a child begin.
 *
 * Signal sets are the kernel's: one word, signal N is bit N - 1.
 */
#ifndef BROOD_SRC_GUARD_CALLS_H
#define BROOD_SRC_GUARD_CALLS_H

#include <stddef.h>
#include <stdint.h>
#include <sys/syscall.h>

/* Younger than some headers; the numbers are the same everywhere. */
#ifndef SYS_pidfd_send_signal
#define SYS_pidfd_send_signal 424
#endif
#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif
#ifndef SYS_close_range
#define SYS_close_range 436
#endif

/* FUNCTION(ARGUMENT) in a child that shares this memory while this process sleeps, on a stack that
 * ends at STACK_TOP. FUNCTION does not return. The child's pid or -errno. */
long guard_spawn(unsigned long flags, void *stack_top, void (*function)(void *), void *argument);

#if defined(__x86_64__)

/* The first instructions: the stack holds argc, argv, environment. */
#define GUARD_BEGIN(main)                                                                          \
    __asm__(".text\n.globl _start\n_start:\n\txor %ebp, %ebp\n\tmov %rsp, %rdi\n\t"                \
            "and $-16, %rsp\n\tcall " #main "\n\thlt\n")

/* clone(): flags, stack, parent's tid, child's tid, thread area. The child's first words on its
 * stack are what to call with what. */
#define GUARD_SPAWN_CODE                                                                           \
    __asm__(".text\n.globl guard_spawn\nguard_spawn:\n\t"                                          \
            "sub $16, %rsi\n\tmov %rcx, (%rsi)\n\tmov %rdx, 8(%rsi)\n\t"                           \
            "mov $56, %eax\n\txor %edx, %edx\n\txor %r10d, %r10d\n\txor %r8d, %r8d\n\t"            \
            "syscall\n\ttest %rax, %rax\n\tjz 1f\n\tret\n"                                         \
            "1:\txor %ebp, %ebp\n\tpop %rdi\n\tpop %rax\n\tcall *%rax\n\thlt\n")

/* The way back from a signal's handler, which the kernel wants to be told here. */
#define GUARD_RESTORER_FLAG 0x04000000ul
#define GUARD_RESTORER_CODE                                                                        \
    __asm__(".text\n.globl guard_restorer\nguard_restorer:\n\tmov $15, %eax\n\tsyscall\n\thlt\n")

/* WORDS: the call's number and its six arguments. */
static inline __attribute__((always_inline)) long call_kernel(const long *words)
{
    register long r10 __asm__("r10") = words[4];
    register long r8 __asm__("r8") = words[5];
    register long r9 __asm__("r9") = words[6];
    long r;

    __asm__ volatile("syscall"
                     : "=a"(r)
                     : "a"(words[0]), "D"(words[1]), "S"(words[2]), "d"(words[3]), "r"(r10),
                       "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return r;
}

#elif defined(__aarch64__)

#define GUARD_BEGIN(main)                                                                          \
    __asm__(".text\n.globl _start\n_start:\n\tmov x29, #0\n\tmov x30, #0\n\tmov x0, sp\n\t"        \
            "bl " #main "\n\tbrk #1\n")

/* clone(): flags, stack, parent's tid, thread area, child's tid. */
#define GUARD_SPAWN_CODE                                                                           \
    __asm__(".text\n.globl guard_spawn\nguard_spawn:\n\t"                                          \
            "stp x2, x3, [x1, #-16]!\n\tmov x2, #0\n\tmov x3, #0\n\tmov x4, #0\n\t"                \
            "mov x8, #220\n\tsvc #0\n\tcbz x0, 1f\n\tret\n"                                        \
            "1:\tmov x29, #0\n\tmov x30, #0\n\tldp x1, x0, [sp], #16\n\tblr x1\n\tbrk #1\n")

/* The kernel brings its own. */
#define GUARD_RESTORER_FLAG 0ul
#define GUARD_RESTORER_CODE __asm__(".text\n.globl guard_restorer\nguard_restorer:\n\tbrk #1\n")

/* WORDS: the call's number and its six arguments. */
static inline __attribute__((always_inline)) long call_kernel(const long *words)
{
    register long x8 __asm__("x8") = words[0];
    register long x0 __asm__("x0") = words[1];
    register long x1 __asm__("x1") = words[2];
    register long x2 __asm__("x2") = words[3];
    register long x3 __asm__("x3") = words[4];
    register long x4 __asm__("x4") = words[5];
    register long x5 __asm__("x5") = words[6];

    __asm__ volatile("svc #0"
                     : "+r"(x0)
                     : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5)
                     : "memory");
    return x0;
}

#else
#error "the guard has no code for this machine: how a call is made, how a program begins"
#endif

void guard_restorer(void);

#define CALL6(number, a, b, c, d, e, f)                                                            \
    call_kernel(                                                                                   \
        (const long[]){number, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f)})
#define CALL5(number, a, b, c, d, e) CALL6(number, a, b, c, d, e, 0)
#define CALL4(number, a, b, c, d) CALL6(number, a, b, c, d, 0, 0)
#define CALL3(number, a, b, c) CALL6(number, a, b, c, 0, 0, 0)
#define CALL2(number, a, b) CALL6(number, a, b, 0, 0, 0, 0)
#define CALL1(number, a) CALL6(number, a, 0, 0, 0, 0, 0)
#define CALL0(number) CALL6(number, 0, 0, 0, 0, 0, 0)

#endif
