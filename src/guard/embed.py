#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""embed.py PROGRAM C_FILE: writes the program's bytes as the array brood__guard_bytes."""
import sys

LINE = 16


def main():
    program, path = sys.argv[1:]
    with open(program, "rb") as file:
        data = file.read()
    with open(path, "w", encoding="ascii") as file:
        file.write("/* SPDX-License-Identifier: MIT */\n/* Made by embed.py. */\n")
        file.write('#include "run/guard_wire.h"\n\nconst unsigned char brood__guard_bytes[] = {\n')
        for at in range(0, len(data), LINE):
            file.write("    " + ", ".join(str(byte) for byte in data[at:at + LINE]) + ",\n")
        file.write("};\nconst size_t brood__guard_len = sizeof brood__guard_bytes;\n")


main()
