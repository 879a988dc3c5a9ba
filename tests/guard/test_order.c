/* SPDX-License-Identifier: MIT */
/*
 * A guard does what its order says, or says which part it could not do; and no bytes that come in
 * place of an order make it crash.
 *
 * What the command was given it tells itself ("show" of tests/programs/guarded.c). Each step of a
 * start is made to fail once, as each has an answer of its own.
 */
#include "guard/launch.h"
#include "harness/test.h"

#include <brood/base.h>

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { NOBODY = 65534 };

/* ---- what the command shows ---- */

static char shown[8192];

/* Runs it to its end. */
static void show(struct launch *launch)
{
    launch_start(launch);
    launch_expect(launch, GUARD_STARTED);
    launch_read_all(launch, shown, sizeof shown);
    launch_expect(launch, GUARD_ENDED);
    CHECK_EQ(launch->event.status, 0);
    launch_done(launch);
}

static void expect_line(const char *line)
{
    size_t len = strlen(line);

    for (const char *at = shown; at != NULL; at = strchr(at, '\n')) {
        at += *at == '\n';
        if (strncmp(at, line, len) == 0 && at[len] == '\n')
            return;
    }
    FAIL("no line %s in:\n%s", line, shown);
}

TEST(a_command_gets_little_unless_told)
{
    struct launch launch;
    char line[64];
    mode_t mask = umask(0);

    (void)umask(mask);
    launch_init(&launch, "show", "one");
    launch.argv[3] = "";
    launch.environment[0] = "GUARDED=yes";
    show(&launch);
    expect_line("fds=0,1,2,");
    expect_line("ignored=0");
    expect_line("blocked=0");
    expect_line("session=0");
    expect_line("leader=0");
    expect_line("privileges=0");
    expect_line("variable=yes");
    expect_line("argument=one");
    expect_line("argument=");
    expect_line("death=9");
    (void)snprintf(line, sizeof line, "umask=%o", (unsigned)mask);
    expect_line(line);
    (void)snprintf(line, sizeof line, "group=%d", (int)getpgrp());
    expect_line(line);
}

TEST(descriptors_go_where_they_are_sent)
{
    struct launch launch;
    int null = launch_lift(CHECK_OK(open("/dev/null", O_RDWR | O_CLOEXEC)));

    launch_init(&launch, "show", NULL);
    launch.order.fd_count = 5; /* swapped, kept, taken twice, and where the control socket was */
    launch.fds[0] = (struct guard_fd){.from = 4, .to = 5};
    launch.fds[1] = (struct guard_fd){.from = 5, .to = 4};
    launch.fds[2] = (struct guard_fd){.from = 9, .to = 9};
    launch.fds[3] = (struct guard_fd){.from = 9, .to = 40};
    launch.fds[4] = (struct guard_fd){.from = 12, .to = 3};
    for (unsigned i = 0; i < 5; i++)
        launch.give[i] = null;
    show(&launch);
    expect_line("fds=0,1,2,3,4,5,9,40,");
    (void)close(null);
}

TEST(descriptors_that_nobody_lists_are_closed)
{
    struct launch launch;
    int null = launch_lift(CHECK_OK(open("/dev/null", O_RDWR | O_CLOEXEC)));

    CHECK_OK(fcntl(null, F_SETFD, 0)); /* so that the guard inherits it */
    launch_init(&launch, "show", NULL);
    show(&launch);
    expect_line("fds=0,1,2,");
    (void)close(null);
}

TEST(a_command_gets_its_surroundings)
{
    struct launch launch;

    launch_init(&launch, "show", NULL);
    launch.cwd = "/dev";
    launch.order.flags = GUARD_SET_UMASK | GUARD_SET_NICE | GUARD_SET_AFFINITY | GUARD_NEW_SESSION |
                         GUARD_NO_NEW_PRIVS;
    launch.order.umask = 0123;
    launch.order.nice = 7;
    launch.order.affinity[0] = 1;
    launch.order.limit_count = 2;
    launch.limits[0] = (struct guard_limit){RLIMIT_NOFILE, 0, 77, 88};
    launch.limits[1] = (struct guard_limit){RLIMIT_CORE, 0, 0, 0};
    launch.order.signal_mask = 1u << (SIGUSR1 - 1);
    launch.order.signals_ignored = 1u << (SIGUSR2 - 1);
    show(&launch);
    expect_line("cwd=/dev");
    expect_line("umask=123");
    expect_line("nice=7");
    expect_line("cpus=1");
    expect_line("cpu0=1");
    expect_line("session=1");
    expect_line("leader=1");
    expect_line("privileges=1");
    expect_line("files=77");
    expect_line("core=0");
    expect_line("blocked=200");
    expect_line("ignored=800");
}

