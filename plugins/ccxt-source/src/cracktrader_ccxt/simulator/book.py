"""The order book around the last trade, and the statistics of a day: both follow from the trades, and from nothing else."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cracktrader.synthetic import Candles, aggregated
from cracktrader.synthetic.noise import bits, key_of
from cracktrader.timeframe import Timeframe
from cracktrader_ccxt.simulator.venue import MINUTE, Trades, Venue

__all__ = ["LEVELS", "Book", "Day", "book", "day"]

Integers = NDArray[np.int64]

#: Prices on each side.
LEVELS: Final = 200
_DAY_MS: Final = 86_400_000


class Book(NamedTuple):
    """``bids`` and ``asks`` are whole ticks and lots, int64 of shape (n, 2), best first; ``id`` is the last trade's."""

    id: int
    time: int
    bids: Integers
    asks: Integers


def book(venue: Venue, symbol: str, last: Trades) -> Book:
    """The book right after a trade (one row): the trade's price is the best on the side that it was taken from.

    The same trade gives the same book. Most levels keep their amount for some minutes.
    """
    if not len(last.time):
        return Book(0, 0, np.empty((0, 2), np.int64), np.empty((0, 2), np.int64))
    ticks, side, number = int(last.ticks[0]), int(last.side[0]), int(last.id[0])
    item = venue.listings[symbol]
    apart = max(1, round(ticks * item.spread))
    best_bid, best_ask = (ticks - apart, ticks) if side > 0 else (ticks, ticks + apart)
    step = 10 ** max(0, len(str(ticks)) - 5)
    rungs = np.arange(1, LEVELS, dtype=np.int64)
    bids = np.append(best_bid, ((best_bid - 1) // step - rungs + 1) * step)
    asks = np.append(best_ask, (best_ask // step + rungs) * step)
    steps = venue.steps[symbol]
    price = ticks * steps.tick_units / 10.0**steps.tick_digits
    usual = max(1.0, item.amount / price * 10.0**steps.lot_digits / steps.lot_units)
    key = key_of(venue.market.seed, symbol, "book")

    def with_lots(prices: Integers, turn: int) -> Integers:
        prices = prices[prices > 0]
        random = bits(key, prices * 2 + turn)
        age = (number // 1000 + (random & np.uint64(15)).astype(np.int64)) // 16  # a level's amount lasts 16 minutes
        age[0] = number
        random = bits(key, prices * 131 + age * 2 + turn)
        lots = 1 + (usual * (0.2 + 6 * (random >> np.uint64(11)).astype(np.float64) * 2.0**-53)).astype(np.int64)
        return np.stack([prices, lots], axis=1)

    return Book(number, int(last.time[0]), with_lots(bids, 0), with_lots(asks, 1))


class Day(NamedTuple):
    """The last 24 hours in whole ticks and lots; ``value`` is the sum of ticks times lots."""

    open: int
    high: int
    low: int
    close: int
    lots: int
    value: float
    trades: int
    last: Trades


def day(venue: Venue, symbol: str, now: int) -> Day | None:
    """The statistics of the 24 hours before ``now``; None where there was no trade."""
    made: Candles = venue.candles(symbol, MINUTE, MINUTE.ceil(now - _DAY_MS), MINUTE.next(now), now)
    last = venue.last_trade(symbol, now)
    if not len(made.time) or not len(last.time):
        return None
    value = float(((made.open + made.high + made.low + made.close) / 4 * made.lots).sum())
    whole = aggregated(made.at(slice(None))._replace(time=np.zeros_like(made.time)), Timeframe("1d"))
    open, high, low, close, lots, trades = (int(column[0]) for column in whole[1:])
    return Day(open, high, low, close, lots, value, trades, last)
