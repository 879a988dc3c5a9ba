#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Runs each line of compare.table by brood map and by GNU parallel: what they print on stdout, the
files they make and their exit status must be the same. Skipped where GNU parallel is not installed.

  compare.py BROOD [part of a line]     P is the program in a line. A line that begins with "~ " is
                                        compared without the order of lines.

A rival that takes its time to start makes this slow, so BROOD_SWEEP says how many lines are tried,
drawn anew each time: a number, or all. With a part of a line, all that have it.
"""
import concurrent.futures
import os
import random
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
FILES = {
    "in1": "a b\n  c d  \n\n e\\\n f\n", "tab": "x\ty\nz\tw\n", "five": "1\n2\n3\n4\n5\n",
    "csv": 'h1,h2\n1,2\n3, 4 \n"5,6",7\n', "abc": "a\nb\nc\n", "nul": "a b\0c\nd\0e", "empty": "",
    "cont": "a \nb\nc \nd \ne\nf\n", "end": "a\nb\nEND\nc\n", "blank": "a\n\n \nb\n",
    "recs": ">1\na\n>2\nb\nbb\n>3\nc\n", "mix": "k1=v1;k2=v2\nk3=v3\n",
}
# A line that takes longer fails.
PATIENCE_S = 60
LINES_TRIED = "60"


def tree(folder):
    """All files that a run has made, with what is in them."""
    made = {}
    for path, _, names in os.walk(folder):
        for name in names:
            full = os.path.join(path, name)
            short = os.path.relpath(full, folder)
            if short not in FILES:
                with open(full, "rb") as file:
                    made[short] = file.read()
    return made


def run(program, line, in_order):
    with tempfile.TemporaryDirectory(prefix="brood-compare-") as folder:
        work, home = os.path.join(folder, "work"), os.path.join(folder, "home")
        os.mkdir(work)
        os.mkdir(home)
        for name, content in FILES.items():
            with open(os.path.join(work, name), "w", encoding="utf-8", newline="") as file:
                file.write(content)
        environment = dict(os.environ, HOME=home, PARALLEL_HOME=home, PARALLEL_SHELL="/bin/bash",
                           LC_ALL="C.UTF-8", SHELL="/bin/bash")
        script = f"P() {{ {program} \"$@\"; }}\n{line}\n"
        try:
            result = subprocess.run(["/bin/bash", "-c", script], cwd=work, env=environment,
                                    stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                    stderr=subprocess.PIPE, timeout=PATIENCE_S, check=False)
        except subprocess.TimeoutExpired:
            return (None, b"took too long", {}, b"")
        out = result.stdout
        if not in_order:
            out = b"".join(sorted(out.splitlines(True)))
        return (result.returncode, out, tree(work), result.stderr)


def compare(job):
    brood, line = job
    in_order = not line.startswith("~ ")
    line = line if in_order else line[2:]
    ours = run(f"{brood} map", line, in_order)
    theirs = run("parallel --will-cite", line, in_order)
    if ours[:3] == theirs[:3]:
        return None
    text = [f"differs: {line}"]
    for who, (status, out, files, errors) in (("brood", ours), ("parallel", theirs)):
        text.append(f"  {who}: status {status}")
        text += ["    | " + part for part in out.decode("utf-8", "replace").splitlines()]
        text += [f"    + {name}: {content!r}" for name, content in sorted(files.items())]
        text += ["    ! " + part for part in errors.decode("utf-8", "replace").splitlines()[:4]]
    return "\n".join(text)


def main():
    if shutil.which("parallel") is None:
        print("skipped: GNU parallel is not installed (apt install parallel)")
        print("0 passed, 0 failed, 1 skipped")
        return
    version = subprocess.run(["parallel", "--version"], stdout=subprocess.PIPE, check=False)
    if b"GNU" not in version.stdout:
        print("skipped: the parallel that is installed is not GNU parallel")
        print("0 passed, 0 failed, 1 skipped")
        return
    brood, wanted = os.path.abspath(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else ""
    with open(os.path.join(HERE, "compare.table"), encoding="utf-8") as table:
        lines = [line.rstrip("\n") for line in table]
    lines = [line for line in lines if line and not line.startswith("#") and wanted in line]
    total = len(lines)
    tried = os.environ.get("BROOD_SWEEP", LINES_TRIED)
    if not wanted and tried != "all":
        lines = random.sample(lines, min(int(tried), total))
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        failures = [text for text in pool.map(compare, ((brood, line) for line in lines)) if text]
    for text in failures:
        print(text)
    print(f"{len(lines)} of {total} command lines tried")
    print(f"{len(lines) - len(failures)} passed, {len(failures)} failed, 0 skipped")
    sys.exit(1 if failures else 0)


main()
