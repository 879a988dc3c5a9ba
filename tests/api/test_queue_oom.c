/* SPDX-License-Identifier: MIT */
/*
 * Memory runs out: some of those who use a queue or a lock are in a group that may have little
 * (harness/memory_group.h), and take more and more until the kernel's OOM killer ends them, in the
 * middle of what they do. It imitates a machine on which one service grows without end. Those
 * outside the group must go on as after any death: what must hold for a queue is said in
 * queue_storm.h, and half a change below a lock is told to its next owner.
 *
 * A doomed one takes its memory itself, between two steps of its work, or a second thread of it
 * does so, and then the death comes at any instruction of the work.
 *
 * The other half: memory that runs out by a limit of the process (RLIMIT_AS, RLIMIT_DATA), where
 * nobody is killed, and malloc and mmap fail. Then each call works or returns -ENOMEM, and what it
 * did not do has left nothing half done.
 */
#include "api/queue_storm.h"
#include "harness/memory_group.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/resource.h>

enum {
    DEATHS = 40,
    TURNS_MAX = 200,
    /* A sanitizer takes several bytes for each. */
    GROUP_LEN = TEST_ASAN || TEST_TSAN ? 160 << 20 : 48 << 20,
    WORKERS = 4,
    SEATS = 12 /* participants_max: far fewer than die */
};

/* ---- the doomed ---- */

struct fate {
    bool doomed;
    bool alone; /* no second thread */
    unsigned turns;
};

static struct memory_group group;
static struct fate fate; /* of the next child, and then in that child */
static struct gate *hungry;
static unsigned group_deaths; /* seen by the test */

static void draw_fate(bool doomed)
{
    fate = (struct fate){.doomed = doomed,
                         .alone = test_random_below(2) == 0,
                         .turns = 1 + (unsigned)test_random_below(TURNS_MAX)};
}

static void *eat(void *unused)
{
    (void)unused;
    gate_wait_ms(hungry, -1);
    memory_group_eat(&group);
}

static void meet_fate(void)
{
    pthread_t thread;

    if (!fate.doomed)
        return;
    memory_group_join(&group);
    hungry = gate_new();
    if (!fate.alone)
        CHECK_EQ(pthread_create(&thread, NULL, eat, NULL), 0);
}

/* A step of its work. */
static void take_turn(void)
{
    if (!fate.doomed || fate.turns == 0 || --fate.turns > 0)
        return;
    gate_open(hungry);
    if (fate.alone)
        (void)eat(NULL);
}

/* Half of all, of each kind. */
static bool is_inside(unsigned index)
{
    return index % 2 == 1;
}

/* The next one that is killed: which of PIDS it was. */
static unsigned await_death(const pid_t *pids, unsigned count)
{
    int status = 0;
    pid_t pid = CHECK_OK(waitpid(-1, &status, 0));
    unsigned index = 0;

    while (index < count && pids[index] != pid)
        index++;
    CHECK(index < count);
    if (!is_inside(index) || !WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL)
        FAIL("%u ends with status %d", index, status);
    group_deaths++;
    return index;
}

static void open_group(void)
{
    const char *impossible = memory_group_open(&group, GROUP_LEN);

    if (impossible != NULL)
        SKIP("%s", impossible);
}

static void close_group(void)
{
    unsigned kills = memory_group_kills(&group);

    memory_group_close(&group);
    CHECK(group_deaths > 0);
    CHECK(kills >= group_deaths);
}

/* ---- a queue ---- */

static void begin(struct storm *storm, unsigned index)
{
    (void)storm;
    (void)index;
    meet_fate();
}

static void start_member(struct storm *storm, unsigned index, bool doomed)
{
    draw_fate(doomed);
    start_one(storm, index);
}

/* Those outside go on at their pace meanwhile, and must not come to their ends. */
static bool has_numbers(const struct storm *storm)
{
    for (unsigned i = 0; i < storm->producers; i++)
        if (storm->books->next[i] > NUMBERS_MAX / 4 * 3)
            return false;
    return true;
}

