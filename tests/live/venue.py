"""A source under the test's control: real streams in the hub, real fetches in threads; what they say is decided by the test."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any, ClassVar

import numpy as np

import cracktrader as ct
from cracktrader.times import now_ms

START = 1_704_067_200_000


def market(rows: int, seed: int = 1, symbol: str = "BTC/USDT", timeframe: str = "1m", missing: tuple[int, ...] = ()) -> ct.Bars:
    """A random walk whose volumes have four decimals."""
    rng = np.random.default_rng(seed)
    step = ct.Timeframe(timeframe).step
    close = np.round(100 + np.cumsum(rng.normal(0, 0.1, rows)), 4)
    open_ = np.concatenate(([100.0], close[:-1]))
    bars = ct.Bars(
        START + step * np.arange(rows), open_, np.maximum(open_, close) + 0.1, np.minimum(open_, close) - 0.1, close,
        np.round(rng.random(rows) * 10 + 0.1, 4), symbol=symbol, timeframe=timeframe,
    )  # fmt: skip
    return bars[~np.isin(np.arange(rows), missing)]


class Venue(ct.DataSource):
    """Streams what is pushed, and fetches what ``rows`` holds."""

    api = (1, 0)
    #: Its time passes four times as fast, so that nobody waits long for bars of a second.
    pace: ClassVar[float] = 4.0

    def __init__(self, config: Any = None, /, **options: Any) -> None:
        super().__init__(config, **options)
        self.rows: dict[int, ct.OHLCVCandle] = {}
        self.fetched = 0
        self.opened = self.closed = self.given_back = 0
        self.refuses: dict[str, Exception] = {}
        self.began, self.ahead = now_ms(), 0
        self._streams: list[tuple[str, asyncio.AbstractEventLoop, asyncio.Queue[Any]]] = []

    def clock(self) -> int:
        return int(self.began + self.ahead + (time.time() * 1000 - self.began) * self.pace)

    def sleep_until(self, moment: int) -> None:
        time.sleep(max(0.0, (moment - self.clock()) / self.pace / 1000))

    def push(self, *things: Any, hook: str = "") -> None:
        """Send events, or raise exceptions, in every stream that is open, or in those of one hook."""
        for of_hook, loop, queue in list(self._streams):
            for thing in things:
                if not hook or of_hook == hook:
                    with contextlib.suppress(RuntimeError):  # the run is over, and nobody listens
                        loop.call_soon_threadsafe(queue.put_nowait, thing)

    def wait_for_streams(self, number: int = 1, seconds: float = 10.0) -> None:
        until = time.monotonic() + seconds
        while len(self._streams) < number:
            assert time.monotonic() < until, "no stream was opened"
            time.sleep(0.002)

    async def _stream(self, hook: str) -> AsyncIterator[Any]:
        if hook in self.refuses:
            raise self.refuses[hook]
        mine = (hook, asyncio.get_running_loop(), asyncio.Queue())
        self._streams.append(mine)
        self.opened += 1
        try:
            while True:
                thing = await mine[2].get()
                if isinstance(thing, BaseException):
                    raise thing
                yield thing
        finally:
            self._streams.remove(mine)
            self.closed += 1

    @ct.hookimpl
    def fetch_bars(self, request: ct.BarRequest) -> Iterator[ct.Bars]:
        self.fetched += 1
        if "fetch_bars" in self.refuses:
            raise self.refuses["fetch_bars"]
        rows = [row for time, row in sorted(self.rows.items()) if request.start is None or time >= request.start]
        rows = [row for row in rows if request.end is None or row.time < request.end]
        if rows:
            yield ct.Bars.from_records(rows, symbol=request.symbol, timeframe=request.timeframe)

    @ct.hookimpl
    async def stream_candles(self, symbol: str, timeframe: str) -> AsyncIterator[ct.OHLCVCandle]:
        async for event in self._stream("stream_candles"):
            yield event

    @ct.hookimpl
    async def stream_trades(self, symbol: str) -> AsyncIterator[ct.Trade]:
        async for event in self._stream("stream_trades"):
            yield event

    @ct.hookimpl
    async def stream_ticker(self, symbol: str) -> AsyncIterator[ct.Ticker]:
        async for event in self._stream("stream_ticker"):
            yield event

    @ct.hookimpl
    async def stream_order_book(self, symbol: str, limit: int) -> AsyncIterator[ct.OrderBook]:
        async for event in self._stream("stream_order_book"):
            yield event

    @ct.hookimpl
    def server_time(self) -> int:
        return self.clock()

    @ct.hookimpl
    async def close_streams(self) -> None:
        assert not self._streams
        await asyncio.sleep(0)
        self.given_back += 1
