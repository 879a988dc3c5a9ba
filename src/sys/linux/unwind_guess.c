/* SPDX-License-Identifier: MIT */
/*
 * Unwinding where there are no tables: frame pointers, and the words of the stack themselves.
 *
 * C libraries and programs may be built without .eh_frame tables, and after a call of a bad
 * pointer there is no code to have any. Then all that can be had are guesses, and each one is
 * tested: a caller is only believed if the instruction before its address is a call. Searching
 * may still find a call that returned long ago, so the report marks what was found like that.
 *
 * The code that is looked at is that of this process, inside of dl_iterate_phdr(), so that
 * nobody unloads it meanwhile. Keeps no state; unwind.c says what is trusted.
 */
#include "sys/linux/unwind.h"

#include <link.h>
#include <stddef.h>

enum { WORDS_MAX = 1024 };

static void set(struct unwind_frame *frame, unsigned number, uint64_t value)
{
    frame->registers[number] = value;
    frame->known |= (uint64_t)1 << number;
}

bool brood__unwind_by_pointers(struct unwind_frame *frame, const struct unwind_guess *guess)
{
    uint64_t fp = frame->registers[UNWIND_FP];
    uint64_t pc, next;

    if (!(frame->known >> UNWIND_FP & 1) || fp % 8 != 0 || fp < frame->registers[UNWIND_SP] ||
        !brood__unwind_read(guess->stack, fp, &next) ||
        !brood__unwind_read(guess->stack, fp + 8, &pc) || !guess->is_return(guess, pc))
        return false;
    *frame = (struct unwind_frame){0};
    set(frame, UNWIND_FP, next);
    set(frame, UNWIND_SP, fp + 16);
    set(frame, UNWIND_PC, pc);
    return true;
}

bool brood__unwind_bad_call(struct unwind_frame *frame, const struct unwind_guess *guess)
{
    uint64_t sp = frame->registers[UNWIND_SP];
    uint64_t pc = 0;

#if defined(__aarch64__)
    pc = frame->registers[UNWIND_LINK];
#else
    if (!brood__unwind_read(guess->stack, sp, &pc))
        return false;
    sp += 8;
#endif
    if (!guess->is_return(guess, pc))
        return false;
    set(frame, UNWIND_SP, sp);
    set(frame, UNWIND_PC, pc);
    frame->is_signal = false;
    return true;
}

bool brood__unwind_by_search(struct unwind_frame *frame, const struct unwind_guess *guess)
{
    uint64_t sp = frame->registers[UNWIND_SP];
    uint64_t at, pc;

    if (sp < guess->stack->start) /* after an overflow */
        sp = guess->stack->start;
    at = (sp + 7) & ~(uint64_t)7;
    for (unsigned i = 0; i < WORDS_MAX && brood__unwind_read(guess->stack, at, &pc); i++, at += 8) {
        if (!guess->is_return(guess, pc))
            continue;
        *frame = (struct unwind_frame){0};
        set(frame, UNWIND_SP, at + 8);
        set(frame, UNWIND_PC, pc);
        return true;
    }
    return false;
}

struct look {
    uint64_t here;
    bool is_call;
};

/* CODE is what stands before the address; ROOM bytes of it may be read. */
static bool ends_with_call(const unsigned char *end, size_t room)
{
#if defined(__x86_64__)
    if (room >= 5 && end[-5] == 0xE8) /* to a relative address */
        return true;
    for (unsigned len = 2; len <= 7 && len <= room; len++) /* through a register or memory */
        if (end[-(int)len] == 0xFF && (end[1 - (int)len] >> 3 & 7) == 2)
            return true;
    return false;
#elif defined(__aarch64__)
    uint32_t code;

    if (room < 4)
        return false;
    memcpy(&code, end - 4, 4);
    return code >> 26 == 0x25 || (code & 0xFFFFFC1F) == 0xD63F0000; /* bl, blr */
#else
    (void)end;
    (void)room;
    return false;
#endif
}

static int visit_module(struct dl_phdr_info *info, size_t size, void *context)
{
    const unsigned rights = PF_R | PF_X;
    struct look *look = context;

    (void)size;
    for (unsigned i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *part = &info->dlpi_phdr[i];
        uint64_t inside = look->here - (info->dlpi_addr + part->p_vaddr);

        if (part->p_type != PT_LOAD || (part->p_flags & rights) != rights ||
            inside > part->p_filesz)
            continue;
        look->is_call = ends_with_call((const unsigned char *)(uintptr_t)look->here, inside);
        return 1;
    }
    return 0;
}

bool brood__unwind_after_call(uint64_t here)
{
    struct look look = {.here = here};

    (void)dl_iterate_phdr(visit_module, &look);
    return look.is_call;
}
