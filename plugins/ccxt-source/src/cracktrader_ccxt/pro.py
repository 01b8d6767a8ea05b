"""ccxt.pro's exchange classes with a few things changed: who hears of each update, whether it was called closed, and which
connection it came over.

ccxt keeps what comes in caches, and wakes whoever waits once for several updates: those between are merged, late ones
overwrite newer ones, and the flag that says that a candle is closed is thrown away. Here the caches themselves tell what is put
into them, while the message that it came with is still at hand.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Final

from ccxt.async_support.base.ws.cache import ArrayCache, ArrayCacheByTimestamp

from ccxt import NetworkError
from cracktrader.live.hub import in_thread
from cracktrader.plugins.hosts import HostBudget
from cracktrader_ccxt.tuned import host_behind

__all__ = ["CandleTap", "Place", "TradeTap", "closed_times", "place_of", "streamed"]


@dataclass(slots=True)
class Place:
    """Where the messages of a stream come from: a connection, and what ccxt calls them there."""

    client: Any
    hashes: tuple[str, ...]


#: The host that a task asks over REST.
_asked: ContextVar[str] = ContextVar("_asked", default="")
#: Told by whoever asks ccxt to watch something; the place of it is put there.
place_of: ContextVar[Callable[[Place], None] | None] = ContextVar("place_of", default=None)


class CandleTap(ArrayCacheByTimestamp):  # type: ignore[misc]
    """ccxt's cache of candles, which tells of each row that is put into it, and whether the exchange calls it closed."""

    def __init__(self, exchange: Any, hear: Callable[[list[Any], bool], None]) -> None:
        super().__init__(16)
        self._exchange, self._hear = exchange, hear

    def append(self, item: list[Any]) -> None:
        super().append(item)
        self._hear(item, item[0] in self._exchange.closing)


class TradeTap(ArrayCache):  # type: ignore[misc]
    """ccxt's cache of trades, which tells of each that is put into it."""

    def __init__(self, hear: Callable[[Mapping[str, Any]], None]) -> None:
        super().__init__(16)
        self._hear = hear

    def append(self, item: Mapping[str, Any]) -> None:
        super().append(item)
        self._hear(item)


# ── which candles a message calls closed ─────────────────────────────────────────────────────────────


def _of_binance(message: Any) -> list[int]:
    candle = message["k"]
    return [int(candle["t"])] if candle["x"] is True else []


def _of_bybit(message: Any) -> list[int]:
    return [int(candle["start"]) for candle in message["data"] if candle["confirm"] is True]


def _of_okx(message: Any) -> list[int]:
    return [int(candle[0]) for candle in message["data"] if candle[8] == "1"]


_CLOSED: Final[dict[str, Callable[[Any], list[int]]]] = {
    **dict.fromkeys(("binance", "binanceus", "binanceusdm", "binancecoinm", "aster"), _of_binance),
    "bybit": _of_bybit,
    **dict.fromkeys(("okx", "okxus", "myokx"), _of_okx),
}


def closed_times(exchange: str, message: Any) -> frozenset[int]:
    """When the candles open that a raw message of an exchange calls closed; none where that is not known."""
    read = _CLOSED.get(exchange)
    try:
        return frozenset(read(message)) if read else frozenset()
    except (KeyError, IndexError, TypeError, ValueError):  # it looks otherwise than it used to
        return frozenset()


# ── the classes ──────────────────────────────────────────────────────────────────────────────────────


class Streamed:
    """What is changed; :func:`streamed` puts it before a class of ccxt.pro."""

    #: When the candles open that the message at hand calls closed.
    closing: frozenset[int] = frozenset()
    #: Whether many symbols may be subscribed to with one message, each then watched by itself.
    together = False

    def watch(
        self, url: Any, message_hash: Any, message: Any = None, subscribe_hash: Any = None, subscription: Any = None
    ) -> Any:
        """Note where this comes from."""
        future = super().watch(url, message_hash, message, subscribe_hash, subscription)  # type: ignore[misc]
        self.told(url, [message_hash])
        return future

    def watch_multiple(
        self, url: Any, message_hashes: Any, message: Any = None, subscribe_hashes: Any = None, subscription: Any = None
    ) -> Any:
        """Note where this comes from."""
        future = super().watch_multiple(url, message_hashes, message, subscribe_hashes, subscription)  # type: ignore[misc]
        self.told(url, message_hashes)
        return future

    def told(self, url: Any, hashes: Any) -> None:
        """Tell whoever watches where it comes from."""
        tell = place_of.get()
        if tell is not None:
            tell(Place(self.clients[url], tuple(hashes)))  # type: ignore[attr-defined]

    def handle_message(self, client: Any, message: Any) -> None:
        """A message that ccxt can't read breaks the connection: otherwise it would stay, and nothing more be read from it."""
        try:
            super().handle_message(client, message)  # type: ignore[misc]
        except Exception as error:
            client.on_error(NetworkError(f"ccxt can't read a message: {type(error).__name__}: {error}"))

    def handle_ohlcv(self, client: Any, message: Any, *rest: Any) -> Any:
        """Remember, while it is read, which candles the message calls closed."""
        self.closing = closed_times(self.id, message)  # type: ignore[attr-defined]
        try:
            return super().handle_ohlcv(client, message, *rest)  # type: ignore[misc]
        finally:
            self.closing = frozenset()

    def fetch2(self, path: Any, api: Any = "public", method: Any = "GET", params: Any = {}, config: Any = {}) -> Any:  # noqa: B006
        """Note which host is meant."""
        _asked.set(host_behind(self.urls["api"], api, self.hostname, self.id))  # type: ignore[attr-defined]
        return super().fetch2(path, api, method, params, config)  # type: ignore[misc]

    async def throttle(self, cost: Any = None) -> None:
        """Wait for a turn at the host; the machine's budget counts, not this object's."""
        budget = HostBudget.of(_asked.get())
        seconds = float(self.rateLimit) * (1 if cost is None else float(cost)) / 1000  # type: ignore[attr-defined]
        await asyncio.sleep(await in_thread(lambda: max(budget.stopped(), budget.turn(seconds))))


class Packed(Streamed):
    """Binance, whose streams ccxt spreads over fifty connections."""

    together = True

    def stream(self, type: Any, subscriptionHash: Any, numSubscriptions: Any = 1) -> str:  # noqa: N803, ARG002
        """One connection for each kind of stream; it may have 1,024 of them."""
        kinds = self.kinds = getattr(self, "kinds", {})
        return str(kinds.setdefault(str(subscriptionHash).partition("::")[0], len(kinds)))


_CLASSES: dict[type, type] = {}
_LOCK = threading.Lock()


def streamed(name: str, config: Mapping[str, Any]) -> Any:
    """An exchange of ccxt.pro, changed; ``config`` is what ccxt's constructor takes. None where ccxt can't stream from it."""
    import ccxt.pro

    base = getattr(ccxt.pro, name, None)
    if base is None:
        return None
    with _LOCK:
        if base not in _CLASSES:
            changed = Packed if any(one.__name__ == "binance" for one in base.__mro__) else Streamed
            _CLASSES[base] = type(base.__name__, (changed, base), {"__module__": base.__module__, "__doc__": base.__doc__})
    made = _CLASSES[base](dict(config))
    if made.together and "watchTickers" not in (config.get("options") or {}):
        made.options["watchTickers"] = {"name": "ticker"}  # ccxt takes the small one, without bid and ask, for watch_ticker too
    return made
