"""Real sources going live: a database that somebody writes into, and many symbols of one venue at once."""

import sqlite3
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from test_feed import Until, in_background
from venue import Venue

import cracktrader as ct
from cracktrader.live import LiveLine, LiveSettings, State
from cracktrader.live.line import Deliver


def test_a_database_that_somebody_writes_into_is_followed(tmp_path) -> None:
    pytest.importorskip("cracktrader_sql")
    path = tmp_path / "bars.db"
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE ohlcv (time INTEGER, open REAL, high REAL, low REAL, close REAL, volume REAL)")
    database.close()
    first = int(time.time()) * 1000 - 10_000
    written: list[float] = []

    def write(opens: int) -> None:
        database = sqlite3.connect(path)
        with database:
            database.execute("INSERT INTO ohlcv VALUES (?, ?, ?, ?, ?, ?)", (opens, 1.0, 9e9, 0.5, opens / 1000, 1.0))
        database.close()
        written.append(opens / 1000)

    for number in range(10):
        write(first + 1000 * number)

    def go_on() -> None:
        for number in range(10, 15):
            opens = first + 1000 * number
            time.sleep(max(0.0, opens / 1000 + 1.05 - time.time()))
            write(opens)

    writer = in_background(go_on)
    cerebro = ct.Cerebro()
    cerebro.addfeed(
        "sql", url=f"sqlite:///{path}", table="ohlcv", symbol="X", timeframe="1s", live=True, poll_seconds=0.1, grace=0.5,
        start=first,
    )  # fmt: skip
    cerebro.addstrategy(Until, bars=13)
    seen = [row[0][5] for row in cerebro.run()[0].seen]
    writer.join()
    assert seen == written[:13]


class Wide(Venue):
    """A venue of many symbols, each with a stream of its own."""

    def __init__(self, config: Any = None, /, **options: Any) -> None:
        super().__init__(config, **options)
        self.at_once = self.most = 0

    @ct.hookimpl
    def fetch_bars(self, request: ct.BarRequest) -> Any:
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        time.sleep(0.002)
        self.at_once -= 1
        return super().fetch_bars(request)

    @ct.hookimpl
    async def stream_candles(self, symbol: str, timeframe: str) -> AsyncIterator[ct.OHLCVCandle]:
        async for event in self._stream("stream_candles"):
            yield event


def test_two_hundred_symbols_at_once_are_confirmed_a_few_at_a_time() -> None:
    """None is called closed by the stream: each bar is fetched, and all end in the same moment."""
    venue = Wide()
    frame = ct.Timeframe("4s")
    source = ct.source(venue)
    lines = [LiveLine(source, f"S{number}", frame, LiveSettings(confirm=True)) for number in range(200)]
    for line in lines:
        line.start()
    venue.wait_for_streams(200)
    opens = frame.next(venue.clock())
    venue.rows = {opens + number * 4000: ct.OHLCVCandle("S", frame, opens + number * 4000, 1, 2, 1, 2, 3.0) for number in (-1, 0)}
    venue.sleep_until(opens + 2000)
    venue.push(ct.OHLCVCandle("S", frame, opens, 1.0, 2.0, 1.0, 2.0, 3.0, closed=False))
    got: dict[str, list[int]] = {line.symbol: [] for line in lines}
    until = time.monotonic() + 15
    while not all(opens in bars for bars in got.values()) and time.monotonic() < until:
        for line in lines:
            while (item := line.take()) is not None:
                if isinstance(item, Deliver):
                    got[line.symbol].append(item.candle.time)
        time.sleep(0.01)
    states = {line.state for line in lines}
    for line in lines:
        line.stop()
    assert all(opens in bars for bars in got.values())
    assert states <= {State.LIVE, State.DELAYED}
    assert venue.most <= 8
    assert (venue.opened, venue.closed, venue.given_back) == (200, 200, 1)
