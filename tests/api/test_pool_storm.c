/* SPDX-License-Identifier: MIT */
/*
 * A pool under fire, and one at rest. In the storms workers are killed at random moments, while
 * each task notes in shared memory that it has started: every task ends exactly once, starts at
 * most as often as the outcome says, and has the right result or an honest verdict.
 */
#include "api/pool_kit.h"

#include <dirent.h>
#include <sys/resource.h>

enum { STORM_MS = 3000, TASKS_MAX = 1 << 20, WORKERS = 3, WINDOW = 200 };

struct storm {
    _Atomic int pids[WORKERS];
    _Atomic bool over;
    _Atomic unsigned kills;
    _Atomic unsigned char starts[TASKS_MAX];
};

static struct storm *storm;

/* Kills one worker after the other, until it is told that the storm is over. */
static pid_t start_killer(void)
{
    pid_t pid = CHECK_OK(fork());

    if (pid != 0)
        return pid;
    while (!storm->over) {
        int victim = storm->pids[test_random_below(WORKERS)];

        for (volatile uint64_t spin = test_random_below(1000000); spin > 0; spin--)
            continue;
        if (victim > 0)
            storm->kills += kill(victim, SIGKILL) == 0;
    }
    _exit(0);
}

static int task_in_storm(brood_task *task)
{
    const uint32_t *id = task->in;

    storm->starts[*id]++;
    for (volatile uint32_t spin = *id % 4096 * 4; spin > 0; spin--)
        continue;
    *(uint64_t *)task->out = (uint64_t)*id * 3 + 1;
    return 0;
}

static int task_dies_in_storm(brood_task *task)
{
    const uint32_t *id = task->in;

    if (*id % 8 == 5 && task->attempt < *id % 3) {
        storm->starts[*id]++;
        (void)kill(getpid(), SIGKILL);
    }
    return task_in_storm(task);
}

static void check_one(const brood_result *result, bool retried, uint64_t *bits)
{
    const uint64_t id = result->index;
    const unsigned starts = storm->starts[id];

    CHECK((bits[id / 64] >> id % 64 & 1) == 0);
    bits[id / 64] |= UINT64_C(1) << id % 64;
    CHECK(starts <= result->outcome.attempts);
    if (result->verdict == 0) {
        CHECK(starts >= 1);
        CHECK_EQ(result->len, sizeof(uint64_t));
        CHECK_EQ(*(const uint64_t *)result->data, id * 3 + 1);
    } else {
        CHECK(!retried);
        CHECK_EQ(result->verdict, BROOD_ECRASHED);
        CHECK_EQ(result->outcome.signal, SIGKILL);
        CHECK(result->data == NULL);
    }
}

/* Tells the killer whom it may kill. */
static void show_pids(brood_pool *pool)
{
    int pids[WORKERS] = {0};

    CHECK_OK(brood_pool_pids(pool, pids, WORKERS));
    for (int i = 0; i < WORKERS; i++)
        storm->pids[i] = pids[i];
}

/* Keeps a window of tasks under way until the time is over. How many there were. */
static uint32_t run_storm(brood_pool *pool, brood_task_fn *fn, bool retried)
{
    static uint64_t bits[TASKS_MAX / 64];
    const brood_task_options options = {.out_size = sizeof(uint64_t),
                                        .retries = retried ? 1000 : 0};
    const int64_t end = now_ms() + STORM_MS;
    const brood_result *result;
    brood_group *group = NULL;
    uint32_t submitted = 0, taken = 0;
    int r;

    CHECK_EQ(brood_group_new(&group, pool, &(brood_group_options){.window = WINDOW}), 0);
    do {
        while (brood_group_room(group) > 0 && submitted < TASKS_MAX && now_ms() < end) {
            CHECK_EQ(brood_group_submit(group, fn, &submitted, sizeof submitted, &options), 0);
            submitted++;
        }
        show_pids(pool);
        r = CHECK_OK(brood_group_next(group, TEST_PATIENCE_MS, &result));
        if (r == 1) {
            check_one(result, retried, bits);
            taken++;
        }
    } while (r == 1);
    CHECK_EQ(taken, submitted);
    brood_group_free(group);
    return submitted;
}