static void starve_crew(struct storm *storm)
{
    unsigned crew = storm->producers + storm->consumers;

    for (unsigned i = 0; i < crew; i++)
        start_member(storm, i, is_inside(i));
    for (unsigned deaths = 0; deaths < DEATHS && has_numbers(storm); deaths++) {
        unsigned index = await_death(storm->pids, crew);

        count_kill(storm, index);
        start_member(storm, index, true);
    }
    fate.doomed = false;
    for (unsigned i = 0; i < crew; i++)
        if (is_inside(i))
            kill_one(storm, i);
}

/* The queue's pages are taken by this process, and not by one of the group. */
static void run_starving_storm(struct storm *storm)
{
    open_group();
    storm->begin = begin;
    storm->in_between = take_turn;
    storm->participants_max = SEATS;
    open_storm(storm);
    check_room(storm);
    starve_crew(storm);
    close_group();
    close_storm(storm);
}

TEST_LIMIT(out_of_memory_costs_a_killed_consumer_its_own_message_and_nothing_else, 60)
{
    struct storm storm = {.producers = 2, .consumers = 2, .capacity = 16};

    run_starving_storm(&storm);
}

TEST_LIMIT(out_of_memory_costs_nothing_if_messages_are_noted_before_they_are_done, 60)
{
    struct storm storm = {.producers = 3, .consumers = 3, .capacity = 32, .in_place = true};

    run_starving_storm(&storm);
}

/* ---- a lock ---- */

struct account {
    brood_lock lock;
    uint64_t left, right; /* the same, unless somebody is at it */
    unsigned notices;
};

/* Shared by all. */
struct crew {
    struct account *account;
    _Atomic bool over;
    _Atomic bool inside[WORKERS]; /* died, or will, with the lock held */
    _Atomic uint64_t done[WORKERS];
};

static pid_t workers[WORKERS];

static void change(struct crew *crew, unsigned index)
{
    struct account *account = crew->account;
    int r = CHECK_OK(brood_lock_acquire(&account->lock, BROOD_FOREVER));

    if (r == BROOD_OWNER_DIED) {
        account->notices++;
        account->right = account->left;
        CHECK_EQ(brood_lock_consistent(&account->lock), 0);
    }
    if (account->left != account->right)
        FAIL("half a change, and nobody is told");
    account->left++;
    atomic_store(&crew->inside[index], fate.doomed && fate.alone && fate.turns == 1);
    take_turn();
    account->right++;
    CHECK_EQ(brood_lock_release(&account->lock), 0);
}

static void start_worker(struct crew *crew, unsigned index, bool doomed)
{
    draw_fate(doomed);
    workers[index] = CHECK_OK(fork());
    if (workers[index] != 0)
        return;
    meet_fate();
    while (!atomic_load(&crew->over)) {
        change(crew, index);
        (void)atomic_fetch_add(&crew->done[index], 1);
    }
    _exit(0);
}

/* Returns how many died with the lock for certain. */
static unsigned starve_workers(struct crew *crew)
{
    unsigned holders = 0;

    for (unsigned i = 0; i < WORKERS; i++)
        start_worker(crew, i, is_inside(i));
    for (unsigned deaths = 0; deaths < DEATHS; deaths++) {
        unsigned index = await_death(workers, WORKERS);

        holders += atomic_exchange(&crew->inside[index], false);
        start_worker(crew, index, true);
    }
    return holders;
}

static void end_workers(struct crew *crew)
{
    atomic_store(&crew->over, true);
    for (unsigned i = 0; i < WORKERS; i++) {
        int status;

        if (is_inside(i))
            CHECK_OK(kill(workers[i], SIGKILL));
        process_await_end(workers[i], "one that waits for the lock is left asleep");
        CHECK_EQ(waitpid(workers[i], &status, 0), workers[i]);
        CHECK(status == 0 || is_inside(i));
    }
}

static void check_account(struct crew *crew, unsigned holders)
{
    struct account *account = crew->account;
    unsigned deaths = group_deaths + WORKERS / 2;
    uint64_t done = 0;

    change(crew, 0);
    for (unsigned i = 0; i < WORKERS; i++)
        done += atomic_load(&crew->done[i]);
    test_note("%llu changes, %u killed, %u of them for certain with the lock, %u notices",
              (unsigned long long)done, deaths, holders, account->notices);
    CHECK_EQ(brood_lock_owner(&account->lock, NULL), 0);
    CHECK(account->left > done && account->left <= done + 1 + deaths);
    CHECK(holders > 0);
    CHECK(account->notices >= holders);
    CHECK(account->notices <= deaths);
}

