"""What was asked of the simulator, for assertions."""

from __future__ import annotations

import fnmatch
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

__all__ = ["Asked", "Record"]

#: Requests that are remembered; older ones are forgotten, but counted.
_MOST: Final = 50_000


@dataclass(frozen=True, slots=True)
class Asked:
    """One request: ``at`` is real time (``time.monotonic()``), ``clock`` the exchange's, in epoch milliseconds.

    ``status`` is 0 where no answer was given, ``weight`` what it cost by the exchange's rules, ``used`` all that was used in its
    minute, ``faults`` the kinds of fault that it met. For a stream ``method`` is WS and ``query`` what was sent.
    """

    at: float
    clock: int
    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    status: int
    weight: int = 0
    used: int = 0
    faults: tuple[str, ...] = ()
    dialect: str = ""


class Record:
    """The requests in the order they were answered; a sequence, safe between threads."""

    def __init__(self) -> None:
        self._asked: list[Asked] = []
        self._lock = threading.Lock()
        self.forgotten = 0

    def add(self, asked: Asked) -> None:
        with self._lock:
            if len(self._asked) >= _MOST:
                del self._asked[: _MOST // 2]
                self.forgotten += _MOST // 2
            self._asked.append(asked)

    def __len__(self) -> int:
        return len(self._asked)

    def __getitem__(self, index: int) -> Asked:
        return self._asked[index]

    def __iter__(self) -> Iterator[Asked]:
        with self._lock:
            return iter(list(self._asked))

    def of(self, path: str = "*", **query: str) -> list[Asked]:
        """Those whose path fits a pattern (``"*/klines"``) and whose query has these values."""
        return [
            asked
            for asked in self
            if fnmatch.fnmatchcase(asked.path, path) and all(asked.query.get(name) == value for name, value in query.items())
        ]

    def clear(self) -> None:
        """Forget all."""
        with self._lock:
            self._asked.clear()
            self.forgotten = 0

    def most_weight(self, seconds: float = 60.0, dialect: str | None = None) -> int:
        """The most weight in any stretch of that many real seconds, wherever it begins."""
        asked = sorted((a.at, a.weight) for a in self if a.weight and dialect in (None, a.dialect))
        most = used = first = 0
        for at, weight in asked:
            used += weight
            while asked[first][0] <= at - seconds:
                used -= asked[first][1]
                first += 1
            most = max(most, used)
        return most

    def __repr__(self) -> str:
        return f"<Record of {len(self) + self.forgotten:,} requests>"
