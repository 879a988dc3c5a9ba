# SPDX-License-Identifier: MIT
"""What Python's two process pools cost while they have nothing to do: see bench/idle.h."""
import concurrent.futures
import multiprocessing
import os
import time
from pathlib import Path

from common import WORKERS, emit, square

SETTLE_S, WATCH_S = 0.3, 3


def tasks():
    """All threads of this process and its children, but for the main one."""
    pids = [os.getpid()] + [child.pid for child in multiprocessing.active_children()]
    return [task for pid in pids for task in Path(f"/proc/{pid}/task").iterdir()
            if task.name != str(os.getpid())]


def read():
    cpu_ns = switches = 0
    for task in tasks():
        cpu_ns += int((task / "schedstat").read_text().split()[0])
        switches += sum(int(line.split()[1]) for line in (task / "status").read_text().splitlines()
                        if "ctxt_switches" in line)
    return cpu_ns, switches


def measure(case):
    time.sleep(SETTLE_S)
    before = read()
    time.sleep(WATCH_S)
    after = read()
    emit("idle", f"{case}, CPU time in 3 s", "us", (after[0] - before[0]) / 1000)
    emit("idle", f"{case}, context switches in 3 s", "switches", after[1] - before[1])


def main():
    fork = multiprocessing.get_context("fork")
    with fork.Pool(WORKERS) as pool:
        pool.map(square, range(1000))
        measure("Pool of 2")
    with concurrent.futures.ProcessPoolExecutor(WORKERS, mp_context=fork) as executor:
        list(executor.map(square, range(1000)))
        measure("executor of 2")


if __name__ == "__main__":
    main()
