/* SPDX-License-Identifier: MIT */
/* Map: one function over an array, copied and in place, by item and by range, with failures. */
#include "api/pool_kit.h"

#include <limits.h>
#include <pthread.h>

static int item_square(brood_task *task)
{
    const long *x = task->in;

    if (task->in_len != sizeof *x || task->out_size != sizeof *x || task->count != 1 ||
        (long)task->index != *x)
        return -EBADMSG;
    *(long *)task->out = *x * *x;
    return 0;
}

static int range_square(brood_task *task)
{
    const long *x = task->in;
    long *y = task->out;

    if (task->in_len != task->count * sizeof *x || task->out_size != task->count * sizeof *y ||
        (long)task->index != x[0])
        return -EBADMSG;
    for (size_t i = 0; i < task->count; i++)
        y[i] = x[i] * x[i];
    return 0;
}

static void count_up(long *numbers, long count)
{
    for (long i = 0; i < count; i++)
        numbers[i] = i;
}

static void check_squares(const long *squares, long count)
{
    for (long i = 0; i < count; i++)
        CHECK_EQ(squares[i], i * i);
}

static void map_squares(brood_pool *pool, size_t count, bool ranges, bool in_in_place,
                        bool out_in_place)
{
    long *in =
        in_in_place ? brood_pool_alloc(pool, count * sizeof *in) : malloc(count * sizeof *in + 1);
    long *out = out_in_place ? brood_pool_alloc(pool, count * sizeof *out)
                             : malloc(count * sizeof *out + 1);

    CHECK(in != NULL && out != NULL);
    count_up(in, (long)count);
    CHECK_EQ(brood_pool_map(pool, ranges ? range_square : item_square, BROOD_IN(in, count),
                            BROOD_OUT(out, count), &(brood_map_options){.ranges = ranges}),
             0);
    check_squares(out, (long)count);
    if (in_in_place)
        brood_pool_release(pool, in);
    else
        free(in);
    if (out_in_place)
        brood_pool_release(pool, out);
    else
        free(out);
}

TEST(a_map_works_copied_and_in_place_by_item_and_by_range)
{
    const size_t counts[] = {1, 2, 3, 17, 1000, 30000};
    brood_pool *pool = pool_of(2);

    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++)
        for (int how = 0; how < 8; how++)
            map_squares(pool, counts[i], how & 1, how & 2, how & 4);
    CHECK_EQ(stats_of(pool).heap_used, 0);
    brood_pool_free(pool);
}

TEST(a_map_over_nothing_is_nothing)
{
    brood_pool *pool = pool_of(1);
    long *in = NULL, *out = NULL;

    CHECK_EQ(brood_pool_map(pool, item_square, BROOD_IN(in, 0), BROOD_OUT(out, 0), NULL), 0);
    CHECK_EQ(stats_of(pool).submitted, 0);
    brood_pool_free(pool);
}

TEST(bad_arrays_are_refused)
{
    brood_pool *pool = pool_of(1);
    long in[4] = {0}, out[4] = {0}, *none = NULL;
    brood_map_options reserved = {.reserved = {0, 0, 0, 1}};

    CHECK_ERR(brood_pool_map(pool, NULL, BROOD_IN(in, 4), BROOD_OUT(out, 4), NULL), -EINVAL);
    CHECK_ERR(brood_pool_map(pool, item_square, BROOD_IN(none, 4), BROOD_OUT(out, 4), NULL),
              -EINVAL);
    CHECK_ERR(brood_pool_map(pool, item_square, BROOD_IN(in, 4), BROOD_OUT(out, 3), NULL), -EINVAL);
    CHECK_ERR(brood_pool_map(pool, item_square, BROOD_IN(in, 4), brood_out_of(out, 0, 4), NULL),
              -EINVAL);
    CHECK_ERR(
        brood_pool_map(pool, item_square, brood_in_of(in, SIZE_MAX / 2, 4), BROOD_NO_OUT, NULL),
        -EINVAL);
    CHECK_ERR(
        brood_pool_map(pool, item_square, brood_in_of(in, 8, SIZE_MAX / 4), BROOD_NO_OUT, NULL),
        -EINVAL);
    CHECK_ERR(
        brood_pool_map(pool, item_square, BROOD_IN(in, 4), BROOD_OUT(out, SIZE_MAX / 4), NULL),
        -EINVAL);
    CHECK_ERR(brood_pool_map(pool, item_square, BROOD_IN(in, 4), BROOD_OUT(out, 4), &reserved),
              -EINVAL);
    CHECK_EQ(stats_of(pool).submitted, 0);
    brood_pool_free(pool);
}

static int item_counts(brood_task *task)
{
    gate_count((struct gate *)(uintptr_t)task->context);
    return task->in == NULL && task->out == NULL ? 0 : -EBADMSG;
}

