# SPDX-License-Identifier: MIT
"""From a worker's death to the next answer.

The Pool's worker kills itself inside a task, since killing an idle one can leave the queue's
lock locked for ever; the task it held is never heard of again. The executor refuses all work
after a death, so its program has to open another one.
"""
import concurrent.futures
import multiprocessing
import multiprocessing.connection
import os
import signal

from common import emit, median_ms, must, square, taken

CALLS = 5


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def pool_replacement(pool):
    old = pool._pool[0]
    pool.apply_async(die)
    multiprocessing.connection.wait([old.sentinel])
    seconds, answer = taken(lambda: pool.apply(square, (3,)))
    must(answer == 9 and pool._pool[0].pid != old.pid, "the replacement")
    return seconds


def executor_replacement(context):
    executor = concurrent.futures.ProcessPoolExecutor(1, mp_context=context)
    executor.submit(square, 3).result()
    worker = next(iter(executor._processes.values()))
    os.kill(worker.pid, signal.SIGKILL)
    multiprocessing.connection.wait([worker.sentinel])

    def again():
        executor.shutdown()
        with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as another:
            return another.submit(square, 3).result()

    seconds, answer = taken(again)
    must(answer == 9, "the answer of another executor")
    return seconds


def main():
    fork = multiprocessing.get_context("fork")
    with fork.Pool(1) as pool:
        pool.apply(square, (3,))
        emit("replace", "Pool fork, small", "ms", median_ms(CALLS, lambda: pool_replacement(pool)))
    emit("replace", "executor fork, opened anew, small", "ms",
         median_ms(CALLS, lambda: executor_replacement(fork)))


if __name__ == "__main__":
    main()
