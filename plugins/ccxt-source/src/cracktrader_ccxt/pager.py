"""Going through pages of candles: which range is asked for next, and when it is over.

Nothing here asks a network: a page comes from a function, so that the arithmetic can be tested by itself. A page is
complete between its first and its last row; what it leaves open before or after is asked for again until two answers say
that there is nothing, so no cap of the exchange, no gap in the market and no empty page by mistake ends a range early. Windows
never overlap: no row comes twice.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from cracktrader.errors import TemporarySourceError
from cracktrader.timeframe import Timeframe
from cracktrader.times import isoformat
from cracktrader_ccxt.candles import Columns, Page
from cracktrader_ccxt.facts import Answers

__all__ = ["Pager", "Span", "latest", "windows"]

#: How often one window may be asked for: a guard against an exchange that answers without sense.
_MOST_ASKED: Final = 10_000
#: How often a stretch is asked for until two answers in a row agree that nothing is in it.
_UNTIL_AGREED: Final = 4
_TRY_AGAIN: Final = "Try again: something at the exchange, or before it, is not in order."


@dataclass(frozen=True, slots=True)
class Span:
    """A half-open range of times; ``cut`` says that a page before or after it may have been cut off at it."""

    start: int
    end: int
    cut: bool = False


class Pager:
    """How one exchange is paged through for one market and timeframe, with what is learned on the way; safe between threads.

    ``ask(start, end)`` gets the page of a range, of which the exchange may send only some. ``size`` is how many bars one request
    is for; it falls where pages turn out to hold fewer. ``answers`` is what :mod:`cracktrader_ccxt.facts` says of the exchange.
    ``too_late(page)`` is asked once about a page that begins so late that the exchange may not have heard ``start``: it
    raises where there are older bars that the exchange does not give. ``heard`` says that it need not be asked.
    """

    def __init__(
        self,
        ask: Callable[[int, int], Page],
        frame: Timeframe,
        answers: Answers,
        size: int,
        too_late: Callable[[Page], None],
        *,
        heard: bool = False,
    ) -> None:
        self._ask, self._frame, self._too_late = ask, frame, too_late
        self.answers, self.size = answers, size
        self._lock = threading.Lock()
        self._empty: tuple[tuple[int, int], ...] = ()
        self._nothing_from: int | None = None
        self._seen: deque[tuple[int, int]] = deque(maxlen=256)
        self._heard = heard

    def window(self, span: tuple[int, int]) -> list[Columns]:
        """The rows of a range, oldest first, however many the exchange sends at once."""
        todo: list[Span | Columns] = [Span(*span)]
        found: list[Columns] = []
        asked = fullest = 0
        while todo:
            item = todo.pop()
            if not isinstance(item, Span):
                found.append(item)
                continue
            if any(start <= item.start and item.end <= end for start, end in self._empty):
                continue
            asked += 1
            if asked > _MOST_ASKED:
                raise _senseless(span, asked)
            page = self._asked(item)
            if len(page):
                if item.cut:
                    self.size = min(self.size, max(1, fullest))
                fullest = max(fullest, len(page))
                todo += self._left_open(page, item)
            elif page.first is not None and page.first >= item.end:
                self._note_what_comes_later(page, page.first, item)
        return found

    def _asked(self, span: Span) -> Page:
        """The page of a range; one that says that nothing is there is asked for again, until two answers agree.

        A cache, a proxy or an exchange in trouble sends an empty page, or one of another place, now and then.
        """
        page = self._ask(span.start, span.end)
        if len(page) or (self._nothing_from is not None and span.start >= self._nothing_from):
            return page
        for _ in range(_UNTIL_AGREED):
            before, page = page, self._ask(span.start, span.end)
            if len(page):
                return page
            if (page.first, page.last) == (before.first, before.last):
                break
        else:
            raise TemporarySourceError(
                f"Asked again and again for the bars from {isoformat(span.start)} to {isoformat(span.end)}, the exchange sent"
                " none of them, but others each time: whether there are any is not known.",
                hint=_TRY_AGAIN,
            )
        if self.answers == "first" and not page.rows:
            with self._lock:
                self._nothing_from = min(span.start, self._nothing_from or span.start)
                self._check(span.start)
        return page

    def _check(self, start: int, end: int | None = None) -> None:
        """Raise where rows came out of a stretch of which the exchange said that nothing is in it; the lock is held."""
        inside = [first for first, last in self._seen if last >= start and (end is None or first < end)]
        if not inside:
            return
        until = "on" if end is None else f"to {isoformat(end)}"
        raise TemporarySourceError(
            f"The exchange said twice that there are no bars from {isoformat(start)} {until}, and sent"
            f" some of {isoformat(max(start, inside[0]))}: bars between may be missing.",
            hint=_TRY_AGAIN,
        )

    def _left_open(self, page: Page, span: Span) -> list[Span | Columns]:
        """The rows of a page, and what it leaves open at both ends; the last item is the first to be seen to."""
        time = page.columns[0]
        first, after = int(time[0]), int(self._frame.next(int(time[-1])))
        with self._lock:
            self._seen.append((first, int(time[-1])))
            if self._nothing_from is not None:
                self._check(self._nothing_from)
            for empty in self._empty:
                self._check(*empty)
        left: list[Span | Columns] = []
        if after < span.end and page.last is not None and page.last < span.end:
            left.append(Span(after, span.end, cut=True))
        left.append(page.columns)
        if first > span.start and self.answers != "first" and page.first is not None and page.first >= span.start:
            left.append(Span(span.start, first, cut=True))
        return left

    def _note_what_comes_later(self, page: Page, first: int, span: Span) -> None:
        """A page that begins behind what was asked for: either there is nothing before it, or the start was not heard."""
        if self.answers == "window" and self._frame.ordinal(first) - self._frame.ordinal(span.end) <= self.size:
            return  # the first bar after the range, which some send too
        if self.answers != "first" and not self._heard:
            self._too_late(page)
            self._heard = True
        with self._lock:
            self._empty = (*self._empty[-63:], (span.start, first))
            self._check(span.start, first)


def _senseless(span: tuple[int, int], asked: int) -> TemporarySourceError:
    return TemporarySourceError(
        f"Of the bars from {isoformat(span[0])} to {isoformat(span[1])} the exchange sent so few at a time that {asked - 1:,}"
        " requests were not enough.",
        hint="Ask for less at once: batch_size=….",
    )


def windows(frame: Timeframe, start: int, end: int, size: Callable[[], int]) -> Iterator[tuple[int, int]]:
    """A range in parts of at most ``size()`` bars, which may change on the way."""
    while start < end:
        stop = min(end, int(frame.opening(frame.ordinal(start) + max(1, size()))))
        yield start, stop
        start = stop


def latest(
    fetch: Callable[[int, int], Iterator[Columns]], frame: Timeframe, end: int, limit: int, floor: Callable[[], int]
) -> Iterator[Columns]:
    """The last ``limit`` rows before ``end``, and perhaps some before them; ``floor()`` is where history begins.

    Ever longer ranges are asked for, backwards, until there are enough.
    """
    parts: list[list[Columns]] = []
    rows, size, earliest = 0, limit, None
    while rows < limit:
        start = max(0, int(frame.opening(frame.ordinal(end) - size)))
        if parts and earliest is None:
            earliest = floor()
        start = max(start, earliest or 0)
        if start >= end:
            break
        parts.append(list(fetch(start, end)))
        rows += sum(len(columns[0]) for columns in parts[-1])
        end, size = start, size * 4
    for part in reversed(parts):
        yield from part
