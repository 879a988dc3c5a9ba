/* SPDX-License-Identifier: MIT */
/*
 * brood/wait.h - wait for the first of several things.
 *
 *     void *const objects[] = {child, queue, pipe};
 *     int r = brood_wait_any(objects, 3, BROOD_FOREVER);
 *     if (r == 0)
 *         ... the child has ended
 *
 * Every object is also a descriptor for poll() and its kin, by its own brood_..._fd(); this is for
 * programs that have no event loop.
 */
#ifndef BROOD_WAIT_H
#define BROOD_WAIT_H

#include <brood/base.h>

BROOD_BEGIN_DECLS

/*
 * brood_wait_any() - wait until one of COUNT objects is ready, TIMEOUT_MS at most.
 *
 * An object is a handle, of any of these kinds, and is ready when
 *   brood_process   it has ended (of the parent: the parent has)
 *   brood_future    its task has ended
 *   brood_group     brood_group_next() would not wait
 *   brood_pool      brood_pool_dispatch() has something to do
 *   brood_queue     brood_queue_get() would not wait
 *   brood_pipe      brood_pipe_get() or brood_pipe_read() would not wait
 * Nothing is taken from it; another thread or process may be faster, and take what made it ready.
 *
 * Returns the index of the first in OBJECTS that is ready; or
 *   -ETIMEDOUT     none is
 *   -EINVAL        COUNT is 0 or more than INT_MAX, OBJECTS is NULL; an object that nothing can be
 *                  got from
 *   BROOD_EHANDLE  an object is NULL, was freed, or is of another kind
 *   BROOD_EFORKED  an object belongs to the parent of this process
 *   BROOD_EABI     a queue's memory is damaged
 *   -ENOMEM, -EMFILE, -ENFILE, and -EAGAIN: no place among the participants of a queue, no thread
 */
BROOD_API BROOD_MUST_CHECK int brood_wait_any(void *const objects[], size_t count,
                                              int64_t timeout_ms);

BROOD_END_DECLS

#endif
