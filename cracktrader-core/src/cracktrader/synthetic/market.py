"""A market that does not exist: realistic bars and trades of any range, from a seed alone.

Minutes come first (:mod:`cracktrader.synthetic.paths` says how prices move), in whole ticks and lots. Longer bars
are aggregates of minutes. Trades are drawn within their minute, so that they touch its four prices and share
out its volume; bars that aren't whole minutes are aggregates of trades.

Random numbers are functions of (seed, symbol, purpose, minute), see :mod:`cracktrader.synthetic.noise`; minutes
are made in fixed blocks of 8 days, each by itself. So a minute is the same whichever range is asked for, in
whatever order. One version of this package gives the same bits on every platform and with every version of numpy; a test
holds a digest of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np

from cracktrader.bars import Bars
from cracktrader.errors import InvalidOption, UnknownSymbol, did_you_mean
from cracktrader.request import BarRequest
from cracktrader.synthetic.candles import MINUTE_MS, Candles, aggregated, joined, make_minutes, value_of
from cracktrader.synthetic.listing import LISTINGS, Listing, listing_of
from cracktrader.synthetic.noise import bits, key_of
from cracktrader.synthetic.paths import BLOCK, DAY, Paths, Recent
from cracktrader.synthetic.trades import Trades, make_trades
from cracktrader.timeframe import Timeframe
from cracktrader.times import TimeLike, parse_time

__all__ = ["Market"]

_DAY_MS: Final = DAY * MINUTE_MS
_MINUTE: Final = Timeframe("1m")


class Market:
    """A synthetic venue: bars of any timeframe and trades, for any range, that agree with each other.

    ``symbols`` are :class:`Listing` objects, or symbols: those of ``LISTINGS``, or any other text, for which a
    listing is made up. Nothing happens before ``start``. ``volatility`` is the whole market's, a year's
    standard deviation. ``outages`` are ``(start, end)`` ranges without bars for anyone; left out, the seed
    decides on about one in seven weeks.

    Prices are whole ticks and amounts whole lots, divided once: the floats that their decimal text reads as.
    Longer bars are exact aggregates of the minutes, and the trades of a minute aggregate exactly to its bar: prices to
    the bit; volumes as decimals, that is, to the bit after a float sum was rounded to the lot's decimals.

    A few blocks of 8 days are kept in memory, at most 20 MB; else a request takes a few times what it returns.
    Safe between threads. Raises :class:`~cracktrader.errors.InvalidOption`.

    >>> market = Market(seed=7)
    >>> hours = market.bars("BTC/USDT", "1h", "2024-03-01", "2024-03-02")
    >>> minutes = market.bars("BTC/USDT", "1m", "2024-03-01", "2024-03-02")
    >>> len(hours), len(minutes), bool((hours.high == minutes.resample("1h").high).all())
    (24, 1440, True)
    """

    def __init__(
        self,
        seed: int = 0,
        symbols: Iterable[str | Listing] = tuple(LISTINGS),
        *,
        start: TimeLike = "2020-01-01",
        volatility: float = 0.6,
        outages: Sequence[tuple[TimeLike, TimeLike]] | None = None,
    ) -> None:
        if isinstance(symbols, str):
            raise InvalidOption(f"symbols={symbols!r} is text.", hint="Give a list of symbols.")
        self.seed = seed
        self.listings = {item.symbol: item for item in (listing_of(symbol, seed) for symbol in symbols)}
        self.start = _MINUTE.ceil(parse_time(start))
        if self.start < 0 or not 0 < volatility <= 10:
            raise InvalidOption(f"A market can't start at {start!r} with volatility {volatility!r}.",
                                hint="Start in 1970 or later; a volatility of 0.6 is 60 % a year.")  # fmt: skip
        self._told = None if outages is None else sorted((parse_time(first), parse_time(end)) for first, end in outages)
        self._paths = Paths(seed, volatility, self.start // _DAY_MS)
        self._recent = Recent(24)

    @property
    def symbols(self) -> tuple[str, ...]:
        """The symbols that are traded here."""
        return tuple(self.listings)

    def __repr__(self) -> str:
        return f"<Market seed={self.seed}: {', '.join(self.listings)}>"

    def bars(self, symbol: str, timeframe: str, start: TimeLike, end: TimeLike) -> Bars:
        """The bars that open in ``[start, end)``, each whole, also where it ends after ``end``.

        A minute without a trade has no bar, and a longer bar is there where any of its minutes is. None has a flag.

        Raises :class:`~cracktrader.errors.UnknownSymbol`, :class:`~cracktrader.errors.ConfigurationError`.
        """
        item, made = self._listing(symbol), self.candles(symbol, timeframe, start, end)
        open, high, low, close = (value_of(column, item.tick) for column in made[1:5])
        volume = value_of(made.lots, item.lot)
        return Bars(made.time, open, high, low, close, volume, symbol=symbol, timeframe=timeframe, source="synthetic",
                    provenance={"seed": self.seed})  # fmt: skip

    def candles(self, symbol: str, timeframe: str, start: TimeLike, end: TimeLike) -> Candles:
        """The same bars in whole ticks and lots, with the number of trades in each."""
        item = self._listing(symbol)
        request = BarRequest(symbol, Timeframe(timeframe), start, end)
        frame, at, stop = request.timeframe, max(request.start or 0, 0), request.end or 0
        at = max(at, frame.floor(self.since(symbol)))
        by_minutes = _MINUTE.divides(frame)
        parts = []
        while at < stop:
            until = min(stop, frame.ceil(at + (64 if by_minutes else 1) * _DAY_MS))
            minutes = self._minutes(item, _MINUTE.floor(at), _MINUTE.ceil(until))
            if by_minutes:
                parts.append(aggregated(minutes, frame))
            else:
                parts.append(aggregated(make_trades(minutes, self.seed, symbol)[0].between(at, until), frame))
            at = until
        return joined(parts)

    def trades(self, symbol: str, start: TimeLike, end: TimeLike) -> Trades:
        """The trades in ``[start, end)``; those of each minute aggregate exactly to its bar.

        Raises :class:`~cracktrader.errors.UnknownSymbol`, :class:`~cracktrader.errors.ConfigurationError`.
        """
        item = self._listing(symbol)
        BarRequest(symbol, _MINUTE, start, end)  # refuses what is no range
        first, stop = max(parse_time(start), self.since(symbol)), parse_time(end)
        columns: list[list[np.ndarray[tuple[int], np.dtype[np.int64]]]] = [[np.empty(0, np.int64)] for _ in range(5)]
        for day in range(first // _DAY_MS * _DAY_MS, stop, _DAY_MS):
            minutes = self._minutes(item, max(day, _MINUTE.floor(first)), min(day + _DAY_MS, _MINUTE.ceil(stop)))
            made, sides, ids = make_trades(minutes, self.seed, symbol)
            rows = slice(*np.searchsorted(made.time, (first, stop)))
            for column, part in zip(columns, (made.time, made.close, made.lots, sides, ids), strict=True):
                column.append(part[rows])
        time, ticks, lots, sides, ids = (np.concatenate(column) for column in columns)
        return Trades(symbol, time, value_of(ticks, item.tick), value_of(lots, item.lot), sides.astype(np.int8), ids)

    def since(self, symbol: str) -> int:
        """When the symbol was listed, in epoch milliseconds: no bar of it opens before that."""
        listed = self._listing(symbol).since
        return self.start if listed is None else max(self.start, _MINUTE.ceil(parse_time(listed)))

    def outages(self, start: TimeLike, end: TimeLike) -> list[tuple[int, int]]:
        """The outages that touch ``[start, end)``, as ``(start, end)`` in epoch milliseconds, oldest first."""
        first, stop = max(parse_time(start), self.start), parse_time(end)
        if self._told is not None:
            return [(begin, end) for begin, end in self._told if begin < stop and end > first]
        days = np.arange(first // _DAY_MS, -(-stop // _DAY_MS), dtype=np.int64)
        random = bits(key_of(self.seed, "outage"), days)
        chosen = np.flatnonzero(random % np.uint64(48) == 0)
        draws = (random[chosen] // np.uint64(48)).astype(np.int64)
        begin, length = draws % DAY, 6 + draws // DAY % 97
        length *= np.where(length > 90, 4, 1)  # one in eight lasts for hours
        begins = (days[chosen] * DAY + begin) * MINUTE_MS
        ends = (days[chosen] * DAY + np.minimum(begin + length, DAY)) * MINUTE_MS
        return [(a, b) for a, b in zip(begins.tolist(), ends.tolist(), strict=True) if a < stop and b > first]

    def _listing(self, symbol: str) -> Listing:
        if symbol in self.listings:
            return self.listings[symbol]
        raise UnknownSymbol(f"{symbol!r} is not traded here.{did_you_mean(str(symbol), self.listings)}",
                            hint=f"There are: {', '.join(self.listings) or 'none'}.", symbol=symbol)  # fmt: skip

    def _minutes(self, item: Listing, first: int, stop: int) -> Candles:
        """The minutes in ``[first, stop)`` in which there were trades; both are whole minutes."""
        first = max(first, self.since(item.symbol))
        size = BLOCK * _DAY_MS
        blocks = range(first // size, -(-stop // size)) if first < stop else ()
        return joined([self._block(item, block).between(first, stop) for block in blocks])

    def _block(self, item: Listing, block: int) -> Candles:
        def make() -> Candles:
            minutes = make_minutes(item, self._paths.of(item, block), block, self.seed)
            open = np.ones(len(minutes.time), np.bool_)
            for begin, end in self.outages(block * BLOCK * _DAY_MS, (block + 1) * BLOCK * _DAY_MS):
                open &= (minutes.time < begin - begin % MINUTE_MS) | (minutes.time >= end)
            return minutes if open.all() else minutes.at(open)

        return self._recent.get((item.symbol, block), make)
