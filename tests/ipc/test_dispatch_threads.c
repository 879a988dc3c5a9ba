/* SPDX-License-Identifier: MIT */
/*
 * The same core between threads, at full speed: an owner that publishes, revokes, takes results,
 * sends mail and aims kills, and lanes that work, all over one private memory. So TSan can watch
 * each access, and real races come in numbers that no sweep has.
 *
 * Nobody can kill a thread. So a confirmed kill is only held for a while and then taken back: as
 * long as it is held its lane is doomed, and a doomed lane must not begin a task. Lanes look at
 * that right after each start.
 *
 * What always holds: a task that was published is either revoked by the owner or comes back, once,
 * with its own result; nobody sleeps for ever, neither a lane with work to do nor the owner with
 * results to take.
 */
#include "harness/record.h"
#include "harness/test.h"

#include "base/clock.h"
#include "ipc/dispatch.h"
#include "sys/kernel.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum { LANES = 3, SLOTS = 32, RUN_MS = 1000, PARKS_MIN = 20, HOLD_MAX = 40, YIELDS_MAX = 10 };

struct worker {
    struct lane_self self;
    _Atomic uint64_t doomed; /* the task for which the owner holds a confirmed kill, or 0 */
    uint64_t done;
    uint64_t mail_sum;
    pthread_t thread;
};

struct counts {
    uint64_t published, revoked, taken, mailed, mail_sum;
    uint64_t withdrawn, confirmed, parked;
};

struct owner {
    struct dispatch dispatch;
    void *memory;
    struct worker workers[LANES];
    uint32_t free_slots[SLOTS];
    uint32_t free_count;
    bool live[SLOTS];
    uint64_t doomed_for[LANES]; /* the task that the kill is for, or 0 */
    unsigned hold[LANES];       /* turns of the owner until it is taken back */
    int bell;
    struct counts counts;
};

static uint64_t result_of(uint64_t input)
{
    return input * 7 + 3;
}

/* ---- lanes ---- */

static void take_mail(struct worker *worker)
{
    uint64_t offset;

    while ((offset = brood__lane_mail_take(&worker->self)) != 0)
        worker->mail_sum += offset;
}

static void run(struct worker *worker, uint32_t slot)
{
    struct slot *s = &worker->self.view.slots[slot];

    uint64_t doomed = atomic_load_explicit(&worker->doomed, memory_order_relaxed);

    /* The kill may be for this one: it had started, and got here only now. */
    if (doomed != 0 && doomed != atomic_load(&worker->self.lane->running))
        FAIL("a task begins in a lane that is about to be killed for another");
    if (s->index % 8 == 0) /* a long one: the owner has time to aim at it */
        for (unsigned i = 0; i < YIELDS_MAX; i++)
            (void)sched_yield();
    s->result = result_of(s->index);
    worker->done++;
}

static void *work(void *argument)
{
    struct worker *worker = argument;
    uint32_t slot;

    brood__lane_announce(&worker->self, LANE_READY, 0);
    while ((slot = brood__lane_next(&worker->self)) != NO_SLOT) {
        brood__lane_start(&worker->self, slot);
        run(worker, slot);
        brood__lane_finish(&worker->self, slot);
        take_mail(worker);
    }
    take_mail(worker);
    brood__lane_announce(&worker->self, LANE_LEAVING, 0);
    return NULL;
}

/* ---- the owner ---- */

static void open_owner(struct owner *owner)
{
    const struct dispatch_shape shape = {.lanes = LANES, .slots = SLOTS};
    size_t len = (brood__dispatch_size(shape) + 63) & ~(size_t)63;

    *owner = (struct owner){.memory = aligned_alloc(64, len), .bell = CHECK_OK(brood__fd_event())};
    CHECK(owner->memory != NULL);
    memset(owner->memory, 0, len);
    CHECK_OK(brood__dispatch_init(&owner->dispatch, owner->memory, shape, UINT32_MAX - 2));
    while (owner->free_count < SLOTS) {
        owner->free_slots[owner->free_count] = owner->free_count;
        owner->free_count++;
    }
    for (uint32_t i = 0; i < LANES; i++) {
        owner->workers[i].self = (struct lane_self){.view = owner->dispatch.view,
                                                    .lane = &owner->dispatch.view.lanes[i],
                                                    .index = i,
                                                    .spins = i * 100,
                                                    .bell = owner->bell};
        CHECK_EQ(pthread_create(&owner->workers[i].thread, NULL, work, &owner->workers[i]), 0);
    }
}

