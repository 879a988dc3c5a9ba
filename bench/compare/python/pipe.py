# SPDX-License-Identifier: MIT
"""Messages a second through multiprocessing.Pipe."""
from channels import SIZES, measure, pipe


def main():
    for length in SIZES:
        measure("pipe", pipe, length, 1, 1)


if __name__ == "__main__":
    main()
