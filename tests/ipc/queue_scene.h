/* SPDX-License-Identifier: MIT */
/*
 * A scene for sweeps over the operations of a queue: a victim that is cut or held up anywhere
 * (harness/step.h), the process of the test, and processes that sleep in an operation and must not
 * be left there. And the books: who has put what, and who has got it.
 *
 *     static void put_victim(struct queue_scene *scene) { scene_put(scene, VICTIM, 0); }
 *
 *     struct queue_scene scene = {.operate = put_victim, .getters = 1};
 *     scene_kill(&scene, "put with a sleeping getter");
 *
 * Each message says whose it is and which, and the rest of it follows from that, so that one can
 * see whether it is torn. A message is in the books as put when put has returned, and as got when
 * get has. After each death the survivors empty the queue, and then
 *   - what was put is got once, but for what a killed getter had finished, and may not have told;
 *   - nobody sleeps who has something to do;
 *   - the whole capacity is there, and all the memory.
 *
 * The test's process is a participant before anybody sleeps, and so is the victim, unless its
 * operation is to join. What the victim does in prepare is done before the others fall asleep.
 * Sleepers that are done stay alive: a death wakes everybody, and would hide that a wake-up is
 * missing. A deaf one hears nothing but wake-ups of its own bell.
 *
 * Programs with this file are linked with --wrap=brood__roster_sleep.
 */
#ifndef BROOD_TESTS_IPC_QUEUE_SCENE_H
#define BROOD_TESTS_IPC_QUEUE_SCENE_H

#include "harness/process.h"
#include "harness/record.h"
#include "harness/report.h"
#include "harness/step.h"
#include "harness/test.h"

#include "base/clock.h"
#include "ipc/block.h"
#include "ipc/queue.h"
#include "sys/kernel.h"

#include <brood.h>

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum scene_party { OTHERS = 0, VICTIM, SLEEPERS, FILLER, PARTIES };
enum {
    NUMBERS = 256,
    SLEEPERS_MAX = 4,
    MESSAGE_MAX = 40000,
    LEN_DEFAULT = 40,
    SCENE_CAPACITY = 4,
    PARTICIPANTS = 8
};

/* Shared by all processes of a scene: the memory of the step plan. */
struct scene_books {
    _Atomic unsigned put[PARTIES][NUMBERS];
    _Atomic unsigned got[PARTIES][NUMBERS];
    _Atomic unsigned go;     /* the sleepers may begin */
    _Atomic unsigned sleeps; /* begun so far, without a limit of time */
    _Atomic unsigned done;   /* sleepers that need not sleep any more */
    _Atomic unsigned ended;  /* getters and putters that were told of the end */
};

struct queue_scene;
typedef void scene_fn(struct queue_scene *scene);

struct queue_scene {
    /* What a test asks for; all but .operate may be left out. */
    brood_queue_options options; /* capacity 4 unless it says so */
    size_t len;                  /* of each message; default 40 */
    size_t filler_len;           /* for the question about capacity, if .len is too long for it */
    unsigned messages;           /* put by setup */
    unsigned getters, putters;   /* asleep when the operation begins, or held up by what it holds */
    unsigned joiners;
    bool closed; /* by setup, after the messages */
    bool deaf;   /* the sleepers are */
    bool joins;  /* the victim does, in its operation */
    scene_fn *arrange;
    scene_fn *prepare; /* in the victim, not interrupted */
    scene_fn *operate;
    scene_fn *repair;
    scene_fn *meanwhile;
    scene_fn *look_after; /* before the usual questions */
    scene_fn *nap;        /* instead of the victim's first sleep */
    unsigned lost_max;    /* messages that a killed getter may take with it */
    bool lost_before;     /* even if the second victim finished */

    brood_queue *queue;
    struct scene_books *books;
    const struct step_victim *victim;
    brood_message message; /* the victim's */
    char text[MESSAGE_MAX];
    pid_t pids[SLEEPERS_MAX];
    unsigned sleeper_count;
};

static struct queue_scene *scene_here;
static _Thread_local scene_fn *nap_once;
static bool is_deaf;