static void publish(struct owner *owner)
{
    uint32_t slot = owner->free_slots[owner->free_count - 1];
    int lane;

    owner->dispatch.view.slots[slot].index = owner->counts.published;
    /* Revoked cells can fill the ring; lanes empty it soon. */
    if (!brood__dispatch_publish(&owner->dispatch, slot, (unsigned)test_random_below(RINGS)))
        return;
    owner->free_count--;
    owner->live[slot] = true;
    owner->counts.published++;
    lane = brood__dispatch_wake_pick(&owner->dispatch);
    if (lane >= 0)
        brood__lane_wake(&owner->dispatch.view, (uint32_t)lane);
}

static void give_back(struct owner *owner, uint32_t slot)
{
    CHECK(owner->live[slot]);
    owner->live[slot] = false;
    owner->free_slots[owner->free_count++] = slot;
}

static unsigned drain(struct owner *owner)
{
    uint64_t bits = brood__dispatch_take_finished(&owner->dispatch, 0);
    unsigned count = 0;
    bool broken = false;
    uint32_t slot;

    for (; bits != 0; bits &= bits - 1)
        while (brood__dispatch_drain(&owner->dispatch, (uint32_t)__builtin_ctzll(bits), &slot,
                                     &broken)) {
            const struct slot *s = &owner->dispatch.view.slots[slot];

            CHECK_EQ(s->result, result_of(s->index));
            give_back(owner, slot);
            count++;
        }
    CHECK(!broken);
    owner->counts.taken += count;
    return count;
}

static void take_away(struct owner *owner, uint32_t slot)
{
    if (!owner->live[slot] || !brood__dispatch_revoke(&owner->dispatch, slot))
        return;
    give_back(owner, slot);
    owner->counts.revoked++;
}

/* At any task, as for a cancel. */
static void aim(struct owner *owner, uint32_t slot)
{
    int lane = owner->live[slot] ? brood__dispatch_lane_of(&owner->dispatch, slot) : -1;

    if (lane < 0 || owner->doomed_for[lane] != 0)
        return;
    if (!brood__dispatch_kill(&owner->dispatch, (uint32_t)lane, slot)) {
        owner->counts.withdrawn++;
        return;
    }
    owner->doomed_for[lane] = brood__dispatch_id(&owner->dispatch, slot);
    owner->hold[lane] = (unsigned)test_random_below(HOLD_MAX);
    atomic_store_explicit(&owner->workers[lane].doomed, owner->doomed_for[lane],
                          memory_order_relaxed);
    owner->counts.confirmed++;
}

/* At one that runs, as for a timeout. */
static void aim_at_running(struct owner *owner)
{
    uint32_t slot = brood__dispatch_running(&owner->dispatch, (uint32_t)test_random_below(LANES));

    if (slot != NO_SLOT)
        aim(owner, slot);
}

/* Whether LANE has gone on to another task, and so waits before it. */
static bool is_parked(const struct owner *owner, uint32_t lane)
{
    uint64_t running = atomic_load(&owner->workers[lane].self.lane->running);

    return running != 0 && running != owner->doomed_for[lane];
}

static void take_kill_back(struct owner *owner, uint32_t lane)
{
    struct lane *l = owner->workers[lane].self.lane;

    if (owner->doomed_for[lane] == 0)
        return;
    owner->counts.parked += is_parked(owner, lane);
    owner->doomed_for[lane] = 0;
    atomic_store_explicit(&owner->workers[lane].doomed, 0, memory_order_relaxed);
    atomic_store_explicit(&l->kill_request, 0, memory_order_release);
    brood__lane_wake(&owner->dispatch.view, lane);
}

static void hold_kills(struct owner *owner)
{
    for (uint32_t lane = 0; lane < LANES; lane++)
        if (owner->doomed_for[lane] != 0 && owner->hold[lane]-- == 0)
            take_kill_back(owner, lane);
}

static void send_mail(struct owner *owner)
{
    uint64_t offset = 1 + test_random_below(1000);

    if (!brood__lane_mail(&owner->dispatch.view, (uint32_t)test_random_below(LANES), offset))
        return;
    owner->counts.mailed++;
    owner->counts.mail_sum += offset;
}

