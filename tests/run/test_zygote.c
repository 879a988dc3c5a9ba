/* SPDX-License-Identifier: MIT */
/*
 * The zygote's promises: every birth asked for is answered, every child that was born is reported
 * dead after everything of it is gone, the zygote's own death is the last event, stopping takes
 * bounded time. Then all of it again with each call failing and with a death at each marked step,
 * of every process that takes part.
 *
 * The children are brood_process children. One that is born without a control block ends at once
 * with the status EMFILE, which is all that the first tests need of it.
 */
#include "base/clock.h"
#include "harness/sweep.h"
#include "harness/test.h"
#include "run/code_map.h"
#include "run/server.h"
#include "run/zygote.h"
#include "sys/kernel.h"
#include "sys/sockets.h"

#include <brood/process.h>

#include <dlfcn.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

static int64_t patience(void)
{
    return deadline_in(TEST_PATIENCE_MS);
}

static struct zygote start_zygote(int start, int containment)
{
    struct zygote zygote = ZYGOTE_NONE;

    CHECK_OK(brood__zygote_start(
        &zygote, &(struct zygote_options){.start = start, .containment = containment}));
    return zygote;
}

static void bear(struct zygote *zygote, uint64_t id)
{
    CHECK_OK(brood__zygote_bear(zygote, &(struct zygote_birth){.id = id, .entry = ZYGOTE_PROCESS},
                                NULL, 0));
}

static struct zygote_event next_event(struct zygote *zygote)
{
    struct zygote_event event;

    CHECK_EQ(brood__zygote_next(zygote, patience(), &event), 1);
    return event;
}

TEST(every_child_is_born_once_and_dies_once)
{
    enum { CHILDREN = 64 };
    const int starts[] = {BROOD_START_FORK, BROOD_START_FORKSERVER};

    for (int i = 0; i < 2; i++) {
        for (int containment = BROOD_CONTAIN_CHILD; containment <= BROOD_CONTAIN_NAMESPACE;
             containment++) {
            struct zygote zygote = start_zygote(starts[i], containment);
            unsigned born[CHILDREN] = {0}, died[CHILDREN] = {0};

            for (uint64_t id = 0; id < CHILDREN; id++)
                bear(&zygote, id);
            for (int k = 0; k < 2 * CHILDREN; k++) {
                struct zygote_event event = next_event(&zygote);

                CHECK(event.id < CHILDREN);
                if (event.kind == ZYGOTE_BORN) {
                    CHECK(event.pidfd > 2);
                    CHECK_EQ(born[event.id]++, 0);
                    brood__fd_close(event.pidfd);
                } else {
                    CHECK_EQ(event.kind, ZYGOTE_DIED);
                    CHECK_EQ(event.status, EMFILE << 8);
                    CHECK_EQ(event.reason, ZYGOTE_BY_ITSELF);
                    CHECK_EQ(born[event.id], 1);
                    CHECK_EQ(died[event.id]++, 0);
                }
            }
            brood__zygote_stop(&zygote);
        }
    }
    brood__server_stop();
}

TEST(the_death_of_the_zygote_is_the_last_event)
{
    struct zygote zygote = start_zygote(BROOD_START_FORK, BROOD_CONTAIN_GROUP);

    CHECK_OK(brood__pidfd_signal(zygote.pidfd, SIGKILL));
    CHECK_EQ(next_event(&zygote).kind, ZYGOTE_GONE);
    CHECK_EQ(next_event(&zygote).kind, ZYGOTE_GONE);
    CHECK_ERR(brood__zygote_bear(&zygote, &(struct zygote_birth){.entry = ZYGOTE_PROCESS}, NULL, 0),
              -EPIPE);
    brood__zygote_stop(&zygote);
}

TEST(without_an_event_the_wait_ends)
{
    struct zygote zygote = start_zygote(BROOD_START_FORK, BROOD_CONTAIN_GROUP);
    struct zygote_event event;

    CHECK_EQ(brood__zygote_next(&zygote, 0, &event), 0);
    CHECK_EQ(brood__zygote_next(&zygote, deadline_in(10), &event), 0);
    brood__zygote_stop(&zygote);
    brood__zygote_stop(&zygote);
}

static int64_t context_switches(pid_t pid)
{
    char path[64], text[4096];
    const char *at;

    (void)snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
    CHECK_OK(brood__file_read(path, text, sizeof text));
    at = strstr(text, "\nvoluntary_ctxt_switches:");
    CHECK(at != NULL);
    return strtol(strchr(at, ':') + 1, NULL, 10);
}

