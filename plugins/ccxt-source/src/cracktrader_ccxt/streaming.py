"""The streams of one exchange: one ccxt.pro object for everybody in this process who gives the same options.

Each stream that somebody reads is a channel: a task that keeps ccxt watching, and hands what comes to its readers. The
connections belong to ccxt. Everything here runs in the hub's loop, and nowhere else.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncGenerator, Callable, Mapping
from contextvars import Context
from typing import TYPE_CHECKING, Any, Final

from cracktrader.errors import (
    CracktraderError,
    NotSupported,
    PermanentSourceError,
    TemporarySourceError,
    UnknownSymbol,
    UnsupportedTimeframe,
)
from cracktrader.events import Event, OHLCVCandle, OrderBook, Ticker, Trade
from cracktrader.live.hub import in_thread
from cracktrader.timeframe import Timeframe
from cracktrader.times import now_ms
from cracktrader_ccxt.failures import Act, Answer, judge
from cracktrader_ccxt.patience import Patience

if TYPE_CHECKING:
    from cracktrader_ccxt.config import CcxtConfig
    from cracktrader_ccxt.desk import Desk
    from cracktrader_ccxt.pro import Place

__all__ = ["Streams"]

#: So many events may wait for a reader that is slow; then it misses some, and is told so.
_MOST_WAITING: Final = 50_000
#: How long an exchange may take to confirm that a stream is not wanted any more, or a connection to close, in seconds.
_FAREWELL: Final = 1.5
#: Streams that begin within so many seconds of each other are subscribed to with one message, where that is possible; more of
#: them are waited for so often, and so many go with one.
_GATHER: Final = 0.05
_TURNS: Final = 10
_AT_ONCE: Final = 100
#: A stream that was opened so often, and never said anything, has a dead connection.
_MUTE: Final = 2

# What ccxt calls watching, and no longer watching, each kind of stream; the words are for messages.
_METHODS: Final = {
    "candles": ("watchOHLCV", "watch_ohlcv", "un_watch_ohlcv", "unWatchOHLCV", "candles"),
    "trades": ("watchTrades", "watch_trades", "un_watch_trades", "unWatchTrades", "trades"),
    "ticker": ("watchTicker", "watch_ticker", "un_watch_ticker", "unWatchTicker", "ticker"),
    "book": ("watchOrderBook", "watch_order_book", "un_watch_order_book", "unWatchOrderBook", "order book"),
}
Key = tuple[str, ...]


class Streams:
    """The streams of one desk; users are counted, and the last one to leave closes every connection."""

    def __init__(self, desk: Desk, config: CcxtConfig) -> None:
        self.desk, self.config = desk, config
        self.exchange: Any = None
        self.channels: dict[Key, Channel] = {}
        self.ending: dict[Key, asyncio.Task[None]] = {}
        self.mute: dict[Key, int] = {}
        self.worked: set[Key] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._users: set[object] = set()
        self._opening: asyncio.Lock | None = None
        self._gathered: dict[str, list[Channel]] = {}
        self._tasks: set[asyncio.Future[Any]] = set()

    # ── for the source's hooks ───────────────────────────────────────────────────────────────────────

    async def candles(self, user: object, symbol: str, timeframe: Timeframe, spelled: str | None) -> AsyncGenerator[OHLCVCandle]:
        """Each change of a candle; ``spelled`` is the timeframe as ccxt has it, None where the exchange hasn't it."""
        await self._open(user)
        offers = self.exchange.has
        if spelled is None or not offers.get("watchOHLCV"):
            self._refuse_what_never_streams()
            what = "no candles" if spelled is not None else f"no {timeframe} candles"
            raise UnsupportedTimeframe(
                f"{self.desk.name} streams {what}.",
                hint="They can be made of its trades: from_trades=True." if offers.get("watchTrades") else
                "`cracktrader sources ccxt --exchanges` says what each exchange streams.",
                timeframe=str(timeframe),
            )  # fmt: skip

        def event(row: Any, closed: bool = False) -> OHLCVCandle | None:
            if row[0] is None or None in row[1:5]:
                return None
            opening, open, high, low, close, volume = row[:6]
            return OHLCVCandle(symbol, timeframe, int(opening), float(open), float(high), float(low), float(close),
                               float(volume or 0.0), closed)  # fmt: skip

        async with contextlib.aclosing(self._follow("candles", symbol, spelled, make=event)) as stream:
            async for candle in stream:
                yield candle

    async def trades(self, user: object, symbol: str) -> AsyncGenerator[Trade]:
        """Each trade."""

        def event(row: Any, _: bool = False) -> Trade | None:
            if row.get("timestamp") is None or row.get("price") is None or row.get("amount") is None:
                return None
            side, number = row.get("side"), row.get("id")
            return Trade(symbol, int(row["timestamp"]), float(row["price"]), float(row["amount"]),
                         side if side in ("buy", "sell") else None, None if number is None else str(number))  # fmt: skip

        async with contextlib.aclosing(self._offered(user, "trades", symbol, make=event)) as stream:
            async for trade in stream:
                yield trade

    async def ticker(self, user: object, symbol: str) -> AsyncGenerator[Ticker]:
        """Each change of the ticker."""

        def event(row: Any, _: bool = False) -> Ticker:
            last, bid, ask, bids, asks, volume, quoted = (
                None if row.get(name) is None else float(row[name])
                for name in ("last", "bid", "ask", "bidVolume", "askVolume", "baseVolume", "quoteVolume")
            )
            return Ticker(symbol, int(row.get("timestamp") or now_ms()), last, bid, ask, bids, asks, volume, quoted)

        async with contextlib.aclosing(self._offered(user, "ticker", symbol, make=event)) as stream:
            async for ticker in stream:
                yield ticker

    async def order_book(self, user: object, symbol: str, limit: int) -> AsyncGenerator[OrderBook]:
        """The order book after each change."""

        def event(row: Any, _: bool = False) -> OrderBook:
            bids, asks = (tuple((float(level[0]), float(level[1])) for level in row[side][:limit]) for side in ("bids", "asks"))
            return OrderBook(symbol, int(row.get("timestamp") or now_ms()), bids, asks)

        async with contextlib.aclosing(self._offered(user, "book", symbol, make=event)) as stream:
            async for book in stream:
                yield book

    async def leave(self, user: object) -> None:
        """A source has closed its last stream; after the last source nothing is left of sockets and tasks."""
        self._users.discard(user)
        if not self._users:
            await self._close()

    # ── opening and closing ──────────────────────────────────────────────────────────────────────────

    async def _open(self, user: object) -> None:
        """See that there is a ccxt.pro object of this loop."""
        self._users.add(user)
        loop = asyncio.get_running_loop()
        if self._loop is not loop:  # the loop before has ended, and everything in it
            self._loop, self._opening = loop, asyncio.Lock()
            self._forget()
        assert self._opening is not None  # noqa: S101  # for type checkers
        async with self._opening:
            if self.exchange is None:
                self.exchange = await in_thread(self._made)

    def _made(self) -> Any:
        from cracktrader_ccxt.desk import ccxt_object
        from cracktrader_ccxt.pro import streamed

        made = ccxt_object(self.config, self.desk.secrets, streamed)
        if made is None:
            raise NotSupported(
                f"ccxt can't stream from {self.desk.name}.",
                hint="`cracktrader sources ccxt --exchanges` says what each exchange streams; leave live=True out for history.",
            )
        return made

    def _forget(self) -> None:
        self.exchange = None
        for kept in (self.channels, self.ending, self.mute, self.worked, self._gathered, self._tasks):
            kept.clear()

    async def _close(self) -> None:
        exchange, left = self.exchange, [*self.ending.values(), *self._tasks]
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        self._forget()
        if exchange is not None:
            await asyncio.gather(*(_hang_up(client) for client in list((exchange.clients or {}).values())))
            await exchange.close()

    def _refuse_what_never_streams(self) -> None:
        if not any(self.exchange.has.get(method) for method in ("watchOHLCV", "watchTrades")):
            raise NotSupported(
                f"ccxt streams neither candles nor trades of {self.desk.name}.",
                hint="`cracktrader sources ccxt --exchanges` says what each exchange streams; leave live=True out for history.",
            )

    async def _offered(self, user: object, kind: str, symbol: str, *, make: Callable[..., Any]) -> AsyncGenerator[Any]:
        """A stream of a kind that the exchange may not have."""
        await self._open(user)
        method, *_, word = _METHODS[kind]
        if not self.exchange.has.get(method):
            raise NotSupported(
                f"{self.desk.name} has no stream of its {word} that ccxt knows.",
                hint="`cracktrader sources ccxt --exchanges` says what each exchange streams.",
            )
        async with contextlib.aclosing(self._follow(kind, symbol, make=make)) as stream:
            async for event in stream:
                yield event

    async def _follow(self, kind: str, *arguments: str, make: Callable[..., Any]) -> AsyncGenerator[Any]:
        """The events of a channel, made of what ccxt has; the channel is opened for its first reader."""
        await self._know(arguments[0])
        key = (kind, *arguments)
        while key in self.ending:
            await asyncio.wait({self.ending[key]})
        channel = self.channels.get(key)
        if channel is None:
            channel = self.channels[key] = Channel(self, key)
            self._keep(channel.task)
        reader = Reader(make)
        channel.readers.append(reader)
        try:
            while True:
                yield await reader.next()
        finally:
            channel.readers.remove(reader)
            if not channel.readers:
                self._end(channel)

    async def _know(self, symbol: str) -> None:
        """See that ccxt.pro knows the market; raises :class:`UnknownSymbol`."""
        config, desk, exchange = self.config, self.desk, self.exchange

        def work() -> None:
            patience = Patience(retries=config.retries, backoff=config.backoff, budget=config.budget)
            desk.markets.find(symbol, patience)
            desk.markets.share(exchange)

        await in_thread(work)

    # ── subscribing together ─────────────────────────────────────────────────────────────────────────

    async def gather(self, channel: Channel) -> None:
        """Subscribe to it with others that begin at the same time: exchanges allow few messages a second."""
        if not self.exchange.together or channel.kind not in ("candles", "trades"):
            return
        waiting = self._gathered.setdefault(channel.kind, [])
        waiting.append(channel)
        if len(waiting) == 1:
            known = 0
            for _ in range(_TURNS):
                if len(waiting) == known:
                    break
                known = len(waiting)
                await asyncio.sleep(_GATHER)
            batch = [one for one in self._gathered.pop(channel.kind) if not one.task.done()]
            for start in range(0, len(batch), _AT_ONCE):
                self._subscribe(channel.kind, batch[start : start + _AT_ONCE])
            for one in batch:
                one.subscribed.set()
        await channel.subscribed.wait()

    def _subscribe(self, kind: str, batch: list[Channel]) -> None:
        if len(batch) < 2:
            return
        wanted = [list(one.arguments) if kind == "candles" else one.arguments[0] for one in batch]
        for one in batch:
            one.tap()
        watch = self.exchange.watch_ohlcv_for_symbols if kind == "candles" else self.exchange.watch_trades_for_symbols
        task = asyncio.get_running_loop().create_task(watch(wanted), context=Context())  # it is no channel's own
        self._tasks.add(task)
        task.add_done_callback(self._subscribed)

    def _subscribed(self, task: asyncio.Future[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # the channels hear of it as well

    # ── ending a stream, or a connection ─────────────────────────────────────────────────────────────

    def _end(self, channel: Channel) -> None:
        """Nobody reads it any more; the exchange is told in the background."""
        if self.channels.get(channel.key) is channel:
            del self.channels[channel.key]
        if channel.task.done():
            return
        channel.task.cancel()
        task = self.ending[channel.key] = asyncio.ensure_future(self._farewell(channel))

        def ended(_: object) -> None:
            if self.ending.get(channel.key) is task:
                del self.ending[channel.key]

        task.add_done_callback(ended)

    async def _farewell(self, channel: Channel) -> None:
        await asyncio.wait({channel.task})
        place, exchange = channel.place, self.exchange
        self.mute[channel.key] = 0 if channel.spoke else self.mute.get(channel.key, 0) + 1
        if place is None or not self.stands(place):
            return
        client = place.client
        if not any(other.place is not None and other.place.client is client for other in self.channels.values()):
            self.drop(client, "nobody listens any more")
        elif self.mute[channel.key] >= _MUTE:
            self.drop(client, "it said nothing")
        elif exchange.has.get(_METHODS[channel.kind][3]):
            try:
                async with asyncio.timeout(_FAREWELL):
                    await getattr(exchange, _METHODS[channel.kind][2])(*channel.arguments)
            except TimeoutError:
                self.drop(client, "it did not answer")
            except Exception:
                channel.forget()
        channel.forget()

    def stands(self, place: Place) -> bool:
        """Whether ccxt still uses the connection."""
        client = place.client
        return (self.exchange.clients or {}).get(client.url) is client

    def drop(self, client: Any, why: str) -> None:
        """Close a connection; whoever else listens to it hears that it is lost, and opens another."""
        from ccxt import NetworkError

        clients, url = self.exchange.clients or {}, client.url
        if clients.get(url) is client:
            del clients[url]
        lost = NetworkError(f"the connection was closed: {why}")
        client.error = client.error or lost
        client.reject(lost)
        self._keep(asyncio.ensure_future(_hang_up(client)))

    def _keep(self, task: asyncio.Future[Any]) -> None:
        """See that a task has ended when the streams have."""
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # ── errors ───────────────────────────────────────────────────────────────────────────────────────

    def judged(self, error: BaseException, channel: Channel) -> CracktraderError:
        """What an error of ccxt means for whoever reads the stream; without secrets."""
        cause = error.args[0] if error.args and isinstance(error.args[0], BaseException) else None
        failure = judge(error, Answer(int(getattr(cause, "status", 0) or 0)))
        word = _METHODS[channel.kind][-1]
        told = f"{self.desk.name}, {' '.join(channel.arguments[:1])}, its {word}: {self.desk.secrets.hide(failure.said)}."
        if failure.act is Act.UNKNOWN_SYMBOL:
            return UnknownSymbol(told, hint="Is it still listed? list_symbols says what there is.", symbol=channel.arguments[0])
        if failure.act is Act.NOT_OFFERED:
            if channel.kind == "candles":
                return UnsupportedTimeframe(told, hint="They can be made of its trades: from_trades=True.")
            return NotSupported(told, hint="`cracktrader sources ccxt --exchanges` says what each exchange streams.")
        misread = isinstance(error, (TypeError, KeyError, AttributeError))  # ccxt over an odd message
        if failure.act is Act.GIVE_UP and channel.key not in self.worked and not misread:
            return PermanentSourceError(told, hint=failure.hint or "See the documentation of the exchange.")
        return TemporarySourceError(told, hint=failure.hint)


class Channel:
    """One stream: what ccxt watches, and who reads it."""

    def __init__(self, streams: Streams, key: Key) -> None:
        self.streams, self.key = streams, key
        self.kind, *rest = key
        self.arguments = tuple(rest)
        self.readers: list[Reader] = []
        self.place: Place | None = None
        self.spoke = False
        self.subscribed = asyncio.Event()
        self._tapped = False
        self.task = asyncio.ensure_future(self._run())

    async def _run(self) -> None:
        from cracktrader_ccxt.pro import place_of

        streams = self.streams
        place_of.set(self._placed)
        try:
            await streams.gather(self)
            self.tap()
            watch = getattr(streams.exchange, _METHODS[self.kind][1])
            while True:
                if self._tapped and self.place is not None and len(self.place.hashes) == 1:
                    self._still_there()
                    await self.place.client.future(self.place.hashes[0])  # what ccxt waits for, without all its preparations
                    continue
                rows = await watch(*self.arguments)
                if not self._tapped:
                    self._hear_all(rows)
        except asyncio.CancelledError:
            if (task := asyncio.current_task()) is None or task.cancelling():
                raise
            self._fail(TemporarySourceError(f"{streams.desk.name}: the connection was closed."))
        except CracktraderError as error:
            self._fail(error)
            self.forget()
        except BaseException as error:
            self._fail(streams.judged(error, self))
            self.forget()
            self._leave_broken(error)

    def _placed(self, place: Place) -> None:
        if self.place is not None and self.place.client is not place.client:
            self.place = place
            raise TemporarySourceError(f"{self.streams.desk.name}: the connection was lost, and made again.")
        self.place = place

    def _still_there(self) -> None:
        from ccxt import NetworkError

        assert self.place is not None  # noqa: S101  # for type checkers
        if not self.streams.stands(self.place) or self.place.client.error is not None:
            raise NetworkError("the connection was lost")

    def _leave_broken(self, error: BaseException) -> None:
        """Where the connection itself has failed, see that nobody uses it again."""
        from ccxt import NetworkError

        if isinstance(error, NetworkError) and self.place is not None and self.streams.stands(self.place):
            self.streams.drop(self.place.client, "it failed")

    # ── what comes ───────────────────────────────────────────────────────────────────────────────────

    def tap(self) -> None:
        """Put a cache of ours where ccxt looks for its own."""
        from cracktrader_ccxt.pro import CandleTap, TradeTap

        exchange = self.streams.exchange
        if self.kind == "candles":
            symbol, timeframe = self.arguments
            exchange.ohlcvs.setdefault(symbol, {})[timeframe] = CandleTap(exchange, self._heard)
        elif self.kind == "trades":
            exchange.trades[self.arguments[0]] = TradeTap(self._heard)

    def forget(self) -> None:
        """Leave nothing of it with ccxt."""
        exchange, place = self.streams.exchange, self.place
        if self.kind == "candles":
            exchange.ohlcvs.get(self.arguments[0], {}).pop(self.arguments[1], None)
        kept = {"trades": exchange.trades, "ticker": exchange.tickers, "book": exchange.orderbooks}.get(self.kind)
        if kept is not None:
            kept.pop(self.arguments[0], None)
        if place is not None:
            for name in place.hashes:
                place.client.subscriptions.pop(name, None)

    def _heard(self, row: Any, closed: bool = False) -> None:
        self._tapped = True
        self._spoken()
        for reader in self.readers:
            reader.put(row, closed)

    def _spoken(self) -> None:
        if not self.spoke:
            self.spoke = True
            self.streams.worked.add(self.key)

    def _hear_all(self, rows: Any) -> None:
        """What ccxt returned, where it keeps it elsewhere than usual, or keeps none."""
        self._spoken()
        for row in [rows] if isinstance(rows, Mapping) else list(rows):
            for reader in self.readers:
                reader.put(row)

    def _fail(self, error: CracktraderError) -> None:
        if self.streams.channels.get(self.key) is self:
            del self.streams.channels[self.key]
        for reader in self.readers:
            reader.fail(error)


class Reader:
    """What waits for one reader of a channel: events of its own, made at once of what ccxt has, which will change."""

    def __init__(self, make: Callable[..., Event | None]) -> None:
        self._make = make
        self._waiting: deque[Event] = deque()
        self._failure: CracktraderError | None = None
        self._ready = asyncio.Event()

    def put(self, row: Any, closed: bool = False) -> None:
        """Hand on a row of ccxt's."""
        event = self._make(row, closed)
        if event is None or self._failure is not None:
            return
        if len(self._waiting) >= _MOST_WAITING:
            self.fail(TemporarySourceError(f"{_MOST_WAITING:,} events waited to be read: whatever came then was left out."))
            return
        self._waiting.append(event)
        self._ready.set()

    def fail(self, error: CracktraderError) -> None:
        """Nothing more will come."""
        self._failure = self._failure or error
        self._ready.set()

    async def next(self) -> Event:
        """The next event; raises what the stream failed with."""
        while not self._waiting:
            if self._failure is not None:
                raise self._failure
            self._ready.clear()
            await self._ready.wait()
        return self._waiting.popleft()


async def _hang_up(client: Any) -> None:
    """Close a connection, also one that nobody answers on."""
    with contextlib.suppress(Exception):
        async with asyncio.timeout(_FAREWELL):
            await client.close()
