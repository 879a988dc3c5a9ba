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
 * when it ends, when it takes the region off itself, or when it next joins anything. A region that
 * can only be read here is listed without a roster, and nobody joins it.
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

#include "base/fault.h"
#include "base/memory.h"
#include "sys/kernel.h"
#include "sys/self.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>

/* Of a thread that holds more than 2048 robust mutexes the kernel does not mark all when it dies.
 * Some are left to the user. */
enum { PAGE_LEN_MIN = 4096, MEMBERSHIPS_MAX = 2000 };

struct joined;

struct listing {
    _Atomic(struct listing *) next;
    uintptr_t base;
    size_t len;                      /* 0: the private roster */
    _Atomic(struct roster *) roster; /* NULL: it can only be read here */
    unsigned threads;                /* of this process that are in it, or just joining */
    struct joined *members;          /* those of them that are in it */
    bool gone;                       /* taken off the list: no more joins */
    void (*done)(void *context);
    void *context;
};

struct joined {
    struct joined *next;
    struct member member;
    struct listing *listing;
    struct joined *next_member, **member_link; /* of the listing's; NULL: it is none of them */
};

_Thread_local struct member brood__member_region;
_Thread_local struct member brood__member_private;
_Atomic uint32_t brood__member_lists;
static _Thread_local struct joined *joined;

/* Guards what follows, and the fields of listings. */
static struct own_lock listings_lock = OWN_LOCK;

/* A fork may come while another thread of the parent changes the lists of regions, and copies them
 * as they are. What it copies is some moment of the parent: what was stored before something else
 * that is copied is copied too, if compiler and processor keep that order. So a list is whole at
 * every moment: an entry is complete before one store (release) shows it, one store takes it off,
 * and its memory is used again only after that. (Between the two lists an entry is nowhere: such a
 * child keeps its mapping.) What counts threads is begun anew in the child whatever was copied;
 * what is per thread is changed by the thread that forks or not at all. A signal handler that forks
 * in the middle of all this must not return in the child. */
static _Atomic(struct listing *) listings;
static _Atomic(struct listing *) leaving; /* taken off, with threads in it */
static struct listing private_listing;
static pthread_key_t at_thread_end;
static struct own_lock prepare_lock = OWN_LOCK; /* guards the next two */
static bool prepared;
static _Atomic bool leaves_at_exit;
static bool exits; /* farewell was said for all who were in something */

/* ---- members of a listing, with the lock ---- */

static void add_member(struct joined *entry)
{
    struct listing *listing = entry->listing;

    entry->next_member = listing->members;
    entry->member_link = &listing->members;
    if (entry->next_member != NULL)
        entry->next_member->member_link = &entry->next_member;
    listing->members = entry;
}

static void remove_member(struct joined *entry)
{
    if (entry->member_link == NULL)
        return;
    *entry->member_link = entry->next_member;
    if (entry->next_member != NULL)
        entry->next_member->member_link = entry->member_link;
    entry->member_link = NULL;
}

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
    add_member(entry);
    if (brood__member_private.roster != NULL)
        brood__member_private.self = entry->member.self;
    return entry->member.tag;
}

/* In a child, before anybody else is let in: no thread is anywhere. What had been taken off may be
 * unmapped at once. */
