"""Answering one request from a series: what lacks is found and fetched, and kept as it comes."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final, Protocol

from cracktrader.bars import Bars
from cracktrader.catalog.files import rows_digest
from cracktrader.catalog.intervals import BEGINNING, Interval, Intervals, intersect, merge, run_until, subtract
from cracktrader.catalog.ledger import SETTLING, Fetch, Ledger
from cracktrader.catalog.series import SeriesStore
from cracktrader.errors import CatalogUnwritable, SourceError
from cracktrader.request import BarRequest
from cracktrader.times import now_ms, parse_time

__all__ = ["LATE", "SETTLING", "Answer", "BarSource"]

#: That nothing comes after the last bar is not believed for so long: the source may be late with it.
LATE: Final = 7 * 86_400_000
#: What is fetched is written after so many rows, or so many seconds, at the latest.
_FLUSH_ROWS: Final = 200_000
_FLUSH_SECONDS: Final = 5.0


class BarSource(Protocol):
    """What a catalog asks for what it lacks; :class:`cracktrader.Source` is one."""

    @property
    def name(self) -> str:
        """The source's name."""

    @property
    def identity(self) -> Mapping[str, Any]:
        """The options that decide which data it is, as JSON values, without secrets."""

    @property
    def provenance(self) -> Mapping[str, Any]:
        """``plugin`` and ``plugin_version``."""

    def bars(self, request: BarRequest) -> Iterator[Bars]:
        """The bars of a request, oldest first."""

    def now(self) -> int:
        """The source's clock, in epoch milliseconds UTC."""


class Answer:
    """One request, on its way to its bars."""

    def __init__(
        self,
        series: SeriesStore,
        source: BarSource,
        request: BarRequest,
        *,
        ttl: float,
        recheck: int,
        progress: Callable[[int], None] | None,
    ) -> None:
        self._series, self._source, self._request = series, source, request
        self._frame = request.timeframe
        self._now, self._ttl, self._progress = now_ms(), ttl * 1000, progress
        closed = self._frame.floor(self._now)
        if max(request.start or 0, request.end or 0) > closed:  # is it this machine's clock that is behind?
            closed = self._closed_by_the_source(closed)
        self._start = BEGINNING if request.start is None else request.start
        self._end = closed if request.end is None else min(request.end, closed)
        #: The last closed bars, which are to be asked for again.
        self._doubted: Intervals = ((self._back(self._end, recheck), self._end),) if recheck else ()
        #: What the source was asked for in the course of this answer: it is not asked twice.
        self._asked: Intervals = ()

    def _closed_by_the_source(self, closed: int) -> int:
        """When the bar opens that the source has open, if that is later than ``closed``."""
        with suppress(SourceError):  # what is held can be answered without it
            return max(closed, self._frame.floor(self._source.now()))
        return closed

    # ── reading ──────────────────────────────────────────────────────────────────────────────────────

    def read(self, ledger: Ledger) -> Bars:
        """The bars of the request, of those that the ledger knows."""
        limit = self._request.limit
        if limit is None:
            return self._series.read(ledger, self._request.start, self._end)
        if self._request.start is None:
            return self._series.tail(ledger, None, self._end, limit)
        return self._series.head(ledger, self._start, self._end, limit)

    # ── what lacks ───────────────────────────────────────────────────────────────────────────────────

    def bring(self) -> Ledger:
        """Fetch what lacks; the ledger that then holds. Of several at once, one fetches, the others wait."""
        ledger = self._series.ledger()
        if self._lacking(ledger) is None:
            return ledger
        with self._series.lock():
            ledger = self._series.ledger()  # another may have fetched it meanwhile
            if self._request.end is None:
                self._end = self._closed_by_the_source(self._end)
            while (request := self._lacking(ledger)) is not None:
                ledger = self._fetch(ledger, request)
        return ledger

    def _lacking(self, ledger: Ledger) -> BarRequest | None:
        """The next request to the source, None where nothing lacks."""
        if self._start >= self._end:
            return None
        held = subtract(ledger.believed(now=self._now, ttl=self._ttl), self._doubted)
        known = merge(held, self._asked)
        if self._request.limit is None:
            return self._lacking_of_range(ledger, known)
        if self._request.start is None:
            return self._lacking_of_tail(ledger, known, self._request.limit)
        return self._lacking_of_head(ledger, known, self._request.limit)

    def _lacking_of_range(self, ledger: Ledger, known: Intervals) -> BarRequest | None:
        wanted: Interval = (self._start, self._end)
        if missing := subtract([wanted], known):
            # Whoever goes to the source anyway asks for all that may have been corrected since.
            fresh = subtract(intersect([wanted], ledger.provisional()), self._asked)
            start, end = merge(missing, fresh)[0]
            return self._ask(start, end)
        return None

    def _lacking_of_head(self, ledger: Ledger, known: Intervals, limit: int) -> BarRequest | None:
        reached = run_until(known, self._start)
        if reached >= self._end:
            return None
        held = len(self._series.head(ledger, self._start, reached, limit))
        if held >= limit:
            return None
        until = min([self._end, *(start for start, _ in known if start > reached)])
        return self._ask(reached, until, limit - held)

    def _lacking_of_tail(self, ledger: Ledger, known: Intervals, limit: int) -> BarRequest | None:
        before = [(start, min(end, self._end)) for start, end in known if start < self._end]
        start, end = before.pop() if before else (self._end, self._end)
        if end < self._end:  # what came since
            return self._ask_back(end, self._end, limit)
        held = len(self._series.tail(ledger, start, self._end, limit))
        if held >= limit or start == BEGINNING:
            return None
        return self._ask_back(before[-1][1] if before else BEGINNING, start, limit - held)

    def _ask_back(self, start: int, end: int, limit: int) -> BarRequest:
        """All of a stretch, where it is no longer than what is wanted of it, else the last of it."""
        return self._ask(start, end) if start >= self._back(end, limit) else self._ask(BEGINNING, end, limit)

    def _back(self, end: int, bars: int) -> int:
        return self._frame.opening(self._frame.ordinal(end) - bars)

    def _ask(self, start: int, end: int, limit: int | None = None) -> BarRequest:
        # The bounds are exact: read as times again, a number of 1970 would pass for seconds.
        request = BarRequest(self._request.symbol, self._frame, limit=limit)
        object.__setattr__(request, "start", None if start == BEGINNING else start)
        object.__setattr__(request, "end", end)
        return request

    # ── fetching ─────────────────────────────────────────────────────────────────────────────────────

    def _fetch(self, ledger: Ledger, request: BarRequest) -> Ledger:
        fetching = _Fetching(self._series, self._source, request, ledger)
        try:
            for chunk in self._source.bars(request):
                if self._progress is not None:
                    self._progress(len(chunk))
                fetching.take(chunk)
        except BaseException:
            fetching.break_off()
            raise
        self._asked = merge(self._asked, [fetching.finish()])
        return fetching.ledger


