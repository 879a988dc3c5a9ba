/* SPDX-License-Identifier: MIT */
/*
 * Single steps on x86-64.
 *
 * A process that has hit an int3 stands behind it. Each instruction is done by one step, those
 * with a lock prefix whole; a `rep` instruction stops after each round, and hits a breakpoint
 * before each round, so that both ways of counting agree. An ud2 raises SIGILL and no trap.
 *
 * Keeps no state. Not here: what is done with all this (trace.c).
 */
#include "harness/machine.h"

#include "harness/test.h"

#include <errno.h>
#include <stddef.h>
#include <sys/ptrace.h>
#include <sys/user.h>

const unsigned char machine_breakpoint[BREAKPOINT_LEN] = {0xcc};

uint64_t machine_place(pid_t pid)
{
    errno = 0;
    return (uint64_t)ptrace(PTRACE_PEEKUSER, pid, offsetof(struct user_regs_struct, rip), NULL);
}

void machine_set_place(pid_t pid, uint64_t place)
{
    CHECK_OK(ptrace(PTRACE_POKEUSER, pid, offsetof(struct user_regs_struct, rip), place));
}

uint64_t machine_place_hit(uint64_t place)
{
    return place - BREAKPOINT_LEN;
}

bool machine_is_trap(uint64_t place)
{
    (void)place;
    return false;
}

unsigned machine_exits(uint64_t place, uint64_t exits[MACHINE_EXITS_MAX])
{
    (void)place;
    (void)exits;
    return 0;
}
