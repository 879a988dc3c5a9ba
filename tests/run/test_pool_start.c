/* SPDX-License-Identifier: MIT */
/*
 * How a pool's workers come to be: a snapshot of the program by fork, or a clean copy by the fork
 * server. Nothing of the caller's memory is in the latter, so pids and files are what tells.
 */
#include "api/pool_kit.h"
#include "run/server.h"

#include <fcntl.h>
#include <pthread.h>

static int changed_later = 1;

static int task_see_global(brood_task *task)
{
    *(int *)task->out = changed_later;
    return 0;
}

TEST(replacements_start_from_the_snapshot_and_not_from_the_present)
{
    brood_pool *pool;
    int seen = 0;

    changed_later = 2;
    pool = pool_of(1);
    changed_later = 3;
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(brood_pool_apply(pool, task_see_global, NULL, 0, &seen, sizeof seen), 0);
        CHECK_EQ(seen, 2);
        CHECK_EQ(brood_pool_apply(pool, task_kill_itself, NULL, 0, NULL, 0), BROOD_ECRASHED);
    }
    brood_pool_free(pool);
}

static int task_read_file(brood_task *task)
{
    const int fd = *(const int *)task->in;

    return pread(fd, task->out, task->out_size, 0) == (ssize_t)task->out_size ? 0 : -errno;
}

TEST(open_files_stay_open_in_workers_until_the_pool_is_freed)
{
    brood_pool *pool;
    int fd = CHECK_OK(open("/proc/self/exe", O_RDONLY | O_CLOEXEC)), theirs = fd;
    char magic[4];

    pool = pool_of(1);
    (void)close(fd);
    CHECK_EQ(brood_pool_apply(pool, task_read_file, &theirs, sizeof theirs, magic, sizeof magic),
             0);
    CHECK_EQ(memcmp(magic, "\177ELF", 4), 0);
    brood_pool_free(pool);
}

/* The server outlives its pools, on purpose; at the end of a test it would be a leftover. */
static void free_served(brood_pool *pool)
{
    brood_pool_free(pool);
    brood__server_stop();
}

static brood_pool *served(brood_pool_options options)
{
    options.start = BROOD_START_FORKSERVER;
    return pool_with(&options);
}

TEST(a_served_pool_works_and_its_workers_are_clean)
{
    brood_pool *pool;
    int seen = 0;

    changed_later = 5;
    pool = served((brood_pool_options){.workers = 2});
    check_works(pool);
    CHECK_EQ(brood_pool_apply(pool, task_see_global, NULL, 0, &seen, sizeof seen), 0);
    CHECK_EQ(seen, 1);
    CHECK_EQ(brood_pool_apply(pool, task_kill_itself, NULL, 0, NULL, 0), BROOD_ECRASHED);
    check_works(pool);
    free_served(pool);
}

static int open_number(const void *context, void **out_state)
{
    static int state;

    if (*(const int *)context != 77)
        return -EBADMSG;
    state = 78;
    *out_state = &state;
    return 0;
}

static int task_number(brood_task *task)
{
    return *(const int *)task->context == 77 && *(const int *)task->state == 78 ? 0 : -EBADMSG;
}

TEST(a_served_pool_has_its_context_and_opens_its_workers)
{
    int number = 77;
    brood_pool *pool = served((brood_pool_options){.workers = 2,
                                                   .context = &number,
                                                   .context_len = sizeof number,
                                                   .worker_open = open_number});

    for (int i = 0; i < 10; i++)
        CHECK_EQ(brood_pool_apply(pool, task_number, NULL, 0, NULL, 0), 0);
    CHECK_EQ(brood_pool_apply(pool, task_kill_itself, NULL, 0, NULL, 0), BROOD_ECRASHED);
    CHECK_EQ(brood_pool_apply(pool, task_number, NULL, 0, NULL, 0), 0);
    free_served(pool);
}

static int refuse_to_open(const void *context, void **out_state)
{
    (void)context;
    (void)out_state;
    return -EACCES;
}

TEST(a_failing_worker_open_is_an_error_of_a_served_pool)
{
    brood_pool *pool = NULL;

    CHECK_ERR(brood_pool_new(&pool, &(brood_pool_options){.workers = 2,
                                                          .start = BROOD_START_FORKSERVER,
                                                          .worker_open = refuse_to_open}),
              -EACCES);
    CHECK(pool == NULL);
    brood__server_stop();
}

TEST(served_pools_take_and_give_data_of_every_kind)
{
    brood_pool *pool = served((brood_pool_options){.workers = 2});
    enum { COUNT = 10000 };
    long *in = brood_pool_alloc(pool, COUNT * sizeof *in), *out = malloc(COUNT * sizeof *out);

    for (long i = 0; i < COUNT; i++)
        in[i] = i;
    CHECK_EQ(brood_pool_map(pool, task_square, BROOD_IN(in, COUNT), BROOD_OUT(out, COUNT), NULL),
             0);
    for (long i = 0; i < COUNT; i++)
        CHECK_EQ(out[i], i * i);
    free_served(pool);
    free(out);
}

static void *wait_for_gate(void *gate)
{
    gate_wait(gate);
    return NULL;
}

TEST(a_served_pool_may_start_beside_other_threads)
{
    struct gate *gate = gate_new();
    pthread_t thread;
    brood_pool *pool;

    CHECK_EQ(pthread_create(&thread, NULL, wait_for_gate, gate), 0);
    pool = served((brood_pool_options){.workers = 1});
    check_works(pool);
    free_served(pool);
    gate_open(gate);
    CHECK_EQ(pthread_join(thread, NULL), 0);
    gate_free(gate);
}

TEST(served_pools_obtain_each_containment)
{
    for (int containment = BROOD_CONTAIN_CHILD; containment <= BROOD_CONTAIN_NAMESPACE;
         containment++) {
        brood_pool *pool = served((brood_pool_options){.workers = 1, .containment = containment});
        int obtained = stats_of(pool).containment;

        CHECK(obtained == containment || containment == BROOD_CONTAIN_NAMESPACE);
        check_works(pool);
        CHECK_EQ(brood_pool_apply(pool, task_kill_itself, NULL, 0, NULL, 0), BROOD_ECRASHED);
        check_works(pool);
        brood_pool_free(pool);
    }
    brood__server_stop();
}

TEST(the_parents_death_takes_served_workers_along)
{
    enum { WORKER, ZYGOTE, SERVER, ALL };
    struct gate *ready = gate_new();
    int *pids = share(4096);
    pid_t parent = CHECK_OK(fork());
    int pidfds[ALL];

    if (parent == 0) {
        brood_pool *pool = served((brood_pool_options){.workers = 1});

        CHECK_EQ(brood_pool_submit(pool, task_for_ever, NULL, 0, NULL, NULL), 0);
        pids[WORKER] = only_pid(pool);
        pids[ZYGOTE] = parent_of(pids[WORKER]);
        pids[SERVER] = parent_of(pids[ZYGOTE]);
        gate_open(ready);
        for (;;)
            (void)pause();
    }
    gate_wait(ready);
    for (int i = 0; i < ALL; i++)
        pidfds[i] = open_pidfd(pids[i]);
    CHECK_EQ(kill(parent, SIGKILL), 0);
    CHECK_EQ(waitpid(parent, NULL, 0), parent);
    for (int i = 0; i < ALL; i++)
        await_death(pidfds[i]);
    gate_free(ready);
    CHECK_EQ(munmap(pids, 4096), 0);
}