static void sit_at_account(void *context)
{
    change(context, 0);
}

TEST_LIMIT(out_of_memory_below_a_lock_is_told_to_its_next_owner, 60)
{
    struct crew *crew;
    brood_region *region = NULL;
    unsigned holders;

    open_group();
    CHECK_EQ(brood_region_new(&region, &(brood_region_options){.participants_max = SEATS}), 0);
    crew = brood_region_alloc(region, sizeof *crew);
    CHECK(crew != NULL);
    crew->account = brood_region_alloc(region, sizeof *crew->account);
    CHECK(crew->account != NULL);
    holders = starve_workers(crew);
    end_workers(crew);
    close_group();
    fate.doomed = false;
    check_account(crew, holders);
    check_seats(SEATS - 1, sit_at_account, crew);
    brood_region_free(region);
}

/* ---- limits of a process ---- */

enum limit { LIMIT_ADDRESSES, LIMIT_PRIVATE };
enum { KEPT = 10, TRIES = 24, ROOM_LEN = 1 << 17 };

/* What is asked of one that has no memory. */
struct needy {
    struct storm storm; /* producer 0 is the test, producer 1 this one */
    brood_region *region;
    struct account *account;
    enum limit limit;
    bool joins_first;
    _Atomic unsigned worked, failed; /* shared */
};

/* The stack grows by the same limit, so it does so before. */
__attribute__((noinline)) static void grow_stack(void)
{
    volatile char room[ROOM_LEN];

    for (size_t i = 0; i < sizeof room; i += 1024)
        room[i] = 0;
}

/* No mapping can be made any more, and malloc has nothing left of those there are. */
static void use_up_memory(enum limit limit)
{
    static void *volatile last;
    struct rlimit none = {0, 0};

    grow_stack();
    CHECK_EQ(limit == LIMIT_ADDRESSES ? setrlimit(RLIMIT_AS, &none) : setrlimit(RLIMIT_DATA, &none),
             0);
    for (size_t len = 1 << 20; len >= 16; len /= 2)
        while ((last = malloc(len)) != NULL)
            continue;
}

/* Whether it did what it was asked to. */
static bool works(struct needy *needy, int r)
{
    if (r < 0)
        CHECK_ERR(r, -ENOMEM);
    (void)atomic_fetch_add(r < 0 ? &needy->failed : &needy->worked, 1);
    return r >= 0;
}

static bool gives(struct needy *needy, const void *memory)
{
    return works(needy, memory != NULL ? 0 : -ENOMEM);
}

static void put_needily(struct needy *needy)
{
    static char data[LEN_MAX];
    struct storm *storm = &needy->storm;
    uint32_t number = storm->books->next[1];

    make_message(data, 1, number);
    if (works(needy, brood_queue_put(storm->queue, data, len_of(1, number), 0)))
        storm->books->next[1] = number + 1;
}

static void reserve_needily(struct needy *needy)
{
    struct storm *storm = &needy->storm;
    uint32_t number = storm->books->next[1];
    brood_message message;

    if (!works(needy, brood_queue_reserve(storm->queue, len_of(1, number), 0, &message)))
        return;
    make_message(message.data, 1, number);
    CHECK_EQ(brood_queue_send(storm->queue, &message), 0);
    storm->books->next[1] = number + 1;
}

static void take_needily(struct needy *needy, int64_t *last)
{
    struct storm *storm = &needy->storm;
    brood_message message;
    struct head head;

    if (!works(needy, brood_queue_take(storm->queue, 0, &message)))
        return;
    head = check_message(storm, message.data, message.len);
    note(storm, &head, last);
    brood_message_done(&message);
}

static void change_needily(struct needy *needy)
{
    struct account *account = needy->account;

    if (!works(needy, brood_lock_acquire(&account->lock, 0)))
        return;
    account->left++;
    account->right++;
    CHECK_EQ(brood_lock_release(&account->lock), 0);
}

