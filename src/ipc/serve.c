/* SPDX-License-Identifier: MIT */
/*
 * The asker's and the server's side of refs.
 *
 *     asker                                   helper thread of the server
 *     connect to "brood-NUMBER-PLACE"  --->   accept; same effective user?
 *     receive                          <---   [ answer ] + descriptor, close
 *
 * To connect is to ask. So the thread never waits for anybody: it accepts, sends one packet into
 * an empty socket and closes, and whoever connects and says nothing, or dies, holds up nobody.
 * What a flood of askers does is to fill the backlog; the kernel makes the others wait, 2 s at
 * most.
 *
 * Several processes may serve one number, as all of them have the region: each takes the first
 * free place, and the asker tries them in turn, until one answers: one that ends meanwhile is
 * passed over, and beside one that does not answer at once the next ones are asked as well. What
 * more than SERVE_PLACES processes serve, is served: by those who have the places. One that found
 * none tries again when it is next told to serve that number.
 *
 * Two locks. `life` is held from a change to the end of what it takes to start or join the thread;
 * `list` guards the data, and the thread takes it too, between work_begin and work_end. Under
 * `list` nothing is called that takes the gate of sys/self.h, because a fork holds the gate when
 * it takes `list` (before_fork). So a forked child finds the list whole, and closes its copies at
 * once: a name dies with the process that served it. A child made by a raw clone() cannot know
 * what it has copied; it forgets all, and its copies of the sockets stay until it ends or
 * executes: askers then wait in vain, for 2 s.
 *
 * The thread ends with the last thing that is served. If it gave that away itself (ONCE) nobody
 * joins it: it detaches itself and leaves. Dead servers leave nothing: names and descriptors are
 * the kernel's.
 */
#include "ipc/serve.h"

#include "base/clock.h"
#include "base/fault.h"
#include "base/memory.h"
#include "sys/kernel.h"
#include "sys/self.h"
#include "sys/sockets.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { ASK_MS = 2000, ASK_NEXT_MS = 100, ACCEPTS_MAX = 16, LAST_WAIT_S = 2, NAME_LEN = 48 };
enum { ANSWER_MAGIC = 0x62726f64 };

/* Key of the control event in the poller; no number is 0. */
enum { CONTROL_KEY = 0 };

struct served {
    struct served *next;
    uint64_t number;
    int listener;
    int fd;
    bool once;
};

struct answer {
    uint32_t magic;
    int32_t error; /* 0: a descriptor comes along */
};

static struct own_lock life = OWN_LOCK, list = OWN_LOCK;

static struct {
    struct served *first;
    int poller, control; /* while the thread runs */
    bool runs;
    bool joined; /* whoever stopped it waits for its end */
    pthread_t thread;
    bool fork_watched;
    bool forking; /* a fork by libc is under way: the list is whole */
} serving = {.poller = -1, .control = -1};

/* ---- fork ---- */

static void close_served(struct served *served)
{
    brood__fd_close(served->listener);
    if (served->once)
        brood__fd_close(served->fd);
    brood__free(served);
}

/* In a child: see the head. */
static void renew_list(void)
{
    while (serving.forking && serving.first != NULL) {
        struct served *served = serving.first;

        serving.first = served->next;
        close_served(served);
    }
    if (serving.forking) {
        brood__fd_close(serving.poller);
        brood__fd_close(serving.control);
    }
    serving.first = NULL;
    serving.poller = serving.control = -1;
    serving.runs = serving.joined = serving.forking = false;
}

static void lock_list(void)
{
    brood__own_lock(&list, renew_list);
}

static void unlock_list(void)
{
    brood__own_unlock(&list);
}

static void before_fork(void)
{
    lock_list();
    serving.forking = true;
}

static void in_parent(void)
{
    serving.forking = false;
    unlock_list();
}

static void in_child(void)
{
    lock_list();
    unlock_list();
}

/* ---- the list, locked ---- */

static struct served *find(uint64_t number)
{
    struct served *served = serving.first;

    while (served != NULL && served->number != number)
        served = served->next;
    return served;
}

static void unlink_served(const struct served *served)
{
    struct served **link = &serving.first;

    while (*link != served)
        link = &(*link)->next;
    *link = served->next;
    brood__poller_remove(serving.poller, served->listener);
}

static const char *make_name(char name[NAME_LEN], uint64_t number, unsigned place)
{
    (void)snprintf(name, NAME_LEN, "brood-%016" PRIx64 "-%u", number, place);
    return name;
}

