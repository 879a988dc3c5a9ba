/* SPDX-License-Identifier: MIT */
/*
 * Sixteen bytes become a descriptor in another process, and nobody can spoil that: not a server
 * that died, stopped or forked, not an asker that says nothing, not a liar that took the name, not
 * a process without room. Promise: an asker has an answer within two seconds, and a precise one.
 */
#include "harness/gate.h"
#include "harness/sweep.h"
#include "harness/test.h"

#include "base/clock.h"
#include "ipc/serve.h"
#include "sys/kernel.h"
#include "sys/self.h"
#include "sys/sockets.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static uint64_t new_number(void)
{
    uint64_t number = 0;

    CHECK_OK(brood__serve_number(&number));
    CHECK(number != 0);
    return number;
}

static int new_object(void)
{
    return CHECK_OK(brood__memory_object("served", 4096));
}

static void *return_at_once(void *unused)
{
    return unused;
}

/* How many threads there are without one of brood's. A sanitizer may add some with the first. */
static int usual_threads(void)
{
    pthread_t thread;

    CHECK_EQ(pthread_create(&thread, NULL, return_at_once, NULL), 0);
    CHECK_EQ(pthread_join(thread, NULL), 0);
    return CHECK_OK(brood__thread_count());
}

/* The thread that gave away its last ends by itself. */
static void await_threads(int usual)
{
    int64_t deadline = deadline_in(TEST_PATIENCE_MS);

    while (brood__thread_count() != usual) {
        CHECK(now_ns() < deadline);
        (void)sched_yield();
    }
}

static void check_gives(uint64_t number, uint64_t inode)
{
    int fd = CHECK_OK(brood__serve_ask(number));

    CHECK_EQ(brood__fd_inode(fd), inode);
    brood__fd_close(fd);
}

/* A child that serves OBJECT, and lives until it is killed. */
static pid_t start_server(uint64_t number, int object, void (*then)(void *), void *context)
{
    struct gate *serves = gate_new();
    pid_t pid = CHECK_OK(fork());

    if (pid == 0) {
        CHECK_OK(brood__serve(number, object, false));
        if (then != NULL)
            then(context);
        gate_open(serves);
        for (;;)
            (void)pause();
    }
    gate_wait(serves);
    gate_free(serves);
    return pid;
}

static void end_process(pid_t pid)
{
    CHECK_OK(kill(pid, SIGKILL));
    CHECK_EQ(waitpid(pid, NULL, 0), pid);
}

TEST(who_asks_gets_the_object_in_any_process)
{
    uint64_t number = new_number();
    int object = new_object();
    uint64_t inode = brood__fd_inode(object);
    int status;
    pid_t pid;

    CHECK_OK(brood__serve(number, object, false));
    CHECK_OK(brood__serve(number, object, false));
    check_gives(number, inode);
    pid = CHECK_OK(fork());
    if (pid == 0) {
        check_gives(number, inode);
        _exit(0);
    }
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, 0);
    brood__serve_stop(number);
    CHECK_ERR(brood__serve_ask(number), BROOD_EREF);
    brood__serve_stop(number);
    close(object);
}

TEST(many_numbers_are_served_by_one_thread_that_ends_with_the_last)
{
    const int usual = usual_threads();
    enum { COUNT = 200 };
    uint64_t numbers[COUNT];
    int object = new_object();

    for (int i = 0; i < COUNT; i++) {
        numbers[i] = new_number();
        CHECK_OK(brood__serve(numbers[i], object, false));
    }
    CHECK_EQ(brood__thread_count(), usual + 1);
    for (int i = 0; i < COUNT; i++) {
        check_gives(numbers[i], brood__fd_inode(object));
        brood__serve_stop(numbers[i]);
    }
    CHECK_EQ(brood__thread_count(), usual);
    close(object);
}

TEST(what_is_given_once_is_given_once_and_the_thread_leaves)
{
    const int usual = usual_threads();
    for (int round = 0; round < 20; round++) {
        uint64_t number = new_number();
        int object = new_object();
        uint64_t inode = brood__fd_inode(object);

        CHECK_OK(brood__serve(number, object, true));
        check_gives(number, inode);
        CHECK_ERR(brood__serve_ask(number), BROOD_EREF);
    }
    await_threads(usual);
}

