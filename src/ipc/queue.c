/* SPDX-License-Identifier: MIT */
/*
 * Queues: the handle, and what a queue is made of.
 *
 * A queue is a region of its own: the cells in its root block, and large messages in further
 * blocks. The kernel frees it with the last process that has it. There is no thread, no descriptor
 * but the object's, and nothing that has to be told when a process goes: all of that is in the
 * words of the cells (ipc/cells.c), the blocks (ipc/block.c) and the roster (ipc/roster.c).
 *
 * What a death leaves: a handle is private memory. For the shared parts see there.
 *
 * The handle lies in memory that is never unmapped (sys/stable.h) and says by its magic whether it
 * lives. Waiting is in ipc/queue_wait.c, copying in ipc/queue_copy.c, messages in place in
 * ipc/queue_message.c.
 */
#include "ipc/queue.h"

#include "base/reserved.h"
#include "ipc/block.h"
#include "ipc/spin.h"
#include "ipc/watch.h"
#include "sys/cpu.h"
#include "sys/stable.h"

#include <errno.h>

enum { SHARED_MAGIC = 0x62514a31, CAPACITY_DEFAULT = 1024 };
#define MEMORY_DEFAULT ((uint64_t)1 << 30)
#define MEMORY_DEFAULT_MIN ((uint64_t)1 << 20)
/* Close below where the tickets' low bits come round: so that is no rare event. */
#define FIRST_TICKET (((uint64_t)1 << 28) - 3)

static struct stable_list handles;

/* ---- handles ---- */

static bool alive(const brood_queue *queue)
{
    return queue != NULL &&
           atomic_load_explicit(&queue->magic, memory_order_acquire) == QUEUE_MAGIC;
}

int brood__queue_enter(const brood_queue *queue, const struct member **out_member)
{
    if (!alive(queue))
        return BROOD_EHANDLE;
    return brood__member(queue->shared, out_member);
}

/* ---- shape ---- */

static size_t root_len(const struct cells_shape *shape)
{
    return sizeof(struct queue_shared) + brood__cells_len(shape);
}

static bool same_shape(const struct cells_shape *a, const struct cells_shape *b)
{
    return a->count == b->count && a->stride == b->stride && a->room == b->room &&
           a->pack == b->pack;
}

/* The view of what is in the root block, or false: no queue can have written that. Everything is
 * recomputed from two numbers; the shared copy of the rest only has to agree. */
static bool view_of(const struct region *region, struct cells_view *view, size_t *out_item_size)
{
    struct queue_shared *shared = (struct queue_shared *)(void *)(region->base + region->root);
    uint64_t room = brood__block_len(region, region->root);
    struct cells_shape shape, told;
    uint64_t item_size;

    if (region->kind != REGION_QUEUE || region->roster == NULL || room < sizeof *shared)
        return false;
    told = *(volatile struct cells_shape *)&shared->shape;
    item_size = *(volatile uint64_t *)&shared->item_size;
    if (told.count == 0 || told.count > CELLS_MAX || item_size > UINT32_MAX ||
        *(volatile uint32_t *)&shared->magic != SHARED_MAGIC)
        return false;
    shape = brood__cells_shape(told.count, item_size, told.pack > 1);
    if (!same_shape(&shape, &told) || root_len(&shape) > room)
        return false;
    brood__cells_view(view, &shared->cells, (char *)(shared + 1), &shape, region->roster);
    *out_item_size = item_size;
    return true;
}

bool brood__queue_passed(const struct region *region, uint64_t queue, uint32_t ticket)
{
    struct cells_view view;
    size_t item_size;

    if (queue != region->root || !view_of(region, &view, &item_size))
        return true;
    return brood__cells_passed(&view, ticket);
}

/* ---- new, open, free ---- */

static int check_options(const brood_queue_options *options)
{
    if (options->capacity > CELLS_MAX || options->participants_max > ROSTER_SLOTS_MAX ||
        (options->pack && options->item_size == 0) || options->item_size > UINT32_MAX ||
        !reserved_are_zero(options->reserved))
        return -EINVAL;
    return 0;
}

/* A handle on REGION, whose user it takes over in any case. */
static int make_handle(brood_queue **out_queue, struct region *region)
{
    struct cells_view view;
    size_t item_size;
    brood_queue *queue;

    if (region->kind != REGION_QUEUE || !view_of(region, &view, &item_size)) {
        int r = region->kind != REGION_QUEUE ? -EINVAL : BROOD_EABI;

        brood__region_drop(region);
        return r;
    }
    queue = brood__stable_take(&handles, sizeof *queue);
    if (queue == NULL) {
        brood__region_drop(region);
        return -ENOMEM;
    }
    queue->region = region;
    queue->shared = (struct queue_shared *)(void *)(region->base + region->root);
    queue->cells = view;
    queue->item_size = item_size;
    queue->report_deaths = queue->shared->report_deaths != 0;
    queue->spins = brood__cpu_affinity() != 1 ? SPIN_LOOKS : 0;
    atomic_store(&queue->deaths_told, brood__roster_deaths(region->roster));
    atomic_store(&queue->deaths_joins, atomic_load(&queue->deaths_told));
    atomic_store_explicit(&queue->magic, QUEUE_MAGIC, memory_order_release);
    *out_queue = queue;
    return 0;
}

