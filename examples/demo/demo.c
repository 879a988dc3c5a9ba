/* SPDX-License-Identifier: MIT */
/*
 * demo [folder] - real work on a tree of real files, some of which crash the function that reads
 * them.
 *
 * Every file is one task: read, decompress, count lines and words, hash. Strewn among the files
 * are a few malformed ones that make the parser crash, hang or eat memory (traps.c, box.c). The
 * pool must end each of those as it deserves and all others well. Afterwards the good files are
 * done again by a plain loop and by the pool, in turn, to compare the speed and the digests.
 *
 * Exit status: 0 when everything ended as it should, 1 when not, 130 after Ctrl-C.
 */
#include "files.h"
#include "report.h"

#include <brood/easy.h>
#include <signal.h>
#include <string.h>

enum { TASK_TIMEOUT_MS = 2000, WINDOW = 256, WAIT_MS = 50, ROUNDS = 3 };
static const uint64_t worker_memory_max = 64 << 20;

static const char *const default_folders[] = {"/usr/share/doc", "/usr/include", "/usr/share/man",
                                              "/usr/lib/python3", "/etc"};
enum { FOLDERS = sizeof default_folders / sizeof default_folders[0] };

struct demo {
    struct screen screen;
    struct files files;
    char trap_folder[256];
    char trap_path[TRAP_KINDS][300];
    struct job *jobs;
    size_t job_count;
};

static volatile sig_atomic_t interrupted;

static void on_interrupt(int signo)
{
    (void)signo;
    interrupted = 1;
}

/* [task] */
/* Runs in a worker. Anything may happen in here. */
static int task(brood_task *task)
{
    return work_on_file(task->in, task->out);
}
/* [task] */

static void find_files(struct demo *demo, const char *folder)
{
    if (folder != NULL) {
        int r = files_find(&demo->files, folder, FILES_MAX);
        if (r < 0) {
            fprintf(stderr, "demo: %s: %s\n", folder, brood_strerror(r));
            exit(2);
        }
        return;
    }
    for (int i = 0; i < FOLDERS; i++) /* a share for each, so that the mixture is a good one */
        (void)files_find(&demo->files, default_folders[i],
                         demo->files.count + (FILES_MAX - demo->files.count) / 2);
}

/* Made files; the good ones among them are there to show that it is not the format. */
static size_t trap_count(bool with_good)
{
    size_t count = 0;

    for (int i = 0; i < TRAP_KINDS; i++)
        if (with_good || traps[i].ending != ENDING_DONE)
            count += traps[i].copies;
    return count;
}

/* The N-th of all traps, so that copies of one kind are far from each other. */
static int trap_kind(size_t n)
{
    for (size_t round = 0;; round++)
        for (int i = 0; i < TRAP_KINDS; i++)
            if (round < traps[i].copies && n-- == 0)
                return i;
}

/* Strews the traps evenly over the first four fifths, so that the end is not spent waiting. */
static void mix_jobs(struct demo *demo)
{
    size_t trap_total = trap_count(true), trap = 0, file = 0;

    demo->job_count = demo->files.count + trap_total;
    demo->jobs = BROOD_MUST_HAVE(calloc(demo->job_count, sizeof *demo->jobs));
    for (size_t i = 0; i < demo->job_count; i++) {
        bool due = trap < trap_total && i >= trap * demo->job_count * 4 / 5 / trap_total;
        if (due || file == demo->files.count) {
            int kind = trap_kind(trap++);
            demo->jobs[i] = (struct job){.path = demo->trap_path[kind], .trap = &traps[kind]};
        } else {
            demo->jobs[i] = (struct job){.path = demo->files.paths[file++]};
        }
    }
}

static void prepare(struct demo *demo, const char *folder)
{
    const int ends[] = {SIGINT, SIGTERM, SIGHUP, SIGPIPE};
    struct sigaction action = {.sa_handler = on_interrupt};

    find_files(demo, folder);
    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++)
        sigaction(ends[i], &action, NULL);
    BROOD_MUST(traps_make(demo->trap_folder, sizeof demo->trap_folder));
    for (int i = 0; i < TRAP_KINDS; i++)
        snprintf(demo->trap_path[i], sizeof demo->trap_path[i], "%s/%s", demo->trap_folder,
                 traps[i].name);
    mix_jobs(demo);
}

static void count_progress(struct progress *progress, const struct tally *tally)
{
    progress->done = 0;
    for (int i = 0; i < ENDINGS; i++)
        progress->done += tally->ended[i];
    progress->crashed = tally->ended[ENDING_CRASHED];
}

static void submit_next(struct demo *demo, brood_group *group, size_t *inout_next)
{
    const brood_task_options each = {.out_size = sizeof(struct work),
                                     .timeout_ms = TASK_TIMEOUT_MS};

    for (; *inout_next < demo->job_count && brood_group_room(group) > 0; ++*inout_next) {
        const char *path = demo->jobs[*inout_next].path;
        BROOD_MUST(brood_group_submit(group, task, path, strlen(path) + 1, &each));
    }
}

