/* SPDX-License-Identifier: MIT */
/*
 * brood map: the loop that starts jobs and waits for them.
 *
 *     inputs -> pack -> template -> job --start--> running --ends--> counted, logged, printed
 *                                    ^                |
 *                                    +----retries-----+
 *
 * There is one thread, and one epoll set with one descriptor for each running job. Jobs are made
 * just before they start, so the list of inputs may be endless.
 *
 * A signal (Ctrl-C, SIGTERM, SIGHUP) comes as a byte through a pipe from the handler. The first one
 * means: start no more, let what runs end. The second: kill what runs. Afterwards brood ends itself
 * by the same signal, so that a shell script around it ends as well.
 *
 * When this process dies, however, the guards of the library kill what runs. Nothing is left
 * behind but complete lines in the joblog and results of jobs that had ended.
 */
#include "map.h"

#include "block.h"
#include "job.h"
#include "pack.h"
#include "progress.h"
#include "slots.h"
#include "source.h"
#include "stop.h"
#include "template.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define EVENTS_MAX 64

struct map {
    struct options options;
    struct inputs *inputs;
    struct blocks *blocks;
    struct template *template, *tag;
    struct pack *pack;
    struct joblog *joblog;
    struct results *results;
    struct output *output;
    struct progress progress;
    struct halt halt;
    const char *shell;
    size_t slot_max, running_count, sequence, order, total;
    bool *slot_used;
    size_t slot_room;
    struct job *running; /* the newest first */
    struct job *retry;   /* waits to be started again */
    int poll_fd;
    bool no_more, stop_starting, stdin_given;
    int blocked_fd; /* what the next input is waited for at, or -1 */
    int64_t next_start_us;
    int64_t timeout_ms, stop_grace_ms;
    int stop_signal;
    double timeout_percent, *runtimes;
    size_t runtime_count, runtime_room;
    int interrupts, interrupt_signal;
    struct list environment; /* what is the same for all jobs */
};

static int signal_pipe[2] = {-1, -1};

static void note_signal(int signo)
{
    const int saved = errno;
    const char byte = (char)signo;

    (void)!write(signal_pipe[1], &byte, 1); /* a full pipe has enough of them */
    errno = saved;
}

/* ---- making ---- */

static const struct list *names_of(const struct map *map)
{
    static const struct list none;

    return map->inputs == NULL ? &none : inputs_names(map->inputs);
}

static void parse_timeout(struct map *map, const char *value)
{
    const size_t len = value == NULL ? 0 : strlen(value);
    double seconds;
    char *end;

    if (value == NULL)
        return;
    if (len > 1 && value[len - 1] == '%') {
        map->timeout_percent = strtod(value, &end);
        if (*end != '%' || map->timeout_percent <= 0)
            die("--timeout is a time such as 10, 1m30s, or 200%%; not '%s'", value);
        return;
    }
    seconds = parse_duration(value);
    if (seconds < 0)
        die("--timeout is a time such as 10, 1m30s, or 200%%; not '%s'", value);
    map->timeout_ms = seconds > 0 ? (int64_t)(seconds * 1000) + (seconds < 0.001) : 0;
}

static const char *find_shell(void)
{
    const char *shell = getenv("PARALLEL_SHELL");

    if (shell == NULL || *shell == '\0')
        shell = getenv("SHELL");
    return shell == NULL || *shell == '\0' ? "/bin/sh" : shell;
}

static void make_environment(struct map *map)
{
    char pid[48];

    snprintf(pid, sizeof pid, "PARALLEL_PID=%ld", (long)getpid());
    list_add(&map->environment, text_copy(pid));
    for (size_t i = 0; i < map->options.environment.count; i++)
        if (strchr(map->options.environment.at[i], '=') != NULL)
            list_add(&map->environment, text_copy(map->options.environment.at[i]));
}

