/* SPDX-License-Identifier: MIT */
/*
 * A zygote that dies between forking a child and the child's arming of its own death: the child
 * must notice and go. The kernel sends it nothing, because it asked too late; so after it asked,
 * it looks whether the zygote still lives.
 *
 * This file is compiled again with that look left out (BROOD_MUTANT in run/zygote_birth.c). In
 * that program the sweep must find a worker that nobody owns.
 */
#include "harness/report.h"
#include "harness/sweep.h"
#include "harness/test.h"
#include "run/pool.h"

#ifndef BROOD_MUTANT
#define BROOD_MUTANT 0
#endif

static void open_and_free(void *context)
{
    brood_pool *pool = NULL;

    (void)context;
    for (int i = 0; i < 20 && brood_pool_new(&pool, &(brood_pool_options){.workers = 4}) == 0; i++)
        brood_pool_free(pool);
}

/* Many passages: each is a race between the dying zygote and its newborn. */
TEST_LIMIT(no_newborn_outlives_its_zygote, 120)
{
    sweep_kills(open_and_free, NULL,
                &(struct sweep_options){.roles = 1U << ROLE_ZYGOTE,
                                        .only = "zygote after fork",
                                        .passages_max = 60,
                                        .sample = 60});
}

#if BROOD_MUTANT == 0
TEST_LIMIT(a_newborn_that_does_not_look_for_its_zygote_is_caught, 120)
{
#ifndef BROOD_FAULTS
    SKIP("built without -Dfaults=true");
#endif
    report_must_fail("zygote_no_parent_check", "no_newborn_outlives_its_zygote", "left behind");
}
#endif
