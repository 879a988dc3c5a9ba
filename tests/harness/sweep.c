/* SPDX-License-Identifier: MIT */
/*
 * Sweeps over fault points.
 *
 *     test process (subreaper) -- scenario process -- whatever the scenario starts
 *
 * The plan is a memory object that all of them share; only the scenario's process and its
 * descendants follow it. Each run has a fresh scenario process, so runs do not know each other.
 * A point is chosen by its key, which is the same in every run; whether a passage is reached may
 * differ between runs of a scenario with several processes, so the report counts those reached.
 *
 * A failure in a run ends the whole test (check.c); what it says is completed by test_where().
 *
 * Not here: deaths between two instructions of a memory operation (step.c).
 */
#include "harness/sweep.h"

#include "harness/leftover.h"
#include "harness/record.h"
#include "harness/test.h"

#include <stdlib.h>

unsigned sweep_share(unsigned count, unsigned sample)
{
    const char *text = getenv("BROOD_SWEEP");
    unsigned long wanted = text == NULL ? sample : strtoul(text, NULL, 10);

    return wanted == 0 || wanted >= count ? count : (unsigned)wanted;
}

#ifndef BROOD_FAULTS

void sweep_faults(sweep_scenario *scenario, void *context, const struct sweep_options *options)
{
    (void)scenario, (void)context, (void)options;
    SKIP("built without -Dfaults=true");
}

void sweep_kills(sweep_scenario *scenario, void *context, const struct sweep_options *options)
{
    (void)scenario, (void)context, (void)options;
    SKIP("built without -Dfaults=true");
}

#else

#include "base/fault_plan.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* Roles of threads in the scenario's own process. */
#define CALLER_ROLES (1U << ROLE_CALLER | 1U << ROLE_SUPERVISOR)

struct choice {
    struct fault_point point;
    uint32_t nth;
};

struct sweep {
    sweep_scenario *scenario;
    void *context;
    struct sweep_options options;
    enum fault_mode mode;
    struct fault_plan *plan;
    int plan_fd;
    struct choice *choices;
    unsigned choice_count;
    unsigned reached;
};

static const char *role_name(unsigned role)
{
    static const char *const names[ROLE_COUNT] = {
        [ROLE_CALLER] = "caller", [ROLE_SUPERVISOR] = "supervisor", [ROLE_ZYGOTE] = "zygote",
        [ROLE_WORKER] = "worker", [ROLE_SERVER] = "server",
    };

    return role < ROLE_COUNT ? names[role] : "?";
}

/* ---- one run ---- */

static void run_scenario(void *context)
{
    const struct sweep *sweep = context;

    brood__fault_plan_use(sweep->plan);
    sweep->scenario(sweep->context);
    brood__fault_plan_use(NULL);
}

/* Waits for PID, whose status is returned; fails the test if that takes too long. */
static int wait_for_run(pid_t pid, int64_t limit_ms)
{
    struct pollfd poller = {.events = POLLIN};
    char names[512];
    int status;
    int r;

    poller.fd = (int)CHECK_OK(syscall(SYS_pidfd_open, pid, 0));
    do
        r = poll(&poller, 1, (int)limit_ms);
    while (r < 0 && errno == EINTR);
    if (r == 0) {
        descendants_describe(names, sizeof names);
        FAIL("still running after %lld ms: %s", (long long)limit_ms, names);
    }
    (void)close(poller.fd);
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    return status;
}

