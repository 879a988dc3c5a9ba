# SPDX-License-Identifier: MIT
"""From figures to tables: what was promised, what came out, beside each rival and each limit.

A figure is named by its question and its case, such as ("submit", "group"); its values are one
for each round. Rates (units ending in /s) are better when high, everything else when low.
"""
import statistics
from typing import NamedTuple, Optional


class Goal(NamedTuple):
    """VALUE alone; VALUE times another case; or VALUE more than another case."""

    value: float
    case: Optional[str] = None
    how: str = "times"


class Row(NamedTuple):
    """One line of the summary: a case of brood's beside the others."""

    title: str
    bench: str
    case: str
    goals: tuple = ()
    rivals: tuple = ()
    limit: Optional[str] = None
    note: str = ""  # said only if a goal is missed: where the time goes


PYTHON_SUBMIT = ("Pool.map chunksize=1", "Pool.imap_unordered", "executor.submit")
SUBMIT_GOALS = (Goal(2.5e6), Goal(40, "Pool.map chunksize=1"), Goal(200, "executor.submit"))
SUBMIT_RIVALS = PYTHON_SUBMIT + ("robust mutex pool", "oneTBB task_group")


def submit_row(title, case):
    return Row(title, "submit", case, SUBMIT_GOALS, SUBMIT_RIVALS, "limit: spinning rings",
               "the executor's own rate moves by a third between rounds, and the goal with it. The "
               "caller's one thread is what limits: a lock taken twice, a record and its list, for "
               "each task.")


def map_row(case, exponent, goals=(), note=""):
    rivals = tuple(f"{rival}, 10^{exponent}"
                   for rival in ("Pool.map", "OpenMP static", "oneTBB parallel_for"))
    return Row(f"map over 10^{exponent}, {case}", "map", f"{case}, 10^{exponent}", goals, rivals,
               f"limit: two spinning halves, 10^{exponent}", note)


def roundtrip_row(case, when, goals, limit, note=""):
    rivals = tuple(f"{rival}, {when}, p50" for rival in
                   ("Pool.apply", "executor.submit", "robust mutex pool", "oneTBB task_group"))
    return Row(f"round trip, {case}, {when}", "roundtrip", f"{case}, {when}, p50", goals, rivals,
               limit, note)


def open_row(method, size, goals=(), note=""):
    known = size != "4 GiB"
    rivals = (f"Pool {method}, {size}", f"executor {method}, {size}") if known else ()
    limit = f"limit: three forks, {size if method == 'fork' else 'small'}"
    return Row(f"open pool of 2 + task + close, {method}, {size}", "open", f"{method}, {size}",
               goals, rivals, limit, note)


def replace_row(method, size, goals=(), note=""):
    limit = f"limit: fork and answer, {size if method == 'fork' else 'small'}"
    return Row(f"replacement at work after a death, {method}, {size}", "replace",
               f"{method}, {size}", goals,
               ("Pool fork, small", "executor fork, opened anew, small"), limit, note)


def process_row(method, size):
    limit = f"limit: fork and wait, {size if method == 'fork' else 'small'}"
    return Row(f"start and join a process, {method}, {size}", "process", f"{method}, {size}", (),
               (f"Process {method}, {size}",), limit)


def command_row(size, who=""):
    """Whatever the size of the program, the limit is beside it in a program of the same size."""
    case = f"{who}, {size}"
    limit = f"limit: vfork and execve{case}"
    rivals = tuple(f"{rival}{case}" for rival in
                   ("posix_spawn", "libuv", "GSubprocess", "subprocess.run"))
    return Row(f"true, started and waited for{case}", "command", f"brood_call{case}",
               (Goal(0.97, limit),), rivals, limit,
               "each start is two: first that of the guard, a tiny program in a process of its own, "
               "then, by the guard, that of the command. A bare start leaves nobody who would stop "
               "the command and what it has started.")


