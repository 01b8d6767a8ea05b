"""cracktrader: market data you can trust, from any source, in one line of Python.

    >>> import cracktrader as ct
    >>> bars = ct.load("memory", bars=ct.Bars.empty("BTC/USDT", "1h"), symbol="BTC/USDT", timeframe="1h")
    >>> len(bars)
    0

Importing this package imports nothing else; each name below is imported when it is first used.
"""

from typing import TYPE_CHECKING, Any

from cracktrader._lazy import lazy

if TYPE_CHECKING:
    from cracktrader.bars import Bars, Flag
    from cracktrader.catalog import Catalog, CatalogWarning
    from cracktrader.cerebro import Cerebro
    from cracktrader.errors import CracktraderError
    from cracktrader.events import OHLCVCandle, OrderBook, Ticker, Trade
    from cracktrader.feeds import CustomDataFeed, Feed, feed, feeds
    from cracktrader.loading import load, source
    from cracktrader.many import Outcome, Outcomes, load_many
    from cracktrader.plugins import API, DataSource, PluginWarning, Registry, Source, SourceConfig, default_registry, hookimpl
    from cracktrader.progress import Progress
    from cracktrader.quality import Check, QualityReport, Validation, check, validate
    from cracktrader.request import BarRequest
    from cracktrader.timeframe import TIMEFRAMES, Timeframe

__version__ = "0.1.0"

_MODULES = {
    "bars": ("Bars", "Flag"),
    "catalog": ("Catalog", "CatalogWarning"),
    "cerebro": ("Cerebro",),
    "errors": ("CracktraderError",),
    "events": ("OHLCVCandle", "OrderBook", "Ticker", "Trade"),
    "feeds": ("CustomDataFeed", "Feed", "feed", "feeds"),
    "loading": ("load", "source"),
    "many": ("Outcome", "Outcomes", "load_many"),
    "plugins": ("API", "DataSource", "PluginWarning", "Registry", "Source", "SourceConfig", "default_registry", "hookimpl"),
    "progress": ("Progress",),
    "quality": ("Check", "QualityReport", "Validation", "check", "validate"),
    "request": ("BarRequest",),
    "timeframe": ("TIMEFRAMES", "Timeframe"),
}

__all__ = [
    "API",
    "TIMEFRAMES",
    "BarRequest",
    "Bars",
    "Catalog",
    "CatalogWarning",
    "Cerebro",
    "Check",
    "CracktraderError",
    "CustomDataFeed",
    "DataSource",
    "Feed",
    "Flag",
    "OHLCVCandle",
    "OrderBook",
    "Outcome",
    "Outcomes",
    "PluginWarning",
    "Progress",
    "QualityReport",
    "Registry",
    "Source",
    "SourceConfig",
    "Ticker",
    "Timeframe",
    "Trade",
    "Validation",
    "check",
    "default_registry",
    "feed",
    "feeds",
    "hookimpl",
    "load",
    "load_many",
    "source",
    "validate",
]

#: Names that a plugin brings, by the source that it registers. They are in no ``__all__``: without the plugin there are none.
_OF_SOURCES = {"CCXTDataFeed": "ccxt", "CCXTStore": "ccxt"}

_get, __dir__ = lazy(__name__, {name: f"{__name__}.{module}" for module, names in _MODULES.items() for name in names})


def __getattr__(name: str) -> Any:
    if name not in _OF_SOURCES:
        return _get(name)
    from cracktrader.plugins.registry import default_registry

    return default_registry().load(_OF_SOURCES[name]).export(name)
