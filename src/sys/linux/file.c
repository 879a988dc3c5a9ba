/* SPDX-License-Identifier: MIT */
/* Whole files as text: read again with four times the room until it is enough. */
#include "sys/file.h"

#include "base/memory.h"
#include "sys/kernel.h"

#include <errno.h>

char *brood__file_text(const char *path, size_t len_max, size_t *out_len)
{
    for (size_t size = 16384; size / 4 <= len_max; size *= 4) {
        char *text = brood__alloc(size);
        int64_t len = text == NULL ? -ENOMEM : brood__file_read(path, text, size);

        if (len >= 0 && (size_t)len < size - 1) {
            if (out_len != NULL)
                *out_len = (size_t)len;
            return text;
        }
        brood__free(text);
        if (len < 0)
            return NULL;
    }
    return NULL;
}
