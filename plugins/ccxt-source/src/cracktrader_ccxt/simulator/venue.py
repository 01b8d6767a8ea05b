"""The venue: the synthetic market as it stands at a time, with what was scripted to happen to it."""

from __future__ import annotations

import dataclasses
import threading
from collections import OrderedDict
from collections.abc import Iterable
from decimal import Decimal
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cracktrader.bars import Bars
from cracktrader.synthetic import LISTINGS, Candles, Listing, Market, aggregated
from cracktrader.timeframe import Timeframe
from cracktrader.times import TimeLike, parse_time
from cracktrader_ccxt.simulator.faults import Delisted, Faults, Gap, Outage, Revision

__all__ = ["SYMBOLS", "Event", "Steps", "Trades", "Venue"]

Integers = NDArray[np.int64]

MINUTE: Final = Timeframe("1m")
MINUTE_MS: Final = 60_000
HOUR_MS: Final = 3_600_000
#: Trades that are kept, 40 bytes each.
_MOST_ROWS: Final = 2_000_000
#: A trade's id is the number of its minute since the epoch times this, plus its place in the minute.
IDS: Final = 1000

#: What is listed unless told otherwise.
SYMBOLS: Final = ("BTC/USDT", "ETH/USDT", "SOL/USDT", "DOGE/USDT", "XMR/BTC", "BTC/USDT:USDT", "ETH/USDT:USDT")


class Steps(NamedTuple):
    """How a symbol's whole ticks and lots are written: ``units`` of the last of ``digits`` decimals each."""

    tick_units: int
    tick_digits: int
    lot_units: int
    lot_digits: int


class Trades(NamedTuple):
    """Trades in whole ticks and lots, oldest first, each column int64 of shape (n,); ``side`` is 1 where the taker bought."""

    time: Integers
    ticks: Integers
    lots: Integers
    side: Integers
    id: Integers

    def at(self, rows: Any) -> Trades:
        """Some of the rows."""
        return Trades(*(column[rows] for column in self))


class Event(NamedTuple):
    """A trade as a stream tells it, ``at`` a time that may be later than its own."""

    at: int
    time: int
    ticks: int
    lots: int
    side: int
    id: int


_NO_TRADES: Final = Trades(*[np.empty(0, np.int64)] * 5)


