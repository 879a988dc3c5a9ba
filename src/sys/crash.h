/* SPDX-License-Identifier: MIT */
/*
 * Crash reports: what a process was doing when a signal ended it.
 *
 * The dying process only copies (sys/linux/crash_catch.c): signal, address, registers, errno, a
 * piece of its stack and its list of modules go to a record in shared memory, then the signal is
 * raised again with its default action, so the exit status, core dumps and debuggers see what
 * they always see. The parent does the thinking (crash_report.c) and trusts nothing in the
 * record: it was written by a process that had lost its mind.
 */
#ifndef BROOD_SRC_SYS_CRASH_H
#define BROOD_SRC_SYS_CRASH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Lives in zeroed shared memory, this many bytes, aligned to 64. */
enum { CRASH_RECORD_SIZE = 128 * 1024 };
struct crash_record;

/* In the process that may crash, once its record is known; only over default dispositions. */
int brood__crash_catch(struct crash_record *record);

/* In the parent: whether a crash was recorded; its signal and the errno it had (0: unknown). */
bool brood__crash_seen(const struct crash_record *record, int *out_signal, int *out_errno);
/* Lines of text, NUL-terminated, allocated by base/memory.h; NULL: none, or no memory. */
char *brood__crash_report(const struct crash_record *record);
/* Makes the record empty again, and gives back its pages where that is possible. */
void brood__crash_clear(struct crash_record *record);

#endif
