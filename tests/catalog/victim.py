"""A process that forks writers and kills them: ``victim.py``, which reads one order per line and answers with how it ended.

An order is ``ROOT SEED step N``, to die right before or after the N-th step on files, or ``ROOT SEED ms N``, to die after so
many milliseconds. A writer is forked of an interpreter that has everything imported, which takes a few milliseconds.
"""

import os
import random
import signal
import sys
import tempfile
import threading
import time

from keptmarket import DAY, END, HOUR, START, load

from cracktrader.catalog import Catalog

_STEPS = {"open", "write", "fsync", "rename", "replace", "remove", "unlink", "mkdir"}


def write_little(root: str) -> None:
    """Two months, of which the second is then rewritten."""
    load(Catalog(root), START + 25 * DAY, START + 35 * DAY)
    load(Catalog(root), START + 35 * DAY, START + 38 * DAY)


def write(root: str, seed: int) -> None:
    """What writers do: new ranges, neighbours in months that are rewritten, and what is asked for again."""
    chance = random.Random(seed)
    catalog = Catalog(root)
    for _ in range(3):
        start = START + chance.randrange((END - 50 * DAY - START) // HOUR) * HOUR
        middle = start + chance.randrange(1, 40 * 24) * HOUR
        load(catalog, start, middle)
        load(catalog, middle, middle + 3 * DAY)
    load(catalog.but(recheck=24), start, middle)


def die_at_step(number: int) -> None:
    """Be gone before or after a step on files: each counts twice."""
    left = [number]

    def count(_frame: object, event: str, called: object) -> None:
        if event in ("c_call", "c_return") and getattr(called, "__name__", "") in _STEPS:
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    threading.setprofile(count)
    sys.setprofile(count)


def main() -> None:
    """Follow orders until there are none."""
    with tempfile.TemporaryDirectory() as folder:
        write(folder, 0)  # so that everything is imported

    for order in sys.stdin:
        root, seed, how, number = order.split()
        if (child := os.fork()) == 0:
            try:
                if how == "step":
                    die_at_step(int(number))
                    write_little(root)
                else:
                    write(root, int(seed))
                os._exit(0)
            except BaseException:
                sys.excepthook(*sys.exc_info())
                os._exit(1)
        if how == "ms":
            time.sleep(float(number) / 1000)
            os.kill(child, signal.SIGKILL)
        ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        print(ended, flush=True)


if __name__ == "__main__":
    main()
