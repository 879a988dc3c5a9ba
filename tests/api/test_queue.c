/* SPDX-License-Identifier: MIT */
/*
 * What brood/queue.h promises, one by one: sizes, times, errors, memory, handles, forks and refs,
 * and that it works as well where the kernel has no futex_waitv(), with more participants than that
 * could watch, and with some of them stopped. Order and ends are in test_queue_order.c, whose a
 * message is in test_queue_owner.c, deaths in test_queue_storm.c.
 */
#include "api/queue_kit.h"
#include "harness/gate.h"
#include "harness/test.h"

#include <brood.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifndef SYS_futex_waitv /* musl's headers are older than the call */
#define SYS_futex_waitv 449
#endif

static int64_t clock_ms(clockid_t clock)
{
    struct timespec t;

    (void)clock_gettime(clock, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static bool is_asleep(pid_t pid)
{
    char path[64], text[512];
    const char *end;
    size_t len;
    FILE *file;

    (void)snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    file = fopen(path, "re");
    CHECK(file != NULL);
    len = fread(text, 1, sizeof text - 1, file);
    text[len] = '\0';
    (void)fclose(file);
    end = strrchr(text, ')');
    CHECK(end != NULL && end[2] != 'Z');
    return end[2] == 'S';
}

static pid_t start_asleep(void (*fn)(brood_queue *queue), brood_queue *queue)
{
    pid_t pid = start(fn, queue);

    while (!is_asleep(pid))
        (void)sched_yield();
    return pid;
}

/* ---- messages ---- */

static void fill(char *data, size_t len, unsigned seed)
{
    for (size_t i = 0; i < len; i += 61)
        data[i] = (char)(seed + i / 61);
    if (len > 0)
        data[len - 1] = (char)seed;
}

TEST_LIMIT(messages_of_every_size_come_out_as_they_went_in, 60)
{
    static const size_t lens[] = {0,    1,    3,     100,   239,     240,     241,      4095,
                                  4096, 4097, 65536, 70001, 1 << 20, 1 << 24, 64u << 20};
    brood_queue *queue = new_queue(NULL);
    size_t max = (size_t)64 << 20;
    char *in = calloc(1, max), *out = calloc(1, max);

    CHECK(in != NULL && out != NULL);
    for (unsigned i = 0; i < sizeof lens / sizeof *lens; i++) {
        size_t len = lens[i];
        brood_message message;

        fill(in, len, i);
        CHECK_EQ(brood_queue_put(queue, in, len, 0), 0);
        CHECK_EQ(brood_queue_put(queue, in, len, 0), 0);
        CHECK_EQ(brood_queue_get(queue, out, len, 0), 1);
        CHECK(memcmp(in, out, len) == 0);
        CHECK_EQ(brood_queue_take(queue, 0, &message), 1);
        CHECK_EQ(message.len, len);
        CHECK(memcmp(in, message.data, len) == 0);
        brood_message_done(&message);
        CHECK_EQ(message.len, 0);
    }
    free(in);
    free(out);
    brood_queue_free(queue);
}

TEST(what_is_reserved_may_be_sent_shorter_or_dropped)
{
    brood_queue *queue = new_queue(&(brood_queue_options){.capacity = 2});
    static const size_t lens[] = {10, 5000};
    char text[5000];

    for (unsigned i = 0; i < 8; i++) {
        size_t len = lens[i % 2];
        brood_message message, zero = {0};

        CHECK_EQ(brood_queue_reserve(queue, len, 0, &message), 0);
        CHECK_EQ(message.len, len);
        fill(message.data, len, i);
        if (i >= 4) {
            message.len = 7;
            CHECK_EQ(brood_queue_send(queue, &message), 0);
            CHECK_EQ(brood_queue_get(queue, text, 7, 0), 1);
        } else {
            brood_message_done(&message);
        }
        CHECK(memcmp(&message, &zero, sizeof zero) == 0);
        brood_message_done(&message);
        brood_message_return(&message);
    }
    CHECK_EQ(get_int(queue, 0), -ETIMEDOUT);
    CHECK_EQ(brood_queue_join(queue, 0), 0);
    brood_queue_free(queue);
}

TEST(a_message_longer_than_reserved_is_refused_and_stays_reserved)
{
    brood_queue *queue = new_queue(NULL);
    brood_message message;

    CHECK_EQ(brood_queue_reserve(queue, 10, 0, &message), 0);
    message.len = 11;
    CHECK_ERR(brood_queue_send(queue, &message), -EMSGSIZE);
    message.len = 10;
    CHECK_EQ(brood_queue_send(queue, &message), 0);
    CHECK_EQ(brood_queue_size(queue), 1);
    brood_queue_free(queue);
}

/* ---- errors ---- */

TEST(options_out_of_range_are_refused)
{
    brood_queue *queue = NULL;
    brood_queue_options reserved = {0};

    reserved.reserved[2] = 1;
    CHECK_ERR(brood_queue_new(NULL, NULL), -EINVAL);
    CHECK_ERR(brood_queue_new(&queue, &reserved), -EINVAL);
    CHECK_ERR(brood_queue_new(&queue, &(brood_queue_options){.capacity = (1u << 20) + 1}), -EINVAL);
    CHECK_ERR(brood_queue_new(&queue, &(brood_queue_options){.participants_max = 4095}), -EINVAL);
    CHECK_ERR(brood_queue_new(&queue, &(brood_queue_options){.pack = true}), -EINVAL);
#if SIZE_MAX > UINT32_MAX
    CHECK_ERR(brood_queue_new(&queue, &(brood_queue_options){.item_size = (size_t)UINT32_MAX + 9,
                                                             .memory_max = UINT64_C(5) << 30}),
              -EINVAL);
#endif
    CHECK(queue == NULL);
}

static void nothing_works(brood_queue *queue)
{
    brood_message message;
    char text[8];

    CHECK_ERR(brood_queue_put(queue, "", 1, 0), BROOD_EHANDLE);
    CHECK_ERR(brood_queue_get(queue, text, 1, 0), BROOD_EHANDLE);
    CHECK_ERR(brood_queue_put_many(queue, "", 1, 0), BROOD_EHANDLE);
    CHECK_ERR(brood_queue_get_many(queue, text, 1, 0), BROOD_EHANDLE);
    CHECK_ERR(brood_queue_reserve(queue, 1, 0, &message), BROOD_EHANDLE);
    CHECK_ERR(brood_queue_take(queue, 0, &message), BROOD_EHANDLE);
    CHECK_ERR(brood_queue_join(queue, 0), BROOD_EHANDLE);
    CHECK_ERR(brood_queue_size(queue), BROOD_EHANDLE);
    CHECK_ERR(brood_queue_deaths(queue), BROOD_EHANDLE);
    CHECK_ERR(brood_queue_pack(queue), BROOD_EHANDLE);
    CHECK_ERR(brood_queue_fd(queue), BROOD_EHANDLE);
    CHECK_EQ(brood_queue_ref(queue).word[0], 0);
    brood_queue_close(queue);
    brood_queue_free(queue);
}

TEST(a_handle_that_is_none_is_told)
{
    brood_queue *queue = new_queue(NULL);

    nothing_works(NULL);
    brood_queue_free(queue);
    nothing_works(queue);
}

TEST(wrong_arguments_are_told)
{
    brood_queue *queue = new_queue(NULL);
    brood_queue *items = new_queue(&(brood_queue_options){.item_size = 4});
    brood_message message = {0};
    char text[8];

    CHECK_ERR(brood_queue_put(queue, NULL, 1, 0), -EINVAL);
    CHECK_ERR(brood_queue_get(queue, NULL, 1, 0), -EINVAL);
    CHECK_ERR(brood_queue_put_many(queue, "a", 1, 0), -EINVAL);
    CHECK_ERR(brood_queue_get_many(queue, text, 1, 0), -EINVAL);
    CHECK_ERR(brood_queue_put_many(items, "abcd", 0, 0), -EINVAL);
    CHECK_ERR(brood_queue_get_many(items, text, 0, 0), -EINVAL);
    CHECK_ERR(brood_queue_put(items, "abc", 3, 0), -EMSGSIZE);
    CHECK_ERR(brood_queue_reserve(items, 5, 0, &message), -EMSGSIZE);
    CHECK_ERR(brood_queue_reserve(items, 4, 0, NULL), -EINVAL);
    CHECK_ERR(brood_queue_take(items, 0, NULL), -EINVAL);
    CHECK_ERR(brood_queue_send(queue, &message), -EINVAL);
    CHECK_EQ(brood_queue_reserve(items, 4, 0, &message), 0);
    CHECK_ERR(brood_queue_send(queue, &message), -EINVAL);
    CHECK_EQ(brood_queue_send(items, &message), 0);
    brood_queue_free(items);
    brood_queue_free(queue);
}

TEST(a_closed_queue_takes_nothing_and_gives_what_it_has)
{
    brood_queue *queue = new_queue(NULL);
    brood_message message;

    CHECK_EQ(put_int(queue, 5, 0), 0);
    brood_queue_close(queue);
    brood_queue_close(queue);
    CHECK_ERR(put_int(queue, 6, BROOD_FOREVER), BROOD_ECLOSED);
    CHECK_ERR(brood_queue_reserve(queue, 5, BROOD_FOREVER, &message), BROOD_ECLOSED);
    CHECK_EQ(get_int(queue, BROOD_FOREVER), 5);
    CHECK_EQ(brood_queue_get(queue, NULL, 0, BROOD_FOREVER), 0);
    CHECK_EQ(brood_queue_take(queue, BROOD_FOREVER, &message), 0);
    brood_queue_free(queue);
}

/* ---- time ---- */

TEST(a_wait_takes_its_time_and_no_cpu)
{
    brood_queue *queue = new_queue(&(brood_queue_options){.capacity = 1});
    int64_t start_ms = clock_ms(CLOCK_MONOTONIC);
    int64_t cpu_ms = clock_ms(CLOCK_PROCESS_CPUTIME_ID);

    CHECK_ERR(get_int(queue, 150), -ETIMEDOUT);
    CHECK(clock_ms(CLOCK_MONOTONIC) - start_ms >= 150);
    CHECK_EQ(put_int(queue, 1, 0), 0);
    CHECK_ERR(put_int(queue, 1, 150), -ETIMEDOUT);
    CHECK_ERR(brood_queue_join(queue, 150), -ETIMEDOUT);
    CHECK(clock_ms(CLOCK_MONOTONIC) - start_ms >= 450);
    CHECK(clock_ms(CLOCK_PROCESS_CPUTIME_ID) - cpu_ms < 100);
    brood_queue_free(queue);
}

static void get_one_forever(brood_queue *queue)
{
    CHECK_EQ(get_int(queue, BROOD_FOREVER), 42);
}

static void put_one_forever(brood_queue *queue)
{
    CHECK_EQ(put_int(queue, 43, BROOD_FOREVER), 0);
}

static void join_forever(brood_queue *queue)
{
    CHECK_EQ(brood_queue_join(queue, BROOD_FOREVER), 0);
}

TEST(whoever_waits_is_woken_by_what_it_waits_for)
{
    brood_queue *queue = new_queue(&(brood_queue_options){.capacity = 1});
    pid_t pid = start_asleep(get_one_forever, queue);

    CHECK_EQ(put_int(queue, 42, 0), 0);
    await(pid);
    CHECK_EQ(put_int(queue, 1, 0), 0);
    pid = start_asleep(put_one_forever, queue);
    CHECK_EQ(get_int(queue, 0), 1);
    await(pid);
    pid = start_asleep(join_forever, queue);
    CHECK_EQ(get_int(queue, 0), 43);
    await(pid);
    brood_queue_free(queue);
}

/* ---- memory ---- */

enum { PART = 300000 };

static void put_parts(brood_queue *queue)
{
    static char part[PART];

    for (unsigned i = 0; i < 30; i++) {
        fill(part, PART, i);
        CHECK_EQ(brood_queue_put(queue, part, PART, BROOD_FOREVER), 0);
    }
}

TEST(memory_max_is_kept_and_waited_for)
{
    brood_queue *queue = new_queue(&(brood_queue_options){.memory_max = 1000000});
    static char part[PART], expected[PART];
    pid_t pid = start_asleep(put_parts, queue);

    CHECK_EQ(brood_queue_size(queue), 1000000 / PART);
    CHECK_ERR(brood_queue_put(queue, part, PART, 0), -ETIMEDOUT);
    for (unsigned i = 0; i < 30; i++) {
        CHECK_EQ(brood_queue_get(queue, part, PART, BROOD_FOREVER), 1);
        fill(expected, PART, i);
        CHECK(memcmp(part, expected, PART) == 0);
    }
    await(pid);
    brood_queue_free(queue);
}

/* Also what would fit into the cells' memory, but never will. */
TEST(a_message_that_can_never_fit_is_refused_at_once)
{
    brood_queue *queue = new_queue(&(brood_queue_options){.memory_max = 100000});
    char *data = calloc(1, 200000);
    brood_message message;

    CHECK(data != NULL);
    CHECK_ERR(brood_queue_put(queue, data, 110000, BROOD_FOREVER), -EMSGSIZE);
    CHECK_ERR(brood_queue_put(queue, data, 200000, BROOD_FOREVER), -EMSGSIZE);
    CHECK_ERR(brood_queue_reserve(queue, 110000, BROOD_FOREVER, &message), -EMSGSIZE);
    CHECK_EQ(brood_queue_put(queue, data, 100000, 0), 0);
    CHECK_EQ(brood_queue_get(queue, data, 100000, 0), 1);
    free(data);
    brood_queue_free(queue);
}

/* ---- participants ---- */

static struct gate *here, *leave;

static void stay(brood_queue *queue)
{
    CHECK_EQ(brood_queue_join(queue, 0), 0);
    gate_count(here);
    gate_wait(leave);
}

static void finds_it_full(brood_queue *queue)
{
    CHECK_ERR(put_int(queue, 1, 0), -EAGAIN);
}

TEST(more_than_participants_max_threads_are_refused_until_one_has_left)
{
    brood_queue *queue = new_queue(&(brood_queue_options){.participants_max = 3});
    pid_t pids[3];

    here = gate_new();
    leave = gate_new();
    for (unsigned i = 0; i < 3; i++)
        pids[i] = start(stay, queue);
    gate_wait_count(here, 3);
    await(start(finds_it_full, queue));
    end(pids[0]);
    CHECK_EQ(put_int(queue, 42, 0), 0);
    CHECK_EQ(brood_queue_deaths(queue), 1);
    gate_open(leave);
    await(pids[1]);
    await(pids[2]);
    gate_free(here);
    gate_free(leave);
    brood_queue_free(queue);
}

TEST_LIMIT(two_hundred_participants_find_each_other, 60)
{
    enum { MANY = 200 };
    brood_queue *queue = new_queue(&(brood_queue_options){.capacity = MANY});
    pid_t pids[MANY];
    pid_t last;

    here = gate_new();
    leave = gate_new();
    for (unsigned i = 0; i < MANY; i++)
        pids[i] = start(stay, queue);
    gate_wait_count(here, MANY);
    last = start_asleep(get_one_forever, queue);
    CHECK_EQ(put_int(queue, 42, 0), 0);
    await(last);
    gate_open(leave);
    for (unsigned i = 0; i < MANY; i++)
        await(pids[i]);
    gate_free(here);
    gate_free(leave);
    brood_queue_free(queue);
}

static void take_and_stay(brood_queue *queue)
{
    brood_message message;

    CHECK_EQ(brood_queue_take(queue, 0, &message), 1);
    gate_count(here);
    for (;;)
        (void)pause();
}

TEST(a_death_ends_a_wait_if_that_is_wanted_and_what_was_taken_comes_back)
{
    brood_queue *queue = new_queue(&(brood_queue_options){.report_deaths = true});
    pid_t victim;

    here = gate_new();
    CHECK_EQ(put_int(queue, 42, 0), 0);
    victim = start(take_and_stay, queue);
    gate_wait(here);
    CHECK_EQ(brood_queue_size(queue), 0);
    end(victim);
    /* What there is to get comes first. */
    CHECK_EQ(get_int(queue, BROOD_FOREVER), 42);
    CHECK_ERR(get_int(queue, BROOD_FOREVER), BROOD_EPEER);
    CHECK_ERR(get_int(queue, 10), -ETIMEDOUT);
    CHECK_EQ(brood_queue_deaths(queue), 1);
    gate_free(here);
    brood_queue_free(queue);
}

static void hear_of_death(brood_queue *queue)
{
    CHECK_ERR(get_int(queue, BROOD_FOREVER), BROOD_EPEER);
    CHECK_ERR(get_int(queue, 10), -ETIMEDOUT);
}

TEST(a_sleeper_hears_of_a_death)
{
    brood_queue *queue = new_queue(&(brood_queue_options){.report_deaths = true});
    pid_t victim, sleeper;

    here = gate_new();
    leave = gate_new();
    victim = start(stay, queue);
    gate_wait(here);
    sleeper = start_asleep(hear_of_death, queue);
    end(victim);
    await(sleeper);
    CHECK_EQ(brood_queue_deaths(queue), 2);
    gate_free(here);
    gate_free(leave);
    brood_queue_free(queue);
}

/* ---- stopped ones ---- */

TEST(a_stopped_getter_holds_up_nobody_and_gets_its_message_when_it_goes_on)
{
    brood_queue *queue = new_queue(&(brood_queue_options){.capacity = 4});
    pid_t pid = start_asleep(get_one_forever, queue);
    siginfo_t info;

    CHECK_OK(kill(pid, SIGSTOP));
    CHECK_OK(waitid(P_PID, (id_t)pid, &info, WSTOPPED | WNOWAIT));
    for (int i = 0; i < 100; i++) {
        CHECK_EQ(put_int(queue, i, 0), 0);
        CHECK_EQ(get_int(queue, TEST_PATIENCE_MS), i);
    }
    CHECK_EQ(put_int(queue, 42, 0), 0);
    CHECK_OK(kill(pid, SIGCONT));
    await(pid);
    brood_queue_free(queue);
}

TEST(a_stopped_taker_holds_up_nobody_until_the_ring_comes_round)
{
    brood_queue *queue = new_queue(&(brood_queue_options){.capacity = 4});
    pid_t pid;

    here = gate_new();
    CHECK_EQ(put_int(queue, 42, 0), 0);
    pid = start(take_and_stay, queue);
    gate_wait(here);
    CHECK_OK(kill(pid, SIGSTOP));
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(put_int(queue, i, 0), 0);
        CHECK_EQ(get_int(queue, 0), i);
    }
    CHECK_ERR(put_int(queue, 1, 0), -ETIMEDOUT);
    end(pid);
    CHECK_EQ(get_int(queue, 0), 42);
    for (int i = 0; i < 4; i++)
        CHECK_EQ(put_int(queue, i, 0), 0);
    gate_free(here);
    brood_queue_free(queue);
}

/* ---- kernels ---- */

static void forbid_waitv(int error)
{
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_futex_waitv, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (unsigned)error),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof filter / sizeof *filter, filter};

    CHECK_OK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
    if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0)
        SKIP("no seccomp here");
}

