"""Going through pages: which range or page is asked for next, and when it is over."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from cracktrader.bars import Bars
from cracktrader.errors import MalformedData
from cracktrader.timeframe import Timeframe

__all__ = ["AskRange", "follow", "in_turn", "latest", "windows"]

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

    Which way the pages go is seen from the second one. Rows that come twice, because the list grew meanwhile, are left out.
    """
    held: list[Bars] = []
    for page in pages:
        if not len(page):
            continue
        if held and newest_first is None:
            newest_first = bool(page.time[0] < held[0].time[0])
            if not newest_first:
                yield from held
                held = held[-1:]
        fresh = page if not held else page[page.time < held[-1].time[0]] if newest_first else page[page.time > held[-1].time[-1]]
        if held and not len(fresh):
            raise _not_going_on(page, held[-1], newest_first)
        if newest_first is False:
            yield fresh
            held = [fresh] if len(fresh) else held
            if end is not None and page.time[-1] >= end:
                return
        else:
            held += [fresh] if len(fresh) else []
            if newest_first and start is not None and page.time[0] < start:
                break
    if newest_first is not False:
        yield from reversed(held)


def _not_going_on(page: Bars, known: Bars, newest_first: bool | None) -> MalformedData:
    if page.time[0] <= known.time[-1] and page.time[-1] >= known.time[0]:
        return MalformedData(
            "The API sends the same page again instead of the next one",
            hint="If it does so at the end, say how the last page is known: stop='…'. If it has but one page: pagination='none'.",
        )
    return MalformedData(
        "The pages of the API do not come in the order of time",
        hint=f"Is newest_first={newest_first} right? It says which way they go.",
    )