int __wrap_brood__roster_sleep(struct roster *roster, roster_tag me, const _Atomic uint32_t *word,
                               uint32_t value, uint32_t moment, int64_t deadline);
int __real_brood__roster_sleep(struct roster *roster, roster_tag me, const _Atomic uint32_t *word,
                               uint32_t value, uint32_t moment, int64_t deadline);

int __wrap_brood__roster_sleep(struct roster *roster, roster_tag me, const _Atomic uint32_t *word,
                               uint32_t value, uint32_t moment, int64_t deadline)
{
    scene_fn *nap = nap_once;

    nap_once = NULL;
    if (nap != NULL) {
        nap(scene_here);
        return 0;
    }
    /* The rare look by themselves would hide that a wake-up is missing. */
    if (left_ns(deadline) > 5000000000)
        deadline = NEVER;
    if (deadline == NEVER && scene_here != NULL)
        (void)atomic_fetch_add(&scene_here->books->sleeps, 1);
    if (is_deaf)
        return brood__futex_wait((const void *)(uintptr_t)word, value, deadline);
    return __real_brood__roster_sleep(roster, me, word, value, moment, deadline);
}

/* Zeroed memory that forked processes share. */
static inline void *share(size_t len)
{
    void *memory = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    CHECK(memory != MAP_FAILED);
    return memory;
}

/* ---- messages ---- */

static inline unsigned char message_byte(unsigned party, unsigned number, size_t i)
{
    return (unsigned char)(party * 89 + number * 31 + i * 7 + i / 256);
}

static inline void message_fill(char *text, size_t len, unsigned party, unsigned number)
{
    for (size_t i = 2; i < len; i++)
        text[i] = (char)message_byte(party, number, i);
    text[0] = (char)party;
    text[1] = (char)number;
}

/* Fails if it is torn. */
static inline void message_check(const char *text, size_t len, unsigned *out_party,
                                 unsigned *out_number)
{
    unsigned party = (unsigned char)text[0];
    unsigned number = (unsigned char)text[1];

    if (party >= PARTIES)
        FAIL("a torn message: of nobody");
    for (size_t i = 2; i < len; i++)
        if ((unsigned char)text[i] != message_byte(party, number, i))
            FAIL("a torn message: %u of party %u, at byte %zu of %zu", number, party, i, len);
    *out_party = party;
    *out_number = number;
}

/* ---- what everybody does ---- */

static inline size_t scene_len(const struct queue_scene *scene)
{
    return scene->len != 0 ? scene->len : LEN_DEFAULT;
}

/* The message must be in .text. */
static inline int scene_put_text(struct queue_scene *scene, int64_t timeout_ms)
{
    int r = brood_queue_put(scene->queue, scene->text, scene_len(scene), timeout_ms);

    if (r == 0)
        (void)atomic_fetch_add(
            &scene->books->put[(unsigned char)scene->text[0]][(unsigned char)scene->text[1]], 1);
    return r;
}

static inline int scene_put(struct queue_scene *scene, unsigned party, unsigned number,
                            int64_t timeout_ms)
{
    message_fill(scene->text, scene_len(scene), party, number);
    return scene_put_text(scene, timeout_ms);
}

static inline void scene_book(struct queue_scene *scene, unsigned *out_party, unsigned *out_number)
{
    message_check(scene->text, scene_len(scene), out_party, out_number);
    (void)atomic_fetch_add(&scene->books->got[*out_party][*out_number], 1);
}

/* As brood_queue_get(), and the message is in the books. */
static inline int scene_get(struct queue_scene *scene, int64_t timeout_ms, unsigned *out_party,
                            unsigned *out_number)
{
    int r = brood_queue_get(scene->queue, scene->text, scene_len(scene), timeout_ms);

    if (r == 1)
        scene_book(scene, out_party, out_number);
    else if (r == -EMSGSIZE)
        FAIL("a torn message: not of its length");
    return r;
}

static inline void scene_join(struct queue_scene *scene)
{
    const struct member *member;

    CHECK_EQ(brood__queue_enter(scene->queue, &member), 0);
}

/* ---- sleepers ---- */

static inline bool looks_asleep(pid_t pid)
{
    char state = process_state(pid);

    if (state == 'Z')
        FAIL("a sleeper has ended");
    return state == 'S';
}

