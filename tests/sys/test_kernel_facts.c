/* SPDX-License-Identifier: MIT */
/*
 * What brood's roster relies on in the kernel and in libc, and nobody promises in so many words:
 * how a robust mutex tells of the end of its owner. If one of these fails on some system,
 * ipc/roster.c does not work there, and this says why.
 */
#include "harness/gate.h"
#include "harness/test.h"

#include "base/clock.h"
#include "sys/kernel.h"

#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { WORDS = sizeof(pthread_mutex_t) / sizeof(uint32_t) };

struct shared {
    pthread_mutex_t life;
    _Atomic uint32_t woken;
    _Atomic uint32_t other; /* a futex that nobody wakes */
};

static struct shared *shared_open(void)
{
    struct shared *shared =
        mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pthread_mutexattr_t attributes;

    CHECK(shared != MAP_FAILED);
    CHECK_EQ(pthread_mutexattr_init(&attributes), 0);
    CHECK_EQ(pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED), 0);
    CHECK_EQ(pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST), 0);
    CHECK_EQ(pthread_mutex_init(&shared->life, &attributes), 0);
    CHECK_EQ(pthread_mutexattr_destroy(&attributes), 0);
    return shared;
}

static void shared_close(struct shared *shared)
{
    CHECK_OK(munmap(shared, sizeof *shared));
}

/* Where the thread id of a holder stands. */
static _Atomic uint32_t *life_word(struct shared *shared)
{
    uint32_t before[WORDS], locked[WORDS];
    _Atomic uint32_t *words = (_Atomic uint32_t *)(void *)&shared->life;
    size_t place = WORDS;

    memcpy(before, &shared->life, sizeof before);
    CHECK_EQ(pthread_mutex_trylock(&shared->life), 0);
    memcpy(locked, &shared->life, sizeof locked);
    CHECK_EQ(pthread_mutex_unlock(&shared->life), 0);
    for (size_t i = WORDS; i-- > 0;)
        if (before[i] == 0 && locked[i] == (uint32_t)gettid())
            place = i;
    CHECK(place < WORDS);
    return words + place;
}

/* ---- ways to go ---- */

static void go_by_exit(void)
{
    _exit(0);
}

static void go_by_kill(void)
{
    (void)raise(SIGKILL);
}

static void go_by_exec(void)
{
    (void)execl("/bin/true", "true", (char *)NULL);
}

/* A child that locks, and goes when the gate opens. */
static pid_t holder(struct shared *shared, struct gate *locked, struct gate *leave,
                    void (*go)(void))
{
    pid_t pid = CHECK_OK(fork());

    if (pid == 0) {
        CHECK_EQ(pthread_mutex_trylock(&shared->life), 0);
        gate_count(locked);
        gate_wait(leave);
        go();
        _exit(1);
    }
    gate_wait(locked);
    return pid;
}

static void await_sleep(pid_t pid)
{
    char path[64], text[512];
    const char *end;

    (void)snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    do {
        CHECK_OK(brood__file_read(path, text, sizeof text));
        end = strrchr(text, ')');
    } while (end == NULL || end[2] != 'S');
}

/* A child that sleeps on the life word, as a sleeper of the roster does. */
static pid_t watcher(struct shared *shared, _Atomic uint32_t *life)
{
    uint32_t word = atomic_fetch_or(life, FUTEX_WAITERS) | FUTEX_WAITERS;
    pid_t pid = CHECK_OK(fork());

    if (pid == 0) {
        const struct futex_watch watches[] = {
            {.word = (const void *)(uintptr_t)&shared->other, .value = 0},
            {.word = (const void *)(uintptr_t)life, .value = word}};
        int r = brood__futex_wait_any(watches, 2, NEVER);

        (void)atomic_fetch_add(&shared->woken, 1);
        brood__futex_wake(&shared->woken, 1);
        _exit(r == 0 ? 0 : 1);
    }
    await_sleep(pid);
    return pid;
}

static void without_waitv_skip(void)
{
    const struct futex_watch nothing = {.word = &(const uint32_t){1}, .value = 0};

    if (brood__futex_wait_any(&nothing, 1, 0) == -ENOSYS)
        SKIP("no futex_waitv here");
}

