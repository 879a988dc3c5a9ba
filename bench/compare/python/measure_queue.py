# SPDX-License-Identifier: MIT
"""Messages a second through Python's queues. (A queue.py here would hide Python's own.)"""
from channels import SIZES, measure, pipe, queue, simple_queue

CROWDS = ((2, 2), (4, 4), (1, 4))


def main():
    for make in (queue, simple_queue, pipe):
        for length in SIZES:
            measure("queue", make, length, 1, 1)
        for producers, consumers in CROWDS:
            measure("queue", make, 64, producers, consumers)


if __name__ == "__main__":
    main()
