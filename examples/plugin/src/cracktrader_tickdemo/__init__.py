"""TickDemo: the bars of a market that never was, as a data source for cracktrader."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from pydantic import Field, SecretStr

import cracktrader as ct
from cracktrader.errors import UnknownSymbol, UnsupportedTimeframe

__all__ = ["TickDemoConfig", "TickDemoSource"]

SYMBOLS = ("BTC/USDT", "ETH/USDT")
TIMEFRAMES = ("1m", "1h", "1d")
#: The market was open for half a year; epoch milliseconds UTC.
OPENED, CLOSED = 1_704_067_200_000, 1_719_792_000_000


class TickDemoConfig(ct.SourceConfig):
    """The options of the ``tickdemo`` source."""

    price: float = Field(default=100.0, gt=0, description="The price that the bars swing around.")
    chunk_size: int = Field(default=10_000, ge=1, description="How many bars are handed over at once.")
    token: SecretStr | None = Field(default=None, description="Not needed: it shows how a secret is declared.")


class TickDemoSource(ct.DataSource):
    """Bars of a market that never was: the same ones every time."""

    api = (1, 0)
    Config = TickDemoConfig
    config: TickDemoConfig

    @ct.hookimpl
    def fetch_bars(self, request: ct.BarRequest) -> Iterator[ct.Bars]:
        if request.symbol not in SYMBOLS:
            raise UnknownSymbol(f"TickDemo has no symbol {request.symbol!r}.", hint=f"It has: {', '.join(SYMBOLS)}.")
        if request.timeframe not in TIMEFRAMES:
            raise UnsupportedTimeframe(f"TickDemo has no bars of {request.timeframe}.", hint=f"It has: {', '.join(TIMEFRAMES)}.")
        start = OPENED if request.start is None else max(request.start, OPENED)
        end = CLOSED if request.end is None else min(request.end, CLOSED)
        times = request.timeframe.openings(start, end)
        for first in range(0, len(times), self.config.chunk_size):
            yield self._bars(times[first : first + self.config.chunk_size], request)

    @ct.hookimpl
    def list_symbols(self) -> Sequence[str]:
        return SYMBOLS

    @ct.hookimpl
    def list_timeframes(self) -> Sequence[str]:
        return TIMEFRAMES

    def _bars(self, times: np.ndarray, request: ct.BarRequest) -> ct.Bars:
        opens, closes = self._price(times, request.symbol), self._price(request.timeframe.next(times), request.symbol)
        return ct.Bars(
            times,
            opens,
            np.maximum(opens, closes) * 1.001,
            np.minimum(opens, closes) * 0.999,
            closes,
            np.full(len(times), 10.0),
            symbol=request.symbol,
            timeframe=request.timeframe,
        )

    def _price(self, times: np.ndarray, symbol: str) -> np.ndarray:
        days = (times - OPENED) / 86_400_000
        return self.config.price * (1 + SYMBOLS.index(symbol)) * (1 + 0.1 * np.sin(days) + 0.01 * np.sin(97 * days))
