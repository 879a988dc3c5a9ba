/* SPDX-License-Identifier: MIT */
/* Blocks of a region, by ref: one process makes a region and blocks in it, another one, which was
 * not forked from it, opens the region once and finds the blocks. Through the queue go 16 bytes for
 * each, whatever its length. */
#include <brood/easy.h>

enum { GRIDS = 8, POINTS = 100000 };

/* [both] */
static int make_grids(void *arg)
{
    brood_queue *refs = arg;
    BROOD_AUTO(region) *region = NULL;

    BROOD_MUST(brood_region_new(&region, NULL));
    for (int i = 1; i <= GRIDS; i++) {
        double *grid = BROOD_MUST_HAVE(brood_region_alloc(region, POINTS * sizeof *grid));
        for (int k = 0; k < POINTS; k++)
            grid[k] = i;
        const brood_ref ref = brood_region_ref(region, grid);
        BROOD_MUST(brood_queue_put(refs, &ref, sizeof ref, BROOD_FOREVER));
    }
    return BROOD_MUST(brood_queue_join(refs, BROOD_FOREVER)); /* it serves its refs until then */
}

static int sum_grids(void *arg)
{
    brood_queue *refs = arg;
    BROOD_AUTO(region) *region = NULL;
    brood_message message;
    double sum = 0;

    while (BROOD_MUST(brood_queue_take(refs, BROOD_FOREVER, &message)) == 1) {
        const brood_ref ref = *(const brood_ref *)message.data;
        if (region == NULL)
            BROOD_MUST(brood_region_open(&region, ref)); /* any ref of it will do */
        double *grid = BROOD_MUST_HAVE(brood_region_at(region, ref));
        for (int k = 0; k < POINTS; k++)
            sum += grid[k];
        brood_message_done(&message);
        brood_region_release(region, grid); /* no other one will read it now */
    }
    printf("The sum of all is %.0f.\n", sum);
    return 0;
}
/* [both] */

int main(void)
{
    BROOD_AUTO(queue) *refs = NULL;
    brood_process *maker, *reader;

    BROOD_MUST(brood_queue_new(&refs, &(brood_queue_options){.item_size = sizeof(brood_ref)}));
    BROOD_MUST(brood_process_start(&maker, make_grids, refs, 0, NULL));
    BROOD_MUST(brood_process_start(&reader, sum_grids, refs, 0, NULL));
    int failed = brood_process_finish(maker, "maker") != 0;
    brood_queue_close(refs);
    failed += brood_process_finish(reader, "reader") != 0;
    return failed != 0;
}
