"""How long one answer may take: tries, waits between them, and a time by which all must be over."""

from __future__ import annotations

import random
import threading
import time
from typing import Final

__all__ = ["OutOfTime", "Patience", "Stopped"]

_LONGEST: Final = 30.0


class Stopped(Exception):  # noqa: N818
    """Whoever wanted the answer does not want it any more."""


class OutOfTime(Exception):  # noqa: N818
    """It would take longer than it may; ``wait`` is how long in all, in seconds."""

    def __init__(self, wait: float) -> None:
        super().__init__(f"{wait:.1f} s would have to be waited for")
        self.wait = wait


class Patience:
    """What one answer may cost, in seconds; ``stopped`` ends every wait."""

    def __init__(self, *, retries: int, backoff: float, budget: float, stopped: threading.Event | None = None) -> None:
        self.retries, self._backoff, self.budget = retries, backoff, budget
        self._stopped = stopped or threading.Event()
        self._started = time.monotonic()
        self.tries = 0

    @property
    def left(self) -> float:
        """The seconds that are left."""
        return self._started + self.budget - time.monotonic()

    @property
    def spent(self) -> float:
        """The seconds that have gone."""
        return time.monotonic() - self._started

    def pause(self) -> float:
        """How long to wait after so many tries: twice as long each time, and never for everybody the same."""
        longest = min(_LONGEST, self._backoff * 2.0 ** min(self.tries - 1, 30))
        return longest * random.uniform(0.5, 1)  # noqa: S311 - no secret

    def sleep(self, seconds: float) -> None:
        """Wait; raises :class:`OutOfTime` instead where there is not so much time, :class:`Stopped` where nobody waits."""
        if seconds > 0 and seconds >= self.left:
            raise OutOfTime(seconds)
        if self._stopped.wait(max(0.0, seconds)):
            raise Stopped