/* ARGV is all behind the options: the command, and words behind a separator. */
static void make_parts(struct map *map, char **argv, size_t count)
{
    const struct options *options = &map->options;
    const size_t words = inputs_begin(options, argv, count);

    if (options->pipe)
        map->blocks = blocks_new(options);
    else if (!options->retry_failed)
        map->inputs = inputs_new(options, argv + words, count - words);
    map->template = template_new(options, argv, words, names_of(map), !options->pipe);
    if (options->tag_text != NULL || options->tag)
        map->tag = template_plain(options, options->tag_text != NULL ? options->tag_text : "{}",
                                  names_of(map));
    if (options->pipe && words == 0)
        die("--pipe needs a command, as in: brood map --pipe wc -l");
    if (map->inputs != NULL)
        map->pack = pack_new(options, map->inputs, map->template, map->slot_max);
}

static bool needs_total(const struct map *map)
{
    const struct options *options = &map->options;

    return map->pack != NULL &&
           (template_needs_total(map->template) ||
            (map->tag != NULL && template_needs_total(map->tag)) || map->halt.percent ||
            ((options->bar || options->eta) && options->total <= 0));
}

static void map_open(struct map *map, char **argv, size_t count)
{
    const struct options *options = &map->options;

    map->shell = find_shell();
    map->slot_max = slots_count(options->jobs);
    halt_parse(&map->halt, options->halt);
    parse_timeout(map, options->timeout);
    stop_parse(options->stop_sequence, &map->stop_signal, &map->stop_grace_ms);
    spool_directory_is(options->temporary);
    make_parts(map, argv, count);
    if (needs_total(map))
        map->total = pack_count_all(map->pack);
    map->halt.total = map->total;
    map->joblog = options->dry_run ? NULL : joblog_open(options);
    map->results = options->dry_run ? NULL : results_new(options, names_of(map));
    map->output = output_new(options, results_are_table(map->results));
    progress_begin(&map->progress, options, map->total > 0 ? map->total : (size_t)options->total);
    make_environment(map);
}

static void catch_signals(void)
{
    static const int signals[] = {SIGINT, SIGTERM, SIGHUP};
    struct sigaction action = {.sa_handler = note_signal, .sa_flags = SA_RESTART}, old;

    if (pipe2(signal_pipe, O_CLOEXEC | O_NONBLOCK) != 0)
        die("no pipe to be had: %s", strerror(errno));
    for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++)
        if (sigaction(signals[i], NULL, &old) == 0 && old.sa_handler != SIG_IGN)
            (void)sigaction(signals[i], &action, NULL);
}

static void watch(struct map *map, int fd, void *what)
{
    struct epoll_event event = {.events = EPOLLIN, .data = {.ptr = what}};

    if (epoll_ctl(map->poll_fd, EPOLL_CTL_ADD, fd, &event) != 0)
        die("cannot wait for a job: %s", strerror(errno));
}

/* ---- slots ---- */

static size_t take_slot(struct map *map)
{
    size_t slot = 0;

    while (slot < map->slot_room && map->slot_used[slot])
        slot++;
    if (slot == map->slot_room) {
        map->slot_room = map->slot_room == 0 ? 16 : 2 * map->slot_room;
        map->slot_used = memory_grow(map->slot_used, map->slot_room * sizeof *map->slot_used);
        memset(map->slot_used + slot, 0, (map->slot_room - slot) * sizeof *map->slot_used);
    }
    map->slot_used[slot] = true;
    return slot + 1;
}

/* ---- the next job ---- */

static void fill_texts(struct map *map, struct job *job)
{
    const struct filling filling = {.args = &job->args,
                                    .sequence = job->sequence,
                                    .slot = job->slot,
                                    .total = map->total,
                                    .slot_max = map->slot_max};

    text_clear(&job->tag);
    if (map->tag != NULL)
        template_text(map->tag, &filling, &job->tag);
    if (job->given)
        return;
    text_clear(&job->command);
    template_text(map->template, &filling, &job->command);
}