static inline bool all_rest(const struct queue_scene *scene)
{
    for (unsigned i = 0; i < scene->sleeper_count; i++)
        if (!looks_asleep(scene->pids[i]))
            return false;
    return true;
}

/* Until nobody has anything to do. */
static inline void scene_await_rest(const struct queue_scene *scene)
{
    for (unsigned before = UINT32_MAX;;) {
        unsigned sleeps = atomic_load(&scene->books->sleeps);

        if (all_rest(scene) && sleeps == before && sleeps == atomic_load(&scene->books->sleeps))
            return;
        before = sleeps;
        brood__yield();
    }
}

static inline void stay_alive(struct queue_scene *scene)
{
    (void)atomic_fetch_add(&scene->books->done, 1);
    for (;;)
        (void)pause();
}

static inline void sleeper_gets(struct queue_scene *scene)
{
    unsigned party = 0, number = 0;
    int r = scene_get(scene, BROOD_FOREVER, &party, &number);

    CHECK(r == 0 || r == 1);
    if (r == 0)
        (void)atomic_fetch_add(&scene->books->ended, 1);
    stay_alive(scene);
}

static inline void sleeper_puts(struct queue_scene *scene)
{
    unsigned number = scene->sleeper_count;
    int r = scene_put(scene, SLEEPERS, number, BROOD_FOREVER);

    CHECK(r == 0 || r == BROOD_ECLOSED);
    if (r != 0)
        (void)atomic_fetch_add(&scene->books->ended, 1);
    stay_alive(scene);
}

static inline void sleeper_joins(struct queue_scene *scene)
{
    CHECK_EQ(brood_queue_join(scene->queue, BROOD_FOREVER), 0);
    stay_alive(scene);
}

/* Waits until it may begin. */
static inline void scene_sleeper(struct queue_scene *scene, scene_fn *work)
{
    pid_t pid = CHECK_OK(fork());

    if (pid == 0) {
        is_deaf = scene->deaf;
        while (atomic_load(&scene->books->go) == 0)
            (void)brood__futex_wait(&scene->books->go, 0, NEVER);
        work(scene);
        _exit(1);
    }
    scene->pids[scene->sleeper_count++] = pid;
}

/* They are all asleep, or done. */
static inline void scene_let_sleep(struct queue_scene *scene)
{
    atomic_store(&scene->books->go, 1);
    brood__futex_wake(&scene->books->go, SLEEPERS_MAX);
    while (atomic_load(&scene->books->sleeps) + atomic_load(&scene->books->done) <
           scene->sleeper_count)
        brood__yield();
    scene_await_rest(scene);
}

static inline void end_sleepers(struct queue_scene *scene)
{
    for (unsigned i = 0; i < scene->sleeper_count; i++) {
        (void)kill(scene->pids[i], SIGKILL);
        CHECK_EQ(waitpid(scene->pids[i], NULL, 0), scene->pids[i]);
    }
    scene->sleeper_count = 0;
}

/* ---- the scene ---- */

static inline void scene_set_up(void *memory, void *context)
{
    struct queue_scene *scene = context;

    scene->books = memory;
    scene->victim = NULL;
    scene_here = scene;
    if (scene->options.capacity == 0)
        scene->options.capacity = SCENE_CAPACITY;
    if (scene->options.participants_max == 0)
        scene->options.participants_max = PARTICIPANTS;
    CHECK_EQ(brood_queue_new(&scene->queue, &scene->options), 0);
    scene_join(scene);
    for (unsigned i = 0; i < scene->messages; i++)
        CHECK_EQ(scene_put(scene, OTHERS, i, 0), 0);
    if (scene->arrange != NULL)
        scene->arrange(scene);
    if (scene->closed)
        brood_queue_close(scene->queue);
    for (unsigned i = 0; i < scene->getters; i++)
        scene_sleeper(scene, sleeper_gets);
    for (unsigned i = 0; i < scene->putters; i++)
        scene_sleeper(scene, sleeper_puts);
    for (unsigned i = 0; i < scene->joiners; i++)
        scene_sleeper(scene, sleeper_joins);
}

