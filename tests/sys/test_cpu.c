/* SPDX-License-Identifier: MIT */
/*
 * How many workers a pool has by default: the affinity mask and the CPU quota, whatever way the
 * control groups of the machine are mounted. Too many would fight each other in a container.
 */
#include "harness/test.h"

#include "sys/cpu.h"
#include "sys/usage.h"

#include <brood/base.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static char root[PATH_MAX / 4];

static void make_root(void)
{
    const char *folder = getenv("TMPDIR");

    (void)snprintf(root, sizeof root, "%s/cpu.XXXXXX", folder == NULL ? "/tmp" : folder);
    CHECK(mkdtemp(root) != NULL);
}

/* Writes a file below the root, with the folders on the way to it. */
static void lay(const char *name, const char *text)
{
    char path[PATH_MAX];
    FILE *file;

    (void)snprintf(path, sizeof path, "%s%s", root, name);
    for (char *slash = path + strlen(root) + 1; (slash = strchr(slash, '/')) != NULL; slash++) {
        *slash = '\0';
        CHECK(mkdir(path, 0700) == 0 || errno == EEXIST);
        *slash = '/';
    }
    file = fopen(path, "we");
    CHECK(file != NULL);
    CHECK(fputs(text, file) >= 0);
    CHECK(fclose(file) == 0);
}

static int remove_one(const char *path, const struct stat *status, int type, struct FTW *place)
{
    (void)status;
    (void)type;
    (void)place;
    return remove(path);
}

static void remove_root(void)
{
    CHECK_EQ(nftw(root, remove_one, 8, FTW_DEPTH | FTW_PHYS), 0);
}

#define MOUNTS_2 "30 1 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw\n"
#define MOUNTS_1                                                                                   \
    "28 1 0:1 / / rw - ext4 /dev/root rw\n"                                                        \
    "33 24 0:29 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"                            \
    "34 24 0:30 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"

TEST(a_quota_of_version_2_is_rounded_up)
{
    make_root();
    lay("/proc/self/cgroup", "0::/user/app\n");
    lay("/proc/self/mountinfo", MOUNTS_2);
    CHECK_EQ(brood__cpu_quota(root), 0);
    lay("/sys/fs/cgroup/user/app/cpu.max", "max 100000\n");
    CHECK_EQ(brood__cpu_quota(root), 0);
    lay("/sys/fs/cgroup/user/app/cpu.max", "250000 100000\n");
    CHECK_EQ(brood__cpu_quota(root), 3);
    lay("/sys/fs/cgroup/user/app/cpu.max", "1000 100000\n");
    CHECK_EQ(brood__cpu_quota(root), 1);
    remove_root();
}

TEST(the_least_quota_on_the_way_up_counts)
{
    make_root();
    lay("/proc/self/cgroup", "0::/a/b/c\n");
    lay("/proc/self/mountinfo", MOUNTS_2);
    lay("/sys/fs/cgroup/a/b/c/cpu.max", "900000 100000\n");
    lay("/sys/fs/cgroup/a/b/cpu.max", "max 100000\n");
    lay("/sys/fs/cgroup/a/cpu.max", "400000 100000\n");
    CHECK_EQ(brood__cpu_quota(root), 4);
    lay("/sys/fs/cgroup/cpu.max", "200000 100000\n");
    CHECK_EQ(brood__cpu_quota(root), 2);
    lay("/sys/fs/cpu.max", "100000 100000\n"); /* above the mount: not a group */
    CHECK_EQ(brood__cpu_quota(root), 2);
    remove_root();
}

TEST(a_quota_of_version_1_counts)
{
    make_root();
    lay("/proc/self/cgroup", "4:memory:/x\n3:cpu,cpuacct:/job/7\n2:cpuset:/\n0::/\n");
    lay("/proc/self/mountinfo", MOUNTS_1);
    lay("/sys/fs/cgroup/cpu,cpuacct/job/7/cpu.cfs_quota_us", "-1\n");
    lay("/sys/fs/cgroup/cpu,cpuacct/job/7/cpu.cfs_period_us", "100000\n");
    CHECK_EQ(brood__cpu_quota(root), 0);
    lay("/sys/fs/cgroup/cpu,cpuacct/job/7/cpu.cfs_quota_us", "150000\n");
    CHECK_EQ(brood__cpu_quota(root), 2);
    remove_root();
}

