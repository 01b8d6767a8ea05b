"""Live bars of an exchange on loopback in a process of its own, beside bare loops of ccxt.pro's ``watch_ohlcv``."""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import backtrader as bt
from measuring import Result

import cracktrader as ct

__all__ = ["ccxt_live"]

_SPEED, _BARS = 300, 120
_SYMBOLS = [f"C{number}/USDT" for number in range(200)]
_MANY_SPEED, _MANY_SECONDS = 30, 8
_MINUTE = 60_000


def ccxt_live(_rows: int) -> Iterator[Result]:
    """From the exchange's send of a closing candle to the strategy's next; 200 symbols; the cost of waiting."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_CACHE_HOME"] = folder
        with exchange(["BTC/USDT"], 2_000) as (config, ask):
            ask(_SPEED)
            bare = sorted(_delays(asyncio.run(_bare_candles(config)), ask("sent")))
            ours = sorted(_delays(_strategy(config), ask("sent")))
            median, usual = statistics.median(ours), statistics.median(bare)
            p99 = ours[len(ours) * 99 // 100]
            what = f"ms from the send of a closing candle to next, of {len(ours)}; bare watch_ohlcv {usual:.2f}"
            yield Result("ccxt_live", f"median {what}", median, "< 3", median < 3)
            yield Result("ccxt_live", f"99th percentile; bare {bare[len(bare) * 99 // 100]:.2f} ms", p99, "< 15", p99 < 15)
            yield Result("ccxt_live", "median over that of the bare loop, ms", median - usual, "< 3", median - usual < 3)
            ask(0)
            cost = _idle(config)
            yield Result("ccxt_live", "CPU of a live feed while nothing comes, %", cost, "< 1", cost < 1)
        with exchange(_SYMBOLS, 1_000) as (config, ask):
            ask(_MANY_SPEED)
            theirs, ours_cpu = _many_bare(config, ask), _many_lines(config, ask)
            what = f"CPU of 200 symbols: {ours_cpu:.0f} us a message, bare loops {theirs:.0f}; messages a second to bare"
            yield Result("ccxt_live", what, theirs / ours_cpu, ">= 0.8", theirs / ours_cpu >= 0.8)


def _delays(heard: dict[int, float], sent: dict[str, float]) -> list[float]:
    """Milliseconds from the send of each closing candle until it was heard; the first ones are warming up."""
    known = [moment for moment in sorted(heard) if str(moment) in sent][5:]
    return [(heard[moment] - sent[str(moment)]) * 1000 for moment in known]


async def _bare_candles(config: dict[str, Any]) -> dict[int, float]:
    """When the last state of each candle came out of ``watch_ohlcv``."""
    import ccxt.pro

    client, heard = ccxt.pro.binance(config), {}
    while len(heard) < _BARS:
        rows = await client.watch_ohlcv("BTC/USDT", "1m")
        now = time.time()
        heard.update({int(row[0]): now for row in rows})
    heard.pop(max(heard))  # it still forms
    await client.close()
    return heard


def _strategy(config: dict[str, Any]) -> dict[int, float]:
    """When each bar came to a strategy."""
    heard: dict[int, float] = {}

    class Hears(bt.Strategy):
        def next(self) -> None:
            heard[round((self.data.datetime[0] - 719_163) * 86_400_000) // _MINUTE * _MINUTE] = time.time()
            if len(self) >= _BARS:
                self.env.runstop()

    cerebro = ct.Cerebro(stdstats=False)
    cerebro.adddata(_feed(config, _SPEED))
    cerebro.addstrategy(Hears)
    cerebro.run()
    return heard


def _feed(config: dict[str, Any], pace: float) -> Any:
    return ct.feed("ccxt", exchange="binance", config=config, symbol="BTC/USDT", timeframe="1m", live=True, limit=0, pace=pace,
                   catalog=False, silence=36_000)  # fmt: skip


def _idle(config: dict[str, Any]) -> float:
    cerebro, used = ct.Cerebro(stdstats=False), []
    cerebro.adddata(_feed(config, 1.0))
    cerebro.addstrategy(bt.Strategy)

    def measure() -> None:
        time.sleep(2.0)
        used.append(_cpu_while(lambda: time.sleep(5.0)) / 5.0 * 100)
        cerebro.runstop()

    watcher = threading.Thread(target=measure)
    watcher.start()
    cerebro.run()
    watcher.join()
    return used[0]


def _cpu_while(work: Callable[[], Any]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def _many_bare(config: dict[str, Any], ask: Any) -> float:
    """Microseconds of CPU for each message that the exchange sent to a loop for each symbol."""
    import ccxt.pro

    async def run() -> float:
        client = ccxt.pro.binance(config)

        async def watch(symbol: str) -> None:
            while True:
                await client.watch_ohlcv(symbol, "1m")

        await client.load_markets()
        tasks = [asyncio.create_task(watch(symbol)) for symbol in _SYMBOLS]
        await asyncio.sleep(4)
        ask("sent")
        before, began = ask("count"), time.process_time()
        await asyncio.sleep(_MANY_SECONDS)
        used, after = time.process_time() - began, ask("count")
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await client.close()
        return used / (after - before) * 1e6

    return asyncio.run(run())


def _many_lines(config: dict[str, Any], ask: Any) -> float:
    """The same for a live line of each symbol."""
    from cracktrader.live import LiveLine, LiveSettings

    source = ct.source("ccxt", exchange="binance", config=config, pace=_MANY_SPEED)
    lines = [LiveLine(source, symbol, ct.Timeframe("1m"), LiveSettings(silence=36_000)) for symbol in _SYMBOLS]
    for line in lines:
        line.start()
    time.sleep(4)
    before, began = ask("count"), time.process_time()
    time.sleep(_MANY_SECONDS)
    used, after = time.process_time() - began, ask("count")
    for line in lines:
        line.stop()
    source.close()
    return used / (after - before) * 1e6


@contextmanager
def exchange(symbols: list[str], every: int) -> Iterator[tuple[dict[str, Any], Any]]:
    """An exchange in a process of its own; what ccxt needs to find it, and a way to ask it things."""
    command = [sys.executable, __file__, str(every), *symbols]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None
    assert process.stdout is not None

    def ask(what: Any) -> Any:
        print(json.dumps(what), file=process.stdin, flush=True)
        return json.loads(process.stdout.readline())  # type: ignore[union-attr]

    try:
        yield json.loads(process.stdout.readline()) | {"enableRateLimit": False}, ask
    finally:
        process.kill()
        process.communicate()


def serve(every: int, symbols: list[str]) -> None:
    """Be the exchange until told otherwise; note when each closing candle was sent."""
    from cracktrader_ccxt.simulator import Simulator
    from cracktrader_ccxt.simulator.streams import Streams

    sent: dict[int, float] = {}
    send = Streams._send

    def noted(self: Streams, key: Any, made: Any, message: Any) -> None:
        if message.closes:
            sent[message.opens] = time.time()
        send(self, key, made, message)

    Streams._send = noted  # type: ignore[method-assign]
    with Simulator(symbols, now="2024-06-01T00:00:10", start="2024-05-31T23:00", weight_limit=0, candles_every=every) as running:
        print(json.dumps(running.config("binance")), flush=True)
        for line in sys.stdin:
            match json.loads(line):
                case "sent":
                    answer: Any = sent.copy()
                case "count":
                    answer = sum(running.streams.sent.values()) if running.streams is not None else 0
                case 0:
                    answer = running.clock.pause()
                case speed:
                    running.clock.run(speed)
                    answer = speed
            print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    serve(int(sys.argv[1]), sys.argv[2:])
