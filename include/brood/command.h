/* SPDX-License-Identifier: MIT */
/*
 * brood/command.h - run other people's programs, and have them gone afterwards.
 *
 *     int status = brood_call(BROOD_ARGV("nslookup", "www.python.org"), NULL, NULL);
 *
 *     r = brood_command_start(&command, BROOD_ARGV("sort", "-u"),
 *                             &(brood_command_options){.in = BROOD_TEXT("b\na\nb\n"),
 *                                                      .out = {.kind = BROOD_CAPTURE}});
 *     r = brood_command_wait(command, BROOD_FOREVER, &outcome);
 *     ... brood_command_out(command).data ...
 *     brood_command_free(command);
 *
 * No shell is involved unless you write one: BROOD_SHELL("a | b"). A program without '/' in its
 * name is looked for in PATH, that of the command's own environment, as execvp(3) does.
 *
 * Between your process and the command stands a guard, a tiny process of brood's, whose cost does
 * not grow with the memory of yours. It bounds the command: when its time is over, when you stop or
 * free it, and when your process ends, however it does, the command is gone with all its
 * descendants, also those that left its process group or its session. When the command ends by
 * itself, what it left behind is killed too, unless .leave_running says otherwise. How surely, is
 * .containment of the outcome. A wait never hangs on a descendant that holds a pipe: once the
 * command's tree is gone, what the pipes still hold is read, and that is the end.
 *
 * Threads: different commands may be used by different threads at once, any number of them; one
 *          command by one thread at a time, except that pid, poll, signal, terminate, kill and stop
 *          may be called beside a wait. Callbacks run only inside a wait or communicate.
 * Fork:    a command belongs to the process that started it. In a forked child calls return
 *          BROOD_EFORKED, and free only releases memory.
 * Children: none of your own children is waited for. The guard is a child of yours, which sends
 *          SIGCHLD when it ends; who waits for any child, or ignores that signal, disturbs nothing.
 * Descriptors: none is inherited by accident, neither by the command (it gets 0, 1, 2 and what
 *          .pass names) nor by what other threads start. A command has one, and one more for each
 *          pipe; the first one opens one that stays: the guard's program.
 * Signals: the command begins with an empty mask. What you ignore stays ignored there, but for
 *          SIGPIPE, SIGCHLD and SIGXFSZ.
 */
#ifndef BROOD_COMMAND_H
#define BROOD_COMMAND_H

#include <brood/base.h>

#include <string.h>
#ifdef __cplusplus
#include <initializer_list>
#endif

BROOD_BEGIN_DECLS

typedef struct brood_command brood_command;

/* The words of a command: an array that ends with NULL. In C++ it lives until the ';'. */
#ifdef __cplusplus
#define BROOD_ARGV(...) (std::initializer_list<const char *>{__VA_ARGS__, nullptr}.begin())
#else
#define BROOD_ARGV(...) ((const char *const[]){__VA_ARGS__, NULL})
#endif
/* A line for /bin/sh. What comes from others belongs through brood_quote() first. */
#define BROOD_SHELL(line) BROOD_ARGV("/bin/sh", "-c", (line))

/* What one of the three standard streams of a command is connected to. */
enum brood_stream_kind {
    BROOD_STREAM_DEFAULT = 0, /* BROOD_INHERIT; BROOD_CAPTURE for out in brood_run() and
                                 brood_check_output(), and for err in brood_run() */
    BROOD_INHERIT,            /* yours */
    BROOD_NULL,               /* /dev/null */
    BROOD_PIPE,               /* a pipe whose other end is yours: brood_command_fd() */
    BROOD_BYTES,              /* in: .data is written to it, then comes the end */
    BROOD_FILE,               /* .path: read; or written, created (0666 & ~umask), emptied first
                                 unless .append */
    BROOD_FD,                 /* .fd, which stays yours */
    BROOD_CAPTURE,            /* out, err: kept in memory, up to .max bytes; see .on_data */
    BROOD_MERGE               /* err: goes where out goes, in the order written */
};

