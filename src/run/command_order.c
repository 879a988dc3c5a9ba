/* SPDX-License-Identifier: MIT */
/*
 * From the options of a command to the order that its guard gets (run/guard_wire.h).
 *
 * First everything is checked, so that what is wrong is said in the words of the options and before
 * anything was opened. Then the packet is built: the fixed part, limits, descriptors, groups,
 * strings. Descriptors beside the three streams stand in the guard from 4 on, in this order: a
 * pidfd of the caller, the cgroup's directory, those that the command gets.
 *
 * Private memory only; a death leaves nothing.
 */
#include "run/command_order.h"

#include "base/memory.h"
#include "run/command_environment.h"
#include "run/command_inside.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>

enum { FIRST_EXTRA_FD = 4, CPUS_MAX = 64 * GUARD_AFFINITY_WORDS, RESOURCES = 16 };
enum { GRACE_DEFAULT_MS = 2000 };

#define WRONG(...) brood__start_failed(-EINVAL, __VA_ARGS__)

/* ---- checks ---- */

static int check_capture(const char *name, const brood_stream *stream)
{
    if (stream->keep < BROOD_KEEP_HEAD || stream->keep > BROOD_KEEP_BOTH)
        return WRONG(".%s.keep is %d, no enum brood_keep", name, stream->keep);
    if (stream->lines && stream->on_data == NULL)
        return WRONG(".%s.lines without .on_data, which would get them", name);
    return 0;
}

static int check_kind(const char *name, const brood_stream *stream)
{
    const bool is_in = strcmp(name, "in") == 0;

    if (stream->kind < BROOD_STREAM_DEFAULT || stream->kind > BROOD_MERGE)
        return WRONG(".%s.kind is %d, no enum brood_stream_kind", name, stream->kind);
    if (stream->kind == BROOD_BYTES && !is_in)
        return WRONG(".%s.kind is BROOD_BYTES, which is for .in", name);
    if (stream->kind == BROOD_CAPTURE && is_in)
        return WRONG(".in.kind is BROOD_CAPTURE, which is for .out and .err");
    if (stream->kind == BROOD_MERGE && strcmp(name, "err") != 0)
        return WRONG(".%s.kind is BROOD_MERGE, which is for .err", name);
    return 0;
}

static int check_stream(const char *name, const brood_stream *stream)
{
    int r = check_kind(name, stream);

    if (r < 0)
        return r;
    for (unsigned i = 0; i < sizeof stream->reserved / sizeof stream->reserved[0]; i++)
        if (stream->reserved[i] != 0)
            return WRONG(".%s.reserved is not zero", name);
    if (stream->kind == BROOD_BYTES && stream->data == NULL && stream->len > 0)
        return WRONG(".%s.data is NULL and .len is not 0", name);
    if (stream->kind == BROOD_FILE && stream->path == NULL)
        return WRONG(".%s.path is NULL, and .kind is BROOD_FILE", name);
    if (stream->kind == BROOD_FD && stream->fd < 0)
        return WRONG(".%s.fd is %d", name, stream->fd);
    return stream->kind == BROOD_CAPTURE ? check_capture(name, stream) : 0;
}

static int check_streams(const brood_command_options *options)
{
    int r = check_stream("in", &options->in);

    if (r == 0)
        r = check_stream("out", &options->out);
    return r < 0 ? r : check_stream("err", &options->err);
}

static int check_pass(const brood_command_options *options)
{
    if (options->pass_count > PASS_MAX || (options->pass == NULL && options->pass_count > 0))
        return WRONG(".pass_count is %u: at most %d, and .pass not NULL", options->pass_count,
                     (int)PASS_MAX);
    for (unsigned i = 0; i < options->pass_count; i++) {
        const brood_pass *pass = &options->pass[i];

        if (pass->fd < 0 || pass->as < 3 || pass->as > GUARD_FD_NUMBER_MAX)
            return WRONG(".pass[%u] is {%d, %d}: .fd at least 0, .as at least 3", i, pass->fd,
                         pass->as);
        for (unsigned j = 0; j < i; j++)
            if (options->pass[j].as == pass->as)
                return WRONG(".pass has %d twice in .as", pass->as);
    }
    return 0;
}

static int check_environment(const brood_command_options *options)
{
    for (unsigned i = 0; options->env != NULL && options->env[i] != NULL; i++)
        if (options->env[i][0] == '=' || options->env[i][0] == '\0')
            return WRONG(".env[%u] has no name", i);
    return 0;
}

static int check_limits(const brood_command_options *options)
{
    if (options->limit_count > LIMITS_MAX || (options->limits == NULL && options->limit_count > 0))
        return WRONG(".limit_count is %u: at most %d, and .limits not NULL", options->limit_count,
                     (int)LIMITS_MAX);
    for (unsigned i = 0; i < options->limit_count; i++) {
        const brood_limit *limit = &options->limits[i];

        if (limit->resource < 0 || limit->resource >= RESOURCES || limit->soft > limit->hard)
            return WRONG(".limits[%u]: an unknown .resource, or .soft over .hard", i);
    }
    return 0;
}

