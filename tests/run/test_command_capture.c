/* SPDX-License-Identifier: MIT */
/*
 * What is kept of an output, against a model that keeps everything: whatever the sizes of the
 * pieces and of the memory, the head, the tail and the count of what is lost are the model's. And
 * lines are the lines that were written, however they were cut on the way.
 */
#include "harness/test.h"
#include "run/command_capture.h"

#include <stdlib.h>
#include <string.h>

enum { ALL_MAX = 40000 };

static void check_view(struct capture *capture, const brood_stream *stream, const char *all,
                       size_t all_len)
{
    const size_t kept = all_len < stream->max ? all_len : stream->max;
    size_t head = kept;
    brood_bytes bytes = brood__capture_view(capture);

    if (kept < all_len && stream->keep != BROOD_KEEP_HEAD)
        head = stream->keep == BROOD_KEEP_TAIL ? 0 : stream->max - stream->max / 2;
    CHECK_EQ(bytes.len, kept);
    CHECK_EQ(bytes.head_len, head);
    CHECK_EQ(bytes.lost, all_len - kept);
    CHECK_EQ(bytes.data[kept], '\0');
    CHECK(memcmp(bytes.data, all, head) == 0);
    CHECK(memcmp(bytes.data + head, all + all_len - (kept - head), kept - head) == 0);
}

static void run_model(int keep, size_t max, size_t piece_max)
{
    const brood_stream stream = {.kind = BROOD_CAPTURE, .keep = keep, .max = max};
    struct capture capture;
    static char all[ALL_MAX];
    size_t len = 0;

    brood__capture_begin(&capture, &stream, 1);
    for (;;) {
        size_t piece = test_random_below(piece_max) + 1;

        if (piece > ALL_MAX - len)
            break;
        for (size_t i = 0; i < piece; i++)
            all[len + i] = (char)test_random_below(256);
        brood__capture_add(&capture, all + len, piece);
        len += piece;
        if (test_random_below(8) == 0)
            check_view(&capture, &stream, all, len);
    }
    check_view(&capture, &stream, all, len);
    brood__capture_done(&capture);
}

TEST(what_is_kept_is_what_a_model_keeps)
{
    for (int keep = BROOD_KEEP_HEAD; keep <= BROOD_KEEP_BOTH; keep++) {
        for (unsigned i = 0; i < 20; i++)
            run_model(keep, test_random_below(30000) + 1, test_random_below(5000) + 1);
        run_model(keep, 1, 3);
        run_model(keep, 2, 7);
        run_model(keep, ALL_MAX, 1000);
    }
}

TEST(memory_stays_within_the_bound)
{
    const brood_stream stream = {.kind = BROOD_CAPTURE, .max = 5000, .keep = BROOD_KEEP_TAIL};
    static const char zeros[ALL_MAX];
    struct capture capture;

    brood__capture_begin(&capture, &stream, 1);
    for (unsigned i = 0; i < 100; i++)
        brood__capture_add(&capture, zeros, sizeof zeros);
    CHECK_EQ(capture.size, 5000);
    brood__capture_done(&capture);
    brood__capture_begin(&capture, &(brood_stream){.max = BROOD_KEEP_NOTHING}, 1);
    brood__capture_add(&capture, zeros, sizeof zeros);
    CHECK(capture.data == NULL);
    CHECK_EQ(brood__capture_view(&capture).lost, sizeof zeros);
    CHECK_STR(brood__capture_view(&capture).data, "");
    brood__capture_done(&capture);
}

struct joined {
    char text[ALL_MAX];
    size_t len;
    bool is_open; /* the last piece had no newline: only the very last may */
};

static int join(void *arg, int fd, const char *data, size_t len)
{
    struct joined *joined = arg;

    CHECK_EQ(fd, 2);
    CHECK(!joined->is_open);
    CHECK(len > 0 && memchr(data, '\n', len - 1) == NULL);
    memcpy(joined->text + joined->len, data, len);
    joined->len += len;
    joined->is_open = data[len - 1] != '\n';
    return 0;
}

TEST(lines_are_told_as_they_were_written)
{
    static struct joined joined;
    const brood_stream stream = {
        .max = BROOD_KEEP_NOTHING, .lines = true, .on_data = join, .arg = &joined};
    static char all[ALL_MAX];
    struct capture capture;

    for (unsigned round = 0; round < 20; round++) {
        const uint64_t rarity = test_random_below(300) + 1;

        joined.len = 0;
        joined.is_open = false;
        for (size_t i = 0; i < ALL_MAX; i++)
            all[i] = test_random_below(rarity) == 0 ? '\n' : 'x';
        brood__capture_begin(&capture, &stream, 2);
        for (size_t at = 0, piece; at < ALL_MAX; at += piece) {
            piece = test_random_below(200) + 1;
            piece = piece < ALL_MAX - at ? piece : ALL_MAX - at;
            brood__capture_add(&capture, all + at, piece);
        }
        brood__capture_finish(&capture);
        CHECK_EQ(joined.len, ALL_MAX);
        CHECK(memcmp(joined.text, all, ALL_MAX) == 0);
        brood__capture_done(&capture);
    }
}

TEST(what_is_taken_is_gone_from_the_capture)
{
    struct capture capture;
    size_t len = 0;
    char *text;

    brood__capture_begin(&capture, &(brood_stream){.max = 4, .keep = BROOD_KEEP_TAIL}, 1);
    brood__capture_add(&capture, "abcdef", 6);
    text = brood__capture_take(&capture, &len);
    CHECK_STR(text, "cdef");
    CHECK_EQ(len, 4);
    free(text);
    brood__capture_done(&capture);
}
