/* SPDX-License-Identifier: MIT */
/* Frames of a megabyte from one process to two others, without a copy: the camera writes into the
 * memory that a worker then reads. A worker that is killed over a frame does not take it along: the
 * other one gets it. */
#include <brood/easy.h>
#include <string.h>

enum { FRAME_LEN = 1 << 20, FRAMES = 300 };

/* [both] */
static int capture(void *arg)
{
    brood_queue *frames = arg;
    brood_message frame;

    for (int i = 0; i < FRAMES; i++) {
        BROOD_MUST(brood_queue_reserve(frames, FRAME_LEN, BROOD_FOREVER, &frame));
        memset(frame.data, i, frame.len);
        BROOD_MUST(brood_queue_send(frames, &frame));
    }
    return 0;
}

static int inspect(void *arg)
{
    brood_queue *frames = arg;
    brood_message frame;
    int whole = 0;

    while (BROOD_MUST(brood_queue_take(frames, BROOD_FOREVER, &frame)) == 1) {
        const char *pixel = frame.data;
        /* Equal to itself moved by one: all pixels have the same value. */
        whole += memcmp(pixel, pixel + 1, frame.len - 1) == 0;
        brood_message_done(&frame);
    }
    printf("%s: %d whole frames\n", brood_process_name(brood_process_current()), whole);
    return 0;
}
/* [both] */

int main(void)
{
    BROOD_AUTO(queue) *frames = NULL;
    brood_process *camera, *left, *right;
    int failed = 0;

    BROOD_MUST(
        brood_queue_new(&frames, &(brood_queue_options){.item_size = FRAME_LEN, .capacity = 8}));
    BROOD_MUST(brood_process_start(&camera, capture, frames, 0, NULL));
    BROOD_MUST(
        brood_process_start(&left, inspect, frames, 0, &(brood_process_options){.name = "left"}));
    BROOD_MUST(
        brood_process_start(&right, inspect, frames, 0, &(brood_process_options){.name = "right"}));

    failed += brood_process_finish(camera, "camera") != 0;
    brood_queue_close(frames); /* the workers get what is left, and then the end */
    failed += brood_process_finish(left, "left") != 0;
    failed += brood_process_finish(right, "right") != 0;
    return failed != 0;
}