def command_rows():
    rows = [command_row(size, who) for who in ("", " by 8 threads") for size in ("small", "1 GiB")]
    rows += [Row(f"output of 256 MiB, {how}", "command", f"{case}, 256 MiB", (),
                 ("GSubprocess, 256 MiB", "subprocess.check_output, 256 MiB"),
                 "limit: vfork and a pipe, 256 MiB")
             for how, case in (("kept by the command", "brood_command_out"),
                               ("the caller's own", "brood_check_output"))]
    rows.append(Row("64 MiB given to cat and taken from it", "command",
                    "brood_command_communicate, 64 MiB", (),
                    ("GSubprocess, 64 MiB", "subprocess input and output, 64 MiB"),
                    "limit: vfork and two pipes, 64 MiB"))
    return rows


MESSENGERS = ("Boost message_queue", "ZeroMQ ipc", "nng ipc", "robust mutex ring", "pipe",
              "SOCK_SEQPACKET", "POSIX mq", "Python Queue", "Python SimpleQueue", "Python Pipe")
QUEUE_GOALS = {"8 B": 15e6, "64 B": 12e6, "1 KiB": 8e6, "64 KiB": 14e9, "1 MiB": 14e9}
BATCH_GOALS = {"8 B": 60e6}
APART = "1P1C on two CPUs"


def queue_row(size, shape, how="queue", goals=None, limit="MPMC"):
    """One to one is limited as on two CPUs, for spinning on one makes no sense."""
    goal = (goals or {}).get(size)
    bound = f"limit: spinning {limit} ring, {size}, {APART if shape.startswith('1P1C') else shape}"
    return Row(f"{how}, {size}, {shape}", "queue", f"{how}, {size}, {shape}",
               (Goal(goal),) if goal else (),
               tuple(f"{rival}, {size}, {shape}" for rival in MESSENGERS), bound)


def queue_rows():
    sizes = ("8 B", "64 B", "1 KiB", "64 KiB", "1 MiB", "16 MiB")
    rows = [queue_row(size, shape, goals=QUEUE_GOALS)
            for shape in ("1P1C", APART) for size in sizes]
    rows += [queue_row("64 B", shape) for shape in ("2P2C", "4P4C", "1P4C")]
    rows += [queue_row(size, shape, "queue, batches of 64", BATCH_GOALS, "SPSC")
             for shape in ("1P1C", APART) for size in ("8 B", "64 B")]
    return rows + [queue_row(size, APART, "queue, by reference") for size in sizes[3:]]


def pipe_row(case, size):
    rivals = tuple(f"{rival}, {size}, {APART}" for rival in ("pipe", "SOCK_SEQPACKET"))
    return Row(f"{case}, {size}, on two CPUs", "pipe", f"{case}, {size}, {APART}", (),
               rivals + (f"Python Pipe, {size}, 1P1C",))


LOCK_GOALS = {"alone": 70e6, "2 contending": 15e6}


def lock_row(who, when, goals=None):
    goal = (goals or {}).get(when)
    rivals = ("robust pthread mutex", "pthread mutex", "Python Lock")
    if "semaphore" in who:
        rivals = ("sem_t", "Python Semaphore")
    return Row(f"{who}, {when}", "lock", f"{who}, {when}", (Goal(goal),) if goal else (),
               tuple(f"{rival}, {when}" for rival in rivals), f"limit: fetch_add, {when}")


def latency_row(who, where, percentile):
    limit = "limit: a word" if where.startswith("spinning") else "limit: futex"
    return Row(f"one message, {who}, {where}, {percentile}", "latency",
               f"{who}, {where}, {percentile}", (),
               tuple(f"{rival}, {where}, {percentile}" for rival in MESSENGERS if rival != who),
               f"{limit}, {where}, {percentile}")


