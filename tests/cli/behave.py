#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What brood map and brood run promise beyond the habits of others: nothing survives, a full disk
costs one job, an endless list no memory, and jobs never wait for stdin.

  behave.py BROOD [sanitized]     sanitized: its memory is not what it would be
"""
import os
import re
import signal
import subprocess
import sys
import tempfile
import time

BROOD = os.path.abspath(sys.argv[1])
PATIENCE_S = 30
SANITIZED = sys.argv[2:] == ["sanitized"]
facts = failures = 0


def run(words, **more):
    more.setdefault("stdin", subprocess.DEVNULL)
    return subprocess.run([BROOD] + words, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          timeout=PATIENCE_S, check=False, **more)


def check(fact, true, told=""):
    global facts, failures
    facts += 1
    if not true:
        failures += 1
        print(f"failed: {fact} {told!r}", flush=True)


def alive(mark):
    """Processes whose command line has the mark."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                if mark.encode() in file.read():
                    found.append(int(pid))
        except OSError:
            continue
    return [pid for pid in found if pid != os.getpid()]


def peak_kib(pid):
    """What a running process had in memory at most."""
    with open(f"/proc/{pid}/status", encoding="utf-8") as file:
        found = re.search(r"VmHWM:\s+(\d+)", file.read())
    return int(found.group(1)) if found else 0


def until(condition):
    end = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


def mark(number):
    """A sleep that only this test has."""
    return f"1{number}{os.getpid():07d}"


