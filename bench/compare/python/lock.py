# SPDX-License-Identifier: MIT
"""Turns a second with multiprocessing's locks, and a ping-pong by conditions: see bench/lock.h."""
import time

from channels import COUNT, FORK, GO, READY, STOP, Board, pin
from common import emit, must

WINDOW_S, TURNS = 0.2, 100
GUARDED = 2  # a word of the board that the lock guards


def contend(lock, board, i):
    pin(i % 2)
    line, words, done = board.line(i), board.words, 0
    line[READY] = 1
    board.wait(GO)
    while not words[STOP]:
        for _ in range(TURNS):
            with lock:
                words[GUARDED] += 1
        done += TURNS
    line[COUNT] = done


def run(board, role, *arguments_of_each):
    """Seconds that the processes had."""
    processes = [FORK.Process(target=role, args=(*given, i), daemon=True)
                 for i, given in enumerate(arguments_of_each)]
    for process in processes:
        process.start()
    for i in range(len(processes)):
        while not board.line(i)[READY]:
            time.sleep(0.0001)
    board.words[GO], begin = 1, time.perf_counter()
    time.sleep(WINDOW_S)
    board.words[STOP] = 1
    seconds = time.perf_counter() - begin
    for process in processes:
        process.join()
        must(process.exitcode == 0, "a process failed")
    return seconds


def measure(name, lock, contenders):
    board = Board(contenders)
    seconds = run(board, contend, *[(lock, board)] * contenders)
    done = [board.line(i)[COUNT] for i in range(contenders)]
    must(sum(done) == board.words[GUARDED], "two were inside at once")
    case = f"{name}, {contenders} contending" if contenders > 1 else f"{name}, alone"
    emit("lock", case, "turns/s", sum(done) / seconds)
    if contenders > 1:
        emit("lock", f"{case}, share of the luckiest", "%", 100 * max(done) / sum(done))


def play(conditions, board, side):
    """Side 0 begins, and sees that it is over; both conditions have the same lock."""
    words, line = board.words, board.line(side)
    line[READY] = 1
    board.wait(GO)
    over = (1 << 64) - 1
    with conditions[0]:
        while words[GUARDED] != over:
            if side == 0 and words[GUARDED] % 2 == 0 and words[STOP]:
                line[COUNT] = words[GUARDED] // 2
                words[GUARDED] = over
                conditions[1].notify()
            elif words[GUARDED] % 2 == side:
                words[GUARDED] += 1
                conditions[1 - side].notify()
            else:
                conditions[side].wait()


def main():
    for contenders in (1, 2, 4):
        measure("Python Lock", FORK.Lock(), contenders)
        measure("Python Semaphore", FORK.Semaphore(1), contenders)
    lock, board = FORK.Lock(), Board(2)
    conditions = [FORK.Condition(lock) for _ in range(2)]
    seconds = run(board, play, (conditions, board), (conditions, board))
    emit("lock", "Python Condition, ping-pong", "rounds/s", board.line(0)[COUNT] / seconds)


if __name__ == "__main__":
    main()
