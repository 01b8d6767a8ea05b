"""Runs benchmarks and prints their ratios: ``python benchmarks/run.py [--rows N] [NAME…]``.

Both sides of a comparison run in one process, in turn; the median of at least five runs counts. The exit
status is 0 whether targets are reached or not: these numbers are for people to read, on a quiet machine.
"""

from __future__ import annotations

import argparse
import platform

from cases import CASES


def main() -> None:
    """Parse the arguments, run, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which ones: {', '.join(CASES)}; all if left out")
    parser.add_argument(
        "--rows", type=int, default=1_000_000, help="the million of the targets; smaller is quicker and says less"
    )
    parser.add_argument("--list", action="store_true", help="print the names")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(CASES):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(CASES)}")
    if arguments.list:
        print("\n".join(f"{name:<10} {case.__doc__}" for name, case in CASES.items()))
        return
    print(f"Python {platform.python_version()}, {platform.system()} {platform.machine()}, {arguments.rows:,} rows\n")
    for name in arguments.names or CASES:
        for result in CASES[name](arguments.rows):
            print(result, flush=True)


if __name__ == "__main__":
    main()