TEST(a_fork_beside_a_leaving_thread_is_no_fork_beside_a_users_thread)
{
    const int usual = usual_threads();
    if (TEST_TSAN)
        SKIP("it has a thread of its own");
    for (int round = 0; round < 50; round++) {
        uint64_t number = new_number();
        int fd, r;

        CHECK_OK(brood__serve(number, new_object(), true));
        r = CHECK_OK(brood__fork_guarded(false));
        if (r == 0)
            _exit(0);
        CHECK_EQ(waitpid(r, NULL, 0), r);
        fd = CHECK_OK(brood__serve_ask(number));
        r = CHECK_OK(brood__fork_guarded(false));
        if (r == 0)
            _exit(0);
        CHECK_EQ(waitpid(r, NULL, 0), r);
        close(fd);
    }
    await_threads(usual);
}

TEST(nobody_serves_what_a_killed_process_served)
{
    uint64_t number = new_number();
    int object = new_object();
    pid_t pid = start_server(number, object, NULL, NULL);

    check_gives(number, brood__fd_inode(object));
    end_process(pid);
    CHECK_ERR(brood__serve_ask(number), BROOD_EREF);
    close(object);
}

static void fork_a_witness(void *context)
{
    pid_t *witness = context;
    pid_t pid = CHECK_OK(fork());

    if (pid == 0)
        for (;;)
            (void)pause();
    *witness = pid;
}

TEST(a_forked_child_does_not_keep_the_name_of_its_dead_parent)
{
    uint64_t number = new_number();
    int object = new_object();
    int64_t start;
    void *memory = NULL;
    pid_t server;

    CHECK_OK(prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0));
    CHECK_OK(brood__memory_map_family(&memory, 4096));
    server = start_server(number, object, fork_a_witness, memory);
    end_process(server);
    start = now_ns();
    CHECK_ERR(brood__serve_ask(number), BROOD_EREF);
    CHECK(now_ns() - start < 1000000000);
    end_process(*(pid_t *)memory);
    brood__memory_unmap(memory, 4096);
    close(object);
}

TEST(a_child_serves_for_itself_and_its_parent_for_itself)
{
    uint64_t number = new_number();
    int object = new_object();
    pid_t pid;

    CHECK_OK(brood__serve(number, object, false));
    pid = start_server(number, object, NULL, NULL);
    check_gives(number, brood__fd_inode(object));
    brood__serve_stop(number);
    check_gives(number, brood__fd_inode(object));
    end_process(pid);
    CHECK_ERR(brood__serve_ask(number), BROOD_EREF);
    close(object);
}

TEST(a_stopped_server_costs_two_seconds)
{
    uint64_t number = new_number();
    int object = new_object();
    pid_t pid = start_server(number, object, NULL, NULL);
    int64_t start;

    CHECK_OK(kill(pid, SIGSTOP));
    CHECK_EQ(waitpid(pid, NULL, WUNTRACED), pid);
    start = now_ns();
    CHECK_ERR(brood__serve_ask(number), -ETIMEDOUT);
    CHECK(now_ns() - start >= 1900000000);
    CHECK(now_ns() - start < 4000000000 * (int64_t)test_time_factor());
    end_process(pid);
    close(object);
}

TEST(a_stopped_server_holds_up_nobody_whom_another_one_serves)
{
    uint64_t number = new_number();
    int object = new_object();
    pid_t first = start_server(number, object, NULL, NULL);
    pid_t second = start_server(number, object, NULL, NULL);
    int64_t start;

    CHECK_OK(kill(first, SIGSTOP));
    CHECK_EQ(waitpid(first, NULL, WUNTRACED), first);
    start = now_ns();
    check_gives(number, brood__fd_inode(object));
    CHECK(now_ns() - start < 1500000000);
    end_process(second);
    CHECK_ERR(brood__serve_ask(number), -ETIMEDOUT);
    end_process(first);
    close(object);
}

TEST_LIMIT(one_more_than_there_are_places_serves_when_one_is_free_and_it_is_told_again, 60)
{
    uint64_t number = new_number();
    int object = new_object();
    pid_t pids[SERVE_PLACES];

    for (int i = 0; i < SERVE_PLACES; i++)
        pids[i] = start_server(number, object, NULL, NULL);
    CHECK_OK(brood__serve(number, object, false)); /* finds no place */
    check_gives(number, brood__fd_inode(object));
    for (int i = 0; i < SERVE_PLACES; i++)
        end_process(pids[i]);
    CHECK_ERR(brood__serve_ask(number), BROOD_EREF);
    CHECK_OK(brood__serve(number, object, false));
    check_gives(number, brood__fd_inode(object));
    brood__serve_stop(number);
    close(object);
}