class _Fetching:
    """One request to the source, written down as its chunks come in."""

    def __init__(self, series: SeriesStore, source: BarSource, request: BarRequest, ledger: Ledger) -> None:
        self.ledger = ledger
        self._series, self._source, self._request = series, source, request
        self._frame = request.timeframe
        self._now = source.now()
        #: Bars that open from here on were not over when the fetch began.
        self._closed = self._frame.floor(self._now)
        #: Where what the source says begins: the start that was asked for, or of all that it keeps.
        self._begin = BEGINNING if request.start is None else request.start
        self._cursor = self._begin
        #: The last of n bars begin where the first of them does, which is known when all have come.
        self._from_the_end = request.limit is not None and request.start is None
        self._pending: list[Bars] = []
        self._rows = 0
        self._first: int | None = None
        self._last: int | None = None
        self._flushed = time.monotonic()

    def take(self, chunk: Bars) -> None:
        """Rows as they came; those of bars that are not over are not kept.

        ``kept_from`` in their provenance says that the source keeps nothing older, so that nothing is known of that.
        """
        if self._request.start is None and (kept := chunk.provenance.get("kept_from")) is not None:
            self._begin = max(self._begin, parse_time(kept))
            self._cursor = max(self._cursor, self._begin)
        if not len(chunk):
            return
        self._rows += len(chunk)
        closed = chunk.time < self._closed
        chunk = chunk if closed.all() else chunk[closed]
        if not len(chunk):
            return
        first, last = int(chunk.time.min()), int(chunk.time.max())
        self._first = first if self._first is None else min(first, self._first)
        self._last = last if self._last is None else max(last, self._last)
        self._pending.append(chunk)
        late = time.monotonic() - self._flushed > _FLUSH_SECONDS
        if not self._from_the_end and (late or sum(map(len, self._pending)) >= _FLUSH_ROWS):
            self._commit(self._reached(), complete=True)

    def finish(self) -> Interval:
        """Write down the rest; the interval that was asked for and answered."""
        limit, end = self._request.limit, self._closed if self._request.end is None else self._request.end
        full = limit is not None and self._rows >= limit
        start = BEGINNING if self._request.start is None else self._request.start
        if self._from_the_end:
            self._cursor = (self._first if self._first is not None else end) if full else self._begin
            start = self._cursor if full else start
        elif full:
            end = max(self._reached(), self._cursor)
        self._commit(self._believed_until(end), complete=True)
        return start, end

    def break_off(self) -> None:
        """Keep what came before something went wrong, and not a bar's time more."""
        if not self._from_the_end and self._pending:
            with suppress(CatalogUnwritable):  # what went wrong first is what has to be told
                self._commit(self._reached(), complete=False)

    def _reached(self) -> int:
        """The end of the last bar that came."""
        return self._cursor if self._last is None else max(self._cursor, self._frame.next(self._last))

    def _believed_until(self, end: int) -> int:
        """How far what came is the whole truth: an empty end that is young may be filled yet."""
        end = min(end, self._closed)
        believed = self._frame.floor(self._now - LATE)
        return end if end <= believed else max(min(end, self._reached()), believed, min(self._cursor, end))

    def _commit(self, end: int, *, complete: bool) -> None:
        """Write what is pending, and that ``[cursor, end)`` was fetched."""
        request = self._request
        parts = self._pending or [Bars.empty(request.symbol, self._frame)]
        bars = Bars.concat(parts)
        end = max(end, self._cursor)
        if end > self._cursor or len(bars):
            whose = self._source.provenance
            settled = max(self._frame.floor(self._now - SETTLING), self._cursor)
            fetch = Fetch(
                self._cursor, end, len(bars), rows_digest(bars), self._now, settled, str(whose.get("plugin", "")),
                str(whose.get("plugin_version", "")), request.to_dict(), complete,
            )  # fmt: skip
            # Whatever a plugin notes is kept as JSON; what is none, as its text.
            noted = json.loads(json.dumps({**self.ledger.provenance, **bars.provenance, **whose}, default=str))
            noted.pop("kept_from", None)  # it was so then
            known = replace(self.ledger, provenance=noted)
            self.ledger = self._series.commit(known, bars.in_order(), fetch)
            self._cursor = end
        self._pending = []
        self._flushed = time.monotonic()