/* Which part is kept of an output of more than .max bytes. */
enum brood_keep {
    BROOD_KEEP_HEAD = 0, /* the first .max bytes */
    BROOD_KEEP_TAIL,     /* the last */
    BROOD_KEEP_BOTH      /* half and half */
};

/* What a command has written: a whole line with its newline (the last one perhaps without), or as
 * it comes. FD is 1 or 2. Called inside a wait or communicate. Not 0: the command is stopped, and
 * its verdict is BROOD_ECANCELLED. */
typedef int brood_data_fn(void *arg, int fd, const char *data, size_t len);

typedef struct brood_stream {
    int kind;               /* enum brood_stream_kind */
    const void *data;       /* BYTES: borrowed until the command has ended */
    size_t len;             /* its length */
    const char *path;       /* FILE */
    int fd;                 /* FD */
    bool append;            /* FILE */
    bool lines;             /* CAPTURE: .on_data gets lines, cut at 1 MiB; default: chunks */
    int keep;               /* CAPTURE: enum brood_keep */
    size_t max;             /* CAPTURE: bytes kept; default 64 MiB; BROOD_KEEP_NOTHING: none */
    brood_data_fn *on_data; /* CAPTURE: also gets all of it, dropped or not; or NULL */
    void *arg;              /* its first argument */
    uint64_t reserved[4];   /* must be zero */
} brood_stream;

#define BROOD_KEEP_NOTHING SIZE_MAX
/* For .in: the bytes of a string. */
#define BROOD_TEXT(text) brood_stream_of_text(text)
static inline brood_stream brood_stream_of_text(const char *text)
{
    brood_stream stream;

    memset(&stream, 0, sizeof stream);
    stream.kind = BROOD_BYTES;
    stream.data = text;
    stream.len = strlen(text);
    return stream;
}

/* One more descriptor that the command gets. */
typedef struct brood_pass {
    int fd; /* yours, which stays yours */
    int as; /* its number in the command, 3 or more */
} brood_pass;

typedef struct brood_limit {
    int resource;        /* RLIMIT_... of <sys/resource.h> */
    uint64_t soft, hard; /* UINT64_MAX: no limit */
} brood_limit;

/* Who the command is: needs the right to change it. */
typedef struct brood_ids {
    unsigned uid, gid;
    const unsigned *groups; /* GROUP_COUNT of them; NULL: none */
    unsigned group_count;   /* at most 64 */
} brood_ids;

/* Zero, or a NULL pointer instead of the whole struct, means the default: all is inherited. */
typedef struct brood_command_options {
    brood_stream in, out, err;
    const char *cwd;        /* where it runs; a program with '/' in its name is sought from there */
    const char *const *env; /* ends with NULL. "NAME=value" sets, "NAME" unsets */
    bool env_clear;         /* begin with an empty environment */
    const brood_pass *pass; /* PASS_COUNT more descriptors */
    unsigned pass_count;    /* at most 64 */
    bool new_group;         /* a process group of its own: no Ctrl-C of your terminal */
    bool new_session;       /* a session of its own, without terminal */
    bool terminal;      /* a session with a new terminal as 0, 1 and 2, instead of .in, .out, .err;
                           brood_command_fd(command, 0) is its other side */
    bool no_new_privs;  /* set-user-id programs give it nothing */
    bool leave_running; /* what it leaves behind when it ends by itself lives on */
    const unsigned *umask;
    const brood_ids *ids;
    const brood_limit *limits; /* LIMIT_COUNT of them */
    unsigned limit_count;      /* at most 16 */
    int nice;                  /* is added to yours */
    const unsigned *cpus;      /* CPU_COUNT numbers of CPUs that it may run on */
    unsigned cpu_count;
    int cgroup_fd;         /* a directory of cgroup v2 to join; 0: none */
    int containment;       /* enum brood_containment to try for; default: BROOD_CONTAIN_GROUP */
    int64_t timeout_ms;    /* then it is stopped; 0 or negative: no limit */
    int64_t cpu_time_ms;   /* of the whole tree, looked at about every 0.1 s; 0: no limit */
    uint64_t memory_max;   /* bytes of the whole tree, likewise; 0: no limit */
    int stop_signal;       /* the first step of stopping; default: SIGTERM */
    int64_t stop_grace_ms; /* then SIGKILL; default 2000; negative: SIGKILL at once */
    uint64_t reserved[8];  /* must be zero */
} brood_command_options;

