/* SPDX-License-Identifier: MIT */
/*
 * What single steps need to know of a machine: breakpoints, the place where a stopped process is,
 * and which instructions can not be taken apart. Machines without a machine_<cpu>.c have no steps.
 */
#ifndef BROOD_TESTS_HARNESS_MACHINE_H
#define BROOD_TESTS_HARNESS_MACHINE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#if defined(__x86_64__)
#define MACHINE_HAS_STEPS 1
#define MACHINE_BREAKPOINT "int3"
enum { BREAKPOINT_LEN = 1 };
#elif defined(__aarch64__)
#define MACHINE_HAS_STEPS 1
#define MACHINE_BREAKPOINT "brk #0"
enum { BREAKPOINT_LEN = 4 };
#else
#define MACHINE_HAS_STEPS 0
#endif

#if MACHINE_HAS_STEPS

enum { MACHINE_EXITS_MAX = 8 };

/* The code of MACHINE_BREAKPOINT. */
extern const unsigned char machine_breakpoint[BREAKPOINT_LEN];

/* The next instruction of a stopped process. */
uint64_t machine_place(pid_t pid);
void machine_set_place(pid_t pid, uint64_t place);

/* The breakpoint that stopped a process which then was at PLACE. */
uint64_t machine_place_hit(uint64_t place);

/* Whether the instruction at PLACE, which is ours too, raises SIGTRAP by itself. */
bool machine_is_trap(uint64_t place);

/* If a sequence begins at PLACE that single steps would keep from ever ending: fills EXITS with all
 * the places where it may be left, and returns how many. 0: one step does one instruction. */
unsigned machine_exits(uint64_t place, uint64_t exits[MACHINE_EXITS_MAX]);

#endif

#endif
