/* SPDX-License-Identifier: MIT */
/*
 * Output that waits for its turn.
 *
 * All spools together keep MEMORY_MAX bytes in memory. What is more goes to a file of the spool,
 * which has no name from its birth, so nothing is left behind however the program ends. If the disk
 * is full, that is the error of the job whose output it is; the others have their own files and
 * memory.
 */
#include "spool.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MEMORY_MAX ((uint64_t)64 << 20)
#define MEMORY_EACH_MAX ((size_t)1 << 20)

static const char *directory;
static uint64_t memory_used;

void spool_directory_is(const char *wanted)
{
    directory = wanted != NULL ? wanted : getenv("TMPDIR");
    if (directory == NULL || *directory == '\0')
        directory = "/tmp";
}

int temporary_file(struct text *out_path)
{
    int fd;

    text_clear(out_path);
    text_printf(out_path, "%s/broodXXXXXX", directory);
    fd = mkostemp(out_path->data, O_CLOEXEC);
    return fd >= 0 ? fd : -errno;
}

static int unnamed_file(void)
{
    struct text path = {0};
    int fd = open(directory, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

    if (fd >= 0)
        return fd;
    fd = temporary_file(&path);
    if (fd >= 0)
        (void)unlink(path.data);
    text_done(&path);
    return fd;
}

static int write_all(int fd, const char *data, size_t len)
{
    while (len > 0) {
        const ssize_t written = write(fd, data, len);

        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0)
            return written < 0 ? -errno : -EIO;
        data += written;
        len -= (size_t)written;
    }
    return 0;
}

/* From now on the bytes of SPOOL are in a file. */
static int move_to_file(struct spool *spool)
{
    const int fd = unnamed_file();
    int r;

    if (fd < 0)
        return fd;
    r = write_all(fd, text_string(&spool->memory), spool->memory.len);
    if (r < 0) {
        close(fd);
        return r;
    }
    memory_used -= spool->memory.len;
    text_done(&spool->memory);
    spool->file = fd + 1;
    return 0;
}

int spool_add(struct spool *spool, const char *data, size_t len)
{
    int r = spool->error;

    if (r < 0)
        return r;
    if (spool->file == 0 &&
        (spool->memory.len + len > MEMORY_EACH_MAX || memory_used + len > MEMORY_MAX))
        r = move_to_file(spool);
    if (r == 0 && spool->file != 0)
        r = write_all(spool->file - 1, data, len);
    if (r < 0) {
        spool->error = r;
        return r;
    }
    if (spool->file == 0) {
        text_add(&spool->memory, data, len);
        memory_used += len;
    }
    spool->len += len;
    return 0;
}

int spool_read(const struct spool *spool, void (*give)(void *arg, const char *data, size_t len),
               void *arg)
{
    char buffer[65536];
    uint64_t at = 0;

    if (spool->memory.len > 0)
        give(arg, spool->memory.data, spool->memory.len);
    while (spool->file != 0 && at < spool->len) {
        const ssize_t got = pread(spool->file - 1, buffer, sizeof buffer, (off_t)at);

        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return got < 0 ? -errno : -EIO;
        if ((uint64_t)got > spool->len - at)
            give(arg, buffer, (size_t)(spool->len - at));
        else
            give(arg, buffer, (size_t)got);
        at += (uint64_t)got;
    }
    return 0;
}

void spool_done(struct spool *spool)
{
    memory_used -= spool->memory.len;
    text_done(&spool->memory);
    if (spool->file != 0)
        close(spool->file - 1);
    *spool = (struct spool){0};
}
