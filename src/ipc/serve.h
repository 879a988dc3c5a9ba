/* SPDX-License-Identifier: MIT */
/*
 * Refs: how 16 bytes become a descriptor in another process.
 *
 * A process that makes a ref listens on an abstract unix socket that is named after the ref's first
 * word, and hands the object's descriptor to processes of the same user that connect. One helper
 * thread does it for all refs of the process; it sleeps in poll() and ends with the last one.
 */
#ifndef BROOD_SRC_IPC_SERVE_H
#define BROOD_SRC_IPC_SERVE_H

#include <brood/region.h>

#include <stdbool.h>
#include <stdint.h>

/* So many processes serve one number at a time. */
enum { SERVE_PLACES = 64 };

/* Serves FD under NUMBER, not 0, until brood__serve_stop(). FD is borrowed, unless ONCE: then it is
 * taken in every case, and closed after it was given to somebody, stopped or not served. 0 (also if
 * NUMBER is served already, here or by so many other processes that no place is left; when one is
 * free again the next call takes it) or a negative error; -EADDRINUSE: no place is left, ONCE. In a
 * forked child nothing is served until it serves itself. */
int brood__serve(uint64_t number, int fd, bool once);
void brood__serve_stop(uint64_t number);
/* Asks whoever serves NUMBER: a descriptor of the caller's, or BROOD_EREF (nobody), -EPERM,
 * -ETIMEDOUT (2 s), -EPROTO (somebody else has that name), or what the system says. */
int brood__serve_ask(uint64_t number);
/* 64 bits that nobody can guess. 0 or a negative error. */
int brood__serve_number(uint64_t *out_number);

#endif
