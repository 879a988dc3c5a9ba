/* SPDX-License-Identifier: MIT */
/*
 * A pool where something is short or forbidden: descriptors, processes, file size, memory, system
 * calls, standard streams, SIGCHLD. Each lack is a precise error, or does not matter; nothing is
 * lost or leaked. Each test changes its own process, which ends with it.
 */
#include "api/pool_kit.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stddef.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>

static void limit(int resource, rlim_t value)
{
    struct rlimit limits;

    CHECK_EQ(getrlimit((unsigned)resource, &limits), 0); /* an enum in glibc */
    limits.rlim_cur = value;
    CHECK_EQ(setrlimit((unsigned)resource, &limits), 0);
}

static int count_fds(void)
{
    int count = 0;

    for (int fd = 0; fd < 1024; fd++)
        count += fcntl(fd, F_GETFD) >= 0;
    return count;
}

/* Leaves room for COUNT more descriptors, whatever numbers are in use. */
static void limit_free_fds(int count)
{
    int end = 0;

    for (; count > 0 || fcntl(end, F_GETFD) >= 0; end++)
        count -= fcntl(end, F_GETFD) < 0;
    limit(RLIMIT_NOFILE, (rlim_t)end);
}

/* ---- descriptors ---- */

TEST_LIMIT(too_few_descriptors_are_an_error_and_nothing_leaks, 60)
{
    const int before = count_fds();
    brood_pool *pool = NULL;
    int opened_at = -1;

    for (int more = 0; more < 40 && opened_at < 0; more++) {
        int r;

        limit_free_fds(more);
        r = brood_pool_new(&pool, &(brood_pool_options){.workers = 3});
        if (r == 0) {
            opened_at = more;
            check_works(pool);
            brood_pool_free(pool);
        } else {
            CHECK_EQ(r, -EMFILE);
        }
        CHECK_EQ(count_fds(), before);
    }
    CHECK(opened_at > 3);
}

TEST(a_pool_holds_one_descriptor_for_each_worker_and_about_eight_more)
{
    const int before = count_fds();
    brood_pool *pool = pool_of(5);

    CHECK(count_fds() - before <= 5 + 9);
    brood_pool_free(pool);
    CHECK_EQ(count_fds(), before);
}

TEST(a_worker_is_replaced_though_no_descriptor_was_free_for_a_while)
{
    brood_pool *pool = pool_of(1);
    long x = 3, y = 0;

    limit_free_fds(0);
    CHECK_EQ(brood_pool_apply(pool, task_kill_itself, NULL, 0, NULL, 0), BROOD_ECRASHED);
    CHECK_EQ(brood_pool_apply(pool, task_square, &x, sizeof x, &y, sizeof y), 0);
    CHECK_EQ(y, 9);
    brood_pool_free(pool);
}

static int open_counting(const void *context, void **out_state)
{
    (void)out_state;
    gate_count((struct gate *)(uintptr_t)context);
    return 0;
}

TEST(without_a_descriptor_for_its_worker_a_pool_waits_for_one_and_makes_no_storm)
{
    struct gate *opened = gate_new();
    brood_pool *pool = pool_with(
        &(brood_pool_options){.workers = 1, .context = opened, .worker_open = open_counting});
    int pidfd = open_pidfd(only_pid(pool));

    limit(RLIMIT_NOFILE, 3); /* what is open stays so, but no number is left for more */
    CHECK_EQ(kill(only_pid(pool), SIGKILL), 0);
    CHECK_EQ(poll(NULL, 0, 300), 0);
    CHECK(gate_counted(opened) < 50);
    limit(RLIMIT_NOFILE, 1024);
    check_works(pool);
    await_death(pidfd);
    brood_pool_free(pool);
    gate_free(opened);
}

