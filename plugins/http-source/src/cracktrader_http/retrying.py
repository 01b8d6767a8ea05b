"""Trying again: what is worth it, and how long to wait."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from cracktrader.errors import CracktraderError, TemporarySourceError

__all__ = ["Again", "Patience", "Stopped"]

Result = TypeVar("Result")
_LONGEST = 30.0


class Again(Exception):  # noqa: N818 - no failure yet
    """A request failed in passing; ``wait`` is what the server asked for, in seconds, where it did."""

    def __init__(self, message: str, *, hint: str = "", wait: float | None = None) -> None:
        super().__init__(message)
        self.message, self.hint, self.wait = message, hint, wait


class Stopped(Exception):  # noqa: N818
    """Whoever wanted the answer does not want it any more."""


class Patience:
    """How long one answer may take: tries, waits between them, and a time by which all must be over."""

    def __init__(self, *, retries: int, backoff: float, budget: float, stopped: threading.Event) -> None:
        self._retries, self._backoff, self._budget, self._stopped = retries, backoff, budget, stopped
        self._started = time.monotonic()

    def check(self) -> None:
        """Raise :class:`Again` where the time is over, :class:`Stopped` where nobody waits any more."""
        if self._stopped.is_set():
            raise Stopped
        if self.left <= 0:
            raise Again(f"it took longer than {self._budget:g} s", hint="Give it more time: budget=…, or ask for less at once.")

    @property
    def left(self) -> float:
        """The seconds that are left."""
        return self._started + self._budget - time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Wait; raises :class:`Stopped` where nobody waits any more."""
        if seconds > 0 and self._stopped.wait(seconds):
            raise Stopped

    def keep_trying(self, attempt: Callable[[], Result], told: Callable[[str], str]) -> Result:
        """What ``attempt`` returns, once it does; ``told`` puts what happened into words for the error."""
        tries = 0
        while True:
            tries += 1
            try:
                return attempt()
            except Again as again:
                wait = again.wait if again.wait is not None else self._pause(tries)
                if tries > self._retries or wait >= self.left:
                    raise self._given_up(again, tries, told) from again
                self.sleep(wait)

    def _pause(self, tries: int) -> float:
        longest = min(_LONGEST, self._backoff * 2.0 ** min(tries - 1, 30))
        return longest * random.uniform(0.5, 1)  # noqa: S311 - no secret

    def _given_up(self, again: Again, tries: int, told: Callable[[str], str]) -> CracktraderError:
        spent = self._budget - self.left
        waits = f" It asks to wait {again.wait:.0f} s." if again.wait is not None and again.wait >= 1 else ""
        return TemporarySourceError(
            f"{told(again.message)} (tried {tries} time{'s' if tries > 1 else ''} in {spent:.1f} s).{waits}",
            hint=again.hint or "Try again later. The options retries, backoff and budget say how long to go on.",
            tries=tries,
        )
