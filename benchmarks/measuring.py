"""How benchmarks are measured: side by side in one process, in turn, medians, as ratios."""

from __future__ import annotations

import gc
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

__all__ = ["RUNS", "Result", "cpu_of", "peak_memory_of", "side_by_side"]

#: How often each side runs; the median counts.
RUNS = 5


@dataclass(frozen=True, slots=True)
class Result:
    """One comparison: what was measured, the ratio, and the target that it must keep."""

    name: str
    what: str
    ratio: float
    target: str
    reached: bool

    def __str__(self) -> str:
        return (
            f"{'ok  ' if self.reached else 'MISS'}  {self.name:<14} {self.what:<100} {self.ratio:>8.2f}  (target {self.target})"
        )


def side_by_side(*sides: Callable[[], Any], runs: int = RUNS, warm: bool = True) -> list[float]:
    """The median seconds of each side; they run in turn, so that a slow moment of the machine meets both."""
    seconds: list[list[float]] = [[] for _ in sides]
    for turn in range(runs + warm):
        for side, taken in zip(sides, seconds, strict=True):
            gc.collect()
            start = time.perf_counter()
            kept = side()
            elapsed = time.perf_counter() - start
            del kept
            if turn >= warm:
                taken.append(elapsed)
    return [statistics.median(taken) for taken in seconds]


def cpu_of(*command: str, runs: int = 2 * RUNS) -> float:
    """The median CPU seconds of a whole process, with byte code compiled."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    taken = []
    for _ in range(runs + 1):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        taken.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return statistics.median(taken[1:])


def peak_memory_of(script: str) -> float:
    """The peak resident memory of a Python script in a process of its own, in megabytes.

    Where there is /proc, from there: what ``getrusage`` tells of a process begins with what its parent had when it began.
    """
    told = f"""{script}
import pathlib, re, resource
about = pathlib.Path("/proc/self/status")
peak = re.search(r"VmHWM:\\s+(\\d+)", about.read_text()) if about.exists() else None
print(peak[1] if peak else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"""
    done = subprocess.run([sys.executable, "-c", told], check=True, capture_output=True, text=True)
    return int(done.stdout.split()[-1]) / 1024
