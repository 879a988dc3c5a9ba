/* SPDX-License-Identifier: MIT */
/*
 * Membership: the list of mapped regions, and what each thread has joined.
 *
 *     process:   listings ---> [ region A ] ---> [ region B ]        under LISTINGS_LOCK
 *                                   ^                ^
 *     thread:    joined  ---> [ in A, tag ] --> [ in B, tag ]        its own; two of them cached
 *
 * A thread's life lock lies in the region and hangs on a list that libc keeps for the kernel. So a
 * region must stay mapped as long as any thread of this process is in it: a listing that is taken
 * off counts its threads, and the last one that leaves calls DONE, which unmaps. A thread leaves
 * when it ends, when it takes the region off itself, or when it next joins anything.
 *
 * A forked child has one thread, which has joined nothing: its memberships are known by the number
 * of the process (sys/self.h) to be those of the parent, and are forgotten. Only the private roster
 * stays, made new: whatever its slots own belongs to threads that the child does not have, but for
 * the slot of the thread that forked: it is the same thread, and the locks it held it holds. All
 * that is done before fork() returns; after a raw clone by the first thread that comes by.
 *
 * A death leaves nothing here: all of it is private memory.
 */
#include "ipc/member.h"

#include "base/memory.h"
#include "sys/kernel.h"
#include "sys/self.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>

enum { PAGE_LEN_MIN = 4096 };

struct listing {
    struct listing *next;
    uintptr_t base;
    size_t len; /* 0: the private roster */
    struct roster *roster;
    unsigned threads; /* of this process that are in it */
    bool gone;        /* taken off the list: no more joins */
    void (*done)(void *context);
    void *context;
};

struct joined {
    struct joined *next;
    struct member member;
    struct listing *listing;
};

_Thread_local struct member brood__member_region;
_Thread_local struct member brood__member_private;
_Atomic uint32_t brood__member_lists;
static _Thread_local struct joined *joined;

/* Guards what follows, and the fields of listings. */
static struct own_lock listings_lock = OWN_LOCK;
static struct listing *listings;
static struct listing *leaving; /* taken off, with threads in it */
static struct listing private_listing;
static pthread_key_t at_thread_end;
static bool prepared;
static bool leaves_at_exit;

/* ---- a forked child ---- */

/* This thread's private membership goes on in the child: the tag, or 0: it has none. */
static roster_tag keep_private(void)
{
    struct joined *entry = joined;

    while (entry != NULL && entry->listing != &private_listing)
        entry = entry->next;
    if (entry == NULL)
        return 0;
    entry->member.self = brood__self();
    private_listing.threads = 1;
    if (brood__member_private.roster != NULL)
        brood__member_private.self = entry->member.self;
    return entry->member.tag;
}

/* In a child, before anybody else is let in: no thread is anywhere. What had been taken off may be
 * unmapped at once. */
static void forget_threads(void)
{
    brood__roster_forked();
    for (struct listing *listing = listings; listing != NULL; listing = listing->next)
        listing->threads = 0;
    private_listing.threads = 0;
    while (leaving != NULL) {
        struct listing *listing = leaving;

        leaving = listing->next;
        if (listing->done != NULL)
            listing->done(listing->context);
        brood__free(listing);
    }
    if (private_listing.roster != NULL)
        brood__roster_inherit(private_listing.roster, keep_private());
}

static void begin_child(void)
{
    brood__own_lock(&listings_lock, forget_threads);
    brood__own_unlock(&listings_lock);
}

/* ---- leaving ---- */

static void forget_caches(const struct roster *roster)
{
    if (brood__member_region.roster == roster)
        brood__member_region = (struct member){0};
    if (brood__member_private.roster == roster)
        brood__member_private = (struct member){0};
}

static void take_off(struct listing **list, struct listing *listing)
{
    while (*list != listing)
        list = &(*list)->next;
    *list = listing->next;
}

