/* SPDX-License-Identifier: MIT */
/*
 * How many CPUs this process may keep busy: its affinity mask, cut by CPU quotas.
 *
 * /proc/self/cgroup names the group of each hierarchy, /proc/self/mountinfo where the
 * hierarchies are mounted. A quota of any group on the way up to the mount limits all below it:
 *
 *     version 2:  cpu.max                              "50000 100000", or "max 100000"
 *     version 1:  cpu.cfs_quota_us, cpu.cfs_period_us  "50000" and "100000", or "-1"
 *
 * In a container the mount may show only a part of the hierarchy: then its root, as mountinfo
 * has it, is cut from the path of the group. What cannot be read limits nothing. Keeps no state.
 */
#include "sys/cpu.h"

#include "base/memory.h"
#include "sys/file.h"
#include "sys/kernel.h"

#include <brood/base.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { TEXT_MAX = 4 << 20, MASK_MAX = 1 << 16 };

/* ---- affinity ---- */

unsigned brood__cpu_affinity(void)
{
    for (size_t size = 128; size <= MASK_MAX; size *= 2) {
        unsigned char *mask = brood__alloc_zeroed(1, size);
        unsigned count = 0;
        int64_t len;

        if (mask == NULL)
            return 0;
        len = brood__affinity_get(mask, size);
        for (int64_t i = 0; i < len; i++)
            count += (unsigned)__builtin_popcount(mask[i]);
        brood__free(mask);
        if (len != -EINVAL) /* which means: this machine has more CPUs than the mask */
            return count;
    }
    return 0;
}

/* ---- quotas ---- */

struct mount {
    bool found;
    char root[PATH_MAX], point[PATH_MAX];
};

struct search {
    const char *root; /* before every path */
    char *cgroups;    /* texts of the two files */
    char *mounts;
    struct mount mount;
    unsigned quota; /* least so far; 0: none */
};

static char *read_text(const char *root, const char *name)
{
    char path[PATH_MAX];

    if (snprintf(path, sizeof path, "%s%s", root, name) >= (int)sizeof path)
        return NULL;
    return brood__file_text(path, TEXT_MAX, NULL);
}

/* Whether WORD is one of the words that commas separate in LIST. */
static bool has_word(const char *list, const char *word)
{
    size_t len = strlen(word);

    for (;;) {
        size_t part = strcspn(list, ",");

        if (part == len && strncmp(list, word, len) == 0)
            return true;
        if (list[part] == '\0')
            return false;
        list += part + 1;
    }
}

/* One line of mountinfo: is it the hierarchy that is wanted? Paths with blanks or backslashes
 * are written as octal there; no system mounts control groups at such. */
static bool parse_mount(const char *line, bool version_2, struct mount *mount)
{
    char kind[64], options[1024];
    const char *dash = strstr(line, " - ");

    if (dash == NULL || sscanf(dash, " - %63s %*s %1023s", kind, options) != 2 ||
        strcmp(kind, version_2 ? "cgroup2" : "cgroup") != 0 ||
        (!version_2 && !has_word(options, "cpu")))
        return false;
    _Static_assert(PATH_MAX == 4096, "the widths below");
    return sscanf(line, "%*s %*s %*s %4095s %4095s", mount->root, mount->point) == 2;
}

static void find_mount(struct search *search, bool version_2)
{
    char *rest = search->mounts;

    search->mount.found = false;
    for (char *line = strsep(&rest, "\n"); line != NULL; line = strsep(&rest, "\n")) {
        if (!search->mount.found)
            search->mount.found = parse_mount(line, version_2, &search->mount);
        if (rest != NULL)
            rest[-1] = '\n'; /* for the next search */
    }
}

static void take_quota(struct search *search, long long quota, long long period)
{
    long long cpus;

    if (quota <= 0 || period <= 0)
        return;
    cpus = quota / period + (quota % period != 0);
    if (cpus < UINT_MAX && (search->quota == 0 || cpus < search->quota))
        search->quota = (unsigned)cpus;
}

static void read_number_file(const char *root, const char *folder, const char *name,
                             char buffer[64])
{
    char path[PATH_MAX * 2];

    buffer[0] = '\0';
    if (snprintf(path, sizeof path, "%s%s/%s", root, folder, name) < (int)sizeof path &&
        brood__file_read(path, buffer, 64) < 0)
        buffer[0] = '\0';
}

static void read_quota(struct search *search, const char *folder, bool version_2)
{
    char text[64];
    long long quota = -1, period = -1;

    if (version_2) {
        read_number_file(search->root, folder, "cpu.max", text);
        if (sscanf(text, "%lld %lld", &quota, &period) != 2)
            return; /* "max" */
    } else {
        read_number_file(search->root, folder, "cpu.cfs_quota_us", text);
        quota = strtoll(text, NULL, 10);
        read_number_file(search->root, folder, "cpu.cfs_period_us", text);
        period = strtoll(text, NULL, 10);
    }
    take_quota(search, quota, period);
}

/* The group GROUP and those above it, as far as they are mounted. */
static void walk_up(struct search *search, const char *group, bool version_2)
{
    const struct mount *mount = &search->mount;
    size_t root_len = strcmp(mount->root, "/") == 0 ? 0 : strlen(mount->root);
    size_t point_len = strlen(mount->point);
    char folder[PATH_MAX * 2];

    /* A group outside of what is mounted: the mount's own root is all that can be known. */
    if (strncmp(group, mount->root, root_len) == 0 &&
        (group[root_len] == '/' || group[root_len] == '\0'))
        group += root_len;
    else
        group = "";
    if (snprintf(folder, sizeof folder, "%s%s", mount->point, group) >= (int)sizeof folder)
        return;
    for (;;) {
        char *slash;

        read_quota(search, folder, version_2);
        slash = strrchr(folder, '/');
        if (slash == NULL || (size_t)(slash - folder) < point_len)
            return;
        *slash = '\0';
    }
}

/* One line of /proc/self/cgroup: "0::/a/b" for version 2, "3:cpu,cpuacct:/a/b" for version 1. */
static void take_group(struct search *search, char *line)
{
    char *number = strsep(&line, ":");
    char *controllers = strsep(&line, ":");
    bool version_2;

    if (controllers == NULL || line == NULL)
        return;
    version_2 = strcmp(number, "0") == 0 && controllers[0] == '\0';
    if (!version_2 && !has_word(controllers, "cpu"))
        return;
    find_mount(search, version_2);
    if (search->mount.found)
        walk_up(search, line, version_2);
}

unsigned brood__cpu_quota(const char *root)
{
    struct search *search = brood__alloc_zeroed(1, sizeof *search);
    unsigned quota = 0;

    if (search == NULL)
        return 0;
    search->root = root;
    search->cgroups = read_text(root, "/proc/self/cgroup");
    search->mounts = read_text(root, "/proc/self/mountinfo");
    if (search->cgroups != NULL && search->mounts != NULL) {
        char *rest = search->cgroups;

        for (char *line = strsep(&rest, "\n"); line != NULL; line = strsep(&rest, "\n"))
            take_group(search, line);
        quota = search->quota;
    }
    brood__free(search->cgroups);
    brood__free(search->mounts);
    brood__free(search);
    return quota;
}

unsigned brood_cpu_count(void)
{
    unsigned count = brood__cpu_affinity();
    unsigned quota = brood__cpu_quota("");

    if (count == 0) {
        long online = sysconf(_SC_NPROCESSORS_ONLN);

        count = online > 0 ? (unsigned)online : 1;
    }
    return quota != 0 && quota < count ? quota : count;
}
