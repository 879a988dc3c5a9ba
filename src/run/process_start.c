/* SPDX-License-Identifier: MIT */
/*
 * Starting a process: a zygote with one birth, and a control block shared with the child.
 *
 *     handle, control block ---> guardian ---> birth ---> BORN: it is one of the family
 *
 * The same for all start methods: nothing goes to the child but by the birth and the control
 * block. Each step that fails undoes the ones before.
 *
 * A death of this process at any step: the guardian, if it is there, sees it and takes the child
 * along. A death of the guardian before BORN is -EAGAIN.
 */
#include "base/clock.h"
#include "base/memory.h"
#include "base/reserved.h"
#include "run/process_inside.h"
#include "sys/kernel.h"
#include "sys/self.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { ALIGNMENT = 64, PAGE_LEN = 4096, LATE_MS = 500 };

struct request {
    brood_process_options options;
    char name[32]; /* the default one */
    brood_main_fn *function;
    const void *argument;
    size_t argument_len;
};

/* ---- options ---- */

static bool is_known(const brood_process_options *options)
{
    return reserved_are_zero(options->reserved) &&
           (options->start == BROOD_START_FORK || options->start == BROOD_START_FORKSERVER) &&
           options->containment >= BROOD_CONTAIN_CHILD &&
           options->containment <= BROOD_CONTAIN_NAMESPACE;
}

static int complete(struct request *request, const brood_process_options *options)
{
    if (options != NULL)
        request->options = *options;
    options = &request->options;
    if (options->start == 0)
        request->options.start = BROOD_START_FORK;
    if (options->containment == 0)
        request->options.containment = BROOD_CONTAIN_GROUP;
    if (!is_known(options))
        return -EINVAL;
    if (request->argument_len > 0 && request->argument == NULL)
        return -EINVAL;
    if (request->argument_len == 0 && request->argument != NULL &&
        options->start != BROOD_START_FORK)
        return -EINVAL; /* a pointer means nothing there */
    if (options->name == NULL) {
        (void)snprintf(request->name, sizeof request->name, "process-%u", brood__family_number());
        request->options.name = request->name;
    }
    return 0;
}

/* ---- the control block ---- */

static size_t aligned(size_t len, size_t alignment)
{
    return (len + alignment - 1) / alignment * alignment;
}

/* -EOVERFLOW if there is no such size. */
static int lay_out(struct process_control *layout, const struct request *request, size_t *out_len)
{
    size_t at = aligned(sizeof *layout, ALIGNMENT);
    size_t most = (size_t)INT64_MAX / 2;

    layout->name_offset = at;
    at = aligned(at + strlen(request->options.name) + 1, ALIGNMENT);
    if (request->argument_len > most)
        return -EOVERFLOW;
    layout->argument = request->argument_len > 0 ? at : (uintptr_t)request->argument;
    layout->argument_len = request->argument_len;
    layout->record_offset = aligned(at + request->argument_len, PAGE_LEN);
    *out_len = layout->record_offset + CRASH_RECORD_SIZE;
    return 0;
}

static int map_control(brood_process *process, int fd, const struct process_control *layout)
{
    void *memory = NULL;
    /* Pages first: where memory is short, writing to the mapping would be SIGBUS. */
    int r = brood__memory_commit(fd, 0, layout->record_offset);

    if (r < 0)
        return r;
    r = brood__memory_map(&memory, fd, 0, process->control_len);
    process->control = memory;
    return r;
}

/* A descriptor of it, or an error. */
static int make_control(brood_process *process, const struct request *request)
{
    struct process_control layout = {.parent_pid = getpid(), .daemon = request->options.daemon};
    int r = lay_out(&layout, request, &process->control_len);
    char *memory;
    int fd;

    if (r < 0)
        return -ENOMEM;
    fd = brood__memory_object("brood: process", process->control_len);
    if (fd < 0)
        return fd == -EFBIG ? -ENOMEM : fd;
    process->record_offset = layout.record_offset;
    r = map_control(process, fd, &layout);
    if (r < 0) {
        brood__fd_close(fd);
        return r;
    }
    memory = (char *)process->control;
    memcpy(memory, &layout, sizeof layout);
    memcpy(memory + layout.name_offset, request->options.name, strlen(request->options.name) + 1);
    if (request->argument_len > 0)
        memcpy(memory + layout.argument, request->argument, request->argument_len);
    return fd;
}

