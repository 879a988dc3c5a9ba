/* SPDX-License-Identifier: MIT */
/* The names of signals, the same with every C library. */
#ifndef BROOD_SRC_BASE_SIGNAL_NAME_H
#define BROOD_SRC_BASE_SIGNAL_NAME_H

enum { SIGNAL_NAME_SIZE = 24 };

/* "SIGSEGV", "SIGRTMIN+3", or "signal 99" for what has no name. Returns BUFFER. */
const char *brood__signal_name(int signo, char buffer[SIGNAL_NAME_SIZE]);

#endif
