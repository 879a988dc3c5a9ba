# SPDX-License-Identifier: MIT
"""A map over a list of floats through Pool.map with the chunks it chooses itself."""
import multiprocessing
import statistics
import time

from common import WORKERS, emit, must, square, taken

CALLS_MAX, BUDGET_S = 100, 0.06


def measure(pool, exponent):
    numbers = [float(i + 1) for i in range(10**exponent)]
    times = []
    start = time.perf_counter()
    while not times or (len(times) < CALLS_MAX and time.perf_counter() - start < BUDGET_S):
        seconds, squares = taken(lambda: pool.map(square, numbers))
        must(len(squares) == len(numbers) and squares[-1] == numbers[-1] ** 2, "an item of a map")
        times.append(seconds)
    must(squares == [x * x for x in numbers], "an item of a map")
    emit("map", f"Pool.map, 10^{exponent}", "items/s", len(numbers) / statistics.median(times))


def main():
    with multiprocessing.get_context("fork").Pool(WORKERS) as pool:
        pool.map(square, range(1000))
        for exponent in range(3, 8):
            measure(pool, exponent)


if __name__ == "__main__":
    main()
