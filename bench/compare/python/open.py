# SPDX-License-Identifier: MIT
"""Open a pool of two, run one task, close: Python's two process pools, fork and forkserver."""
import concurrent.futures
import multiprocessing

from common import SIZES, WORKERS, emit, grow, median_ms, must, square, taken


def pool_cycle(context):
    pool = context.Pool(WORKERS)
    must(pool.apply(square, (3,)) == 9, "the answer of the task")
    pool.close()
    pool.join()


def executor_cycle(context):
    executor = concurrent.futures.ProcessPoolExecutor(WORKERS, mp_context=context)
    must(executor.submit(square, 3).result() == 9, "the answer of the task")
    executor.shutdown()


def measure(kind, cycle, method, size, calls):
    context = multiprocessing.get_context(method)
    emit("open", f"{kind} {method}, {size}", "ms",
         median_ms(calls, lambda: taken(lambda: cycle(context))[0]))


def main():
    first = multiprocessing.get_context("forkserver")
    emit("open", "Pool forkserver, first", "ms", taken(lambda: pool_cycle(first))[0] * 1e3)
    for size, length, calls in SIZES:
        grow(length)
        for method in ("fork", "forkserver"):
            measure("Pool", pool_cycle, method, size, calls)
            measure("executor", executor_cycle, method, size, calls)


if __name__ == "__main__":
    main()
