"""The ``ccxt`` source itself; the work is done in :mod:`cracktrader_ccxt.fetching`, :mod:`cracktrader_ccxt.trading` and
:mod:`cracktrader_ccxt.streaming`.
"""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, aclosing
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from cracktrader.plugins import DataSource, hookimpl
from cracktrader_ccxt.config import CcxtConfig

if TYPE_CHECKING:
    from cracktrader.bars import Bars
    from cracktrader.events import OHLCVCandle, OrderBook, Ticker, Trade
    from cracktrader.plugins.demonstration import Demonstration
    from cracktrader.request import BarRequest
    from cracktrader_ccxt.desk import Desk
    from cracktrader_ccxt.streaming import Streams

__all__ = ["CcxtSource"]


class CcxtSource(DataSource):
    """Bars of any exchange that ccxt knows."""

    api = (1, 0)
    Config = CcxtConfig
    remote = True
    exports = MappingProxyType({"CCXTDataFeed": "cracktrader_ccxt.store", "CCXTStore": "cracktrader_ccxt.store"})
    config: CcxtConfig

    def __init__(self, config: CcxtConfig | None = None, /, **options: Any) -> None:
        super().__init__(config, **options)
        self._lock = threading.Lock()
        self._opened: Desk | None = None
        #: Timeframes whose candles turned out to open off the calendar grid, by exchange.
        self._odd: dict[str, set[str]] = {}

    # ccxt takes a second to import: only whoever asks an exchange pays for it.

    @hookimpl
    def fetch_bars(self, request: BarRequest) -> Iterator[Bars]:
        from cracktrader_ccxt.fetching import Fetch
        from cracktrader_ccxt.trading import TradeFetch

        if self.config.from_trades:
            return TradeFetch(self.config, self.desk, request).bars()
        return Fetch(self.config, self.desk, request, self._odd).bars()

    @hookimpl
    def list_symbols(self) -> Sequence[str]:
        return self.find_symbols(type=self.config.market_type)

    def find_symbols(
        self,
        *,
        type: str | None = None,
        base: str | None = None,
        quote: str | None = None,
        settle: str | None = None,
        active: bool | None = True,
    ) -> tuple[str, ...]:
        """The unified symbols of the markets of a ``type`` (spot, swap, future, option) with these currencies, sorted.

        ``active`` None: those that don't trade any more too.
        """
        from cracktrader_ccxt.patience import Patience

        patience = Patience(retries=self.config.retries, backoff=self.config.backoff, budget=self.config.budget)
        return self.desk.markets.all(patience, type=type, base=base, quote=quote, settle=settle, active=active)

    @hookimpl
    def list_timeframes(self) -> Sequence[str]:
        from cracktrader_ccxt.fetching import timeframes_of

        return tuple(timeframes_of(self.desk, self._odd))

    @hookimpl
    def server_time(self) -> int:
        """The exchange's clock, less the time that it may take to write a bar down."""
        from cracktrader_ccxt.facts import FACTS, Facts

        return self.desk.clock.now() - FACTS.get(self.config.exchange, Facts()).grace

    # ── streams ──────────────────────────────────────────────────────────────────────────────────────

    @property
    def pace(self) -> float:
        """How fast the exchange's clock runs."""
        return self.config.pace

    @hookimpl
    async def stream_candles(self, symbol: str, timeframe: str) -> AsyncIterator[OHLCVCandle]:
        from cracktrader.timeframe import Timeframe
        from cracktrader_ccxt.fetching import timeframes_of

        streams, frame = await self._streams(), Timeframe(timeframe)
        spelled = None if self.config.from_trades else timeframes_of(self.desk, self._odd).get(frame)
        async with aclosing(streams.candles(self, symbol, frame, spelled)) as candles:
            async for candle in candles:
                yield candle

    @hookimpl
    async def stream_trades(self, symbol: str) -> AsyncIterator[Trade]:
        async with aclosing((await self._streams()).trades(self, symbol)) as trades:
            async for trade in trades:
                yield trade

    @hookimpl
    async def stream_ticker(self, symbol: str) -> AsyncIterator[Ticker]:
        async with aclosing((await self._streams()).ticker(self, symbol)) as tickers:
            async for ticker in tickers:
                yield ticker

    @hookimpl
    async def stream_order_book(self, symbol: str, limit: int) -> AsyncIterator[OrderBook]:
        async with aclosing((await self._streams()).order_book(self, symbol, limit)) as books:
            async for book in books:
                yield book

    @hookimpl
    async def close_streams(self) -> None:
        if self._opened is not None:
            await self._opened.streams.leave(self)

    async def _streams(self) -> Streams:
        """What streams; made in a thread, because ccxt takes a while."""
        from cracktrader.live.hub import in_thread

        return self._opened.streams if self._opened is not None else await in_thread(lambda: self.desk.streams)

    @hookimpl
    def close(self) -> None:
        with self._lock:
            if self._opened is not None:
                self._opened.release()
                self._opened = None

    @classmethod
    def demonstration(cls, days: int, seed: int) -> AbstractContextManager[Demonstration]:
        """An exchange on this machine, see :class:`~cracktrader.plugins.demonstration.Demonstration`."""
        from cracktrader_ccxt.demonstration import demonstration

        return demonstration(days, seed)

    @classmethod
    def exchanges(cls) -> list[dict[str, Any]]:
        """What every exchange offers, as plain values; asks no network."""
        from cracktrader_ccxt.listing import offers

        return offers()

    def identity(self) -> Mapping[str, Any]:
        """Which data it is: the exchange, the market's type, and where the data comes from if not from the exchange itself."""
        from cracktrader_ccxt.hiding import told_of

        config = self.config
        told: dict[str, Any] = {"exchange": config.exchange}
        told |= {name: True for name in ("sandbox", "from_trades") if getattr(config, name)}
        told |= {"market_type": config.market_type} if config.market_type else {}
        told |= {"params": {name: told_of(value) for name, value in config.params.items()}} if config.params else {}
        if config.venue is not None:
            told["venue"] = config.venue
        elif elsewhere := {name: config.config[name] for name in ("urls", "hostname") if name in config.config}:
            from cracktrader_ccxt.hiding import plain

            told["venue"] = _hosts(plain(elsewhere))
        return told

    @property
    def desk(self) -> Desk:
        """What the exchange is asked through: one for everybody in this process who gives the same options."""
        from cracktrader_ccxt.desk import Desk

        with self._lock:
            if self._opened is None:
                self._opened = Desk.of(self.config)
            return self._opened


def _hosts(value: Any) -> list[str]:
    """The hosts in addresses, sorted: paths and passwords don't matter."""
    from urllib.parse import urlsplit

    if isinstance(value, Mapping):
        return sorted({host for inner in value.values() for host in _hosts(inner)})
    text = str(value)
    host = urlsplit(text).netloc.rpartition("@")[2] if "://" in text else text
    return [host] if host else []
