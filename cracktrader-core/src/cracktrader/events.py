"""What a stream yields, one event at a time: candles, trades, tickers, order books.

Events are frozen, and read both as attributes and as the plain mappings that ccxt users know:
``trade.side == trade["side"]``. Times are epoch milliseconds UTC; amounts and volumes are in the base
currency unless the source says otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

from cracktrader.timeframe import Timeframe

__all__ = ["Event", "OHLCVCandle", "OrderBook", "Ticker", "Trade"]


class Event(Mapping[str, Any]):
    """A frozen record that is also a read-only mapping of its fields."""

    __slots__ = ()

    def __getitem__(self, name: str) -> Any:
        if name in self._names():
            return getattr(self, name)
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names())

    def __len__(self) -> int:
        return len(self._names())

    @classmethod
    def _names(cls) -> tuple[str, ...]:
        return tuple(field.name for field in fields(cls))  # type: ignore[arg-type]  # each subclass is a dataclass


@dataclass(frozen=True, slots=True, eq=True)
class OHLCVCandle(Event):
    """One bar: ``time`` is its opening; ``closed`` says that it will not change any more."""

    symbol: str
    timeframe: Timeframe
    time: int
    open: float
    high: float
    low: float
    close: float
    volume: float
    closed: bool = True
    flags: int = 0

    @property
    def end(self) -> int:
        """When the bar ends: the opening of the next one."""
        return self.timeframe.next(self.time)


@dataclass(frozen=True, slots=True, eq=True)
class Trade(Event):
    """One execution: ``side`` is the taker's; ``amount`` is in the base currency."""

    symbol: str
    time: int
    price: float
    amount: float
    side: Literal["buy", "sell"] | None = None
    id: str | None = None


@dataclass(frozen=True, slots=True, eq=True)
class Ticker(Event):
    """The market at a glance; a field that the venue does not send is None."""

    symbol: str
    time: int
    last: float | None = None
    bid: float | None = None
    ask: float | None = None
    bid_volume: float | None = None
    ask_volume: float | None = None
    volume: float | None = None
    quote_volume: float | None = None


@dataclass(frozen=True, slots=True, eq=True)
class OrderBook(Event):
    """A snapshot of the book: ``(price, amount)`` pairs, best first on both sides."""

    symbol: str
    time: int
    bids: tuple[tuple[float, float], ...] = ()
    asks: tuple[tuple[float, float], ...] = ()
