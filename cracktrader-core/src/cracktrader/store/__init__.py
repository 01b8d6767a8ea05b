"""What live feeds share: the store of a Cerebro's live feeds, and streams of trades, tickers and order books."""

from typing import TYPE_CHECKING

from cracktrader._lazy import lazy

if TYPE_CHECKING:
    from cracktrader.store.live_store import LiveStore
    from cracktrader.store.streaming_feed import StreamingFeed

__all__ = ["LiveStore", "StreamingFeed"]

_MODULES = {"live_store": ("LiveStore",), "streaming_feed": ("StreamingFeed",)}
__getattr__, __dir__ = lazy(__name__, {name: f"{__name__}.{module}" for module, names in _MODULES.items() for name in names})