TEST(a_container_that_sees_part_of_the_hierarchy)
{
    make_root();
    lay("/proc/self/cgroup", "0::/docker/f00/inner\n");
    lay("/proc/self/mountinfo",
        "30 1 0:26 /docker/f00 /sys/fs/cgroup ro - cgroup2 cgroup rw,nsdelegate\n");
    lay("/sys/fs/cgroup/cpu.max", "500000 100000\n");
    CHECK_EQ(brood__cpu_quota(root), 5);
    lay("/sys/fs/cgroup/inner/cpu.max", "300000 100000\n");
    CHECK_EQ(brood__cpu_quota(root), 3);
    lay("/proc/self/cgroup", "0::/docker/f00more\n"); /* only looks like it */
    CHECK_EQ(brood__cpu_quota(root), 5);
    remove_root();
}

TEST(files_that_are_missing_or_odd_limit_nothing)
{
    make_root();
    CHECK_EQ(brood__cpu_quota(root), 0);
    lay("/proc/self/cgroup", "");
    lay("/proc/self/mountinfo", "");
    CHECK_EQ(brood__cpu_quota(root), 0);
    lay("/proc/self/cgroup", "0\n0:\n::\n0::\n:::\n3:cpu\n0::/../../x");
    lay("/proc/self/mountinfo", " - \n - cgroup2\n1 2 3 - cgroup2 c rw\n" MOUNTS_2 "x");
    CHECK_EQ(brood__cpu_quota(root), 0);
    lay("/sys/fs/cgroup/cpu.max", "-5 100000\n");
    CHECK_EQ(brood__cpu_quota(root), 0);
    lay("/sys/fs/cgroup/cpu.max", "5 0\n");
    CHECK_EQ(brood__cpu_quota(root), 0);
    lay("/sys/fs/cgroup/cpu.max", "99999999999999999999999 1\n");
    CHECK_EQ(brood__cpu_quota(root), 0);
    lay("/sys/fs/cgroup/cpu.max", "");
    CHECK_EQ(brood__cpu_quota(root), 0);
    remove_root();
}

TEST(the_affinity_mask_counts)
{
    cpu_set_t all, one;
    unsigned count = brood_cpu_count();

    CHECK_EQ(sched_getaffinity(0, sizeof all, &all), 0);
    CHECK(count >= 1 && count <= (unsigned)CPU_COUNT(&all));
    CPU_ZERO(&one);
    for (size_t i = 0; i < CPU_SETSIZE; i++)
        if (CPU_ISSET(i, &all)) {
            CPU_SET(i, &one);
            break;
        }
    CHECK_EQ(sched_setaffinity(0, sizeof one, &one), 0);
    CHECK_EQ(brood_cpu_count(), 1);
}

TEST(private_memory_is_seen_and_shared_memory_is_not)
{
    const size_t len = 32 << 20;
    int64_t before = CHECK_OK(brood__usage_private(getpid()));
    char *shared = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    char *private;

    CHECK(shared != MAP_FAILED);
    memset(shared, 1, len);
    CHECK(brood__usage_private(getpid()) < before + (4 << 20));
    private = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(private != MAP_FAILED);
    memset(private, 1, len);
    CHECK(brood__usage_private(getpid()) > before + (28 << 20));
    munmap(private, len);
    munmap(shared, len);
    CHECK_ERR(brood__usage_private(INT_MAX), -ESRCH);
}

TEST(the_next_look_is_neither_hectic_nor_late)
{
    CHECK_EQ(brood__usage_look_again_ns(0), 1000000);
    CHECK_EQ(brood__usage_look_again_ns(UINT64_MAX), 1000000000);
    CHECK(brood__usage_look_again_ns((uint64_t)1 << 30) > 10000000);
    CHECK(brood__usage_look_again_ns((uint64_t)1 << 30) < 200000000);
}