def talking_rows():
    """Queues, pipes, locks."""
    rows = queue_rows()
    rows += [pipe_row("brood_pipe", size)
             for size in ("8 B", "64 B", "1 KiB", "64 KiB", "1 MiB", "16 MiB")]
    rows += [pipe_row("brood_pipe, taken", size) for size in ("64 KiB", "1 MiB", "16 MiB")]
    rows += [pipe_row("brood_pipe, stream", size) for size in ("64 KiB", "1 MiB")]
    rows += [lock_row("lock", when, LOCK_GOALS) for when in ("alone", "2 contending", "4 contending")]
    rows += [lock_row(who, when) for who in ("recursive lock", "semaphore", "bounded semaphore")
             for when in ("alone", "2 contending")]
    rows.append(Row("condition, ping-pong", "lock", "condition, ping-pong", (),
                    ("pthread condition, ping-pong", "Python Condition, ping-pong"),
                    "limit: futex, ping-pong"))
    rows += [latency_row(who, where, percentile)
             for who in ("queue", "brood_pipe") for where in
             ("spinning, other CPU", "asleep, same CPU", "asleep, other CPU")
             for percentile in ("p50", "p99")]
    rows += [Row(f"100 asleep in get for 3 s, {what}", "sleepers", f"100 asleep in get, {what} in 3 s",
                 (Goal(0),)) for what in ("CPU time", "context switches")]
    return rows


FUTEX_FLOOR = "limit: futex, both sleep, after a pause, p50"
ROWS = [
    submit_row("tiny tasks one by one, group", "group"),
    submit_row("tiny tasks one by one, futures", "futures"),
    submit_row("tiny tasks one by one, all futures first", "all futures first"),
    submit_row("tiny tasks one by one, callbacks", "callbacks"),
    map_row("ranges, in place", 3),
    map_row("items, copied", 5),
    map_row("items, in place", 5, (Goal(80e6),)),
    map_row("ranges, copied", 5, (Goal(80e6),)),
    map_row("ranges, in place", 5, (Goal(80e6),)),
    map_row("items, in place", 7),
    map_row("ranges, copied", 7),
    map_row("ranges, in place", 7, (Goal(500e6),)),
    roundtrip_row("apply", "back to back", (Goal(1),), "limit: spinning, back to back, p50"),
    roundtrip_row("submit and wait", "back to back", (Goal(1),),
                  "limit: spinning, back to back, p50"),
    roundtrip_row("apply", "after a pause", (Goal(3, FUTEX_FLOOR, "more"),), FUTEX_FLOOR,
                  "both figures are the time it takes to wake an idle virtual CPU, and move by "
                  "microseconds between runs; an earlier run had 9.5 beside a floor of 7.8."),
    open_row("fork", "small", (Goal(1),),
             "in parts, measured once at 1.1 ms: the snapshot 0.21, the workers 0.26, the shared "
             "memory 0.18, its release 0.06, the orderly end of all processes 0.25 ms. Most of it is "
             "one process waiting to be woken by another."),
    open_row("fork", "16 MiB", (Goal(1),),
             "below what the machine can: the three bare forks, with pages of 4 KiB, take longer "
             "than the goal. A fork server does not copy the parent."),
    open_row("fork", "1 GiB"),
    open_row("forkserver", "small", (Goal(3),)),
    open_row("forkserver", "1 GiB", (Goal(3),)),
    open_row("forkserver", "4 GiB", (Goal(3),)),
    Row("1 MiB through a task, in place", "payload", "in place, result by reference, p50",
        (Goal(45),), ("Pool.apply, p50",), "limit: memcpy by a spinning process, p50"),
    Row("1 MiB through a task, in place by map", "payload", "in place, map of one, p50",
        (Goal(45),), ("Pool.apply, p50",), "limit: memcpy by a spinning process, p50"),
    Row("1 MiB through a task, copied", "payload", "copied in and out, p50", (),
        ("Pool.apply, p50",), "limit: memcpy by a spinning process, p50"),
    replace_row("fork", "small", (Goal(1),)),
    replace_row("fork", "16 MiB", (Goal(1),)),
    replace_row("fork", "1 GiB"),
    replace_row("forkserver", "small", (Goal(1),)),
    replace_row("forkserver", "1 GiB", (Goal(1),)),
    replace_row("forkserver", "4 GiB", (Goal(1),)),
    Row("idle pool of 2 for 3 s, CPU time", "idle", "pool of 2, CPU time in 3 s", (Goal(0),),
        ("Pool of 2, CPU time in 3 s", "executor of 2, CPU time in 3 s")),
    Row("idle pool of 2 for 3 s, context switches", "idle", "pool of 2, context switches in 3 s",
        (Goal(0),),
        ("Pool of 2, context switches in 3 s", "executor of 2, context switches in 3 s")),
    Row("storm: 10^6 tasks, 10^4 deaths, each finished once", "storm", "10^6 tasks, 10^4 crash"),
    Row("the same, each of those retried once", "storm",
        "10^6 tasks, 10^4 crash once and are retried"),
    process_row("fork", "small"),
    process_row("fork", "1 GiB"),
    process_row("forkserver", "small"),
    process_row("forkserver", "1 GiB"),
] + command_rows() + talking_rows()


