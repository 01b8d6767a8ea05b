"""Live feeds: how soon a strategy hears of a bar, how many messages a second go through, what an idle feed costs."""

from __future__ import annotations

import asyncio
import statistics
import threading
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any, ClassVar

import backtrader as bt
from measuring import Result

import cracktrader as ct
from cracktrader.live import LiveLine, LiveSettings

__all__ = ["live"]

_BARS = 400
_SYMBOLS = 200
_MESSAGES = 400_000
_FRAME = ct.Timeframe("1s")


class Paced(ct.DataSource):
    """A bar of a second every ten milliseconds, on a clock that runs a hundred times as fast; says when it handed each in."""

    api = (1, 0)
    pace: ClassVar[float] = 100.0

    def __init__(self, config: Any = None, /, **options: Any) -> None:
        super().__init__(config, **options)
        self.began = time.time() * 1000
        self.handed_in: dict[int, float] = {}

    @ct.hookimpl
    def server_time(self) -> int:
        return int(self.began + (time.time() * 1000 - self.began) * self.pace)

    @ct.hookimpl
    def fetch_bars(self, request: ct.BarRequest) -> Iterator[ct.Bars]:
        frame = request.timeframe
        times = frame.openings(request.start or 0, min(request.end or 0, frame.floor(self.server_time())))
        ones = [1.0] * len(times)
        yield ct.Bars(times, ones, ones, ones, ones, ones, symbol=request.symbol, timeframe=frame)

    @ct.hookimpl
    async def stream_candles(self, symbol: str, timeframe: str) -> AsyncIterator[ct.OHLCVCandle]:
        frame = ct.Timeframe(timeframe)
        opens = frame.floor(self.server_time())
        while True:
            await asyncio.sleep((opens + frame.step - self.server_time()) / self.pace / 1000)
            candle = ct.OHLCVCandle(symbol, frame, opens, 1.0, 1.0, 1.0, 1.0, 1.0)
            self.handed_in[opens] = time.perf_counter()
            yield candle
            opens += frame.step


class Busy(ct.DataSource):
    """A market of many symbols that says as much as anybody can hear."""

    api = (1, 0)
    left = 0

    @ct.hookimpl
    def fetch_bars(self) -> list[ct.Bars]:
        return []

    @ct.hookimpl
    async def stream_candles(self, symbol: str, timeframe: str) -> AsyncIterator[ct.OHLCVCandle]:
        frame, volume = ct.Timeframe(timeframe), 0.0
        opens = frame.floor(int(time.time() * 1000))
        while True:
            for _ in range(50):
                volume += 1
                self.left -= 1
                yield ct.OHLCVCandle(symbol, frame, opens, 1.0, 2.0, 1.0, 2.0, volume, closed=False)
            if self.left <= 0:
                await asyncio.Event().wait()
            await asyncio.sleep(0)


def live(_rows: int) -> Iterator[Result]:
    """Live feeds: latency to the strategy's next, messages a second, the cost of an idle feed."""
    yield from _latency()
    yield _throughput()
    yield _idle()


def _latency() -> Iterator[Result]:
    source = Paced()
    heard: dict[int, float] = {}

    class Hears(bt.Strategy):
        def next(self) -> None:
            now = time.perf_counter()
            moment = round((self.data.datetime[0] - 719_163) * 86_400_000)
            heard[_FRAME.floor(moment)] = now
            if len(self) >= _BARS:
                self.env.runstop()

    cerebro = ct.Cerebro(stdstats=False)
    cerebro.adddata(ct.feed(source, symbol="X", timeframe="1s", live=True, limit=0))
    cerebro.addstrategy(Hears)
    cerebro.run()
    ours = sorted((heard[key] - source.handed_in[key]) * 1000 for key in heard if key in source.handed_in)
    bare = sorted(asyncio.run(_bare(Paced())))
    median, p99 = statistics.median(ours), ours[len(ours) * 99 // 100]
    told = f"of {len(ours)} bars; a bare `async for` {statistics.median(bare):.3f} ms"
    yield Result("live", f"from a closing candle to the strategy's next, median, ms {told}", median, "< 3", median < 3)
    yield Result("live", f"the same, 99th percentile, ms; bare {bare[len(bare) * 99 // 100]:.3f} ms", p99, "< 15", p99 < 15)


async def _bare(source: Paced) -> list[float]:
    taken = []
    async for candle in source.stream_candles("X", "1s"):
        taken.append((time.perf_counter() - source.handed_in[candle.time]) * 1000)
        if len(taken) >= _BARS:
            break
    return taken


def _throughput() -> Result:
    source = ct.source(Busy)
    source.plugin.left = _MESSAGES
    settings = LiveSettings(grace=60)
    lines = [LiveLine(source, f"S{number}", ct.Timeframe("1h"), settings) for number in range(_SYMBOLS)]
    start = time.perf_counter()
    for line in lines:
        line.start()
    while (heard := sum(line.stats["messages"] for line in lines)) < _MESSAGES:
        time.sleep(0.05)
    ours = heard / (time.perf_counter() - start)
    for line in lines:
        line.stop()

    async def bare() -> float:
        plugin = Busy()
        plugin.left = _MESSAGES
        count, done = 0, asyncio.Event()

        async def read(symbol: str) -> None:
            nonlocal count
            async for _ in plugin.stream_candles(symbol, "1h"):
                count += 1
                if count >= _MESSAGES:
                    done.set()

        began = time.perf_counter()
        tasks = [asyncio.create_task(read(f"S{number}")) for number in range(_SYMBOLS)]
        await done.wait()
        rate = count / (time.perf_counter() - began)
        for task in tasks:
            task.cancel()
        return rate

    alone = asyncio.run(bare())
    return Result("live", f"messages a second through {_SYMBOLS} lines, thousands; only made and dropped {alone / 1000:.0f}",
                  ours / 1000, "> 20", ours > 20_000)  # fmt: skip


def _idle() -> Result:
    class Silent(Busy):
        @ct.hookimpl
        async def stream_candles(self, symbol: str, timeframe: str) -> AsyncIterator[ct.OHLCVCandle]:
            await asyncio.Event().wait()
            yield ct.OHLCVCandle(symbol, ct.Timeframe(timeframe), 0, 1, 1, 1, 1, 1)

    cerebro = ct.Cerebro(stdstats=False)
    cerebro.adddata(ct.feed(Silent, symbol="X", timeframe="1h", live=True, limit=0))
    cerebro.addstrategy(bt.Strategy)
    used: list[float] = []

    def measure() -> None:
        time.sleep(1.0)
        begin, cpu = time.perf_counter(), time.process_time()
        time.sleep(4.0)
        used.append((time.process_time() - cpu) / (time.perf_counter() - begin) * 100)
        cerebro.runstop()

    watcher = threading.Thread(target=measure)
    watcher.start()
    cerebro.run()
    watcher.join()
    return Result("live", "CPU of an idle live feed, %", used[0], "< 1", used[0] < 1)
