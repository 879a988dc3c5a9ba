/* SPDX-License-Identifier: MIT */
/*
 * Inputs and results of every size, where they live and how long; and what tasks print.
 */
#include "api/pool_kit.h"

#include <fcntl.h>
#include <sys/sysinfo.h>

static unsigned char byte_at(size_t i)
{
    return (unsigned char)(i * 31 + i / 256 * 7 + 5);
}

static void fill(unsigned char *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++)
        bytes[i] = byte_at(i);
}

static bool is_filled(const unsigned char *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (bytes[i] != byte_at(i))
            return false;
    return true;
}

static const size_t sizes[] = {0,         1,     15,      16,   63,      64,
                               65,        127,   128,     4095, 4096,    4097,
                               32 * 1024, 65536, MIB - 1, MIB,  MIB + 1, 10 * (size_t)MIB + 3};
enum { SIZES = sizeof sizes / sizeof sizes[0] };

static int task_is_filled(brood_task *task)
{
    return (task->in_len == 0) == (task->in == NULL) && (uintptr_t)task->in % 16 == 0 &&
                   is_filled(task->in, task->in_len)
               ? 0
               : -EBADMSG;
}

TEST(inputs_of_every_size_arrive)
{
    brood_pool *pool = pool_of(2);
    unsigned char *data = malloc(sizes[SIZES - 1]);

    fill(data, sizes[SIZES - 1]);
    for (int i = 0; i < SIZES; i++)
        CHECK_EQ(brood_pool_apply(pool, task_is_filled, data, sizes[i], NULL, 0), 0);
    CHECK_EQ(stats_of(pool).heap_used, 0);
    brood_pool_free(pool);
    free(data);
}

static int task_fill_out(brood_task *task)
{
    if ((uintptr_t)task->out % 16 != 0)
        return -EFAULT;
    fill(task->out, task->out_size);
    return 0;
}

TEST(results_of_fixed_size_arrive)
{
    brood_pool *pool = pool_of(2);
    unsigned char *data = malloc(sizes[SIZES - 1] + 1);

    for (int i = 0; i < SIZES; i++) {
        memset(data, 0xaa, sizes[i] + 1);
        CHECK_EQ(brood_pool_apply(pool, task_fill_out, NULL, 0, data, sizes[i]), 0);
        CHECK(is_filled(data, sizes[i]));
        CHECK_EQ(data[sizes[i]], 0xaa);
    }
    CHECK_EQ(stats_of(pool).heap_used, 0);
    brood_pool_free(pool);
    free(data);
}

static int task_return_filled(brood_task *task)
{
    const size_t len = *(const size_t *)task->in;
    unsigned char *data = malloc(len + 1);
    int r;

    if (data == NULL)
        return -ENOMEM;
    fill(data, len);
    r = brood_task_return(task, data, len);
    free(data);
    return r;
}

static int task_alloc_filled(brood_task *task)
{
    const size_t len = *(const size_t *)task->in;
    unsigned char *data = brood_task_alloc(task, len);

    if (data == NULL)
        return -ENOMEM;
    if ((uintptr_t)data % 16 != 0)
        return -EFAULT;
    fill(data, len);
    return 0;
}

static void results_arrive(brood_task_fn *fn)
{
    brood_pool *pool = pool_of(2);

    for (int i = 0; i < SIZES; i++) {
        brood_future *future = submit(pool, fn, &sizes[i], sizeof sizes[i], NULL);
        const brood_result *result = result_of(future);

        CHECK_EQ(result->verdict, 0);
        CHECK_EQ(result->len, sizes[i]);
        CHECK(sizes[i] == 0 || is_filled(result->data, result->len));
        brood_future_free(future);
    }
    brood_pool_free(pool);
}

TEST(returned_results_of_every_size_arrive)
{
    results_arrive(task_return_filled);
}

TEST(results_built_in_place_of_every_size_arrive)
{
    results_arrive(task_alloc_filled);
}

