# SPDX-License-Identifier: MIT
"""Commands by Python's subprocess, alone and from threads: see bench/command.h."""
import statistics
import subprocess
import threading
import time

from common import MIB, SIZES, emit, grow, must, taken

THREADS, UNCOUNTED, WINDOW_S, BYTES_CALLS = 8, 5, 0.3, 3
OUT_LEN, THROUGH_LEN = 256 * MIB, 64 * MIB


def once():
    must(subprocess.run(["/bin/true"]).returncode == 0, "the end of a command")


def rate_alone():
    """Commands a second, one after the other, each as long as the median."""
    start, seconds = time.perf_counter(), []
    while time.perf_counter() - start < WINDOW_S:
        seconds.append(taken(once)[0])
    return 1 / statistics.median(seconds)


def rate():
    """Commands a second, by one of several threads."""
    start = now = time.perf_counter()
    count = 0
    while now - start < WINDOW_S:
        once()
        count += 1
        now = time.perf_counter()
    return count / (now - start)


def rate_of_threads():
    barrier, rates = threading.Barrier(THREADS), []

    def work():
        once()
        barrier.wait()
        rates.append(rate())

    threads = [threading.Thread(target=work) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    must(len(rates) == THREADS, "a thread failed")
    return sum(rates)


def measure_bytes(name, command, wanted, given=None):
    seconds = []
    for _ in range(BYTES_CALLS):
        needed, output = taken(lambda: subprocess.check_output(command, input=given)
                               if given else subprocess.check_output(command))
        must(output == wanted, "the bytes of an output")
        seconds.append(needed)
    emit("command", name, "B/s", len(wanted) / statistics.median(seconds))


def main():
    echoed = b"".join(i.to_bytes(8, "little") for i in range(MIB // 8)) * (THROUGH_LEN // MIB)
    measure_bytes("subprocess.check_output, 256 MiB",
                  ["/usr/bin/head", "-c", str(OUT_LEN), "/dev/zero"], bytes(OUT_LEN))
    measure_bytes("subprocess input and output, 64 MiB", ["/bin/cat"], echoed, echoed)
    for _ in range(UNCOUNTED):
        once()
    for size, length, _calls in SIZES:
        grow(length)
        emit("command", f"subprocess.run, {size}", "commands/s", rate_alone())
        emit("command", f"subprocess.run by {THREADS} threads, {size}", "commands/s",
             rate_of_threads())


if __name__ == "__main__":
    main()