TEST(descriptors_of_a_future_and_a_group_can_be_refused_and_had_later)
{
    brood_pool *pool = pool_of(1);
    brood_future *future = submit(pool, task_nothing, NULL, 0, NULL);
    brood_group *group = NULL;

    CHECK_EQ(brood_group_new(&group, pool, NULL), 0);
    limit_free_fds(0);
    CHECK_ERR(brood_future_fd(future), -EMFILE);
    CHECK_ERR(brood_group_fd(group), -EMFILE);
    limit_free_fds(20);
    CHECK(polls_readable(CHECK_OK(brood_future_fd(future)), TEST_PATIENCE_MS));
    CHECK(polls_readable(CHECK_OK(brood_group_fd(group)), TEST_PATIENCE_MS));
    brood_group_free(group);
    brood_future_free(future);
    brood_pool_free(pool);
}

/* ---- processes ---- */

/* Of a user that nobody else is, with no room for more processes than PROCESSES. */
static void become_nobody(rlim_t processes)
{
    const struct rlimit limits = {processes, processes};

    CHECK_EQ(setrlimit(RLIMIT_NPROC, &limits), 0);
    CHECK_EQ(setgid(65534), 0);
    CHECK_EQ(setuid(65534), 0);
    (void)prctl(PR_SET_DUMPABLE, 1);
}

static void open_as_nobody(void *context)
{
    brood_pool *pool = NULL;
    const int before = count_fds();

    become_nobody(*(const rlim_t *)context);
    CHECK_ERR(brood_pool_new(&pool, &(brood_pool_options){.workers = 4}), -EAGAIN);
    CHECK(pool == NULL);
    CHECK_EQ(count_fds(), before);
    CHECK_EQ(waitpid(-1, NULL, WNOHANG), -1);
    CHECK_EQ(errno, ECHILD);
}

TEST_LIMIT(too_few_processes_are_an_error_of_new, 60)
{
    if (geteuid() != 0)
        SKIP("only root can become somebody else");
    for (rlim_t processes = 1; processes <= 5; processes++)
        in_child(open_as_nobody, &processes);
}

static void work_as_nobody(void *context)
{
    brood_pool *pool;

    (void)context;
    CHECK_EQ(setgid(65534), 0);
    CHECK_EQ(setuid(65534), 0);
    (void)prctl(PR_SET_DUMPABLE, 1);
    for (int containment = BROOD_CONTAIN_CHILD; containment <= BROOD_CONTAIN_NAMESPACE;
         containment++) {
        pool = pool_with(&(brood_pool_options){.workers = 2, .containment = containment});
        check_works(pool);
        CHECK_EQ(brood_pool_apply(pool, task_kill_itself, NULL, 0, NULL, 0), BROOD_ECRASHED);
        check_works(pool);
        brood_pool_free(pool);
    }
}

TEST(an_unprivileged_user_can_use_every_containment)
{
    if (geteuid() != 0)
        SKIP("only root can become somebody else");
    in_child(work_as_nobody, NULL);
}

static void limit_births(pid_t snapshot, rlim_t processes)
{
    struct rlimit limits;

    CHECK_EQ(prlimit(snapshot, RLIMIT_NPROC, NULL, &limits), 0);
    limits.rlim_cur = processes;
    CHECK_EQ(prlimit(snapshot, RLIMIT_NPROC, &limits, NULL), 0);
}

static void work_without_births(void *context)
{
    brood_pool *pool;
    pid_t snapshot;
    int pids[2];

    (void)context;
    CHECK_EQ(setgid(65534), 0);
    CHECK_EQ(setuid(65534), 0);
    (void)prctl(PR_SET_DUMPABLE, 1);
    pool = pool_of(2);
    snapshot = snapshot_of(pool);
    limit_births(snapshot, 1);
    CHECK_EQ(brood_pool_apply(pool, task_kill_itself, NULL, 0, NULL, 0), BROOD_ECRASHED);
    check_works(pool); /* on the worker that is left */
    CHECK_EQ(stats_of(pool).workers, 1);
    limit_births(snapshot, 10000);
    while (stats_of(pool).workers < 2)
        check_works(pool);
    limit_births(snapshot, 1);
    CHECK_EQ(brood_pool_pids(pool, pids, 2), 2);
    CHECK_EQ(kill(pids[0], SIGKILL), 0);
    CHECK_EQ(kill(pids[1], SIGKILL), 0);
    CHECK_ERR(brood_pool_apply(pool, task_for_ever, NULL, 0, NULL, 0), BROOD_ELOST);
    CHECK_ERR(brood_pool_submit(pool, task_nothing, NULL, 0, NULL, NULL), BROOD_ELOST);
    brood_pool_free(pool);
}

