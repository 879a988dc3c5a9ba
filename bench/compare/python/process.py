# SPDX-License-Identifier: MIT
"""Start and join one multiprocessing.Process, by fork and by forkserver."""
import multiprocessing
import sys

from common import SIZES, emit, grow, median_ms, must, taken

CODE = 7


def child():
    sys.exit(CODE)


def start_and_join(context):
    process = context.Process(target=child)
    process.start()
    process.join()
    must(process.exitcode == CODE, "the exit code")


def main():
    first = multiprocessing.get_context("forkserver")
    emit("process", "Process forkserver, first", "ms",
         taken(lambda: start_and_join(first))[0] * 1e3)
    for size, length, calls in SIZES:
        grow(length)
        for method in ("fork", "forkserver"):
            context = multiprocessing.get_context(method)
            emit("process", f"Process {method}, {size}", "ms",
                 median_ms(calls, lambda: taken(lambda: start_and_join(context))[0]))


if __name__ == "__main__":
    main()