static int check_cpus(const brood_command_options *options)
{
    if (options->cpus == NULL && options->cpu_count > 0)
        return WRONG(".cpus is NULL and .cpu_count is not 0");
    for (unsigned i = 0; i < options->cpu_count; i++)
        if (options->cpus[i] >= CPUS_MAX)
            return WRONG(".cpus[%u] is %u: at most %d", i, options->cpus[i], CPUS_MAX - 1);
    return 0;
}

static int check_identity(const brood_command_options *options)
{
    const brood_ids *ids = options->ids;

    if (ids != NULL && (ids->group_count > GROUPS_MAX || (!ids->groups && ids->group_count > 0)))
        return WRONG(".ids->group_count is %u: at most %d, and .groups not NULL", ids->group_count,
                     (int)GROUPS_MAX);
    /* -1 would mean to leave it as it is: what a failed look-up of a name may hand on. */
    if (ids != NULL && (ids->uid == UINT_MAX || ids->gid == UINT_MAX))
        return WRONG(".ids->%s is -1, which is nobody", ids->uid == UINT_MAX ? "uid" : "gid");
    if (options->umask != NULL && *options->umask > 0777)
        return WRONG(".umask is 0%o: at most 0777", *options->umask);
    if (options->nice < -40 || options->nice > 40)
        return WRONG(".nice is %d: -40 to 40", options->nice);
    if (options->cgroup_fd < 0)
        return WRONG(".cgroup_fd is %d; 0 is none", options->cgroup_fd);
    return 0;
}

static int check_bounds(const brood_command_options *options)
{
    if (options->containment < 0 || options->containment > BROOD_CONTAIN_NAMESPACE)
        return WRONG(".containment is %d, no enum brood_containment", options->containment);
    if (options->stop_signal < 0 || options->stop_signal >= NSIG)
        return WRONG(".stop_signal is %d, no signal", options->stop_signal);
    if (options->cpu_time_ms < 0)
        return WRONG(".cpu_time_ms is negative; 0 is no limit");
    for (unsigned i = 0; i < sizeof options->reserved / sizeof options->reserved[0]; i++)
        if (options->reserved[i] != 0)
            return WRONG(".reserved is not zero");
    return 0;
}

int brood__order_check(const char *const *argv, const brood_command_options *options)
{
    static int (*const checks[])(const brood_command_options *options) = {
        check_streams, check_pass,     check_environment, check_limits,
        check_cpus,    check_identity, check_bounds,
    };
    int r = 0;

    if (argv == NULL || argv[0] == NULL || argv[0][0] == '\0')
        return WRONG("the program has no name");
    for (unsigned i = 0; i < sizeof checks / sizeof checks[0] && r == 0; i++)
        r = checks[i](options);
    return r;
}

/* ---- the fixed part ---- */

static uint64_t bit_of(int signo)
{
    return UINT64_C(1) << (signo - 1);
}

static uint64_t flags_of(const brood_command_options *options)
{
    uint64_t flags = 0;

    flags |= options->cwd != NULL ? GUARD_SET_CWD : 0;
    flags |= options->umask != NULL ? GUARD_SET_UMASK : 0;
    flags |= options->ids != NULL ? GUARD_SET_UID | GUARD_SET_GID | GUARD_SET_GROUPS : 0;
    flags |= options->nice != 0 ? GUARD_SET_NICE : 0;
    flags |= options->cpu_count > 0 ? GUARD_SET_AFFINITY : 0;
    flags |= options->new_session ? GUARD_NEW_SESSION : 0;
    flags |= options->terminal ? GUARD_NEW_SESSION | GUARD_TERMINAL : 0;
    flags |= options->no_new_privs ? GUARD_NO_NEW_PRIVS : 0;
    flags |= options->leave_running ? GUARD_LEAVE_LEFTOVERS : 0;
    if (options->new_group && (flags & GUARD_NEW_SESSION) == 0)
        flags |= GUARD_OWN_GROUP; /* a session has one */
    return flags;
}

static void set_bounds(struct guard_order *order, const brood_command_options *options)
{
    order->stop_signal = options->stop_signal == 0 ? SIGTERM : options->stop_signal;
    order->stop_grace_ms = options->stop_grace_ms == 0 ? GRACE_DEFAULT_MS : options->stop_grace_ms;
    if (options->stop_grace_ms < 0) {
        order->stop_signal = 0;
        order->stop_grace_ms = 0;
    }
    order->timeout_ms = options->timeout_ms > 0 ? options->timeout_ms : 0;
    order->cpu_time_max_ms = options->cpu_time_ms;
    order->memory_max = options->memory_max;
}