TEST(a_pool_goes_on_with_fewer_workers_until_none_can_be_started)
{
    if (geteuid() != 0)
        SKIP("only root can become somebody else");
    in_child(work_without_births, NULL);
}

/* ---- file size ---- */

TEST(a_file_size_limit_is_efbig_and_no_signal)
{
    brood_pool *pool = NULL;

    limit(RLIMIT_FSIZE, 4096);
    CHECK_ERR(brood_pool_new(&pool, &(brood_pool_options){.workers = 1}), -EFBIG);
    CHECK(pool == NULL);
}

/* ---- system calls that are refused ---- */

static void refuse(long call, int error)
{
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)call, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (unsigned)error),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof filter / sizeof filter[0], filter};

    CHECK_EQ(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
    if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0)
        SKIP("no seccomp here");
}

static void new_fails_with(int error)
{
    const int before = count_fds();
    brood_pool *pool = NULL;

    CHECK_ERR(brood_pool_new(&pool, &(brood_pool_options){.workers = 2}), error);
    CHECK(pool == NULL);
    CHECK_EQ(count_fds(), before);
}

TEST(a_missing_memfd_create_is_enosys)
{
    refuse(SYS_memfd_create, ENOSYS);
    new_fails_with(-ENOSYS);
}

TEST(a_forbidden_memfd_create_is_eperm)
{
    refuse(SYS_memfd_create, EPERM);
    new_fails_with(-EPERM);
}

TEST(a_missing_pidfd_open_is_enosys)
{
    refuse(SYS_pidfd_open, ENOSYS);
    new_fails_with(-ENOSYS);
}

TEST(a_forbidden_pidfd_open_is_eperm)
{
    refuse(SYS_pidfd_open, EPERM);
    new_fails_with(-EPERM);
}

TEST(a_refused_eventfd_is_its_error)
{
    refuse(SYS_eventfd2, ENOMEM);
    new_fails_with(-ENOMEM);
}

TEST(a_refused_socketpair_is_its_error)
{
    refuse(SYS_socketpair, ENOMEM);
    new_fails_with(-ENOMEM);
}

/* ---- memory ---- */

static int task_allocate_for_ever(brood_task *task)
{
    (void)task;
    for (;;) {
        char *more = malloc(MIB);

        if (more == NULL)
            abort();
        memset(more, 1, MIB);
        __asm__ volatile("" ::"r"(more) : "memory"); /* or the compiler sees through all of it */
    }
}

static int task_allocate(brood_task *task)
{
    const size_t len = *(const size_t *)task->in;
    char *memory = malloc(len);

    if (memory == NULL)
        return -ENOMEM;
    memset(memory, 1, len);
    __asm__ volatile("" ::"r"(memory) : "memory"); /* or the compiler sees through all of it */
    free(memory);
    return 0;
}

static int task_allocate_too_much(brood_task *task)
{
    volatile char *memory = malloc((size_t)1 << 38);

    (void)task;
    memory[0] = 1; /* nobody looked whether that is NULL */
    return 0;
}

static brood_pool *pool_of_memory(uint64_t memory_max)
{
    return pool_with(&(brood_pool_options){.workers = 1, .memory_max = memory_max});
}

TEST(a_task_that_allocates_for_ever_is_over_its_memory_limit)
{
    brood_pool *pool = pool_of_memory(64 * (uint64_t)MIB);
    brood_outcome outcome = outcome_of(pool, task_allocate_for_ever, NULL, 0, NULL);

    CHECK_EQ(outcome.verdict, BROOD_EMEMORY);
    CHECK_EQ(outcome.cause, BROOD_OUT_OF_MEMORY);
    CHECK(outcome.peak_rss > 32 * (uint64_t)MIB);
    CHECK(outcome.peak_rss < 1024 * (uint64_t)MIB);
    check_works(pool);
    brood_pool_free(pool);
}

