/* SPDX-License-Identifier: MIT */
/* Commands by GLib's GSubprocess. */
#include "command.h"

#include <gio/gio.h>

static GSubprocess *start(const char *const *argv, GSubprocessFlags flags)
{
    GSubprocess *process = g_subprocess_newv(argv, flags, NULL);

    bench_must(process != NULL, "a start");
    return process;
}

static void once(void)
{
    GSubprocess *process = start(command_true, G_SUBPROCESS_FLAGS_STDIN_INHERIT);

    bench_must(g_subprocess_wait_check(process, NULL, NULL) != 0, "the end of a command");
    g_object_unref(process);
}

/* Starts it, gives it INPUT, or none, and takes its output until it has ended. */
static double communicate_ns(const char *const *argv, GBytes *input,
                             void (*check)(const char *data, size_t len))
{
    const GSubprocessFlags in =
        input != NULL ? G_SUBPROCESS_FLAGS_STDIN_PIPE : G_SUBPROCESS_FLAGS_STDIN_INHERIT;
    GBytes *output = NULL;
    const int64_t start_ns = bench_now_ns();
    GSubprocess *process = start(argv, in | G_SUBPROCESS_FLAGS_STDOUT_PIPE);

    bench_must(g_subprocess_communicate(process, input, NULL, &output, NULL, NULL) != 0 &&
                   g_subprocess_get_successful(process) != 0,
               "the end of a command");
    const double taken_ns = (double)(bench_now_ns() - start_ns);
    check(g_bytes_get_data(output, NULL), g_bytes_get_size(output));
    g_bytes_unref(output);
    g_object_unref(process);
    return taken_ns;
}

static double capture_ns(void)
{
    return communicate_ns(command_head, NULL, command_check_zeros);
}

static double through_ns(void)
{
    GBytes *input = g_bytes_new_static(command_input(), COMMAND_THROUGH_LEN);
    const double taken_ns = communicate_ns(command_cat, input, command_check_echo);

    g_bytes_unref(input);
    return taken_ns;
}

int main(void)
{
    command_measure_bytes("GSubprocess, 256 MiB", COMMAND_OUT_LEN, capture_ns);
    command_measure_bytes("GSubprocess, 64 MiB", COMMAND_THROUGH_LEN, through_ns);
    command_measure("GSubprocess", once);
    return 0;
}