static pid_t zygote_pid(void)
{
    char path[64], text[128];

    (void)snprintf(path, sizeof path, "/proc/%d/task/%d/children", (int)getpid(), (int)getpid());
    CHECK_OK(brood__file_read(path, text, sizeof text));
    return (pid_t)strtol(text, NULL, 10);
}

TEST(an_idle_zygote_does_not_wake_up)
{
    struct zygote zygote = start_zygote(BROOD_START_FORK, BROOD_CONTAIN_GROUP);
    struct zygote_event event;
    int64_t before;

    bear(&zygote, 1);
    brood__fd_close(next_event(&zygote).pidfd);
    CHECK_EQ(next_event(&zygote).kind, ZYGOTE_DIED);
    (void)brood__zygote_next(&zygote, deadline_in(20), &event); /* it goes back to sleep */
    before = context_switches(zygote_pid());
    CHECK_EQ(brood__zygote_next(&zygote, deadline_in(300), &event), 0);
    CHECK_EQ(context_switches(zygote_pid()), before);
    brood__zygote_stop(&zygote);
}

/* ---- where functions are ---- */

TEST(functions_are_found_where_they_are)
{
    struct zygote forked = start_zygote(BROOD_START_FORK, BROOD_CONTAIN_GROUP);
    struct zygote served = start_zygote(BROOD_START_FORKSERVER, BROOD_CONTAIN_GROUP);
    uintptr_t here = (uintptr_t)next_event, there = 0, other = 0;

    CHECK_OK(brood__zygote_function(&forked, here, &there));
    CHECK_EQ(there, here);
    CHECK_OK(brood__zygote_function(&served, here, &there));
    CHECK_OK(brood__zygote_function(&served, (uintptr_t)bear, &other));
    CHECK_EQ(there - other, here - (uintptr_t)bear);
    CHECK_ERR(brood__zygote_function(&served, (uintptr_t)&other, &there), BROOD_EFUNCTION);
    brood__zygote_stop(&forked);
    brood__zygote_stop(&served);
    brood__server_stop();
}

TEST(functions_of_modules_loaded_later_are_refused)
{
    struct zygote zygote = start_zygote(BROOD_START_FORK, BROOD_CONTAIN_GROUP);
    const char *const names[] = {"libm.so.6", "libutil.so.1", "libz.so.1", "libc.musl.so"};
    uintptr_t there = 0;
    void *symbol = NULL, *module = NULL;

    for (size_t i = 0; i < sizeof names / sizeof names[0] && symbol == NULL; i++) {
        if ((module = dlopen(names[i], RTLD_NOW | RTLD_NOLOAD)) != NULL) {
            CHECK_EQ(dlclose(module), 0);
            continue;
        }
        if ((module = dlopen(names[i], RTLD_NOW)) == NULL)
            continue;
        symbol = dlsym(module, i == 0 ? "cos" : i == 1 ? "openpty" : "zlibVersion");
    }
    if (symbol == NULL || brood__zygote_function(&zygote, (uintptr_t)symbol, &there) == 0) {
        brood__zygote_stop(&zygote);
        SKIP("no module to load that was not there already");
    }
    CHECK_ERR(brood__zygote_function(&zygote, (uintptr_t)symbol, &there), BROOD_EFUNCTION);
    brood__zygote_stop(&zygote);
    CHECK_EQ(dlclose(module), 0);
}

TEST(a_map_survives_the_journey)
{
    struct code_map *map = brood__code_map_new(), *copy = NULL;
    uintptr_t there = 0;
    int ends[2], self = brood__pidfd_open(getpid());

    CHECK_OK(self);
    CHECK_OK(brood__channel_new(ends));
    CHECK_OK(brood__code_map_send(map, ends[0]));
    CHECK_OK(brood__code_map_receive(&copy, ends[1], self, patience()));
    CHECK_OK(brood__code_map_find(copy, (uintptr_t)start_zygote, &there));
    CHECK_EQ(there, (uintptr_t)start_zygote);
    CHECK_ERR(brood__code_map_receive(&copy, ends[1], self, deadline_in(0)), -ETIMEDOUT);
    CHECK_OK(brood__code_map_refuse(-EMFILE, ends[0]));
    CHECK_ERR(brood__code_map_receive(&copy, ends[1], self, patience()), -EMFILE);
    brood__fd_close(ends[0]);
    CHECK_ERR(brood__code_map_receive(&copy, ends[1], self, patience()), -EPIPE);
    brood__fd_close(ends[1]);
    brood__fd_close(self);
    brood__code_map_free(copy);
    brood__code_map_free(map);
}