static inline void scene_clear(void *memory, void *context)
{
    struct queue_scene *scene = context;

    (void)memory;
    end_sleepers(scene);
    brood_queue_free(scene->queue);
    scene->queue = NULL;
    scene_here = NULL;
}

static inline void scene_prepare(void *memory, void *context)
{
    struct queue_scene *scene = context;

    (void)memory;
    if (!scene->joins)
        scene_join(scene);
    if (scene->prepare != NULL)
        scene->prepare(scene);
    message_fill(scene->text, scene_len(scene), VICTIM, 0);
    scene_let_sleep(scene);
    nap_once = scene->nap;
}

static inline void scene_operate(void *memory, void *context)
{
    struct queue_scene *scene = context;

    (void)memory;
    scene->operate(scene);
}

static inline void scene_repair(void *memory, void *context)
{
    struct queue_scene *scene = context;

    (void)memory;
    nap_once = NULL;
    scene->repair(scene);
}

static inline void scene_meanwhile(void *memory, const struct step_victim *victim, void *context)
{
    struct queue_scene *scene = context;

    (void)memory;
    scene->victim = victim;
    scene->meanwhile(scene);
}

/* ---- questions ---- */

static inline unsigned scene_sum(_Atomic unsigned table[PARTIES][NUMBERS])
{
    unsigned sum = 0;

    for (unsigned i = 0; i < PARTIES * NUMBERS; i++)
        sum += atomic_load(&table[i / NUMBERS][i % NUMBERS]);
    return sum;
}

/* Until everybody who sleeps has reason to: there is nothing to get, or no room. */
static inline void scene_settle(struct queue_scene *scene)
{
    int64_t deadline = deadline_in(TEST_PATIENCE_MS);
    unsigned sleepers = scene->sleeper_count;

    for (;;) {
        bool useful = (scene->getters > 0 && brood__cells_ready(&scene->queue->cells)) ||
                      (scene->putters > 0 && scene->getters == 0 && scene_len(scene) <= 240 &&
                       brood__cells_roomy(&scene->queue->cells)) ||
                      cells_closed(&scene->queue->cells);

        if (atomic_load(&scene->books->done) == sleepers || (!useful && all_rest(scene)))
            return;
        if (left_ns(deadline) == 0)
            FAIL("somebody sleeps who has something to do: %u of %u are done",
                 atomic_load(&scene->books->done), sleepers);
        brood__yield();
    }
}

static inline void scene_await_done(struct queue_scene *scene, const char *complaint)
{
    int64_t deadline = deadline_in(TEST_PATIENCE_MS);

    while (atomic_load(&scene->books->done) < scene->sleeper_count) {
        if (left_ns(deadline) == 0)
            FAIL("%s", complaint);
        brood__yield();
    }
}

/* All that is there, in the order of each producer. Not in the books of who put it: see below. */
static inline unsigned scene_drain(struct queue_scene *scene)
{
    unsigned next[PARTIES] = {0};
    unsigned party = 0, number = 0;
    unsigned count = 0;

    while (scene_get(scene, 0, &party, &number) == 1) {
        if (number < next[party])
            FAIL("message %u of party %u comes after %u", number, party, next[party] - 1);
        next[party] = number + 1;
        count++;
    }
    return count;
}

/* The sleepers that are left get what they wait for. */
static inline void scene_release(struct queue_scene *scene)
{
    unsigned party = 0, number = 0;

    if (!cells_closed(&scene->queue->cells))
        for (unsigned i = 0; i < scene->getters; i++)
            if (atomic_load(&scene->books->done) < scene->sleeper_count)
                CHECK_EQ(scene_put(scene, OTHERS, 200 + i, TEST_PATIENCE_MS), 0);
    /* In the order of the queue, so that it can be compared. */
    if (scene->getters == 0)
        while (scene_get(scene, 0, &party, &number) == 1)
            continue;
    scene_await_done(scene, "a sleeper is not woken by what it waits for");
}