class Figures:
    """All values of a run, by question and case."""

    def __init__(self):
        self.values = {}  # (bench, case) -> list, in the order of the rounds
        self.unit = {}
        self.who = {}
        self.skipped = {}  # bench -> rivals that are not installed

    def skip(self, bench, rivals):
        self.skipped[bench] = rivals

    def add(self, who, line):
        key = (line["bench"], line["case"])
        self.values.setdefault(key, []).append(line["value"])
        self.unit[key] = line["unit"]
        self.who[key] = who

    def median(self, bench, case):
        values = self.values.get((bench, case))
        return statistics.median(values) if values else None

    def as_json(self):
        return [{"bench": bench, "case": case, "who": self.who[bench, case],
                 "unit": self.unit[bench, case], "values": values}
                for (bench, case), values in self.values.items()]

    @staticmethod
    def from_json(saved):
        figures = Figures()
        for entry in saved:
            for value in entry["values"]:
                figures.add(entry["who"], entry | {"value": value})
        return figures


def number(value):
    """Three digits and a letter: 2.51 M, 0.31, 45.2."""
    for bound, letter in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if abs(value) >= bound:
            return f"{value / bound:.3g}{letter}" if abs(value) < 1000 * bound else f"{value:.3g}"
    return f"{value:.3g}"


def quantity(value, unit):
    if unit == "B/s":
        return f"{number(value)}{'' if ' ' in number(value) else ' '}B/s"
    if unit.endswith("/s"):
        return f"{number(value)}{'' if ' ' in number(value) else ' '}{'/s'}"
    return f"{value:.3g} {unit}" if value < 1000 else f"{value:.0f} {unit}"


def better(value, bound, unit):
    return value >= bound if unit.endswith("/s") else value <= bound


def advantage(value, other, unit):
    """How many times faster than OTHER."""
    low, high = (other, value) if unit.endswith("/s") else (value, other)
    return high / low if low else None


def times(factor):
    if factor is None:
        return "-"
    return f"{factor:.0f}x" if factor >= 20 else f"{factor:.2g}x"


def goal_bound(figures, row, goal):
    if goal.case is None:
        return goal.value
    other = figures.median(row.bench, goal.case)
    if other is None:
        return None
    return other * goal.value if goal.how == "times" else other + goal.value


def goal_text(row, goal, bound, unit):
    sign = ">=" if unit.endswith("/s") else "<="
    if goal.case is None:
        return f"{sign} {quantity(goal.value, unit)}"
    if goal.how == "times":
        return f"{sign} {goal.value:g} x {goal.case} = {quantity(bound, unit)}"
    return f"{sign} floor + {goal.value:g} {unit} = {quantity(bound, unit)}"


