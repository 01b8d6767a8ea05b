"""Trades within their minutes: they touch the four prices of the candle and share out its volume, to the lot."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from cracktrader.events import Trade
from cracktrader.synthetic.candles import MINUTE_MS, Candles
from cracktrader.synthetic.noise import Floats, Integers, bits, key_of, uniform

__all__ = ["Trades", "make_trades"]

#: A trade's id is the number of its minute since the epoch times this, plus its place in the minute.
_IDS: Final = 1000


@dataclass(frozen=True, slots=True, eq=False)
class Trades:
    """Trades as columns of shape (n,), oldest first.

    ``time`` int64 epoch milliseconds UTC; ``price`` float64; ``amount`` float64 in the base currency; ``side``
    int8, 1 where the taker bought and -1 where it sold; ``id`` int64, ascending and used once, not consecutive.
    """

    symbol: str
    time: Integers
    price: Floats
    amount: Floats
    side: NDArray[np.int8]
    id: Integers

    def __len__(self) -> int:
        return len(self.time)

    def __iter__(self) -> Iterator[Trade]:
        sides: dict[int, Literal["buy", "sell"]] = {1: "buy", -1: "sell"}
        columns = (column.tolist() for column in (self.time, self.price, self.amount, self.side, self.id))
        for time, price, amount, side, number in zip(*columns, strict=True):
            yield Trade(self.symbol, time, price, amount, sides[side], str(number))


def make_trades(minutes: Candles, seed: int, symbol: str) -> tuple[Candles, Integers, Integers]:
    """The trades of some minutes, as candles of one trade each, with their sides and ids; each minute by itself."""
    count = minutes.trades
    minute = minutes.time // MINUTE_MS
    row = np.repeat(np.arange(len(count), dtype=np.int64), count)
    first = np.cumsum(count) - count
    place = np.arange(len(row), dtype=np.int64) - first[row]
    ids = minute[row] * _IDS + place
    random = bits(key_of(seed, symbol, "trades"), ids)
    price = _prices(minutes, bits(key_of(seed, symbol, "extremes"), minute), row, place, random)
    rises = np.diff(price, prepend=price[:1])
    rises[first] = 0
    sides = np.where(rises != 0, np.sign(rises), (random & np.uint64(1)).astype(np.int64) * 2 - 1)
    spread = ((random >> np.uint64(1)) & np.uint64(0xFFFF)).astype(np.int64)
    time = minutes.time[row] + ((place << 16) + spread) * MINUTE_MS // (count[row] << 16)
    lots = _lots(minutes, first, row, (random >> np.uint64(17)) & np.uint64(0xFFFF))
    return Candles(time, price, price, price, price, lots, np.ones_like(lots)), sides, ids


def _prices(
    minutes: Candles, extremes: NDArray[np.uint64], row: Integers, place: Integers, random: NDArray[np.uint64]
) -> Integers:
    """Prices that begin at the open, end at the close, and touch high and low in between, at random places."""
    count, last = minutes.trades, minutes.trades - 1
    inner = np.maximum(count - 2, 1)
    top = 1 + ((extremes >> np.uint64(32)).astype(np.int64) % inner)
    bottom = 1 + ((extremes & np.uint64(0xFFFFFFFF)).astype(np.int64) % np.maximum(inner - 1, 1))
    bottom += (bottom >= top) & (count > 3)
    # With one trade in between there is room for the one wick that there is; with none, for no wick.
    lone = np.where(minutes.high > np.maximum(minutes.open, minutes.close), minutes.high, minutes.low)
    high = np.where(count > 3, minutes.high, np.where(count == 3, lone, minutes.open))
    low = np.where(count > 3, minutes.low, np.where(count == 3, lone, minutes.open))
    top, bottom = np.where(count > 2, top, 0), np.where(count > 2, bottom, 0)
    rising = top > bottom
    places = np.stack([np.zeros_like(count), np.minimum(top, bottom), np.maximum(top, bottom), last], axis=1)
    prices = np.stack([minutes.open, np.where(rising, low, high), np.where(rising, high, low), minutes.close], axis=1)

    leg = (place >= places[row, 1]).astype(np.int64) + (place >= places[row, 2])
    begin, end = places[row, leg], places[row, leg + 1]
    share = (place - begin) / np.maximum(end - begin, 1)
    line = prices[row, leg] * (1 - share) + prices[row, leg + 1] * share
    line += (uniform(random) - 0.5) * 0.3 * (minutes.high - minutes.low)[row]
    price = np.clip(np.rint(line).astype(np.int64), minutes.low[row], minutes.high[row])
    price = np.where(place == begin, prices[row, leg], price)
    return np.where(place == last[row], minutes.close[row], price)


def _lots(minutes: Candles, first: Integers, row: Integers, random: NDArray[np.uint64]) -> Integers:
    """The volume of each minute dealt out in whole lots, at least one to each trade, much of it to few."""
    weight = 1 + (1 << 20) // (random.astype(np.int64) + 64)  # 17 to 16385, with Pareto's tail
    upto = np.cumsum(weight)
    upto -= (upto[first] - weight[first])[row]
    whole = np.add.reduceat(weight, first) if len(first) else weight
    dealt = (minutes.lots - minutes.trades)[row] * upto // whole[row]  # at most 1e10 * 1.7e7: below 2^63
    lots = np.diff(dealt, prepend=0)
    lots[first] = dealt[first]
    return lots + 1