static int task_replace_result(brood_task *task)
{
    static const unsigned char text[] = "the last one counts";
    unsigned char *large;

    if (brood_task_return(task, text, 3) != 0 || brood_task_return(task, NULL, 1) != -EINVAL)
        return -1;
    large = brood_task_alloc(task, 100000);
    if (large == NULL)
        return -2;
    memcpy(large, text, sizeof text);
    if (brood_task_alloc(task, SIZE_MAX) != NULL || brood_task_alloc(task, SIZE_MAX / 2) != NULL ||
        brood_task_return(task, text, (size_t)1 << 60) != -ENOMEM)
        return -3;
    return brood_task_return(task, large, sizeof text); /* from the one that it replaces */
}

TEST(a_later_result_replaces_the_earlier)
{
    brood_pool *pool = pool_of(1);
    brood_future *future = submit(pool, task_replace_result, NULL, 0, NULL);
    const brood_result *result = result_of(future);

    CHECK_EQ(result->verdict, 0);
    CHECK_EQ(result->len, 20);
    CHECK_STR(result->data, "the last one counts");
    brood_future_free(future);
    brood_pool_free(pool);
}

static int task_return_although_fixed(brood_task *task)
{
    return brood_task_alloc(task, 4) == NULL && brood_task_return(task, "abc", 4) == -EINVAL ? 0
                                                                                             : -1;
}

static int task_return_and_fail(brood_task *task)
{
    if (brood_task_return(task, "a long text that nobody is to see", 33) != 0)
        return -1;
    (void)brood_task_alloc(task, 100000);
    return -EIO;
}

TEST(a_task_of_fixed_size_cannot_return_another)
{
    brood_pool *pool = pool_of(1);
    int out = 5;

    CHECK_EQ(brood_pool_apply(pool, task_return_although_fixed, NULL, 0, &out, sizeof out), 0);
    CHECK_EQ(out, 0);
    brood_pool_free(pool);
}

TEST(a_task_that_failed_has_no_data)
{
    brood_pool *pool = pool_of(1);
    brood_future *future = submit(pool, task_return_and_fail, NULL, 0, NULL);

    CHECK_EQ(result_of(future)->verdict, -EIO);
    CHECK(result_of(future)->data == NULL);
    CHECK_EQ(result_of(future)->len, 0);
    brood_future_free(future);
    brood_pool_free(pool);
}

TEST(a_task_that_returns_nothing_has_no_data)
{
    brood_pool *pool = pool_of(1);
    brood_future *future = submit(pool, task_nothing, NULL, 0, NULL);

    CHECK(result_of(future)->data == NULL);
    CHECK_EQ(result_of(future)->len, 0);
    brood_future_free(future);
    brood_pool_free(pool);
}

TEST(results_are_kept_while_their_workers_die)
{
    enum { RESULTS = 40 };
    brood_pool *pool = pool_of(1);
    brood_future *futures[RESULTS];

    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < RESULTS; i++) {
            size_t len = 100 + (size_t)i * 5000;

            futures[i] = submit(pool, task_return_filled, &len, sizeof len, NULL);
            if (i % 4 == 3)
                CHECK_EQ(brood_pool_apply(pool, task_kill_itself, NULL, 0, NULL, 0),
                         BROOD_ECRASHED);
        }
        for (int i = RESULTS; i-- > 0;) {
            const brood_result *result = result_of(futures[i]);

            CHECK_EQ(result->len, 100 + (size_t)i * 5000);
            CHECK(is_filled(result->data, result->len));
            brood_future_free(futures[i]);
        }
    }
    brood_pool_free(pool);
}

TEST(results_that_come_and_go_do_not_fill_the_memory)
{
    brood_pool *pool = pool_of(1);
    size_t len = 4 * (size_t)MIB;
    brood_future *futures[70];

    for (int i = 0; i < 300; i++) {
        brood_future *future = submit(pool, task_alloc_filled, &len, sizeof len, NULL);

        CHECK_EQ(result_of(future)->verdict, 0);
        brood_future_free(future);
    }
    len = 1000; /* more at once than the lane's mailbox holds */
    for (int round = 0; round < 20; round++) {
        for (int i = 0; i < 70; i++)
            futures[i] = submit(pool, task_alloc_filled, &len, sizeof len, NULL);
        for (int i = 0; i < 70; i++)
            CHECK(is_filled(result_of(futures[i])->data, len));
        for (int i = 0; i < 70; i++)
            brood_future_free(futures[i]);
    }
    brood_pool_free(pool);
}

