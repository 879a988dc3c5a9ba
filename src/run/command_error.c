/* SPDX-License-Identifier: MIT */
/*
 * Why a command was not started, in one line: which step failed, on what, the system's reason, and
 * where there is something to do about it, what.
 *
 * One line for each thread, of its last failed start. A death leaves nothing.
 */
#include "run/command_inside.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static _Thread_local char line[COMMAND_REPORT_SIZE];

const char *brood_command_start_error(void)
{
    return line;
}

int brood__start_failed(int error, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    (void)vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    return error;
}

/* ---- what the guard says ---- */

static int exec_failed(int error, const char *const *argv, const brood_command_options *options)
{
    const char *reason = brood_strerror(error);
    const char *name = argv[0];

    if (error == -ENOENT && strchr(name, '/') == NULL)
        return brood__start_failed(error, "run '%s': %s in any folder of its PATH", name, reason);
    if (error == -ENOENT && options->cwd != NULL && name[0] != '/')
        return brood__start_failed(error, "run '%s': %s, sought from '%s'", name, reason,
                                   options->cwd);
    if (error == -ENOENT)
        return brood__start_failed(
            error, "run '%s': %s; or the interpreter is missing that its first line names", name,
            reason);
    if (error == -EACCES)
        return brood__start_failed(
            error, "run '%s': %s; is it a program, with the right to execute?", name, reason);
    if (error == -ENOEXEC)
        return brood__start_failed(
            error, "run '%s': %s; a script needs a first line such as #!/bin/sh", name, reason);
    if (error == -E2BIG)
        return brood__start_failed(
            error, "run '%s': %s; give it words by its stdin or a file, or raise RLIMIT_STACK",
            name, reason);
    return brood__start_failed(error, "run '%s': %s", name, reason);
}

static int limit_failed(const struct guard_event *event, const brood_command_options *options)
{
    const unsigned i = event->index;

    if (i >= options->limit_count)
        return brood__start_failed(-event->error, "limits: %s", brood_strerror(-event->error));
    return brood__start_failed(-event->error, ".limits[%u], resource %d: %s", i,
                               options->limits[i].resource, brood_strerror(-event->error));
}

static int pass_failed(const struct guard_event *event, const brood_command_options *options)
{
    const unsigned i = event->index;

    if (i >= options->pass_count)
        return brood__start_failed(-event->error, "descriptors: %s", brood_strerror(-event->error));
    return brood__start_failed(-event->error,
                               ".pass[%u], to be descriptor %d: %s; RLIMIT_NOFILE bounds it", i,
                               options->pass[i].as, brood_strerror(-event->error));
}

static const char *step_text(uint32_t step)
{
    static const char *const texts[] = {
        [GUARD_STEP_ORDER] = "the guard does not understand the order",
        [GUARD_STEP_NAMESPACE] = "a PID namespace",
        [GUARD_STEP_SPAWN] = "a process for it",
        [GUARD_STEP_CGROUP] = "join the cgroup of .cgroup_fd",
        [GUARD_STEP_FDS] = "its descriptors",
        [GUARD_STEP_SESSION] = "a session",
        [GUARD_STEP_TERMINAL] = "a terminal",
        [GUARD_STEP_GROUP] = "a process group",
        [GUARD_STEP_NICE] = ".nice, which needs privileges if negative",
        [GUARD_STEP_AFFINITY] = ".cpus: none of them is one it may run on",
        [GUARD_STEP_LIMITS] = ".limits",
        [GUARD_STEP_IDS] = ".ids, which need the right to change them",
        [GUARD_STEP_CWD] = ".cwd",
        [GUARD_STEP_PRIVILEGES] = ".no_new_privs",
        [GUARD_STEP_PARENT] = "to die with its guard",
        [GUARD_STEP_SIGNALS] = "its signals",
        [GUARD_STEP_EXEC] = "run it",
    };

    return step < sizeof texts / sizeof texts[0] && texts[step] != NULL ? texts[step] : "a step";
}

int brood__start_refused(const struct guard_event *event, const char *const *argv,
                         const brood_command_options *options)
{
    const int error = event->error > 0 ? -event->error : -EPROTO;

    if (event->step == GUARD_STEP_EXEC)
        return exec_failed(error, argv, options);
    if (event->step == GUARD_STEP_CWD && options->cwd != NULL)
        return brood__start_failed(error, "chdir to '%s': %s", options->cwd, brood_strerror(error));
    if (event->step == GUARD_STEP_LIMITS)
        return limit_failed(event, options);
    if (event->step == GUARD_STEP_FDS)
        return pass_failed(event, options);
    return brood__start_failed(error, "%s: %s", step_text(event->step), brood_strerror(error));
}
