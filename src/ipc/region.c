/* SPDX-License-Identifier: MIT */
/*
 * Regions: made, opened, mapped once per process, and let go.
 *
 *     process:  regions ---> [ region, users 2 ] ---> [ region, users 1 ]       under REGIONS_LOCK
 *                                 |  base, len             |
 *     object:   [ head | roster | table of chunks | chunks ........ ]
 *
 * The object is sized once, sealed against any change of its size, and sparse. So a place in it is
 * an offset for ever, growing needs nobody's consent, and no touch can miss the end of it. Pages
 * are committed before they are touched: the head and the roster here, the others by ipc/block.c.
 * A region that others may only read gets its last seal after it is mapped: the kernel lets
 * mappings that exist write on, also those that a fork copies.
 *
 * The head is written before anybody can know of the object. Who opens one copies the head before
 * it maps, believes nothing but the number of slots and of chunks, computes every place from
 * those, and opens it only if all of it comes out equal and fits the size that the kernel
 * tells. A hostile object may hold anything behind that, and change it at any time: offsets that
 * are read there are bounded where they are read.
 *
 * In a forked child the list, the mappings and the descriptors are copies that go on working. A
 * fork holds the lock of the list. Threads that only visit a region, for the length of a call,
 * are not in the child: so their users are taken off there. A raw clone() knows of no lock: for it
 * the list is whole at every moment, as an entry is complete before one store shows it, and one
 * store takes it off; but what such a child has copied of a visit stays mapped until it ends.
 *
 * A death leaves nothing to repair: the list is private, and the kernel frees the object with the
 * last process that has it. One killed while it makes a region is the only one that has it.
 *
 * Not here: blocks (ipc/block.c), and how a descriptor gets to another process (ipc/serve.h).
 */
#include "ipc/region.h"

#include "base/memory.h"
#include "base/reserved.h"
#include "ipc/block.h"
#include "ipc/chunk.h"
#include "ipc/member.h"
#include "ipc/reference.h"
#include "ipc/serve.h"
#include "sys/kernel.h"
#include "sys/self.h"

#include <errno.h>
#include <stdatomic.h>

#define MAGIC UINT64_C(0x6e6f69676572620a)
#define SIZE_DEFAULT ((uint64_t)16 << 30)
#define SIZE_DEFAULT_MIN ((uint64_t)64 << 20)

struct region_head {
    uint64_t magic;
    uint32_t abi, kind;
    uint64_t number, size, roster, table, chunks, root;
    uint32_t chunk_count, chunk_shift, slots, unused;
    struct block_hints hints;
};

/* Where everything is in an object with so many slots and chunks. */
struct layout {
    uint32_t slots, chunk_count;
    unsigned chunk_shift;
    uint64_t roster, table, chunks, size;
};

/* Guards .served, and lasts from there to what serves or stops. Locked before REGIONS_LOCK. */
static struct own_lock serving_lock = OWN_LOCK;
static bool forks_watched; /* guarded by it, too */
/* A fork holds it, and the gate of sys/self.h: so nothing that takes the gate is called under it,
 * as brood__serve() and brood__serve_stop() would. */
static struct own_lock regions_lock = OWN_LOCK;
/* Release and acquire, so that a raw clone() beside another thread copies a list of complete
 * entries. */
static _Atomic(struct region *) regions;

/* ---- places ---- */

static unsigned page_shift(void)
{
    return (unsigned)__builtin_ctzll(brood__page_size());
}

static uint64_t page_ceil(uint64_t len)
{
    uint64_t page = brood__page_size();

    return (len + page - 1) & ~(page - 1);
}

static struct layout layout_of(uint32_t slots, uint32_t chunk_count)
{
    struct layout layout = {
        .slots = slots, .chunk_count = chunk_count, .chunk_shift = page_shift()};

    layout.roster = page_ceil(sizeof(struct region_head));
    layout.table = page_ceil(layout.roster + brood__roster_len(slots));
    layout.chunks = page_ceil(layout.table + (uint64_t)chunk_count * sizeof(struct block_entry));
    layout.size = layout.chunks + ((uint64_t)chunk_count << layout.chunk_shift);
    return layout;
}

/* For LEN bytes in blocks. */
static int plan(struct layout *out_layout, const brood_region_options *options, uint64_t len)
{
    unsigned slots = options->participants_max;
    uint64_t chunk_count;

    if (len > UINT64_MAX / 2)
        return -EFBIG;
    chunk_count = page_ceil(len) >> page_shift();
    if (chunk_count >= UINT32_MAX)
        return -EFBIG;
    *out_layout = layout_of(slots == 0 ? ROSTER_SLOTS_DEFAULT : slots, (uint32_t)chunk_count);
    return 0;
}

/* ---- mapped and listed ---- */