class Venue:
    """Candles and trades of the market at the time ``now``: nothing later shows, and the bar that is open is as it is so far."""

    def __init__(self, seed: int, symbols: Iterable[str | Listing], start: TimeLike, outages: object, faults: Faults) -> None:
        listings = [_listing(symbol) for symbol in symbols]
        self.market = Market(seed, listings, start=start, outages=outages)  # type: ignore[arg-type]
        self.listings = self.market.listings
        self.steps = {symbol: _steps(item) for symbol, item in self.listings.items()}
        self.faults = faults
        self._hours: OrderedDict[tuple[str, int], Trades] = OrderedDict()
        self._rows = 0
        self._lock = threading.Lock()

    @property
    def symbols(self) -> tuple[str, ...]:
        return tuple(self.listings)

    def since(self, symbol: str) -> int:
        """When a symbol was listed."""
        return self.market.since(symbol)

    def listed(self, symbol: str, now: int) -> bool:
        """Whether a symbol is traded at a time."""
        return self.since(symbol) <= now < self.until(symbol)

    def until(self, symbol: str) -> int:
        """When a symbol is delisted."""
        return min((fault.begins for fault in self.faults.of(Delisted, symbol)), default=1 << 47)

    # ── candles ──────────────────────────────────────────────────────────────────────────────────────

    def settled(self, symbol: str, frame: Timeframe, first: int, stop: int) -> Candles:
        """The bars that open in ``[first, stop)``, as they are when all is known; both bounds are on the grid."""
        return aggregated(self._base(symbol, frame, first, stop), frame)

    def candles(self, symbol: str, frame: Timeframe, first: int, stop: int, now: int) -> Candles:
        """The bars that open in ``[first, stop)`` as they stand at ``now``, the open one among them; bounds on the grid."""
        known = frame.floor(now + 1)  # bars before this are closed
        stop = min(stop, frame.next(now))
        if stop <= known and not self.held_back(symbol, first, stop, now):
            return self.settled(symbol, frame, first, stop)
        whole = MINUTE.floor(now + 1)  # minutes before this are over
        base = self._base(symbol, frame, first, min(stop, whole))
        parts = [base]
        if stop > whole:
            parts.append(_as_candles(self.trades(symbol, max(first, whole), stop, now)))
        for fault in self.held_back(symbol, first, stop, now):
            minute = MINUTE.floor(fault.begins)
            outside = (base.time < minute) | (base.time >= minute + MINUTE_MS)
            if not outside.all():
                base = base.at(outside)
                parts.append(_as_candles(self.trades(symbol, max(first, minute), min(stop, minute + MINUTE_MS), now)))
        parts[0] = base
        joined = Candles(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))
        return aggregated(joined.at(np.argsort(joined.time, kind="stable")), frame)

    def held_back(self, symbol: str, first: int, stop: int, now: int) -> list[Revision]:
        """The revisions still to come at ``now`` of minutes in ``[first, stop)``."""
        found = self.faults.of(Revision, symbol)
        return [fault for fault in found if now < fault.ends and first < MINUTE.next(fault.begins) and fault.begins < stop]

    def truth(self, symbol: str, timeframe: str, start: TimeLike, end: TimeLike, now: int) -> Bars:
        """The bars in ``[start, end)`` that are closed at ``now``, as they are when all is known."""
        frame = Timeframe(timeframe)
        first, stop = frame.ceil(parse_time(start)), min(frame.ceil(parse_time(end)), frame.floor(now + 1))
        made = self.settled(symbol, frame, first, max(first, stop))
        steps = self.steps[symbol]
        open, high, low, close = (column * steps.tick_units / 10.0**steps.tick_digits for column in made[1:5])
        volume = made.lots * steps.lot_units / 10.0**steps.lot_digits
        return Bars(made.time, open, high, low, close, volume, symbol=symbol, timeframe=frame, source="simulator",
                    provenance={"seed": self.market.seed})  # fmt: skip

    def _base(self, symbol: str, frame: Timeframe, first: int, stop: int) -> Candles:
        """What bars are made of: minutes, or whole bars of a timeframe that minutes can't make."""
        fine = MINUTE if MINUTE.divides(frame) else frame
        made = self.market.candles(symbol, fine, first, max(first, stop))
        kept = self._traded(symbol, made.time)
        return made if kept.all() else made.at(kept)

    def _traded(self, symbol: str, time: Integers) -> NDArray[np.bool_]:
        """Which of these times fall into minutes that nothing was scripted to be amiss in."""
        kept = np.ones(len(time), np.bool_)
        for fault in (*self.faults.of(Outage), *self.faults.of(Gap, symbol), *self.faults.of(Delisted, symbol)):
            end = 1 << 47 if isinstance(fault, Delisted) else MINUTE.ceil(fault.ends)
            kept &= (time < MINUTE.floor(fault.begins)) | (time >= end)
        return kept

    # ── trades ───────────────────────────────────────────────────────────────────────────────────────

    def trades(self, symbol: str, first: int, stop: int, now: int) -> Trades:
        """The trades in ``[first, stop)`` that are known at ``now``."""
        made = self._trades(symbol, first, min(stop, now + 1))
        for fault in self.held_back(symbol, first, stop, now):
            made = made.at(~np.isin(made.id, self.late(symbol, fault).id))
        return made

    def late(self, symbol: str, fault: Revision) -> Trades:
        """The trades that a revision holds back."""
        minute = MINUTE.floor(fault.begins)
        made = self._trades(symbol, minute, minute + MINUTE_MS)
        return made.at(slice(max(1, len(made.time) - fault.trades), None))

    def _trades(self, symbol: str, first: int, stop: int) -> Trades:
        """The trades in ``[first, stop)`` that nothing scripted has taken away."""
        if stop <= first:
            return _NO_TRADES
        hours = range(first // HOUR_MS, (stop - 1) // HOUR_MS + 1)
        made = _joined([self._hour(symbol, hour) for hour in hours])
        found = made.at(slice(*np.searchsorted(made.time, (first, stop)).tolist()))
        kept = self._traded(symbol, found.time)
        return found if kept.all() else found.at(kept)

    def _hour(self, symbol: str, hour: int) -> Trades:
        """The trades of an hour as the market made them; kept, since making a minute costs as much as making a week."""
        with self._lock:
            if (symbol, hour) in self._hours:
                self._hours.move_to_end((symbol, hour))
                return self._hours[symbol, hour]
        raw, steps = self.market.trades(symbol, hour * HOUR_MS, (hour + 1) * HOUR_MS), self.steps[symbol]
        ticks = np.rint(raw.price * (10.0**steps.tick_digits / steps.tick_units)).astype(np.int64)
        lots = np.rint(raw.amount * (10.0**steps.lot_digits / steps.lot_units)).astype(np.int64)
        made = Trades(raw.time, ticks, lots, raw.side.astype(np.int64), raw.id)
        with self._lock:
            self._hours[symbol, hour] = made
            self._rows += len(made.time)
            while self._rows > _MOST_ROWS and len(self._hours) > 1:
                self._rows -= len(self._hours.popitem(last=False)[1].time)
        return made

    def events(self, symbol: str, minute: int) -> list[Event]:
        """What happens on a stream of trades in a minute, in order: late trades come when they come."""
        made = self._trades(symbol, minute, minute + MINUTE_MS)
        late = []
        for fault in self.faults.of(Revision, symbol):
            held = self.late(symbol, fault)
            if minute == MINUTE.floor(fault.begins):
                made = made.at(~np.isin(made.id, held.id) | (made.time >= fault.ends))
            if minute <= fault.ends < minute + MINUTE_MS:
                held = held.at(held.time < fault.ends)
                late += [Event(fault.ends, *row) for row in zip(*(column.tolist() for column in held), strict=True)]
        columns = [column.tolist() for column in made]
        events = [Event(row[0], *row) for row in zip(*columns, strict=True)]
        return sorted(events + late, key=lambda event: event.at) if late else events

    def trades_from(self, symbol: str, number: int, most: int, now: int) -> Trades:
        """The first ``most`` trades whose id is at least ``number``."""
        at, length, parts, left = max(number // IDS * MINUTE_MS, self.since(symbol)), 10 * MINUTE_MS, [_NO_TRADES], most
        while left > 0 and at <= now:
            made = self.trades(symbol, at, at + length, now)
            made = made.at(made.id >= number).at(slice(left))
            parts.append(made)
            left -= len(made.time)
            at, length = at + length, min(2 * length, 1440 * MINUTE_MS)
        return _joined(parts)

    def trades_until(self, symbol: str, stop: int, most: int, now: int) -> Trades:
        """The last ``most`` trades before ``stop``."""
        at, length, parts, left = min(stop, now + 1), 10 * MINUTE_MS, [_NO_TRADES], most
        while left > 0 and at > self.since(symbol):
            made = self.trades(symbol, at - length, at, now)
            made = made.at(slice(max(0, len(made.time) - left), None))
            parts.append(made)
            left -= len(made.time)
            at, length = at - length, min(2 * length, 1440 * MINUTE_MS)
        return _joined(parts[::-1])

    def last_trade(self, symbol: str, now: int) -> Trades:
        """The last trade at ``now``, as one row; none where there never was any."""
        return self.trades_until(symbol, now + 1, 1, now)


def _joined(parts: list[Trades]) -> Trades:
    return Trades(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def _as_candles(trades: Trades) -> Candles:
    price = trades.ticks
    return Candles(trades.time, price, price, price, price, trades.lots, np.ones_like(price))


def _steps(item: Listing) -> Steps:
    def parts(text: str) -> tuple[int, int]:
        step = Decimal(text)
        digits = max(0, -int(step.normalize().as_tuple().exponent))
        return int(step.scaleb(digits)), digits

    return Steps(*parts(item.tick), *parts(item.lot))


def _listing(symbol: str | Listing) -> str | Listing:
    """A future is listed as the spot market of its name, but under its own: it moves with the market, not with its spot."""
    if isinstance(symbol, str) and ":" in symbol and (spot := symbol.partition(":")[0]) in LISTINGS:
        return dataclasses.replace(LISTINGS[spot], symbol=symbol, lot="0.001" if spot == "BTC/USDT" else LISTINGS[spot].lot)
    return symbol