/* [run] */
/* All jobs through a pool, with a line of progress. */
static void run_pool(struct demo *demo, struct progress progress, struct tally *tally)
{
    BROOD_AUTO(pool) *pool = NULL;
    BROOD_AUTO(group) *group = NULL;
    const brood_result *result;
    size_t next = 0;
    int got = 1;

    progress.total = demo->job_count;
    progress.start_us = now_us();
    BROOD_MUST(brood_pool_new(&pool, &(brood_pool_options){.memory_max = worker_memory_max}));
    BROOD_MUST(brood_group_new(&group, pool, &(brood_group_options){.window = WINDOW}));
    while (got != 0 && !interrupted) {
        submit_next(demo, group, &next);
        got = brood_group_next(group, WAIT_MS, &result);
        if (got == 1)
            tally_result(tally, &demo->jobs[result->index], result);
        else if (got != -ETIMEDOUT)
            BROOD_MUST(got);
        screen_progress(&demo->screen, &progress);
        count_progress(&progress, tally);
    }
    tally->wall_us = now_us() - progress.start_us;
    screen_progress_end(&demo->screen, &progress, tally->incident_count > 0);
}
/* [run] */

/* The same by a plain loop in this process. Only for files that are known to be harmless. */
static void run_loop(struct demo *demo, struct tally *tally)
{
    struct progress progress = {
        .note = "timing a plain loop", .total = demo->job_count, .start_us = now_us()};
    struct work work;

    for (size_t i = 0; i < demo->job_count && !interrupted; i++) {
        if (work_on_file(demo->jobs[i].path, &work) == 0)
            tally_work(tally, &work);
        screen_progress(&demo->screen, &progress);
        progress.done++;
    }
    tally->wall_us = now_us() - progress.start_us;
    screen_progress_end(&demo->screen, &progress, false);
}

static void keep_good_jobs(struct demo *demo)
{
    size_t kept = 0;

    for (size_t i = 0; i < demo->job_count; i++)
        if (demo->jobs[i].good)
            demo->jobs[kept++] = demo->jobs[i];
    demo->job_count = kept;
}

static void keep_fastest(struct tally *best, const struct tally *next)
{
    if (best->wall_us == 0 || next->wall_us < best->wall_us)
        *best = *next;
}

/* Both ways in turn, the fastest of each counts: other programs use this machine too. Returns
 * whether both came to the same numbers. */
static bool compare_speed(struct demo *demo, const struct tally *first)
{
    struct tally loop = {0}, pool = {0};
    char label[32];

    keep_good_jobs(demo);
    if (demo->job_count == 0)
        return true;
    for (int round = 0; round < ROUNDS; round++) {
        struct tally next_loop = {0}, next_pool = {0};
        run_loop(demo, &next_loop);
        run_pool(demo, (struct progress){.note = "timing the pool"}, &next_pool);
        if (interrupted)
            return false;
        keep_fastest(&loop, &next_loop);
        keep_fastest(&pool, &next_pool);
    }
    report_speed(&demo->screen, "one process", &loop, demo->job_count, NULL);
    snprintf(label, sizeof label, "pool of %u", brood_cpu_count());
    report_speed(&demo->screen, label, &pool, demo->job_count, &loop);
    return memcmp(&loop.sum, &pool.sum, sizeof loop.sum) == 0 &&
           memcmp(&loop.sum, &first->sum, sizeof loop.sum) == 0;
}

static void print_head(const struct demo *demo, const char *folder)
{
    const struct screen *screen = &demo->screen;
    const char *dot = screen->unicode ? "·" : "-";

    printf("\n  %sbrood %s%s %s ", screen_style(screen, STYLE_BOLD), brood_version(),
           screen_style(screen, STYLE_PLAIN), dot);
    printf("%s files %s %u workers\n", COUNT_TEXT(demo->job_count), dot, brood_cpu_count());
    printf("  %s of %s, %zu made for this: %zu traps, %zu good ones\n\n",
           COUNT_TEXT(demo->files.count), folder != NULL ? folder : "this system", trap_count(true),
           trap_count(false), trap_count(true) - trap_count(false));
    fflush(stdout);
}

static int conclude(const struct demo *demo, const struct tally *tally, bool same)
{
    const struct screen *screen = &demo->screen;

    if (interrupted) {
        printf("\n  Interrupted. Every worker has been stopped.\n\n");
        return 130;
    }
    if (tally->surprises == 0 && same) {
        printf("\n  %s%s%s Every trap ended as it should, and no other file noticed.\n"
               "    Loop and pool came to the same counts and digests.\n\n",
               screen_style(screen, STYLE_GOOD),
               screen->unicode ? "✓" : "ok:", screen_style(screen, STYLE_PLAIN));
        return 0;
    }
    if (tally->surprises > 0)
        printf("\n  %zu ended otherwise than they should; the first:\n    %s\n", tally->surprises,
               tally->surprise);
    if (!same)
        printf("\n  Loop and pool came to different results.\n");
    printf("\n");
    return 1;
}

static void release(struct demo *demo)
{
    traps_remove(demo->trap_folder);
    files_done(&demo->files);
    free(demo->jobs);
}

int main(int argc, char **argv)
{
    const char *folder = argc == 2 ? argv[1] : NULL;
    struct tally tally = {0};
    struct demo demo = {0};
    bool same = true;

    if (argc > 2 || (folder != NULL && folder[0] == '-')) {
        fprintf(stderr, "usage: demo [folder]\n");
        return 2;
    }
    screen_open(&demo.screen);
    prepare(&demo, folder);
    print_head(&demo, folder);
    run_pool(&demo, (struct progress){.label = "files"}, &tally);
    printf("\n");
    report_table(&demo.screen, &tally);
    screen_rule(&demo.screen);
    if (!interrupted)
        same = compare_speed(&demo, &tally);
    release(&demo);
    return conclude(&demo, &tally, same);
}