TEST(a_command_may_have_a_group_of_its_own)
{
    struct launch launch;

    launch_init(&launch, "show", NULL);
    launch.order.flags = GUARD_OWN_GROUP;
    show(&launch);
    expect_line("leader=1");
    expect_line("session=0");
}

TEST(dispositions_that_the_caller_ignored_become_default)
{
    struct launch launch;

    (void)signal(SIGINT, SIG_IGN);
    (void)signal(SIGCHLD, SIG_IGN);
    (void)signal(SIGHUP, SIG_IGN);
    launch_init(&launch, "show", NULL);
    launch.order.signals_default = 1u << (SIGINT - 1);
    launch_start(&launch);
    launch_expect(&launch, GUARD_STARTED);
    launch_read_all(&launch, shown, sizeof shown);
    launch_expect(&launch, GUARD_ENDED);
    CHECK_EQ(launch.event.status, 0); /* although the caller reaps nobody */
    expect_line("ignored=1");
    CHECK(!launch_hear(&launch));
    (void)waitpid(launch.guard, NULL, 0); /* until it is gone: nobody reaps it here */
    (void)close(launch.control);
    (void)close(launch.output);
}

TEST(a_command_may_be_somebody_else)
{
    struct launch launch;

    if (geteuid() != 0)
        SKIP("it takes root to become somebody else");
    launch_init(&launch, "show", NULL);
    launch.paths[0] = "/bin/sh"; /* the test's own program may be where nobody may look */
    launch.argv[0] = "sh";
    launch.argv[1] = "-c";
    launch.argv[2] = "echo uid=$(id -u); echo gid=$(id -g); echo groups=$(id -G)";
    launch.order.flags = GUARD_SET_UID | GUARD_SET_GID | GUARD_SET_GROUPS;
    launch.order.uid = launch.order.gid = NOBODY;
    launch.order.group_count = 1;
    launch.groups[0] = 12;
    launch.environment[0] = "PATH=/usr/bin:/bin";
    show(&launch);
    expect_line("uid=65534");
    expect_line("gid=65534");
    expect_line("groups=65534 12");
}

TEST(a_command_may_have_a_terminal)
{
    struct launch launch;
    int master = launch_lift(CHECK_OK(posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC)));

    CHECK_OK(grantpt(master));
    CHECK_OK(unlockpt(master));
    launch_init(&launch, "terminal", NULL);
    launch.input = launch_lift(CHECK_OK(open(ptsname(master), O_RDWR | O_NOCTTY | O_CLOEXEC)));
    launch.order.flags = GUARD_NEW_SESSION | GUARD_TERMINAL;
    show(&launch);
    (void)close(launch.input);
    (void)close(master);
}

/* ---- candidates ---- */