static bool read_job(struct map *map, struct job *job)
{
    if (map->options.retry_failed) {
        job->given = true;
        return joblog_failed_next(map->joblog, &job->sequence, &job->command);
    }
    job->sequence = ++map->sequence;
    if (map->blocks == NULL)
        return pack_next(map->pack, &job->args);
    list_add(&job->args, text_copy(""));
    return blocks_next(map->blocks, &job->input);
}

static bool is_left_out(struct map *map, struct job *job)
{
    const struct options *options = &map->options;

    if (!options->resume && !options->resume_failed)
        return false;
    if (map->joblog != NULL)
        return joblog_skips(map->joblog, job->sequence);
    return results_have(map->results, job, names_of(map));
}

/* Owned by the caller; NULL when there is none. */
static struct job *make_job(struct map *map)
{
    for (;;) {
        struct job *job = memory_get(sizeof *job);

        job->output = map->output;
        if (!read_job(map, job)) {
            job_free(job);
            map->no_more = true;
            return NULL;
        }
        if (!is_left_out(map, job)) {
            job->order = map->order++;
            return job;
        }
        job_free(job);
    }
}

/* ---- the end of a job ---- */

static void add_runtime(struct map *map, double runtime_s)
{
    size_t at = map->runtime_count;

    if (map->timeout_percent <= 0)
        return;
    if (map->runtime_count == map->runtime_room) {
        map->runtime_room = map->runtime_room == 0 ? 64 : 2 * map->runtime_room;
        map->runtimes = memory_grow(map->runtimes, map->runtime_room * sizeof *map->runtimes);
    }
    for (; at > 0 && map->runtimes[at - 1] > runtime_s; at--)
        map->runtimes[at] = map->runtimes[at - 1];
    map->runtimes[at] = runtime_s;
    map->runtime_count++;
}

static void kill_all(struct map *map)
{
    for (struct job *job = map->running; job != NULL; job = job->next)
        (void)brood_command_stop(job->running); /* one that has just ended is fine too */
}

static void halt_if_reached(struct map *map, const struct job *job)
{
    static const char *const why[] = {"failed", "succeeded", "finished"};

    if (!halt_count(&map->halt, job))
        return;
    output_flush(map->output);
    warn("this job %s, which ends the run: %s", why[map->halt.why], text_string(&job->command));
    map->stop_starting = true;
    if (map->halt.when == HALT_NOW)
        kill_all(map);
}

static void finish(struct map *map, struct job *job)
{
    struct stat status;

    if (job->out_path.len > 0 && stat(job->out_path.data, &status) == 0)
        job->received = (uint64_t)status.st_size;
    map->slot_used[job->slot - 1] = false;
    if (!map->options.dry_run) {
        joblog_add(map->joblog, job);
        if (!job_failed(job))
            add_runtime(map, job->runtime_s);
    }
    results_add(map->results, job);
    progress_ended(&map->progress, job, map->running_count);
    halt_if_reached(map, job);
    output_ended(map->output, job);
}

/* What the library says, as joblog and exit status have it. */
static void read_outcome(struct job *job, const brood_outcome *outcome)
{
    char line[256];

    job->exit_value = job->signal = 0;
    switch (outcome->cause) {
    case BROOD_EXITED:
        job->exit_value = outcome->code;
        break;
    case BROOD_SIGNALLED:
        job->signal = outcome->signal;
        break;
    case BROOD_TIMED_OUT:
        job->timed_out = true;
        job->exit_value = -1;
        job->signal = SIGTERM;
        text_puts(&job->message, "stopped, its time was over; ");
        break;
    case BROOD_OUT_OF_MEMORY:
        job->exit_value = -1;
        job->signal = SIGKILL;
        text_puts(&job->message, "ended, for it used too much memory (oom); ");
        break;
    case BROOD_CANCELLED:
        job->exit_value = -1;
        job->signal = SIGTERM;
        if (job->timed_out)
            text_puts(&job->message, "stopped, its time was over; ");
        break;
    default:
        job->exit_value = -1;
        text_printf(&job->message, "%s; ", brood_outcome_text(outcome, line, sizeof line));
        break;
    }
}