/* Also the death of whoever was to wake a sleeper is found out: by the heartbeat. */
static void works_without_waitv(int error)
{
    brood_queue *queue;
    pid_t getter, victim;

    forbid_waitv(error);
    queue = new_queue(&(brood_queue_options){.capacity = 1});
    here = gate_new();
    getter = start_asleep(get_one_forever, queue);
    CHECK_EQ(put_int(queue, 42, 0), 0);
    await(getter);
    CHECK_EQ(put_int(queue, 42, 0), 0);
    victim = start(take_and_stay, queue);
    gate_wait(here);
    getter = start_asleep(get_one_forever, queue);
    end(victim);
    await(getter);
    gate_free(here);
    brood_queue_free(queue);
}

TEST(a_kernel_without_futex_waitv_will_do)
{
    works_without_waitv(ENOSYS);
}

TEST(a_sandbox_that_forbids_futex_waitv_will_do)
{
    works_without_waitv(EPERM);
}

/* ---- forks and refs ---- */

static void use_in_child_of_child(brood_queue *queue)
{
    pid_t pid;
    int value = get_int(queue, TEST_PATIENCE_MS);

    CHECK_EQ(value, 1);
    pid = start(put_one_forever, queue);
    await(pid);
    CHECK_EQ(put_int(queue, value + 1, 0), 0);
    brood_queue_free(queue);
}