/* As run/pool_wait.c does. */
static void sleep_on_word(struct owner *owner)
{
    struct dispatch_control *control = owner->dispatch.view.control;
    uint32_t word = atomic_load(&control->owner_word);

    if (drain(owner) > 0)
        return;
    atomic_store(&control->owner_waits, 1);
    atomic_thread_fence(memory_order_seq_cst);
    if (atomic_load_explicit(&control->finished[0], memory_order_relaxed) == 0 &&
        brood__futex_wait(&control->owner_word, word, deadline_in(TEST_PATIENCE_MS)) == -ETIMEDOUT)
        FAIL("the owner sleeps, and %u tasks are out", SLOTS - owner->free_count);
}

/* As the supervisor does. */
static void sleep_on_bell(struct owner *owner)
{
    struct pollfd fd = {.fd = owner->bell, .events = POLLIN};
    uint64_t rings;

    atomic_store(&owner->dispatch.view.control->bell_armed, 1);
    atomic_thread_fence(memory_order_seq_cst);
    if (drain(owner) == 0 && brood__fd_wait(&fd, 1, deadline_in(TEST_PATIENCE_MS)) != 1)
        FAIL("the bell is silent, and %u tasks are out", SLOTS - owner->free_count);
    (void)brood__fd_read(owner->bell, &rings, sizeof rings);
}

/* Something must come back: all lanes are free to go on. The doomed get a chance to park first,
 * but with nothing else to do they sleep instead. */
static void wait_for_any(struct owner *owner)
{
    for (uint32_t lane = 0; lane < LANES; lane++) {
        for (unsigned i = 0; i < HOLD_MAX && owner->doomed_for[lane] != 0; i++) {
            if (is_parked(owner, lane))
                break;
            (void)sched_yield();
        }
        take_kill_back(owner, lane);
    }
    if (test_random_below(2) == 0)
        sleep_on_word(owner);
    else
        sleep_on_bell(owner);
}

static void take_turn(struct owner *owner)
{
    uint32_t slot = (uint32_t)test_random_below(SLOTS);

    switch (test_random_below(16)) {
    case 0:
        take_away(owner, slot);
        break;
    case 1:
        send_mail(owner);
        break;
    case 2:
        while (owner->free_count < SLOTS)
            wait_for_any(owner);
        break;
    case 3:
    case 4:
    case 5:
        (void)drain(owner);
        break;
    case 6:
        aim(owner, slot);
        break;
    case 7:
    case 8:
        aim_at_running(owner);
        break;
    default:
        if (owner->free_count > 0)
            publish(owner);
        else
            wait_for_any(owner);
    }
    hold_kills(owner);
}

static void close_owner(struct owner *owner)
{
    while (owner->free_count < SLOTS)
        wait_for_any(owner);
    for (uint32_t lane = 0; lane < LANES; lane++) {
        take_kill_back(owner, lane);
        atomic_store(&owner->workers[lane].self.lane->stop, 1);
        brood__lane_wake(&owner->dispatch.view, lane);
    }
    for (uint32_t lane = 0; lane < LANES; lane++)
        CHECK_EQ(pthread_join(owner->workers[lane].thread, NULL), 0);
    brood__fd_close(owner->bell);
    brood__dispatch_done(&owner->dispatch);
    free(owner->memory);
}

static void check_sums(const struct owner *owner)
{
    const struct counts *counts = &owner->counts;
    uint64_t done = 0;
    uint64_t mail_sum = 0;

    for (uint32_t lane = 0; lane < LANES; lane++) {
        done += owner->workers[lane].done;
        mail_sum += owner->workers[lane].mail_sum;
    }
    CHECK_EQ(done, counts->taken);
    CHECK_EQ(counts->published, counts->taken + counts->revoked);
    CHECK_EQ(mail_sum, counts->mail_sum);
    test_note("%llu tasks, %llu revoked; kills: %llu withdrawn, %llu confirmed, %llu lanes parked; "
              "%llu letters",
              (unsigned long long)counts->published, (unsigned long long)counts->revoked,
              (unsigned long long)counts->withdrawn, (unsigned long long)counts->confirmed,
              (unsigned long long)counts->parked, (unsigned long long)counts->mailed);
}

/* The workload of a pool that cancels and times out much more than any pool would. */
TEST_LIMIT(threads_lose_no_task_and_hit_no_innocent, 60)
{
    static struct owner owner;
    int64_t end = deadline_in(RUN_MS);

    open_owner(&owner);
    while (now_ns() < end || owner.counts.parked < PARKS_MIN)
        take_turn(&owner);
    close_owner(&owner);
    check_sums(&owner);
}
