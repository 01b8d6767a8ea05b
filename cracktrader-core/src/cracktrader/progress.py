"""How far many loads have come, and how it is shown."""

from __future__ import annotations

import datetime as dt
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["Progress", "Watch", "display"]

#: Seconds between two lines where there is no terminal, and between two pictures where there is one.
_BETWEEN_LINES: Final = 10.0
_BETWEEN_PICTURES: Final = 0.1


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a batch has come: series and rows so far, and the seconds that they took."""

    done: int
    total: int
    failed: int
    rows: int
    seconds: float

    @property
    def rows_per_second(self) -> float:
        """Rows a second since the beginning."""
        return self.rows / self.seconds if self.seconds else 0.0

    @property
    def seconds_left(self) -> float | None:
        """How long the rest takes if it goes on like this; None while nothing is done."""
        return self.seconds / self.done * (self.total - self.done) if self.done else None

    def __str__(self) -> str:
        failed = f", {self.failed:,} failed" if self.failed else ""
        told = f"{self.done:,} of {self.total:,} series{failed}, {self.rows:,} rows, {self.rows_per_second:,.0f} rows/s"
        if self.done == self.total:
            return f"{told}, took {_duration(self.seconds)}"
        return told if self.seconds_left is None else f"{told}, {_duration(self.seconds_left)} left"


#: What is told of progress: after every series, and several times a second meanwhile. What it raises ends the batch.
Watch: TypeAlias = Callable[[Progress], None]


@contextmanager
def display(wanted: bool | Watch | None) -> Iterator[Watch | None]:
    """What shows progress: the user's own function, or a bar on a terminal and a line now and then elsewhere.

    It is shown on standard error, so that what a program prints stays as it is.
    """
    if callable(wanted):
        yield wanted
    elif not wanted:
        yield None
    else:
        from rich.console import Console

        console = Console(stderr=True)
        with _bar(console) if console.is_terminal else _lines() as watch:
            yield watch


@contextmanager
def _bar(console: Console) -> Iterator[Watch]:
    from rich.progress import BarColumn, TextColumn
    from rich.progress import Progress as Picture

    with Picture(BarColumn(), TextColumn("{task.description}"), console=console, auto_refresh=False) as picture:
        task = picture.add_task("")
        due = _every(_BETWEEN_PICTURES)

        def watch(progress: Progress) -> None:
            if due() or progress.done == progress.total:
                picture.update(task, completed=progress.done, total=progress.total, description=str(progress), refresh=True)

        yield watch


@contextmanager
def _lines() -> Iterator[Watch]:
    due = _every(_BETWEEN_LINES)

    def watch(progress: Progress) -> None:
        if due() or progress.done == progress.total:
            sys.stderr.write(f"{progress}\n")
            sys.stderr.flush()

    yield watch


def _every(seconds: float) -> Callable[[], bool]:
    """A function that says yes once in so many seconds."""
    last = time.monotonic()

    def due() -> bool:
        nonlocal last
        now = time.monotonic()
        if now - last < seconds:
            return False
        last = now
        return True

    return due


def _duration(seconds: float) -> str:
    return str(dt.timedelta(seconds=round(seconds)))
