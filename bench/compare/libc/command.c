/* SPDX-License-Identifier: MIT */
/* Commands by posix_spawn. */
#include "command.h"

#include <spawn.h>
#include <sys/wait.h>

static void once(void)
{
    pid_t pid = 0;
    int status = -1;

    bench_must(
        posix_spawn(&pid, command_true[0], NULL, NULL, command_words(command_true), environ) == 0,
        "a start");
    bench_must(waitpid(pid, &status, 0) == pid && status == 0, "the end of a command");
}

int main(void)
{
    command_measure("posix_spawn", once);
    return 0;
}
