"""Minutes in whole ticks and lots: made from a path, and put together to longer bars."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from cracktrader.synthetic.listing import Listing, decimal_step
from cracktrader.synthetic.noise import Floats, Integers, bits, exp, key_of, normal, uniform
from cracktrader.synthetic.paths import BLOCK, DAY, Path, reflected, season
from cracktrader.timeframe import Timeframe

__all__ = ["MINUTE_MS", "MOST_TRADES", "Candles", "aggregated", "joined", "make_minutes", "value_of"]

MINUTE_MS: Final = 60_000
MOST_TRADES: Final = 999  #: In a minute.
_MOST_LOTS: Final = 10**10


class Candles(NamedTuple):
    """Bars in whole ticks and lots, each column int64 of shape (n,)."""

    time: Integers
    open: Integers
    high: Integers
    low: Integers
    close: Integers
    lots: Integers
    trades: Integers

    def at(self, rows: Any) -> Candles:
        """Some of the rows."""
        return Candles(*(column[rows] for column in self))

    def between(self, first: int, stop: int) -> Candles:
        """The rows in ``[first, stop)``."""
        return self.at(slice(*np.searchsorted(self.time, (first, stop))))


def make_minutes(item: Listing, path: Path, block: int, seed: int) -> Candles:
    """All minutes of a block in which there were trades, had the symbol always been listed and the venue always open."""
    minute = np.arange(block * BLOCK * DAY, (block + 1) * BLOCK * DAY, dtype=np.int64)
    units, scale = decimal_step(item.tick)
    middle = exp(reflected(path.level)) * (item.price * scale / units)  # in ticks
    before, after = middle[:, :-1].reshape(-1), middle[:, 1:].reshape(-1)

    side = bits(key_of(seed, item.symbol, "side"), minute)
    half = item.spread / 2
    open = before * np.where(side & np.uint64(1), 1 + half, 1 - half)
    close = after * np.where(side & np.uint64(2), 1 + half, 1 - half)
    body, reach = np.abs(close - open), before * path.sigma
    over = _beyond(body, reach, bits(key_of(seed, item.symbol, "high"), minute))
    under = _beyond(body, reach, bits(key_of(seed, item.symbol, "low"), minute))

    usual = item.trades * season(minute) * exp(0.9 * path.heat + 0.3 * normal(key_of(seed, item.symbol, "temper"), minute))
    count = np.minimum(np.floor(usual + uniform(bits(key_of(seed, item.symbol, "count"), minute))), MOST_TRADES)
    lot_units, lot_scale = decimal_step(item.lot)
    size: Floats = item.amount * (scale / units) * (lot_scale / lot_units) / before  # of a trade, in lots
    size *= (0.65 + 0.45 * body / np.maximum(reach, half)) * exp(0.7 * normal(key_of(seed, item.symbol, "size"), minute) - 0.245)
    lots = np.rint(count * size)
    lots = np.minimum(np.maximum(lots, count), _MOST_LOTS)

    # One trade is a dot, two are a body, three have room for one wick.
    over = np.where((count > 3) | ((count == 3) & (over >= under)), over, 0.0)
    under = np.where((count > 3) | ((count == 3) & (over == 0)), under, 0.0)
    open = np.where(count == 1, close, open)
    four = (open, np.maximum(open, close) + over, np.minimum(open, close) - under, close)
    columns = (minute * MINUTE_MS, *(np.maximum(np.rint(price), 1.0) for price in four), lots, count)
    traded = np.flatnonzero(count)
    return Candles(*(column[traded].astype(np.int64, copy=False) for column in columns))


def _beyond(body: Floats, reach: Floats, random: Any) -> Floats:
    """How far beyond its body a candle of standard deviation ``reach`` goes.

    The highest point of a Brownian bridge from 0 to b is (b + sqrt(b² - 2 s² ln U)) / 2 (Karatzas & Shreve, "Brownian
    Motion and Stochastic Calculus", section 4.3); -2 ln U is the sum of two squared normal numbers, here each
    the sum of two uniform 16-bit ones.
    """
    excess = np.zeros(len(body))
    for shift in (0, 32):
        first = (random >> np.uint64(shift)) & np.uint64(0xFFFF)
        first += (random >> np.uint64(shift + 16)) & np.uint64(0xFFFF)
        value = (first.astype(np.float64) - 65_535.0) * (1 / 26_754.95)
        excess += value * value
    return (np.sqrt(body * body + reach * reach * excess) - body) / 2


def joined(parts: Sequence[Candles]) -> Candles:
    """The rows of all parts."""
    if len(parts) == 1:
        return parts[0]
    return (
        Candles(*(np.concatenate((np.empty(0, np.int64), *columns)) for columns in zip(*parts, strict=True))) if parts else _NONE
    )


_NONE: Final = Candles(*[np.empty(0, np.int64)] * 7)


def aggregated(candles: Candles, frame: Timeframe) -> Candles:
    """Candles, or trades as candles, as bars of ``frame``: first, highest, lowest, last, sum."""
    if not len(candles.time):
        return candles
    numbers = frame.ordinal(candles.time)
    starts = np.flatnonzero(np.diff(numbers, prepend=numbers[0] - 1))
    ends = np.append(starts[1:], len(numbers)) - 1
    return Candles(frame.opening(numbers[starts]), candles.open[starts], np.maximum.reduceat(candles.high, starts),
                   np.minimum.reduceat(candles.low, starts), candles.close[ends], np.add.reduceat(candles.lots, starts),
                   np.add.reduceat(candles.trades, starts))  # fmt: skip


def value_of(steps: Integers, step: str) -> Floats:
    """Whole ticks or lots as the floats that their decimal text reads as: one exactly rounded division."""
    units, scale = decimal_step(step)
    return steps * units / float(scale)
