/* SPDX-License-Identifier: MIT */
/*
 * What does it cost to run somebody else's program: see command.h.
 *
 * The limit is a bare clone as vfork does it, execve and wait, without anybody who guards the
 * command; for bytes, the same with pipes and memory that is already there. The first start, which
 * also makes the guard's program ready, is shown apart.
 */
#include "command.h"

#include <brood/easy.h>

static void call(void)
{
    bench_must(BROOD_MUST(brood_call(command_true, NULL, NULL)) == 0, "the end of a command");
}

/* The bytes stay the command's. */
static double capture_ns(void)
{
    const brood_command_options options = {.out = {.kind = BROOD_CAPTURE, .max = COMMAND_OUT_LEN}};
    BROOD_AUTO(command) *command = NULL;
    brood_outcome outcome = {0};
    const int64_t start_ns = bench_now_ns();

    (void)BROOD_MUST(brood_command_start(&command, command_head, &options));
    (void)BROOD_MUST(brood_command_wait(command, BROOD_FOREVER, &outcome));
    const brood_bytes out = brood_command_out(command);
    const double taken_ns = (double)(bench_now_ns() - start_ns);
    command_check_zeros(out.data, out.len);
    return taken_ns;
}

/* The bytes are the caller's. */
static double check_output_ns(void)
{
    const brood_command_options options = {.out = {.max = COMMAND_OUT_LEN}};
    char *text = NULL;
    size_t len = 0;
    const int64_t start_ns = bench_now_ns();

    (void)BROOD_MUST(brood_check_output(command_head, &options, &text, &len));
    const double taken_ns = (double)(bench_now_ns() - start_ns);
    command_check_zeros(text, len);
    free(text);
    return taken_ns;
}

static double communicate_ns(void)
{
    const brood_command_options options = {
        .in = {.kind = BROOD_PIPE}, .out = {.kind = BROOD_CAPTURE, .max = COMMAND_THROUGH_LEN}};
    BROOD_AUTO(command) *command = NULL;
    brood_outcome outcome = {0};
    const char *input = command_input();
    const int64_t start_ns = bench_now_ns();

    (void)BROOD_MUST(brood_command_start(&command, command_cat, &options));
    (void)BROOD_MUST(
        brood_command_communicate(command, input, COMMAND_THROUGH_LEN, BROOD_FOREVER, &outcome));
    const brood_bytes out = brood_command_out(command);
    const double taken_ns = (double)(bench_now_ns() - start_ns);
    command_check_echo(out.data, out.len);
    return taken_ns;
}

int main(void)
{
    const int64_t start_ns = bench_now_ns();

    call();
    bench_emit("command", "brood_call, first", "ms", (double)(bench_now_ns() - start_ns) / 1e6);
    command_measure_bytes("brood_command_out, 256 MiB", COMMAND_OUT_LEN, capture_ns);
    command_measure_bytes("brood_check_output, 256 MiB", COMMAND_OUT_LEN, check_output_ns);
    command_measure_bytes("brood_command_communicate, 64 MiB", COMMAND_THROUGH_LEN, communicate_ns);
    command_measure("brood_call", call);
    return 0;
}
