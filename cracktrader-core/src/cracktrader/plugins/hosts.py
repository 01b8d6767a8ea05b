"""How often a host is asked: one budget per host, shared by all of this process and, through a file, of this machine.

No client knows what other processes ask of the same host, and exchanges count by address: so turns are handed out
from a file that every process locks, evenly spaced, and a host that said stop is left alone by all of them.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import threading
import time
from collections.abc import Iterator
from datetime import UTC
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import ClassVar, Final

__all__ = ["HostBudget", "http_date", "retry_after"]

#: No exchange bans for longer.
_LONGEST_STOP: Final = 4 * 86_400.0
#: So long the file of a host that may be asked is not looked at again, in seconds.
_UNHEARD: Final = 0.05
#: Turns are this much further apart than the limit asks for: requests don't arrive as evenly as they leave.
_MARGIN: Final = 1.03


class HostBudget:
    """Whose turn it is at one host, and until when nobody's; for sources that ask over a network.

    ::

        budget = HostBudget.of("api.example.com")
        time.sleep(budget.turn(0.2))        # at most five requests a second, whoever on this machine asks
        if answer.status == 429:
            budget.stop(retry_after(answer.headers["Retry-After"]) or 60)
    """

    _all: ClassVar[dict[str, HostBudget]] = {}
    _all_lock: ClassVar[threading.Lock] = threading.Lock()

    def __init__(self, host: str) -> None:
        self.host = host
        self._name = f"{hashlib.sha256(host.encode()).hexdigest()[:24]}.json"
        self._lock = threading.Lock()
        self._own = _Known()
        self._look_again = 0.0

    @classmethod
    def of(cls, host: str) -> HostBudget:
        """The budget of a host; everybody in this process gets the same."""
        with cls._all_lock:
            return cls._all.setdefault(host, cls(host))

    def turn(self, seconds: float) -> float:
        """Take a turn, of which there is one every so many seconds; how long to wait for it."""
        with self._lock, self._shared() as known:
            now = time.time()
            turns = [turn for turn in (known.turn, known.until) if turn > now]
            turn = max([now, *turns])
            known.turn = turn + seconds * _MARGIN
            return turn - now

    def stop(self, seconds: float) -> None:
        """Nobody on this machine asks within so many seconds: the host said so."""
        with self._lock, self._shared() as known:
            known.until = max(known.until, time.time() + seconds)

    def stopped(self) -> float:
        """For how many seconds nobody asks this host any more; 0 where it may be asked. Others are heard of within 50 ms."""
        if self._own.until <= time.time() and time.monotonic() < self._look_again:
            return 0.0
        left = max(0.0, self._merged(_read(_folder() / self._name)).until - time.time())
        if not left:
            self._look_again = time.monotonic() + _UNHEARD
        return left

    def _merged(self, other: _Known) -> _Known:
        """What this process and the machine know, by the clock as it stands now."""
        now = time.time()
        own, other = self._own.by(now), other.by(now)
        return _Known(max(own.turn, other.turn), max(own.until, other.until), now)

    @contextlib.contextmanager
    def _shared(self) -> Iterator[_Known]:
        """What is known, to be read and changed while nobody else does; this process is on its own where it can't write."""
        from filelock import FileLock

        path = _folder() / self._name
        lock = None
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            lock = FileLock(path.with_suffix(".lock"), timeout=10)
            lock.acquire()
        except (OSError, TimeoutError):
            lock = None
        try:
            known = self._merged(_read(path))
            yield known
            self._own = known
            if lock is not None:
                with contextlib.suppress(OSError):
                    written = path.with_suffix(f".{os.getpid()}")
                    written.write_text(json.dumps([known.turn, known.until, known.at]))
                    written.replace(path)
        finally:
            if lock is not None:
                lock.release()


class _Known:
    """When the next turn is, until when there is none, and when that was noted, in epoch seconds."""

    __slots__ = ("at", "turn", "until")

    def __init__(self, turn: float = 0.0, until: float = 0.0, at: float = 0.0) -> None:
        self.turn, self.until, self.at = turn, until, at

    def by(self, now: float) -> _Known:
        """The same where the clock was put back since: as far away as it was then; and no stop for longer than there is one."""
        back = min(0.0, now - self.at)
        return _Known(self.turn + back, min(self.until + back, now + _LONGEST_STOP), now)


def _read(path: Path) -> _Known:
    try:
        turn, until, at = json.loads(path.read_text())
        return _Known(float(turn), float(until), float(at))
    except (OSError, ValueError, TypeError):
        return _Known()


def _folder() -> Path:
    from platformdirs import user_cache_path

    return user_cache_path("cracktrader") / "hosts"


# ── what servers say of times ────────────────────────────────────────────────────────────────────────


def retry_after(text: object) -> float | None:
    """The seconds of a ``Retry-After`` header, which holds seconds or a date; None where it holds neither."""
    if text is None:
        return None
    try:
        seconds = float(str(text))
    except ValueError:
        moment = http_date(str(text))
        return None if moment is None else max(0.0, moment - time.time())
    return max(0.0, seconds) if math.isfinite(seconds) else None


def http_date(text: str | None) -> float | None:
    """A date of HTTP as epoch seconds; None where it is none."""
    try:
        moment = parsedate_to_datetime(text or "")
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
