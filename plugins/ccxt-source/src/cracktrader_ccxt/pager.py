"""Going through pages of candles: which range is asked for next, and when it is over.

Nothing here asks a network: a page comes from a function, so that the arithmetic can be tested by itself. A page is
complete between its first and its last row; what it leaves open before or after is asked for again until an answer says
that there is nothing, so no cap of the exchange and no gap in the market ends a range early. Windows never overlap: no row
comes twice.
"""

from __future__ import annotations

import threading
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
        """The page of a range; asked for again where the exchange says that there is nothing more at all."""
        page = self._ask(span.start, span.end)
        if page.rows or self.answers != "first":
            return page
        if self._nothing_from is None or span.start < self._nothing_from:
            page = self._ask(span.start, span.end)
            if not page.rows:
                with self._lock:
                    self._nothing_from = min(span.start, self._nothing_from or span.start)
        return page

    def _left_open(self, page: Page, span: Span) -> list[Span | Columns]:
        """The rows of a page, and what it leaves open at both ends; the last item is the first to be seen to."""
        time = page.columns[0]
        first, after = int(time[0]), int(self._frame.next(int(time[-1])))
        if self._nothing_from is not None and first >= self._nothing_from:
            raise TemporarySourceError(
                f"The exchange said twice that there are no bars from {isoformat(self._nothing_from)} on, and then sent one of"
                f" {isoformat(first)}: bars between may be missing.",
                hint="Try again: something at the exchange is not in order.",
            )
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
