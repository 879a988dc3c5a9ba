# SPDX-License-Identifier: MIT
"""Python's ways to pass messages between processes, and processes that use them.

A message is bytes; its first byte is a number, and both sides add those up. What one process tells
another meanwhile is in shared memory, a line of 64 bytes for each of them.
"""
import mmap
import multiprocessing
import os
import time
from typing import Callable, NamedTuple

from common import emit, must

FORK = multiprocessing.get_context("fork")
SIZES = {8: "8 B", 64: "64 B", 1024: "1 KiB", 65536: "64 KiB", 1 << 20: "1 MiB", 1 << 24: "16 MiB"}
WARM_UP_S, WINDOW_S, WINDOW_LARGE_S = 0.05, 0.15, 0.4
PAYLOADS = 4
GO, STOP = 0, 1  # words of the board
READY, COUNT, SUM = 0, 1, 2  # words of a line
LINE = 8  # words


class Channel(NamedTuple):
    name: str
    put: Callable
    get: Callable
    many: bool = True  # more than one on a side


def depth(length):
    """As transport_depth() in bench/transport.h."""
    return next(count for bound, count in ((1024, 1024), (65536, 16), (1 << 20, 8), (1 << 24, 4))
                if length <= bound)


def queue(length):
    both = FORK.Queue(depth(length))
    return Channel("Python Queue", both.put, both.get)


def simple_queue(_length):
    both = FORK.SimpleQueue()
    return Channel("Python SimpleQueue", both.put, both.get)


def pipe(_length):
    reader, writer = FORK.Pipe(duplex=False)
    return Channel("Python Pipe", writer.send, reader.recv, many=False)


class Board:
    """Line 0 is the parent's, the others belong to the processes."""

    def __init__(self, lines):
        self.words = memoryview(mmap.mmap(-1, (lines + 1) * LINE * 8)).cast("Q")

    def line(self, i):
        return self.words[(i + 1) * LINE:(i + 2) * LINE]

    def wait(self, word):
        while not self.words[word]:
            time.sleep(0.0001)


def produce(channel, board, i, length):
    line, payloads = board.line(i), [bytes([k]) * length for k in range(PAYLOADS)]
    put, count, total = channel.put, 0, 0
    line[READY] = 1
    board.wait(GO)
    while not board.words[STOP]:
        payload = payloads[count % PAYLOADS]
        put(payload)
        count += 1
        total += payload[0]
    line[COUNT], line[SUM] = count, total


def consume(channel, board, i, length):
    line, get, count, total = board.line(i), channel.get, 0, 0
    line[READY] = 1
    while (message := get()) is not None:
        must(len(message) == length, "the length of a message")
        count += 1
        total += message[0]
        line[COUNT], line[SUM] = count, total


def start(role, channel, board, i, length):
    process = FORK.Process(target=role, args=(channel, board, i, length), daemon=True)
    process.start()
    while not board.line(i)[READY]:
        time.sleep(0.0001)
    return process


def sums(board, first, count):
    return [sum(board.line(i)[word] for i in range(first, first + count)) for word in (COUNT, SUM)]


def arriving(board, first, count, seconds):
    """Messages a second."""
    time.sleep(WARM_UP_S)
    while sums(board, first, count)[0] < 2:
        time.sleep(0.001)
    before, begin = sums(board, first, count)[0], time.perf_counter()
    time.sleep(seconds)
    return (sums(board, first, count)[0] - before) / (time.perf_counter() - begin)


def measure(bench, make, length, producers, consumers):
    channel, board = make(length), Board(producers + consumers)
    if not channel.many and producers + consumers > 2:
        return
    putting = [start(produce, channel, board, i, length) for i in range(producers)]
    getting = [start(consume, channel, board, producers + i, length) for i in range(consumers)]
    board.words[GO] = 1
    rate = arriving(board, producers, consumers, WINDOW_LARGE_S if length >= 1 << 24 else WINDOW_S)
    board.words[STOP] = 1
    for process in putting:
        process.join()
    for _ in getting:
        channel.put(None)
    for process in getting:
        process.join()
    must(sums(board, 0, producers) == sums(board, producers, consumers), "what has arrived")
    case = f"{channel.name}, {SIZES[length]}, {producers}P{consumers}C"
    if length < 65536:
        emit(bench, case, "messages/s", rate)
    else:
        emit(bench, case, "B/s", rate * length)


def pin(cpu):
    if cpu in os.sched_getaffinity(0):
        os.sched_setaffinity(0, {cpu})