TEST(a_crash_after_a_refused_allocation_is_out_of_memory)
{
    brood_pool *pool;

    if (TEST_ASAN || TEST_TSAN)
        SKIP("the sanitizer allocates in its own way");
    pool = pool_of_memory(64 * (uint64_t)MIB);
    CHECK_EQ(outcome_of(pool, task_allocate_too_much, NULL, 0, NULL).verdict, BROOD_EMEMORY);
    check_works(pool);
    brood_pool_free(pool);
}

TEST(tasks_below_the_memory_limit_are_left_alone)
{
    brood_pool *pool;
    size_t len = 100 * (size_t)MIB;

    if (TEST_ASAN || TEST_TSAN)
        SKIP("the sanitizer keeps what is freed");
    pool = pool_of_memory(256 * (uint64_t)MIB);
    for (int i = 0; i < 5; i++)
        CHECK_EQ(outcome_of(pool, task_allocate, &len, sizeof len, NULL).verdict, 0);
    CHECK_EQ(stats_of(pool).worker_deaths, 0);
    brood_pool_free(pool);
}

TEST(results_and_inputs_do_not_count_as_growth_of_a_worker)
{
    brood_pool *pool = pool_of_memory(16 * (uint64_t)MIB);
    char *data = calloc(1, 64 * (size_t)MIB);
    brood_outcome outcome = outcome_of(pool, task_nothing, data, 64 * (size_t)MIB,
                                       &(brood_task_options){.out_size = 64 * (size_t)MIB});

    CHECK_EQ(outcome.verdict, 0);
    check_works(pool);
    brood_pool_free(pool);
    free(data);
}

TEST(peak_memory_is_the_growth_of_the_task)
{
    brood_pool *pool;
    size_t len = 50 * (size_t)MIB;
    char *ours = malloc(200 * (size_t)MIB);
    brood_outcome outcome;

    CHECK(ours != NULL);
    memset(ours, 1, 200 * (size_t)MIB);
    pool = pool_of(1);
    outcome = outcome_of(pool, task_allocate, &len, sizeof len, NULL);
    CHECK_EQ(outcome.verdict, 0);
    if (!TEST_ASAN) {
        CHECK(outcome.peak_rss >= 45 * (uint64_t)MIB);
        CHECK(outcome.peak_rss <= 120 * (uint64_t)MIB);
    }
    brood_pool_free(pool);
    free(ours);
}

/* ---- address space ---- */

TEST(a_small_address_space_holds_a_smaller_pool_or_is_no_memory)
{
    brood_pool *pool = NULL;
    bool opened = false;

    if (TEST_ASAN || TEST_TSAN)
        SKIP("the sanitizer needs much address space");
    for (rlim_t space = 16 * (rlim_t)MIB; space <= 1024 * (rlim_t)MIB; space *= 2) {
        int r;

        limit(RLIMIT_AS, space);
        r = brood_pool_new(&pool, &(brood_pool_options){.workers = 2});
        CHECK(r == 0 || (r == -ENOMEM && !opened) || (r == -EAGAIN && !opened));
        if (r < 0)
            continue;
        opened = true;
        check_works(pool);
        brood_pool_free(pool);
    }
    CHECK(opened);
}

/* ---- no /proc ---- */

static int task_with_child(brood_task *task)
{
    pid_t pid = fork();

    (void)task;
    if (pid == 0)
        for (;;)
            (void)pause();
    return pid < 0 ? -errno : 0;
}

