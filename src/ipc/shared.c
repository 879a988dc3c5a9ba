/* SPDX-License-Identifier: MIT */
/*
 * brood_shared_alloc(): a region without a handle, made when it is first needed.
 *
 *     parent   [ region A: made here ]
 *     child    [ region A: a copy of the mapping ]   [ region B: made here ]
 *
 * Each process allocates in a region of its own making, so that the kernel can free it with this
 * process and its descendants, while what the parent had allocated stays usable, and can be freed,
 * in the child. A region goes when the process that made it frees the last block of it.
 *
 * What always holds: the count of blocks, in the region, is not less than there are: it is raised
 * before a block is allocated, under the lock and only by the process that made the region, and
 * lowered after one is freed, by anybody. So a region whose count is 0 can go.
 *
 * A death leaves what it leaves in brood_region_alloc(); and a process that dies between freeing a
 * block and counting it keeps the region of its parent until that ends.
 */
#include "ipc/block.h"
#include "ipc/region.h"
#include "sys/self.h"

#include <brood/region.h>

static struct {
    struct own_lock lock;
    struct region *region; /* that this process has made, or NULL */
} shared = {.lock = OWN_LOCK};

/* In a forked child: what the parent had stays mapped, and is no longer ours to allocate in. */
static void begin_anew(void)
{
    shared.region = NULL;
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
        (void)atomic_fetch_add(&region->hints->shared, 1);
    brood__own_unlock(&shared.lock);
    return region;
}

/* One block of REGION less. Under the lock: nobody begins to allocate there meanwhile. */
static void leave(const struct region *region)
{
    struct region *unused = NULL;

    brood__own_lock(&shared.lock, begin_anew);
    if (atomic_fetch_sub(&region->hints->shared, 1) == 1 && shared.region == region) {
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
    brood__region_leave(region);
}
