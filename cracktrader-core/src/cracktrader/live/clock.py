"""The source's clock, as it is known here."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

__all__ = ["SourceClock", "machine_ms"]

#: An older measurement counts for less: that many milliseconds of doubt for each second of age.
_DRIFT: Final = 0.1
#: A time that lies further ahead than this, in milliseconds, is a fault, and proves nothing.
_ABSURD: Final = 300_000


def machine_ms() -> float:
    """The machine's clock in epoch milliseconds, with fractions."""
    return time.time_ns() / 1e6


class SourceClock:
    """A source's time, in epoch milliseconds, from measurements of how far it is from the machine's.

    It is the earliest that the measurements allow, so that nothing counts as over before it is: a question that took a second
    leaves half a second of doubt. It never runs backwards, and is never behind what the source has shown: a candle or trade of
    12:00 proves that it is 12:00 there. ``pace`` is how fast its time passes; 1 but for replays.
    """

    def __init__(self, machine: Callable[[], float] = machine_ms, *, pace: float = 1.0) -> None:
        self._machine = machine
        self.pace = pace
        self._anchor = machine()
        self._time = self._anchor
        self._doubt = float("inf")
        self._shown = -float("inf")

    @property
    def offset(self) -> float:
        """How far the source's clock is ahead of the machine's, in milliseconds."""
        machine = self._machine()
        return self._at(machine) - machine

    def _at(self, machine: float) -> float:
        return self._time + (machine - self._anchor) * self.pace

    def _doubt_at(self, machine: float) -> float:
        """How far off the last measurement may be by now, in milliseconds of the machine; none without a measurement."""
        return self._doubt + (machine - self._anchor) / 1000 * _DRIFT if self._doubt < float("inf") else 0.0

    def measured(self, asked: float, answer: float, came: float) -> None:
        """The source said ``answer`` to a question that was asked and answered at these times of the machine.

        It read its clock at some moment in between, so half of the way is what remains in doubt; a measurement of more doubt
        than the last one, which ages, is not taken.
        """
        doubt = (came - asked) / 2
        if self._doubt == float("inf"):
            self._shown = -float("inf")  # what was told before was this machine's own time
        if self._doubt == float("inf") or doubt <= self._doubt_at(came):
            self._anchor, self._time, self._doubt = (asked + came) / 2, answer, doubt

    def shown(self, time: float) -> None:
        """The source has shown something of this time: it is that late there, at least."""
        if time <= self._at(self._machine()) + _ABSURD * max(1.0, self.pace):
            self._shown = max(self._shown, time)

    def now(self) -> int:
        """The time there."""
        machine = self._machine()
        self._shown = max(self._shown, self._at(machine) - self._doubt_at(machine) * self.pace)
        return int(self._shown)

    def seconds_until(self, time: int) -> float:
        """How many of the machine's seconds pass until it is ``time`` there."""
        return max(0.0, (time - self.now()) / self.pace / 1000)
