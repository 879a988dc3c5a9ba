/* SPDX-License-Identifier: MIT */
/*
 * Crashes in the C library, with a crash record in the memory object that is its first argument:
 * a process like the workers of a fork server, whose modules lie elsewhere than its parent's.
 */
#include "sys/crash.h"
#include "sys/kernel.h"

#include <limits.h>
#include <stdlib.h>
#include <sys/resource.h>

int main(int argc, char **argv)
{
    const struct rlimit none = {0, 0};
    void *memory;
    char *end;
    long fd;

    if (argc != 2)
        return 98;
    fd = strtol(argv[1], &end, 10);
    if (end == argv[1] || *end != '\0' || fd < 0 || fd > INT_MAX)
        return 98;
    if (setrlimit(RLIMIT_CORE, &none) < 0 ||
        brood__memory_map(&memory, (int)fd, 0, CRASH_RECORD_SIZE) < 0 ||
        brood__crash_catch(memory) < 0)
        return 99;
    abort();
}