TEST(a_map_without_arrays_calls_the_function_for_each_index_once)
{
    struct gate *calls = gate_new();
    brood_pool *pool = pool_with(&(brood_pool_options){.workers = 2, .context = calls});

    CHECK_EQ(brood_pool_map(pool, item_counts, brood_in_of(NULL, 0, 1234), BROOD_NO_OUT, NULL), 0);
    CHECK_EQ(gate_counted(calls), 1234);
    brood_pool_free(pool);
    gate_free(calls);
}

/* ---- failures ---- */

/* Items of the kinds 0 to 9: what they do is known to both sides. */
static int kind_of(long item)
{
    return (int)(item * 7 % 100);
}

static int item_of_all_kinds(brood_task *task)
{
    const long *x = task->in;

    switch (kind_of(*x)) {
    case 1:
        return -EIO;
    case 2:
        (void)kill(getpid(), SIGKILL);
        return 0;
    case 3:
        abort();
    case 4:
        _exit(0);
    default:
        *(long *)task->out = *x * *x;
        return 0;
    }
}

static int verdict_of_kind(int kind)
{
    return kind == 1 ? -EIO : kind >= 2 && kind <= 4 ? BROOD_ECRASHED : 0;
}

struct failures {
    pthread_t thread;
    int count;
    bool *seen;
};

static void on_fail(const brood_result *result, void *context)
{
    struct failures *failures = context;

    CHECK(pthread_equal(failures->thread, pthread_self()));
    CHECK_EQ(result->verdict, verdict_of_kind(kind_of((long)result->index)));
    CHECK_EQ(result->verdict, result->outcome.verdict);
    CHECK(!failures->seen[result->index]);
    if (kind_of((long)result->index) == 2)
        CHECK_EQ(result->outcome.signal, SIGKILL);
    if (kind_of((long)result->index) == 3)
        CHECK_EQ(result->outcome.signal, SIGABRT);
    failures->seen[result->index] = true;
    failures->count++;
}

static void fail_alone(bool in_place)
{
    enum { COUNT = 3000 };
    static bool seen[COUNT];
    static int verdicts[COUNT];
    brood_pool *pool = pool_of(2);
    struct failures failures = {pthread_self(), 0, seen};
    long *in = brood_pool_alloc(pool, COUNT * sizeof *in), *copy = malloc(COUNT * sizeof *copy);
    long *out =
        in_place ? brood_pool_alloc(pool, COUNT * sizeof *out) : malloc(COUNT * sizeof *out);
    int failed;

    count_up(in, COUNT);
    count_up(copy, COUNT);
    failed = brood_pool_map(
        pool, item_of_all_kinds, BROOD_IN(in_place ? in : copy, COUNT), BROOD_OUT(out, COUNT),
        &(brood_map_options){
            .verdicts = verdicts, .on_fail = on_fail, .on_fail_context = &failures});
    CHECK_EQ(failed, COUNT / 100 * 4);
    CHECK_EQ(failures.count, failed);
    CHECK_EQ(stats_of(pool).worker_deaths, COUNT / 100 * 3);
    for (long i = 0; i < COUNT; i++) {
        CHECK_EQ(verdicts[i], verdict_of_kind(kind_of(i)));
        CHECK_EQ(out[i], verdicts[i] < 0 ? 0 : i * i);
    }
    if (!in_place)
        free(out);
    free(copy);
    brood_pool_free(pool);
}

TEST_LIMIT(items_that_fail_fail_alone_copied, 60)
{
    fail_alone(false);
}

TEST_LIMIT(items_that_fail_fail_alone_in_place, 60)
{
    fail_alone(true);
}

static int range_of_all_kinds(brood_task *task)
{
    const long *x = task->in;
    long *y = task->out;

    for (size_t i = 0; i < task->count; i++) {
        if (x[i] == 555)
            (void)kill(getpid(), SIGKILL);
        y[i] = x[i] * x[i];
    }
    return 0;
}

TEST(items_of_a_range_fail_together)
{
    enum { COUNT = 1000 };
    static long in[COUNT], out[COUNT];
    static int verdicts[COUNT];
    brood_pool *pool = pool_of(2);
    int failed, counted = 0;

    count_up(in, COUNT);
    failed = brood_pool_map(pool, range_of_all_kinds, BROOD_IN(in, COUNT), BROOD_OUT(out, COUNT),
                            &(brood_map_options){.ranges = true, .verdicts = verdicts});
    CHECK(failed >= 1);
    CHECK(failed < COUNT);
    CHECK_EQ(verdicts[555], BROOD_ECRASHED);
    for (long i = 0; i < COUNT; i++) {
        counted += verdicts[i] < 0;
        CHECK_EQ(out[i], verdicts[i] < 0 ? 0 : i * i);
    }
    CHECK_EQ(counted, failed);
    CHECK_EQ(stats_of(pool).worker_deaths, 1);
    brood_pool_free(pool);
}