TEST(a_queue_works_in_forked_children_and_theirs)
{
    brood_queue *queue = new_queue(NULL);

    CHECK_EQ(put_int(queue, 1, 0), 0);
    await(start(use_in_child_of_child, queue));
    CHECK_EQ(get_int(queue, 0), 43);
    CHECK_EQ(get_int(queue, 0), 2);
    brood_queue_free(queue);
}

/* A participant that forks: what it has taken is its own, and not the child's. */
static void touch(brood_queue *queue)
{
    CHECK_ERR(get_int(queue, 0), -ETIMEDOUT);
}

TEST(a_fork_of_a_participant_gives_nothing_back)
{
    brood_queue *queue = new_queue(NULL);
    brood_message message;

    CHECK_EQ(put_int(queue, 42, 0), 0);
    CHECK_EQ(brood_queue_take(queue, 0, &message), 1);
    await(start(touch, queue));
    CHECK_ERR(get_int(queue, 0), -ETIMEDOUT);
    brood_message_return(&message);
    CHECK_EQ(get_int(queue, 0), 42);
    brood_queue_free(queue);
}

static void open_and_echo(const brood_ref *ref)
{
    static char large[5000], expected[5000];
    brood_queue *queue;

    CHECK_EQ(brood_queue_open(&queue, *ref), 0);
    CHECK_EQ(get_int(queue, TEST_PATIENCE_MS), 7);
    CHECK_EQ(brood_queue_get(queue, large, sizeof large, TEST_PATIENCE_MS), 1);
    fill(expected, sizeof expected, 9);
    CHECK(memcmp(large, expected, sizeof large) == 0);
    CHECK_EQ(put_int(queue, 8, 0), 0);
    CHECK_EQ(brood_queue_pack(queue), 1);
    brood_queue_free(queue);
}

