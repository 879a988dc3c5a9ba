/* SPDX-License-Identifier: MIT */
/*
 * Who a thread is, by address: in a region of its roster, elsewhere of the private one; through
 * thread ends, forks, exits, and regions that go while threads are in them. A normal end of
 * anything is no death.
 */
#include "harness/gate.h"
#include "harness/sweep.h"
#include "harness/test.h"

#include "base/fault.h"
#include "ipc/member.h"

#include <brood/sync.h>

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SLOTS = 8, ROSTER_AT = 4096, PLACE_LEN = 16384 };

/* Memory that is listed as a region is. */
struct place {
    char *memory;
    struct roster *roster;
};

static struct place place_open(void)
{
    struct place place = {
        .memory = mmap(NULL, PLACE_LEN, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0)};

    CHECK(place.memory != MAP_FAILED);
    place.roster = (void *)(place.memory + ROSTER_AT);
    brood__roster_init(place.roster, SLOTS);
    CHECK_OK(brood__member_list(place.memory, PLACE_LEN, place.roster));
    return place;
}

static void unmap(void *memory)
{
    CHECK_OK(munmap(memory, PLACE_LEN));
}

static void place_close(struct place *place)
{
    CHECK(brood__member_unlist(place->memory, unmap, place->memory));
    unmap(place->memory);
}

static const struct member *member_at(const void *address)
{
    const struct member *member = NULL;

    CHECK_OK(brood__member(address, &member));
    return member;
}

static roster_tag tag_at(const void *address)
{
    return member_at(address)->tag;
}

static uint32_t deaths_in(const struct place *place)
{
    brood__roster_look(place->roster);
    return brood__roster_deaths(place->roster);
}

static void in_thread(void *(*function)(void *), void *context)
{
    pthread_t thread;

    CHECK_EQ(pthread_create(&thread, NULL, function, context), 0);
    CHECK_EQ(pthread_join(thread, NULL), 0);
}

/* A child that runs FUNCTION and returns from it as from main(). */
static void in_child(void (*function)(void *), void *context)
{
    pid_t pid = CHECK_OK(fork());
    int status;

    if (pid == 0) {
        function(context);
        _exit(0);
    }
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, 0);
}

/* ---- addresses ---- */

TEST(each_address_belongs_to_the_roster_around_it)
{
    struct place first = place_open(), second = place_open();
    int mine;

    for (int i = 0; i < 3; i++) {
        CHECK(member_at(first.memory)->roster == first.roster);
        CHECK(member_at(second.memory + PLACE_LEN - 1)->roster == second.roster);
        CHECK(member_at(&mine)->roster != first.roster);
        CHECK(member_at(&mine)->roster != second.roster);
        CHECK(member_at(&first)->roster == member_at(&mine)->roster);
    }
    place_close(&second);
    place_close(&first);
}

TEST(a_thread_joins_a_roster_once)
{
    struct place first = place_open(), second = place_open();
    int mine;
    roster_tag tags[3] = {tag_at(first.memory), tag_at(second.memory), tag_at(&mine)};

    for (int i = 0; i < 100; i++) {
        CHECK_EQ(tag_at(first.memory + i), tags[0]);
        CHECK_EQ(tag_at(second.memory + i), tags[1]);
        CHECK_EQ(tag_at(&mine), tags[2]);
    }
    CHECK(brood__roster_alive(first.roster, tags[0]));
    place_close(&first);
    place_close(&second);
    CHECK_EQ(tag_at(&mine), tags[2]);
}

TEST(an_address_that_becomes_a_region_is_not_taken_for_private_memory)
{
    struct place place = place_open();
    struct roster *private = member_at(&place)->roster;

    CHECK(brood__member_unlist(place.memory, NULL, NULL));
    CHECK(member_at(place.memory)->roster == private);
    CHECK_OK(brood__member_list(place.memory, PLACE_LEN, place.roster));
    CHECK(member_at(place.memory)->roster == place.roster);
    place_close(&place);
}