static int item_needs_attempts(brood_task *task)
{
    const long *x = task->in;

    if (*x % 50 == 7 && task->attempt < 2)
        (void)kill(getpid(), SIGKILL);
    if (*x % 50 != 7 && task->attempt != 0)
        return -EBADMSG;
    *(long *)task->out = *x * *x;
    return 0;
}

TEST_LIMIT(items_that_crash_are_tried_again, 60)
{
    enum { COUNT = 500 };
    static long in[COUNT], out[COUNT];
    brood_pool *pool = pool_with(&(brood_pool_options){.workers = 2, .strikes_max = 10});

    count_up(in, COUNT);
    CHECK_EQ(brood_pool_map(pool, item_needs_attempts, BROOD_IN(in, COUNT), BROOD_OUT(out, COUNT),
                            &(brood_map_options){.retries = 2}),
             0);
    check_squares(out, COUNT);
    CHECK_EQ(stats_of(pool).retried, 20);
    CHECK_EQ(stats_of(pool).worker_deaths, 20);
    CHECK_EQ(brood_pool_map(pool, item_needs_attempts, BROOD_IN(in, COUNT), BROOD_OUT(out, COUNT),
                            &(brood_map_options){.retries = 1}),
             10);
    brood_pool_free(pool);
}

static int item_hangs_sometimes(brood_task *task)
{
    const long *x = task->in;

    if (*x % 100 == 50)
        for (;;)
            (void)pause();
    *(long *)task->out = *x * *x;
    return 0;
}

TEST(the_timeout_of_a_map_is_for_each_item)
{
    enum { COUNT = 400 };
    static long in[COUNT], out[COUNT];
    static int verdicts[COUNT];
    brood_pool *pool = pool_of(2);

    count_up(in, COUNT);
    CHECK_EQ(brood_pool_map(pool, item_hangs_sometimes, BROOD_IN(in, COUNT), BROOD_OUT(out, COUNT),
                            &(brood_map_options){.timeout_ms = 300, .verdicts = verdicts}),
             4);
    for (long i = 0; i < COUNT; i++) {
        CHECK_EQ(verdicts[i], i % 100 == 50 ? BROOD_EDEADLINE : 0);
        CHECK_EQ(out[i], i % 100 == 50 ? 0 : i * i);
    }
    brood_pool_free(pool);
}

static int item_fails_first(brood_task *task)
{
    gate_count((struct gate *)(uintptr_t)task->context);
    return task->index == 0 ? -EIO : 0;
}

TEST(stop_on_fail_cancels_what_has_not_begun)
{
    enum { COUNT = 100000 };
    struct gate *calls = gate_new();
    static int verdicts[COUNT];
    brood_pool *pool = pool_with(&(brood_pool_options){.workers = 1, .context = calls});
    int cancelled = 0, failed;

    failed = brood_pool_map(pool, item_fails_first, brood_in_of(NULL, 0, COUNT), BROOD_NO_OUT,
                            &(brood_map_options){.stop_on_fail = true, .verdicts = verdicts});
    CHECK_EQ(verdicts[0], -EIO);
    for (int i = 1; i < COUNT; i++) {
        CHECK(verdicts[i] == 0 || verdicts[i] == BROOD_ECANCELLED);
        cancelled += verdicts[i] == BROOD_ECANCELLED;
    }
    CHECK_EQ(failed, cancelled + 1);
    CHECK(cancelled > COUNT / 4);
    CHECK_EQ(gate_counted(calls), COUNT - cancelled);
    brood_pool_free(pool);
    gate_free(calls);
}

struct nested {
    brood_pool *pool;
    int calls;
};

static void use_the_pool(const brood_result *result, void *context)
{
    struct nested *nested = context;
    long x = 9, y = 0;

    (void)result;
    CHECK_EQ(brood_pool_apply(nested->pool, task_square, &x, sizeof x, &y, sizeof y), 0);
    CHECK_EQ(y, 81);
    nested->calls++;
}

TEST(on_fail_may_use_the_pool)
{
    brood_pool *pool = pool_of(1);
    struct nested nested = {pool, 0};
    int codes[60];

    for (int i = 0; i < 60; i++)
        codes[i] = i % 6 == 0 ? -1 : 0;
    CHECK_EQ(
        brood_pool_map(pool, task_return_code, BROOD_IN(codes, 60), BROOD_NO_OUT,
                       &(brood_map_options){.on_fail = use_the_pool, .on_fail_context = &nested}),
        10);
    CHECK_EQ(nested.calls, 10);
    brood_pool_free(pool);
}

static void *map_in_thread(void *pool)
{
    for (int i = 0; i < 20; i++)
        map_squares(pool, 2000, i % 2 == 0, false, i % 3 == 0);
    return NULL;
}