static bool tries_again(const struct map *map, const struct job *job)
{
    return job_failed(job) && !map->stop_starting &&
           (map->options.retries == 0 || job->attempts < (size_t)map->options.retries);
}

static void forget_output(struct job *job)
{
    spool_done(&job->out);
    spool_done(&job->err);
    text_clear(&job->out_line);
    text_clear(&job->err_line);
    text_clear(&job->message);
    job->received = 0;
    job->timed_out = false;
}

static void unlink_running(struct map *map, struct job *job)
{
    if (job->next != NULL)
        job->next->previous = job->previous;
    if (job->previous != NULL)
        job->previous->next = job->next;
    else
        map->running = job->next;
    job->next = job->previous = NULL;
    map->running_count--;
}

static void ended(struct map *map, struct job *job, const brood_outcome *outcome)
{
    job->runtime_s = (double)(clock_us() - job->started_us) / 1e6;
    read_outcome(job, outcome);
    brood_command_free(job->running);
    job->running = NULL;
    unlink_running(map, job);
    if (!tries_again(map, job)) {
        finish(map, job);
        return;
    }
    map->slot_used[job->slot - 1] = false;
    forget_output(job);
    job->next = map->retry;
    map->retry = job;
}

/* ---- the start of a job ---- */

static void add_variable(struct list *list, const char *name, size_t number)
{
    struct text text = {0};

    text_printf(&text, "%s=%zu", name, number);
    list_add(list, text.data);
}

static void set_limits(const struct map *map, brood_command_options *out)
{
    const struct options *options = &map->options;

    out->new_group = true;
    out->cwd = options->directory;
    out->nice = options->nice;
    out->timeout_ms = map->timeout_ms;
    out->stop_signal = map->stop_signal;
    out->stop_grace_ms = map->stop_grace_ms;
    out->memory_max = (uint64_t)options->memory_max;
    out->cpu_time_ms = (int64_t)(options->cpu_time_s * 1000);
    if (options->namespace_wanted)
        out->containment = BROOD_CONTAIN_NAMESPACE;
}

static void set_input(struct map *map, const struct job *job, brood_command_options *out)
{
    const bool is_input = map->inputs == NULL || inputs_use_stdin(map->inputs);

    out->in.kind = BROOD_NULL;
    if (map->options.pipe) {
        out->in = (brood_stream){
            .kind = BROOD_BYTES, .data = text_string(&job->input), .len = job->input.len};
    } else if (!is_input && !map->stdin_given && !isatty(STDIN_FILENO)) {
        out->in.kind = BROOD_INHERIT;
        map->stdin_given = true;
    }
}

static int start_command(struct map *map, struct job *job, brood_command_options *options)
{
    const struct filling filling = {.args = &job->args,
                                    .sequence = job->sequence,
                                    .slot = job->slot,
                                    .total = map->total,
                                    .slot_max = map->slot_max};
    const char *const by_shell[] = {map->shell, "-c", text_string(&job->command), NULL};
    const char *const *argv = by_shell;
    struct list words = {0};
    int r;

    if (!job->given && template_argv(map->template, &filling, &words)) {
        list_add(&words, NULL);
        argv = (const char *const *)words.at;
    }
    r = brood_command_start(&job->running, argv, options);
    list_done(&words);
    return r;
}

static int start_with_environment(struct map *map, struct job *job, brood_command_options *options)
{
    struct list list = {0};
    int r;

    add_variable(&list, "PARALLEL_SEQ", job->sequence);
    add_variable(&list, "PARALLEL_JOBSLOT", job->slot);
    if (map->options.slot_variable != NULL)
        add_variable(&list, map->options.slot_variable, job->slot - 1);
    for (size_t i = 0; i < map->environment.count; i++)
        list_add(&list, text_copy(map->environment.at[i]));
    list_add(&list, NULL);
    options->env = (const char *const *)list.at;
    r = start_command(map, job, options);
    list_done(&list);
    return r;
}

static bool is_shortage(int error)
{
    return error == -EAGAIN || error == -EMFILE || error == -ENFILE || error == -ENOMEM;
}

