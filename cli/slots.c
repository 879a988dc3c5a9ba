/* SPDX-License-Identifier: MIT */
/* How many jobs may run at once: -j, --load, --memfree. Nothing of this is asked if not wanted. */
#include "slots.h"

#include <brood.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

int64_t clock_us(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

/* -1 for what is no number of jobs. */
static double parse_jobs(const char *jobs)
{
    char *end;
    double number = strtod(jobs, &end);
    const bool relative = *jobs == '+' || *jobs == '-';

    if (end == jobs)
        return -1;
    if (*end == '%')
        number = number / 100 * brood_cpu_count(), end++;
    if (relative)
        number += brood_cpu_count();
    while (*end == '\n' || *end == ' ')
        end++;
    if (*end != '\0')
        return -1;
    if (!relative && number == 0)
        return 0;
    return number < 1 ? 1 : number;
}

static double jobs_of_file(const char *path)
{
    char line[64] = "";
    FILE *file = fopen(path, "re");

    if (file == NULL)
        return -1;
    if (fgets(line, sizeof line, file) == NULL)
        line[0] = '\0';
    fclose(file);
    return parse_jobs(line);
}

/* Each job needs some descriptors here: no more jobs than those allow. */
static size_t slots_by_descriptors(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return 64;
    if (limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
            (void)getrlimit(RLIMIT_NOFILE, &limit);
    }
    return limit.rlim_cur < 64 ? 1 : (size_t)(limit.rlim_cur - 32) / 8;
}

size_t slots_count(const char *jobs)
{
    double number = jobs == NULL ? brood_cpu_count() : parse_jobs(jobs);
    size_t most;

    if (number < 0)
        number = jobs_of_file(jobs);
    if (number < 0)
        die("-j needs a number such as 8, 50%%, +2 or -1, or a file that has one; not '%s'", jobs);
    if (number >= 1 && number < 100)
        return (size_t)number;
    most = slots_by_descriptors();
    if (number == 0 && most > SLOTS_NO_LIMIT)
        return SLOTS_NO_LIMIT;
    return number == 0 || number > (double)most ? most : (size_t)number;
}

static double memory_available(void)
{
    char line[128];
    double kib = -1;
    FILE *file = fopen("/proc/meminfo", "re");

    while (file != NULL && fgets(line, sizeof line, file) != NULL)
        if (sscanf(line, "MemAvailable: %lf", &kib) == 1)
            break;
    if (file != NULL)
        fclose(file);
    return kib * 1024;
}

static bool load_is_low(const char *wanted)
{
    char *end;
    double limit = strtod(wanted, &end), load = 0;

    if (end == wanted || (*end != '\0' && strcmp(end, "%") != 0))
        die("--load needs a number such as 4 or 100%%, not '%s'", wanted);
    if (*end == '%')
        limit = limit / 100 * brood_cpu_count();
    return getloadavg(&load, 1) != 1 || load < (limit > 0 ? limit : 0.01);
}

int64_t slots_hold_ms(const struct options *options)
{
    if (options->load != NULL && !load_is_low(options->load))
        return 1000;
    if (options->memory_free != NULL) {
        const double wanted = parse_size(options->memory_free);

        if (wanted < 0)
            die("--memfree needs a size such as 500M, not '%s'", options->memory_free);
        if (memory_available() < wanted)
            return 1000;
    }
    return 0;
}