TEST(several_threads_may_map_over_one_pool)
{
    brood_pool *pool = pool_with(&(brood_pool_options){.workers = 2, .backlog_max = 3});
    pthread_t threads[3];

    for (int i = 0; i < 3; i++)
        CHECK_EQ(pthread_create(&threads[i], NULL, map_in_thread, pool), 0);
    for (int i = 0; i < 3; i++)
        CHECK_EQ(pthread_join(threads[i], NULL), 0);
    brood_pool_free(pool);
}

TEST(a_map_larger_than_the_heap_goes_through_it)
{
    enum { COUNT = 4 << 20 };
    brood_pool *pool =
        pool_with(&(brood_pool_options){.workers = 2, .heap_max = 4 * (uint64_t)MIB});
    long *in = malloc(COUNT * sizeof *in), *out = malloc(COUNT * sizeof *out);

    count_up(in, COUNT);
    CHECK_EQ(brood_pool_map(pool, range_square, BROOD_IN(in, COUNT), BROOD_OUT(out, COUNT),
                            &(brood_map_options){.ranges = true}),
             0);
    for (long i = 0; i < COUNT; i += 97)
        CHECK_EQ(out[i], i * i);
    brood_pool_free(pool);
    free(in);
    free(out);
}

TEST(items_too_large_for_the_heap_are_no_memory)
{
    brood_pool *pool = pool_with(&(brood_pool_options){.workers = 1, .heap_max = MIB});
    char *in = calloc(2, 2 * MIB);

    CHECK_ERR(brood_pool_map(pool, task_nothing, brood_in_of(in, 2 * MIB, 2), BROOD_NO_OUT, NULL),
              -ENOMEM);
    check_works(pool);
    CHECK_EQ(stats_of(pool).heap_used, 0);
    brood_pool_free(pool);
    free(in);
}

TEST(large_items_are_mapped_one_by_one)
{
    enum { COUNT = 20, LEN = MIB };
    brood_pool *pool = pool_of(2);
    unsigned char *in = malloc((size_t)COUNT * LEN);
    int codes[COUNT];

    for (int i = 0; i < COUNT; i++)
        memset(in + (size_t)i * LEN, 0, LEN);
    CHECK_EQ(brood_pool_map(pool, task_return_code, brood_in_of(in, LEN, COUNT), BROOD_NO_OUT,
                            &(brood_map_options){.verdicts = codes}),
             0);
    brood_pool_free(pool);
    free(in);
}

struct closing {
    brood_pool *pool;
    int result;
};

static int item_waits_for_close(brood_task *task)
{
    struct two_gates *gates = (struct two_gates *)(uintptr_t)task->context;

    gate_open(gates->runs);
    return gate_wait_ms(gates->go, -1) ? 0 : -ETIMEDOUT;
}

static void *map_and_note(void *argument)
{
    struct closing *closing = argument;

    closing->result = brood_pool_map(closing->pool, item_waits_for_close,
                                     brood_in_of(NULL, 0, 1000), BROOD_NO_OUT, NULL);
    return NULL;
}

TEST(a_map_under_way_when_the_pool_is_closed_goes_on_to_its_end)
{
    struct two_gates gates = {gate_new(), gate_new()};
    struct closing closing = {
        .pool = pool_with(&(brood_pool_options){.workers = 2, .context = &gates})};
    pthread_t thread;

    CHECK_EQ(pthread_create(&thread, NULL, map_and_note, &closing), 0);
    gate_wait(gates.runs);
    brood_pool_close(closing.pool);
    gate_open(gates.go);
    CHECK_EQ(pthread_join(thread, NULL), 0);
    CHECK_EQ(closing.result, 0);
    brood_pool_free(closing.pool);
    gate_free(gates.runs);
    gate_free(gates.go);
}

struct page {
    char bytes[64 * 1024];
};

static int copy_page(brood_task *task)
{
    memcpy(task->out, task->in, sizeof(struct page));
    return 0;
}

TEST(a_map_whose_own_chunks_fill_the_heap_goes_on)
{
    enum { PAGES = 64 };
    brood_pool *pool = pool_with(&(brood_pool_options){.workers = 4, .heap_max = 600 * 1024});
    struct page *in = calloc(PAGES, sizeof *in), *out = calloc(PAGES, sizeof *out);

    CHECK(in != NULL && out != NULL);
    for (int i = 0; i < PAGES; i++)
        memset(in[i].bytes, i + 1, sizeof in[i].bytes);
    CHECK_EQ(brood_pool_map(pool, copy_page, BROOD_IN(in, PAGES), BROOD_OUT(out, PAGES), NULL), 0);
    CHECK(memcmp(in, out, PAGES * sizeof *in) == 0);
    free(in);
    free(out);
    brood_pool_free(pool);
}