/* A file in the folder of this test, which is its working directory's $TMPDIR. */
static const char *file_with(const char *name, mode_t mode, const char *text)
{
    static char paths[4][512];
    static unsigned next;
    char *path = paths[next++ % 4];
    const char *folder = getenv("TMPDIR");
    int fd;

    (void)snprintf(path, sizeof paths[0], "%s/%s", folder == NULL ? "/tmp" : folder, name);
    fd = CHECK_OK(open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
    CHECK_EQ(write(fd, text, strlen(text)), strlen(text));
    CHECK_OK(fchmod(fd, mode));
    (void)close(fd);
    return path;
}

static void expect_refusal(struct launch *launch, enum guard_step step, int error, uint32_t index)
{
    launch_start(launch);
    launch_expect(launch, GUARD_NOT_STARTED);
    if (launch->event.step != (uint32_t)step || launch->event.error != error ||
        launch->event.index != index)
        FAIL("step %u, error %d, index %d", launch->event.step, launch->event.error,
             (int)launch->event.index);
    launch_expect_silence(launch);
    launch_done(launch);
}

TEST(candidates_are_tried_in_their_order)
{
    struct launch launch;
    const char *denied = file_with("denied", 0600, "nothing");

    launch_init(&launch, "exit", "0");
    launch.paths[3] = launch.paths[0];
    launch.paths[0] = "/nonexistent/a";
    launch.paths[1] = "/dev/null/b";
    launch.paths[2] = denied;
    launch_start(&launch);
    launch_expect(&launch, GUARD_STARTED);
    launch_expect(&launch, GUARD_ENDED);
    CHECK_EQ(launch.event.status, 0);
    launch_done(&launch);
    CHECK_OK(unlink(denied));
}

TEST(a_candidate_that_is_denied_is_remembered)
{
    struct launch launch;
    const char *denied = file_with("denied", 0600, "nothing");

    launch_init(&launch, "exit", "0");
    launch.paths[0] = "/nonexistent/a";
    launch.paths[1] = denied;
    launch.paths[2] = "/nonexistent/b";
    expect_refusal(&launch, GUARD_STEP_EXEC, EACCES, 1);
    CHECK_OK(unlink(denied));
}

TEST(a_missing_command_is_not_started)
{
    struct launch launch;

    launch_init(&launch, "exit", "0");
    launch.paths[0] = "/nonexistent/a";
    launch.paths[1] = "/nonexistent/b";
    expect_refusal(&launch, GUARD_STEP_EXEC, ENOENT, 1);
}

TEST(a_file_that_is_no_program_is_not_given_to_a_shell)
{
    struct launch launch;
    const char *text = file_with("text", 0700, "exit 0\n");

    launch_init(&launch, "exit", "0");
    launch.paths[1] = launch.paths[0];
    launch.paths[0] = text;
    expect_refusal(&launch, GUARD_STEP_EXEC, ENOEXEC, 0);
    CHECK_OK(unlink(text));
}

/* ---- steps that fail ---- */

TEST(a_wrong_working_directory_is_said)
{
    struct launch launch;

    launch_init(&launch, "exit", "0");
    launch.cwd = "/nonexistent";
    expect_refusal(&launch, GUARD_STEP_CWD, ENOENT, UINT32_MAX);
}

TEST(a_descriptor_that_is_not_open_is_said)
{
    struct launch launch;

    launch_init(&launch, "exit", "0");
    launch.order.fd_count = 2;
    launch.fds[0] = (struct guard_fd){.from = 6, .to = 6};
    launch.give[0] = launch_lift(CHECK_OK(open("/dev/null", O_RDWR | O_CLOEXEC)));
    launch.fds[1] = (struct guard_fd){.from = 60, .to = 8};
    launch.give[1] = -1;
    expect_refusal(&launch, GUARD_STEP_FDS, EBADF, 1);
    (void)close(launch.give[0]);
}

TEST(a_limit_that_cannot_be_is_said)
{
    struct launch launch;

    launch_init(&launch, "exit", "0");
    launch.order.limit_count = 2;
    launch.limits[0] = (struct guard_limit){RLIMIT_CORE, 0, 0, 0};
    launch.limits[1] = (struct guard_limit){RLIMIT_CORE, 0, 2, 1};
    expect_refusal(&launch, GUARD_STEP_LIMITS, EINVAL, 1);
}

TEST(cpus_that_are_not_there_are_said)
{
    struct launch launch;

    launch_init(&launch, "exit", "0");
    launch.order.flags = GUARD_SET_AFFINITY;
    launch.order.affinity[GUARD_AFFINITY_WORDS - 1] = 1;
    expect_refusal(&launch, GUARD_STEP_AFFINITY, EINVAL, UINT32_MAX);
}

TEST(an_input_that_is_no_terminal_is_said)
{
    struct launch launch;

    launch_init(&launch, "exit", "0");
    launch.order.flags = GUARD_NEW_SESSION | GUARD_TERMINAL;
    expect_refusal(&launch, GUARD_STEP_TERMINAL, ENOTTY, UINT32_MAX);
}

TEST(a_cgroup_that_is_none_is_said)
{
    struct launch launch;

    launch_init(&launch, "exit", "0");
    launch.order.cgroup_fd = 11;
    launch.give_cgroup = launch_lift(CHECK_OK(open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC)));
    expect_refusal(&launch, GUARD_STEP_CGROUP, ENOENT, UINT32_MAX);
    (void)close(launch.give_cgroup);
}

