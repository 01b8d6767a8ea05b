"""StreamingFeed: trades, tickers and order books of a source, as they come; with backtrader or without."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, Final

from cracktrader.errors import ConfigurationError, CracktraderError, NotSupported
from cracktrader.events import Event, OrderBook, Ticker, Trade
from cracktrader.live.clock import SourceClock
from cracktrader.live.handover import Bell
from cracktrader.live.hub import HUB, Job
from cracktrader.live.recording import recorder
from cracktrader.live.streams import backoff, events, is_final, streams_of
from cracktrader.plugins.registry import Registry, default_registry
from cracktrader.plugins.source import DataSource, Source

__all__ = ["StreamingFeed"]

logger: Final = logging.getLogger("cracktrader.live")
_HOOKS: Final = {"trades": "stream_trades", "orderbook": "stream_order_book", "ticker": "stream_ticker"}
Callback = Callable[[Any], object]


class StreamingFeed:
    """Trades, tickers and order books of a source, kept up to date in the background.

    ::

        with StreamingFeed("ccxt", exchange="binance") as streaming:
            streaming.subscribe_trades("BTC/USDT")
            streaming.subscribe_orderbook("BTC/USDT", limit=10)
            streaming.wait(10)
            streaming.get_recent_trades("BTC/USDT", limit=10), streaming.get_orderbook("BTC/USDT")

    A live feed has one of its own source as ``feed.streaming``. What is handed out is frozen: an order book is one moment's, and
    never changes afterwards. ``memory`` is how many trades of each symbol are kept. A stream that is lost, or says nothing for
    ``silence`` seconds, is opened again; :meth:`age` says how old the last word is. Callbacks are called in the background
    thread with each event, and must be quick.

    Where a stream can never work, as for a symbol that is unknown, the methods that read it raise what the source raised.
    """

    def __init__(
        self,
        source: str | type[DataSource] | DataSource | Source,
        /,
        *,
        memory: int = 1_000,
        silence: float = 60.0,
        record: Path | str | None = None,
        registry: Registry | None = None,
        **options: Any,
    ) -> None:
        self.source = (registry or default_registry()).source(source, **options)
        self._owns = not isinstance(source, (Source, DataSource))
        self._memory, self._silence = memory, silence
        self._record = None if record is None else Path(record)
        self._bell = Bell()
        self._lock = threading.Lock()
        self._subscriptions: dict[tuple[str, str], _Subscription] = {}

    # ── subscribing ──────────────────────────────────────────────────────────────────────────────────

    def subscribe_trades(self, symbol: str, limit: int | None = None, callback: Callback | None = None) -> None:
        """Follow the trades of a symbol; ``limit`` is how many are kept."""
        self._subscribe("trades", symbol, {}, limit or self._memory, callback)

    def subscribe_orderbook(self, symbol: str, limit: int = 20, callback: Callback | None = None) -> None:
        """Follow the order book, ``limit`` levels a side."""
        self._subscribe("orderbook", symbol, {"limit": limit}, 1, callback)

    def subscribe_ticker(self, symbol: str, limit: int | None = None, callback: Callback | None = None) -> None:
        """Follow the ticker; ``limit`` is how many are kept, one unless said."""
        self._subscribe("ticker", symbol, {}, limit or 1, callback)

    def unsubscribe_trades(self, symbol: str) -> None:
        """Follow the trades of a symbol no longer, and forget them."""
        self._unsubscribe("trades", symbol)

    def unsubscribe_orderbook(self, symbol: str) -> None:
        """Follow the order book no longer, and forget it."""
        self._unsubscribe("orderbook", symbol)

    def unsubscribe_ticker(self, symbol: str) -> None:
        """Follow the ticker no longer, and forget it."""
        self._unsubscribe("ticker", symbol)

    def _subscribe(self, kind: str, symbol: str, more: dict[str, Any], keep: int, callback: Callback | None) -> None:
        hook = _HOOKS[kind]
        if not self.source.offers(hook):
            raise NotSupported(
                f"The source {self.source.name!r} has no stream of {kind}.",
                hint="`cracktrader schema SOURCE` says what it offers.", source=self.source.name,
            )  # fmt: skip
        if isinstance(keep, bool) or not isinstance(keep, int) or keep < 1:
            raise ConfigurationError(f"limit={keep!r} is no number of {kind} to keep.", hint="Give a whole number, at least 1.")
        arguments = {"symbol": symbol, **more}
        with self._lock:
            old = self._subscriptions.get((kind, symbol))
            if old is not None and old.failure is None and (old.arguments, old.kept.maxlen) == (arguments, keep):
                old.add(callback)
                return
            made = _Subscription(self, hook, arguments, keep)
            made.add(callback)
            self._subscriptions[kind, symbol] = made
        if old is not None:
            for known in old.callbacks:
                made.add(known)
            old.stop()
        made.start()

    def _unsubscribe(self, kind: str, symbol: str) -> None:
        with self._lock:
            found = self._subscriptions.pop((kind, symbol), None)
        if found is not None:
            found.stop()

    # ── reading ──────────────────────────────────────────────────────────────────────────────────────

    def get_recent_trades(self, symbol: str, limit: int | None = None) -> list[Trade]:
        """The last trades, oldest first, at most ``limit``; none where none has come yet, or nobody subscribed."""
        kept: list[Trade] = list(self._kept("trades", symbol))
        return kept if limit is None else kept[max(0, len(kept) - limit) :]

    def get_orderbook(self, symbol: str, max_age: float | None = None) -> OrderBook | None:
        """The last order book; None where none has come yet, or it is older than ``max_age`` seconds."""
        book: OrderBook | None = self._latest("orderbook", symbol, max_age)
        return book

    def get_ticker(self, symbol: str, max_age: float | None = None) -> Ticker | None:
        """The last ticker; None where none has come yet, or it is older than ``max_age`` seconds."""
        ticker: Ticker | None = self._latest("ticker", symbol, max_age)
        return ticker

    def age(self, kind: str, symbol: str) -> float | None:
        """How many seconds ago the last event of ``"trades"``, ``"orderbook"`` or ``"ticker"`` came; None where none has."""
        found = self._subscriptions.get((kind, symbol))
        return None if found is None or found.heard is None else time.monotonic() - found.heard

    @property
    def stats(self) -> dict[str, dict[str, Any]]:
        """For each subscription: messages, reconnects, age in seconds."""
        return {
            f"{kind} {symbol}": {"messages": one.messages, "reconnects": one.reconnects, "age": self.age(kind, symbol)}
            for (kind, symbol), one in list(self._subscriptions.items())
        }

    def _kept(self, kind: str, symbol: str) -> tuple[Any, ...]:
        found = self._subscriptions.get((kind, symbol))
        if found is None:
            return ()
        if found.failure is not None:
            raise found.failure
        return found.snapshot

    def _latest(self, kind: str, symbol: str, max_age: float | None) -> Any:
        kept = self._kept(kind, symbol)
        age = self.age(kind, symbol)
        return kept[-1] if kept and (max_age is None or age is None or age <= max_age) else None

    # ── waiting ──────────────────────────────────────────────────────────────────────────────────────

    def wait(self, seconds: float) -> bool:
        """Wait for the next event of any subscription; False where none came."""
        return self._bell.wait(self._bell.rings, seconds)

    async def events(self, kind: str, symbol: str, *, limit: int | None = None) -> AsyncIterator[Any]:
        """Every event of one kind and symbol from now on, in the caller's own event loop; subscribes if need be.

        A reader that is slow misses the oldest of a thousand, and no memory grows. Raises what the source raised where the stream
        can never work.
        """
        subscribe = {"trades": self.subscribe_trades, "ticker": self.subscribe_ticker, "orderbook": self.subscribe_orderbook}
        loop, arrived, waiting = asyncio.get_running_loop(), asyncio.Event(), deque[Any](maxlen=1_000)

        def hear(event: Any) -> None:
            waiting.append(event)
            with contextlib.suppress(RuntimeError):  # the caller's loop has ended
                loop.call_soon_threadsafe(arrived.set)

        hear.hears_errors = True  # type: ignore[attr-defined]
        subscribe[kind](symbol, callback=hear, **({} if limit is None else {"limit": limit}))
        mine = self._subscriptions[kind, symbol]
        try:
            while True:
                await arrived.wait()
                arrived.clear()
                while waiting:
                    event = waiting.popleft()
                    if isinstance(event, Exception):
                        raise event
                    yield event
        finally:
            mine.remove(hear)

    # ── ending ───────────────────────────────────────────────────────────────────────────────────────

    def close(self) -> None:
        """End every subscription; nothing is left running. Harmless the second time."""
        with self._lock:
            taken = list(self._subscriptions.values())
            self._subscriptions = {}
        for subscription in taken:
            subscription.stop()
        if self._owns:
            self.source.close()

    def __enter__(self) -> StreamingFeed:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


class _Subscription:
    """One stream, read in the hub and opened again whenever it ends."""

    def __init__(self, feed: StreamingFeed, hook: str, arguments: dict[str, Any], keep: int) -> None:
        self.arguments = arguments
        self.kept: deque[Event] = deque(maxlen=keep)
        self.callbacks: tuple[Callback, ...] = ()
        self.failure: Exception | None = None
        self.heard: float | None = None
        self.messages = self.reconnects = 0
        self._feed, self._hook = feed, hook
        self._name = f"{feed.source.name} {hook} {arguments['symbol']}"
        self._job: Job | None = None
        self._reading: asyncio.Task[None] | None = None
        self._lock = threading.Lock()

    @property
    def snapshot(self) -> tuple[Event, ...]:
        with self._lock:
            return tuple(self.kept)

    def add(self, callback: Callback | None) -> None:
        if callback is not None and callback not in self.callbacks:
            self.callbacks = (*self.callbacks, callback)

    def remove(self, callback: Callback) -> None:
        self.callbacks = tuple(known for known in self.callbacks if known is not callback)

    def start(self) -> None:
        self._job = HUB.run(self._run, self._name)

    def stop(self) -> None:
        if self._job is not None:
            self._job.stop()

    # ── in the hub ───────────────────────────────────────────────────────────────────────────────────

    async def _run(self, _: Job) -> None:
        notes = recorder(self._feed._record) if self._feed._record is not None else None
        clock, attempt = SourceClock(), 0
        watch = asyncio.create_task(self._watch())
        try:
            async with streams_of(self._feed.source):
                while True:
                    before, why = self.messages, "it ended"
                    self._reading = asyncio.create_task(self._read(notes, clock))
                    try:
                        await asyncio.wait({self._reading})
                    finally:
                        self._reading.cancel()
                        await asyncio.wait({self._reading}, timeout=5)
                    if not self._reading.done() or self._reading.cancelled():
                        why = f"it said nothing for {self._feed._silence:g} s"
                    elif (error := self._reading.exception()) is not None:
                        if is_final(error) or not isinstance(error, CracktraderError):
                            raise error
                        why = error.message
                    attempt = 0 if self.messages > before else attempt + 1
                    self.reconnects += 1
                    logger.info("%s is opened again: %s", self._name, why)
                    await asyncio.sleep(backoff(attempt, random.random()))  # noqa: S311  # to spread reconnects
        except Exception as error:
            logger.error("%s has failed: %s", self._name, error)
            self.failure = error
            self._tell(error)
        finally:
            watch.cancel()
            if notes is not None:
                notes.close()

    async def _read(self, notes: Any, clock: SourceClock) -> None:
        stream = events(self._feed.source, self._hook, **self.arguments)
        async with contextlib.aclosing(stream):
            async for event in stream:
                if notes is not None:
                    notes.event(event, clock)
                self.messages += 1
                self.heard = time.monotonic()
                with self._lock:
                    self.kept.append(event)
                self._tell(event)

    def _tell(self, event: Any) -> None:
        self._feed._bell.ring()
        for callback in self.callbacks:
            if isinstance(event, Exception) and not getattr(callback, "hears_errors", False):
                continue
            try:
                callback(event)
            except Exception:
                logger.exception("%s: a callback failed", self._name)

    async def _watch(self) -> None:
        silence = self._feed._silence
        opened = time.monotonic()
        while True:
            await asyncio.sleep(silence / 4)
            if time.monotonic() - max(opened, self.heard or 0.0) > silence and self._reading is not None:
                opened = time.monotonic()
                self._reading.cancel()
