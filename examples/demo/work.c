/* SPDX-License-Identifier: MIT */
/*
 * One file, from its path to four numbers. Nothing here knows of processes: the same function
 * is called by the workers of the pool and by the plain loop that the pool is compared with.
 */
#include "work.h"
#include "box.h"
#include "sha256.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#ifdef DEMO_ZLIB
#include <zlib.h>
#endif

struct text {
    unsigned char *data;
    size_t len;
};

static int read_all(int fd, struct text *out_text)
{
    struct stat status;

    if (fstat(fd, &status) < 0)
        return -errno;
    size_t size = (size_t)status.st_size, len = 0;
    unsigned char *data = malloc(size + 1);
    if (data == NULL)
        return -ENOMEM;
    while (len < size) {
        ssize_t n = read(fd, data + len, size - len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            int r = -errno;
            free(data);
            return r;
        }
        if (n == 0)
            break; /* it has become shorter meanwhile */
        len += (size_t)n;
    }
    *out_text = (struct text){data, len};
    return 0;
}

static int read_file(const char *path, struct text *out_text)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return -errno;
    int r = read_all(fd, out_text);
    close(fd);
    return r;
}

#ifdef DEMO_ZLIB
static bool is_gzip(const struct text *text)
{
    return text->len >= 18 && text->data[0] == 0x1f && text->data[1] == 0x8b;
}

static int inflate_all(z_stream *stream, struct text *out_text)
{
    struct text text = {NULL, 0};
    size_t size = 0;
    int status = Z_OK;

    while (status == Z_OK) {
        if (text.len == size) {
            size = size > 0 ? 2 * size : 1 << 16;
            unsigned char *more = realloc(text.data, size);
            if (more == NULL)
                break;
            text.data = more;
        }
        stream->next_out = text.data + text.len;
        stream->avail_out = (uInt)(size - text.len);
        status = inflate(stream, Z_NO_FLUSH);
        text.len = size - stream->avail_out;
    }
    if (status != Z_STREAM_END) {
        free(text.data);
        return status == Z_OK ? -ENOMEM : -EBADMSG;
    }
    *out_text = text;
    return 0;
}

/* Replaces a gzip file by what it holds; a broken one stays as it is. */
static int decompress(struct text *text)
{
    z_stream stream = {.next_in = text->data, .avail_in = (uInt)text->len};
    struct text inflated = {NULL, 0};

    if (!is_gzip(text))
        return 0;
    if (inflateInit2(&stream, 15 + 16) != Z_OK)
        return -ENOMEM;
    int r = inflate_all(&stream, &inflated);
    inflateEnd(&stream);
    if (r == 0) {
        free(text->data);
        *text = inflated;
    }
    return r == -EBADMSG ? 0 : r;
}
#else
static int decompress(struct text *text)
{
    (void)text;
    return 0;
}
#endif

static void count_text(const struct text *text, struct work *work)
{
    bool inside = false;

    for (size_t i = 0; i < text->len; i++) {
        unsigned char c = text->data[i];
        bool word = isalnum(c) || c == '_' || c >= 0x80; /* the bytes of UTF-8 are letters here */
        work->words += word && !inside;
        work->lines += c == '\n';
        inside = word;
    }
}

static int work_on_text(const struct text *text, struct work *out_work)
{
    struct work work = {.bytes = text->len};
    uint32_t digest[SHA256_WORDS];

    if (box_is(text->data, text->len)) {
        int64_t words = box_count_words(text->data, text->len);
        if (words < 0)
            return (int)words;
        work.words = (uint64_t)words;
    } else {
        count_text(text, &work);
    }
    sha256(text->data, text->len, digest);
    work.digest = (uint64_t)digest[0] << 32 | digest[1];
    *out_work = work;
    return 0;
}

int work_on_file(const char *path, struct work *out_work)
{
    struct text text = {NULL, 0};
    int r = read_file(path, &text);

    if (r < 0)
        return r;
    r = decompress(&text);
    if (r == 0)
        r = work_on_text(&text, out_work);
    free(text.data);
    return r;
}
