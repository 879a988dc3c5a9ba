/* SPDX-License-Identifier: MIT */
/* Four of the lock's kin, a few lines of each: an event that all wait for, a function that runs
 * once, units that are shared out, and a lock that its owner takes again. */
#include <brood/easy.h>

enum { WORKERS = 4, PRINTERS = 2 };

struct office {
    brood_event open;
    brood_once once;
    brood_bounded_semaphore printers;
    brood_recursive_lock lock; /* guards pages */
    int loads, copies;         /* written once */
    int pages;
};

/* [event] */
static void wait_until_open(struct office *office)
{
    int r;

    while ((r = brood_event_wait(&office->open, BROOD_FOREVER)) == BROOD_EPEER)
        ; /* another worker died: the parent can still set it */
    BROOD_MUST(r);
}
/* [event] */

/* [once] */
static int load_settings(void *arg) /* in one process; if that dies inside, in another one again */
{
    struct office *office = arg;

    office->loads++;
    office->copies = 3;
    return 0;
}

static int copies_wanted(struct office *office)
{
    BROOD_MUST(brood_once_run(&office->once, load_settings, office, BROOD_FOREVER));
    return office->copies;
}
/* [once] */

/* [recursive] */
static void add_page(struct office *office)
{
    BROOD_MUST(brood_recursive_lock_acquire(&office->lock, BROOD_FOREVER));
    office->pages++;
    BROOD_MUST(brood_recursive_lock_release(&office->lock));
}

static void add_pages(struct office *office, int count) /* nobody sees some of them only */
{
    BROOD_MUST(brood_recursive_lock_acquire(&office->lock, BROOD_FOREVER));
    while (count-- > 0)
        add_page(office); /* takes it again */
    BROOD_MUST(brood_recursive_lock_release(&office->lock));
}
/* [recursive] */

/* [units] */
static void print_pages(struct office *office, int count)
{
    if (BROOD_MUST(brood_bounded_semaphore_acquire(&office->printers, BROOD_FOREVER)) ==
        BROOD_OWNER_DIED)
        printf("Somebody died at a printer: look what is in it.\n");
    add_pages(office, count); /* at most PRINTERS are here at a time */
    BROOD_MUST(brood_bounded_semaphore_release(&office->printers));
}
/* [units] */

static int work(void *arg)
{
    struct office *office = arg;

    wait_until_open(office);
    print_pages(office, copies_wanted(office));
    return 0;
}

int main(void)
{
    struct office *office = BROOD_MUST_HAVE(brood_shared_alloc(sizeof *office));
    brood_process *worker[WORKERS];
    int failed = 0;

    BROOD_MUST(brood_bounded_semaphore_init(&office->printers, PRINTERS));
    for (int i = 0; i < WORKERS; i++)
        BROOD_MUST(brood_process_start(&worker[i], work, office, 0, NULL));
    brood_event_set(&office->open);
    for (int i = 0; i < WORKERS; i++)
        failed += brood_process_finish(worker[i], "worker") != 0;
    printf("%d pages, settings loaded %d time.\n", office->pages, office->loads);
    brood_shared_free(office);
    return failed != 0;
}