/* With the lock. The one that nobody is in any more, or NULL. */
static struct listing *count_out(struct listing *listing)
{
    if (--listing->threads > 0 || !listing->gone)
        return NULL;
    take_off(&leaving, listing);
    return listing;
}

static void finish(struct listing *listing)
{
    if (listing == NULL)
        return;
    if (listing->done != NULL)
        listing->done(listing->context);
    brood__free(listing);
}

/* ENTRY is off the thread's list. Of another process than this it is only forgotten. */
static void leave(struct joined *entry)
{
    struct listing *last = NULL;

    forget_caches(entry->member.roster);
    if (entry->member.self == brood__self()) {
        brood__roster_leave(entry->member.roster, entry->member.tag);
        brood__own_lock(&listings_lock, forget_threads);
        last = count_out(entry->listing);
        brood__own_unlock(&listings_lock);
    }
    finish(last);
    brood__free(entry);
}

void brood__member_leave_all(void)
{
    while (joined != NULL) {
        struct joined *entry = joined;

        joined = entry->next;
        leave(entry);
    }
}

static void thread_ends(void *unused)
{
    (void)unused;
    brood__member_leave_all();
}

/* Who joins again in a later exit handler leaves again after it. */
static void process_exits(void)
{
    brood__own_lock(&listings_lock, forget_threads);
    leaves_at_exit = false;
    brood__own_unlock(&listings_lock);
    brood__member_leave_all();
}

/* With the lock. -EAGAIN: the program has no key left. */
static int prepare(void)
{
    if (!prepared) {
        if (pthread_key_create(&at_thread_end, thread_ends) != 0)
            return -EAGAIN;
        if (brood__at_fork(NULL, NULL, begin_child) < 0)
            return -ENOMEM;
        prepared = true;
    }
    /* A thread that ends by exit(), such as the main thread, gets no destructors called. */
    if (!leaves_at_exit)
        brood__at_exit(process_exits);
    leaves_at_exit = true;
    return 0;
}

/* Memberships of the parent, and of regions that are gone. */
static void sweep(void)
{
    uint64_t self = brood__self();

    for (struct joined **link = &joined; *link != NULL;) {
        struct joined *entry = *link;
        bool gone = entry->member.self != self;

        if (!gone) {
            brood__own_lock(&listings_lock, forget_threads);
            gone = entry->listing->gone;
            brood__own_unlock(&listings_lock);
        }
        if (!gone) {
            link = &entry->next;
            continue;
        }
        *link = entry->next;
        leave(entry);
    }
}

/* ---- joining ---- */

/* With the lock. */
static int make_private(void)
{
    size_t len = brood__roster_len(ROSTER_SLOTS_DEFAULT);
    void *memory = NULL;
    int r;

    if (private_listing.roster != NULL)
        return 0;
    r = brood__memory_map_private(&memory, len);
    if (r < 0)
        return r;
    brood__roster_init(memory, ROSTER_SLOTS_DEFAULT);
    private_listing.roster = memory;
    return 0;
}

/* The listing of ADDRESS, counted as if this thread were in it. */
static int enter(const void *address, struct listing **out_listing)
{
    struct listing *listing = NULL;
    int r;

    brood__own_lock(&listings_lock, forget_threads);
    r = prepare();
    for (listing = listings; listing != NULL; listing = listing->next)
        if ((uintptr_t)address - listing->base < listing->len)
            break;
    if (listing == NULL) {
        r = r < 0 ? r : make_private();
        listing = &private_listing;
    }
    if (r == 0)
        listing->threads++;
    brood__own_unlock(&listings_lock);
    *out_listing = listing;
    return r;
}

static void back_out(struct listing *listing)
{
    struct listing *last;

    brood__own_lock(&listings_lock, forget_threads);
    last = count_out(listing);
    brood__own_unlock(&listings_lock);
    finish(last);
}

