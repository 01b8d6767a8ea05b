"""From a request for bars to pages of candles of an exchange, and back to bars."""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Final

import numpy as np

from cracktrader.bars import Bars
from cracktrader.errors import (
    CracktraderError,
    MalformedData,
    NotSupported,
    PermanentSourceError,
    TemporarySourceError,
    UnsupportedTimeframe,
)
from cracktrader.request import BarRequest
from cracktrader.timeframe import Timeframe
from cracktrader.times import isoformat
from cracktrader_ccxt.candles import Candles, Columns, Page, page_of
from cracktrader_ccxt.config import CcxtConfig
from cracktrader_ccxt.desk import Desk
from cracktrader_ccxt.facts import FACTS, Answers, Facts, facts_of
from cracktrader_ccxt.markets import kind_of
from cracktrader_ccxt.pager import Pager, latest, windows
from cracktrader_ccxt.patience import Patience

__all__ = ["Fetch", "Load", "timeframes_of"]

#: Before this there was no exchange to have candles of.
_EARLIEST: Final = 1_262_304_000_000  # 2010
#: How often a page is asked for that is of another place, before it is an error.
_MISPLACED: Final = 3


def timeframes_of(desk: Desk, odd: Mapping[str, set[str]] | None = None) -> dict[Timeframe, str]:
    """The timeframes that an exchange has, in its own spelling; without those whose bars turned out to open elsewhere."""
    known: dict[Timeframe, str] = {}
    for spelled in desk.exchange.timeframes or {}:
        try:
            known.setdefault(Timeframe(spelled), spelled)
        except CracktraderError:  # one that the core has no word for
            continue
    for frame in {*FACTS.get(desk.name, Facts()).odd, *(odd or {}).get(desk.name, ())}:
        known.pop(Timeframe(frame), None)
    return known


class Load(ABC):
    """What a load of candles and one of trades have in common: who is asked, for which market, with how much patience."""

    def __init__(self, config: CcxtConfig, desk: Desk, request: BarRequest) -> None:
        self._config, self._desk, self._request, self._frame = config, desk, request, request.timeframe
        self._stopped = threading.Event()
        self._deadline = None if config.time_limit is None else time.monotonic() + config.time_limit
        self._market = desk.markets.find(request.symbol, self._patience())
        self._kind = kind_of(self._market)
        self._facts = facts_of(desk.exchange, self._kind)
        self._closed = int(self._frame.floor(desk.clock.now(self._patience()) - self._facts.grace))
        self._end = self._closed if request.end is None else min(request.end, self._closed)
        self._provenance: dict[str, Any] = {
            "exchange": desk.name, "market": self._market.get("id"), "market_type": self._market.get("type"),
            "volume_unit": self._facts.volume_unit(self._kind),
        }  # fmt: skip

    def bars(self) -> Iterator[Bars]:
        """The bars of the request that are over, oldest first."""
        reached = self._request.start
        try:
            for bars in self._chunks():
                if len(bars):
                    reached = int(self._frame.next(int(bars.time[-1])))
                    yield bars
        except (TemporarySourceError, PermanentSourceError, MalformedData) as error:
            raise self._with_what_is_missing(error, reached) from None
        finally:
            self._stopped.set()  # given up half-way: what still waits for its turn goes home

    @abstractmethod
    def _chunks(self) -> Iterator[Bars]:
        """The bars, oldest first."""

    def _patience(self) -> Patience:
        config = self._config
        return Patience(retries=config.retries, backoff=config.backoff, budget=config.budget, stopped=self._stopped)

    def _check_deadline(self) -> None:
        if self._deadline is not None and time.monotonic() > self._deadline:
            raise TemporarySourceError(
                f"{self._desk.name}, {self._request}: the time limit of {self._config.time_limit:g} s is over.",
                hint="Load again: what came is kept where there is a catalog, and the rest is fetched. Or raise time_limit.",
            )

    def _told(self, frame: Timeframe, start: int, end: int) -> str:
        return f"{self._desk.name}, {self._request.symbol} {frame} from {isoformat(start)} to {isoformat(end)}"

    def _with_what_is_missing(self, error: CracktraderError, reached: int | None) -> CracktraderError:
        missing = {"missing_end": isoformat(self._end)}
        since = "the beginning"
        if reached is not None:
            since = missing["missing_start"] = isoformat(reached)
        return type(error)(
            f"{error.message} Bars from {since} to {isoformat(self._end)} are missing.",
            hint=error.hint,
            **{**error.context, **missing},
        )


