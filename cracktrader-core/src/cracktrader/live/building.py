"""Candles built from trades as they come: in any order, twice, late, and with some missing."""

from __future__ import annotations

import bisect
import itertools
import threading
from collections import OrderedDict, deque
from dataclasses import dataclass
from typing import Final

from cracktrader.events import OHLCVCandle, Trade
from cracktrader.timeframe import Timeframe

__all__ = ["CandleBuilder", "IdRanges"]

#: Amounts are summed as whole numbers of this unit, exactly; see :mod:`cracktrader.resampling`.
_UNITS: Final = 1e8
_EXACT: Final = 2**53
#: So many bars may be open at once, so many ids are remembered, and so many stretches of numbered ones.
_OPEN: Final = 16
_IDS: Final = 20_000
_RANGES: Final = 1_000


class IdRanges:
    """Which of consecutive numbers have been seen, as stretches; the oldest are forgotten."""

    def __init__(self, most: int = _RANGES) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []  # inclusive
        self._most = most

    def add(self, number: int) -> bool:
        """Note a number; False where it was known already."""
        at = bisect.bisect_right(self._starts, number) - 1
        if at >= 0 and number <= self._ends[at]:
            return False
        joins_left = at >= 0 and self._ends[at] == number - 1
        joins_right = at + 1 < len(self._starts) and self._starts[at + 1] == number + 1
        if joins_left and joins_right:
            self._ends[at] = self._ends.pop(at + 1)
            self._starts.pop(at + 1)
        elif joins_left:
            self._ends[at] = number
        elif joins_right:
            self._starts[at + 1] = number
        else:
            self._starts.insert(at + 1, number)
            self._ends.insert(at + 1, number)
            if len(self._starts) > self._most:
                del self._starts[0], self._ends[0]
        return True

    def covers(self, first: int, last: int) -> bool:
        """Whether every number from ``first`` to ``last`` has been seen."""
        at = bisect.bisect_right(self._starts, first) - 1
        return at >= 0 and last <= self._ends[at]


@dataclass(slots=True)
class _Bar:
    """One bar as far as its trades are known; no larger for a million of them."""

    time: int
    first: tuple[int, int]
    last: tuple[int, int]
    open: float
    close: float
    high: float
    low: float
    units: int = 0  # the sum of the amounts, where all are whole numbers of the unit
    total: float = 0.0
    exact: bool = True
    lowest: int | None = None  # of the ids, where they are numbers
    highest: int | None = None

    def add(self, trade: Trade, key: tuple[int, int], number: int | None) -> None:
        price, amount = trade.price, trade.amount
        if key < self.first:
            self.first, self.open = key, price
        if key >= self.last:
            self.last, self.close = key, price
        self.high, self.low = max(self.high, price), min(self.low, price)
        units = round(amount * _UNITS)
        self.exact = self.exact and units / _UNITS == amount
        self.units += units
        self.total += amount
        if number is not None:
            self.lowest = number if self.lowest is None else min(self.lowest, number)
            self.highest = number if self.highest is None else max(self.highest, number)

    @property
    def volume(self) -> float:
        return self.units / _UNITS if self.exact and self.units < _EXACT else self.total


class CandleBuilder:
    """The candles of a stream of trades.

    Open and close go by the trades' times, then their ids where these are numbers, then their order of arrival; a trade whose
    id occurs again counts once; sums of up to eight decimals are exact. So the candles are those that
    :func:`~cracktrader.trades.bars_of_trades` makes of the same trades.

    A candle is called closed where that is proven: ids that are consecutive show that no trade is missing, from the last one
    before it to the first one after it. Otherwise it comes at its end and ``grace``, not called closed; with ``trust`` it is
    called closed then, if the stream was there for all of it.
    """

    def __init__(self, symbol: str, timeframe: Timeframe, *, grace: int, trust: bool = False) -> None:
        self.symbol, self.frame, self.trust = symbol, timeframe, trust
        self.late = 0
        self.rejected = 0
        self.wake_at: int | None = None
        self._grace = grace
        self._bars: OrderedDict[int, _Bar] = OrderedDict()
        self._done = -1  # bars that open before this have come out
        self._up: int | None = None
        self._numbers = IdRanges()
        self._latest_before: int | None = None  # the highest id of the bar before the first one that is open
        self._names: dict[str, None] = {}
        self._recent: deque[str] = deque()
        self._arrivals = itertools.count()
        self._out: list[OHLCVCandle] = []
        self._lock = threading.Lock()

    def take(self) -> list[OHLCVCandle]:
        """The candles that are ready."""
        taken, self._out = self._out, []
        return taken

    @property
    def forming(self) -> OHLCVCandle | None:
        """The latest candle as it stands; any thread may ask."""
        with self._lock:
            return self._candle(next(reversed(self._bars.values())), closed=False) if self._bars else None

    def on_up(self, now: int) -> None:
        """The stream was opened."""
        self._up = now

    def on_down(self) -> None:
        """The stream is lost: what it would have said until it is back is missing."""
        self._up = None

    def on_trade(self, trade: Trade, now: int) -> None:
        """One trade."""
        if not (0 < trade.price < float("inf") and 0 < trade.amount < float("inf")) or trade.time > now:
            self.rejected += 1
            return
        number = int(trade.id) if trade.id is not None and trade.id.isascii() and trade.id.isdigit() else None
        if not self._is_new(trade, number):
            self.late += 1
            return
        opens = self.frame.floor(trade.time)
        if opens < self._done:
            self.late += 1
            return
        key = (trade.time, number if number is not None else next(self._arrivals))
        with self._lock:
            bar = self._bars.get(opens)
            if bar is None:
                bar = self._bars[opens] = _Bar(opens, key, key, trade.price, trade.price, trade.price, trade.price)
                if len(self._bars) > 1:
                    self._bars = OrderedDict(sorted(self._bars.items()))
            bar.add(trade, key, number)
        self.on_time(now)

    def on_time(self, now: int) -> None:
        """Let out what is ready."""
        while self._bars:
            opens, bar = next(iter(self._bars.items()))
            end = self.frame.next(opens)
            whole = self._is_whole(bar)
            self.wake_at = end + self._grace
            if not whole and now < self.wake_at and len(self._bars) <= _OPEN:
                return
            there = self._up is not None and self._up <= opens
            self._out.append(self._candle(bar, closed=whole or (self.trust and there)))
            with self._lock:
                del self._bars[opens]
            self._done, self._latest_before = end, bar.highest
        self.wake_at = None

    def _is_new(self, trade: Trade, number: int | None) -> bool:
        if number is not None:
            return self._numbers.add(number)
        if trade.id is None:
            return True
        if trade.id in self._names:
            return False
        self._names[trade.id] = None
        self._recent.append(trade.id)
        if len(self._recent) > _IDS:
            del self._names[self._recent.popleft()]
        return True

    def _is_whole(self, bar: _Bar) -> bool:
        """Whether the ids show that nothing is missing on either side, or within."""
        after = list(itertools.islice(self._bars.values(), 1, 2))
        if self._latest_before is None or bar.lowest is None or bar.highest is None or not after or after[0].lowest is None:
            return False
        return self._numbers.covers(self._latest_before, after[0].lowest)

    def _candle(self, bar: _Bar, *, closed: bool) -> OHLCVCandle:
        return OHLCVCandle(
            self.symbol, self.frame, bar.time, bar.open, bar.high, bar.low, bar.close, bar.volume, closed=closed
        )  # fmt: skip
