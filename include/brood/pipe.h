/* SPDX-License-Identifier: MIT */
/*
 * brood/pipe.h - two ends, and messages between them.
 *
 *     brood_pipe *left = NULL, *right = NULL;
 *     int r = brood_pipe_new(&left, &right, NULL);
 *     r = brood_process_start(&child, serve, right, 0, NULL);
 *     brood_pipe_free(right);                        so that the child has the only one
 *     r = brood_pipe_put(left, "hello", 5, BROOD_FOREVER);
 *
 * An end is an object of the kernel: it is gone when the last process that has it freed it, ended
 * or was killed, and the other end then sees the end of the pipe, after what was sent before. A
 * message arrives whole or not at all. Messages of any size; those over 192 KiB travel in memory
 * objects, of which an end that sends several keeps some for the next: up to 8 of 16 MiB together,
 * or 2 of up to 32 MiB each.
 *
 * Threads: any function from any thread, brood_pipe_free() last.
 * Fork:    both ends go on working in the child, and count until it frees them: an end that you
 *          forgot to free keeps the other side waiting.
 */
#ifndef BROOD_PIPE_H
#define BROOD_PIPE_H

#include <brood/base.h>
#include <brood/queue.h>
#include <brood/region.h>

BROOD_BEGIN_DECLS

typedef struct brood_pipe brood_pipe;

/* Zero, or a NULL pointer instead of the whole struct, means the default. */
typedef struct brood_pipe_options {
    bool one_way;         /* left only receives, right only sends; default: both do both */
    bool stream;          /* bytes without borders: brood_pipe_read(), brood_pipe_write() */
    uint64_t reserved[4]; /* must be zero */
} brood_pipe_options;

/*
 * All may return, besides what they say: -ETIMEDOUT, -EINVAL (also: the wrong way, or a stream's
 * call on messages), BROOD_EHANDLE, -ENOMEM, -EMFILE, -ENFILE. A timeout of 0 tries, a negative
 * one waits. What waits in vain leaves nothing in the pipe and takes nothing out.
 * An end of messages that has been waited at keeps one more descriptor, and one that has sent
 * messages over 192 KiB up to 16.
 *
 * Getting a message may also return
 *   -EMFILE   this process has no room for the descriptors that came with it (a message over
 *             192 KiB needs two of its own): that message is lost
 *   -EPROTO   the other end sent what no brood sends: that is dropped, and the pipe goes on
 */

BROOD_API BROOD_MUST_CHECK int brood_pipe_new(brood_pipe **out_left, brood_pipe **out_right,
                                              const brood_pipe_options *options);
/* One message of LEN bytes, 0 allowed. 0; or -EPIPE: the other end is gone. Of a message over
 * 192 KiB, which travels as a memory object, also -EFBIG: beyond this process's limit for files,
 * and -ETOOMANYREFS: as brood_pipe_put_fds(). */
BROOD_API BROOD_MUST_CHECK int brood_pipe_put(brood_pipe *pipe, const void *data, size_t len,
                                              int64_t timeout_ms);
/* A message with up to 64 descriptors, which stay yours. As brood_pipe_put(); -EBADF;
 * -ETOOMANYREFS: too many descriptors of this user are under way. */
BROOD_API BROOD_MUST_CHECK int brood_pipe_put_fds(brood_pipe *pipe, const void *data, size_t len,
                                                  const int *fds, unsigned fd_count,
                                                  int64_t timeout_ms);
/* Copies a message of at most SIZE bytes. 1 and sets *OUT_LEN (may be NULL); 0: the other end is
 * gone, and nothing is left; -EMSGSIZE: it is longer, and stays: with this handle in this process,
 * for the next get or take. Descriptors in it are closed. After an error some of DATA may have been
 * written to. */
BROOD_API BROOD_MUST_CHECK int brood_pipe_get(brood_pipe *pipe, void *data, size_t size,
                                              size_t *out_len, int64_t timeout_ms);
/* A message of any size: 1 and fills *OUT_MESSAGE, until brood_message_done(), or return, which
 * here is the same; 0 as above. -ENOMEM: there is no room for it, and it stays as above. */
BROOD_API BROOD_MUST_CHECK int brood_pipe_take(brood_pipe *pipe, int64_t timeout_ms,
                                               brood_message *out_message);
/* As take, with descriptors: up to *INOUT_COUNT into FDS, yours and close-on-exec; those beyond
 * are closed. Sets *INOUT_COUNT. */
BROOD_API BROOD_MUST_CHECK int brood_pipe_take_fds(brood_pipe *pipe, int64_t timeout_ms,
                                                   brood_message *out_message, int *fds,
                                                   unsigned *inout_count);
/* Whether get would not wait: 1 (also at the end), or 0 after TIMEOUT_MS. */
BROOD_API BROOD_MUST_CHECK int brood_pipe_poll(brood_pipe *pipe, int64_t timeout_ms);

/* A stream's bytes: how many were read (at least 1, at most SIZE), 0 at the end. */
BROOD_API BROOD_MUST_CHECK int64_t brood_pipe_read(brood_pipe *pipe, void *data, size_t size,
                                                   int64_t timeout_ms);
/* All LEN bytes: LEN, or how many were written before the time was over (-ETIMEDOUT if none), or
 * before the other end went (-EPIPE if none). */
BROOD_API BROOD_MUST_CHECK int64_t brood_pipe_write(brood_pipe *pipe, const void *data, size_t len,
                                                    int64_t timeout_ms);

/* A descriptor that polls readable when get or read would not wait, made at the first call in this
 * process. Borrowed; do not read or close it. */
BROOD_API int brood_pipe_fd(brood_pipe *pipe);
/* A ref of this end, to be opened once, elsewhere, while this process lives; the end is held open
 * for it until then, whether or not you free yours. All zero: it cannot be served, or a message
 * that was too long for get still stays. */
BROOD_API brood_ref brood_pipe_ref(brood_pipe *pipe);
/* As brood_region_open(). -EINVAL: REF names something else; BROOD_EREF also: it was
 * opened already. */
BROOD_API BROOD_MUST_CHECK int brood_pipe_open(brood_pipe **out_pipe, brood_ref ref);
/* This process's copy of this end. NULL is allowed. */
BROOD_API void brood_pipe_free(brood_pipe *pipe);

BROOD_END_DECLS

#endif
