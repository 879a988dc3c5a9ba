/* SPDX-License-Identifier: MIT */
/* Waiting for another CPU for some microseconds, without sleeping. */
#ifndef BROOD_SRC_IPC_SPIN_H
#define BROOD_SRC_IPC_SPIN_H

#include "sys/kernel.h"

/* Looks of about 10 us in all, when nobody else wants to run here. */
enum { SPIN_LOOKS = 200 };

static inline void spin_relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* Look I of a loop that waits for the other side. Now and then it lets that side run here: where
 * there are fewer CPUs than processes, it may be waiting for this one. */
static inline void spin_pause(unsigned i)
{
    if (i % 16 == 15)
        brood__yield();
    else
        spin_relax();
}

#endif
