# SPDX-License-Identifier: MIT
"""Tiny tasks one by one through Python's two process pools."""
import concurrent.futures
import multiprocessing

from common import WORKERS, emit, must, square, square_sum, taken

POOL_TASKS = 40000
EXECUTOR_TASKS = 15000


def measure(case, tasks, call):
    seconds, total = taken(call)
    must(total == square_sum(tasks), case)
    emit("submit", case, "tasks/s", tasks / seconds)


def submit_all(executor, tasks):
    futures = [executor.submit(square, x) for x in range(tasks)]
    return sum(future.result() for future in futures)


def main():
    fork = multiprocessing.get_context("fork")
    with fork.Pool(WORKERS) as pool:
        pool.map(square, range(1000))
        measure("Pool.map chunksize=1", POOL_TASKS,
                lambda: sum(pool.map(square, range(POOL_TASKS), chunksize=1)))
        measure("Pool.imap_unordered", POOL_TASKS,
                lambda: sum(pool.imap_unordered(square, range(POOL_TASKS))))
    with concurrent.futures.ProcessPoolExecutor(WORKERS, mp_context=fork) as executor:
        submit_all(executor, 1000)
        measure("executor.submit", EXECUTOR_TASKS, lambda: submit_all(executor, EXECUTOR_TASKS))


if __name__ == "__main__":
    main()
