# SPDX-License-Identifier: MIT
"""A mebibyte of bytes to a task and back, through Python's Pool: pickled into pipes."""
import multiprocessing

from common import MIB, WORKERS, emit_latency, must, taken

CALLS = 200


def echo(data):
    return data


def once(pool, mark):
    data = bytes([mark % 256]) * MIB
    seconds, result = taken(lambda: pool.apply(echo, (data,)))
    must(result == data, "the bytes of an echo")
    return seconds


def main():
    with multiprocessing.get_context("fork").Pool(WORKERS) as pool:
        for mark in range(20):
            once(pool, mark)
        emit_latency("payload", "Pool.apply", [once(pool, mark) for mark in range(CALLS)])


if __name__ == "__main__":
    main()