TEST(what_is_given_once_and_finds_no_place_is_refused)
{
    uint64_t number = new_number();
    int object = new_object(), once = CHECK_OK(brood__fd_duplicate(object));
    pid_t pids[SERVE_PLACES];

    for (int i = 0; i < SERVE_PLACES; i++)
        pids[i] = start_server(number, object, NULL, NULL);
    CHECK_ERR(brood__serve(number, once, true), -EADDRINUSE);
    CHECK_EQ(brood__fd_inode(once), 0);
    for (int i = 0; i < SERVE_PLACES; i++)
        end_process(pids[i]);
    close(object);
}

/* ---- those who do not behave ---- */

static void make_name(uint64_t number, char name[48])
{
    (void)snprintf(name, 48, "brood-%016" PRIx64 "-0", number);
}

TEST(who_connects_and_says_nothing_holds_up_nobody)
{
    enum { SILENT = 200 };
    uint64_t number = new_number();
    int object = new_object();
    int silent[SILENT];
    char name[48];

    make_name(number, name);
    CHECK_OK(brood__serve(number, object, false));
    for (int i = 0; i < SILENT; i++)
        silent[i] = CHECK_OK(brood__socket_connect(name, deadline_in(TEST_PATIENCE_MS)));
    check_gives(number, brood__fd_inode(object));
    for (int i = 0; i < SILENT; i++)
        close(silent[i]);
    brood__serve_stop(number);
    close(object);
}

static void *ask_often(void *context)
{
    uint64_t number = *(const uint64_t *)context;

    for (int i = 0; i < 300; i++)
        brood__fd_close(CHECK_OK(brood__serve_ask(number)));
    return NULL;
}

TEST(many_askers_at_once_are_all_answered)
{
    uint64_t number = new_number();
    int object = new_object();
    pthread_t threads[8];

    CHECK_OK(brood__serve(number, object, false));
    for (int i = 0; i < 8; i++)
        CHECK_EQ(pthread_create(&threads[i], NULL, ask_often, &number), 0);
    for (int i = 0; i < 8; i++)
        CHECK_EQ(pthread_join(threads[i], NULL), 0);
    brood__serve_stop(number);
    close(object);
}

static int other_user(void *context, int (*body)(void *))
{
    int status;
    pid_t pid = CHECK_OK(fork());

    if (pid == 0) {
        if (setresuid(65534, 65534, 65534) < 0)
            _exit(77);
        _exit(body(context));
    }
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    return WEXITSTATUS(status);
}

static int ask_and_tell(void *context)
{
    return -brood__serve_ask(*(uint64_t *)context);
}

TEST(another_user_gets_nothing_and_gives_nothing)
{
    uint64_t number = new_number();
    int object = new_object();
    int told;

    CHECK_OK(brood__serve(number, object, false));
    told = other_user(&number, ask_and_tell);
    brood__serve_stop(number);
    close(object);
    if (told == 77)
        SKIP("needs to be root");
    CHECK_EQ(told, EPERM);
}

/* What a liar with the right name answers, and what the asker makes of it. */
struct lie {
    const char *bytes;
    size_t len;
    unsigned fd_count;
    int expected;
};

struct liar {
    const struct lie *lie;
    int listener;
};

static void *tell_lie(void *context)
{
    const struct liar *liar = context;
    const struct lie *lie = liar->lie;
    int listener = liar->listener;
    struct pollfd waited = {.fd = listener, .events = POLLIN};
    const struct iovec part = {.iov_base = (void *)(uintptr_t)lie->bytes, .iov_len = lie->len};
    int fds[3] = {listener, listener, listener};
    int asker;

    CHECK_EQ(brood__fd_wait(&waited, 1, deadline_in(TEST_PATIENCE_MS)), 1);
    asker = CHECK_OK(brood__socket_accept(listener));
    CHECK_OK(brood__socket_send_parts(asker, &part, 1, fds, lie->fd_count));
    close(asker);
    return NULL;
}

