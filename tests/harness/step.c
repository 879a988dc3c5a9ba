/* SPDX-License-Identifier: MIT */
/*
 * Sweeps over the instructions of an operation.
 *
 * Each point has its own arrangement (memory zeroed, setup, perhaps a first victim) and its own
 * victim, which is dead or gone when the point is done. The memory is one mapping, used again and
 * again, so that addresses are the same in each run and the recorded way stays true.
 *
 * A point that is not reached, because the victim went another way, is counted and given up: the
 * victim is killed where it is and the oracle is not asked.
 *
 * Not here: how a process is stopped at an instruction (trace.c).
 */
#include "harness/step.h"

#include "harness/machine.h"
#include "harness/record.h"
#include "harness/sweep.h"
#include "harness/test.h"
#include "harness/trace.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

const char *step_is_impossible(void)
{
#if !MACHINE_HAS_STEPS
    return "no single steps on this machine";
#else
    pid_t pid;
    int status;

    if (TEST_TSAN)
        return "under TSan the instructions are not those of the library";
    pid = CHECK_OK(fork());
    if (pid == 0)
        _exit(ptrace(PTRACE_TRACEME, 0, NULL, NULL) == 0 ? 0 : 1);
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    return status == 0 ? NULL : "no ptrace here";
#endif
}

#if !MACHINE_HAS_STEPS

void step_kill(const struct step_plan *plan)
{
    (void)plan;
    SKIP("%s", step_is_impossible());
}

void step_pause(const struct step_plan *plan)
{
    step_kill(plan);
}

void step_kill_repair(const struct step_plan *plan)
{
    step_kill(plan);
}

#else

extern const char __ehdr_start[] __attribute__((visibility("hidden")));

typedef void step_operation(void *memory, void *context);

/* One sweep: how many points there were and what became of them. */
struct tally {
    unsigned points;
    unsigned tried;
    unsigned missed;
};

struct steps {
    const struct step_plan *plan;
    void *memory;
    step_operation *operation; /* of the victim that is swept now */
    struct trace_setting *setting;
    struct tally tally;
};

/* ---- the victim ---- */

static void do_prepare(void *context)
{
    const struct steps *steps = context;

    if (steps->plan->prepare != NULL)
        steps->plan->prepare(steps->memory, steps->plan->context);
}

static void do_operation(void *context)
{
    const struct steps *steps = context;

    steps->operation(steps->memory, steps->plan->context);
}

static void arrange(const struct steps *steps)
{
    memset(steps->memory, 0, steps->plan->memory_len);
    if (steps->plan->setup != NULL)
        steps->plan->setup(steps->memory, steps->plan->context);
}

static void clear_away(const struct steps *steps)
{
    if (steps->plan->teardown != NULL)
        steps->plan->teardown(steps->memory, steps->plan->context);
}

static void start_victim(struct steps *steps, step_operation *operation, struct tracee *out)
{
    steps->operation = operation;
    trace_start(out, operation == steps->plan->operation ? do_prepare : NULL, do_operation, steps);
}

/* ---- points ---- */

/* There is one after the last instruction: returned, or asleep. */
static unsigned point_count(const struct trace *trace)
{
    return trace->count + 1;
}

/* The I-th of SHARE points, evenly spread; the first and the last are always among them. */
static unsigned nth_point(unsigned i, unsigned share, unsigned count)
{
    return share == 1 ? 0 : (unsigned)((uint64_t)i * (count - 1) / (share - 1));
}

static void say_where(const char *what, const struct trace *trace, unsigned point)
{
    if (point < trace->count)
        test_where("%s before instruction %u of %u, at 0x%llx of the program", what, point,
                   trace->count,
                   (unsigned long long)(trace->places[point] - (uint64_t)(uintptr_t)__ehdr_start));
    else
        test_where("%s %s after %u instructions", what,
                   trace->end == TRACE_ASLEEP ? "asleep" : "finished", trace->count);
}

/* Drives a fresh victim to POINT. False, and the victim is dead, if it does not come by. */
static bool bring_to(struct tracee *tracee, const struct trace *trace, unsigned point,
                     struct step_victim *out)
{
    enum trace_event wanted = point < trace->count ? TRACE_STOPPED : trace->end;
    enum trace_event event =
        point < trace->count ? trace_go_to(tracee, trace, point) : trace_go_on(tracee);

    if (event == TRACE_GONE)
        FAIL("the victim ended inside its operation, status 0x%x", (unsigned)tracee->status);
    *out = (struct step_victim){.pid = tracee->pid,
                                .point = point,
                                .finished = event == TRACE_AT_END,
                                .asleep = event == TRACE_ASLEEP};
    if (event == wanted)
        return true;
    trace_kill(tracee);
    return false;
}

static void record(struct steps *steps, step_operation *operation, struct trace *out)
{
    struct tracee tracee;

    test_where("while the way of the operation is recorded");
    start_victim(steps, operation, &tracee);
    trace_record(&tracee, out);
    trace_kill(&tracee);
}

static void ask_oracle(const struct steps *steps, const struct step_victim *victim)
{
    steps->plan->oracle(steps->memory, victim, steps->plan->context);
}

/* A victim of OPERATION, killed at POINT. */
static bool kill_at(struct steps *steps, step_operation *operation, const struct trace *trace,
                    unsigned point, struct step_victim *out)
{
    struct tracee tracee;

    start_victim(steps, operation, &tracee);
    if (!bring_to(&tracee, trace, point, out))
        return false;
    trace_kill(&tracee);
    return true;
}

static void count_point(struct steps *steps, bool is_reached)
{
    steps->tally.tried++;
    steps->tally.missed += !is_reached;
}

/* ---- the three sweeps, one point each ---- */

