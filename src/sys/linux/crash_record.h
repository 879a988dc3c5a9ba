/* SPDX-License-Identifier: MIT */
/* What crash_catch.c writes and crash_report.c reads. */
#ifndef BROOD_SRC_SYS_LINUX_CRASH_RECORD_H
#define BROOD_SRC_SYS_LINUX_CRASH_RECORD_H

#include "sys/crash.h"
#include "sys/linux/unwind.h"

#include <stdatomic.h>

enum { CRASH_STACK_MAX = 64 * 1024 };

enum crash_state { CRASH_NONE = 0, CRASH_WRITING, CRASH_WRITTEN };

struct crash_head {
    int32_t signal, code, error;
    int32_t sender; /* the process that sent the signal, if one did */
    int32_t self;   /* the process that crashed */
    uint32_t has_registers;
    uint64_t address; /* si_addr */
    uint64_t registers[UNWIND_REGISTERS];
    uint64_t stack_start; /* where STACK was copied from */
    uint32_t stack_len;
    uint32_t maps_len;
};

struct crash_record {
    _Atomic uint32_t state;
    struct crash_head head;
    unsigned char stack[CRASH_STACK_MAX];
    char maps[]; /* lines of /proc/self/maps: the first and the executable parts of files */
};

enum { CRASH_MAPS_MAX = CRASH_RECORD_SIZE - sizeof(struct crash_record) };

#endif
