# SPDX-License-Identifier: MIT
"""What the checks share: which files there are, and C code without its comments and texts."""

import os
import re
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
FOLDERS = ("include", "src", "cli", "tests", "bench", "examples", "fuzz")

TOKEN = re.compile(
    r"""//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'""", re.DOTALL
)


def files(folders=FOLDERS, ends=(".c", ".h")):
    """Paths relative to the root, sorted."""
    found = []
    for folder in folders:
        for where, _, names in os.walk(os.path.join(ROOT, folder)):
            for name in names:
                if name.endswith(ends):
                    found.append(os.path.relpath(os.path.join(where, name), ROOT))
    return sorted(found)


def read(path):
    with open(os.path.join(ROOT, path), encoding="utf-8") as file:
        return file.read()


def code_only(text):
    """TEXT with comments and the insides of literals blanked; lines stay where they are."""

    def blank(match):
        token = match.group(0)
        if token[0] in "\"'":
            return token[0] + " " * (len(token) - 2) + token[-1]
        return re.sub(r"[^\n]", " ", token)

    return TOKEN.sub(blank, text)


class Report:
    """Collects complaints as file:line: text, and ends the program with them."""

    def __init__(self):
        self.count = 0

    def add(self, path, line, text):
        self.count += 1
        where = f"{path}:{line}" if line else path
        print(f"{where}: {text}")

    def finish(self, what):
        if self.count:
            print(f"{self.count} complaints", file=sys.stderr)
            sys.exit(1)
        print(what)