TEST(results_that_are_dropped_are_given_back)
{
    brood_pool *pool = pool_of(1);
    size_t len = MIB;

    for (int i = 0; i < 500; i++)
        CHECK_EQ(brood_pool_submit(pool, task_alloc_filled, &len, sizeof len, NULL, NULL), 0);
    for (int i = 0; i < 100; i++)
        brood_future_free(submit(pool, task_alloc_filled, &len, sizeof len, NULL));
    CHECK_EQ(brood_pool_join(pool, TEST_PATIENCE_MS), 0);
    CHECK_EQ(stats_of(pool).heap_used, 0);
    brood_pool_free(pool);
}

static bool is_roomy(uint64_t bytes)
{
    struct sysinfo info;

    return !TEST_ASAN && !TEST_TSAN && sysinfo(&info) == 0 &&
           (uint64_t)info.freeram * info.mem_unit > bytes;
}

TEST_LIMIT(a_gigabyte_goes_in_and_out, 180)
{
    const size_t len = (size_t)1 << 30;
    brood_pool *pool;
    brood_future *future;
    unsigned char *data;

    if (!is_roomy(3 * (uint64_t)len + len / 2))
        SKIP("needs 3.5 GiB of free memory, and no sanitizer");
    pool = pool_of(1);
    data = malloc(len);
    CHECK(data != NULL);
    memset(data, 3, len);
    data[len - 1] = 77;
    future = submit(pool, task_nothing, data, len, NULL);
    free(data);
    CHECK_EQ(result_of(future)->verdict, 0);
    brood_future_free(future);
    future = submit(pool, task_return_filled, &len, sizeof len, NULL);
    CHECK_EQ(result_of(future)->verdict, 0);
    CHECK_EQ(result_of(future)->len, len);
    CHECK_EQ(((const unsigned char *)result_of(future)->data)[len - 1], byte_at(len - 1));
    brood_future_free(future);
    brood_pool_free(pool);
}

/* ---- memory by reference ---- */

static int task_sum(brood_task *task)
{
    const long *numbers = task->in;
    long sum = 0;

    for (size_t i = 0; i < task->in_len / sizeof *numbers; i++)
        sum += numbers[i];
    *(long *)task->out = sum;
    return 0;
}

TEST(pool_memory_is_passed_by_reference_and_survives_crashes)
{
    enum { COUNT = 1 << 20 };
    brood_pool *pool = pool_of(2);
    long *numbers = brood_pool_alloc(pool, COUNT * sizeof *numbers);
    uint64_t used = stats_of(pool).heap_used;
    long sum = 0;

    CHECK(numbers != NULL);
    for (long i = 0; i < COUNT; i++)
        numbers[i] = i;
    for (int i = 0; i < 10; i++) {
        brood_future *future = submit(pool, task_sum, numbers, COUNT * sizeof *numbers,
                                      &(brood_task_options){.out_size = sizeof sum});

        CHECK_EQ(stats_of(pool).heap_used, used);
        CHECK_EQ(*(const long *)result_of(future)->data, (long)COUNT * (COUNT - 1) / 2);
        brood_future_free(future);
        CHECK_EQ(brood_pool_apply(pool, task_kill_itself, numbers, 1000, NULL, 0), BROOD_ECRASHED);
    }
    CHECK_EQ(numbers[12345], 12345);
    brood_pool_release(pool, numbers);
    CHECK_EQ(stats_of(pool).heap_used, 0);
    brood_pool_free(pool);
}

/* ---- what tasks print ---- */

static int task_print(brood_task *task)
{
    printf("task %ld\n", *(const long *)task->in);
    if (*(const long *)task->in == 3)
        (void)kill(getpid(), SIGKILL);
    return 0;
}

static void print_from_pool(int fd)
{
    brood_pool *pool;

    CHECK_OK(dup2(fd, 1));
    CHECK_EQ(setvbuf(stdout, NULL, _IOFBF, 4096), 0);
    printf("before\n"); /* still in the buffer when the pool forks */
    pool = pool_of(2);
    for (long i = 0; i < 6; i++)
        CHECK_EQ(brood_pool_apply(pool, task_print, &i, sizeof i, NULL, 0),
                 i == 3 ? BROOD_ECRASHED : 0);
    printf("after\n");
    brood_pool_free(pool);
    CHECK_EQ(fflush(stdout), 0);
    _exit(0);
}

