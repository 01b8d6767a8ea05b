"""How often a host is asked: one queue per host, shared by all of this process and, through a file, of this machine."""

from __future__ import annotations

import contextlib
import hashlib
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar, Final

__all__ = ["HostQueue"]

#: A turn further away than this was not meant: the clock was put back since it was noted.
_FURTHEST: Final = 3600.0


class HostQueue:
    """Whose turn it is at one host. Turns are handed out evenly spaced; :meth:`pause` puts the next one off."""

    _all: ClassVar[dict[str, HostQueue]] = {}
    _all_lock: ClassVar[threading.Lock] = threading.Lock()

    def __init__(self, host: str) -> None:
        self._file = f"{hashlib.sha256(host.encode()).hexdigest()[:24]}.txt"
        self._lock = threading.Lock()
        self._next = 0.0
        self._paused = 0.0

    @classmethod
    def of(cls, host: str) -> HostQueue:
        """The queue of a host; everybody in this process gets the same."""
        with cls._all_lock:
            return cls._all.setdefault(host, cls(host))

    def turn(self, rate: float | None) -> float:
        """Take a turn; the seconds to wait for it. Without a rate, only a pause is waited for."""
        if rate is None:
            return max(0.0, self._paused - time.time())
        with self._lock, _shared(self._file) as known:
            now = time.time()
            turns = [turn for turn in (self._next, self._paused, known.turn) if now < turn < now + _FURTHEST]
            turn = max([now, *turns])
            self._next = known.turn = turn + 1 / rate
            return turn - now

    def pause(self, seconds: float, *, shared: bool) -> None:
        """Nobody's turn comes within so many seconds: the host asked for it."""
        until = time.time() + min(seconds, _FURTHEST - 1)
        with self._lock:
            self._paused = max(self._paused, until)
            if shared:
                with _shared(self._file) as known:
                    known.turn = max(known.turn, until)


class _Known:
    """The next turn, as the machine knows it."""

    turn = 0.0


@contextlib.contextmanager
def _shared(name: str) -> Iterator[_Known]:
    """The next turn noted in a file, to be read and changed while nobody else does; forgotten where there is no file to write."""
    from filelock import FileLock
    from platformdirs import user_cache_path

    known = _Known()
    folder = user_cache_path("cracktrader") / "http"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / f"{name}.lock", timeout=10)
        lock.acquire()
    except (OSError, TimeoutError):  # a home that can't be written to: then this process is on its own
        yield known
        return
    try:
        path: Path = folder / name
        with contextlib.suppress(OSError, ValueError):
            known.turn = float(path.read_text())
        yield known
        with contextlib.suppress(OSError):
            path.write_text(repr(known.turn))
    finally:
        lock.release()