static void kill_once(struct steps *steps, const struct trace *trace, unsigned point)
{
    struct step_victim victim;
    bool is_reached;

    arrange(steps);
    say_where("killed", trace, point);
    is_reached = kill_at(steps, steps->plan->operation, trace, point, &victim);
    if (is_reached)
        ask_oracle(steps, &victim);
    count_point(steps, is_reached);
    clear_away(steps);
}

/* A victim that was stopped at a point, and goes on to its end. */
static void resume(struct steps *steps, struct tracee *tracee, struct step_victim *victim)
{
    enum trace_event event = trace_go_on(tracee);

    victim->finished = event == TRACE_AT_END;
    victim->asleep = event == TRACE_ASLEEP;
    if (event == TRACE_ASLEEP)
        trace_kill(tracee);
    else if (event == TRACE_GONE || trace_finish(tracee) != 0)
        FAIL("the victim did not end well, status 0x%x", (unsigned)tracee->status);
    ask_oracle(steps, victim);
}

static void pause_once(struct steps *steps, const struct trace *trace, unsigned point)
{
    struct step_victim victim;
    struct tracee tracee;
    bool is_reached;

    arrange(steps);
    say_where("stopped", trace, point);
    start_victim(steps, steps->plan->operation, &tracee);
    is_reached = bring_to(&tracee, trace, point, &victim);
    if (is_reached) {
        if (steps->plan->meanwhile != NULL)
            steps->plan->meanwhile(steps->memory, &victim, steps->plan->context);
        resume(steps, &tracee, &victim);
    }
    count_point(steps, is_reached);
    clear_away(steps);
}

/* A first victim dies at POINT, and the one that repairs at point AT of its own way. */
static void kill_both(struct steps *steps, const struct trace *trace, unsigned point,
                      const struct trace *repair, unsigned at)
{
    struct step_victim victim;
    bool is_reached;

    arrange(steps);
    say_where("first victim killed", trace, point);
    is_reached = kill_at(steps, steps->plan->operation, trace, point, &victim);
    if (is_reached) {
        say_where("repairer killed", repair, at);
        is_reached = kill_at(steps, steps->plan->repair, repair, at, &victim);
    }
    if (is_reached)
        ask_oracle(steps, &victim);
    count_point(steps, is_reached);
    clear_away(steps);
}

/* What a repair does depends on where the first victim died, so its way is recorded for each. */
static void kill_twice(struct steps *steps, const struct trace *trace, unsigned point)
{
    unsigned sample = steps->plan->sample / 10 + 1;
    struct step_victim first;
    struct trace repair;
    unsigned share;

    arrange(steps);
    say_where("first victim killed", trace, point);
    if (!kill_at(steps, steps->plan->operation, trace, point, &first)) {
        count_point(steps, false);
        clear_away(steps);
        return;
    }
    record(steps, steps->plan->repair, &repair);
    clear_away(steps);
    share = sweep_share(point_count(&repair), sample);
    for (unsigned i = 0; i < share; i++)
        kill_both(steps, trace, point, &repair, nth_point(i, share, point_count(&repair)));
    steps->tally.points += point_count(&repair);
    trace_free(&repair);
}

/* ---- a whole sweep ---- */

typedef void try_point(struct steps *steps, const struct trace *trace, unsigned point);

static void open_steps(struct steps *steps, const struct step_plan *plan)
{
    const char *impossible = step_is_impossible();

    if (impossible != NULL)
        SKIP("%s", impossible);
    *steps = (struct steps){.plan = plan};
    steps->memory =
        mmap(NULL, plan->memory_len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(steps->memory != MAP_FAILED);
    steps->setting = trace_enter();
}

static bool went_another_way(const struct tally *tally)
{
    return tally->missed * 2 > tally->tried;
}

static void close_steps(struct steps *steps, const char *what)
{
    const struct tally *tally = &steps->tally;
    const char *name = steps->plan->name;

    trace_leave(steps->setting);
    (void)munmap(steps->memory, steps->plan->memory_len);
    test_where("%s", "");
    test_note("%s%s%s: %u of %u points tried, %u not reached", what, name == NULL ? "" : " of ",
              name == NULL ? "" : name, tally->tried, tally->points, tally->missed);
    if (went_another_way(tally))
        FAIL("the operation went another way in %u of %u runs", tally->missed, tally->tried);
}

static void sweep(struct steps *steps, try_point *try)
{
    struct trace trace;
    unsigned sample = steps->plan->sample;
    unsigned share;

    steps->tally = (struct tally){0};
    arrange(steps);
    record(steps, steps->plan->operation, &trace);
    clear_away(steps);
    share = sweep_share(point_count(&trace), try == kill_twice ? sample / 10 + 1 : sample);
    for (unsigned i = 0; i < share; i++)
        try(steps, &trace, nth_point(i, share, point_count(&trace)));
    if (try != kill_twice)
        steps->tally.points = point_count(&trace);
    trace_free(&trace);
}

/* On a busy machine the run that was recorded may have been the odd one: so it gets a second
 * chance. */
static void run_steps(const struct step_plan *given, try_point *try, const char *what)
{
    struct step_plan plan = *given;
    struct steps steps;

    if (plan.sample == 0)
        plan.sample = 100;
    open_steps(&steps, &plan);
    sweep(&steps, try);
    if (went_another_way(&steps.tally))
        sweep(&steps, try);
    close_steps(&steps, what);
}

void step_kill(const struct step_plan *plan)
{
    run_steps(plan, kill_once, "step-kill");
}

void step_pause(const struct step_plan *plan)
{
    run_steps(plan, pause_once, "step-pause");
}

void step_kill_repair(const struct step_plan *plan)
{
    run_steps(plan, kill_twice, "step-kill of operation and repair");
}

#endif