TEST(whoever_takes_a_region_off_has_left_it)
{
    struct place place = place_open();
    roster_tag tag = tag_at(place.memory);

    CHECK(brood__member_unlist(place.memory, unmap, place.memory));
    CHECK(!brood__roster_alive(place.roster, tag));
    CHECK_EQ(deaths_in(&place), 0);
    CHECK(brood__member_unlist(place.memory, NULL, NULL)); /* it is not there any more */
    unmap(place.memory);
}

TEST(hundreds_of_regions_fit_one_thread)
{
    /* The thread sanitizer ends a thread that holds more than 64 locks. */
    enum { MANY = TEST_TSAN ? 50 : 300 };
    struct place *places = calloc(MANY, sizeof *places);

    CHECK(places != NULL);
    for (int i = 0; i < MANY; i++) {
        places[i] = place_open();
        (void)tag_at(places[i].memory);
    }
    for (int i = 0; i < MANY; i++)
        CHECK(brood__roster_alive(places[i].roster, tag_at(places[i].memory)));
    for (int i = 0; i < MANY; i++)
        place_close(&places[i]);
    free(places);
}

/* Beyond 2048 robust mutexes of a thread the kernel does not tell of its death any more. */
TEST_LIMIT(a_thread_joins_no_more_rosters_than_its_death_would_show_in, 60)
{
    enum { MANY = 2048 };
    struct place *places = calloc(MANY, sizeof *places);
    const struct member *member = NULL;
    int count = 0;

    if (TEST_TSAN)
        SKIP("the thread sanitizer ends a thread that holds more than 64 locks");
    CHECK(places != NULL);
    do {
        CHECK(count < MANY);
        places[count] = place_open();
    } while (brood__member(places[count++].memory, &member) == 0);
    CHECK_ERR(brood__member(places[count - 1].memory, &member), -EAGAIN);
    (void)tag_at(places[0].memory);
    place_close(&places[1]);
    places[1] = place_open();
    (void)tag_at(places[1].memory);
    for (int i = 0; i < count; i++)
        place_close(&places[i]);
    free(places);
}

/* ---- threads ---- */

static void *use(void *context)
{
    struct place *place = context;

    CHECK(brood__roster_alive(place->roster, tag_at(place->memory)));
    (void)tag_at(&place);
    return NULL;
}

TEST(thousands_of_short_threads_leave_no_slot_behind)
{
    struct place place = place_open();

    for (int i = 0; i < 3000; i++)
        in_thread(use, &place);
    CHECK_EQ(deaths_in(&place), 0);
    place_close(&place);
}

struct stay {
    struct place place;
    struct gate *joined, *leave;
    _Atomic int done;
};

static void *stay(void *context)
{
    struct stay *scene = context;

    (void)tag_at(scene->place.memory);
    gate_count(scene->joined);
    gate_wait(scene->leave);
    return NULL;
}

static void *stay_until_exit(void *context)
{
    void *nothing = stay(context);

    while (nothing == NULL)
        (void)pause();
    return nothing;
}

TEST(a_full_roster_lets_in_nobody_and_goes_on)
{
    struct stay scene = {.place = place_open(), .joined = gate_new(), .leave = gate_new()};
    const struct member *member = NULL;
    pthread_t threads[SLOTS];

    for (int i = 0; i < SLOTS; i++)
        CHECK_EQ(pthread_create(&threads[i], NULL, stay, &scene), 0);
    gate_wait_count(scene.joined, SLOTS);
    CHECK_ERR(brood__member(scene.place.memory, &member), -EAGAIN);
    CHECK(member == NULL);
    gate_open(scene.leave);
    for (int i = 0; i < SLOTS; i++)
        CHECK_EQ(pthread_join(threads[i], NULL), 0);
    (void)tag_at(scene.place.memory);
    CHECK_EQ(deaths_in(&scene.place), 0);
    place_close(&scene.place);
    gate_free(scene.joined);
    gate_free(scene.leave);
}

