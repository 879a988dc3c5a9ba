/* SPDX-License-Identifier: MIT */
/* SHA-256 (FIPS 180-4) of one piece of memory. */
#ifndef DEMO_SHA256_H
#define DEMO_SHA256_H

#include <stddef.h>
#include <stdint.h>

enum { SHA256_WORDS = 8 };

void sha256(const void *data, size_t len, uint32_t out_digest[SHA256_WORDS]);

#endif