static void storm_with(brood_task_fn *fn, bool retried, bool killer)
{
    brood_pool *pool;
    brood_pool_stats stats;
    uint32_t count;
    pid_t pid = 0;

    storm = share(sizeof *storm);
    if (killer)
        pid = start_killer();
    pool = pool_with(&(brood_pool_options){.workers = WORKERS, .strikes_max = UINT32_MAX});
    count = run_storm(pool, fn, retried);
    storm->over = true;
    if (killer) {
        CHECK_EQ(waitpid(pid, NULL, 0), pid);
        CHECK(storm->kills > 10);
    }
    check_works(pool);
    stats = stats_of(pool);
    CHECK_EQ(stats.submitted, count + 20);
    CHECK_EQ(stats.succeeded + stats.failed, stats.submitted);
    CHECK(stats.worker_deaths > 10);
    printf("%u tasks, %llu deaths, %llu failed, %llu further attempts\n", count,
           (unsigned long long)stats.worker_deaths, (unsigned long long)stats.failed,
           (unsigned long long)stats.retried);
    brood_pool_free(pool);
    CHECK_EQ(munmap(storm, sizeof *storm), 0);
}

TEST_LIMIT(in_a_storm_of_kills_each_task_ends_once, 60)
{
    storm_with(task_in_storm, false, true);
}

TEST_LIMIT(in_a_storm_of_kills_each_task_that_is_retried_succeeds, 60)
{
    storm_with(task_in_storm, true, true);
}

TEST_LIMIT(tasks_that_kill_their_workers_succeed_in_the_end, 60)
{
    storm_with(task_dies_in_storm, true, false);
}

static void show_pids_again(const brood_result *result, void *context)
{
    CHECK_EQ(result->verdict, BROOD_ECRASHED);
    show_pids(context);
}

TEST_LIMIT(a_map_in_a_storm_of_kills_fails_only_what_was_hit, 60)
{
    enum { COUNT = 300000 };
    brood_pool *pool;
    uint32_t *in = malloc(COUNT * sizeof *in);
    uint64_t *out = malloc(COUNT * sizeof *out);
    int *verdicts = malloc(COUNT * sizeof *verdicts);
    int failed, counted = 0;
    pid_t pid;

    storm = share(sizeof *storm);
    pid = start_killer();
    pool = pool_of(WORKERS);
    for (uint32_t i = 0; i < COUNT; i++)
        in[i] = i;
    for (int round = 0; round < 3; round++) {
        for (uint32_t i = 0; i < COUNT; i++)
            storm->starts[i] = 0;
        show_pids(pool);
        failed = CHECK_OK(brood_pool_map(
            pool, task_in_storm, BROOD_IN(in, COUNT), BROOD_OUT(out, COUNT),
            &(brood_map_options){
                .verdicts = verdicts, .on_fail = show_pids_again, .on_fail_context = pool}));
        counted = 0;
        for (uint32_t i = 0; i < COUNT; i++) {
            counted += verdicts[i] < 0;
            CHECK(verdicts[i] == 0 || verdicts[i] == BROOD_ECRASHED);
            CHECK(storm->starts[i] <= 1);
            CHECK_EQ(out[i], verdicts[i] < 0 ? 0 : (uint64_t)i * 3 + 1);
        }
        CHECK_EQ(counted, failed);
    }
    storm->over = true;
    CHECK_EQ(waitpid(pid, NULL, 0), pid);
    check_works(pool);
    printf("%llu deaths\n", (unsigned long long)stats_of(pool).worker_deaths);
    brood_pool_free(pool);
    free(in);
    free(out);
    free(verdicts);
    CHECK_EQ(munmap(storm, sizeof *storm), 0);
}