/* -EADDRINUSE: all places are taken. */
static int listen_somewhere(uint64_t number)
{
    char name[NAME_LEN];
    int fd = -EADDRINUSE;

    for (unsigned place = 0; place < SERVE_PLACES && fd == -EADDRINUSE; place++)
        fd = brood__socket_listen(make_name(name, number, place));
    return fd;
}

/* ---- the thread ---- */

static bool may_have(int fd)
{
    uid_t user;

    return brood__socket_user(fd, &user) == 0 && user == geteuid();
}

/* Whether it was given away. */
static bool answer(int asker, const struct served *served)
{
    struct answer answer = {.magic = ANSWER_MAGIC, .error = -EPERM};
    const struct iovec part = {.iov_base = &answer, .iov_len = sizeof answer};

    if (may_have(asker)) {
        int64_t r;

        answer.error = 0;
        r = brood__socket_send_parts(asker, &part, 1, &served->fd, 1);
        if (r >= 0)
            return true;
        answer.error = r == -ETOOMANYREFS ? -ETOOMANYREFS : -ENOMEM;
    }
    (void)brood__socket_send_parts(asker, &part, 1, NULL, 0);
    return false;
}

/* Locked. False: this process has no room for another descriptor now. */
static bool answer_askers(uint64_t number)
{
    struct served *served = find(number);

    for (int i = 0; i < ACCEPTS_MAX && served != NULL; i++) {
        int asker = brood__socket_accept(served->listener);
        bool given;

        if (asker < 0)
            return asker != -EMFILE && asker != -ENFILE && asker != -ENOMEM && asker != -ENOBUFS;
        given = answer(asker, served);
        brood__fd_close(asker);
        if (given && served->once) {
            unlink_served(served);
            close_served(served);
            served = NULL;
        }
    }
    return true;
}

/* The first COUNT of KEYS are ready. */
static bool work(const uint64_t *keys, int count, bool *out_pause)
{
    bool go_on, leaves;

    brood__helper_work_begin();
    lock_list();
    for (int i = 0; i < count; i++)
        if (keys[i] != CONTROL_KEY && !answer_askers(keys[i]))
            *out_pause = true;
    go_on = serving.first != NULL && count >= 0;
    leaves = !go_on && !serving.joined;
    if (leaves) {
        (void)pthread_detach(pthread_self());
        if (count >= 0) { /* else they are not ours any more */
            brood__fd_close(serving.poller);
            brood__fd_close(serving.control);
        }
        serving.poller = serving.control = -1;
        serving.runs = false;
    }
    unlock_list();
    brood__helper_work_end();
    if (leaves)
        brood__helper_leaves();
    return go_on;
}

/* Cancellation is possible only where the thread sleeps and holds nothing; see join_thread(). */
static int sleep_until_asked(int poller, int control, bool pause, uint64_t *keys)
{
    struct pollfd waited = {.fd = control, .events = POLLIN};
    int ignored, r;

    (void)pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, &ignored);
    if (pause) /* the askers stay in the backlog; without this the poller would return at once */
        (void)brood__fd_wait(&waited, 1, now_ns() + 20000000);
    r = brood__poller_wait(poller, keys, ACCEPTS_MAX);
    (void)pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &ignored);
    return r;
}

static void *serve(void *unused)
{
    uint64_t keys[ACCEPTS_MAX];
    bool pause = false;
    int poller, control, ignored, count;

    (void)unused;
    (void)pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &ignored);
    brood__fault_role(ROLE_SUPERVISOR);
    brood__helper_work_begin();
    lock_list();
    poller = serving.poller;
    control = serving.control;
    unlock_list();
    brood__helper_work_end();
    do {
        count = sleep_until_asked(poller, control, pause, keys);
        pause = false;
    } while (work(keys, count, &pause));
    return NULL;
}

/* ---- starting and stopping it, with life ---- */

/* Locked. */
static int make_poller(void)
{
    int r;

    serving.poller = brood__poller_new();
    if (serving.poller < 0)
        return serving.poller;
    serving.control = brood__fd_event();
    if (serving.control < 0)
        r = serving.control;
    else
        r = brood__poller_add(serving.poller, serving.control, CONTROL_KEY);
    if (r < 0) {
        serving.poller = brood__fd_close(serving.poller);
        serving.control = brood__fd_close(serving.control);
    }
    return r;
}

static int create_thread(void)
{
    sigset_t old;
    int r;

    if (BROOD_FAULT("pthread_create"))
        return -EAGAIN;
    brood__helper_started();
    (void)brood__mask_block_all(&old);
    r = -pthread_create(&serving.thread, NULL, serve, NULL);
    brood__mask_restore(&old);
    if (r < 0)
        brood__helper_ended();
    return r;
}

/* A program that closed all descriptors, ours too, has silenced the event: the thread sleeps for
 * ever then, and may be cancelled. */