/* Two watchers: one is woken by the kernel, and the other one by us only. */
static void check_end(void (*go)(void))
{
    struct shared *shared = shared_open();
    _Atomic uint32_t *life = life_word(shared);
    struct gate *locked = gate_new(), *leave = gate_new();
    pid_t pid, watchers[2];
    int status;

    without_waitv_skip();
    pid = holder(shared, locked, leave, go);
    CHECK_EQ(atomic_load(life) & FUTEX_TID_MASK, pid);
    watchers[0] = watcher(shared, life);
    watchers[1] = watcher(shared, life);
    gate_open(leave);
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(atomic_load(life), FUTEX_WAITERS | FUTEX_OWNER_DIED);
    while (atomic_load(&shared->woken) == 0)
        (void)brood__futex_wait(&shared->woken, 0, NEVER);
    pid = CHECK_OK(waitpid(-1, &status, 0));
    CHECK_EQ(status, 0);
    CHECK(pid == watchers[0] || pid == watchers[1]);
    pid = pid == watchers[0] ? watchers[1] : watchers[0];
    await_sleep(pid);
    CHECK_EQ(atomic_load(&shared->woken), 1);
    brood__futex_wake((const void *)(uintptr_t)life, 1);
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, 0);
    gate_free(locked);
    gate_free(leave);
    shared_close(shared);
}

TEST(an_exit_marks_the_life_word_and_wakes_one_watcher)
{
    check_end(go_by_exit);
}

TEST(a_kill_marks_the_life_word_and_wakes_one_watcher)
{
    check_end(go_by_kill);
}

TEST(an_exec_marks_the_life_word_and_wakes_one_watcher)
{
    check_end(go_by_exec);
}

static void *lock_and_end(void *context)
{
    struct shared *shared = context;

    CHECK_EQ(pthread_mutex_trylock(&shared->life), 0);
    return NULL;
}

TEST(the_end_of_a_thread_marks_its_life_word)
{
    struct shared *shared = shared_open();
    _Atomic uint32_t *life = life_word(shared);
    pthread_t thread;

    CHECK_EQ(pthread_create(&thread, NULL, lock_and_end, shared), 0);
    CHECK_EQ(pthread_join(thread, NULL), 0);
    while ((atomic_load(life) & FUTEX_OWNER_DIED) == 0)
        brood__yield();
    CHECK_EQ(pthread_mutex_trylock(&shared->life), EOWNERDEAD);
    CHECK_EQ(pthread_mutex_consistent(&shared->life), 0);
    CHECK_EQ(pthread_mutex_unlock(&shared->life), 0);
    shared_close(shared);
}

static void *lock_and_execute(void *context)
{
    struct shared *shared = context;

    CHECK_EQ(pthread_mutex_trylock(&shared->life), 0);
    (void)execl("/bin/true", "true", (char *)NULL);
    _exit(1);
}

/* A limit that the roster's contract names: the kernel gives such a thread the id of the first one
 * before it looks at its locks, and then takes none of them for its own. */
TEST(an_exec_by_another_thread_than_the_first_marks_nothing)
{
    struct shared *shared = shared_open();
    _Atomic uint32_t *life = life_word(shared);
    pid_t pid = CHECK_OK(fork());
    int status;

    if (pid == 0) {
        pthread_t thread;

        CHECK_EQ(pthread_create(&thread, NULL, lock_and_execute, shared), 0);
        (void)pthread_join(thread, NULL);
        _exit(1);
    }
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, 0);
    CHECK_EQ(atomic_load(life) & FUTEX_OWNER_DIED, 0);
    CHECK((atomic_load(life) & FUTEX_TID_MASK) != 0);
    shared_close(shared);
}

TEST(a_spawned_child_marks_nothing)
{
    struct shared *shared = shared_open();
    _Atomic uint32_t *life = life_word(shared);
    char *const arguments[] = {(char *)(uintptr_t) "true", NULL};
    int status;
    pid_t pid;

    CHECK_EQ(pthread_mutex_trylock(&shared->life), 0);
    CHECK_EQ(posix_spawn(&pid, "/bin/true", NULL, NULL, arguments, NULL), 0);
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, 0);
    CHECK_EQ(atomic_load(life), gettid());
    CHECK_EQ(pthread_mutex_unlock(&shared->life), 0);
    shared_close(shared);
}
