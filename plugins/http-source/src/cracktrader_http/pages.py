"""Going through pages: which range or page is asked for next, and when it is over."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cracktrader.bars import Bars
from cracktrader.errors import MalformedData
from cracktrader.timeframe import Timeframe

__all__ = ["AskRange", "follow", "in_turn", "latest", "windows"]

_IN_VAIN: Final = 3

#: Asks for the bars of ``[start, end)``, of which the API may send only some; ``start`` may be None.
AskRange = Callable[[int | None, int], Bars]


def follow(ask: AskRange, start: int | None, end: int, newest_first: bool | None) -> Iterator[Bars]:
    """All bars of a range, oldest first, however few the API sends at once.

    What a page leaves open at either side is asked for again, until nothing comes: so no cap of the API, and no gap in the
    market, ends a range early. ``newest_first`` says on which side a page is cut off, and saves asking at the other.
    """
    todo: list[tuple[int | None, int] | Bars] = [(start, end)]
    while todo:
        item = todo.pop()
        if isinstance(item, Bars):
            yield item
            continue
        page = ask(*item)
        if not len(page):
            continue
        begin, stop = item
        first, after = int(page.time[0]), int(page.timeframe.next(int(page.time[-1])))
        if after < stop and newest_first is not True:
            todo.append((after, stop))
        todo.append(page)
        if begin is None or (first > begin and newest_first is not False):
            todo.append((begin, first))


def windows(timeframe: Timeframe, start: int, end: int, size: int) -> Iterator[tuple[int, int]]:
    """A range in parts of at most ``size`` bars."""
    while start < end:
        stop = min(end, int(timeframe.opening(timeframe.ordinal(start) + size)))
        yield start, stop
        start = stop


def latest(
    fetch: Callable[[int | None, int], Iterable[Bars]], timeframe: Timeframe, end: int, limit: int, earliest: int | None
) -> Iterator[Bars]:
    """The last ``limit`` bars before ``end``, and perhaps some before them.

    Ever longer ranges are asked for, backwards, until there are enough.
    """
    parts: list[Sequence[Bars]] = []
    rows, size, floor = 0, limit, 0 if earliest is None else earliest
    while rows < limit and end > floor:
        start: int | None = max(floor, int(timeframe.opening(timeframe.ordinal(end) - size)))
        if start == floor and earliest is None:
            start = None
        parts.append([bars for bars in fetch(start, end) if len(bars)])
        rows += sum(map(len, parts[-1]))
        if start is None:
            break
        end, size = start, size * 4
    for part in reversed(parts):
        yield from part


def in_turn(pages: Iterable[Bars], start: int | None, end: int | None, newest_first: bool | None) -> Iterator[Bars]:
    """Pages of a list that the API goes through by itself, oldest first; ends where a page is past the range.

    Which way the pages go is seen from the second one. Of rows that come twice, because the list grew meanwhile, the latest
    counts. Rows on the wrong side that did not come before are an error.
    """
    left: Iterator[Bars] = (page for page in pages if len(page))
    begin = list(islice(left, 1 if newest_first is not None else 2))
    if newest_first is None:
        newest_first = len(begin) == 2 and bool(begin[1].time[0] < begin[0].time[0])
    left = chain(begin, left)
    yield from _backwards(left, start) if newest_first else _forwards(left, end)


def _forwards(pages: Iterable[Bars], end: int | None) -> Iterator[Bars]:
    seen = _Seen(newest_first=False)
    held: Bars | None = None  # the next page may know its rows better
    for page in pages:
        if not seen.is_news(page):
            if seen.over:
                break
            continue
        if held is not None and page.time[0] > held.time[-1]:
            yield held
            held = page
        elif held is not None:
            news = page[page.time >= held.time[0]]  # not what was handed on
            held = _latest_of([held, news])
            over = held.time < news.time[0]
            yield held[over]
            held = held[~over]
        else:
            held = page
        if end is not None and page.time[-1] >= end:
            break
    if held is not None:
        yield seen.noted(held)


def _backwards(pages: Iterable[Bars], start: int | None) -> Iterator[Bars]:
    seen = _Seen(newest_first=True)
    held: list[Bars] = []
    for page in pages:
        if not seen.is_news(page):
            if seen.over:
                break
            continue
        held.append(page)
        if start is not None and page.time[0] < start:
            break
    held = [_latest_of(held)] if seen.twice else held[::-1]
    if held:
        yield from held[:-1]
        yield seen.noted(held[-1])


def _latest_of(parts: list[Bars]) -> Bars:
    """The rows of all parts, by time; of rows of one time that of the last part."""
    whole = Bars.concat(parts).in_order()
    return whole[np.append(whole.time[1:] != whole.time[:-1], True)]


class _Seen:
    """The times of the pages so far, and what the seams between them tell."""

    def __init__(self, *, newest_first: bool) -> None:
        self._newest_first = newest_first
        self._times: list[NDArray[np.int64]] = []
        self._rows = self._seams = self._torn = self._in_vain = 0
        self._whole = True
        self.twice = False

    def is_news(self, page: Bars) -> bool:
        """Whether a page brings a bar that did not come before; raises :class:`MalformedData` where it is not the next one."""
        if self._times:
            edge = self._times[-1][0 if self._newest_first else -1]
            fresh = page.time < edge if self._newest_first else page.time > edge
            if not fresh.all():
                self.twice = True
                if not np.isin(page.time[~fresh], np.concatenate(self._times)).all():
                    raise _out_of_order(self._newest_first)
            if not fresh.any():
                if len(page) < self._rows and edge in page.time:  # the end of a list that grew meanwhile
                    self._in_vain += 1
                    return False
                raise MalformedData(
                    "The API sends the same page again instead of the next one",
                    hint="If it does so at the end, say how the last page is known: stop='…'."
                    " If it has but one page: pagination='none'.",
                )
            one, other = (page.time[-1], edge) if self._newest_first else (edge, page.time[0])
            self._seams += 1
            self._torn += bool(page.timeframe.next(int(one)) < other)
        ordinal = page.timeframe.ordinal
        self._whole = self._whole and ordinal(int(page.time[-1])) - ordinal(int(page.time[0])) == len(page) - 1
        self._times.append(page.time)
        self._rows, self._in_vain = len(page), 0
        return True

    @property
    def over(self) -> bool:
        """Whether the end of the list came so often that nothing else is to come: it grows as fast as it is asked for."""
        return self._in_vain >= _IN_VAIN

    def noted(self, bars: Bars) -> Bars:
        """``bars``, with a note where it looks as if bars were lost between the pages, though it can't be told for certain."""
        if not self._whole or self._seams < 2 or self._torn < self._seams:
            return bars
        note = (
            f"Each of {self._seams + 1} pages is without a gap, and there is one between any two: bars may have fallen out there,"
            " because the list changed meanwhile or because the API leaves out the first one."
        )
        return bars.but(provenance={**bars.provenance, "notes": [*bars.provenance.get("notes", ()), note]})


def _out_of_order(newest_first: bool) -> MalformedData:
    return MalformedData(
        "The pages of the API do not come in the order of time",
        hint=f"Is newest_first={newest_first} right? It says which way they go; here it was told, or seen from the first two."
        " If they go neither way, ask by time: params={'from': '{start}', 'to': '{end}'}.",
    )