/* ---- at rest ---- */

/* Time on a CPU and turns on it, of one thread. */
static uint64_t activity_of(const char *path)
{
    unsigned long long on_cpu = 0, waiting = 0, turns = 0;
    FILE *file = fopen(path, "re");

    if (file == NULL)
        return 0;
    CHECK_EQ(fscanf(file, "%llu %llu %llu", &on_cpu, &waiting, &turns), 3);
    (void)fclose(file);
    return on_cpu + turns;
}

/* Of all processes of the pool, and of the threads of this process but for the calling one. */
static uint64_t activity(brood_pool *pool)
{
    DIR *folder = opendir("/proc/self/task");
    struct dirent *entry;
    uint64_t sum = 0;
    int pids[8], count;
    char path[64];

    CHECK(folder != NULL);
    while ((entry = readdir(folder)) != NULL) {
        if (entry->d_name[0] == '.' || strtol(entry->d_name, NULL, 10) == getpid())
            continue;
        (void)snprintf(path, sizeof path, "/proc/self/task/%.20s/schedstat", entry->d_name);
        sum += activity_of(path);
    }
    (void)closedir(folder);
    count = CHECK_OK(brood_pool_pids(pool, pids, 8));
    for (int i = 0; i < count; i++) {
        (void)snprintf(path, sizeof path, "/proc/%d/schedstat", pids[i]);
        sum += activity_of(path);
    }
    (void)snprintf(path, sizeof path, "/proc/%d/schedstat", (int)snapshot_of(pool));
    return sum + activity_of(path);
}

static void comes_to_rest(const brood_pool_options *options)
{
    brood_pool *pool = pool_with(options);
    int64_t end = now_ms() + TEST_PATIENCE_MS;
    uint64_t before, after;

    CHECK_EQ(access("/proc/self/schedstat", R_OK), 0);
    (void)CHECK_OK(brood_pool_fd(pool));
    CHECK_EQ(brood_pool_apply(pool, task_kill_itself, NULL, 0, NULL, 0), BROOD_ECRASHED);
    CHECK_EQ(outcome_of(pool, task_nothing, NULL, 0,
                        &(brood_task_options){.timeout_ms = 50, .deadline_ms = 100})
                 .verdict,
             0);
    check_works(pool);
    do {
        before = activity(pool);
        (void)poll(NULL, 0, 300);
        after = activity(pool);
        CHECK(after == before || now_ms() < end);
    } while (after != before);
    check_works(pool);
    brood_pool_free(pool);
}

TEST(an_idle_pool_uses_no_cpu_and_wakes_nothing)
{
    comes_to_rest(&(brood_pool_options){.workers = 4});
}

TEST(an_idle_pool_with_a_memory_limit_uses_no_cpu)
{
    comes_to_rest(&(brood_pool_options){.workers = 2, .memory_max = 1 << 30});
}

TEST(a_pool_whose_tasks_run_without_limits_uses_no_cpu_beside_them)
{
    struct gate *runs = gate_new(), *go = gate_new();
    struct two_gates gates = {runs, go};
    brood_pool *pool = pool_of(2);
    int64_t end = now_ms() + TEST_PATIENCE_MS;
    uint64_t before, after;

    CHECK_EQ(brood_pool_submit(pool, task_for_ever, &runs, sizeof runs, NULL, NULL), 0);
    gate_wait(runs);
    do {
        before = activity(pool);
        (void)poll(NULL, 0, 300);
        after = activity(pool);
        CHECK(after == before || now_ms() < end);
    } while (after != before);
    CHECK_EQ(brood_pool_submit(pool, task_gates, &gates, sizeof gates, NULL, NULL), 0);
    gate_open(go);
    brood_pool_free(pool);
    gate_free(runs);
    gate_free(go);
}
