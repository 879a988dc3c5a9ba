/* SPDX-License-Identifier: MIT */
/*
 * Counts what this process's other threads and all its descendants do while it sleeps: CPU time
 * from /proc/PID/task/TID/schedstat, context switches from .../status. The calling main thread
 * is left out, since it is the one that measures.
 */
#ifndef BROOD_BENCH_IDLE_H
#define BROOD_BENCH_IDLE_H

#include "bench.h"

#include <dirent.h>

enum { IDLE_SETTLE_US = 300000, IDLE_WATCH_US = 3000000 };

struct idle_sum {
    double cpu_ns;
    double switches;
    unsigned threads;
    unsigned processes;
};

static inline int idle_parent_of(int pid)
{
    char path[64];
    char line[512];
    int parent = 0;

    (void)snprintf(path, sizeof path, "/proc/%d/stat", pid);
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return 0;
    if (fgets(line, sizeof line, file) != NULL && strrchr(line, ')') != NULL)
        (void)sscanf(strrchr(line, ')'), ") %*c %d", &parent);
    (void)fclose(file);
    return parent;
}

static inline bool idle_is_ours(int pid)
{
    for (int depth = 0; pid > 1 && depth < 64; depth++, pid = idle_parent_of(pid))
        if (pid == (int)getpid())
            return true;
    return false;
}

static inline void idle_add_thread(int pid, int tid, struct idle_sum *sum)
{
    char path[96];
    char line[256];
    double value = 0;

    (void)snprintf(path, sizeof path, "/proc/%d/task/%d/schedstat", pid, tid);
    FILE *file = fopen(path, "re");
    if (file != NULL && fscanf(file, "%lf", &value) == 1)
        sum->cpu_ns += value;
    if (file != NULL)
        (void)fclose(file);
    (void)snprintf(path, sizeof path, "/proc/%d/task/%d/status", pid, tid);
    file = fopen(path, "re");
    while (file != NULL && fgets(line, sizeof line, file) != NULL)
        if (sscanf(line, "voluntary_ctxt_switches: %lf", &value) == 1 ||
            sscanf(line, "nonvoluntary_ctxt_switches: %lf", &value) == 1)
            sum->switches += value;
    if (file != NULL)
        (void)fclose(file);
    sum->threads++;
}

/* The pid or tid that names ENTRY, or 0. */
static inline int idle_id(const struct dirent *entry)
{
    return (int)strtol(entry->d_name, NULL, 10);
}

static inline void idle_add_process(int pid, struct idle_sum *sum)
{
    char path[64];
    struct dirent *entry;

    (void)snprintf(path, sizeof path, "/proc/%d/task", pid);
    DIR *threads = opendir(path);
    if (threads == NULL)
        return;
    while ((entry = readdir(threads)) != NULL) {
        const int tid = idle_id(entry);

        if (tid > 0 && tid != (int)getpid())
            idle_add_thread(pid, tid, sum);
    }
    (void)closedir(threads);
    sum->processes += pid != (int)getpid();
}

static inline struct idle_sum idle_read(void)
{
    struct idle_sum sum = {0, 0, 0, 0};
    struct dirent *entry;
    DIR *all = opendir("/proc");

    bench_must(all != NULL, "no /proc");
    while ((entry = readdir(all)) != NULL)
        if (idle_id(entry) > 0 && idle_is_ours(idle_id(entry)))
            idle_add_process(idle_id(entry), &sum);
    (void)closedir(all);
    return sum;
}

static inline void idle_emit(const char *bench, const char *name, const char *what,
                             const char *unit, double value)
{
    char text[128];

    (void)snprintf(text, sizeof text, "%s, %s", name, what);
    bench_emit(bench, text, unit, value);
}

static inline void idle_measure(const char *bench, const char *name)
{
    bench_pause_us(IDLE_SETTLE_US);
    const struct idle_sum before = idle_read();
    bench_pause_us(IDLE_WATCH_US);
    const struct idle_sum after = idle_read();

    bench_must(after.processes > 0, "no process was found to watch");
    bench_must(after.threads == before.threads, "a thread or process came or went while idle");
    idle_emit(bench, name, "CPU time in 3 s", "us", (after.cpu_ns - before.cpu_ns) / 1000);
    idle_emit(bench, name, "context switches in 3 s", "switches", after.switches - before.switches);
    idle_emit(bench, name, "processes beside the caller", "processes", after.processes);
}

#endif