static inline void check_books(struct queue_scene *scene)
{
    struct scene_books *books = scene->books;
    unsigned lost = 0;

    for (unsigned i = 0; i < PARTIES * NUMBERS; i++) {
        unsigned party = i / NUMBERS, number = i % NUMBERS;
        unsigned put = atomic_load(&books->put[party][number]);
        unsigned got = atomic_load(&books->got[party][number]);

        /* The victim may die between its put and its note of it. */
        if (got > put && !(party == VICTIM && put == 0 && got == 1 &&
                           (!scene->victim->finished || scene->repair != NULL)))
            FAIL("message %u of party %u was put %u times and got %u times", number, party, put,
                 got);
        lost += got < put ? put - got : 0;
    }
    if (lost > (scene->victim->finished && !scene->lost_before ? 0 : scene->lost_max))
        FAIL("%u messages were put and not got", lost);
}

/* Whether a cell is still the dead victim's, so that its message must come again. */
static inline bool victim_reads(struct queue_scene *scene)
{
    const struct cells_view *view = &scene->queue->cells;

    for (uint32_t i = 0; i < view->shape.count; i++) {
        const struct cell *cell =
            (const struct cell *)(const void *)(view->first + i * view->shape.stride);

        if ((atomic_load(&cell->word) >> 34 & 3) == 3)
            return true;
    }
    return false;
}

static inline void check_capacity(struct queue_scene *scene)
{
    unsigned party = 0, number = 0;

    for (unsigned i = 0; i < scene->options.capacity; i++)
        CHECK_EQ(scene_put(scene, FILLER, i, 0), 0);
    CHECK_ERR(scene_put(scene, FILLER, NUMBERS - 1, 0), -ETIMEDOUT);
    CHECK_EQ(brood_queue_size(scene->queue), scene->options.capacity);
    for (unsigned i = 0; i < scene->options.capacity; i++) {
        CHECK_EQ(scene_get(scene, 0, &party, &number), 1);
        CHECK_EQ(number, i);
    }
    CHECK_EQ(brood_queue_size(scene->queue), 0);
    CHECK_EQ(brood_queue_join(scene->queue, 0), 0);
}

static inline void check_memory(struct queue_scene *scene)
{
    const struct region *region = scene->queue->region;

    CHECK_EQ(brood__block_used(region), brood__block_len(region, region->root));
}

/* What must hold when the victim is dead. */
static inline void all_is_well(void *memory, const struct step_victim *victim, void *context)
{
    struct queue_scene *scene = context;
    unsigned lost_max = scene->lost_max;
    size_t len = scene->len;

    (void)memory;
    scene->victim = victim;
    if (victim_reads(scene) && scene->repair == NULL)
        scene->lost_max = 0;
    if (scene->look_after != NULL)
        scene->look_after(scene);
    scene_settle(scene);
    scene_release(scene);
    (void)scene_drain(scene);
    if (scene->filler_len != 0)
        scene->len = scene->filler_len;
    if (!cells_closed(&scene->queue->cells))
        check_capacity(scene);
    check_memory(scene);
    check_books(scene);
    scene->lost_max = lost_max;
    scene->len = len;
}

static inline struct step_plan scene_plan(struct queue_scene *scene, const char *name)
{
    return (struct step_plan){.memory_len = sizeof(struct scene_books),
                              .setup = scene_set_up,
                              .prepare = scene_prepare,
                              .operation = scene_operate,
                              .repair = scene_repair,
                              .meanwhile = scene->meanwhile != NULL ? scene_meanwhile : NULL,
                              .oracle = all_is_well,
                              .teardown = scene_clear,
                              .context = scene,
                              .name = name};
}

static inline void scene_kill(struct queue_scene *scene, const char *name)
{
    struct step_plan plan = scene_plan(scene, name);

    step_kill(&plan);
}

static inline void scene_pause(struct queue_scene *scene, const char *name)
{
    struct step_plan plan = scene_plan(scene, name);

    step_pause(&plan);
}

/* All pairs of points are a million: where all points are asked for, this takes a minute of
 * them. */
static inline void scene_kill_repair(struct queue_scene *scene, const char *name)
{
    struct step_plan plan = scene_plan(scene, name);
    const char *points = getenv("BROOD_SWEEP");

    if (points != NULL && strcmp(points, "all") == 0)
        CHECK_OK(setenv("BROOD_SWEEP", "120", 1));
    step_kill_repair(&plan);
}

#endif