static void not_started(struct map *map, struct job *job, int error)
{
    text_printf(&job->message, "not started: %s; ", brood_command_start_error());
    job->exit_value = error == -ENOENT ? 127 : 126;
    finish(map, job);
}

static void make_file(struct text *path)
{
    const int fd = temporary_file(path);

    if (fd < 0)
        die("cannot make a file for output: %s; --tmpdir DIR names another place",
            brood_strerror(fd));
    close(fd);
}

static double epoch_s(void)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void link_running(struct map *map, struct job *job)
{
    job->previous = NULL;
    job->next = map->running;
    if (map->running != NULL)
        map->running->previous = job;
    map->running = job;
    map->running_count++;
}

/* Returns false if there is no room for it now: then it is tried again when another has ended. */
static bool start(struct map *map, struct job *job)
{
    brood_command_options options = {0};
    int r;

    job->slot = take_slot(map);
    fill_texts(map, job);
    if (map->options.dry_run) {
        finish(map, job);
        return true;
    }
    results_prepare(map->results, job, names_of(map));
    if (map->options.files_only && job->out_path.len == 0)
        make_file(&job->out_path);
    output_streams(map->output, job, &options);
    set_limits(map, &options);
    set_input(map, job, &options);
    job->started_us = clock_us();
    job->started_s = epoch_s();
    r = start_with_environment(map, job, &options);
    if (is_shortage(r) && map->running_count > 0) {
        map->slot_used[job->slot - 1] = false;
        return false;
    }
    job->attempts++;
    if (r < 0) {
        not_started(map, job, r);
        return true;
    }
    link_running(map, job);
    watch(map, brood_command_poll_fd(job->running), job);
    return true;
}

/* ---- the loop ---- */

/* When the next start is allowed, in milliseconds; 0: now. */
static int64_t hold_ms(const struct map *map)
{
    const int64_t left_us = map->next_start_us - clock_us();

    if (map->options.delay_s > 0 && left_us > 0)
        return left_us / 1000 + 1;
    return slots_hold_ms(&map->options);
}

static struct job *next_job(struct map *map)
{
    struct job *job = map->retry;

    if (job == NULL)
        return map->no_more ? NULL : make_job(map);
    map->retry = job->next;
    job->next = NULL;
    return job;
}

/* Would making the next job wait for stdin? Output, signals and jobs that end must not wait too. */
static bool waits_for_input(struct map *map)
{
    map->blocked_fd = -1;
    if (map->retry != NULL || map->no_more)
        return false;
    if (map->blocks != NULL && !blocks_ready(map->blocks))
        map->blocked_fd = STDIN_FILENO;
    else if (map->blocks == NULL && map->inputs != NULL && map->total == 0)
        map->blocked_fd = inputs_blocked_fd(map->inputs);
    return map->blocked_fd >= 0;
}

/* Starts what may start. Returns how long to wait at most until the next start; -1: any time. */
static int64_t start_jobs(struct map *map)
{
    map->blocked_fd = -1;
    while (!map->stop_starting && map->running_count < map->slot_max &&
           (map->retry != NULL || !map->no_more)) {
        const int64_t hold = hold_ms(map);
        struct job *job;

        if (hold > 0)
            return hold;
        if (waits_for_input(map))
            return -1;
        job = next_job(map);
        if (job == NULL)
            break;
        if (!start(map, job)) {
            job->next = map->retry;
            map->retry = job;
            return -1;
        }
        map->next_start_us = clock_us() + (int64_t)(map->options.delay_s * 1e6);
    }
    return -1;
}

static void take_signals(struct map *map)
{
    unsigned char byte;

    while (read(signal_pipe[0], &byte, 1) == 1) {
        map->interrupt_signal = byte;
        map->stop_starting = true;
        output_flush(map->output);
        if (map->interrupts++ == 0) {
            if (map->running_count > 0)
                warn("no new jobs; waiting for %zu that run. Once more to kill them.",
                     map->running_count);
        } else {
            for (struct job *job = map->running; job != NULL; job = job->next)
                (void)brood_command_kill(job->running);
        }
    }
}