static void open_without_proc(void *context)
{
    brood_pool *pool = NULL;
    bool *possible = context;

    *possible = unshare(CLONE_NEWNS) == 0 &&
                mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
                mount("none", "/proc", "tmpfs", 0, NULL) == 0;
    if (!*possible)
        return;
    CHECK_ERR(brood_pool_new(&pool, &(brood_pool_options){.workers = 1}), BROOD_ETHREADS);
    pool = pool_with(&(brood_pool_options){.workers = 2, .allow_threads = true});
    check_works(pool);
    CHECK_EQ(brood_pool_apply(pool, task_kill_itself, NULL, 0, NULL, 0), BROOD_ECRASHED);
    CHECK_EQ(brood_pool_apply(pool, task_with_child, NULL, 0, NULL, 0), 0);
    check_works(pool);
    brood_pool_free(pool);
}

TEST(without_proc_threads_cannot_be_counted_and_all_else_works)
{
    bool *possible = share(4096);

    in_child(open_without_proc, possible);
    if (!*possible)
        SKIP("no mount namespace to hide /proc in");
    CHECK_EQ(munmap(possible, 4096), 0);
}

/* ---- the caller's own ways ---- */

TEST(a_pool_works_with_standard_streams_closed)
{
    brood_pool *pool;
    int saved[3];

    for (int fd = 0; fd < 3; fd++) {
        saved[fd] = CHECK_OK(fcntl(fd, F_DUPFD_CLOEXEC, 10));
        (void)close(fd);
    }
    pool = pool_of(2);
    for (int fd = 0; fd < 3; fd++)
        CHECK(fcntl(fd, F_GETFD) < 0);
    check_works(pool);
    CHECK_EQ(brood_pool_apply(pool, task_kill_itself, NULL, 0, NULL, 0), BROOD_ECRASHED);
    check_works(pool);
    for (int fd = 0; fd < 3; fd++)
        CHECK(fcntl(fd, F_GETFD) < 0);
    brood_pool_free(pool);
    for (int fd = 0; fd < 3; fd++) {
        CHECK_EQ(dup2(saved[fd], fd), fd);
        (void)close(saved[fd]);
    }
}

static int task_exit_code_is(brood_task *task)
{
    _exit(*(const int *)task->in);
}

TEST(a_pool_works_where_sigchld_is_ignored)
{
    brood_pool *pool;
    int code = 7;

    CHECK(signal(SIGCHLD, SIG_IGN) != SIG_ERR);
    pool = pool_of(2);
    check_works(pool);
    CHECK_EQ(outcome_of(pool, task_exit_code_is, &code, sizeof code, NULL).code, 7);
    check_works(pool);
    brood_pool_free(pool);
    CHECK(signal(SIGCHLD, SIG_DFL) == SIG_IGN);
}

static volatile sig_atomic_t children_heard;

static void hear_child(int signo)
{
    (void)signo;
    children_heard++;
}

TEST(who_waits_for_any_child_is_not_disturbed_by_workers)
{
    brood_pool *pool = pool_of(2);
    pid_t pid = CHECK_OK(fork());
    int status;

    if (pid == 0)
        _exit(5);
    CHECK_EQ(brood_pool_apply(pool, task_kill_itself, NULL, 0, NULL, 0), BROOD_ECRASHED);
    check_works(pool);
    CHECK_EQ(waitpid(-1, &status, 0), pid);
    CHECK_EQ(WEXITSTATUS(status), 5);
    brood_pool_free(pool);
}

TEST(a_caller_that_reaps_every_child_does_no_harm)
{
    brood_pool *pool = pool_of(1);
    pid_t snapshot = snapshot_of(pool);

    CHECK_EQ(kill(snapshot, SIGKILL), 0);
    CHECK_EQ(waitpid(-1, NULL, 0), snapshot);
    CHECK_ERR(brood_pool_apply(pool, task_nothing, NULL, 0, NULL, 0), BROOD_ELOST);
    brood_pool_free(pool);
}