TEST(a_process_that_did_not_inherit_a_queue_opens_it_by_ref)
{
    static char large[5000];
    brood_queue *queue;
    brood_ref ref;
    int ends[2];
    pid_t pid;

    CHECK_OK(pipe2(ends, O_CLOEXEC));
    pid = CHECK_OK(fork());
    if (pid == 0) {
        CHECK_EQ(read(ends[0], &ref, sizeof ref), sizeof ref);
        open_and_echo(&ref);
        _exit(0);
    }
    queue = new_queue(NULL);
    ref = brood_queue_ref(queue);
    CHECK(ref.word[0] != 0);
    CHECK_EQ(put_int(queue, 7, 0), 0);
    fill(large, sizeof large, 9);
    CHECK_EQ(brood_queue_put(queue, large, sizeof large, 0), 0);
    CHECK_EQ(write(ends[1], &ref, sizeof ref), sizeof ref);
    await(pid);
    CHECK_EQ(get_int(queue, 0), 8);
    (void)close(ends[0]);
    (void)close(ends[1]);
    brood_queue_free(queue);
}

TEST(a_ref_of_something_else_opens_no_queue)
{
    brood_queue *queue = NULL;
    brood_region *region = NULL;
    void *memory;

    CHECK_OK(brood_region_new(&region, &(brood_region_options){.size_max = 100000}));
    memory = brood_region_alloc(region, 100);
    CHECK_ERR(brood_queue_open(&queue, brood_region_ref(region, memory)), -EINVAL);
    CHECK_ERR(brood_queue_open(&queue, (brood_ref){{0, 0}}), -EINVAL);
    CHECK_ERR(brood_queue_open(NULL, brood_region_ref(region, memory)), -EINVAL);
    CHECK(queue == NULL);
    brood_region_free(region);
}

