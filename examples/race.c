/* SPDX-License-Identifier: MIT */
/* Turns and moments: runners start together at a barrier, the referee waits by a condition until
 * all have finished. What a condition waits for is looked at in a loop, under its lock. */
#include <brood/easy.h>

enum { RUNNERS = 3 };

struct race {
    brood_barrier start;
    brood_lock lock;         /* guards finished */
    brood_condition changed; /* of finished */
    int finished;
};

/* One number is never half changed: when its owner died, nothing has to be repaired. */
static void lock_race(struct race *race)
{
    if (BROOD_MUST(brood_lock_acquire(&race->lock, BROOD_FOREVER)) == BROOD_OWNER_DIED)
        BROOD_MUST(brood_lock_consistent(&race->lock));
}

static int run(void *arg)
{
    struct race *race = arg;

    /* Exactly one gets 0. -ETIMEDOUT would break the barrier for all, so wait without end: if a
     * runner dies that is here, or was here last, the others get BROOD_EBROKEN. One that dies on
     * its way here does not count: who joins that process calls brood_barrier_abort(). */
    if (BROOD_MUST(brood_barrier_wait(&race->start, BROOD_FOREVER)) == 0)
        printf("All %d are at the start.\n", RUNNERS);
    lock_race(race);
    race->finished++;
    brood_condition_signal(&race->changed);
    return BROOD_MUST(brood_lock_release(&race->lock));
}

/* [wait] */
static void wait_for_all(struct race *race)
{
    lock_race(race);
    while (race->finished < RUNNERS) {
        int r = BROOD_MUST(brood_condition_wait(&race->changed, &race->lock, BROOD_FOREVER));
        if (r == BROOD_OWNER_DIED) /* as lock_race() */
            BROOD_MUST(brood_lock_consistent(&race->lock));
        /* 0 and BROOD_PEER_DIED alike: woken, so look again. */
    }
    BROOD_MUST(brood_lock_release(&race->lock));
}
/* [wait] */

int main(void)
{
    struct race *race = BROOD_MUST_HAVE(brood_shared_alloc(sizeof *race));
    brood_process *runner[RUNNERS];
    int failed = 0;

    BROOD_MUST(brood_barrier_init(&race->start, RUNNERS)); /* lock and condition: zeroed is good */
    for (int i = 0; i < RUNNERS; i++)
        BROOD_MUST(brood_process_start(&runner[i], run, race, 0, NULL));
    wait_for_all(race);
    printf("%d have finished.\n", race->finished);
    for (int i = 0; i < RUNNERS; i++)
        failed += brood_process_finish(runner[i], "runner") != 0;
    brood_shared_free(race);
    return failed != 0;
}