TEST(a_liar_with_the_right_name_is_not_believed)
{
    static const struct lie lies[] = {
        {"", 0, 0, BROOD_EREF},
        {"x", 1, 0, -EPROTO},
        {"x", 1, 1, -EPROTO},
        {"xxxxxxxx", 8, 1, -EPROTO},
        {"dorb\0\0\0\0", 8, 2, -EPROTO},
        {"dorb\0\0\0\0", 8, 3, -EPROTO},
        {"dorb\0\0\0\0", 8, 0, -EMFILE},
        {"dorb\0\0\0\0\0", 9, 1, -EPROTO},
        {"dorb\1\0\0\0", 8, 1, -EPROTO},
        {"dorb\xff\xff\xff\xff", 8, 1, -EPROTO},
        {"dorb\xff\xff\xff\xff", 8, 0, -EPERM},
        {"dorb\xf4\xff\xff\xff", 8, 0, -ENOMEM},
        {"dorb\xf4\xff\xff\xff", 8, 1, -EPROTO},
        {"dorb\xf5\xff\xff\xff", 8, 0, -EPROTO},
    };

    for (size_t i = 0; i < sizeof lies / sizeof lies[0]; i++) {
        struct liar liar = {.lie = &lies[i]};
        uint64_t number = new_number();
        char name[48];
        pthread_t thread;

        make_name(number, name);
        liar.listener = CHECK_OK(brood__socket_listen(name));
        CHECK_EQ(pthread_create(&thread, NULL, tell_lie, &liar), 0);
        CHECK_ERR(brood__serve_ask(number), lies[i].expected);
        CHECK_EQ(pthread_join(thread, NULL), 0);
        close(liar.listener);
    }
}

/* It takes the first place, accepts, and is gone. */
static void *hang_up(void *context)
{
    struct pollfd waited = {.fd = *(int *)context, .events = POLLIN};

    CHECK_EQ(brood__fd_wait(&waited, 1, deadline_in(TEST_PATIENCE_MS)), 1);
    brood__fd_close(CHECK_OK(brood__socket_accept(waited.fd)));
    return NULL;
}

TEST(one_that_ends_before_it_answers_is_passed_over)
{
    uint64_t number = new_number();
    int object = new_object();
    char name[48];
    pthread_t thread;
    int listener;

    make_name(number, name);
    listener = CHECK_OK(brood__socket_listen(name));
    CHECK_OK(brood__serve(number, object, false));
    CHECK_EQ(pthread_create(&thread, NULL, hang_up, &listener), 0);
    check_gives(number, brood__fd_inode(object));
    CHECK_EQ(pthread_join(thread, NULL), 0);
    close(listener);
    brood__serve_stop(number);
    close(object);
}

/* So many descriptors are under way that the kernel takes no more. */
static void fill_a_socket(int object, int ends[2])
{
    int64_t r;

    do {
        struct iovec part = {.iov_base = "x", .iov_len = 1};

        r = brood__socket_send_parts(ends[0], &part, 1, &object, 1);
    } while (r > 0);
    CHECK_EQ(r, -ETOOMANYREFS);
}

static int serve_with_too_many_under_way(void *context)
{
    const struct rlimit few = {.rlim_cur = 40, .rlim_max = 40};
    uint64_t number = new_number();
    int object = *(int *)context;
    int ends[2];
    int r;

    CHECK_OK(setrlimit(RLIMIT_NOFILE, &few));
    CHECK_OK(brood__socket_pair(false, ends));
    fill_a_socket(object, ends);
    CHECK_OK(brood__serve(number, object, false));
    r = brood__serve_ask(number);
    close(ends[0]);
    close(ends[1]);
    if (r == -ETOOMANYREFS)
        check_gives(number, brood__fd_inode(object));
    brood__serve_stop(number);
    return -r;
}

TEST(what_keeps_a_server_from_giving_is_told)
{
    int object = new_object();
    int told = other_user(&object, serve_with_too_many_under_way);

    close(object);
    if (told == 77)
        SKIP("needs to be root");
    CHECK_EQ(told, ETOOMANYREFS);
}

TEST(a_server_without_room_for_descriptors_answers_when_it_has_room)
{
    uint64_t number = new_number();
    int object = new_object();
    uint64_t inode = brood__fd_inode(object);
    struct rlimit old, none;
    int status;
    pid_t pid;

    CHECK_OK(brood__serve(number, object, false));
    CHECK_OK(getrlimit(RLIMIT_NOFILE, &old));
    none = old;
    none.rlim_cur = 3;
    CHECK_OK(setrlimit(RLIMIT_NOFILE, &none));
    pid = CHECK_OK(fork());
    if (pid == 0) {
        CHECK_OK(setrlimit(RLIMIT_NOFILE, &old));
        check_gives(number, inode);
        _exit(0);
    }
    CHECK_OK(setrlimit(RLIMIT_NOFILE, &old));
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, 0);
    brood__serve_stop(number);
    close(object);
}

