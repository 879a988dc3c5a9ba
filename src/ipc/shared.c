/* SPDX-License-Identifier: MIT */
/*
 * brood_shared_alloc(): a region without a handle, made when it is first needed.
 *
 *     parent   [ region A: made here ]
 *     child    [ region A: a copy of the mapping ]   [ region B: made here ]
 *
 * Each process allocates in a region of its own making, so that the kernel can free it with this
 * process and its descendants, while what the parent had allocated stays usable, and can be freed,
 * in the child. A region goes when the last block of it is freed by the process that made it; if
 * others have freed some of them, it stays until that process ends.
 *
 * What always holds: SHARED.blocks is not less than the blocks that this process has allocated and
 * not freed; it counts one more from before an allocation begins, so nobody drops the region then.
 *
 * A death leaves what brood_region_alloc() leaves.
 */
#include "ipc/block.h"
#include "ipc/region.h"
#include "sys/self.h"

#include <brood/region.h>

static struct {
    struct own_lock lock;
    struct region *region; /* that this process has made, or NULL */
    uint64_t blocks;
} shared = {.lock = OWN_LOCK};

/* In a forked child: what the parent had stays mapped, and is no longer ours to allocate in. */
static void begin_anew(void)
{
    shared.region = NULL;
    shared.blocks = 0;
}

/* The region, with one more block counted; or NULL. */
static struct region *enter(void)
{
    static const brood_region_options options = {.name = "brood shared"};
    struct region *region;

    brood__own_lock(&shared.lock, begin_anew);
    if (shared.region == NULL && brood__region_make(&shared.region, REGION_SHARED, &options, 0) < 0)
        shared.region = NULL;
    region = shared.region;
    if (region != NULL)
        shared.blocks++;
    brood__own_unlock(&shared.lock);
    return region;
}

/* One block less, if it was one of REGION that is ours. */
static void leave(const struct region *region)
{
    struct region *unused = NULL;

    brood__own_lock(&shared.lock, begin_anew);
    if (shared.region == region && --shared.blocks == 0) {
        unused = shared.region;
        shared.region = NULL;
    }
    brood__own_unlock(&shared.lock);
    brood__region_drop(unused);
}

void *brood_shared_alloc(size_t len)
{
    struct region *region = len == 0 ? NULL : enter();
    void *memory;

    if (region == NULL)
        return NULL;
    memory = brood__region_alloc(region, len);
    if (memory == NULL)
        leave(region);
    return memory;
}

void brood_shared_free(void *memory)
{
    struct region *region = memory == NULL ? NULL : brood__region_around(memory);

    if (region != NULL && region->kind == REGION_SHARED && brood__region_release(region, memory))
        leave(region);
    brood__region_drop(region);
}