/* As somebody who may not do much: in a child, since there is no way back. */
static void without_rights(void (*function)(void))
{
    pid_t pid = CHECK_OK(fork());
    int status = -1;

    if (pid == 0) {
        if (geteuid() == 0) {
            CHECK_OK(setresgid(NOBODY, NOBODY, NOBODY));
            CHECK_OK(setresuid(NOBODY, NOBODY, NOBODY));
        }
        function();
        _exit(0);
    }
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, 0);
}

static void try_to_be_root(void)
{
    struct launch launch;

    launch_init(&launch, "exit", "0");
    launch.paths[0] = "/bin/true";
    launch.order.flags = GUARD_SET_UID;
    expect_refusal(&launch, GUARD_STEP_IDS, EPERM, UINT32_MAX);
}

TEST(ids_that_are_not_ours_are_said)
{
    without_rights(try_to_be_root);
}

static void try_to_be_nasty(void)
{
    struct launch launch;

    launch_init(&launch, "exit", "0");
    launch.paths[0] = "/bin/true";
    launch.order.flags = GUARD_SET_NICE;
    launch.order.nice = -20;
    expect_refusal(&launch, GUARD_STEP_NICE, EACCES, UINT32_MAX);
}

TEST(a_priority_that_is_not_ours_is_said)
{
    without_rights(try_to_be_nasty);
}

static void try_a_namespace(void)
{
    struct launch launch;

    launch_init(&launch, NULL, NULL);
    launch.paths[0] = "/bin/sh";
    launch.argv[0] = "sh";
    launch.argv[1] = "-c";
    launch.argv[2] = "echo uid=$(id -u); sleep 1000 & exit 0";
    launch.environment[0] = "PATH=/usr/bin:/bin";
    launch.order.containment = BROOD_CONTAIN_NAMESPACE;
    launch_start(&launch);
    launch_expect(&launch, GUARD_STARTED);
    CHECK(launch.event.containment == BROOD_CONTAIN_NAMESPACE ||
          launch.event.containment == BROOD_CONTAIN_GROUP);
    launch_expect(&launch, GUARD_ENDED);
    CHECK_EQ(launch.event.status, 0);
    CHECK_EQ(launch.event.leftovers_killed, 1);
    launch_read_all(&launch, shown, sizeof shown);
    launch_done(&launch);
    CHECK_EQ(strncmp(shown, "uid=0\n", 6) == 0, getuid() == 0);
}

TEST(a_namespace_is_for_anybody)
{
    without_rights(try_a_namespace);
}

/* ---- hostile orders ---- */

static void expect_order_refused(const void *packet, size_t len)
{
    struct launch launch;

    launch_init(&launch, "exit", "0");
    launch_start_raw(&launch, packet, len);
    launch_expect(&launch, GUARD_NOT_STARTED);
    CHECK_EQ(launch.event.step, GUARD_STEP_ORDER);
    CHECK_EQ(launch.event.error, EINVAL);
    launch_done(&launch);
}

struct small_order {
    struct guard_order head;
    struct guard_fd fds[2];
    char strings[16];
};

static struct small_order right_order(void)
{
    struct small_order order = {.head = {.version = GUARD_VERSION,
                                         .len = sizeof order,
                                         .containment = BROOD_CONTAIN_GROUP,
                                         .candidate_count = 1,
                                         .fd_count = 2,
                                         .strings_len = sizeof order.strings},
                                .fds = {{.from = 5, .to = 5}, {.from = 6, .to = 6}},
                                .strings = "/bin/true//////"};

    return order;
}

/* One field with one value that it must not have. */
#define HEAD(field, value)                                                                         \
    {                                                                                              \
        offsetof(struct small_order, head.field), sizeof(((struct guard_order *)0)->field),        \
            (uint64_t)(value)                                                                      \
    }