static void place(struct region *region, const struct layout *layout)
{
    region->len = layout->size;
    region->slots = layout->slots;
    region->table = layout->table;
    region->chunks = layout->chunks;
    region->chunk_count = layout->chunk_count;
    region->chunk_shift = layout->chunk_shift;
}

static int map_object(struct region *region)
{
    void *base = NULL;
    int r = region->readonly ? brood__memory_map_readonly(&base, region->fd, 0, region->len)
                             : brood__memory_map(&base, region->fd, 0, region->len);

    if (r < 0)
        return r;
    region->base = base;
    region->hints = &((struct region_head *)base)->hints;
    return 0;
}

/* No thread of this process is in it any more. */
static void unmap_object(void *context)
{
    struct region *region = context;

    brood__memory_unmap(region->base, region->len);
    brood__free(region);
}

/* Off the list, or never on it. */
static void end_region(struct region *region)
{
    brood__fd_close(region->fd);
    if (brood__member_unlist(region->base, unmap_object, region))
        unmap_object(region);
}

static int list_members(struct region *region, struct roster *roster)
{
    int r = brood__member_list(region->base, region->len, roster);

    if (r == 0)
        region->roster = roster;
    return r;
}

/* With the lock. */
static void list_region(struct region *region)
{
    region->users = 1;
    region->next = regions;
    regions = region;
}

/* With the lock. */
static void unlist_region(const struct region *region)
{
    struct region *before = regions;

    if (before == region) {
        regions = region->next;
        return;
    }
    while (before->next != region)
        before = before->next;
    before->next = region->next;
}

/* With the lock. */
static struct region *find_number(uint64_t number)
{
    struct region *region = regions;

    while (region != NULL && region->number != number)
        region = region->next;
    return region;
}

/* ---- fork ---- */

static void before_fork(void)
{
    brood__own_lock(&regions_lock, NULL);
}

static void in_parent(void)
{
    brood__own_unlock(&regions_lock);
}

/* With the lock. One that nobody is left to use, or NULL. */
static struct region *take_unused(void)
{
    struct region *region = regions;

    while (region != NULL && region->users > 0)
        region = region->next;
    if (region != NULL)
        unlist_region(region);
    return region;
}

/* Visitors are threads of the parent's: one that forks is in no such call. */
static void in_child(void)
{
    struct region *unused;

    brood__own_lock(&regions_lock, NULL);
    for (struct region *region = regions; region != NULL; region = region->next) {
        region->users -= region->visitors;
        region->visitors = 0;
    }
    do {
        unused = take_unused();
        if (unused != NULL)
            end_region(unused);
    } while (unused != NULL);
    brood__own_unlock(&regions_lock);
}

/* Once, before there is a region: 0 or -ENOMEM. */
static int watch_forks(void)
{
    int r = 0;

    brood__own_lock(&serving_lock, NULL);
    if (!forks_watched)
        r = brood__at_fork(before_fork, in_parent, in_child);
    forks_watched = r == 0;
    brood__own_unlock(&serving_lock);
    return r;
}

/* ---- making ---- */

/* The object and its mapping, for LEN bytes in blocks. */
static int make_object(struct region *region, const brood_region_options *options, uint64_t len)
{
    const char *name = options->name != NULL ? options->name : "brood";
    struct layout layout;
    int r = plan(&layout, options, len);

    if (r < 0)
        return r;
    r = options->readonly_elsewhere ? brood__memory_object_open(name, layout.size)
                                    : brood__memory_object(name, layout.size);
    if (r < 0)
        return r;
    region->fd = r;
    place(region, &layout);
    r = map_object(region);
    if (r < 0)
        region->fd = brood__fd_close(region->fd);
    return r;
}

/* Where addresses or the size of files are limited, a default is what there is. */
static int make_some_object(struct region *region, const brood_region_options *options,
                            uint64_t root_len)
{
    uint64_t len = options->size_max != 0 ? options->size_max : SIZE_DEFAULT;
    int r;

    if (root_len > UINT64_MAX / 4 || len > UINT64_MAX / 4)
        return -EFBIG;
    root_len = page_ceil(root_len);
    r = make_object(region, options, len + root_len);
    while ((r == -ENOMEM || r == -EFBIG) && options->size_max == 0 && len > SIZE_DEFAULT_MIN) {
        len /= 4;
        r = make_object(region, options, len + root_len);
    }
    return r;
}

/* The first block, while nobody else is here: so it needs no owner. */
static int make_root(struct region *region, uint64_t len)
{
    int r;

    if (len == 0)
        return 0;
    r = brood__block_take_zeroed(region, 0, len, &region->root);
    if (r < 0)
        return r;
    brood__block_keep(region, region->root);
    return 0;
}

