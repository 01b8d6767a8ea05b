"""The ``ccxt`` source itself; the work is done in :mod:`cracktrader_ccxt.fetching` and :mod:`cracktrader_ccxt.trading`."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from cracktrader.plugins import DataSource, hookimpl
from cracktrader_ccxt.config import CcxtConfig

if TYPE_CHECKING:
    from cracktrader.bars import Bars
    from cracktrader.plugins.demonstration import Demonstration
    from cracktrader.request import BarRequest
    from cracktrader_ccxt.desk import Desk

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
        config = self.config
        told: dict[str, Any] = {"exchange": config.exchange}
        told |= {name: True for name in ("sandbox", "from_trades") if getattr(config, name)}
        told |= {"market_type": config.market_type} if config.market_type else {}
        told |= {"params": {name: str(value) for name, value in config.params.items()}} if config.params else {}
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
