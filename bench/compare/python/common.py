# SPDX-License-Identifier: MIT
"""What the Python programs share: the clock, one line of JSON for each figure, memory."""
import json
import mmap
import statistics
import sys
import time

WORKERS = 2
MIB = 1 << 20


def emit(bench, case, unit, value):
    figure = {"bench": bench, "case": case, "unit": unit, "value": round(value, 6)}
    print(json.dumps(figure), flush=True)


def must(right, what):
    """Ends the program when what was measured turns out wrong."""
    if not right:
        sys.exit(f"bench: wrong: {what}")


def square(x):
    return x * x


def square_sum(count):
    return (count - 1) * count * (2 * count - 1) // 6


def taken(call):
    """Seconds that CALL took, and what it returned."""
    start = time.perf_counter()
    result = call()
    return time.perf_counter() - start, result


def emit_latency(bench, case, seconds):
    seconds = sorted(seconds)
    for percent in (50, 99):
        at = min(len(seconds) - 1, len(seconds) * percent // 100)
        emit(bench, f"{case}, p{percent}", "us", seconds[at] * 1e6)


def median_ms(calls, once):
    return statistics.median(once() for _ in range(calls)) * 1e3


# Name, bytes by which this process grows before the step, calls to measure.
SIZES = [("small", 0, 5), ("16 MiB", 16 * MIB, 5), ("1 GiB", 1024 * MIB - 16 * MIB, 3)]
_kept = []


def grow(length):
    """Makes this process larger, in pages of 4 KiB, for good."""
    if length == 0:
        return
    memory = mmap.mmap(-1, length, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    memory.madvise(mmap.MADV_NOHUGEPAGE)
    for i in range(0, length, 4096):
        memory[i] = 1
    _kept.append(memory)
