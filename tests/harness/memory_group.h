/* SPDX-License-Identifier: MIT */
/*
 * A group of processes that may have so much memory together, and that the kernel's OOM killer
 * comes for when they take more: a memory cgroup, of either version.
 *
 *     struct memory_group group;
 *     const char *impossible = memory_group_open(&group, 48 << 20);
 *
 *     if (impossible != NULL)
 *         SKIP("%s", impossible);
 *     if (fork() == 0) { memory_group_join(&group); memory_group_eat(&group); }
 *     ...
 *     memory_group_close(&group);
 *
 * What a process touched before it joined is not counted.
 */
#ifndef BROOD_TESTS_HARNESS_MEMORY_GROUP_H
#define BROOD_TESTS_HARNESS_MEMORY_GROUP_H

#include <stdint.h>

struct memory_group {
    char path[512];
    uint64_t len_max;
};

/* NULL, or why there can be none. LEN_MAX in bytes. */
const char *memory_group_open(struct memory_group *out, uint64_t len_max);
/* This process, with all of its threads. */
void memory_group_join(const struct memory_group *group);
/* Takes memory until this process, or another of the group, is killed for it, and then goes on. */
void memory_group_eat(const struct memory_group *group) __attribute__((noreturn));
/* How many of its processes the OOM killer has killed. */
unsigned memory_group_kills(const struct memory_group *group);
/* All its processes must have been reaped. */
void memory_group_close(const struct memory_group *group);

#endif