static int fill_object(struct region *region, const brood_region_options *options,
                       uint64_t root_len)
{
    struct layout layout = layout_of(region->slots, region->chunk_count);
    struct region_head *head = (struct region_head *)(void *)region->base;
    struct roster *roster = (struct roster *)(void *)(region->base + layout.roster);
    int r = brood__region_commit(region, 0, layout.table);

    if (r < 0)
        return r;
    brood__roster_init(roster, layout.slots);
    r = make_root(region, root_len);
    if (r < 0)
        return r;
    head->abi = brood__roster_abi();
    head->kind = region->kind;
    head->number = region->number;
    head->size = layout.size;
    head->roster = layout.roster;
    head->table = layout.table;
    head->chunks = layout.chunks;
    head->root = region->root;
    head->chunk_count = layout.chunk_count;
    head->chunk_shift = layout.chunk_shift;
    head->slots = layout.slots;
    head->magic = MAGIC;
    if (options->readonly_elsewhere)
        r = brood__memory_forbid(region->fd);
    return r < 0 ? r : list_members(region, roster);
}

int brood__region_make(struct region **out_region, enum region_kind kind,
                       const brood_region_options *options, uint64_t root_len)
{
    static const brood_region_options defaults;
    struct region *region;
    int r;

    if (options == NULL)
        options = &defaults;
    if (!reserved_are_zero(options->reserved) || options->participants_max > ROSTER_SLOTS_MAX)
        return -EINVAL;
    region = brood__alloc_zeroed(1, sizeof *region);
    if (region == NULL)
        return -ENOMEM;
    region->kind = kind;
    region->fd = -1;
    r = watch_forks();
    if (r == 0)
        r = brood__serve_number(&region->number);
    if (r == 0)
        r = make_some_object(region, options, root_len);
    if (r == 0)
        r = fill_object(region, options, root_len);
    if (r < 0) {
        end_region(region);
        return r;
    }
    brood__own_lock(&regions_lock, NULL);
    list_region(region);
    brood__own_unlock(&regions_lock);
    *out_region = region;
    return 0;
}

/* ---- opening ---- */

/* What the copy HEAD of an object of LEN bytes says, if it says the truth. */
static int check_head(struct region *region, const struct region_head *head, uint64_t len)
{
    struct layout layout;

    if (head->magic != MAGIC)
        return -EINVAL;
    if (head->abi != brood__roster_abi() || head->chunk_shift != page_shift() || head->slots == 0 ||
        head->slots > ROSTER_SLOTS_MAX || head->chunk_count == UINT32_MAX)
        return BROOD_EABI;
    layout = layout_of(head->slots, head->chunk_count);
    if (head->size != len || head->size != layout.size || head->roster != layout.roster ||
        head->table != layout.table || head->chunks != layout.chunks)
        return BROOD_EABI;
    if (head->kind < REGION_PLAIN || head->kind > REGION_QUEUE || head->number == 0 ||
        (head->root != 0 && (head->root != layout.chunks || layout.chunk_count == 0)))
        return BROOD_EABI;
    region->kind = (enum region_kind)head->kind;
    region->number = head->number;
    region->root = head->root;
    place(region, &layout);
    return 0;
}

static int read_head(struct region *region)
{
    struct region_head head;
    uint64_t len;
    int64_t got;
    int r = brood__memory_inspect(region->fd, &len, &region->readonly);

    if (r < 0)
        return r;
    got = brood__fd_read_at(region->fd, &head, sizeof head, 0);
    if (got < 0)
        return (int)got;
    return got < (int64_t)sizeof head ? -EINVAL : check_head(region, &head, len);
}

static int map_known(struct region *region)
{
    struct layout layout = layout_of(region->slots, region->chunk_count);
    struct roster *roster;
    int r = map_object(region);

    /* It is sealed in a way that ours never are: against those who have it mapped, too. */
    if (r == -EPERM || r == -EACCES)
        return -EINVAL;
    if (r < 0)
        return r;
    if (region->readonly)
        return list_members(region, NULL);
    roster = (struct roster *)(void *)(region->base + layout.roster);
    if (brood__roster_check(roster, layout.table - layout.roster) != layout.slots)
        return BROOD_EABI;
    return list_members(region, roster);
}

int brood__region_adopt(struct region **out_region, int fd)
{
    struct region *region = brood__alloc_zeroed(1, sizeof *region);
    struct region *other;
    int r;

    if (region == NULL) {
        brood__fd_close(fd);
        return -ENOMEM;
    }
    region->fd = fd;
    r = read_head(region);
    if (r == 0)
        r = watch_forks();
    if (r < 0) {
        end_region(region);
        return r;
    }
    /* Mapped under the lock, so that it is not twice when two threads open it. */
    brood__own_lock(&regions_lock, NULL);
    other = find_number(region->number);
    if (other != NULL)
        other->users++;
    else
        r = map_known(region);
    if (other == NULL && r == 0)
        list_region(region);
    brood__own_unlock(&regions_lock);
    if (other != NULL || r < 0)
        end_region(region);
    if (r < 0)
        return r;
    *out_region = other != NULL ? other : region;
    return 0;
}

