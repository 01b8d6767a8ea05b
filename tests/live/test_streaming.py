"""StreamingFeed: trades, tickers and order books as the guide uses them, in a strategy and without backtrader."""

import asyncio
import dataclasses
import time
from collections.abc import Iterator
from typing import Any

import backtrader as bt
import pytest
from test_feed import candle, in_background, seconds
from venue import Venue

import cracktrader as ct
from cracktrader.errors import ConfigurationError, NotSupported, TemporarySourceError, UnknownSymbol
from cracktrader.live.recording import read_recording
from cracktrader.store.streaming_feed import StreamingFeed


def trade(number: int, side: str = "buy") -> ct.Trade:
    return ct.Trade("BTC/USDT", number, 100.0 + number, 0.5, side, str(number))


BOOK = ct.OrderBook("BTC/USDT", 1, ((99.0, 1.0), (98.0, 2.0)), ((101.0, 1.5),))
TICKER = ct.Ticker("BTC/USDT", 1, last=100.0, bid=99.0, ask=101.0)


def wait_until(true, seconds: float = 5.0) -> None:
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until
        time.sleep(0.002)


@pytest.fixture
def venue() -> Venue:
    return Venue()


@pytest.fixture
def streaming(venue) -> Iterator[StreamingFeed]:
    with StreamingFeed(venue, memory=100) as made:
        yield made


def test_trades_come_in_order_and_the_oldest_are_forgotten(venue, streaming) -> None:
    assert streaming.get_recent_trades("BTC/USDT") == []
    streaming.subscribe_trades("BTC/USDT")
    streaming.subscribe_trades("BTC/USDT")  # once more is the same
    assert streaming.age("trades", "BTC/USDT") is None
    venue.wait_for_streams()
    venue.push(*(trade(number) for number in range(250)))
    wait_until(lambda: streaming.stats["trades BTC/USDT"]["messages"] == 250)
    recent = streaming.get_recent_trades("BTC/USDT", limit=10)
    assert [one["id"] for one in recent] == [str(number) for number in range(240, 250)]
    assert sum(one["amount"] for one in recent if one["side"] == "buy") == 5.0
    assert len(streaming.get_recent_trades("BTC/USDT")) == 100
    assert 0 <= streaming.age("trades", "BTC/USDT") < 5
    assert venue.opened == 1
    streaming.unsubscribe_trades("BTC/USDT")
    assert (venue.closed, venue.given_back) == (1, 1)
    assert streaming.get_recent_trades("BTC/USDT") == []


def test_snapshots_read_as_the_guides_dicts_and_never_change(venue, streaming) -> None:
    streaming.subscribe_orderbook("BTC/USDT", limit=2)
    streaming.subscribe_ticker("BTC/USDT")
    assert streaming.get_orderbook("BTC/USDT") is None
    venue.wait_for_streams(2)
    with pytest.raises(NotSupported):
        StreamingFeed("memory", bars=ct.Bars.empty("X", "1m")).subscribe_ticker("X")
    venue.push(BOOK, hook="stream_order_book")
    venue.push(TICKER, hook="stream_ticker")
    wait_until(lambda: streaming.get_ticker("BTC/USDT") is not None and streaming.get_orderbook("BTC/USDT") is not None)
    book, ticker = streaming.get_orderbook("BTC/USDT"), streaming.get_ticker("BTC/USDT")
    assert sum(order[1] for order in book["bids"][:5]) == 3.0
    assert (ticker["bid"], ticker.ask) == (99.0, 101.0)
    with pytest.raises(dataclasses.FrozenInstanceError):
        book.bids = ()
    time.sleep(0.02)
    assert streaming.get_orderbook("BTC/USDT", max_age=0.01) is None
    assert streaming.get_orderbook("BTC/USDT", max_age=60) is book


def test_a_lost_stream_is_opened_again_and_a_silent_one_too(venue) -> None:
    with StreamingFeed(venue, silence=0.2) as streaming:
        streaming.subscribe_trades("BTC/USDT")
        venue.wait_for_streams()
        venue.push(trade(1), TemporarySourceError("reset"))
        wait_until(lambda: venue.opened == 2)
        venue.push(trade(2))
        wait_until(lambda: len(streaming.get_recent_trades("BTC/USDT")) == 2)
        wait_until(lambda: venue.opened == 3)  # it says nothing any more
        assert streaming.stats["trades BTC/USDT"]["reconnects"] == 2