/* ---- the descriptor ---- */

TEST(a_descriptor_is_readable_when_there_is_something_to_get)
{
    brood_queue *queue = new_queue(&(brood_queue_options){.capacity = 2});
    int fd = CHECK_OK(brood_queue_fd(queue));

    CHECK_EQ(brood_queue_fd(queue), fd);
    for (int i = 0; i < 50; i++) {
        CHECK(!polls(fd, 0));
        CHECK_EQ(put_int(queue, i, 0), 0);
        CHECK(polls(fd, (int)TEST_PATIENCE_MS));
        CHECK_EQ(get_int(queue, 0), i);
    }
    brood_queue_close(queue);
    CHECK(polls(fd, (int)TEST_PATIENCE_MS));
    brood_queue_free(queue);
}

TEST(a_descriptor_does_not_tell_again_of_a_death_that_a_put_was_told_of)
{
    brood_queue *queue = new_queue(&(brood_queue_options){.report_deaths = true, .capacity = 1});
    int fd = CHECK_OK(brood_queue_fd(queue));
    brood_message message = {0};

    end(start_asleep(get_one_forever, queue));
    CHECK(polls(fd, (int)TEST_PATIENCE_MS));
    CHECK_OK(brood_queue_reserve(queue, sizeof(int), 0, &message));
    CHECK_ERR(put_int(queue, 1, 0), BROOD_EPEER);
    CHECK(!polls(fd, 0));
    brood_message_done(&message);
    brood_queue_free(queue);
}

