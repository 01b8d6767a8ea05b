"""Answers that need not be sent again: ETag and Last-Modified."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from cracktrader.plugins.hosts import http_date

__all__ = ["Answer", "KnownAnswers"]

_MOST_BYTES: Final = 16 << 20
#: Seconds after which what was modified is taken not to be in the middle of it.
_SETTLED: Final = 5.0
#: A request: its address and its headers, either of which may say which symbol is meant.
Asked = tuple[str, tuple[tuple[str, str], ...]]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server said: where (without secrets), its status, headers in lower case, the unpacked body, and its next page.

    ``heard``: it is an event of a stream, among which others come that hold no bars.
    """

    told: str
    url: str
    status: int
    headers: Mapping[str, str]
    body: bytes
    next_link: str | None = None
    heard: bool = False


class KnownAnswers:
    """The latest answers that the server has a mark for: asked again, it may say that nothing changed."""

    def __init__(self) -> None:
        self._answers: OrderedDict[Asked, Answer] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def conditions(self, asked: Asked) -> dict[str, str]:
        """The headers that ask for an answer only if it is not the known one."""
        known = self.get(asked)
        if known is None:
            return {}
        if etag := known.headers.get("etag"):
            return {"If-None-Match": etag}
        return {"If-Modified-Since": known.headers["last-modified"]}

    def get(self, asked: Asked) -> Answer | None:
        """The known answer to a request."""
        with self._lock:
            return self._answers.get(asked)

    def keep(self, asked: Asked, answer: Answer) -> None:
        """Remember an answer, if it has a mark; forget the oldest where it gets too much."""
        marked = "etag" in answer.headers or _settled(answer.headers)
        if not marked or "no-store" in answer.headers.get("cache-control", "") or len(answer.body) > _MOST_BYTES // 4:
            return
        with self._lock:
            if old := self._answers.pop(asked, None):
                self._bytes -= len(old.body)
            self._answers[asked] = answer
            self._bytes += len(answer.body)
            while self._bytes > _MOST_BYTES:
                self._bytes -= len(self._answers.popitem(last=False)[1].body)


def _settled(headers: Mapping[str, str]) -> bool:
    """Whether ``Last-Modified`` is a mark: it tells no more than seconds, so the same may hold after another change."""
    modified, sent = http_date(headers.get("last-modified")), http_date(headers.get("date"))
    return modified is not None and sent is not None and sent - modified >= _SETTLED