/* With the lock. */
static struct region *visit(struct region *region)
{
    if (region != NULL) {
        region->users++;
        region->visitors++;
    }
    return region;
}

struct region *brood__region_known(brood_ref ref)
{
    struct region *region = NULL;

    brood__own_lock(&regions_lock, NULL);
    if (ref.word[0] != 0)
        region = visit(find_number(ref.word[0]));
    brood__own_unlock(&regions_lock);
    return region;
}

void brood__region_park(struct region *region)
{
    brood__own_lock(&regions_lock, NULL);
    region->parked++;
    brood__own_unlock(&regions_lock);
}

void brood__region_unpark(struct region *region)
{
    brood__own_lock(&regions_lock, NULL);
    if (region->parked > 0) {
        region->parked--;
        region->users--; /* not the last: that is the caller's */
    }
    brood__own_unlock(&regions_lock);
}

/* One user more, or NULL. */
static struct region *use_known(uint64_t number)
{
    struct region *region;

    brood__own_lock(&regions_lock, NULL);
    region = find_number(number);
    if (region != NULL)
        region->users++;
    brood__own_unlock(&regions_lock);
    return region;
}

int brood__region_find(struct region **out_region, brood_ref ref)
{
    struct region *region;
    int r;

    if (ref.word[0] == 0 || reference_is_pipe(ref))
        return -EINVAL;
    region = use_known(ref.word[0]);
    if (region == NULL) {
        r = brood__serve_ask(ref.word[0]);
        if (r >= 0)
            r = brood__region_adopt(&region, r);
        if (r < 0)
            return r;
    }
    /* Whoever serves that number gave us another object. */
    if (region->number != ref.word[0]) {
        brood__region_drop(region);
        return BROOD_EABI;
    }
    *out_region = region;
    return 0;
}

struct region *brood__region_around(const void *address)
{
    struct region *region;

    brood__own_lock(&regions_lock, NULL);
    for (region = regions; region != NULL; region = region->next)
        if ((uintptr_t)address - (uintptr_t)region->base < region->len)
            break;
    region = visit(region);
    brood__own_unlock(&regions_lock);
    return region;
}

/* One user less, who may have been a visitor. If it is the last, nothing happens yet: false, unless
 * it MAY_END. All at once then, so that no fork copies what is not on the list. */
static bool count_out(struct region *region, unsigned visitors, bool may_end)
{
    bool last;

    brood__own_lock(&regions_lock, NULL);
    last = region->users == 1;
    if (!last || may_end) {
        region->users--;
        region->visitors -= visitors;
    }
    if (last && may_end) {
        unlist_region(region);
        end_region(region);
    }
    brood__own_unlock(&regions_lock);
    return !last || may_end;
}

/* What is served has an open descriptor, so it ends after that. Who opens the region meanwhile, and
 * makes a ref of it, serves it after us. */
static void give_up(struct region *region, unsigned visitors)
{
    if (region == NULL || count_out(region, visitors, false))
        return;
    brood__own_lock(&serving_lock, NULL);
    if (region->served)
        brood__serve_stop(region->number);
    region->served = false;
    (void)count_out(region, visitors, true);
    brood__own_unlock(&serving_lock);
}

void brood__region_drop(struct region *region)
{
    give_up(region, 0);
}

void brood__region_leave(struct region *region)
{
    give_up(region, 1);
}

/* ---- refs ---- */

static bool is_inside(const struct region *region, uint64_t offset)
{
    return offset >= region->chunks && offset < region->len;
}

brood_ref brood__region_ref(struct region *region, uint64_t offset)
{
    int r;

    if (!is_inside(region, offset))
        return (brood_ref){0};
    brood__own_lock(&serving_lock, NULL);
    r = brood__serve(region->number, region->fd, false);
    region->served = region->served || r == 0;
    brood__own_unlock(&serving_lock);
    return r < 0 ? (brood_ref){0} : (brood_ref){{region->number, offset}};
}

uint64_t brood__region_offset(const struct region *region, brood_ref ref)
{
    if (ref.word[0] != region->number || !is_inside(region, ref.word[1]))
        return 0;
    return ref.word[1];
}

int brood__region_commit(struct region *region, uint64_t offset, uint64_t len)
{
    int r = brood__memory_populate(region->base + offset, len);

    if (r == -EINVAL) /* before Linux 5.14 */
        r = brood__memory_commit(region->fd, offset, len);
    return r < 0 ? -ENOMEM : 0;
}
