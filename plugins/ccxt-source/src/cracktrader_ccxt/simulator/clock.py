"""The simulator's clock: stands still until told to move, or runs in real or faster time."""

from __future__ import annotations

import datetime as dt
import threading
import time
from collections.abc import Callable
from typing import Final

from cracktrader.errors import InvalidOption
from cracktrader.timeframe import Timeframe
from cracktrader.times import TimeLike, isoformat, parse_time

__all__ = ["Clock", "milliseconds"]

#: How long a call waits for the streams to have sent what happened until then, in real seconds.
_PATIENCE: Final = 60.0


class Clock:
    """The exchange's time in epoch milliseconds UTC, one for REST and streams; safe between threads.

    It stands at ``now`` until :meth:`set` or :meth:`advance` move it, which return when the streams have sent all that
    happened on the way. :meth:`run` lets it go by itself, ``speed`` seconds in a real second.
    """

    def __init__(self, now: TimeLike, speed: float = 0.0) -> None:
        self._lock = threading.Lock()
        self._base = parse_time(now)
        self._since = time.monotonic()
        self._speed = 0.0
        #: Called, from any thread, after the clock was moved, started or stopped; waits for the streams where told to.
        self.on_change: Callable[[bool, float], None] | None = None
        if speed:
            self.run(speed)

    @property
    def now(self) -> int:
        """The time, in epoch milliseconds UTC."""
        with self._lock:
            return self._now()

    @property
    def speed(self) -> float:
        """How many seconds pass in a real second; 0 where it stands."""
        return self._speed

    def _now(self) -> int:
        return self._base + int((time.monotonic() - self._since) * 1000 * self._speed) if self._speed else self._base

    def set(self, now: TimeLike) -> int:
        """Move to a time, also back; returns it."""
        return self._move(lambda _: parse_time(now))

    def advance(self, by: int | str | dt.timedelta) -> int:
        """Move on by milliseconds, a timedelta or a timeframe such as ``"5m"``; returns the new time."""
        if isinstance(by, str) and Timeframe(by).step is None:
            return self._move(Timeframe(by).next)
        return self._move(lambda now: now + milliseconds(by))

    def run(self, speed: float = 1.0) -> None:
        """Let it go by itself."""
        if not 0 < speed <= 1e6:
            raise InvalidOption(f"A clock can't run at speed {speed!r}.", hint="1 is real time, 60 a minute in a second.")
        self._pace(speed)

    def pause(self) -> int:
        """Let it stand; returns where."""
        self._pace(0.0)
        return self.now

    def _pace(self, speed: float) -> None:
        with self._lock:
            self._base, self._since, self._speed = self._now(), time.monotonic(), speed
        self._changed(wait=False)

    def _move(self, target: Callable[[int], int]) -> int:
        with self._lock:
            self._base, self._since = target(self._now()), time.monotonic()
            moved = self._base
        self._changed(wait=True)
        return moved

    def _changed(self, *, wait: bool) -> None:
        if self.on_change:
            self.on_change(wait, _PATIENCE)

    def __repr__(self) -> str:
        return f"<Clock {isoformat(self.now)}, {f'running at {self._speed:g}' if self._speed else 'standing'}>"


def milliseconds(length: int | str | dt.timedelta) -> int:
    """A length of time in milliseconds.

    >>> milliseconds("5m"), milliseconds(dt.timedelta(seconds=2)), milliseconds(250)
    (300000, 2000, 250)
    """
    if isinstance(length, dt.timedelta):
        return length // dt.timedelta(milliseconds=1)
    if isinstance(length, str):
        step = Timeframe(length).step
        if step is None:
            raise InvalidOption(f"{length!r} has no fixed length.", hint="Give days.")
        return step
    return length