static void make_needily(struct needy *needy)
{
    brood_queue *queue = NULL;
    brood_region *region = NULL;
    void *memory = brood_region_alloc(needy->region, 100000);

    if (gives(needy, memory))
        brood_region_release(needy->region, memory);
    memory = brood_shared_alloc(100000);
    if (gives(needy, memory))
        brood_shared_free(memory);
    if (works(needy, brood_queue_new(&queue, NULL)))
        brood_queue_free(queue);
    if (works(needy, brood_region_new(&region, NULL)))
        brood_region_free(region);
    (void)works(needy, brood_queue_fd(needy->storm.queue));
}

static void live_needily(struct needy *needy)
{
    int64_t last[PRODUCERS_MAX] = {-1, -1, -1, -1};

    if (needy->joins_first) {
        put_needily(needy);
        change_needily(needy);
    }
    use_up_memory(needy->limit);
    for (unsigned i = 0; i < TRIES; i++) {
        put_needily(needy);
        reserve_needily(needy);
        take_needily(needy, last);
        take_needily(needy, last);
        change_needily(needy);
    }
    make_needily(needy);
    _exit(0);
}

/* All that was put was got, by the needy one or now by the test, once and in order. */
static void check_needy(struct needy *needy)
{
    int64_t last[PRODUCERS_MAX] = {-1, -1, -1, -1};
    struct storm *storm = &needy->storm;
    struct books *books = storm->books;

    while (brood_queue_size(storm->queue) > 0)
        take_needily(needy, last);
    for (unsigned producer = 0; producer < storm->producers; producer++)
        for (uint32_t number = 0; number < books->next[producer]; number++)
            CHECK_EQ(books->got[producer][number], 1);
    CHECK_EQ(books->strays, 0);
    check_room(storm);
    CHECK_EQ(brood_lock_acquire(&needy->account->lock, 0), 0);
    CHECK_EQ(needy->account->left, needy->account->right);
    CHECK_EQ(brood_lock_release(&needy->account->lock), 0);
}

static void open_needy(struct needy *needy)
{
    static char data[LEN_MAX];

    needy->storm = (struct storm){.producers = 2, .capacity = 64, .participants_max = SEATS};
    open_storm(&needy->storm);
    CHECK_EQ(brood_region_new(&needy->region, NULL), 0);
    needy->account = brood_region_alloc(needy->region, sizeof *needy->account);
    CHECK(needy->account != NULL);
    for (uint32_t number = 0; number < KEPT; number++) {
        make_message(data, 0, number);
        CHECK_EQ(brood_queue_put(needy->storm.queue, data, len_of(0, number), 0), 0);
        needy->storm.books->next[0] = number + 1;
    }
}

static void close_needy(struct needy *needy)
{
    brood_region_free(needy->region);
    brood_queue_free(needy->storm.queue);
    CHECK_OK(munmap(needy->storm.books, sizeof *needy->storm.books));
}

static void run_needy(enum limit limit, bool joins_first)
{
    struct needy *needy = brood_shared_alloc(sizeof *needy);
    int status;
    pid_t pid;

    CHECK(needy != NULL);
    needy->limit = limit;
    needy->joins_first = joins_first;
    open_needy(needy);
    pid = CHECK_OK(fork());
    if (pid == 0)
        live_needily(needy);
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, 0);
    test_note("%u calls worked, %u had no memory", needy->worked, needy->failed);
    CHECK(needy->failed > 0);
    check_needy(needy);
    close_needy(needy);
    brood_shared_free(needy);
}

static void without_memory(enum limit limit)
{
    if (TEST_ASAN || TEST_TSAN)
        SKIP("a sanitizer needs memory of its own");
    run_needy(limit, true);
    run_needy(limit, false);
}

TEST(without_addresses_each_call_works_or_tells_that_there_is_no_memory)
{
    without_memory(LIMIT_ADDRESSES);
}

TEST(without_private_memory_each_call_works_or_tells_that_there_is_no_memory)
{
    without_memory(LIMIT_PRIVATE);
}
