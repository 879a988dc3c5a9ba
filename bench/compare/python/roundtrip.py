# SPDX-License-Identifier: MIT
"""One task at a time through Python's two process pools, back to back and after pauses."""
import concurrent.futures
import multiprocessing
import time

from common import WORKERS, emit_latency, must, square, taken

CALLS, PAUSED_CALLS, PAUSE_S = 3000, 100, 0.005


def once(call, x):
    seconds, y = taken(lambda: call(x))
    must(y == x * x, "the answer of a round trip")
    return seconds


def measure(case, call):
    for x in range(300):
        call(x)
    emit_latency("roundtrip", f"{case}, back to back", [once(call, x) for x in range(CALLS)])
    paused = []
    for x in range(PAUSED_CALLS):
        time.sleep(PAUSE_S)
        paused.append(once(call, x))
    emit_latency("roundtrip", f"{case}, after a pause", paused)


def main():
    fork = multiprocessing.get_context("fork")
    with fork.Pool(WORKERS) as pool:
        measure("Pool.apply", lambda x: pool.apply(square, (x,)))
    with concurrent.futures.ProcessPoolExecutor(WORKERS, mp_context=fork) as executor:
        measure("executor.submit", lambda x: executor.submit(square, x).result())


if __name__ == "__main__":
    main()
