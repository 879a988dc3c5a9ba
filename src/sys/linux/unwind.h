/* SPDX-License-Identifier: MIT */
/*
 * One step up a stack that is only a copy, with the call frame information of the modules that
 * this process has loaded. Registers have their DWARF numbers.
 */
#ifndef BROOD_SRC_SYS_LINUX_UNWIND_H
#define BROOD_SRC_SYS_LINUX_UNWIND_H

#include <stdbool.h>
#include <stdint.h>

enum { UNWIND_REGISTERS = 34 };

#if defined(__x86_64__)
enum { UNWIND_FP = 6, UNWIND_SP = 7, UNWIND_PC = 16, UNWIND_LINK = -1, UNWIND_KNOWN = 1 };
#elif defined(__aarch64__)
enum { UNWIND_FP = 29, UNWIND_SP = 31, UNWIND_PC = 32, UNWIND_LINK = 30, UNWIND_KNOWN = 1 };
#else /* registers are neither saved nor understood */
enum { UNWIND_FP = 0, UNWIND_SP = 1, UNWIND_PC = 2, UNWIND_LINK = -1, UNWIND_KNOWN = 0 };
#endif

struct unwind_stack {
    const unsigned char *bytes;
    uint64_t start, len; /* BYTES are those of [START, START + LEN) */
};

struct unwind_frame {
    uint64_t registers[UNWIND_REGISTERS];
    uint64_t known; /* bit i: registers[i] is right */
    bool is_signal; /* its caller was interrupted and did not call: its pc is exact */
};

/* Makes FRAME that of its caller. HERE is where its code, or the call it is in, stands in this
 * process. False: nothing is known about the code, or the stack ends; FRAME is as it was. */
bool brood__unwind_by_tables(struct unwind_frame *frame, uint64_t here,
                             const struct unwind_stack *stack);
/* The same by the chain of frame pointers, if it looks like one. */
bool brood__unwind_by_pointers(struct unwind_frame *frame, const struct unwind_stack *stack);
/* The same for code that can not be, such as a call of NULL: the caller has just called. */
bool brood__unwind_bad_call(struct unwind_frame *frame, const struct unwind_stack *stack);

#endif
