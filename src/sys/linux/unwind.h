/* SPDX-License-Identifier: MIT */
/*
 * One step up a stack that is only a copy, with the call frame information of the modules that
 * this process has loaded. Registers have their DWARF numbers.
 */
#ifndef BROOD_SRC_SYS_LINUX_UNWIND_H
#define BROOD_SRC_SYS_LINUX_UNWIND_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

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

enum unwind_result {
    UNWIND_NO_TABLES = 0, /* nothing is known about the code; FRAME is as it was */
    UNWIND_END,           /* it has no caller, or none that the stack shows; FRAME is as it was */
    UNWIND_STEP
};

/* Makes FRAME that of its caller. HERE is where its code, or the call it is in, stands in this
 * process. */
enum unwind_result brood__unwind_by_tables(struct unwind_frame *frame, uint64_t here,
                                           const struct unwind_stack *stack);

/* Guesses, for code without tables. IS_RETURN tells whether a call returns to PC. */
struct unwind_guess {
    bool (*is_return)(const struct unwind_guess *guess, uint64_t pc);
    const struct unwind_stack *stack;
};
/* The chain of frame pointers, if it looks like one. */
bool brood__unwind_by_pointers(struct unwind_frame *frame, const struct unwind_guess *guess);
/* For code that can not be, such as a call of NULL: its caller has just called. */
bool brood__unwind_bad_call(struct unwind_frame *frame, const struct unwind_guess *guess);
/* The last resort: the next word of the stack that a call could return to. */
bool brood__unwind_by_search(struct unwind_frame *frame, const struct unwind_guess *guess);
/* Whether the code before HERE, an address of this process, is a call. */
bool brood__unwind_after_call(uint64_t here);

static inline bool brood__unwind_read(const struct unwind_stack *stack, uint64_t address,
                                      uint64_t *out_value)
{
    if (address < stack->start || stack->len < 8 || address - stack->start > stack->len - 8)
        return false;
    memcpy(out_value, stack->bytes + (address - stack->start), 8);
    return true;
}

#endif