static void last_has_left(void *context)
{
    struct stay *scene = context;

    CHECK_EQ(deaths_in(&scene->place), 0);
    (void)atomic_fetch_add(&scene->done, 1);
    unmap(scene->place.memory);
}

TEST(a_region_that_threads_are_in_ends_with_the_last_of_them)
{
    struct stay scene = {.place = place_open(), .joined = gate_new(), .leave = gate_new()};
    pthread_t threads[2];
    int mine;

    (void)tag_at(scene.place.memory);
    for (int i = 0; i < 2; i++)
        CHECK_EQ(pthread_create(&threads[i], NULL, stay, &scene), 0);
    gate_wait_count(scene.joined, 2);
    CHECK(!brood__member_unlist(scene.place.memory, last_has_left, &scene));
    CHECK(member_at(scene.place.memory)->roster == member_at(&mine)->roster);
    CHECK_EQ(atomic_load(&scene.done), 0);
    gate_open(scene.leave);
    for (int i = 0; i < 2; i++)
        CHECK_EQ(pthread_join(threads[i], NULL), 0);
    CHECK_EQ(atomic_load(&scene.done), 1);
    gate_free(scene.joined);
    gate_free(scene.leave);
}

static void *use_or_fail(void *context)
{
    struct place *place = context;
    const struct member *member = NULL;
    int r = brood__member(place->memory, &member);

    CHECK(r == 0 || (r == -ENOMEM && member == NULL));
    return NULL;
}

static void use_in_a_thread(void *context)
{
    struct place *place = context;

    in_thread(use_or_fail, place);
    CHECK_EQ(deaths_in(place), 0);
}

/* Else it would go without leaving. */
TEST_LIMIT(a_thread_whose_end_cannot_be_noticed_joins_nothing, 60)
{
    struct place place = place_open();

    sweep_faults(use_in_a_thread, &place,
                 &(struct sweep_options){.only = "pthread_setspecific atexit"});
    place_close(&place);
}

struct late {
    struct place place;
    pthread_key_t key;
};

/* Called after brood's own destructor or before it; each time the thread joins, it leaves again. */
static void use_late(void *context)
{
    struct late *late = context;

    (void)use(&late->place);
}

static void *end_with_a_destructor(void *context)
{
    struct late *late = context;

    CHECK_EQ(pthread_setspecific(late->key, late), 0);
    return use(&late->place);
}

TEST(a_destructor_of_a_thread_that_uses_a_region_is_no_death)
{
    struct late late = {.place = place_open()};
    pthread_key_t first;

    /* One with a lower number than brood's own, and one with a higher. */
    CHECK_EQ(pthread_key_create(&first, use_late), 0);
    late.key = first;
    in_thread(end_with_a_destructor, &late);
    (void)tag_at(late.place.memory);
    CHECK_EQ(pthread_key_create(&late.key, use_late), 0);
    in_thread(end_with_a_destructor, &late);
    CHECK_EQ(deaths_in(&late.place), 0);
    CHECK_EQ(pthread_key_delete(first), 0);
    CHECK_EQ(pthread_key_delete(late.key), 0);
    place_close(&late.place);
}

/* ---- ends of processes ---- */

static struct place *at_exit_place;

static void use_at_exit(void)
{
    (void)use(at_exit_place);
}

static void end_by_exit(void *context)
{
    at_exit_place = context;
    /* Registered before brood's own, so called after it. */
    CHECK_EQ(atexit(use_at_exit), 0);
    (void)use(context);
    exit(0);
}

static void end_by_exit_now(void *context)
{
    (void)use(context);
    _exit(0);
}

static void end_by_leaving(void *context)
{
    (void)use(context);
    brood__member_leave_all();
    _exit(0);
}

static void end_first_thread(void *context)
{
    (void)use(context);
    pthread_exit(NULL);
}

TEST(a_process_that_exits_is_no_death)
{
    struct place place = place_open();

    in_child(end_by_exit, &place);
    CHECK_EQ(deaths_in(&place), 0);
    in_child(end_by_leaving, &place);
    CHECK_EQ(deaths_in(&place), 0);
    if (!TEST_TSAN) /* it has a thread of its own, which does not end with the last of ours */
        in_child(end_first_thread, &place);
    CHECK_EQ(deaths_in(&place), 0);
    place_close(&place);
}