/* ---- the birth ---- */

static int await_birth(brood_process *process)
{
    struct zygote_event event;
    int r;

    while ((r = brood__zygote_next(&process->zygote, deadline_in(LATE_MS), &event)) == 0)
        (void)brood__pidfd_signal(process->zygote.pidfd, SIGCONT); /* somebody stopped it */

    if (r < 0)
        return r;
    if (event.kind == ZYGOTE_STILLBORN)
        return event.error;
    if (event.kind != ZYGOTE_BORN)
        return -EAGAIN;
    process->pid = event.pid;
    process->pidfd = event.pidfd;
    return event.pidfd < 0 ? event.error : brood__private_add(event.pidfd);
}

static int bear(brood_process *process, const struct request *request, int control_fd)
{
    struct zygote_birth birth = {
        .entry = ZYGOTE_PROCESS,
        .timeout_ms = request->options.timeout_ms > 0 ? request->options.timeout_ms : 0,
        .memory_max = request->options.memory_max};
    struct process_birth payload = {.control_len = process->control_len};
    int fds[2] = {control_fd, brood__pidfd_open(getpid())};
    int r;

    if (fds[1] < 0)
        return fds[1];
    birth.payload_len = sizeof payload;
    memcpy(birth.payload, &payload, sizeof payload);
    r = brood__zygote_bear(&process->zygote, &birth, fds, 2);
    brood__fd_close(fds[1]);
    if (r == 0)
        r = await_birth(process);
    return r == -EPIPE ? -EAGAIN : r;
}

static int start_guarded(brood_process *process, const struct request *request, int control_fd)
{
    const brood_process_options *options = &request->options;
    uintptr_t there = 0;
    int r = brood__zygote_start(&process->zygote,
                                &(struct zygote_options){.start = options->start,
                                                         .containment = options->containment,
                                                         .allow_threads = options->allow_threads,
                                                         .single = true});

    if (r < 0)
        return r;
    r = brood__zygote_function(&process->zygote, (uintptr_t)request->function, &there);
    if (r < 0)
        return r;
    process->control->function = there;
    process->outcome.containment = process->zygote.containment;
    return bear(process, request, control_fd);
}

static int start_new(brood_process *process, const struct request *request)
{
    int control_fd, r;

    process->kind = HANDLE_CHILD;
    process->daemon = request->options.daemon;
    process->memory_max = request->options.memory_max;
    process->limit =
        request->options.timeout_ms > 0 ? deadline_in(request->options.timeout_ms) : NEVER;
    process->name = brood__copy_string(request->options.name);
    if (process->name == NULL)
        return -ENOMEM;
    control_fd = make_control(process, request);
    if (control_fd < 0)
        return control_fd;
    r = start_guarded(process, request, control_fd);
    brood__fd_close(control_fd);
    return r;
}

int brood_process_start(brood_process **out_process, brood_main_fn *fn, const void *arg,
                        size_t arg_len, const brood_process_options *options)
{
    struct request request = {.function = fn, .argument = arg, .argument_len = arg_len};
    brood_process *process;
    int r;

    if (out_process == NULL || fn == NULL)
        return -EINVAL;
    r = complete(&request, options);
    if (r < 0)
        return r;
    process = brood__family_new();
    if (process == NULL)
        return -ENOMEM;
    r = start_new(process, &request);
    if (r < 0) {
        brood_process_free(process);
        return r;
    }
    brood__family_join(process);
    *out_process = process;
    return 0;
}
