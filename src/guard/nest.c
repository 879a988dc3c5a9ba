/* SPDX-License-Identifier: MIT */
/*
 * A PID namespace: nothing leaves it, and it ends as a whole when its first process ends.
 *
 *     guard ---- clone(NEWPID) ----> init (1) ---clone---> command (2) --- ...
 *           ==== channel ==========>
 *
 * The first process of a namespace has duties (it reaps) and privileges (no signal from inside
 * ends it) that a command knows nothing of, so it is a copy of the guard that does nothing else.
 * Inside, kill(-1) reaches everybody but the init, at one moment: nobody can fork away from it.
 *
 * Without the right to make a PID namespace, one of users is made with it, in which there is one
 * user and one group, with the numbers that they have outside. Set-user-ID programs gain nothing
 * there. Where that is forbidden as well, the guard goes on without (a lesser containment).
 *
 * /proc in the namespace stays the one outside, with the numbers of outside: a /proc of its own
 * would take a namespace of mounts.
 *
 * What a death leaves: if the guard dies, the init gets SIGKILL, and at the latest its channel
 * ends; with it everything in the namespace is killed. If the init dies, the guard sees the same
 * on the channel, and reaps it.
 */
#include "guard/nest.h"

#include "guard/bytes.h"
#include "guard/calls.h"
#include "guard/wait.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

enum { INIT_CHANNEL = 3, INIT_PID = 1 };

struct init {
    int32_t command; /* 0: reaped */
    bool told_empty, cleaning;
    uint32_t killed;
};

/* ---- the init ---- */

static void init_end(void)
{
    (void)CALL1(SYS_exit_group, 0);
}

static void tell(const struct nest_news *news)
{
    long r = CALL6(SYS_sendto, INIT_CHANNEL, news, sizeof *news, MSG_NOSIGNAL, 0, 0);

    if (r < 0)
        init_end();
}

static int write_text(const char *path, const char *text, size_t len)
{
    long fd = CALL4(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CLOEXEC, 0);
    long r = fd;

    if (fd >= 0) {
        r = CALL3(SYS_write, fd, text, len);
        (void)CALL1(SYS_close, fd);
    }
    return r < 0 ? (int)r : 0;
}

static int write_map(const char *path, uint32_t id)
{
    struct text text = {.len = 0};

    text_add_number(&text, id);
    text_add(&text, " ");
    text_add_number(&text, id);
    text_add(&text, " 1\n");
    return write_text(path, text.bytes, text.len);
}

/* IDS: user and group as they were outside. */
static int map_ids(const uint32_t *ids)
{
    int r;

    /* Since Linux 3.19 a group may be mapped only where setgroups() is given up. */
    (void)write_text("/proc/self/setgroups", "deny", 4);
    r = write_map("/proc/self/uid_map", ids[0]);
    return r == 0 ? write_map("/proc/self/gid_map", ids[1]) : r;
}

/* Reaps who is dead. */
static void init_reap(struct init *init)
{
    struct nest_news news = {.kind = NEST_ENDED};
    long pid;

    while ((pid = CALL4(SYS_wait4, -1, &news.status, WNOHANG | __WALL, &news.usage)) > 0) {
        if (pid == init->command) {
            init->command = 0;
            tell(&news);
        } else if (WIFSIGNALED(news.status) && WTERMSIG(news.status) == SIGKILL) {
            init->killed++;
        }
    }
    if (pid == -ECHILD && init->command == 0 && !init->told_empty) {
        news = (struct nest_news){.kind = NEST_EMPTY, .killed = init->killed};
        init->told_empty = true;
        tell(&news);
    }
}

static void init_signal(const struct init *init, const struct nest_question *question)
{
    int32_t whom = question->whom == GUARD_WHOM_TREE ? -1 : init->command;

    if (whom == 0)
        return;
    (void)CALL2(SYS_kill, whom, question->signal);
    if (question->wake)
        (void)CALL2(SYS_kill, whom, SIGCONT);
}

/* Asked again and again. Who was killed by others before is not counted. */
static void init_clean(struct init *init)
{
    struct nest_news news = {.kind = NEST_KILLING};

    if (!init->cleaning)
        init->killed = 0;
    init->cleaning = true;
    news.killed = init->killed;
    (void)CALL2(SYS_kill, -1, SIGKILL);
    tell(&news);
}

