/* SPDX-License-Identifier: MIT */
/* The parts of brood_cpu_count(). */
#ifndef BROOD_SRC_SYS_CPU_H
#define BROOD_SRC_SYS_CPU_H

/* CPUs that this thread may run on; 0 when the kernel does not tell. */
unsigned brood__cpu_affinity(void);

/* The CPU quota of this process's control groups in whole CPUs, rounded up; 0: none. All files
 * are looked for below ROOT, which is "" but in tests. */
unsigned brood__cpu_quota(const char *root);

#endif