/* Bytes that were captured. */
typedef struct brood_bytes {
    const char *data;  /* LEN bytes and a NUL; never NULL */
    size_t len;        /* of the head and the tail, which follows it */
    uint64_t lost;     /* so many were dropped between the two, also for want of memory */
    uint64_t head_len; /* where they are missing */
} brood_bytes;

/* ---- in one call ---- */

/*
 * brood_call() - run a command and wait for it.
 *
 * OUT_OUTCOME may be NULL; its report lives until this thread's next one. Streams are inherited
 * unless OPTIONS say otherwise; BROOD_PIPE and .terminal are -EINVAL, as nobody would be at the
 * other end. Blocks until the command's tree is gone: bounded by .timeout_ms plus .stop_grace_ms
 * plus the kernel's time to kill.
 *
 * Returns the exit status, 0 to 255; or
 *   BROOD_ECRASHED   a signal ended it
 *   BROOD_EDEADLINE  its time was over, or its CPU time
 *   BROOD_EMEMORY, BROOD_ECANCELLED, BROOD_ELOST (somebody killed its guard)
 *   -ENOENT, -EACCES, ...: not started; the report says which step failed, why, and what to do
 *   -EINVAL          an option out of range, an empty ARGV, a reserved field not zero
 *   -E2BIG           words and environment are too large for the kernel
 *   -EAGAIN, -EMFILE, -ENFILE, -ENOMEM  no process, descriptor or memory to be had
 */
BROOD_API BROOD_MUST_CHECK int brood_call(const char *const *argv,
                                          const brood_command_options *options,
                                          brood_outcome *out_outcome);
/* The same, and an exit status that is not 0 is an error: BROOD_EEXIT. Returns 0 or an error. */
BROOD_API BROOD_MUST_CHECK int brood_check_call(const char *const *argv,
                                                const brood_command_options *options,
                                                brood_outcome *out_outcome);
/*
 * brood_check_output() - what a command writes to its stdout.
 *
 * As brood_check_call(). Sets *OUT_TEXT (and *OUT_LEN, if not NULL) to a copy with a NUL, for
 * free(3), also after BROOD_EEXIT and the like; to NULL if nothing was started. More than .out.max
 * bytes: -EMSGSIZE, and what was kept.
 */
BROOD_API BROOD_MUST_CHECK int brood_check_output(const char *const *argv,
                                                  const brood_command_options *options,
                                                  char **out_text, size_t *out_len);
/*
 * brood_run() - run a command, capture stdout and stderr, wait.
 *
 * Sets *OUT_COMMAND to the command that has ended, for brood_command_out(), brood_command_err()
 * and brood_command_outcome(); free it. Also to one that the system refused to start; but to NULL
 * if the error is one of the arguments or of brood's own resources. Returns as brood_call().
 */
BROOD_API BROOD_MUST_CHECK int brood_run(brood_command **out_command, const char *const *argv,
                                         const brood_command_options *options);

/* ---- step by step ---- */

/*
 * brood_command_start() - start a command.
 *
 * ARGV, OPTIONS and all they point to are copied, except .data of BROOD_BYTES. Takes until the
 * program runs or is known not to: milliseconds, or as long as the file system takes to open it.
 * Returns 0 and sets *OUT_COMMAND, which brood_command_free() releases; or leaves it alone and
 * returns an error as brood_call(). brood_command_start_error() tells more.
 */
BROOD_API BROOD_MUST_CHECK int brood_command_start(brood_command **out_command,
                                                   const char *const *argv,
                                                   const brood_command_options *options);
/* One line about this thread's last start, such as "chdir to '/nowhere': No such file or
 * directory"; "" if it went well. Borrowed until the next start by this thread. */
BROOD_API const char *brood_command_start_error(void);

