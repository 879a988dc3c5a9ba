/* SPDX-License-Identifier: MIT */
/*
 * harness/step.h - an operation on shared memory, interrupted at each of its instructions.
 *
 * For operations too small to have fault points: a few hundred instructions that may be cut
 * anywhere by SIGKILL, or delayed anywhere by the scheduler.
 *
 *     static void push_one(void *memory, void *context) { ring_push(memory, 7); }
 *     static void repaired(void *memory, const struct step_victim *victim, void *context)
 *     {
 *         ring_repair(memory);
 *         CHECK(ring_count(memory) == 0 || ring_count(memory) == 1);
 *         if (victim->finished)
 *             CHECK_EQ(ring_count(memory), 1);
 *     }
 *     static void fresh(void *memory, void *context) { ring_init(memory); }
 *
 *     TEST_LIMIT(a_push_may_die_anywhere, 120)
 *     {
 *         step_kill(&(struct step_plan){.memory_len = sizeof(struct ring), .setup = fresh,
 *                                       .operation = push_one, .oracle = repaired});
 *     }
 *
 * What happens at each point:
 *
 *     test process             victim (forked, traced)
 *     memory zeroed
 *     setup()
 *                              prepare()                  runs freely
 *                              operation() ... point i    not a single instruction further
 *     [step_pause: meanwhile()]
 *     killed; or goes on to its end and exits (step_pause)
 *     oracle()
 *     teardown()
 *
 * setup, meanwhile, oracle and teardown run in the process of the test, and repair and check with
 * CHECK. The memory is a shared anonymous mapping at the same address in all of them. Whatever else
 * an operation needs (lanes, a second mapping, descriptors) setup and context provide and teardown
 * releases; that works because the victim is forked anew for each point and knows all that the
 * test knows.
 * State outside the memory that setup does not renew must not change what the operation does.
 *
 * Point 0 is before the first instruction of the operation and the last one after its return
 * (.finished). An operation may end by falling asleep in the kernel, such as in a futex wait: the
 * last point is then the sleeping victim (.asleep).
 *
 * The way of the operation is recorded once by single steps. Point i is then reached by a
 * breakpoint, counting how often the address is passed, or by steps if that is less work. An
 * operation that goes another way in a later run (it reads a clock, it meets another thread) may
 * miss its point; the report counts those, and a sweep that reaches less than half of its points
 * fails.
 *
 * A failure says which instruction it was, as a place for addr2line. BROOD_SWEEP=all takes each
 * point, BROOD_SWEEP=N as many, evenly spread. The number of points tried is printed with the
 * result. Skipped where there is no ptrace, on machines other than x86-64 and aarch64, and under
 * TSan, whose instructions are not those of the library; a test that does more asks
 * step_is_impossible().
 */
#ifndef BROOD_TESTS_HARNESS_STEP_H
#define BROOD_TESTS_HARNESS_STEP_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct step_victim {
    pid_t pid;      /* dead, or stopped in meanwhile() */
    unsigned point; /* before this instruction of the operation, from 0 */
    bool finished;  /* the operation had returned */
    bool asleep;    /* it slept in the kernel when it was stopped or killed */
};

/* All but memory_len, operation and oracle may be left out. */
struct step_plan {
    size_t memory_len;
    void (*setup)(void *memory, void *context);
    void (*prepare)(void *memory, void *context);   /* in the victim, not interrupted */
    void (*operation)(void *memory, void *context); /* in the victim, interrupted */
    void (*repair)(void *memory, void *context);    /* step_kill_repair() only */
    void (*meanwhile)(void *memory, const struct step_victim *victim, void *context);
    void (*oracle)(void *memory, const struct step_victim *victim, void *context);
    void (*teardown)(void *memory, void *context); /* for each setup */
    void *context;
    unsigned sample;  /* points taken unless BROOD_SWEEP is set; default 100 */
    const char *name; /* in reports; default: that of the sweep */
};

/* The victim dies at each point. */
void step_kill(const struct step_plan *plan);

/* The victim stops at each point, meanwhile() does what others do at that moment, and the victim
 * goes on to its end. The oracle sees it finished, or asleep if it sleeps then. */
void step_pause(const struct step_plan *plan);

/* The victim dies at a point, and so does the process that does repair() after it, at each point
 * of the repair. The oracle repairs and checks, and is told about the second victim. The sample
 * is shared between the two dimensions. */
void step_kill_repair(const struct step_plan *plan);

/* NULL, or why there can be no steps here. */
const char *step_is_impossible(void);

#endif