TEST(a_process_that_ends_without_exit_is_a_death)
{
    struct place place = place_open();

    in_child(end_by_exit_now, &place);
    CHECK_EQ(deaths_in(&place), 1);
    place_close(&place);
}

/* The first word of the place. */
static brood_lock *lock_in(const struct place *place)
{
    return (brood_lock *)(void *)place->memory;
}

static void *stay_with_the_lock(void *context)
{
    struct stay *scene = context;

    CHECK_OK(brood_lock_acquire(lock_in(&scene->place), BROOD_FOREVER));
    return stay_until_exit(context);
}

static void end_with_a_thread(void *context)
{
    struct stay *scene = context;
    pthread_t threads[2];

    CHECK_EQ(pthread_create(&threads[0], NULL, stay_with_the_lock, scene), 0);
    CHECK_EQ(pthread_create(&threads[1], NULL, stay_until_exit, scene), 0);
    gate_wait_count(scene->joined, 2);
    (void)use(&scene->place);
    exit(0);
}

/* The process has ended in good order, so nobody is told that somebody died; but what a thread of
 * it held may be half changed, and the next owner is told that. */
TEST(threads_that_run_when_their_process_exits_are_no_news_and_their_locks_are_taken_over)
{
    struct stay scene = {.place = place_open(), .joined = gate_new(), .leave = gate_new()};

    gate_open(scene.leave);
    in_child(end_with_a_thread, &scene);
    CHECK_EQ(deaths_in(&scene.place), 0);
    CHECK_EQ(brood_lock_acquire(lock_in(&scene.place), 0), BROOD_OWNER_DIED);
    CHECK_OK(brood_lock_release(lock_in(&scene.place)));
    CHECK_EQ(deaths_in(&scene.place), 0);
    place_close(&scene.place);
    gate_free(scene.joined);
    gate_free(scene.leave);
}

static void end_when_it_is_waited_for(void *context)
{
    struct stay *scene = context;
    pthread_t thread;

    CHECK_EQ(pthread_create(&thread, NULL, stay_with_the_lock, scene), 0);
    gate_wait(scene->leave);
    exit(0);
}

/* Sleeps for the lock; nobody but the end of its owner wakes it. */
TEST(whoever_sleeps_for_a_lock_gets_it_when_the_process_of_its_owner_exits)
{
    struct stay scene = {.place = place_open(), .joined = gate_new(), .leave = gate_new()};
    pid_t pid = CHECK_OK(fork());
    int status;

    if (pid == 0)
        end_when_it_is_waited_for(&scene);
    gate_wait(scene.joined);
    CHECK_ERR(brood_lock_acquire(lock_in(&scene.place), 20), -ETIMEDOUT);
    gate_open(scene.leave);
    CHECK_EQ(brood_lock_acquire(lock_in(&scene.place), TEST_PATIENCE_MS), BROOD_OWNER_DIED);
    CHECK_OK(brood_lock_release(lock_in(&scene.place)));
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, 0);
    CHECK_EQ(deaths_in(&scene.place), 0);
    place_close(&scene.place);
    gate_free(scene.joined);
    gate_free(scene.leave);
}

static void end_at_once_with_a_thread(void *context)
{
    struct stay *scene = context;
    pthread_t thread;

    CHECK_EQ(pthread_create(&thread, NULL, stay_until_exit, scene), 0);
    gate_wait(scene->joined);
    (void)use(&scene->place);
    _exit(0);
}

TEST(threads_of_a_process_that_ends_without_exit_are_a_death_each)
{
    struct stay scene = {.place = place_open(), .joined = gate_new(), .leave = gate_new()};

    gate_open(scene.leave);
    in_child(end_at_once_with_a_thread, &scene);
    CHECK_EQ(deaths_in(&scene.place), 2);
    place_close(&scene.place);
    gate_free(scene.joined);
    gate_free(scene.leave);
}

