/* SPDX-License-Identifier: MIT */
/* Two processes pay into one account, and one of them crashes with the lock in its hands and half
 * of the change made. The next one that takes the lock is told, repairs, and says that all is
 * well. */
#include <brood/easy.h>

struct account {
    brood_lock lock; /* guards the rest, in which total is checking + savings */
    long total, checking, savings;
};

static struct account *account; /* in shared memory, so that both children have the same one */

static void take_account(void)
{
    if (BROOD_MUST(brood_lock_acquire(&account->lock, BROOD_FOREVER)) != BROOD_OWNER_DIED)
        return;
    printf("The last owner died: %ld is not %ld + %ld\n", account->total, account->checking,
           account->savings);
    account->total = account->checking + account->savings;
    BROOD_MUST(brood_lock_consistent(&account->lock)); /* else the next owner is told too */
}

static int deposit(void *arg)
{
    const int *crash_at = arg;

    for (int i = 0; i < 1000; i++) {
        take_account();
        account->checking++;
        if (i == *crash_at)
            abort(); /* inside: the sum is wrong, and nobody will release the lock */
        account->total++;
        BROOD_MUST(brood_lock_release(&account->lock));
    }
    return 0;
}

int main(void)
{
    const int never = -1, crash_at = 500;
    brood_process *careful, *careless;

    setvbuf(stdout, NULL, _IOLBF, BUFSIZ);
    account = BROOD_MUST_HAVE(brood_shared_alloc(sizeof *account));
    account->total = account->savings = 100;
    BROOD_MUST(brood_process_start(&careful, deposit, &never, sizeof never, NULL));
    BROOD_MUST(brood_process_start(&careless, deposit, &crash_at, sizeof crash_at, NULL));
    (void)brood_process_finish(careless, "careless"); /* prints how it ended, and where */
    int failed = brood_process_finish(careful, "careful") != 0;

    take_account(); /* perhaps nobody has taken the lock since */
    printf("%ld = %ld + %ld\n", account->total, account->checking, account->savings);
    BROOD_MUST(brood_lock_release(&account->lock));
    brood_shared_free(account);
    return failed;
}