static void init_answer(struct init *init)
{
    struct nest_question question = {0};
    long r = CALL6(SYS_recvfrom, INIT_CHANNEL, &question, sizeof question, MSG_DONTWAIT, 0, 0);

    if (r == -EAGAIN || r == -EINTR)
        return;
    if (r != (long)sizeof question)
        init_end();
    if (question.kind == NEST_ASK_CLEAN) {
        init_clean(init);
    } else {
        init_signal(init, &question);
    }
}

static void init_serve(struct init *init)
{
    for (;;) {
        struct pollfd fd = {.fd = INIT_CHANNEL, .events = POLLIN};

        init_reap(init);
        if (wait_for(&fd, 1, WAIT_FOREVER) > 0)
            init_answer(init);
    }
}

static void init_main(int channel, const uint32_t *ids, struct birth *birth)
{
    struct nest_news news = {.kind = NEST_STARTED};
    struct init init = {0};
    int32_t pid = 0;

    (void)CALL5(SYS_prctl, PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    if (ids != NULL && map_ids(ids) < 0) {
        birth->failure = (struct failure){GUARD_STEP_NAMESPACE, EPERM, UINT32_MAX};
    } else {
        birth->parent = INIT_PID;
        pid = child_spawn(birth);
    }
    (void)CALL3(SYS_dup3, channel, INIT_CHANNEL, O_CLOEXEC);
    fds_close(0, INIT_CHANNEL - 1);
    fds_close(INIT_CHANNEL + 1, ~0u);
    if (pid <= 0) {
        news.kind = NEST_NOT_STARTED;
        news.failure = birth->failure;
        tell(&news);
        init_end();
    }
    tell(&news);
    init.command = pid;
    init_serve(&init);
}

/* ---- the guard's side ---- */

/* Its number, or -errno. The child is a copy, and knows the channel by its number. */
static long clone_init(unsigned long namespaces, const int *channel, const uint32_t *ids,
                       struct birth *birth)
{
    long pid = CALL5(SYS_clone, namespaces | SIGCHLD, 0, 0, 0, 0);

    if (pid == 0) {
        (void)CALL1(SYS_close, channel[0]);
        init_main(channel[1], ids, birth);
    }
    return pid;
}

/* What the init tells first. */
static int await_birth(struct nest *nest, struct birth *birth)
{
    struct nest_news news = {0};
    long r;

    do {
        r = CALL6(SYS_recvfrom, nest->channel, &news, sizeof news, 0, 0, 0);
    } while (r == -EINTR);
    if (r == (long)sizeof news && news.kind == NEST_STARTED)
        return 0;
    (void)CALL2(SYS_kill, nest->init, SIGKILL);
    (void)CALL4(SYS_wait4, nest->init, 0, __WALL, 0);
    (void)CALL1(SYS_close, nest->channel);
    *nest = (struct nest){.channel = -1};
    birth->failure = (struct failure){GUARD_STEP_NAMESPACE, EIO, UINT32_MAX};
    if (r == (long)sizeof news)
        birth->failure = news.failure;
    return birth->failure.step == GUARD_STEP_NAMESPACE ? birth->failure.error
                                                       : -birth->failure.error;
}

static int attempt(struct nest *nest, unsigned long namespaces, const uint32_t *ids,
                   struct birth *birth)
{
    int channel[2] = {-1, -1};
    long r = CALL4(SYS_socketpair, AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, channel);

    if (r < 0)
        return (int)-r;
    r = clone_init(namespaces, channel, ids, birth);
    (void)CALL1(SYS_close, channel[1]);
    if (r < 0) {
        (void)CALL1(SYS_close, channel[0]);
        return (int)-r;
    }
    nest->init = (int32_t)r;
    nest->channel = channel[0];
    return await_birth(nest, birth);
}

int nest_start(struct nest *out, struct birth *birth)
{
    int r = attempt(out, CLONE_NEWPID, NULL, birth);

    if (r == EPERM) {
        const uint32_t ids[2] = {(uint32_t)CALL0(SYS_geteuid), (uint32_t)CALL0(SYS_getegid)};

        r = attempt(out, CLONE_NEWUSER | CLONE_NEWPID, ids, birth);
    }
    return r;
}

void nest_ask(const struct nest *nest, const struct nest_question *question)
{
    (void)CALL6(SYS_sendto, nest->channel, question, sizeof *question, MSG_NOSIGNAL | MSG_DONTWAIT,
                0, 0);
}

int nest_hear(const struct nest *nest, struct nest_news *out)
{
    long r = CALL6(SYS_recvfrom, nest->channel, out, sizeof *out, MSG_DONTWAIT, 0, 0);

    if (r == -EAGAIN || r == -EINTR)
        return 0;
    return r == (long)sizeof *out ? 1 : -EPIPE;
}