def goal_cell(figures, row, value, unit):
    cells = []
    missed = False
    for goal in row.goals:
        bound = goal_bound(figures, row, goal)
        if bound is None:
            continue
        text = goal_text(row, goal, bound, unit)
        if better(value, bound, unit):
            cells.append(f"{text}: yes")
        else:
            missed = True
            short = f"{1 / advantage(value, bound, unit):.2f}x short" if bound else "missed"
            cells.append(f"{text}: **no**, {short}")
    return "<br>".join(cells) or "-", missed


def rival_cell(figures, row, value, unit):
    cells = []
    for case in row.rivals:
        other = figures.median(row.bench, case)
        if other is not None:
            factor = times(advantage(value, other, unit))
            cells.append(f"{case}: {factor} ({quantity(other, unit)})")
    return "<br>".join(cells) or "-"


def limit_cell(figures, row, value, unit):
    other = figures.median(row.bench, row.limit) if row.limit else None
    if other is None:
        return "-"
    factor = advantage(value, other, unit)
    return f"{times(1 / factor) if factor else '-'} of {quantity(other, unit)}"


def summary(figures):
    """The table of promises, and the sentences on those that were missed."""
    lines = ["| path | brood | goal | faster than | cost against the limit |",
             "|---|---:|---|---|---|"]
    notes = []
    for row in ROWS:
        value = figures.median(row.bench, row.case)
        if value is None:
            continue
        unit = figures.unit[row.bench, row.case]
        goals, missed = goal_cell(figures, row, value, unit)
        if missed and row.note:
            notes.append(f"- {row.title}: {row.note}")
        lines.append(f"| {row.title} | {quantity(value, unit)} | {goals} "
                     f"| {rival_cell(figures, row, value, unit)} "
                     f"| {limit_cell(figures, row, value, unit)} |")
    return lines if len(lines) > 2 else [], notes


def details(figures, bench, saved=None):
    """All figures of one question; SAVED ones of another run stand beside them."""
    lines = ["| who | case | median | min | max | rounds |" + (" saved | faster |" if saved else ""),
             "|---|---|---:|---:|---:|---:|" + ("---:|---:|" if saved else "")]
    for (question, case), values in figures.values.items():
        if question != bench:
            continue
        unit = figures.unit[question, case]
        cells = [quantity(f(values), unit) for f in (statistics.median, min, max)]
        line = f"| {figures.who[question, case]} | {case} | {' | '.join(cells)} | {len(values)} |"
        before = saved.median(question, case) if saved else None
        if before is not None:
            factor = times(advantage(statistics.median(values), before, unit))
            line += f" {quantity(before, unit)} | {factor} |"
        lines.append(line)
    lines += [f"| {rival} | skipped: not installed | - | - | - | 0 |" + (" - | - |" if saved else "")
              for rival in figures.skipped.get(bench, [])]
    return lines


def missed_goals(figures):
    """Titles of the rows with a missed goal."""
    return [row.title for row in ROWS
            if (value := figures.median(row.bench, row.case)) is not None
            and goal_cell(figures, row, value, figures.unit[row.bench, row.case])[1]]


def document(figures, machine, questions, quiet):
    """RESULTS.md as a list of lines."""
    table, notes = summary(figures)
    lines = ["# Speed, measured", "",
             "Written by `bench/run`; `./dev bench` runs it. Each round runs brood and every rival "
             "once, one after the other, each on a machine that has just been idle; a figure is the "
             "median of the rounds. Each program verifies its answers. Compare figures of this file "
             "with each other and not with another machine's.", "", *machine, "",
             f"Waits for a quiet machine that gave up: {quiet}.", "",
             "## Promises, rivals, limits", "",
             "*faster than*: how many times, with the rival's own figure; below 1x the rival is "
             "faster. *cost against the limit*: 1x is as fast as the bare mechanism goes on this "
             "machine. oneTBB and OpenMP are threads in one process: they survive no crash.", "",
             *table, ""]
    if notes:
        lines += ["Where a goal is missed, and why:", "", *notes, ""]
    for question in questions:
        lines += [f"## {question}", "", *details(figures, question), ""]
    return lines