/* ---- sweeps ---- */

struct scene {
    int start, containment;
};

static int fork_once_and_return(void *arg)
{
    pid_t pid = fork();

    if (pid == 0) {
        (void)setsid();
        if (fork() == 0)
            (void)pause();
        _exit(0);
    }
    return *(int *)arg;
}

/* When a server is killed, what it had just forked has nobody who waits for it; it ends by itself,
 * and how long that takes is the limit of the run. */
static void await_orphans(void)
{
    while (wait(NULL) > 0)
        continue;
}

/* Starts, joins, frees. Any ending is right, but the code must be the one that was asked for. */
static void live_a_life(void *context)
{
    const struct scene *scene = context;
    const brood_process_options options = {.start = scene->start,
                                           .containment = scene->containment,
                                           .timeout_ms = 60000,
                                           .memory_max = (uint64_t)1 << 30};
    const int code = 77;
    brood_process *process = NULL;
    brood_outcome outcome;
    int r;

    if (scene->start == BROOD_START_FORKSERVER)
        CHECK_OK(prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0));
    r = brood_process_start(&process, fork_once_and_return, &code, sizeof code, &options);

    if (r == 0) {
        while (brood_process_join(process, TEST_PATIENCE_MS, &outcome) != 0)
            continue;
        if (outcome.cause == BROOD_RETURNED)
            CHECK_EQ(outcome.code, code);
        else
            CHECK(outcome.verdict != 0 && outcome.cause != BROOD_PENDING);
        brood_process_free(process);
    } else {
        CHECK(process == NULL);
    }
    brood__server_stop();
    if (scene->start == BROOD_START_FORKSERVER)
        await_orphans();
}

static const struct scene scenes[] = {
    {BROOD_START_FORK, BROOD_CONTAIN_GROUP},
    {BROOD_START_FORK, BROOD_CONTAIN_NAMESPACE},
    {BROOD_START_FORKSERVER, BROOD_CONTAIN_GROUP},
    {BROOD_START_FORKSERVER, BROOD_CONTAIN_NAMESPACE},
};

static void sweep_scene(int index, bool kills, unsigned roles)
{
    struct scene scene = scenes[index];
    struct sweep_options options = {.sample = 24, .passages_max = 2, .roles = roles};

    if (kills)
        sweep_kills(live_a_life, &scene, &options);
    else
        sweep_faults(live_a_life, &scene, &options);
}

enum {
    OURS = 1 << ROLE_CALLER,
    THEIRS = 1 << ROLE_ZYGOTE | 1 << ROLE_WORKER | 1 << ROLE_SERVER,
};

TEST_LIMIT(fork_group_survives_failing_calls, 120)
{
    sweep_scene(0, false, 0);
}

TEST_LIMIT(fork_namespace_survives_failing_calls, 120)
{
    sweep_scene(1, false, 0);
}

TEST_LIMIT(server_group_survives_failing_calls, 120)
{
    sweep_scene(2, false, 0);
}

TEST_LIMIT(server_namespace_survives_failing_calls, 120)
{
    sweep_scene(3, false, 0);
}

TEST_LIMIT(fork_group_leaves_nothing_when_the_caller_is_killed, 120)
{
    sweep_scene(0, true, OURS);
}

TEST_LIMIT(fork_namespace_leaves_nothing_when_the_caller_is_killed, 120)
{
    sweep_scene(1, true, OURS);
}

TEST_LIMIT(server_group_leaves_nothing_when_the_caller_is_killed, 120)
{
    sweep_scene(2, true, OURS);
}

TEST_LIMIT(server_namespace_leaves_nothing_when_the_caller_is_killed, 120)
{
    sweep_scene(3, true, OURS);
}

TEST_LIMIT(fork_namespace_survives_the_death_of_any_other, 120)
{
    sweep_scene(1, true, THEIRS);
}

TEST_LIMIT(server_namespace_survives_the_death_of_any_other, 120)
{
    sweep_scene(3, true, THEIRS);
}

TEST_LIMIT(fork_group_survives_the_death_of_a_child, 120)
{
    sweep_scene(0, true, 1 << ROLE_WORKER);
}