/* Ignored signals stay ignored, but for those that programs ignore for themselves only. */
static void set_signals(struct guard_order *order)
{
    order->signal_mask = 0;
    order->signals_default = bit_of(SIGPIPE) | bit_of(SIGXFSZ) | bit_of(SIGCHLD);
}

static void set_identity(struct guard_order *order, const brood_command_options *options)
{
    int nice = options->nice == 0 ? 0 : getpriority(PRIO_PROCESS, 0) + options->nice;

    if (options->ids != NULL) {
        order->uid = options->ids->uid;
        order->gid = options->ids->gid;
        order->group_count = options->ids->group_count;
    }
    if (options->umask != NULL)
        order->umask = *options->umask;
    order->nice = nice < -20 ? -20 : nice > 19 ? 19 : nice;
    for (unsigned i = 0; i < options->cpu_count; i++)
        order->affinity[options->cpus[i] / 64] |= UINT64_C(1) << (options->cpus[i] % 64);
}

static int32_t add_fd(struct command_order *order, int fd)
{
    order->fds[order->fd_count] = fd;
    return FIRST_EXTRA_FD + (int32_t)order->fd_count++;
}

static struct guard_order fixed_part(struct command_order *order,
                                     const brood_command_options *options, int caller)
{
    struct guard_order fixed = {.version = GUARD_VERSION,
                                .flags = flags_of(options),
                                .containment = BROOD_CONTAIN_GROUP,
                                .limit_count = options->limit_count,
                                .fd_count = options->pass_count};

    if (options->containment != 0)
        fixed.containment = (uint32_t)options->containment;
    set_bounds(&fixed, options);
    set_signals(&fixed);
    set_identity(&fixed, options);
    fixed.caller_fd = caller >= 0 ? add_fd(order, caller) : 0;
    fixed.cgroup_fd = options->cgroup_fd > 0 ? add_fd(order, options->cgroup_fd) : 0;
    return fixed;
}

/* ---- the packet ---- */

static unsigned char *put(unsigned char *at, const void *data, size_t len)
{
    if (len > 0)
        memcpy(at, data, len);
    return at + len;
}

static void fill(struct command_order *order, const struct guard_order *fixed, const char *name,
                 const brood_command_options *options)
{
    unsigned char *at = put(order->packet, fixed, sizeof *fixed);
    uint32_t ignored;

    for (unsigned i = 0; i < options->limit_count; i++) {
        const struct guard_limit limit = {.resource = (uint32_t)options->limits[i].resource,
                                          .soft = options->limits[i].soft,
                                          .hard = options->limits[i].hard};

        at = put(at, &limit, sizeof limit);
    }
    for (unsigned i = 0; i < options->pass_count; i++) {
        const struct guard_fd fd = {.from = add_fd(order, options->pass[i].fd),
                                    .to = options->pass[i].as};

        at = put(at, &fd, sizeof fd);
    }
    if (options->ids != NULL)
        at = put(at, options->ids->groups, options->ids->group_count * sizeof(uint32_t));
    if (options->cwd != NULL)
        at = put(at, options->cwd, strlen(options->cwd) + 1);
    (void)brood__candidates(name, brood__environment_path(order->environment), (char *)at,
                            &ignored);
}

static int make_packet(struct command_order *order, struct guard_order *fixed, const char *name,
                       const brood_command_options *options)
{
    const char *path = brood__environment_path(order->environment);
    size_t strings = brood__candidates(name, path, NULL, &fixed->candidate_count);
    size_t len;

    strings += options->cwd == NULL ? 0 : strlen(options->cwd) + 1;
    len = sizeof *fixed + fixed->limit_count * sizeof(struct guard_limit) +
          fixed->fd_count * sizeof(struct guard_fd) + fixed->group_count * sizeof(uint32_t) +
          strings;
    if (len > GUARD_ORDER_LEN_MAX || fixed->candidate_count > GUARD_CANDIDATES_MAX)
        return brood__start_failed(-E2BIG, "PATH, or .cwd, is too long: give '%s' with its folder",
                                   name);
    fixed->strings_len = (uint32_t)strings;
    fixed->len = (uint32_t)len;
    order->packet = brood__alloc(len);
    if (order->packet == NULL)
        return brood__start_failed(-ENOMEM, "no memory for the order to the guard");
    order->packet_len = len;
    fill(order, fixed, name, options);
    return 0;
}

int brood__order_make(struct command_order *order, const char *const *argv,
                      const brood_command_options *options, int caller)
{
    struct guard_order fixed;
    int r = brood__environment_make(options, &order->environment, &order->own_environment);

    if (r < 0)
        return brood__start_failed(r, "no memory for the environment");
    fixed = fixed_part(order, options, caller);
    return make_packet(order, &fixed, argv[0], options);
}

void brood__order_done(struct command_order *order)
{
    brood__free(order->own_environment);
    brood__free(order->packet);
    *order = (struct command_order){0};
}
