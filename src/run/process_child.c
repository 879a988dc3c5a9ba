/* SPDX-License-Identifier: MIT */
/*
 * The child's side of brood_process: running the function, and who "current" and "parent" are.
 *
 * The state in the control block tells the parent how far it came: a child that exits before
 * RUNS could not begin, and its status is the errno; one that exits in RUNS called exit(). The
 * code is stored before HAS_RETURNED, so a death between them is a death.
 *
 * In the main process, and in what a user forks, "current" is a handle named "main" made when
 * first asked for.
 */
#include "base/fault.h"
#include "ipc/member.h"
#include "run/process_inside.h"
#include "sys/kernel.h"
#include "sys/self.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

static struct {
    struct own_lock lock;
    brood_process current, parent; /* .magic 0: not there */
} self = {.lock = OWN_LOCK};

static void renew(void)
{
    self.current = (brood_process){.magic = PROCESS_MAGIC,
                                   .kind = HANDLE_CURRENT,
                                   .self = brood__self(),
                                   .name = (char *)(uintptr_t) "main",
                                   .pid = getpid(),
                                   .pidfd = -1};
    self.parent = (brood_process){.pidfd = -1};
}

brood_process *brood_process_current(void)
{
    brood__own_lock(&self.lock, renew);
    brood__own_unlock(&self.lock);
    return &self.current;
}

brood_process *brood_process_parent(void)
{
    brood_process *parent;

    brood__own_lock(&self.lock, renew);
    parent = self.parent.magic == PROCESS_MAGIC ? &self.parent : NULL;
    brood__own_unlock(&self.lock);
    return parent;
}

/* CONTROL stays mapped until the process ends, so the name may stay in it. */
static void become(const struct process_control *control, int parent_pidfd)
{
    brood__own_lock(&self.lock, renew);
    self.current.name = (char *)(uintptr_t)control + control->name_offset;
    self.current.daemon = control->daemon != 0;
    self.parent = (brood_process){.magic = PROCESS_MAGIC,
                                  .kind = HANDLE_PARENT,
                                  .self = brood__self(),
                                  .name = (char *)(uintptr_t) "parent",
                                  .pid = control->parent_pid,
                                  .pidfd = parent_pidfd};
    brood__own_unlock(&self.lock);
}

static int run(struct process_control *control)
{
    brood_main_fn *function = (brood_main_fn *)(uintptr_t)control->function;
    void *argument = (void *)(uintptr_t)control->argument;

    if (control->argument_len > 0)
        argument = (char *)control + control->argument;
    atomic_store(&control->state, PROCESS_RUNS);
    control->code = function(argument);
    BROOD_MARK("child before returned");
    atomic_store(&control->state, PROCESS_HAS_RETURNED);
    BROOD_MARK("child after returned");
    /* It has ended, and not died: what comes is _exit(). */
    brood__member_end_process();
    return control->code;
}

int brood__process_main(const struct zygote_birth *birth, const int *fds, unsigned fd_count,
                        void *context)
{
    struct process_control *control;
    struct process_birth payload;
    void *memory = NULL;
    int r;

    (void)context;
    if (fd_count != 2 || birth->payload_len != sizeof payload)
        return EMFILE; /* they were sent, so there was no room to receive them */
    memcpy(&payload, birth->payload, sizeof payload);
    r = brood__memory_map(&memory, fds[0], 0, (size_t)payload.control_len);
    if (r < 0)
        return -r;
    brood__fd_close(fds[0]);
    control = memory;
    become(control, fds[1]);
    /* Without it a crash is reported without its place. */
    (void)brood__crash_catch((void *)((char *)memory + control->record_offset));
    return run(control);
}
