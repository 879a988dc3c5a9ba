# SPDX-License-Identifier: MIT
"""One message at a time through Python's queues and pipes: see bench/latency.h."""
import struct
import time

from channels import FORK, pin, pipe, queue, simple_queue
from common import emit_latency

MESSAGES, UNCOUNTED, GAP_S = 500, 50, 0.0002
FILLER = bytes(56)


def produce(channel, cpu):
    pin(cpu)
    for _ in range(MESSAGES):
        time.sleep(GAP_S)
        channel.put(struct.pack("Q", time.monotonic_ns()) + FILLER)


def consume(channel):
    message = channel.get()
    return (time.monotonic_ns() - struct.unpack_from("Q", message)[0]) / 1e9


def report(channel, cpu, results):
    pin(cpu)
    results.send([consume(channel) for _ in range(MESSAGES)])


def measure(make, cpu, where):
    channel = make(8 + len(FILLER))
    mine, theirs = FORK.Pipe(duplex=False)
    consumer = FORK.Process(target=report, args=(channel, cpu, theirs), daemon=True)
    producer = FORK.Process(target=produce, args=(channel, 0), daemon=True)
    consumer.start()
    producer.start()
    emit_latency("latency", f"{channel.name}, asleep, {where}", mine.recv()[UNCOUNTED:])
    consumer.join()
    producer.join()


def main():
    for make in (queue, simple_queue, pipe):
        measure(make, 0, "same CPU")
        measure(make, 1, "other CPU")


if __name__ == "__main__":
    main()