static void forget_threads(void)
{
    brood__roster_forked();
    for (struct listing *listing = listings; listing != NULL; listing = listing->next) {
        listing->threads = 0;
        listing->members = NULL;
    }
    private_listing.threads = 0;
    private_listing.members = NULL;
    exits = false;
    while (leaving != NULL) {
        struct listing *listing = leaving;

        leaving = atomic_load(&listing->next);
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

static void put_on(_Atomic(struct listing *) *list, struct listing *listing)
{
    atomic_store_explicit(&listing->next, atomic_load(list), memory_order_relaxed);
    /* Release: for a fork beside this; see LISTINGS. */
    atomic_store_explicit(list, listing, memory_order_release);
}

static void take_off(_Atomic(struct listing *) *list, const struct listing *listing)
{
    struct listing *other = atomic_load(list);

    while (other != listing) {
        list = &other->next;
        other = atomic_load(list);
    }
    atomic_store_explicit(list, atomic_load(&listing->next), memory_order_release);
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
        remove_member(entry);
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

/* The thread that calls exit() leaves. The others run on until the process is gone, and nobody but
 * they can unlock their life locks; what they hold is theirs as long as they live. So exit() only
 * says farewell for them: their end wakes all who sleep and is no news of a death. A thread that
 * joins after that says it for itself; killed by the exit just before, it is a death. */

/* With the lock. */
static void say_farewell(const struct listing *first)
{
    for (const struct listing *listing = first; listing != NULL; listing = listing->next)
        for (const struct joined *entry = listing->members; entry != NULL;
             entry = entry->next_member)
            brood__roster_farewell(listing->roster, entry->member.tag);
}

/* Who joins again in a later exit handler leaves again after it. */
void brood__member_end_process(void)
{
    atomic_store(&leaves_at_exit, false);
    brood__own_lock(&listings_lock, forget_threads);
    exits = true;
    say_farewell(listings);
    say_farewell(leaving);
    brood__own_unlock(&listings_lock);
    brood__member_leave_all();
}

/* With its lock. -EAGAIN: the program has no key left. */
static int prepare_locked(void)
{
    if (!prepared) {
        if (pthread_key_create(&at_thread_end, thread_ends) != 0)
            return -EAGAIN;
        if (brood__at_fork(NULL, NULL, begin_child) < 0) {
            (void)pthread_key_delete(at_thread_end);
            return -ENOMEM;
        }
        prepared = true;
    }
    /* A thread that ends by exit(), such as the main thread, gets no destructors called. */
    if (!atomic_load(&leaves_at_exit) && brood__at_exit(brood__member_end_process) < 0)
        return -ENOMEM;
    atomic_store(&leaves_at_exit, true);
    return 0;
}

/* Without the lock of the listings: libc has locks of its own for these lists, may hold them while
 * its handlers run, and other handlers wait for whom that lock holds up. */
static int prepare(void)
{
    int r;

    brood__own_lock(&prepare_lock, NULL);
    r = prepare_locked();
    brood__own_unlock(&prepare_lock);
    return r;
}

/* Memberships of the parent, and of regions that are gone, are left. How many stay. */
static unsigned sweep(void)
{
    uint64_t self = brood__self();
    unsigned count = 0;

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
            count++;
            continue;
        }
        *link = entry->next;
        leave(entry);
    }
    return count;
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
    /* Release: as a listing is put on its list. */
    atomic_store_explicit(&private_listing.roster, memory, memory_order_release);
    return 0;
}

/* With the lock. The region around ADDRESS, or NULL. */
static struct listing *find_listing(const void *address)
{
    struct listing *listing = listings;

    while (listing != NULL && (uintptr_t)address - listing->base >= listing->len)
        listing = listing->next;
    return listing;
}

/* The listing of ADDRESS, counted as if this thread were in it. */
static int enter(const void *address, struct listing **out_listing)
{
    struct listing *listing = NULL;
    int r = prepare();

    if (r < 0)
        return r;
    brood__own_lock(&listings_lock, forget_threads);
    listing = find_listing(address);
    if (listing == NULL) {
        r = make_private();
        listing = &private_listing;
    } else if (listing->roster == NULL) {
        r = -EROFS;
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

/* What ends a thread that is in something calls thread_ends(): the value only has to be one. Before
 * the thread joins, as nothing may fail after that. */
static int notice_end(void)
{
    int fault = BROOD_FAULT("pthread_setspecific");

    return fault != 0 || pthread_setspecific(at_thread_end, &at_thread_end) != 0 ? -ENOMEM : 0;
}

/* In LISTING, which has counted this thread: joined, or counted out. */
static int join_listing(struct joined *entry, struct listing *listing)
{
    int r = notice_end();

    /* First: whatever forks from here on has a copy that it knows to be its parent's. */
    entry->member.self = brood__self();
    entry->listing = listing;
    if (r == 0)
        r = brood__roster_join(listing->roster, &entry->member.tag);
    if (r < 0) {
        back_out(listing);
        return r;
    }
    brood__own_lock(&listings_lock, forget_threads);
    add_member(entry);
    if (exits)
        brood__roster_farewell(listing->roster, entry->member.tag);
    brood__own_unlock(&listings_lock);
    return 0;
}

static int join(const void *address, struct joined **out_entry)
{
    struct joined *entry;
    struct listing *listing;
    int r;

    if (sweep() >= MEMBERSHIPS_MAX)
        return -EAGAIN;
    entry = brood__alloc_zeroed(1, sizeof *entry);
    if (entry == NULL)
        return -ENOMEM;
    r = enter(address, &listing);
    if (r == 0)
        r = join_listing(entry, listing);
    if (r < 0) {
        brood__free(entry);
        return r;
    }
    entry->member.base = listing->base;
    entry->member.len = listing->len;
    entry->member.roster = listing->roster;
    entry->member.is_private = listing == &private_listing;
    entry->next = joined;
    joined = entry;
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
    bool found;

    brood__own_lock(&listings_lock, forget_threads);
    found = find_listing(address) != NULL;
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

/* ---- questions ---- */

bool brood__member_writes_slow(const void *address)
{
    const struct listing *listing;
    bool writes;

    brood__own_lock(&listings_lock, forget_threads);
    listing = find_listing(address);
    writes = listing == NULL || listing->roster != NULL;
    brood__own_unlock(&listings_lock);
    return writes;
}

bool brood__member_of_process(const void *address, roster_tag tag)
{
    const struct listing *listing;
    const struct joined *entry;

    brood__own_lock(&listings_lock, forget_threads);
    listing = find_listing(address);
    entry = listing == NULL ? private_listing.members : listing->members;
    while (entry != NULL && entry->member.tag != tag)
        entry = entry->next_member;
    brood__own_unlock(&listings_lock);
    return entry != NULL;
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
    put_on(&listings, listing);
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
        put_on(&leaving, listing);
    }
    brood__own_unlock(&listings_lock);
    if (alone)
        brood__free(listing);
    return alone;
}
