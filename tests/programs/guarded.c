/* SPDX-License-Identifier: MIT */
/*
 * A command for the tests of the guard: what it does is its first argument. What others wait for
 * it writes to its output, which whoever it leaves behind holds open.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MIB = 1 << 20 };

static void say(const char *text)
{
    if (write(STDOUT_FILENO, text, strlen(text)) < 0)
        _exit(99);
}

static void rest(void)
{
    for (;;)
        (void)pause();
}

static unsigned long number(char **arguments)
{
    return arguments[0] == NULL ? 0 : strtoul(arguments[0], NULL, 10);
}

/* ---- one process ---- */

static void leave(char **arguments)
{
    _exit((int)number(arguments));
}

static void die(char **arguments)
{
    (void)raise((int)number(arguments));
}

static void hold(char **arguments)
{
    (void)arguments;
    say("ready\n");
    rest();
}

static void ignore(char **arguments)
{
    (void)signal(SIGTERM, SIG_IGN);
    hold(arguments);
}

static void stop(char **arguments)
{
    (void)arguments;
    say("ready\n");
    (void)raise(SIGSTOP);
    rest();
}

static volatile sig_atomic_t caught;

static void note(int signo)
{
    caught = signo;
}

/* Ends with the number of the signal as its code. */
static void catch (char **arguments)
{
    sigset_t all, none;

    (void)arguments;
    (void)sigfillset(&all);
    (void)sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &all, NULL);
    for (int signo = 1; signo < 32; signo++)
        (void)signal(signo, note);
    say("ready\n");
    while (caught == 0 || caught == SIGCONT)
        (void)sigsuspend(&none);
    _exit(caught);
}

static void silent(char **arguments)
{
    (void)arguments;
    (void)close(STDOUT_FILENO);
    rest();
}

static void eat(char **arguments)
{
    unsigned long len_max = number(arguments) * MIB;

    for (unsigned long len = 0; len < len_max; len += MIB) {
        char *piece = mmap(NULL, MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

        if (piece == MAP_FAILED)
            break;
        memset(piece, 1, MIB);
    }
    say("ready\n");
    rest();
}

static void burn(char **arguments)
{
    (void)arguments;
    say("ready\n");
    for (volatile unsigned long turn = 0;; turn++)
        continue;
}

/* ---- what it was given ---- */

static void show_fds(void)
{
    printf("fds=");
    for (int fd = 0; fd < 1024; fd++) {
        if (fcntl(fd, F_GETFD) >= 0)
            printf("%d,", fd);
    }
    printf("\n");
}

static void show_signals(void)
{
    unsigned long long ignored = 0, blocked = 0;
    sigset_t mask;

    (void)sigprocmask(SIG_BLOCK, NULL, &mask);
    for (int signo = 1; signo < 32; signo++) {
        struct sigaction action;

        (void)sigaction(signo, NULL, &action);
        if (action.sa_handler == SIG_IGN)
            ignored |= 1ull << (signo - 1);
        if (sigismember(&mask, signo))
            blocked |= 1ull << (signo - 1);
    }
    printf("ignored=%llx\nblocked=%llx\n", ignored, blocked);
}

static void show_limits(void)
{
    struct rlimit files = {0}, core = {0};
    cpu_set_t set;

    (void)getrlimit(RLIMIT_NOFILE, &files);
    (void)getrlimit(RLIMIT_CORE, &core);
    (void)sched_getaffinity(0, sizeof set, &set);
    printf("files=%llu\ncore=%llu\n", (unsigned long long)files.rlim_cur,
           (unsigned long long)core.rlim_cur);
    printf("cpus=%d\ncpu0=%d\n", CPU_COUNT(&set), CPU_ISSET(0, &set) != 0);
}

static void show(char **arguments)
{
    char cwd[4096];
    mode_t mask = umask(0);
    int death = 0;

    (void)arguments;
    (void)prctl(PR_GET_PDEATHSIG, &death);
    show_fds();
    show_signals();
    show_limits();
    printf("cwd=%s\n", getcwd(cwd, sizeof cwd));
    printf("umask=%o\n", (unsigned)mask);
    printf("nice=%d\n", getpriority(PRIO_PROCESS, 0));
    printf("session=%d\n", getsid(0) == getpid());
    printf("leader=%d\n", getpgrp() == getpid());
    printf("group=%d\n", (int)getpgrp());
    printf("uid=%u\ngid=%u\ngroups=%d\n", geteuid(), getegid(), getgroups(0, NULL));
    printf("privileges=%d\n", prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0));
    printf("death=%d\n", death);
    printf("pid=%d\n", (int)getpid());
    printf("variable=%s\n", getenv("GUARDED") == NULL ? "" : getenv("GUARDED"));
    for (char **argument = arguments; *argument != NULL; argument++)
        printf("argument=%s\n", *argument);
    (void)fflush(stdout);
    _exit(0);
}

static void terminal(char **arguments)
{
    int fd = open("/dev/tty", O_RDWR | O_CLOEXEC);

    (void)arguments;
    _exit(fd < 0 ? 1 : 0);
}

/* ---- more than one ---- */

/* A child in the family, one with a session of its own, and one that has no parent any more. Each
 * is there before this returns. */
static void have_family(void)
{
    char here;
    int ready[2];

    if (pipe2(ready, O_CLOEXEC) != 0)
        _exit(98);
    for (int kind = 0; kind < 3; kind++) {
        if (fork() != 0)
            continue;
        if (kind > 0)
            (void)setsid();
        if (kind == 2 && fork() != 0)
            _exit(0);
        (void)write(ready[1], "x", 1);
        (void)close(ready[1]);
        rest();
    }
    for (int kind = 0; kind < 3; kind++) {
        if (read(ready[0], &here, 1) != 1)
            _exit(97);
    }
}

static void family_exit(char **arguments)
{
    have_family();
    _exit((int)number(arguments));
}

static void family_hold(char **arguments)
{
    have_family();
    hold(arguments);
}

static void family_ignore(char **arguments)
{
    (void)signal(SIGTERM, SIG_IGN);
    family_hold(arguments);
}

/* Everybody forks, until N were born in all; who is born after that rests. */
static void bomb(char **arguments)
{
    unsigned max = (unsigned)number(arguments);
    _Atomic unsigned *born =
        mmap(NULL, sizeof *born, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    (void)signal(SIGTERM, SIG_IGN);
    (void)signal(SIGCHLD, SIG_IGN);
    while (atomic_load(born) < max) {
        if (fork() == 0) {
            if (atomic_fetch_add(born, 1) == 20)
                say("ready\n");
            if (atomic_load(born) % 2 == 0)
                (void)setsid();
        }
    }
    rest();
}

static const struct {
    const char *name;
    void (*run)(char **arguments);
} verbs[] = {
    {"exit", leave},
    {"die", die},
    {"hold", hold},
    {"ignore", ignore},
    {"stop", stop},
    {"catch", catch},
    {"silent", silent},
    {"eat", eat},
    {"burn", burn},
    {"show", show},
    {"terminal", terminal},
    {"family_exit", family_exit},
    {"family_hold", family_hold},
    {"family_ignore", family_ignore},
    {"bomb", bomb},
};

int main(int argc, char **argv)
{
    for (size_t i = 0; argc > 1 && i < sizeof verbs / sizeof verbs[0]; i++) {
        if (strcmp(argv[1], verbs[i].name) == 0)
            verbs[i].run(argv + 2);
    }
    return 96;
}