/* ---- forks ---- */

struct forked {
    struct place place;
    roster_tag parents;
    brood_lock mine, others;
    struct gate *held, *leave;
};

static void use_as_another(void *context)
{
    struct forked *scene = context;
    roster_tag tag = tag_at(scene->place.memory);

    CHECK(tag != scene->parents);
    CHECK_EQ(tag_at(scene->place.memory), tag);
    CHECK(brood__roster_alive(scene->place.roster, scene->parents));
    brood__member_leave_all();
}

TEST(a_forked_child_is_another_participant)
{
    struct forked scene = {.place = place_open()};

    scene.parents = tag_at(scene.place.memory);
    in_child(use_as_another, &scene);
    CHECK_EQ(tag_at(scene.place.memory), scene.parents);
    CHECK(brood__roster_alive(scene.place.roster, scene.parents));
    CHECK_EQ(deaths_in(&scene.place), 0);
    place_close(&scene.place);
}

static void leave_nothing(void *context)
{
    (void)context;
    exit(0);
}

TEST(a_child_that_does_nothing_takes_its_parent_off_no_roster)
{
    struct place place = place_open();
    roster_tag tag = tag_at(place.memory);

    in_child(leave_nothing, NULL);
    CHECK(brood__roster_alive(place.roster, tag));
    CHECK_EQ(deaths_in(&place), 0);
    place_close(&place);
}

static void *hold_others(void *context)
{
    struct forked *scene = context;

    CHECK_OK(brood_lock_acquire(&scene->others, BROOD_FOREVER));
    gate_open(scene->held);
    gate_wait(scene->leave);
    CHECK_OK(brood_lock_release(&scene->others));
    return NULL;
}

static void check_locks_of_child(struct forked *scene)
{
    CHECK_ERR(brood_lock_acquire(&scene->mine, 0), -EDEADLK);
    CHECK_OK(brood_lock_release(&scene->mine));
    CHECK_OK(brood_lock_acquire(&scene->mine, 0));
    CHECK_EQ(brood_lock_acquire(&scene->others, 0), BROOD_OWNER_DIED);
    CHECK_OK(brood_lock_consistent(&scene->others));
    CHECK_OK(brood_lock_release(&scene->others));
}

static void locks_first(void *context)
{
    check_locks_of_child(context);
}

static void region_first(void *context)
{
    struct forked *scene = context;

    (void)tag_at(scene->place.memory);
    check_locks_of_child(scene);
    brood__member_leave_all();
}

static void *take_others(void *context)
{
    struct forked *scene = context;

    CHECK_ERR(brood_lock_acquire(&scene->mine, 0), -ETIMEDOUT);
    CHECK_EQ(brood_lock_acquire(&scene->others, 0), BROOD_OWNER_DIED);
    CHECK_OK(brood_lock_release(&scene->others));
    return NULL;
}

static void another_thread_first(void *context)
{
    in_thread(take_others, context);
    check_locks_of_child(context);
}

static void grandchild(void *context)
{
    in_child(locks_first, context);
    in_child(another_thread_first, context);
    check_locks_of_child(context);
}

static void region_gone_first(void *context)
{
    struct forked *scene = context;

    CHECK(brood__member_unlist(scene->place.memory, NULL, NULL));
    unmap(scene->place.memory);
    check_locks_of_child(scene);
}

/* The main thread holds one private lock and another thread the other one. */
static void check_locks_after_fork(void (*function)(void *))
{
    struct forked scene = {.place = place_open(), .held = gate_new(), .leave = gate_new()};
    pthread_t thread;

    scene.parents = tag_at(scene.place.memory);
    CHECK_OK(brood_lock_acquire(&scene.mine, BROOD_FOREVER));
    CHECK_EQ(pthread_create(&thread, NULL, hold_others, &scene), 0);
    gate_wait(scene.held);
    in_child(function, &scene);
    CHECK(brood__roster_alive(scene.place.roster, scene.parents));
    CHECK_OK(brood_lock_release(&scene.mine));
    gate_open(scene.leave);
    CHECK_EQ(pthread_join(thread, NULL), 0);
    CHECK_EQ(deaths_in(&scene.place), 0);
    place_close(&scene.place);
    gate_free(scene.held);
    gate_free(scene.leave);
}