TEST(no_handler_no_mask_and_no_child_signal_of_the_caller_is_changed)
{
    struct sigaction action = {.sa_handler = hear_child}, seen;
    sigset_t before, after;
    brood_pool *pool;

    CHECK_EQ(sigaction(SIGCHLD, &action, NULL), 0);
    CHECK_EQ(sigemptyset(&before), 0);
    CHECK_EQ(sigaddset(&before, SIGUSR1), 0);
    CHECK_EQ(sigprocmask(SIG_SETMASK, &before, NULL), 0);
    pool = pool_of(2);
    check_works(pool);
    CHECK_EQ(brood_pool_apply(pool, task_kill_itself, NULL, 0, NULL, 0), BROOD_ECRASHED);
    check_works(pool);
    for (int signo = 1; signo < 32; signo++) {
        if (signo == SIGCHLD)
            continue;
        CHECK_EQ(sigaction(signo, NULL, &seen), 0);
        CHECK(TEST_ASAN || seen.sa_handler == SIG_DFL || seen.sa_handler == SIG_IGN);
    }
    CHECK_EQ(sigaction(SIGCHLD, NULL, &seen), 0);
    CHECK(seen.sa_handler == hear_child);
    CHECK_EQ(sigprocmask(SIG_SETMASK, NULL, &after), 0);
    for (int signo = 1; signo < 65; signo++)
        CHECK_EQ(sigismember(&after, signo), sigismember(&before, signo));
    CHECK_EQ(children_heard, 0);
    brood_pool_free(pool);
}

static int task_has_defaults(brood_task *task)
{
    sigset_t mask;
    struct sigaction action;

    (void)task;
    if (sigprocmask(SIG_SETMASK, NULL, &mask) != 0)
        return -errno;
    for (int signo = 1; signo < 32; signo++)
        if (sigismember(&mask, signo) == 1)
            return -signo;
    if (sigaction(SIGUSR1, NULL, &action) != 0 || action.sa_handler != SIG_DFL)
        return -100;
    return 0;
}

TEST(tasks_have_default_dispositions_and_an_empty_mask)
{
    struct sigaction action = {.sa_handler = hear_child};
    sigset_t mask;
    brood_pool *pool;

    CHECK_EQ(sigaction(SIGUSR1, &action, NULL), 0);
    CHECK_EQ(sigfillset(&mask), 0);
    CHECK_EQ(sigprocmask(SIG_BLOCK, &mask, NULL), 0);
    pool = pool_of(1);
    CHECK_EQ(brood_pool_apply(pool, task_has_defaults, NULL, 0, NULL, 0), 0);
    brood_pool_free(pool);
}

/* ---- functions ---- */

struct module {
    const char *name, *function;
};

/* A library that can be loaded and is not yet. */
static const struct module *unloaded_module(void)
{
    static const struct module modules[] = {{"libm.so.6", "cos"}, {"libthread_db.so.1", "td_init"}};

    for (size_t i = 0; i < sizeof modules / sizeof modules[0]; i++) {
        void *loaded = dlopen(modules[i].name, RTLD_LAZY | RTLD_NOLOAD);

        if (loaded == NULL)
            return &modules[i];
        (void)dlclose(loaded);
    }
    return NULL;
}

TEST(a_function_of_a_module_loaded_later_is_refused)
{
    const struct module *module = unloaded_module();
    brood_pool *pool;
    brood_task_fn *fn = NULL;
    void *loaded;

    if (module == NULL)
        SKIP("no library at hand that is not loaded yet");
    pool = pool_of(1);
    loaded = dlopen(module->name, RTLD_LAZY);
    if (loaded == NULL) {
        brood_pool_free(pool);
        SKIP("%s", dlerror());
    }
    *(void **)&fn = dlsym(loaded, module->function);
    CHECK(fn != NULL);
    CHECK_ERR(brood_pool_submit(pool, fn, NULL, 0, NULL, NULL), BROOD_EFUNCTION);
    CHECK_ERR(brood_pool_map(pool, fn, brood_in_of(NULL, 0, 4), BROOD_NO_OUT, NULL),
              BROOD_EFUNCTION);
    check_works(pool);
    brood_pool_free(pool);
    (void)dlclose(loaded);
}
