"""The streams: who listens to what, and what happens in the order of the exchange's clock."""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import json
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, Final

from aiohttp import WSMsgType, web

from cracktrader_ccxt.simulator import faults as kinds
from cracktrader_ccxt.simulator.binance import Binance
from cracktrader_ccxt.simulator.binance_streams import Channel, Message, channel
from cracktrader_ccxt.simulator.clock import Clock
from cracktrader_ccxt.simulator.faults import Disconnect, Faults, StreamFault
from cracktrader_ccxt.simulator.record import Asked, Record
from cracktrader_ccxt.simulator.replay import Recorder
from cracktrader_ccxt.simulator.spoiling import break_off
from cracktrader_ccxt.simulator.venue import MINUTE, MINUTE_MS, Event, Venue

__all__ = ["Streams"]

#: Messages that may wait for one client; one that lets more pile up is disconnected, as exchanges do.
_MOST_WAITING: Final = 200_000
#: How long a step of the clock waits for clients to take what was sent, in real seconds.
_FLUSH: Final = 0.25
#: Messages between two chances for others on the loop.
_TURN: Final = 500

# What comes first of what happens at the same time.
_CLOSE, _MINUTE, _TRADE, _FLUSH_DUE, _RELEASE, _DISCONNECT = range(6)


class Connection:
    """One client: what it listens to, and what waits to be sent to it."""

    def __init__(
        self, response: web.WebSocketResponse, request: web.BaseRequest, side: Binance, recorder: Recorder | None
    ) -> None:
        self.response, self.request, self.side, self.recorder = response, request, side, recorder
        self.number = recorder.open(request.path) if recorder else 0
        self.names: set[str] = set()
        self.waiting: deque[str] = deque()
        self.ready = asyncio.Event()

    def put(self, text: str) -> None:
        self.waiting.append(text)
        self.ready.set()
        if len(self.waiting) > _MOST_WAITING:
            break_off(self.request)

    async def send(self) -> None:
        """Send what waits, for as long as there is somebody."""
        with contextlib.suppress(ConnectionError):
            while not self.response.closed:
                await self.ready.wait()
                self.ready.clear()
                while self.waiting and not self.response.closed:
                    text = self.waiting[0]
                    await self.response.send_str(text)
                    self.waiting.popleft()
                    if self.recorder:
                        self.recorder.server(self.number, text)