class Fetch(Load):
    """One request for candles, from its first page to its last."""

    def __init__(self, config: CcxtConfig, desk: Desk, request: BarRequest, odd: dict[str, set[str]]) -> None:
        if not desk.exchange.has.get("fetchOHLCV"):
            raise _no_candles(desk)
        super().__init__(config, desk, request)
        self._odd = odd
        self._known = timeframes_of(desk, odd)
        self._candles = self._of(self._frame, self._spelling())
        self._early = self._facts.early
        limit = (self._facts.limit or {})[self._kind]
        size = min(config.batch_size or limit, limit)
        if size > 1:
            size -= min(self._early, size - 1)
        answers: Answers = "window" if self._facts.depth else self._facts.answers
        self._pager = Pager(self._page, self._frame, answers, size, self._too_late, heard=self._facts.depth is not None)
        self._notes: list[str] = []
        if request.start is None and self._facts.depth is not None:  # there may have been earlier ones
            self._provenance["kept_from"] = isoformat(self._oldest_kept(self._facts.depth))

    def _chunks(self) -> Iterator[Bars]:
        return map(self._bars, self._columns(self._end))

    # ── the range ────────────────────────────────────────────────────────────────────────────────────

    def _columns(self, end: int) -> Iterator[Columns]:
        request = self._request
        if request.start is None and request.limit is not None:
            found = latest(self._range, self._frame, end, request.limit, self._beginning)
            yield from found if self._facts.depth is None else self._enough(list(found), request.limit, self._facts.depth)
            return
        start = self._beginning() if request.start is None else self._not_before_what_is_kept(request.start, end)
        if request.limit is not None:
            yield from self._head(start, end, request.limit)
        elif start < end:
            yield from self._range(start, end)

    def _head(self, start: int, end: int, limit: int) -> Iterator[Columns]:
        """The first ``limit`` rows from a start on, and perhaps some after them; looked for in ever longer stretches."""
        size = max(limit, self._pager.size)
        while limit > 0 and start < end:
            stop = min(end, int(self._frame.opening(self._frame.ordinal(start) + size)))
            for columns in self._range(start, stop):
                limit -= len(columns[0])
                yield columns
            start, size = stop, size * 4

    def _range(self, start: int, end: int) -> Iterator[Columns]:
        """The rows of a range: window by window, some of them worked on ahead."""
        parts = windows(self._frame, start, end, lambda: self._pager.size)
        for found in self._side_by_side(self._pager.window, parts):
            yield from found

    def _side_by_side(self, work: Callable[[Any], Any], items: Iterator[Any]) -> Iterator[Any]:
        """The results in the order of the items."""
        width = self._config.concurrency
        first = next(items, None)
        second = next(items, None)
        if width == 1 or second is None:
            yield from (work(item) for item in (first, second) if item is not None)
            yield from map(work, items)
            return
        pool = ThreadPoolExecutor(width, thread_name_prefix="cracktrader-ccxt")
        ahead: deque[Future[Any]] = deque()
        try:
            ahead += [pool.submit(work, first), pool.submit(work, second)]
            for item in items:
                ahead.append(pool.submit(work, item))
                if len(ahead) >= 2 * width:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        finally:
            self._stopped.set() if ahead else None
            pool.shutdown(wait=True, cancel_futures=True)

    def _beginning(self) -> int:
        """Where the exchange's history of this market begins, or somewhat before."""
        if self._facts.depth is not None:
            return self._oldest_kept(self._facts.depth)
        if self._facts.answers == "first":
            page = self._page(0, self._closed, limit=1)
            return self._closed if page.first is None else int(self._frame.floor(page.first))
        frame, spelled = max(self._known.items(), key=lambda item: item[0].shortest)
        candles = self._of(frame, spelled)
        for span in windows(frame, int(frame.ceil(_EARLIEST)), self._closed, lambda: self._pager.size):
            page = self._page(*span, candles=candles)
            if page.first is not None:
                return int(self._frame.floor(page.first))
        return self._closed

    def _oldest_kept(self, depth: int) -> int:
        return int(self._frame.opening(self._frame.ordinal(self._closed) - depth + 1))

    def _not_before_what_is_kept(self, start: int, end: int) -> int:
        depth = self._facts.depth
        if depth is not None and start < end and start < (oldest := self._oldest_kept(depth)):
            raise self._gone(oldest, f"{self._desk.name} keeps the last {depth:,} candles of a timeframe")
        return start

    def _enough(self, found: list[Columns], limit: int, depth: int) -> list[Columns]:
        """The last ``limit`` rows as they were found; raises where there are fewer because the exchange forgot the others."""
        oldest = self._oldest_kept(depth)
        first = int(found[0][0][0]) if found else self._end
        if sum(len(columns[0]) for columns in found) < limit:
            before = int(self._frame.opening(self._frame.ordinal(oldest) - self._pager.size))
            if first <= oldest or len(self._page(max(0, before), oldest)):
                raise self._gone(oldest, f"{self._desk.name} keeps the last {depth:,} candles of a timeframe")
        return found

    def _gone(self, oldest: int, why: str) -> NotSupported:
        request, trades = self._request, self._desk.exchange.has.get("fetchTrades")
        wanted = f"bars from {'the first one' if request.start is None else isoformat(request.start)} on"
        if request.start is None and request.limit is not None:
            wanted = f"the last {request.limit:,} bars before {isoformat(self._end)}"
        return NotSupported(
            f"{why}: of {request.symbol} {self._frame} those from {isoformat(oldest)} on, and {wanted} were asked for.",
            hint="Start there or later, or take a longer timeframe. A catalog keeps what was fetched in time."
            + (" Where the exchange has all trades, from_trades=True makes the bars of them." if trades else ""),
            earliest=isoformat(oldest),
            symbol=self._request.symbol,
        )

    # ── one page ─────────────────────────────────────────────────────────────────────────────────────

    def _page(self, start: int, end: int, *, candles: Candles | None = None, limit: int | None = None) -> Page:
        """What the exchange sends of ``[start, end)``, asked for from somewhat earlier where it may leave out the first."""
        candles = candles or self._candles
        frame = candles.frame
        since, count = start, frame.ordinal(end - 1) - frame.ordinal(start) + 1
        for _ in range(self._early):
            since = max(0, int(frame.previous(since)))
            count += 1
        earliest = int(frame.previous(since)) if since and self._facts.answers == "unknown" else since
        asked, most = limit or count, max(count, (self._facts.limit or {})[self._kind])
        first = last = wrong = 0
        while wrong < _MISPLACED:
            self._check_deadline()
            columns = candles.ask(since, asked, self._patience(), lambda: self._told(frame, start, end))
            page = page_of(columns, start, end)
            self._check_grid(page.columns[0] if len(page) else columns[0], frame)
            first, last = page.first or 0, page.last or 0
            if not page.rows or last >= start or (first >= earliest and page.rows < asked):
                return page
            if page.rows >= asked and asked < most:  # cut by ccxt, or the exchange, before the range began: rows come twice
                asked = min(most, 2 * asked)
            else:
                wrong += 1
        raise TemporarySourceError(
            f"{self._told(frame, start, end)}: what came {_MISPLACED} times is of {isoformat(first)} to"
            f" {isoformat(last)}, which was not asked for.",
            hint="Try again: a cache or a proxy before the exchange may send old answers.",
        )

    def _check_grid(self, times: Any, frame: Timeframe) -> None:
        """Raise where all rows open elsewhere than the bars of this timeframe do."""
        if len(times) and frame == self._frame and not (frame.floor(times) == times).any():
            self._odd.setdefault(self._desk.name, set()).add(str(frame))
            raise UnsupportedTimeframe(
                f"The {frame} candles of {self._desk.name} open at other times than {frame} bars do, such as"
                f" {isoformat(int(times[0]))} instead of {isoformat(int(frame.floor(int(times[0]))))}.",
                hint="Bars of a shorter timeframe that divides it can be put together on the calendar grid.",
                timeframe=str(frame),
            )

    def _too_late(self, page: Page) -> None:
        """Raise where an exchange that sent only later bars than were asked for has earlier ones, but does not give them.

        ccxt cuts what an exchange sends at the start that was meant, so that its answer does not tell. Longer bars do: where
        they say that something was traded, the bars that were asked for must be found, if the exchange gives them at all.
        """
        frame, first = self._frame, page.first or 0
        if self._pager.answers == "latest":
            raise self._gone(first, f"{self._desk.name} sends its latest candles whatever it is asked for")
        reach = self._pager.size * frame.shortest
        longer = sorted((one for one in self._known if one.shortest > frame.shortest), key=lambda one: one.shortest)
        if not longer:
            self._notes.append(f"The answer begins at {isoformat(first)}; whether there were earlier bars is not known.")
            return
        guides = [one for one in longer if one.shortest <= reach] or longer[:1]
        for guide in reversed(guides):  # the shorter, the less of it can lie before the first row unseen
            candles = self._of(guide, self._known[guide])
            before = int(guide.opening(guide.ordinal(first) - self._pager.size))
            traded = self._page(max(before, _EARLIEST), int(guide.floor(first)), candles=candles)
            openings = traded.columns[0][guide.floor(traded.columns[0]) == traded.columns[0]]
            if len(openings):
                break
        else:
            self._check_whole(guides[0], first)
            return  # the market is no older
        opened = int(openings[-1])
        closed = int(guide.next(opened))
        spans = [(opened, min(closed, opened + reach)), (max(opened, closed - reach), closed)]
        if not any(len(self._page(*span)) for span in dict.fromkeys(spans)):
            raise self._gone(first, f"{self._desk.name} gave its latest candles, whatever it was asked for")

    def _check_whole(self, guide: Timeframe, first: int) -> None:
        """Raise where the longer bar that holds the first row opened at another price: something was traded before it."""
        opened = int(guide.floor(first))
        if opened == first:
            return
        whole = self._page(opened, int(guide.next(opened)), candles=self._of(guide, self._known[guide]))
        begun = self._page(first, int(self._frame.next(first)))
        if len(whole) and len(begun) and whole.columns[1][0] != begun.columns[1][0]:
            raise self._gone(first, f"{self._desk.name} gave its latest candles, whatever it was asked for")

    def _of(self, frame: Timeframe, spelled: str) -> Candles:
        return Candles(self._desk, self._market, frame, spelled, self._facts.raw, self._config.ccxt_params)

    def _spelling(self) -> str:
        if self._frame not in self._known:
            has = ", ".join(self._known) or "none"
            raise UnsupportedTimeframe(
                f"{self._desk.name} has no {self._frame} candles. It has: {has}.",
                hint="Choose one of them; where one divides it, the bars are put together of those.",
                timeframe=str(self._frame),
            )
        return self._known[self._frame]

    # ── bars ─────────────────────────────────────────────────────────────────────────────────────────

    def _bars(self, columns: Columns) -> Bars:
        """The closed bars of a page."""
        closed = self._closed
        if not self._desk.exchange.has.get("fetchTime"):  # what its answers say of the time may be known only now
            closed = min(closed, int(self._frame.floor(self._desk.clock.now() - self._facts.grace)))
        times, *prices, volume = columns
        stop = int(np.searchsorted(times, closed))
        if stop < len(times):
            times, prices, volume = times[:stop], [column[:stop] for column in prices], volume[:stop]
        provenance: dict[str, Any] = dict(self._provenance)
        if len(volume) and np.isnan(volume).all():
            volume = np.zeros(len(volume))
            provenance["volume_unit"] = "the exchange sends none; 0 stands in its place"
        if self._notes:
            provenance["notes"] = list(self._notes)
        open, high, low, close = prices
        return Bars(times, open, high, low, close, volume, symbol=self._request.symbol, timeframe=self._frame,
                    provenance=provenance)  # fmt: skip


def _no_candles(desk: Desk) -> NotSupported:
    trades = "Make the bars of its trades: from_trades=True." if desk.exchange.has.get("fetchTrades") else ""
    return NotSupported(
        f"{desk.name} has no candles.", hint=trades or "`cracktrader sources ccxt --exchanges` says which exchanges have."
    )