static void judge_run(const struct sweep *sweep, int status, bool may_be_killed)
{
    int64_t patience_ms = may_be_killed ? sweep->options.limit_ms : 0;
    char orphans[512];

    if (!(WIFEXITED(status) && WEXITSTATUS(status) == 0) &&
        !(may_be_killed && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL))
        FAIL("the scenario %s %d", WIFSIGNALED(status) ? "was killed by signal" : "exited with",
             WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
    if (!orphans_reap(patience_ms, orphans, sizeof orphans))
        FAIL("left behind: %s", orphans);
    if (sweep->options.observer != NULL)
        sweep->options.observer(sweep->context);
}

static void run_once(struct sweep *sweep, bool may_be_killed)
{
    pid_t pid;

    (void)fflush(NULL);
    pid = CHECK_OK(fork());
    if (pid == 0)
        run_as_owner(run_scenario, sweep, false);
    judge_run(sweep, wait_for_run(pid, sweep->options.limit_ms), may_be_killed);
    atomic_store(&record_get()->owner, getpid());
}

/* ---- which points ---- */

static bool has_word(const char *words, const char *word)
{
    size_t len = strlen(word);

    for (const char *at = words; (at = strstr(at, word)) != NULL; at += len)
        if ((at == words || at[-1] == ' ') && (at[len] == '\0' || at[len] == ' '))
            return true;
    return false;
}

static bool is_wanted(const struct sweep *sweep, const struct fault_point *point)
{
    const struct sweep_options *options = &sweep->options;

    return atomic_load(&point->key) != 0 && point->role < ROLE_COUNT &&
           (options->roles >> point->role & 1) != 0 &&
           (sweep->mode == FAULT_KILL || !point->only_kill) &&
           (options->except == NULL || !has_word(options->except, point->name)) &&
           (options->only == NULL || has_word(options->only, point->name));
}

/* By role, then place, so that a sample has something of each. */
static int compare_choices(const void *left, const void *right)
{
    const struct choice *a = left;
    const struct choice *b = right;

    if (a->point.role != b->point.role)
        return a->point.role < b->point.role ? -1 : 1;
    if (a->point.site != b->point.site)
        return a->point.site < b->point.site ? -1 : 1;
    if (strcmp(a->point.name, b->point.name) != 0)
        return strcmp(a->point.name, b->point.name);
    return a->nth < b->nth ? -1 : a->nth > b->nth;
}

static void collect_choices(struct sweep *sweep)
{
    size_t room = (size_t)FAULT_POINTS_MAX * sweep->options.passages_max;

    sweep->choices = calloc(room, sizeof *sweep->choices);
    CHECK(sweep->choices != NULL);
    for (unsigned i = 0; i < FAULT_POINTS_MAX; i++) {
        const struct fault_point *point = &sweep->plan->points[i];
        uint32_t hits = atomic_load(&point->hits);

        if (!is_wanted(sweep, point))
            continue;
        for (uint32_t nth = 1; nth <= hits && nth <= sweep->options.passages_max; nth++) {
            struct choice *choice = &sweep->choices[sweep->choice_count++];

            memcpy(&choice->point, point, sizeof *point);
            choice->nth = nth;
        }
    }
    qsort(sweep->choices, sweep->choice_count, sizeof *sweep->choices, compare_choices);
}

/* ---- the sweep ---- */

static void try_choice(struct sweep *sweep, const struct choice *choice)
{
    struct fault_plan *plan = sweep->plan;

    plan->key = atomic_load(&choice->point.key);
    plan->nth = choice->nth;
    atomic_store(&plan->passed, 0);
    atomic_store(&plan->fired, 0);
    atomic_store(&plan->mode, sweep->mode);
    test_where("with %s of %s in the %s, called at 0x%llx, passage %u",
               sweep->mode == FAULT_KILL ? "a kill in place" : "a failure", choice->point.name,
               role_name(choice->point.role), (unsigned long long)choice->point.site, choice->nth);
    run_once(sweep, sweep->mode == FAULT_KILL && (1U << choice->point.role & CALLER_ROLES) != 0);
    sweep->reached += atomic_load(&plan->fired);
}

static void open_plan(struct sweep *sweep)
{
    char path[64];

    sweep->plan_fd = CHECK_OK(memfd_create("fault-plan", MFD_CLOEXEC));
    CHECK_OK(ftruncate(sweep->plan_fd, sizeof *sweep->plan));
    sweep->plan =
        mmap(NULL, sizeof *sweep->plan, PROT_READ | PROT_WRITE, MAP_SHARED, sweep->plan_fd, 0);
    CHECK(sweep->plan != MAP_FAILED);
    (void)snprintf(path, sizeof path, "/proc/%d/fd/%d", (int)getpid(), sweep->plan_fd);
    CHECK_OK(setenv(FAULT_PLAN_VARIABLE, path, 1));
}

static void close_plan(struct sweep *sweep)
{
    (void)unsetenv(FAULT_PLAN_VARIABLE);
    (void)munmap(sweep->plan, sizeof *sweep->plan);
    (void)close(sweep->plan_fd);
    free(sweep->choices);
}

static void count_points(struct sweep *sweep)
{
    atomic_store(&sweep->plan->mode, FAULT_COUNT);
    test_where("in the run that counts the points of a sweep");
    run_once(sweep, false);
    if (atomic_load(&sweep->plan->dropped) != 0)
        FAIL("%u passages found no room in the plan", atomic_load(&sweep->plan->dropped));
    collect_choices(sweep);
    if (sweep->choice_count == 0)
        FAIL("the scenario passes no point of these roles and names");
}

static void run_sweep(struct sweep *sweep, const char *what)
{
    int was_subreaper = 0;
    unsigned share;

    CHECK_OK(prctl(PR_GET_CHILD_SUBREAPER, &was_subreaper));
    CHECK_OK(prctl(PR_SET_CHILD_SUBREAPER, 1));
    open_plan(sweep);
    count_points(sweep);
    share = sweep_share(sweep->choice_count, sweep->options.sample);
    for (unsigned i = 0; i < share; i++)
        try_choice(sweep, &sweep->choices[(uint64_t)i * sweep->choice_count / share]);
    test_where("%s", "");
    test_note("sweep of %s: %u of %u points tried, %u reached", what, share, sweep->choice_count,
              sweep->reached);
    close_plan(sweep);
    CHECK_OK(prctl(PR_SET_CHILD_SUBREAPER, was_subreaper));
}

static struct sweep new_sweep(sweep_scenario *scenario, void *context,
                              const struct sweep_options *options)
{
    struct sweep sweep = {.scenario = scenario, .context = context};

    if (options != NULL)
        sweep.options = *options;
    if (sweep.options.passages_max == 0)
        sweep.options.passages_max = 3;
    if (sweep.options.sample == 0)
        sweep.options.sample = 60;
    if (sweep.options.limit_ms == 0)
        sweep.options.limit_ms = TEST_PATIENCE_MS;
    return sweep;
}

void sweep_faults(sweep_scenario *scenario, void *context, const struct sweep_options *options)
{
    struct sweep sweep = new_sweep(scenario, context, options);

    sweep.mode = FAULT_FAIL;
    if (sweep.options.roles == 0)
        sweep.options.roles = (1U << ROLE_COUNT) - 1;
    run_sweep(&sweep, "faults");
}

void sweep_kills(sweep_scenario *scenario, void *context, const struct sweep_options *options)
{
    struct sweep sweep = new_sweep(scenario, context, options);

    sweep.mode = FAULT_KILL;
    if (sweep.options.roles == 0)
        sweep.options.roles = ((1U << ROLE_COUNT) - 1) & ~CALLER_ROLES;
    run_sweep(&sweep, "kills");
}

#endif