TEST(a_program_that_closed_all_descriptors_can_still_stop)
{
    pid_t pid = CHECK_OK(fork());
    int status;

    if (pid == 0) {
        const int usual = usual_threads();
        uint64_t number = new_number();

        CHECK_OK(brood__serve(number, new_object(), true));
        CHECK_OK(brood__fd_close_range(3, ~0U));
        brood__serve_stop(number);
        CHECK_EQ(brood__thread_count(), usual);
        _exit(0);
    }
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, 0);
}

/* One descriptor more each time, until there is room for all that asking takes. */
static void ask_with_little_room(uint64_t number, uint64_t inode)
{
    struct rlimit few;
    int fd = -EMFILE;

    CHECK_OK(getrlimit(RLIMIT_NOFILE, &few));
    for (few.rlim_cur = 3; fd == -EMFILE; few.rlim_cur++) {
        CHECK_OK(setrlimit(RLIMIT_NOFILE, &few));
        fd = brood__serve_ask(number);
    }
    CHECK_OK(fd);
    CHECK_EQ(brood__fd_inode(fd), inode);
    brood__fd_close(fd);
}

TEST(an_asker_without_room_leaves_what_is_given_once)
{
    const int usual = usual_threads();
    uint64_t number = new_number();
    int object = new_object();
    uint64_t inode = brood__fd_inode(object);
    int status;
    pid_t pid;

    CHECK_OK(brood__serve(number, object, true));
    pid = CHECK_OK(fork());
    if (pid == 0) {
        ask_with_little_room(number, inode);
        _exit(0);
    }
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, 0);
    await_threads(usual);
}

/* ---- faults and deaths ---- */

static void check_known(int error)
{
    static const int known[] = {-ENOMEM, -EMFILE, -EAGAIN, BROOD_EREF, -EIO, -ETIMEDOUT};

    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (known[i] == error)
            return;
    FAIL("unexpected error %d", error);
}

static void serve_and_ask(void *unused)
{
    const int usual = usual_threads();
    uint64_t number = 0;
    int object = brood__memory_object("served", 4096);
    int r;

    (void)unused;
    if (object < 0 || brood__serve_number(&number) < 0) {
        brood__fd_close(object);
        return;
    }
    r = brood__serve(number, object, false);
    if (r == 0)
        r = brood__serve_ask(number);
    if (r < 0)
        check_known(r);
    else
        brood__fd_close(r);
    brood__serve_stop(number);
    r = brood__serve(number, object, true);
    if (r < 0)
        check_known(r);
    else
        brood__fd_close(brood__serve_ask(number));
    brood__serve_stop(number);
    await_threads(usual);
}

TEST_LIMIT(a_failing_call_is_told_and_leaves_nothing, 120)
{
    sweep_faults(serve_and_ask, NULL,
                 &(struct sweep_options){.sample = 80, .except = "open read getdents"});
}

static bool is_dead(pid_t pid)
{
    siginfo_t info = {0};

    CHECK_OK(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT));
    return info.si_pid != 0;
}

/* The victim serves until it is killed, if it comes so far. */
static void serve_in_a_child(void *unused)
{
    uint64_t number = new_number();
    int object = new_object();
    pid_t pid = CHECK_OK(fork());
    int r;

    (void)unused;
    if (pid == 0) {
        brood__fault_role(ROLE_WORKER);
        CHECK_OK(brood__serve(number, object, false));
        for (;;)
            (void)pause();
    }
    do
        r = brood__serve_ask(number);
    while (r == BROOD_EREF && !is_dead(pid));
    if (r >= 0) {
        CHECK_EQ(brood__fd_inode(r), brood__fd_inode(object));
        brood__fd_close(r);
    } else {
        CHECK_EQ(r, BROOD_EREF);
    }
    end_process(pid);
    CHECK_ERR(brood__serve_ask(number), BROOD_EREF);
    brood__fd_close(object);
}

TEST_LIMIT(a_server_may_die_at_any_call, 120)
{
    sweep_kills(serve_in_a_child, NULL, &(struct sweep_options){.sample = 60});
}