static uint64_t first_ticket(uint64_t number, uint32_t count)
{
    uint64_t ticket = (number & 0xffffff) << 28 | FIRST_TICKET;

    return ticket - ticket % count;
}

static void fill(struct region *region, const struct cells_shape *shape,
                 const brood_queue_options *options)
{
    struct queue_shared *shared = (struct queue_shared *)(void *)(region->base + region->root);
    struct cells_view view;

    shared->magic = SHARED_MAGIC;
    shared->shape = *shape;
    shared->item_size = options->item_size;
    shared->report_deaths = options->report_deaths;
    brood__cells_view(&view, &shared->cells, (char *)(shared + 1), shape, region->roster);
    /* The upper half of tickets is of this queue: a message of another one is known as stale. */
    brood__cells_init(&view, first_ticket(region->number, shape->count));
}

/* A default is what there is: addresses may be limited. */
static int make_region(struct region **out_region, const brood_queue_options *options,
                       const struct cells_shape *shape)
{
    brood_region_options region = {.name = options->name != NULL ? options->name : "queue",
                                   .participants_max = options->participants_max};
    uint64_t memory = options->memory_max != 0 ? options->memory_max : MEMORY_DEFAULT;
    int r;

    /* What fits in place needs no further blocks. */
    if (options->item_size != 0 && options->item_size <= shape->room)
        memory = 1;
    else if (options->item_size > memory || memory > UINT64_MAX / 2)
        return -EINVAL;
    do {
        region.size_max = memory;
        r = brood__region_make(out_region, REGION_QUEUE, &region, root_len(shape));
        memory /= 4;
    } while ((r == -ENOMEM || r == -EFBIG) && options->memory_max == 0 &&
             memory >= MEMORY_DEFAULT_MIN && memory >= options->item_size);
    return r;
}

int brood_queue_new(brood_queue **out_queue, const brood_queue_options *options)
{
    const brood_queue_options none = {0};
    struct cells_shape shape;
    struct region *region;
    int r;

    if (options == NULL)
        options = &none;
    r = out_queue == NULL ? -EINVAL : check_options(options);
    if (r < 0)
        return r;
    shape = brood__cells_shape(options->capacity != 0 ? options->capacity : CAPACITY_DEFAULT,
                               options->item_size, options->pack);
    r = make_region(&region, options, &shape);
    if (r < 0)
        return r;
    fill(region, &shape, options);
    return make_handle(out_queue, region);
}

int brood_queue_open(brood_queue **out_queue, brood_ref ref)
{
    struct region *region;
    int r;

    if (out_queue == NULL)
        return -EINVAL;
    r = brood__region_find(&region, ref);
    if (r < 0)
        return r;
    if (brood__region_offset(region, ref) != region->root) {
        brood__region_drop(region);
        return -EINVAL;
    }
    r = make_handle(out_queue, region);
    if (r == 0)
        brood__region_unpark(region);
    return r;
}

brood_ref brood_queue_ref(const brood_queue *queue)
{
    if (!alive(queue))
        return (brood_ref){{0, 0}};
    return brood__region_ref(queue->region, queue->region->root);
}

void brood_queue_free(brood_queue *queue)
{
    int saved = errno;

    if (alive(queue)) {
        struct watch *watch = atomic_exchange(&queue->watch, NULL);

        if (watch != NULL)
            brood__watch_free(watch);
        brood__region_drop(queue->region);
        atomic_store(&queue->magic, 0);
        brood__stable_give(&handles, queue);
    }
    errno = saved;
}

/* ---- questions ---- */

void brood_queue_close(brood_queue *queue)
{
    if (!alive(queue))
        return;
    brood__cells_close(&queue->cells);
    brood__bell_ring_out(&queue->shared->memory);
    brood__queue_looked(queue);
}

int brood_queue_size(const brood_queue *queue)
{
    return alive(queue) ? (int)brood__cells_size(&queue->cells) : BROOD_EHANDLE;
}

int brood_queue_pack(const brood_queue *queue)
{
    return alive(queue) ? (int)queue->cells.shape.pack : BROOD_EHANDLE;
}

int brood_queue_deaths(const brood_queue *queue)
{
    if (!alive(queue))
        return BROOD_EHANDLE;
    brood__roster_look(queue->region->roster);
    return (int)(brood__roster_deaths(queue->region->roster) & INT32_MAX);
}