static void join_thread(void)
{
    struct timespec end;

    (void)clock_gettime(CLOCK_REALTIME, &end);
    end.tv_sec += LAST_WAIT_S;
    if (pthread_timedjoin_np(serving.thread, NULL, &end) != 0) {
        (void)pthread_cancel(serving.thread);
        (void)pthread_join(serving.thread, NULL);
    }
    brood__helper_ended();
}

/* With life, and the list locked, which it unlocks: ends the thread if nothing is served. */
static void end_or_unlock(void)
{
    const uint64_t one = 1;
    bool ends = serving.runs && serving.first == NULL;

    if (ends) {
        serving.joined = true;
        (void)brood__fd_write(serving.control, &one, sizeof one);
    }
    unlock_list();
    if (!ends)
        return;
    join_thread();
    lock_list();
    serving.poller = brood__fd_close(serving.poller);
    serving.control = brood__fd_close(serving.control);
    serving.runs = serving.joined = false;
    unlock_list();
}

/* Locked. */
static int watch_forks(void)
{
    int r = serving.fork_watched ? 0 : brood__at_fork(before_fork, in_parent, in_child);

    serving.fork_watched = r == 0;
    return r;
}

/* Locked. A poller, a socket and an entry for it; the thread is to be started if it does not
 * run. */
static int add(struct served *served)
{
    int r = watch_forks();

    if (r == 0 && !serving.runs)
        r = make_poller();
    if (r < 0)
        return r;
    served->listener = listen_somewhere(served->number);
    r = served->listener;
    if (r >= 0)
        r = brood__poller_add(serving.poller, served->listener, served->number);
    if (r >= 0) {
        served->next = serving.first;
        serving.first = served;
        return 0;
    }
    served->listener = brood__fd_close(served->listener);
    if (!serving.runs) {
        serving.poller = brood__fd_close(serving.poller);
        serving.control = brood__fd_close(serving.control);
    }
    return r;
}

/* With life, and the list locked, which it unlocks. */
static int add_and_start(struct served *served)
{
    bool starts = !serving.runs;
    int r = add(served);

    if (r == 0)
        serving.runs = true;
    unlock_list();
    if (r < 0 || !starts)
        return r;
    r = create_thread();
    if (r == 0)
        return 0;
    lock_list();
    unlink_served(served);
    serving.poller = brood__fd_close(serving.poller);
    serving.control = brood__fd_close(serving.control);
    serving.runs = false;
    unlock_list();
    return r;
}

int brood__serve(uint64_t number, int fd, bool once)
{
    struct served *served = brood__alloc_zeroed(1, sizeof *served);
    int r = -ENOMEM;

    assert(number != CONTROL_KEY);
    if (served != NULL)
        *served = (struct served){.number = number, .fd = fd, .once = once, .listener = -1};
    brood__own_lock(&life, NULL);
    lock_list();
    if (find(number) != NULL) {
        unlock_list();
        r = -EALREADY;
    } else if (served != NULL) {
        r = add_and_start(served);
    } else {
        unlock_list();
    }
    brood__own_unlock(&life);
    if (r < 0) {
        if (once)
            brood__fd_close(fd);
        if (served != NULL)
            brood__fd_close(served->listener);
        brood__free(served);
    }
    return !once && (r == -EALREADY || r == -EADDRINUSE) ? 0 : r;
}

void brood__serve_stop(uint64_t number)
{
    struct served *served;

    brood__own_lock(&life, NULL);
    lock_list();
    served = find(number);
    if (served != NULL) {
        unlink_served(served);
        close_served(served);
    }
    end_or_unlock();
    brood__own_unlock(&life);
}

/* ---- asking ---- */

static bool is_told(int error)
{
    return error == -EPERM || error == -ENOMEM || error == -ETOOMANYREFS;
}

/* What LEN bytes and COUNT descriptors mean: the first of FDS, or an error. Who serves may be
 * anybody. */
static int read_answer(const struct answer *answer, int64_t len, unsigned count, const int *fds)
{
    if (len == 0 && count == 0)
        return BROOD_EREF; /* it ended before it answered */
    if (len == sizeof *answer && answer->magic == ANSWER_MAGIC) {
        if (answer->error == 0 && count == 1)
            return fds[0];
        if (answer->error == 0 && count == 0)
            return -EMFILE; /* the kernel dropped it, for lack of room here */
        if (is_told(answer->error) && count == 0)
            return answer->error;
    }
    for (unsigned i = 0; i < count; i++)
        brood__fd_close(fds[i]);
    return -EPROTO;
}

