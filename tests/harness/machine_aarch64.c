/* SPDX-License-Identifier: MIT */
/*
 * Single steps on aarch64.
 *
 * A process that has hit a brk stands at it. Some brk are not ours: __builtin_trap() is one, and
 * then the SIGTRAP belongs to the process.
 *
 * Atomic operations are single instructions since version 8.1 of the architecture. Before that, and
 * in code built for all versions where the CPU says that it is old, they are loops:
 *
 *     again: ldaxr  w0, [x1]        the CPU remembers that it watches the address
 *            cmp    w0, w2
 *            b.ne   out
 *            stlxr  w3, w4, [x1]    stores only if nothing has come in between
 *            cbnz   w3, again
 *
 * Each exception makes the CPU forget, a single step is one, and so such a loop would never end
 * under steps. The way from load to store is therefore one step: breakpoints are put behind the
 * store and where a branch leaves the sequence, and the process runs to one of them. No point is
 * lost by that. Until the store succeeds nothing has happened that anybody else could see, so a
 * death between the two leaves what a death before the load leaves; and a process that is paused
 * in between finds that its store fails, and begins again with the load.
 *
 * What stands between the two is straight code of a few instructions, as the architecture asks for
 * if the store is to succeed in the end. A load without a store is stepped as any other.
 *
 * Keeps no state. Not here: what is done with all this (trace.c).
 */
#include "harness/machine.h"

#include "harness/test.h"

#include <linux/elf.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/user.h>

enum { SEQUENCE_MAX = 16, CODE_LEN = 4 };

const unsigned char machine_breakpoint[BREAKPOINT_LEN] = {0x00, 0x00, 0x20, 0xd4};

/* ---- registers ---- */

static void transfer(pid_t pid, bool sets, struct user_regs_struct *registers)
{
    struct iovec part = {.iov_base = registers, .iov_len = sizeof *registers};

    CHECK_OK(ptrace(sets ? PTRACE_SETREGSET : PTRACE_GETREGSET, pid, NT_PRSTATUS, &part));
}

uint64_t machine_place(pid_t pid)
{
    struct user_regs_struct registers;

    transfer(pid, false, &registers);
    return registers.pc;
}

void machine_set_place(pid_t pid, uint64_t place)
{
    struct user_regs_struct registers;

    transfer(pid, false, &registers);
    registers.pc = place;
    transfer(pid, true, &registers);
}

uint64_t machine_place_hit(uint64_t place)
{
    return place;
}

/* ---- instructions ---- */

static uint32_t code_at(uint64_t place)
{
    uintptr_t number = (uintptr_t)place;
    const void *address;
    uint32_t code;

    memcpy(&address, &number, sizeof address);
    memcpy(&code, address, sizeof code);
    return code;
}

bool machine_is_trap(uint64_t place)
{
    return (code_at(place) & 0xffe0001f) == 0xd4200000;
}

/* Of one register or of two. With bit 31 clear the latter's code means a compare and swap. */
static bool is_exclusive(uint32_t code)
{
    return (code & 0x3fa00000) == 0x08000000 || (code & 0xbfa00000) == 0x88200000;
}

static bool is_load_exclusive(uint32_t code)
{
    return is_exclusive(code) && (code & 0x00400000) != 0;
}

static bool is_store_exclusive(uint32_t code)
{
    return is_exclusive(code) && (code & 0x00400000) == 0;
}

/* The distance in instructions that a field of WIDTH bits at bit LOWEST of CODE tells. */
static int64_t distance(uint32_t code, unsigned lowest, unsigned width)
{
    int64_t field = code >> lowest & ((1U << width) - 1);

    return field >> (width - 1) != 0 ? field - ((int64_t)1 << width) : field;
}

/* Where a branch at PLACE leads; 0 for other instructions. */
static uint64_t branch_target(uint64_t place)
{
    uint32_t code = code_at(place);
    int64_t ahead;

    if ((code & 0xff000000) == 0x54000000 || (code & 0x7e000000) == 0x34000000)
        ahead = distance(code, 5, 19); /* b.<condition>; cbz, cbnz */
    else if ((code & 0x7e000000) == 0x36000000)
        ahead = distance(code, 5, 14); /* tbz, tbnz */
    else if ((code & 0xfc000000) == 0x14000000)
        ahead = distance(code, 0, 26); /* b */
    else
        return 0;
    return place + (uint64_t)(ahead * CODE_LEN);
}

/* Behind the store that belongs to the load at PLACE; 0 if there is none. */
static uint64_t end_of_sequence(uint64_t place)
{
    for (unsigned i = 1; i < SEQUENCE_MAX; i++)
        if (is_store_exclusive(code_at(place + i * CODE_LEN)))
            return place + (i + 1) * CODE_LEN;
    return 0;
}

unsigned machine_exits(uint64_t place, uint64_t exits[MACHINE_EXITS_MAX])
{
    uint64_t end;
    unsigned count = 0;

    if (!is_load_exclusive(code_at(place)) || (end = end_of_sequence(place)) == 0)
        return 0;
    exits[count++] = end;
    for (uint64_t at = place + CODE_LEN; at < end; at += CODE_LEN) {
        uint64_t target = branch_target(at);

        if (target == 0 || (target > place && target <= end))
            continue;
        CHECK(count < MACHINE_EXITS_MAX);
        exits[count++] = target;
    }
    return count;
}
