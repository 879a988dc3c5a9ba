/* SPDX-License-Identifier: MIT */
/* The part of brood_cpu_count() that reads files, so that a test can lay them out. */
#ifndef BROOD_SRC_SYS_CPU_H
#define BROOD_SRC_SYS_CPU_H

/* The CPU quota of this process's control groups in whole CPUs, rounded up; 0: none. All files
 * are looked for below ROOT, which is "" but in tests. */
unsigned brood__cpu_quota(const char *root);

#endif