TEST(what_is_printed_comes_once_and_in_order_into_a_pipe)
{
    char text[4096];
    ssize_t len, total = 0;
    int ends[2], status;
    pid_t pid;

    CHECK_EQ(pipe2(ends, O_CLOEXEC), 0);
    pid = CHECK_OK(fork());
    if (pid == 0)
        print_from_pool(ends[1]);
    (void)close(ends[1]);
    while ((len = read(ends[0], text + total, sizeof text - 1 - (size_t)total)) > 0)
        total += len;
    text[total] = '\0';
    CHECK_STR(text, "before\ntask 0\ntask 1\ntask 2\ntask 4\ntask 5\nafter\n");
    (void)close(ends[0]);
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, 0);
}

/* ---- the budget of memory ---- */

static int task_give_mib(brood_task *task)
{
    void *data = brood_task_alloc(task, MIB);

    if (data == NULL)
        return -ENOMEM;
    memset(data, 7, MIB);
    return 0;
}

TEST(results_that_are_held_count_against_heap_max)
{
    brood_pool *pool =
        pool_with(&(brood_pool_options){.workers = 1, .heap_max = 4 * (uint64_t)MIB});
    brood_future *futures[6];
    int failed = 0;

    for (int i = 0; i < 6; i++) {
        futures[i] = submit(pool, task_give_mib, NULL, 0, NULL);
        if (result_of(futures[i])->verdict < 0) {
            CHECK_EQ(result_of(futures[i])->verdict, -ENOMEM);
            failed++;
        }
    }
    CHECK_EQ(failed, 2);
    CHECK_EQ(stats_of(pool).heap_used, 4 * (uint64_t)MIB);
    for (int i = 0; i < 6; i++)
        brood_future_free(futures[i]);
    CHECK_EQ(stats_of(pool).heap_used, 0);
    CHECK_EQ(brood_pool_apply(pool, task_give_mib, NULL, 0, NULL, 0), 0);
    brood_pool_free(pool);
}

TEST(an_input_waits_until_results_leave_room)
{
    static const char input[2 * MIB];
    const brood_task_options at_once = {.room_wait_ms = -1};
    brood_pool *pool =
        pool_with(&(brood_pool_options){.workers = 1, .heap_max = 4 * (uint64_t)MIB});
    brood_future *held[3];

    for (int i = 0; i < 3; i++) {
        held[i] = submit(pool, task_give_mib, NULL, 0, NULL);
        CHECK_EQ(result_of(held[i])->verdict, 0);
    }
    /* Nothing that is under way could make room. */
    CHECK_ERR(brood_pool_submit(pool, task_nothing, input, sizeof input, &at_once, NULL), -ENOMEM);
    brood_future_free(held[0]);
    CHECK_EQ(brood_pool_apply(pool, task_nothing, input, sizeof input, NULL, 0), 0);
    brood_future_free(held[1]);
    brood_future_free(held[2]);
    brood_pool_free(pool);
}

TEST(memory_that_came_back_can_be_taken_by_results)
{
    const brood_task_options fixed = {.out_size = MIB};
    brood_pool *pool = pool_with(&(brood_pool_options){.workers = 1, .heap_max = 3 * MIB / 2});
    brood_future *future = submit(pool, task_nothing, NULL, 0, &fixed);
    void *memory;

    CHECK_EQ(result_of(future)->verdict, 0);
    brood_future_free(future);
    CHECK_EQ(brood_pool_apply(pool, task_give_mib, NULL, 0, NULL, 0), 0);
    memory = brood_pool_alloc(pool, MIB);
    CHECK(memory != NULL);
    CHECK_EQ(brood_pool_apply(pool, task_give_mib, NULL, 0, NULL, 0), -ENOMEM);
    brood_pool_release(pool, memory);
    CHECK_EQ(brood_pool_apply(pool, task_give_mib, NULL, 0, NULL, 0), 0);
    brood_pool_free(pool);
}
