/* SPDX-License-Identifier: MIT */
/* Commands by libuv: a loop for each thread, made once. */
#include "command.h"

#include <uv.h>

static void on_exit_of_command(uv_process_t *process, int64_t status, int signo)
{
    bench_must(status == 0 && signo == 0, "the end of a command");
    uv_close((uv_handle_t *)process, NULL);
}

/* Never released. */
static uv_loop_t *loop_of_thread(void)
{
    static _Thread_local uv_loop_t *loop;

    if (loop == NULL) {
        loop = malloc(sizeof *loop);
        bench_must(loop != NULL && uv_loop_init(loop) == 0, "a loop");
    }
    return loop;
}

static void once(void)
{
    uv_stdio_container_t inherited[3];
    uv_process_t process;
    uv_process_options_t options = {.exit_cb = on_exit_of_command,
                                    .file = command_true[0],
                                    .args = command_words(command_true),
                                    .stdio = inherited,
                                    .stdio_count = 3};

    for (int fd = 0; fd < 3; fd++) {
        inherited[fd].flags = UV_INHERIT_FD;
        inherited[fd].data.fd = fd;
    }
    bench_must(uv_spawn(loop_of_thread(), &process, &options) == 0, "a start");
    bench_must(uv_run(loop_of_thread(), UV_RUN_DEFAULT) == 0, "the end of the loop");
}

int main(void)
{
    command_measure("libuv", once);
    return 0;
}
