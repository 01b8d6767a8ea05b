"""Real live feeds, in threads and event loops, over a network that fails at random: what the strategies see is a backtest."""

import asyncio
import os
import random
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from test_feed import BTC, ETH, Recorder, past, run
from venue import START

import cracktrader as ct
from cracktrader.errors import TemporarySourceError
from cracktrader.live.replay import ReplaySource
from cracktrader.times import isoformat

END = isoformat(START + 130 * 60_000)


class Faulty(ReplaySource):
    """A replay whose stream loses, doubles, repeats and forgets to close candles, breaks, hangs, and whose fetches fail."""

    seed = 0

    def __init__(self, config: Any = None, /, **options: Any) -> None:
        super().__init__(config, **options)
        self.random = random.Random(self.seed)
        self.faults = 0

    @ct.hookimpl
    async def stream_candles(self, symbol: str, timeframe: str) -> AsyncIterator[ct.OHLCVCandle]:
        older: list[ct.OHLCVCandle] = []
        async for shown in super().stream_candles(symbol, timeframe):
            candle = shown
            fault = self.random.random()
            self.faults += fault < 0.30
            if fault < 0.10:
                continue  # lost
            if fault < 0.15:
                yield candle
            elif fault < 0.19 and older:
                yield self.random.choice(older)  # late: it went out long ago
            elif fault < 0.24:
                candle = replace(candle, closed=False)
            elif fault < 0.27:
                raise TemporarySourceError("reset by peer")
            elif fault < 0.28:
                await asyncio.Event().wait()  # dead, and looks alive
            elif fault < 0.30:
                await asyncio.sleep(self.random.random() / 5)  # minutes pass
            yield candle
            older = [*older[-9:], candle] if candle.closed else older

    @ct.hookimpl
    def fetch_bars(self, request: ct.BarRequest) -> Any:
        if request.start is not None and request.start > START and self.random.random() < 0.2:
            self.faults += 1
            raise TemporarySourceError("503")
        return super().fetch_bars(request)


@pytest.mark.parametrize("seed", range(int(os.environ.get("CRACKTRADER_SOAK_SEEDS", "3"))))
def test_whatever_fails_the_order_of_next_what_it_sees_and_the_trades_are_those_of_a_backtest(seed, monkeypatch) -> None:
    monkeypatch.setattr(Faulty, "seed", seed)
    begin = isoformat(START + 100 * 60_000 + 20_000)
    with ct.source(Faulty, bars=(BTC, ETH), speed=1_000, begin=begin) as source:
        feeds = [
            ct.feed(source, symbol=symbol, timeframe="1m", live=True, end=END, start=START, align=30, patience=1e5)
            for symbol in ("BTC/USDT", "ETH/USDT")
        ]
        was = run(lambda cerebro: [cerebro.adddata(feed) for feed in feeds])
        assert source.plugin.faults > 10
    recorded = [past(symbol).p.dataname.between(START, END) for symbol in ("BTC/USDT", "ETH/USDT")]
    expected = run(lambda cerebro: [cerebro.adddata(bars) for bars in recorded], strategy=Recorder, preload=False)
    assert was.seen == expected.seen
    assert was.trades == expected.trades
    assert sum(feed.stats["healed"] + feed.stats["confirmed"] for feed in feeds) > 5