static void watch_and_get_last(brood_queue *queue)
{
    int fd = CHECK_OK(brood_queue_fd(queue));
    int64_t cpu_ms;

    gate_count(here);
    cpu_ms = clock_ms(CLOCK_PROCESS_CPUTIME_ID);
    gate_wait(leave);
    CHECK(clock_ms(CLOCK_PROCESS_CPUTIME_ID) - cpu_ms < 150);
    (void)fd;
    brood_queue_free(queue);
}

/* A ring that finds nothing to get any more must not go round between watches. */
TEST(two_descriptors_of_an_empty_queue_cost_no_cpu)
{
    brood_queue *queue = new_queue(NULL);
    pid_t pids[2];

    here = gate_new();
    leave = gate_new();
    for (unsigned i = 0; i < 2; i++)
        pids[i] = start(watch_and_get_last, queue);
    gate_wait_count(here, 2);
    for (int i = 0; i < 300; i++) {
        CHECK_EQ(put_int(queue, i, 0), 0);
        CHECK_EQ(get_int(queue, 0), i);
    }
    CHECK_ERR(get_int(queue, 500), -ETIMEDOUT);
    gate_open(leave);
    await(pids[0]);
    await(pids[1]);
    gate_free(here);
    gate_free(leave);
    brood_queue_free(queue);
}
