"""How often a host is asked: one budget per host, shared by all of this process and, through a file, of this machine.

No client knows what other processes ask of the same host, and exchanges count by address: so turns are handed out
from a file that every process locks, evenly spaced, and a host that said stop is left alone by all of them.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar, Final

__all__ = ["HostBudget", "cache_folder"]

#: A turn further away than this was not meant: the clock was put back since it was noted.
_FURTHEST_TURN: Final = 600.0
#: No exchange bans for longer.
_LONGEST_STOP: Final = 4 * 86_400.0
#: Turns are this much further apart than the limit asks for: requests don't arrive as evenly as they leave.
_MARGIN: Final = 1.03


def cache_folder() -> Path:
    """Where this machine keeps what it may forget: whose turn it is, and lists of markets."""
    from platformdirs import user_cache_path

    return user_cache_path("cracktrader") / "ccxt"


class HostBudget:
    """Whose turn it is at one host, and until when nobody's."""

    _all: ClassVar[dict[str, HostBudget]] = {}
    _all_lock: ClassVar[threading.Lock] = threading.Lock()

    def __init__(self, host: str) -> None:
        self.host = host
        self._name = f"{hashlib.sha256(host.encode()).hexdigest()[:24]}.json"
        self._lock = threading.Lock()
        self._own = _Known()

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
            known.until = max(known.until, time.time() + min(seconds, _LONGEST_STOP))

    def stopped(self) -> float:
        """For how many seconds nobody asks this host any more; 0 where it may be asked."""
        known = self._merged(_read(cache_folder() / self._name))
        return max(0.0, known.until - time.time())

    def _merged(self, other: _Known) -> _Known:
        """What this process and the machine know, without what can't have been meant."""
        now = time.time()
        turns = [turn for turn in (self._own.turn, other.turn) if turn < now + _FURTHEST_TURN]
        stops = [until for until in (self._own.until, other.until) if until < now + _LONGEST_STOP + 1]
        return _Known(max(turns, default=0.0), max(stops, default=0.0))

    @contextlib.contextmanager
    def _shared(self) -> Iterator[_Known]:
        """What is known, to be read and changed while nobody else does; this process is on its own where it can't write."""
        from filelock import FileLock

        path = cache_folder() / self._name
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
                    written.write_text(json.dumps([known.turn, known.until]))
                    written.replace(path)
        finally:
            if lock is not None:
                lock.release()


class _Known:
    """When the next turn is, and until when there is none, in epoch seconds."""

    __slots__ = ("turn", "until")

    def __init__(self, turn: float = 0.0, until: float = 0.0) -> None:
        self.turn, self.until = turn, until


def _read(path: Path) -> _Known:
    try:
        turn, until = json.loads(path.read_text())
        return _Known(float(turn), float(until))
    except (OSError, ValueError, TypeError):
        return _Known()
