/* SPDX-License-Identifier: MIT */
/*
 * The public face of regions: handles, and pointers instead of offsets.
 *
 * A handle is one user of the region that this process has mapped, whoever else here has it open.
 * A block passes from "being made" to "the user's" when it is zeroed, with the last store before
 * its address is returned; so a death before that store gives it back, and one in the few
 * instructions between store and return leaves a block that nobody knows of.
 *
 * Everything else about deaths is in ipc/block.c. Handles are private memory.
 */
#include "base/handle.h"
#include "ipc/block.h"
#include "ipc/member.h"
#include "ipc/region.h"
#include "sys/stable.h"

#include <brood/region.h>

#include <errno.h>

struct brood_region {
    void *stable_link;
    uint64_t magic;
    struct region *inside;
};
HANDLE_BEGINS(struct brood_region);

static struct stable_list handles;

/* What HANDLE stands for; NULL if it is NULL, or was freed. */
static struct region *inside(const brood_region *handle)
{
    return handle != NULL && handle->magic == REGION_MAGIC ? handle->inside : NULL;
}

/* REGION's user is the handle's, or given up. */
static int new_handle(brood_region **out_handle, struct region *region)
{
    brood_region *handle = brood__stable_take(&handles, sizeof *handle);

    if (handle == NULL) {
        brood__region_drop(region);
        return -ENOMEM;
    }
    handle->magic = REGION_MAGIC;
    handle->inside = region;
    *out_handle = handle;
    return 0;
}

int brood_region_new(brood_region **out_region, const brood_region_options *options)
{
    struct region *region;
    int r;

    if (out_region == NULL)
        return -EINVAL;
    r = brood__region_make(&region, REGION_PLAIN, options, 0);
    return r < 0 ? r : new_handle(out_region, region);
}

int brood_region_open(brood_region **out_region, brood_ref ref)
{
    struct region *region;
    int r;

    if (out_region == NULL)
        return -EINVAL;
    r = brood__region_find(&region, ref);
    if (r < 0)
        return r;
    if (region->kind == REGION_QUEUE || brood__region_offset(region, ref) == 0) {
        brood__region_drop(region);
        return -EINVAL;
    }
    r = new_handle(out_region, region);
    if (r == 0)
        brood__region_unpark(region);
    return r;
}

/* The calling thread's tag in REGION, or 0. */
static roster_tag tag_in(const struct region *region)
{
    const struct member *member;

    if (region->roster == NULL || brood__member(region->base, &member) < 0)
        return 0;
    return member->tag;
}

void *brood__region_alloc(struct region *region, uint64_t len)
{
    roster_tag me = len == 0 ? 0 : tag_in(region);
    uint64_t offset;

    if (me == 0 || brood__block_take_zeroed(region, me, len, &offset) < 0)
        return NULL;
    brood__block_keep(region, offset);
    return region->base + offset;
}

bool brood__region_release(struct region *region, const void *memory)
{
    uint64_t offset = (uint64_t)((uintptr_t)memory - (uintptr_t)region->base);
    bool large;

    if (region->readonly || offset >= region->len)
        return false;
    large = brood__block_len(region, offset) >= BLOCK_PUNCH_LEN_MIN;
    return brood__block_release(region, large ? tag_in(region) : 0, offset);
}

void *brood_region_alloc(brood_region *region, size_t len)
{
    struct region *there = inside(region);

    return there == NULL ? NULL : brood__region_alloc(there, len);
}

void brood_region_release(brood_region *region, void *memory)
{
    struct region *there = inside(region);

    if (there != NULL && memory != NULL)
        (void)brood__region_release(there, memory);
}

/* What lies in a queue's region belongs to the queue, and has no name. */
static brood_ref ref_in(struct region *region, const void *memory)
{
    uint64_t offset = (uint64_t)((uintptr_t)memory - (uintptr_t)region->base);

    return region->kind == REGION_QUEUE ? (brood_ref){{0, 0}} : brood__region_ref(region, offset);
}

brood_ref brood_region_ref(const brood_region *region, const void *memory)
{
    struct region *there = inside(region);
    brood_ref ref = {{0, 0}};

    if (memory == NULL || (region != NULL && there == NULL))
        return ref;
    if (there != NULL)
        return ref_in(there, memory);
    there = brood__region_around(memory);
    if (there != NULL)
        ref = ref_in(there, memory);
    brood__region_leave(there);
    return ref;
}

void *brood_region_at(const brood_region *region, brood_ref ref)
{
    struct region *there = inside(region);
    uint64_t offset = there == NULL ? 0 : brood__region_offset(there, ref);

    return offset == 0 ? NULL : there->base + offset;
}

uint64_t brood_region_used(const brood_region *region)
{
    struct region *there = inside(region);

    return there == NULL ? 0 : brood__block_used(there);
}

void brood_region_free(brood_region *region)
{
    struct region *there = inside(region);

    if (there == NULL)
        return;
    region->magic = 0;
    brood__region_drop(there);
    brood__stable_give(&handles, region);
}