/* --timeout N%: of the median of those that succeeded. */
static void stop_slow_ones(struct map *map)
{
    const size_t count = map->runtime_count;
    double limit_s;

    if (map->timeout_percent <= 0 || count < 3)
        return;
    limit_s = map->runtimes[count / 2] * map->timeout_percent / 100;
    for (struct job *job = map->running; job != NULL; job = job->next)
        if (!job->timed_out && (double)(clock_us() - job->started_us) / 1e6 > limit_s) {
            job->timed_out = true;
            (void)brood_command_stop(job->running); /* if it has ended, so much the better */
        }
}

static void wait_for_events(struct map *map, int64_t timeout_ms)
{
    struct epoll_event events[EVENTS_MAX];
    int count;

    if (map->timeout_percent > 0 && (timeout_ms < 0 || timeout_ms > 50))
        timeout_ms = 50;
    if (progress_is_on(&map->progress) && (timeout_ms < 0 || timeout_ms > 500))
        timeout_ms = 500;
    output_flush(map->output);
    if (map->blocked_fd >= 0) {
        struct pollfd polled[2] = {{.fd = map->poll_fd, .events = POLLIN},
                                   {.fd = map->blocked_fd, .events = POLLIN}};

        (void)poll(polled, 2, (int)timeout_ms); /* epoll_wait() tells what it was */
        timeout_ms = 0;
    }
    count = epoll_wait(map->poll_fd, events, EVENTS_MAX, (int)timeout_ms);
    for (int i = 0; i < count; i++) {
        struct job *job = events[i].data.ptr;
        brood_outcome outcome;
        int r;

        if (job == NULL) {
            take_signals(map);
            continue;
        }
        r = brood_command_wait(job->running, 0, &outcome);
        if (r == 0)
            ended(map, job, &outcome);
        else if (r != -ETIMEDOUT)
            die("lost a job: %s", brood_strerror(r));
    }
    stop_slow_ones(map);
    progress_show(&map->progress, map->running_count);
}

static void run_all(struct map *map)
{
    for (;;) {
        const int64_t timeout_ms = start_jobs(map);
        const bool none_left = map->stop_starting || (map->no_more && map->retry == NULL);

        if (map->running_count == 0 && none_left)
            break;
        wait_for_events(map, timeout_ms);
    }
}

static void map_close(struct map *map)
{
    while (map->retry != NULL) {
        struct job *job = map->retry;

        map->retry = job->next;
        finish(map, job);
    }
    progress_end(&map->progress);
    output_flush(map->output);
    output_free(map->output);
    results_free(map->results);
    joblog_close(map->joblog);
    if (map->pack != NULL)
        pack_free(map->pack);
    if (map->inputs != NULL)
        inputs_free(map->inputs);
    blocks_free(map->blocks);
    template_free(map->template);
    template_free(map->tag);
    list_done(&map->environment);
    list_done(&map->options.environment);
    list_done(&map->options.files);
    free(map->slot_used);
    free(map->runtimes);
    close(map->poll_fd);
}

int verb_map(int argc, char **argv)
{
    static struct map map;
    struct options *options = &map.options;
    int first;

    text_program_is("brood map");
    *options = (struct options){.separator_words = ":::", .separator_files = "::::", .retries = 1};
    first = options_read(options, VERB_MAP, argc, argv);
    map.poll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (map.poll_fd < 0)
        die("cannot wait for jobs: %s", strerror(errno));
    catch_signals();
    watch(&map, signal_pipe[0], NULL);
    map_open(&map, argv + first, (size_t)(argc - first));
    run_all(&map);
    map_close(&map);
    if (map.interrupts > 0) {
        (void)sigaction(map.interrupt_signal, &(struct sigaction){.sa_handler = SIG_DFL}, NULL);
        (void)raise(map.interrupt_signal);
    }
    return halt_status(&map.halt);
}
