/* SPDX-License-Identifier: MIT */
/* The ways a task can end, one task for each. The pool survives all of them, and the outcome
 * says which it was: the signal, the exit status, the limit, and after a crash where. */
#include <brood/easy.h>
#include <signal.h>
#include <unistd.h>

/* [tasks] */
static int return_well(brood_task *task)
{
    (void)task;
    return 0;
}

static int return_an_error(brood_task *task)
{
    (void)task;
    return -ENOENT;
}

static int read_through_null(brood_task *task)
{
    const volatile int *nothing = task->context; /* this pool has none */

    return *nothing;
}

static int call_abort(brood_task *task)
{
    (void)task;
    abort();
}

static int recurse_for_ever(brood_task *task)
{
    volatile char frame[4096];

    frame[0] = (char)task->attempt;
    return task->attempt > 0 ? 0 : recurse_for_ever(task) + frame[0];
}

static int call_exit(brood_task *task)
{
    (void)task;
    exit(3);
}

static int be_killed(brood_task *task)
{
    (void)task;
    return kill(getpid(), SIGKILL);
}

static int loop_for_ever(brood_task *task)
{
    for (volatile unsigned turns = 0; task->attempt == 0;)
        turns++;
    return 0;
}

static int eat_memory(brood_task *task)
{
    enum { PIECE_LEN = 1 << 20 };
    volatile char *piece; /* else a clever compiler allocates nothing */

    (void)task;
    while ((piece = malloc(PIECE_LEN)) != NULL)
        for (size_t at = 0; at < PIECE_LEN; at += 1024)
            piece[at] = 'x';
    return -ENOMEM;
}
/* [tasks] */

static const struct {
    const char *name;
    brood_task_fn *fn;
} ways[] = {
    {"return well", return_well},
    {"return an error", return_an_error},
    {"read through NULL", read_through_null},
    {"call abort", call_abort},
    {"recurse for ever", recurse_for_ever},
    {"call exit", call_exit},
    {"be killed", be_killed},
    {"loop for ever", loop_for_ever},
    {"eat memory", eat_memory},
};

/* [main] */
int main(void)
{
    const brood_task_options each = {.timeout_ms = 1000};
    BROOD_AUTO(pool) *pool = NULL;
    BROOD_AUTO(group) *group = NULL;
    const brood_result *result;

    BROOD_MUST(brood_pool_new(&pool, &(brood_pool_options){.memory_max = 64 << 20}));
    BROOD_MUST(brood_group_new(&group, pool, &(brood_group_options){.ordered = true}));
    for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++)
        BROOD_MUST(brood_group_submit(group, ways[i].fn, NULL, 0, &each));

    while (BROOD_MUST(brood_group_next(group, BROOD_FOREVER, &result)))
        brood_outcome_print(stdout, ways[result->index].name, &result->outcome);
    return 0;
}
/* [main] */
