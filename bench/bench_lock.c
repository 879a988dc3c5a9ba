/* SPDX-License-Identifier: MIT */
/*
 * How many turns a second with brood's locks and semaphores, alone and where several want one, and
 * how fast two processes take turns by conditions? All of them notice the death of an owner.
 */
#include "lock.h"

#include <brood/easy.h>
#include <brood/region.h>
#include <brood/sync.h>

static struct {
    _Alignas(64) brood_lock lock;
    _Alignas(64) brood_recursive_lock recursive;
    _Alignas(64) brood_semaphore semaphore;
    _Alignas(64) brood_bounded_semaphore bounded;
    _Alignas(64) brood_condition conditions[2];
} * shared;

static void lock_acquire(void)
{
    bench_must(brood_lock_acquire(&shared->lock, BROOD_FOREVER) == 0, "the lock");
}

static void lock_release(void)
{
    (void)brood_lock_release(&shared->lock);
}

static void recursive_acquire(void)
{
    bench_must(brood_recursive_lock_acquire(&shared->recursive, BROOD_FOREVER) == 0,
               "the recursive lock");
}

static void recursive_release(void)
{
    (void)brood_recursive_lock_release(&shared->recursive);
}

static void semaphore_acquire(void)
{
    bench_must(brood_semaphore_acquire(&shared->semaphore, BROOD_FOREVER) == 0, "the semaphore");
}

static void semaphore_release(void)
{
    (void)brood_semaphore_release(&shared->semaphore, 1);
}

static void bounded_acquire(void)
{
    bench_must(brood_bounded_semaphore_acquire(&shared->bounded, BROOD_FOREVER) == 0,
               "the bounded semaphore");
}

static void bounded_release(void)
{
    (void)brood_bounded_semaphore_release(&shared->bounded);
}

static void condition_wait(unsigned which)
{
    (void)BROOD_MUST(
        brood_condition_wait(&shared->conditions[which], &shared->lock, BROOD_FOREVER));
}

static void condition_signal(unsigned which)
{
    brood_condition_signal(&shared->conditions[which]);
}

int main(void)
{
    static const struct lock_kind lock = {"lock", lock_acquire, lock_release};
    static const struct lock_kind recursive = {"recursive lock", recursive_acquire,
                                               recursive_release};
    static const struct lock_kind semaphore = {"semaphore", semaphore_acquire, semaphore_release};
    static const struct lock_kind bounded = {"bounded semaphore", bounded_acquire, bounded_release};
    static const struct condition_kind condition = {
        {"condition", lock_acquire, lock_release}, condition_wait, condition_signal};

    shared = BROOD_MUST_HAVE(brood_shared_alloc(sizeof *shared));
    (void)BROOD_MUST(brood_semaphore_init(&shared->semaphore, 1, 1));
    (void)BROOD_MUST(brood_bounded_semaphore_init(&shared->bounded, 1));
    lock_measure(&lock);
    lock_measure(&recursive);
    lock_measure(&semaphore);
    lock_measure(&bounded);
    condition_measure(&condition);
    brood_shared_free(shared);
    return 0;
}