/* Threads cannot be started in a child of a threaded process under the thread sanitizer. */
static void skip_if_tsan(void)
{
    if (TEST_TSAN)
        SKIP("the thread sanitizer starts no thread in a forked child");
}

TEST(a_child_has_the_private_locks_of_the_thread_that_forked)
{
    check_locks_after_fork(locks_first);
}

TEST(a_child_has_them_too_when_it_uses_a_region_first)
{
    check_locks_after_fork(region_first);
}

TEST(a_child_has_them_too_when_its_second_thread_comes_first)
{
    skip_if_tsan();
    check_locks_after_fork(another_thread_first);
}

TEST(a_child_of_a_child_has_them_too)
{
    skip_if_tsan();
    check_locks_after_fork(grandchild);
}

TEST(a_child_may_unmap_the_regions_of_its_parent)
{
    check_locks_after_fork(region_gone_first);
}

static void forget_what_is_gone(void *context)
{
    struct stay *scene = context;

    (void)tag_at(&scene);
    CHECK_EQ(atomic_load(&scene->done), 1);
    brood__member_leave_all();
}

TEST(a_child_unmaps_what_was_only_there_for_other_threads)
{
    struct stay scene = {.place = place_open(), .joined = gate_new(), .leave = gate_new()};
    pthread_t thread;

    CHECK_EQ(pthread_create(&thread, NULL, stay, &scene), 0);
    gate_wait(scene.joined);
    CHECK(!brood__member_unlist(scene.place.memory, last_has_left, &scene));
    in_child(forget_what_is_gone, &scene);
    gate_open(scene.leave);
    CHECK_EQ(pthread_join(thread, NULL), 0);
    CHECK_EQ(atomic_load(&scene.done), 1);
    gate_free(scene.joined);
    gate_free(scene.leave);
}

/* ---- forks beside changes of the list ---- */

struct changes {
    struct place first;
    struct gate *running;
    _Atomic bool ends;
};

static void *list_and_unlist(void *context)
{
    struct changes *scene = context;

    while (!atomic_load(&scene->ends)) {
        struct place places[3] = {place_open(), place_open(), place_open()};

        gate_open(scene->running);
        place_close(&places[1]);
        place_close(&places[2]);
        place_close(&places[0]);
    }
    return NULL;
}

/* The oldest entry is the last of the list: it is found only if all before it are whole. */
static void use_the_oldest(struct changes *scene)
{
    struct place own = place_open();

    CHECK(member_at(scene->first.memory)->roster == scene->first.roster);
    CHECK(member_at(own.memory)->roster == own.roster);
    CHECK(member_at(&own)->roster != own.roster);
    place_close(&own);
    brood__member_leave_all();
    _exit(0);
}

TEST_LIMIT(a_fork_beside_a_thread_that_maps_regions_finds_a_whole_list, 60)
{
    enum { FORKS = 200 };
    struct changes scene = {.first = place_open(), .running = gate_new()};
    pthread_t thread;
    int status;

    (void)tag_at(scene.first.memory);
    CHECK_EQ(pthread_create(&thread, NULL, list_and_unlist, &scene), 0);
    gate_wait(scene.running);
    for (int i = 0; i < FORKS; i++) {
        pid_t pid = CHECK_OK(fork());

        if (pid == 0)
            use_the_oldest(&scene);
        CHECK_EQ(waitpid(pid, &status, 0), pid);
        CHECK_EQ(status, 0);
    }
    atomic_store(&scene.ends, true);
    CHECK_EQ(pthread_join(thread, NULL), 0);
    CHECK_EQ(deaths_in(&scene.first), 0);
    place_close(&scene.first);
    gate_free(scene.running);
}