class Streams:
    """All connections of an exchange; everything here runs on its loop."""

    def __init__(
        self, venue: Venue, clock: Clock, faults: Faults, record: Record, candles_every: int, recorder: Recorder | None
    ) -> None:
        self.venue, self.clock, self.faults, self.record, self.recorder = venue, clock, faults, record, recorder
        self.candles_every = candles_every
        self.connections: set[Connection] = set()
        #: Messages sent, by symbol and kind: ``sent["BTC/USDT@kline_1m"]``.
        self.sent: dict[str, int] = {}
        self._channels: dict[tuple[bool, str], Channel] = {}
        self._listeners: dict[tuple[bool, str], set[Connection]] = {}
        self._of: dict[str, list[tuple[bool, str]]] = {}  # the channels of a symbol
        self._agenda: list[tuple[int, int, int, Any]] = []
        self._order = 0
        self._at = clock.now  # everything up to here has happened
        self._left: set[str] = set()  # symbols that nobody listens to any more, whose trades are still on the agenda
        self._due: set[tuple[bool, str]] = set()
        self._ready: dict[tuple[str, int], list[Event]] = {}
        self._held: dict[tuple[bool, str], list[Message]] = {}
        self._swapped: dict[tuple[bool, str], Message] = {}
        self._firsts: dict[tuple[bool, str], list[Message]] = {}
        #: What is done about each kind of thing on the agenda.
        self._happens: tuple[Callable[[int, Any], None], ...] = (
            self._on_close, self._on_minute, self._on_trade, self._on_flush, self._on_release, self._on_disconnect,
        )  # fmt: skip
        self._lock = asyncio.Lock()
        #: Whether there ever was a fault of streams: what was sent before has then to be remembered.
        self._faulty = bool(faults.of(StreamFault))
        self._stir = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    # ── connections ──────────────────────────────────────────────────────────────────────────────────

    async def serve(self, request: web.BaseRequest, side: Binance) -> web.StreamResponse:
        """Talk to one client until it goes."""
        if refusal := self._struck(kinds.NoStreams, request.path, None):
            self._note(request, {}, 503, refusal)
            return web.Response(status=503, text="Service Unavailable")
        response = web.WebSocketResponse(autoping=False, compress=False, max_msg_size=1 << 20)
        await response.prepare(request)
        connection = Connection(response, request, side, self.recorder)
        self.connections.add(connection)
        self._note(request, {}, 101, None)
        sender = asyncio.ensure_future(connection.send())
        try:
            if "@" in (name := request.path.rpartition("/")[2]):
                await self._subscribe(connection, [name])
            async for message in response:
                if self._silent(connection):
                    continue
                if message.type is WSMsgType.PING:
                    await response.pong(message.data)
                elif message.type is WSMsgType.TEXT:
                    if self.recorder:
                        self.recorder.client(connection.number, message.data)
                    await self._asked(connection, message.data)
        finally:
            self._drop(connection)
            if self.recorder:
                self.recorder.end(connection.number, response.close_code or 1006)
            sender.cancel()
            await asyncio.gather(sender, return_exceptions=True)
        return response

    async def _asked(self, connection: Connection, text: str) -> None:
        try:
            asked = json.loads(text)
            method, names, number = asked["method"], list(asked.get("params") or ()), asked.get("id")
        except (ValueError, KeyError, TypeError, AttributeError):
            connection.put(json.dumps({"error": {"code": 2, "msg": "Invalid request"}, "id": None}))
            return
        refusal = None
        if method == "SUBSCRIBE":
            refusal = next((fault for name in names if (fault := self._struck(kinds.SubscribeRefused, name, None))), None)
        said: dict[str, Any] = {"result": None}
        if method == "SUBSCRIBE" and refusal:
            said = {"error": {"code": refusal.code, "msg": refusal.message}}
        elif method == "SUBSCRIBE":
            await self._subscribe(connection, names)
        elif method == "UNSUBSCRIBE":
            self._unsubscribe(connection, names)
        elif method == "LIST_SUBSCRIPTIONS":
            said = {"result": sorted(connection.names)}
        else:
            said = {"error": {"code": 2, "msg": f"Invalid request: unknown variant {method}"}}
        connection.put(json.dumps(said | {"id": number}))
        status = 400 if "error" in said else 200
        self._note(connection.request, {"method": method, "params": ",".join(names)}, status, refusal)

    async def _subscribe(self, connection: Connection, names: list[str]) -> None:
        """As the exchange does, a name that there is no stream for is taken, and nothing comes."""
        async with self._lock:
            await self._catch_up(self.clock.now)
            for name in names:
                key = (connection.side.spot, name)
                connection.names.add(name)
                if key not in self._channels:
                    made = channel(self.venue, connection.side.symbols, name, self.candles_every)
                    if made is None:
                        continue
                    self._open(key, made)
                self._listeners[key].add(connection)
        self._stir.set()

    def _drop(self, connection: Connection) -> None:
        """Nothing more is sent to it than what waits already."""
        self.connections.discard(connection)
        self._unsubscribe(connection, list(connection.names))

    def _unsubscribe(self, connection: Connection, names: list[str]) -> None:
        for name in names:
            key = (connection.side.spot, name)
            connection.names.discard(name)
            listeners = self._listeners.get(key, set())
            listeners.discard(connection)
            if key in self._channels and not listeners:
                made = self._channels.pop(key)
                del self._listeners[key]
                self._of[made.symbol].remove(key)
                if not self._of[made.symbol]:
                    self._left.add(made.symbol)
                for kept in (self._held, self._swapped, self._firsts):
                    kept.pop(key, None)

    def _open(self, key: tuple[bool, str], made: Channel) -> None:
        """The first listener of a channel: from now on what concerns it is on the agenda."""
        self._channels[key], self._listeners[key] = made, set()
        made.begin(self._at)
        if made.frame is not None:
            self._plan(made.frame.next(self._at), _CLOSE, (key, made))
        others = self._of.setdefault(made.symbol, [])
        others.append(key)
        if len(others) == 1:
            if made.symbol in self._left:
                self._cancel_trades()
            self._load(made.symbol, MINUTE.floor(self._at))
        if not any(kind == _MINUTE for _, kind, _, _ in self._agenda):
            self._plan(MINUTE.next(self._at), _MINUTE, None)

    # ── what happens ─────────────────────────────────────────────────────────────────────────────────

    def _plan(self, at: int, kind: int, what: Any) -> None:
        self._order += 1
        heapq.heappush(self._agenda, (at, kind, self._order, what))

    def _cancel_trades(self) -> None:
        """Take the trades of symbols that nobody listened to any more off the agenda: who comes back would hear them twice."""
        self._agenda = [item for item in self._agenda if item[1] != _TRADE or item[3][0] not in self._left]
        heapq.heapify(self._agenda)
        self._left.clear()

    def _load(self, symbol: str, minute: int) -> None:
        for event in self._ready.pop((symbol, minute), None) or self.venue.events(symbol, minute):
            if event.at > self._at:
                self._plan(event.at, _TRADE, (symbol, event))

    def changed(self) -> None:
        """The market or the faults have changed: the agenda is made anew."""
        self._ready.clear()
        self._faulty = bool(self.faults.of(StreamFault)) or self._faulty
        self._agenda = [item for item in self._agenda if item[1] not in (_TRADE, _DISCONNECT)]
        heapq.heapify(self._agenda)
        for fault in self.faults.of(Disconnect):
            if fault.begins > self._at:
                self._plan(fault.begins, _DISCONNECT, fault)
        for symbol, keys in self._of.items():
            if keys:
                self._load(symbol, MINUTE.floor(self._at))
        self._stir.set()

    async def reach(self) -> None:
        """Send all that happens up to now, and wait for a moment until clients have taken it."""
        async with self._lock:
            await self._catch_up(self.clock.now)
        patience = time.monotonic() + _FLUSH
        while any(connection.waiting for connection in self.connections) and time.monotonic() < patience:
            await asyncio.sleep(0)
        self._stir.set()

    async def run(self) -> None:
        """Keep up with a clock that runs by itself."""
        while True:
            self._stir.clear()
            speed = self.clock.speed
            if not speed:
                await self._stir.wait()
                continue
            async with self._lock:
                await self._catch_up(self.clock.now)
            if self._prepare():
                await asyncio.sleep(0)
                continue
            due = self._agenda[0][0] if self._agenda else self._at + MINUTE_MS
            wait = (due - self.clock.now) / 1000 / speed
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(max(wait, 0.0005), 60.0)):  # wait_for may swallow that it is cancelled
                    await self._stir.wait()

    def _prepare(self) -> bool:
        """Make one symbol's next minute ahead of time; whether there was one to make."""
        minute = MINUTE.next(self._at)
        for symbol, keys in self._of.items():
            if keys and (symbol, minute) not in self._ready:
                self._ready[symbol, minute] = self.venue.events(symbol, minute)
                return True
        return False

    async def _catch_up(self, target: int) -> None:
        if target < self._at:
            self._go_back(target)
        done, happen = 0, self._happens
        while self._agenda and self._agenda[0][0] <= target:
            at, kind, _, what = heapq.heappop(self._agenda)
            self._at = max(self._at, at)
            happen[kind](at, what)
            done += 1
            if done % _TURN == 0:
                await asyncio.sleep(0)
        self._at = target

    def _go_back(self, target: int) -> None:
        """The clock was set back: candles begin anew, as if everybody had just come."""
        self._at, self._agenda = target, []
        self._due.clear()
        for key, made in self._channels.items():
            made.begin(target)
            if made.frame is not None:
                self._plan(made.frame.next(target), _CLOSE, (key, made))
        self._plan(MINUTE.next(target), _MINUTE, None)
        self.changed()

    def _on_trade(self, at: int, what: tuple[str, Event]) -> None:
        symbol, event = what
        for key in self._of.get(symbol, ()):
            made = self._channels[key]
            for message in made.trade(event):
                self._emit(key, made, message, at)
            if made.every and key not in self._due:
                self._due.add(key)
                self._plan(at - at % made.every + made.every, _FLUSH_DUE, key)

    def _on_flush(self, at: int, key: tuple[bool, str]) -> None:
        self._due.discard(key)
        if made := self._channels.get(key):
            for message in made.flush(at):
                self._emit(key, made, message, at)

    def _on_close(self, at: int, what: tuple[tuple[bool, str], Channel]) -> None:
        key, made = what
        if made.frame is not None and self._channels.get(key) is made:
            for message in made.close(at):
                self._emit(key, made, message, at)
            self._plan(made.frame.next(at), _CLOSE, what)

    def _on_minute(self, at: int, _: None) -> None:
        for symbol, keys in self._of.items():
            if keys:
                self._load_at(symbol, at)
        if self._channels:
            self._plan(at + MINUTE_MS, _MINUTE, None)

    def _on_release(self, _: int, what: tuple[tuple[bool, str], Channel]) -> None:
        key, made = what
        for message in self._held.pop(key, ()):
            self._send(key, made, message)

    def _on_disconnect(self, _: int, fault: Disconnect) -> None:
        if self.faults.fire(fault):
            self.disconnect(clean=fault.clean, stream=fault.stream, symbol=fault.symbol)

    def _load_at(self, symbol: str, minute: int) -> None:
        """A minute begins: also a trade of its first millisecond is still to come."""
        events = self._ready.pop((symbol, minute), None)
        for event in self.venue.events(symbol, minute) if events is None else events:
            self._plan(event.at, _TRADE, (symbol, event))

    def disconnect(self, *, clean: bool = True, stream: str = "*", symbol: str | None = None) -> int:
        """Close the connections that listen to such a stream, or to none if all are meant; how many there were."""
        chosen = [connection for connection in self.connections if self._concerned(connection, stream, symbol)]
        for connection in chosen:
            self._drop(connection)
            if clean:
                task = asyncio.ensure_future(_bid_farewell(connection))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
            else:
                break_off(connection.request)
        return len(chosen)

    def _concerned(self, connection: Connection, stream: str, symbol: str | None) -> bool:
        probe = StreamFault(stream=stream, symbol=symbol)
        if stream == "*" and symbol is None:
            return True
        return any(probe.fits(name, self._symbol(connection, name), self._at) for name in connection.names)

    @staticmethod
    def _symbol(connection: Connection, name: str) -> str | None:
        return connection.side.symbols.get(name.partition("@")[0].upper())

    async def leave(self, *, clean: bool) -> None:
        """End all connections, and wait for it."""
        self.disconnect(clean=clean)
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=_FLUSH)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for connection in list(self.connections):
            break_off(connection.request)

    # ── sending, and what goes wrong with it ─────────────────────────────────────────────────────────

    def _emit(self, key: tuple[bool, str], made: Channel, message: Message, now: int) -> None:
        for one in self._spoilt(key, made, message, now):
            self._send(key, made, one)

    def _send(self, key: tuple[bool, str], made: Channel, message: Message) -> None:
        told = f"{made.symbol}@{made.name.partition('@')[2]}"
        self.sent[told] = self.sent.get(told, 0) + 1
        for connection in self._listeners.get(key, ()):
            if not self._silent(connection):
                connection.put(message.text)

    def _spoilt(self, key: tuple[bool, str], made: Channel, message: Message, now: int) -> Iterator[Message]:
        """What is sent instead of a message."""
        if not self._faulty:
            yield message
            return
        if self._struck(kinds.Frozen, made.name, made.symbol):
            return
        if message.closes and self._struck(kinds.ClosingLost, made.name, made.symbol):
            return
        if message.closes and self._struck(kinds.ClosedFlagLost, made.name, made.symbol):
            message = Message(message.text.replace('"x":true', '"x":false'), message.opens)
        if held := self._struck(kinds.Held, made.name, made.symbol):
            waiting = self._held.setdefault(key, [])
            if not waiting:
                self._plan(now + held.by, _RELEASE, (key, made))
            if held.merged:
                waiting.clear()
            waiting.append(message)
            return
        yield from self._held.pop(key, ())
        yield from self._disordered(key, made, message)

    def _disordered(self, key: tuple[bool, str], made: Channel, message: Message) -> Iterator[Message]:
        if key in self._swapped:
            yield message
            yield self._swapped.pop(key)
            return
        if self._struck(kinds.Swapped, made.name, made.symbol):
            self._swapped[key] = message
            return
        yield message
        if self._struck(kinds.Repeated, made.name, made.symbol):
            yield message
        if message.opens:
            firsts = self._firsts.setdefault(key, [])
            if not firsts or message.opens > firsts[-1].opens:
                firsts.append(message)
                del firsts[:-2]
            if len(firsts) == 2 and self._struck(kinds.OldCandle, made.name, made.symbol):
                yield firsts[0]

    def _struck(self, kind: type[Any], stream: str, symbol: str | None) -> Any:
        """The fault of a kind that strikes a stream now, counted; None for none."""
        for fault in self.faults.of(kind):
            if fault.fits(stream, symbol, self.clock.now if kind is kinds.NoStreams else self._at) and self.faults.fire(fault):
                return fault
        return None

    def _silent(self, connection: Connection) -> bool:
        silences = self.faults.of(kinds.Silence)
        if not silences:
            return False
        for fault in silences:
            names = connection.names or {"*"}
            if any(fault.fits(name, self._symbol(connection, name), self._at) for name in names):
                return self.faults.fire(fault)
        return False

    def _note(self, request: web.BaseRequest, query: dict[str, str], status: int, fault: StreamFault | None) -> None:
        met = (type(fault).__name__,) if fault else ()
        self.record.add(
            Asked(time.monotonic(), self.clock.now, "WS", request.path, query, dict(request.headers), status, faults=met)
        )


async def _bid_farewell(connection: Connection) -> None:
    patience = time.monotonic() + _FLUSH
    with contextlib.suppress(ConnectionError, asyncio.CancelledError):
        while connection.waiting and time.monotonic() < patience:
            await asyncio.sleep(0.001)
        await connection.response.close(code=1001, message=b"going away")