def nothing_survives():
    for number, how in enumerate(["sleep {m}", "setsid sleep {m} & sleep {m}",
                                  "(setsid sh -c 'sleep {m} & sleep {m}' &) ; sleep {m}",
                                  "trap '' TERM; sleep {m}; sleep {m}"]):
        name = mark(number)
        script = how.replace("{m}", name)
        process = subprocess.Popen([BROOD, "map", "-j2", script + "; :", ":::", "1", "2"],
                                   stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        check(f"it runs: {how}", until(lambda: len(alive("sleep\0" + name)) >= 2))
        process.kill()
        process.wait()
        check(f"SIGKILL of brood leaves nothing of: {how}", until(lambda: not alive(name)))
        result = run(["map", "--timeout", "0.2", "--term-seq", "TERM,100,KILL", script, ":::", "1"])
        check(f"a timeout fails the job: {how}", result.returncode == 1)
        check(f"a timeout leaves nothing of: {how}", not alive(name))
        result = run(["run", "--timeout", "0.2", "--term-seq", "TERM,100,KILL", "--", "sh", "-c",
                      script])
        check(f"brood run says 124: {how}", result.returncode == 124, result.returncode)
        check(f"brood run leaves nothing of: {how}", not alive(name))


def signals():
    name = mark(8)
    process = subprocess.Popen([BROOD, "map", "-j2", f"echo {{}}; sleep 0.5; : {name}", ":::", "1",
                                "2", "3", "4"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               stderr=subprocess.DEVNULL)
    until(lambda: len(alive(name)) >= 3)
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=PATIENCE_S)
    check("the first signal lets what runs end, and starts no more", sorted(out.split()) ==
          [b"1", b"2"], out)
    check("brood ends by that signal", process.returncode == -signal.SIGTERM)
    process = subprocess.Popen([BROOD, "map", "-j2", f"sleep {name}; : {{}}", ":::", "1", "2"],
                               stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
    until(lambda: len(alive("sleep\0" + name)) >= 2)
    process.send_signal(signal.SIGINT)
    process.stderr.readline()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=PATIENCE_S)
    check("the second signal kills", process.returncode == -signal.SIGINT and not alive(name))


def output():
    with tempfile.TemporaryDirectory() as folder:
        missing = os.path.join(folder, "missing")
        result = run(["map", "-k", "-j2", "head -c {} /dev/zero", ":::", "10", "3000000", "20"],
                     env=dict(os.environ, TMPDIR=missing))
        check("output that cannot be kept fails its job only", result.returncode == 1)
        check("and nothing of the others is lost", 30 <= len(result.stdout) <= 1100000)
        result = run(["map", "-k", "-j2", "head -c {} /dev/zero | tr '\\0' x", ":::", "9000000",
                      "5", "4000000"], env=dict(os.environ, TMPDIR=folder))
        check("large output goes by a file", result.stdout == b"x" * 13000005)
        check("and none is left", os.listdir(folder) == [])
        result = run(["map", "--files", "echo", ":::", "a"], env=dict(os.environ, TMPDIR=folder))
        with open(result.stdout.strip(), "rb") as file:
            check("--files prints a name", file.read() == b"a\n")


def input_():
    reading, writing = os.pipe()
    process = subprocess.Popen([BROOD, "map", "-j1", "echo"], stdin=reading,
                               stdout=subprocess.PIPE)
    os.close(reading)
    os.write(writing, b"one\n")
    check("a job's output does not wait for the next input", process.stdout.readline() == b"one\n")
    os.write(writing, b"two\n")
    check("and so on", process.stdout.readline() == b"two\n")
    os.close(writing)
    process.communicate(timeout=PATIENCE_S)
    numbers = subprocess.Popen(["seq", "1000000"], stdout=subprocess.PIPE)
    process = subprocess.Popen([BROOD, "map", "-X", "-j1", "true"], stdin=numbers.stdout)
    peaks = [0]
    while process.poll() is None:
        peaks.append(peak_kib(process.pid))
        time.sleep(0.01)
    numbers.stdout.close()
    numbers.wait()
    check("a long list takes no memory", SANITIZED or 0 < max(peaks) < 20000,
          max(peaks))
    result = run(["map", "-k", "--dry-run", "echo", ":::", "two\nlines"])
    check("an argument with a newline is one input", result.stdout == b"echo 'two\nlines'\n")
    result = run(["map", "-k", "--tagstring", "{#}", "echo", ":::", "a", "b", "c"])
    check("tags have the number of their job", result.stdout == b"1\ta\n2\tb\n3\tc\n")


def limits():
    eater = "import time; x = bytearray(200000000); time.sleep(20)"
    result = run(["map", "--mem", "60M", "-q", "-j1", sys.executable, "-c", eater, ":::", "1"])
    check("--mem ends a job", result.returncode == 1 and b"oom" in result.stderr, result.stderr)
    result = run(["run", "--mem", "60M", "--json", "--", sys.executable, "-c", eater])
    check("brood run says oom", result.returncode == 137 and b'"oom"' in result.stderr)
    result = run(["run", "--cpu-time", "0.2", "--", "sh", "-c", "while :; do :; done"])
    check("--cpu-time ends a command", result.returncode == 124, result.returncode)
    for words, status in ((["sh", "-c", "exit 3"], 3), (["sh", "-c", "kill -9 $$"], 137),
                          (["/no/such/program"], 127), (["/etc/passwd"], 126)):
        result = run(["run", "--"] + words)
        check(f"brood run {words}", result.returncode == status, result.returncode)
    result = run(["run", "cat"], stdin=None, input=b"through")
    check("brood run hands stdin on", result.stdout == b"through")


def help_():
    for verb in ("map", "run"):
        text = run([verb, "--help"]).stdout.decode()
        check(f"{verb} --help fits 100 columns", max(map(len, text.split("\n"))) <= 100)
    for shell in ("bash", "zsh", "fish"):
        text = run(["--completion", shell]).stdout.decode()
        check(f"completion for {shell}", "keep-order" in text and "timeout" in text)
    bash = run(["--completion", "bash"]).stdout
    checked = subprocess.run(["bash", "-n"], input=bash, check=False)
    check("bash reads its completion", checked.returncode == 0)
    check("a version", re.fullmatch(rb"brood \d+\.\d+\.\d+\n", run(["--version"]).stdout))
    check("an unknown verb is told", run(["frobnicate"]).returncode == 255)


for part in (nothing_survives, signals, output, input_, limits, help_):
    began = time.monotonic()
    part()
    print(f"{part.__name__}: {time.monotonic() - began:.1f} s", flush=True)
print(f"{facts - failures} passed, {failures} failed, 0 skipped")
sys.exit(1 if failures else 0)