def test_a_stream_that_can_never_work_raises_where_it_is_read(venue, streaming) -> None:
    venue.refuses = {"stream_trades": UnknownSymbol("There is no BTC/USDT here.")}
    streaming.subscribe_trades("BTC/USDT")

    def failed() -> bool:
        try:
            return bool(streaming.get_recent_trades("BTC/USDT"))
        except UnknownSymbol:
            return True

    wait_until(failed)
    venue.refuses = {}
    streaming.subscribe_trades("BTC/USDT")  # another try
    venue.wait_for_streams()
    assert streaming.get_recent_trades("BTC/USDT") == []
    with pytest.raises(ConfigurationError, match="limit=-1"):
        streaming.subscribe_ticker("BTC/USDT", limit=-1)


def test_callbacks_hear_every_event_and_one_that_fails_harms_nobody(venue, streaming, caplog) -> None:
    heard: list[Any] = []
    streaming.subscribe_trades("BTC/USDT", callback=lambda event: 1 // 0)
    streaming.subscribe_trades("BTC/USDT", callback=heard.append)
    venue.wait_for_streams()
    venue.push(trade(1), trade(2))
    wait_until(lambda: len(heard) == 2)
    assert "a callback failed" in caplog.text
    assert streaming.wait(0.01) is False


def test_events_can_be_awaited_in_a_loop_of_ones_own(venue) -> None:
    async def read() -> list[Any]:
        got = []
        with StreamingFeed(venue) as streaming:
            events = streaming.events("trades", "BTC/USDT")
            pusher = asyncio.get_running_loop().run_in_executor(None, push)
            async for event in events:
                got.append(event)
                if len(got) == 3:
                    break
            await events.aclose()
            await pusher
            venue.refuses = {"stream_ticker": UnknownSymbol("There is no such thing.")}
            with pytest.raises(UnknownSymbol):
                await anext(streaming.events("ticker", "BTC/USDT"))
        return got

    def push() -> None:
        venue.wait_for_streams()
        venue.push(*(trade(number) for number in range(3)))

    assert asyncio.run(read()) == [trade(0), trade(1), trade(2)]


def test_the_guides_strategy_runs_as_written(tmp_path) -> None:
    venue = Venue()
    feed = seconds(venue, record=tmp_path / "run.jsonl")

    class StreamingStrategy(bt.Strategy):
        def __init__(self) -> None:
            self.streaming = self.data._streaming if hasattr(self.data, "_streaming") else None
            if self.streaming:
                self.streaming.subscribe_trades("BTC/USDT")
                self.streaming.subscribe_orderbook("BTC/USDT", limit=10)
                self.streaming.subscribe_ticker("BTC/USDT")
            self.pressure: list[float] = []

        def next(self) -> None:
            trades = self.streaming.get_recent_trades("BTC/USDT", limit=10)
            orderbook = self.streaming.get_orderbook("BTC/USDT")
            if trades and orderbook:
                bought = sum(one["amount"] for one in trades[-10:] if one["side"] == "buy")
                self.pressure.append(bought / sum(one["amount"] for one in trades[-10:]))
                assert self.data.streaming is self.streaming
                self.env.runstop()

    def play() -> None:
        venue.wait_for_streams(4)
        venue.push(trade(1), trade(2, "sell"), hook="stream_trades")
        venue.push(BOOK, hook="stream_order_book")
        base = feed._line.frontier
        for number in range(20):
            venue.sleep_until(candle(number, base).end)
            venue.push(candle(number, base), hook="stream_candles")
            if venue.closed:
                return
        cerebro.runstop()

    cerebro = ct.Cerebro()
    cerebro.adddata(feed)
    cerebro.addstrategy(StreamingStrategy)
    player = in_background(play)
    assert cerebro.run()[0].pressure[0] in (0.5, 1.0)
    player.join()
    kinds = [line["kind"] for line in read_recording(tmp_path / "run.jsonl")]
    assert kinds.count("trade") == 2
    assert kinds.count("book") == 1
