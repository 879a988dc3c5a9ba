// SPDX-License-Identifier: MIT
// brood in C++11. Options are filled field by field, because C++ of that age has no designated
// initialisers; memory is cast; a task function is a function or a lambda that captures nothing,
// and an exception must not leave it.
#include <brood.h>
#include <cstdio>

struct totals {
    brood_lock lock;
    long sum;
};

static int add(void *arg)
{
    totals *all = static_cast<totals *>(arg);
    int r = brood_lock_acquire(&all->lock, BROOD_FOREVER);

    if (r < 0)
        return r;
    all->sum += 21;
    return brood_lock_release(&all->lock);
}

int main()
{
    brood_queue_options options = {}; // all zero: the defaults
    options.item_size = sizeof(long);
    options.capacity = 100;
    brood_queue *queue = nullptr;
    int r = brood_queue_new(&queue, &options);

    totals *all = static_cast<totals *>(brood_shared_alloc(sizeof(totals)));
    for (int i = 0; i < 2 && r == 0 && all != nullptr; i++) {
        brood_process *child = nullptr;
        r = brood_process_start(&child, add, all, 0, nullptr);
        if (r == 0)
            r = brood_process_join(child, BROOD_FOREVER, nullptr);
        brood_process_free(child);
    }
    long number = 0;
    if (r == 0 && all != nullptr)
        r = brood_queue_put(queue, &all->sum, sizeof all->sum, 0);
    if (r == 0)
        r = brood_queue_get(queue, &number, sizeof number, 0);
    std::printf("%ld\n", number);
    brood_shared_free(all);
    brood_queue_free(queue);
    return r == 1 ? 0 : 1;
}
