/* SPDX-License-Identifier: MIT */
/* What is kept of a command's output, and what is told of it. */
#ifndef BROOD_SRC_RUN_COMMAND_CAPTURE_H
#define BROOD_SRC_RUN_COMMAND_CAPTURE_H

#include <brood/command.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { CAPTURE_LINE_MAX = 1 << 20 };

/* Zeroed and begun; done gives its memory back. */
struct capture {
    char *data;           /* SIZE bytes and one for a NUL, or NULL */
    size_t size, len;     /* len bytes are there, in order unless the ring has turned */
    size_t max, head_max; /* the ring is what lies between them */
    size_t turn;          /* in the ring: its oldest byte */
    uint64_t lost;        /* bytes */
    char *line;           /* the beginning of a line whose end has not come */
    size_t line_len, line_size;
    brood_data_fn *on_data;
    void *arg;
    int fd;                         /* 1 or 2, for on_data */
    bool lines, no_memory, refused; /* refused: on_data has said so and is not called any more */
};

/* STREAM's options, which must be checked; FD is 1 or 2. */
void brood__capture_begin(struct capture *capture, const brood_stream *stream, int fd);
void brood__capture_add(struct capture *capture, const char *data, size_t len);
/* Nothing more will come: the last line is told. */
void brood__capture_finish(struct capture *capture);
/* Borrowed until the next add or done. */
brood_bytes brood__capture_view(struct capture *capture);
/* What is kept, for free(3), at least one byte, with a NUL behind it; NULL: no memory. Nothing is
 * kept any more. */
char *brood__capture_take(struct capture *capture, size_t *out_len);
void brood__capture_done(struct capture *capture);

#endif
