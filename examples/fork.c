/* SPDX-License-Identifier: MIT */
/* What is underneath, without brood: fork() returns twice. The flush before it matters: the
 * child gets a copy of the buffer too, and a pipe would show the first line twice. */
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

int main(void)
{
    printf("Process (%d) start...\n", (int)getpid());
    fflush(stdout);

    pid_t pid = fork();
    if (pid < 0) {
        perror("fork");
        return 1;
    }
    if (pid == 0) {
        printf("I am child process (%d) and my parent is %d.\n", (int)getpid(), (int)getppid());
        return 0;
    }
    printf("I (%d) just created a child process (%d).\n", (int)getpid(), (int)pid);
    fflush(stdout);
    return waitpid(pid, NULL, 0) != pid; /* a parent that left now would no longer be its parent */
}