/* Those who have been asked and have not answered. Some things are given only once: so that there
 * is room for what is given, a spare descriptor is kept and closed just before it comes. */
struct asked {
    struct pollfd servers[SERVE_PLACES];
    unsigned count;
    int spare;
};

/* 0, or -EMFILE and its kin. */
static int keep_spare(struct asked *asked)
{
    if (asked->spare < 0)
        asked->spare = brood__fd_event();
    return asked->spare < 0 ? asked->spare : 0;
}

/* Of one that has something to say, or is gone; -EAGAIN: neither. */
static int receive_answer(struct asked *asked, int server)
{
    char bytes[sizeof(struct answer) + 1]; /* one more than right, to see what is too long */
    struct iovec part = {.iov_base = bytes, .iov_len = sizeof bytes};
    struct answer answer = {0};
    int fds[2]; /* the same */
    unsigned count = 2;
    int64_t r;

    asked->spare = brood__fd_close(asked->spare);
    r = brood__socket_receive_parts(server, &part, 1, fds, &count, false);
    if (r < 0)
        return (int)r;
    memcpy(&answer, bytes, (size_t)r < sizeof answer ? (size_t)r : sizeof answer);
    return read_answer(&answer, r, count, fds);
}

/* Asks whoever has this PLACE; BROOD_EREF: nobody. To connect is to ask. */
static int ask_at(struct asked *asked, uint64_t number, unsigned place, int64_t deadline)
{
    char name[NAME_LEN];
    int server = keep_spare(asked);

    if (server < 0)
        return server;
    server = brood__socket_connect(make_name(name, number, place), deadline);
    if (server < 0)
        return server == -ECONNREFUSED ? BROOD_EREF : server;
    if (!may_have(server)) {
        brood__fd_close(server);
        return -EPERM; /* nor take from others */
    }
    asked->servers[asked->count++] = (struct pollfd){.fd = server, .events = POLLIN};
    return 0;
}

/* The first answer; BROOD_EREF: all ended before they answered; -ETIMEDOUT. */
static int await_answer(struct asked *asked, int64_t deadline)
{
    while (asked->count > 0) {
        int r = brood__fd_wait(asked->servers, asked->count, deadline);
        unsigned i = 0;

        if (r <= 0)
            return r < 0 ? r : -ETIMEDOUT;
        while (asked->servers[i].revents == 0)
            i++;
        r = receive_answer(asked, asked->servers[i].fd);
        if (r != BROOD_EREF)
            return r;
        brood__fd_close(asked->servers[i].fd);
        asked->servers[i] = asked->servers[--asked->count];
        r = keep_spare(asked);
        if (r < 0)
            return r;
    }
    return BROOD_EREF;
}

static int64_t sooner(int64_t deadline, int64_t other)
{
    return other < deadline ? other : deadline;
}

/* One place after the other. Who is stopped keeps its question, and does not hold up those who can
 * answer. */
static int ask_in_turn(struct asked *asked, uint64_t number, int64_t deadline)
{
    bool late = false;
    int r = BROOD_EREF;

    for (unsigned place = 0; place < SERVE_PLACES; place++) {
        int64_t next = sooner(deadline, deadline_in(ASK_NEXT_MS));

        r = ask_at(asked, number, place, next);
        if (r == 0)
            r = await_answer(asked, next);
        late = late || r == -ETIMEDOUT;
        if (r != BROOD_EREF && r != -ETIMEDOUT)
            return r;
    }
    r = await_answer(asked, deadline);
    return r == BROOD_EREF && late ? -ETIMEDOUT : r;
}

/* Time is over. From here on no server can give what would be thrown away; what came just before
 * is taken. */
static int end_asking(struct asked *asked)
{
    int r = -ETIMEDOUT;

    for (unsigned i = 0; i < asked->count && r < 0; i++) {
        brood__socket_refuse(asked->servers[i].fd);
        r = receive_answer(asked, asked->servers[i].fd);
    }
    return r < 0 ? -ETIMEDOUT : r;
}

int brood__serve_ask(uint64_t number)
{
    struct asked asked = {.count = 0, .spare = -1};
    int r = ask_in_turn(&asked, number, deadline_in(ASK_MS));

    if (r == -ETIMEDOUT)
        r = end_asking(&asked);
    brood__fd_close(asked.spare);
    for (unsigned i = 0; i < asked.count; i++)
        brood__fd_close(asked.servers[i].fd);
    return r;
}

int brood__serve_number(uint64_t *out_number)
{
    uint64_t number = 0;
    int r;

    do
        r = brood__random(&number, sizeof number);
    while (r == 0 && number == 0);
    if (r == 0)
        *out_number = number;
    return r;
}
