"""Candles as they come: an API asked again and again, one that answers when there is news, or Server-Sent Events."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any, Final

from cracktrader.bars import Bars
from cracktrader.errors import TemporarySourceError
from cracktrader.events import OHLCVCandle
from cracktrader.request import BarRequest
from cracktrader_http.config import HttpConfig
from cracktrader_http.fetching import Fetch, read_bars
from cracktrader_http.hangup import HangUp
from cracktrader_http.retrying import Stopped
from cracktrader_http.transport import Transport

__all__ = ["stream_candles"]

#: So many candles may wait for whoever reads them; then nothing more is read from the network.
_WAITING: Final = 1000
#: Seconds before a stream of events that ended is asked for again, unless the server says otherwise.
_RECONNECT: Final = 1.0


async def stream_candles(config: HttpConfig, transport: Transport, symbol: str, timeframe: str) -> AsyncIterator[OHLCVCandle]:
    """Candles from the one on that is open now, as they change; the network is read in a thread of its own.

    Raises what requests for bars raise, once trying again was in vain.
    """
    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[OHLCVCandle | BaseException | None] = asyncio.Queue(_WAITING)
    hang_up = HangUp()

    def put(item: OHLCVCandle | BaseException | None) -> None:
        asyncio.run_coroutine_threadsafe(queue.put(item), loop).result()

    def listen() -> None:
        try:
            with hang_up.heard():
                _Listener(config, transport, BarRequest(symbol, timeframe), hang_up.stopped, put).listen()
        except Stopped:
            pass
        except BaseException as error:
            put(error)
        put(None)

    thread = threading.Thread(target=listen, name=f"cracktrader-http {symbol} {timeframe}", daemon=True)
    thread.start()
    over = False
    try:
        while not over:
            item = await queue.get()
            if isinstance(item, BaseException):
                raise item
            if item is not None:
                yield item
            over = item is None
    finally:
        hang_up()
        while not over:  # whoever waits for room in the queue goes home
            over = await queue.get() is None
        await asyncio.to_thread(thread.join)


class _Listener:
    """What one stream hears, in the thread that waits for it."""

    def __init__(
        self, config: HttpConfig, transport: Transport, request: BarRequest, stopped: threading.Event,
        tell: Callable[[OHLCVCandle], None],
    ) -> None:  # fmt: skip
        self._config, self._transport, self._stopped, self._tell = config, transport, stopped, tell
        self._request = request.but(start=request.timeframe.floor(transport.clock()))
        self._last: OHLCVCandle | None = None

    def listen(self) -> None:
        """Tell every change; raises what requests for bars raise, and :class:`Stopped`."""
        if self._config.stream.kind == "sse":
            self._hear_events()
        else:
            self._ask_again(self._history() if self._config.stream.kind == "poll" else self._news())

    # ── asking again and again ───────────────────────────────────────────────────────────────────────

    def _ask_again(self, answers: Iterator[Bars]) -> None:
        """Tell what is new in each answer. There is a pause after one without news, and where the API is polled."""
        options = self._config.stream
        while True:
            began = time.monotonic()
            changed = self._changes(next(answers))
            for candle in changed:
                self._tell(candle)
            if not changed or options.kind == "poll":
                self._pause(began + options.seconds - time.monotonic())

    def _history(self) -> Iterator[Bars]:
        while True:
            parts = list(read_bars(self._config, self._transport, self._request, self._stopped))
            yield Bars.concat(parts) if parts else Bars.empty(self._request.symbol, self._request.timeframe)

    def _news(self) -> Iterator[Bars]:
        cursor: Any = None
        while True:
            page = self._fetch().page(cursor)
            cursor = cursor if page.next is None else page.next
            yield page.bars

    def _changes(self, bars: Bars) -> list[OHLCVCandle]:
        """Candles that are new or not what they were. Nobody said that one is closed: that is for who checks it to find out."""
        changed = []
        for bar in bars[bars.time >= (self._request.start or 0)].in_order():
            candle = replace(bar, closed=False)
            if candle != self._last:
                changed.append(candle)
            self._last = candle
        if self._last is not None:
            self._request = self._request.but(start=self._last.time)
        return changed

    def _pause(self, seconds: float) -> None:
        if self._stopped.wait(max(0.0, seconds)):
            raise Stopped

    # ── Server-Sent Events ───────────────────────────────────────────────────────────────────────────

    def _hear_events(self) -> None:
        """Tell the candles of each event; a connection that ends is made again, and the server told the last event."""
        fetch, events, options, vain = self._fetch(), _Events(), self._config.stream, 0

        def hear(lines: Iterable[bytes]) -> None:
            nonlocal vain
            for name, data in events.read(lines):
                vain = 0
                if options.events is None or name in options.events:
                    bars, closed = fetch.event(data, options.closed)
                    for bar in bars:
                        self._tell(replace(bar, closed=closed))

        while vain <= self._config.retries:
            vain += 1
            wanted = fetch.wanted(self._request.start, None)
            asks = {"Accept": "text/event-stream", "Cache-Control": "no-cache"} | events.resume
            self._transport.listen(replace(wanted, headers={**wanted.headers, **asks}), hear, self._stopped)
            self._pause(events.wait)
        raise TemporarySourceError(
            f"The events of {self._request.symbol} {self._request.timeframe} ended {vain} times before the first one came.",
            hint="Is stream['url'] right? Does the server send a comment now and then, sooner than read_timeout?",
        )

    def _fetch(self) -> Fetch:
        """Requests and answers as the options of the stream say, where those differ from history's."""
        options = self._config.stream
        other = {name: getattr(options, name) for name in ("url", "params", "records", "columns")}
        config = self._config.model_copy(update={name: value for name, value in other.items() if value is not None})
        return Fetch(config, self._transport, self._request, self._stopped)


class _Events:
    """Reads Server-Sent Events as the HTML standard says; over several connections, of which each goes on from the last."""

    def __init__(self) -> None:
        self.wait = _RECONNECT
        self._id = ""

    @property
    def resume(self) -> dict[str, str]:
        """The header that tells the server where to go on."""
        return {"Last-Event-ID": self._id} if self._id else {}

    def read(self, lines: Iterable[bytes]) -> Iterator[tuple[str, bytes]]:
        """The name and data of each event; one that is cut off does not count."""
        name = ""
        data: list[bytes] = []
        for line in lines:
            field, _, value = line.partition(b":")
            value = value.removeprefix(b" ")
            if not line:
                if data:
                    yield name or "message", b"\n".join(data)
                name, data = "", []
            elif field == b"event":
                name = value.decode("utf-8", "replace")
            elif field == b"data":
                data.append(value)
            elif field == b"id" and value.isascii() and b"\0" not in value:
                self._id = value.decode()
            elif field == b"retry" and value.isdigit():
                self.wait = int(value) / 1000