/*
 * brood_command_wait() - wait until it has ended, TIMEOUT_MS at most; feed and read meanwhile.
 *
 * BYTES are written and captured streams are read as long as this runs (or communicate), so a
 * command that writes more than a pipe holds goes on only in here. May be called any number of
 * times. OUT_OUTCOME may be NULL; its report is borrowed until the command is freed.
 *
 * Returns 0: it has ended, nothing that it started remains (unless .leave_running), captured
 * streams are complete; or -ETIMEDOUT: it still runs; or BROOD_EHANDLE, BROOD_EFORKED; or what a
 * failing poll(2) or read(2) says, -ENOMEM: wait again, or free it.
 */
BROOD_API BROOD_MUST_CHECK int brood_command_wait(brood_command *command, int64_t timeout_ms,
                                                  brood_outcome *out_outcome);
/*
 * brood_command_communicate() - write LEN bytes to its stdin, close that, and wait as above.
 *
 * For a command whose .in is BROOD_PIPE; DATA NULL: only close. A command that ends or closes its
 * stdin without reading all is no error, and SIGPIPE is never raised. After -ETIMEDOUT call it
 * again with the same DATA and LEN: it goes on where it was.
 * Returns as brood_command_wait(), or -EINVAL: bytes for what is no BROOD_PIPE.
 */
BROOD_API BROOD_MUST_CHECK int brood_command_communicate(brood_command *command, const void *data,
                                                         size_t len, int64_t timeout_ms,
                                                         brood_outcome *out_outcome);
/* 1 and fills *OUT_OUTCOME (or NULL) if it has ended, 0 if it runs, BROOD_EHANDLE, BROOD_EFORKED.
 * Never blocks, and reads no streams. */
BROOD_API int brood_command_poll(brood_command *command, brood_outcome *out_outcome);
/* What was captured up to now, or nothing. Borrowed until the next wait, communicate or free. */
BROOD_API brood_bytes brood_command_out(const brood_command *command);
BROOD_API brood_bytes brood_command_err(const brood_command *command);
/* How it ended, borrowed until it is freed; BROOD_PENDING until a wait or poll has said so. */
BROOD_API const brood_outcome *brood_command_outcome(const brood_command *command);

/* Your end of a BROOD_PIPE: 0 to write, 1 and 2 to read; non-blocking it is not. Of .terminal: 0,
 * both ways. It stays the command's: closed by free; brood_command_close_in() closes 0 before. Or
 * -EBADF: that stream is no pipe, or closed; BROOD_EHANDLE, BROOD_EFORKED. */
BROOD_API int brood_command_fd(brood_command *command, int fd);
BROOD_API int brood_command_close_in(brood_command *command);
/* A descriptor that polls readable when poll would return 1, or a captured stream has something to
 * read, or .data may go on: then call wait with a timeout of 0. Borrowed. */
BROOD_API int brood_command_poll_fd(brood_command *command);

/* Sends it a signal; TREE: to all its descendants too; never to somebody else. Returns 0, -ESRCH
 * if it has ended, -EINVAL for no such signal, -EAGAIN (hundreds wait), BROOD_EHANDLE or
 * BROOD_EFORKED. */
BROOD_API int brood_command_signal(brood_command *command, int signo, bool tree);
/* The same: SIGTERM to it, which it may handle or ignore; SIGKILL to it and all its descendants. */
BROOD_API int brood_command_terminate(brood_command *command);
BROOD_API int brood_command_kill(brood_command *command);
/* Begins to stop it, as when its time is over: stop signal, grace, SIGKILL. Its verdict will be
 * BROOD_ECANCELLED. As brood_command_signal(). */
BROOD_API int brood_command_stop(brood_command *command);
/* Its pid, also after it ended; or BROOD_EHANDLE, BROOD_EFORKED. */
BROOD_API int brood_command_pid(const brood_command *command);

/* Kills what still runs with all its descendants, waits for that (for a bounded time: a process in
 * uninterruptible sleep may outlive it), releases all. NULL is allowed; errno is preserved. */
BROOD_API void brood_command_free(brood_command *command);

BROOD_END_DECLS

#endif