static int join(const void *address, struct joined **out_entry)
{
    struct joined *entry = brood__alloc_zeroed(1, sizeof *entry);
    struct listing *listing;
    int r;

    if (entry == NULL)
        return -ENOMEM;
    r = enter(address, &listing);
    if (r < 0) {
        brood__free(entry);
        return r;
    }
    r = brood__roster_join(listing->roster, &entry->member.tag);
    if (r < 0) {
        back_out(listing);
        brood__free(entry);
        return r;
    }
    entry->member.self = brood__self();
    entry->member.base = listing->base;
    entry->member.len = listing->len;
    entry->member.roster = listing->roster;
    entry->member.is_private = listing == &private_listing;
    entry->listing = listing;
    sweep();
    entry->next = joined;
    joined = entry;
    (void)pthread_setspecific(at_thread_end, entry);
    *out_entry = entry;
    return 0;
}

static struct joined *find(const void *address)
{
    uint64_t self = brood__self();
    struct joined *private_one = NULL;

    for (struct joined *entry = joined; entry != NULL; entry = entry->next) {
        if (entry->member.self != self)
            continue;
        if ((uintptr_t)address - entry->member.base < entry->member.len)
            return entry;
        if (entry->member.len == 0)
            private_one = entry;
    }
    return private_one;
}

/* Whether a region that this thread has not joined yet is around ADDRESS. */
static bool listed(const void *address)
{
    bool found = false;

    brood__own_lock(&listings_lock, forget_threads);
    for (struct listing *listing = listings; listing != NULL && !found; listing = listing->next)
        found = (uintptr_t)address - listing->base < listing->len;
    brood__own_unlock(&listings_lock);
    return found;
}

int brood__member_slow(const void *address, const struct member **out_member)
{
    uint32_t lists = atomic_load(&brood__member_lists);
    struct joined *entry = find(address);
    struct member *cache;
    int r;

    if (entry == NULL || (entry->member.len == 0 && listed(address))) {
        r = join(address, &entry);
        if (r < 0)
            return r;
    }
    cache = entry->member.len == 0 ? &brood__member_private : &brood__member_region;
    *cache = entry->member;
    if (entry->member.len == 0) {
        /* Regions begin and end with pages, so nothing of this one is in any, until one is
         * listed. */
        cache->base = (uintptr_t)address & ~(uintptr_t)(PAGE_LEN_MIN - 1);
        cache->len = PAGE_LEN_MIN;
        cache->lists = lists;
    }
    *out_member = cache;
    return 0;
}

/* ---- the list of regions ---- */

int brood__member_list(const void *base, size_t len, struct roster *roster)
{
    struct listing *listing = brood__alloc_zeroed(1, sizeof *listing);

    if (listing == NULL)
        return -ENOMEM;
    listing->base = (uintptr_t)base;
    listing->len = len;
    listing->roster = roster;
    brood__own_lock(&listings_lock, forget_threads);
    listing->next = listings;
    listings = listing;
    atomic_fetch_add(&brood__member_lists, 1);
    brood__own_unlock(&listings_lock);
    return 0;
}

static void leave_one(const struct listing *listing)
{
    for (struct joined **link = &joined; *link != NULL; link = &(*link)->next)
        if ((*link)->listing == listing) {
            struct joined *entry = *link;

            *link = entry->next;
            leave(entry);
            return;
        }
}

bool brood__member_unlist(const void *base, void (*done)(void *context), void *context)
{
    struct listing *listing;
    bool alone;

    brood__own_lock(&listings_lock, forget_threads);
    for (listing = listings; listing != NULL && listing->base != (uintptr_t)base;)
        listing = listing->next;
    brood__own_unlock(&listings_lock);
    if (listing == NULL)
        return true;
    leave_one(listing);
    brood__own_lock(&listings_lock, forget_threads);
    take_off(&listings, listing);
    alone = listing->threads == 0;
    listing->gone = true;
    if (!alone) {
        listing->done = done;
        listing->context = context;
        listing->next = leaving;
        leaving = listing;
    }
    brood__own_unlock(&listings_lock);
    if (alone)
        brood__free(listing);
    return alone;
}