static const struct {
    size_t offset, len;
    uint64_t value;
} wrong[] = {
    HEAD(version, 2),
    HEAD(len, 0),
    HEAD(flags, GUARD_FLAGS + 1),
    HEAD(flags, GUARD_TERMINAL),
    HEAD(flags, (GUARD_NEW_SESSION | GUARD_OWN_GROUP)),
    HEAD(containment, 0),
    HEAD(containment, 4),
    HEAD(candidate_count, 0),
    HEAD(candidate_count, 2),
    HEAD(candidate_count, UINT32_MAX),
    HEAD(limit_count, 1),
    HEAD(limit_count, UINT32_MAX),
    HEAD(fd_count, 3),
    HEAD(fd_count, 0x20000002),
    HEAD(group_count, 1),
    HEAD(group_count, 0x40000000),
    HEAD(strings_len, 0),
    HEAD(strings_len, UINT32_MAX),
    HEAD(umask, 01000),
    HEAD(nice, 20),
    HEAD(nice, -21),
    HEAD(cgroup_fd, 3),
    HEAD(caller_fd, -1),
    HEAD(stop_signal, 65),
    HEAD(stop_signal, -1),
    HEAD(reserved_word, 1),
    {offsetof(struct small_order, head.reserved[7]), sizeof(uint64_t), 1},
    HEAD(timeout_ms, -1),
    HEAD(cpu_time_max_ms, -1),
    {offsetof(struct small_order, fds[0].from), sizeof(int32_t), 3},
    {offsetof(struct small_order, fds[0].to), sizeof(int32_t), UINT64_MAX},
    {offsetof(struct small_order, fds[0].to), sizeof(int32_t), 6},
    {offsetof(struct small_order, strings[15]), 1, 'x'},
};

TEST(each_rule_of_an_order_is_looked_at)
{
    for (size_t rule = 0; rule < sizeof wrong / sizeof wrong[0]; rule++) {
        struct small_order order = right_order();

        memcpy((unsigned char *)&order + wrong[rule].offset, &wrong[rule].value, wrong[rule].len);
        expect_order_refused(&order, sizeof order);
    }
}

TEST(a_signal_is_either_ignored_or_default)
{
    struct small_order order = right_order();

    order.head.signals_default = order.head.signals_ignored = 1;
    expect_order_refused(&order, sizeof order);
}

TEST(an_order_that_is_cut_or_too_long_is_refused)
{
    struct small_order order = right_order();
    unsigned char *packet = calloc(1, 2 * GUARD_ORDER_LEN_MAX);

    CHECK(packet != NULL);
    for (size_t len = 1; len < sizeof order; len += 13)
        expect_order_refused(&order, len);
    memcpy(packet, &order, sizeof order);
    expect_order_refused(packet, GUARD_ORDER_LEN_MAX);
    expect_order_refused(packet, GUARD_ORDER_LEN_MAX + 1);
    free(packet);
}

/* Any answer will do, but a crash. What an order happens to start is ended by its own end. */
static void try_packet(const void *packet, size_t len)
{
    struct launch launch;
    int status = -1;

    launch_init(&launch, "exit", "0");
    launch.argv[1] = NULL;
    launch_start_raw(&launch, packet, len);
    (void)close(launch.control);
    CHECK_EQ(waitpid(launch.guard, &status, 0), launch.guard);
    CHECK_EQ(status, 0);
    (void)close(launch.output);
}

TEST_LIMIT(bytes_of_all_kinds_do_not_crash_it, 60)
{
    for (unsigned turn = 0; turn < 400; turn++) {
        struct small_order order = right_order();
        unsigned char *bytes = (unsigned char *)&order;
        unsigned count = 1 + (unsigned)test_random_below(4);

        order.head.fd_count = turn % 2 == 0 ? 2 : 0;
        for (unsigned i = 0; i < count; i++)
            bytes[test_random_below(sizeof order)] ^= (unsigned char)test_random();
        try_packet(&order, sizeof order);
    }
    for (unsigned turn = 0; turn < 100; turn++) {
        unsigned char bytes[512];

        for (size_t i = 0; i < sizeof bytes; i++)
            bytes[i] = (unsigned char)test_random();
        try_packet(bytes, 1 + test_random_below(sizeof bytes));
    }
}
