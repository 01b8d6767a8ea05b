"""The guide's live, paper-trading and streaming examples, as they are written there, on an exchange on loopback."""

from __future__ import annotations

import datetime as dt
import importlib
from collections.abc import Iterator
from typing import Any

import backtrader as bt
import pytest
from followed import SPEED

import cracktrader as ct
from cracktrader import CCXTDataFeed, CCXTStore, Cerebro
from cracktrader.errors import InvalidOption, NotSupported
from cracktrader.store.streaming_feed import StreamingFeed
from cracktrader_ccxt.simulator import Simulator


@pytest.fixture
def exchange() -> Iterator[Simulator]:
    importlib.import_module("ccxt.pro")  # it takes seconds, and the exchange's clock would run meanwhile
    with Simulator(["BTC/USDT", "ETH/USDT"], now="2024-06-01T00:00:10", start="2024-05-20", weight_limit=0) as running:
        running.clock.run(SPEED)
        yield running


def store_of(exchange: Simulator, **options: Any) -> CCXTStore:
    config = exchange.config("binance", enableRateLimit=False)
    return CCXTStore(**{"exchange": "binance", "config": config, "pace": SPEED, "backoff": 0.01} | options)


def test_live_data_feed(exchange: Simulator, capsys: pytest.CaptureFixture[str]) -> None:
    store = store_of(exchange)
    cerebro = Cerebro()

    feed = CCXTDataFeed(store=store, symbol="BTC/USDT", ccxt_timeframe="1m", live=True, historical_limit=1)
    told: list[str] = []

    class LiveStrategy(bt.Strategy):
        def next(self) -> None:
            current_time = self.data.datetime.datetime()
            current_price = self.data.close[0]
            print(f"{current_time}: BTC price is ${current_price:,.2f}")
            if len(self) == 6:
                self.env.runstop()

        def notify_data(self, data: Any, status: int, *args: Any, **kwargs: Any) -> None:
            told.append(data._getstatusname(status))

    cerebro.adddata(feed)
    cerebro.addstrategy(LiveStrategy)
    cerebro.run()
    store.close()
    truth = exchange.truth("BTC/USDT", "1m", int(feed.bars.time[0]), exchange.clock.now)[:6]
    printed = [line.partition(": BTC price is ") for line in capsys.readouterr().out.splitlines()]
    assert [price for *_, price in printed] == [f"${close:,.2f}" for close in truth.close]
    ends = [dt.datetime.fromtimestamp(int(end) / 1000 - 1, dt.UTC).isoformat(" ", "seconds")[:19] for end in
            truth.timeframe.next(truth.time)]  # fmt: skip
    assert [when[:19] for when, *_ in printed] == ends
    assert told[:2] == ["DELAYED", "LIVE"]
    assert feed.stats["lost"] == 0


def test_paper_trading(exchange: Simulator) -> None:
    urls = {"test": exchange.config("binance")["urls"]["api"]}
    config = {**exchange.config("binance", enableRateLimit=False), "urls": urls, "apiKey": "an-api-key", "secret": "a-secret"}
    store = store_of(exchange, sandbox=True, config=config)
    feed = CCXTDataFeed(store=store, symbol="BTC/USDT", ccxt_timeframe="5m")
    live = CCXTDataFeed(store=store, symbol="BTC/USDT", ccxt_timeframe="5m", live=True, historical_limit=3)

    class Counts(bt.Strategy):
        def next(self) -> None:
            if len(self.data) >= 4:
                self.env.runstop()

    cerebro = Cerebro()
    cerebro.adddata(feed)
    cerebro.addstrategy(bt.Strategy)
    cerebro.run()
    assert len(feed) == 1000
    cerebro = Cerebro()
    cerebro.adddata(live)
    cerebro.addstrategy(Counts)
    cerebro.run()
    assert len(live) >= 4
    assert "a-secret" not in repr(store) + repr(live.stats) + str(live.bars.provenance)
    assert {asked.path for asked in exchange.requests if asked.method == "WS"} == {"/stream/ws/0"}


class StreamingStrategy(bt.Strategy):
    """Strategy using real-time WebSocket data."""

    def __init__(self) -> None:
        self.decided: list[bool] = []
        # Access streaming feed
        self.streaming = self.data._streaming if hasattr(self.data, "_streaming") else None

        if self.streaming:
            # Subscribe to additional data streams
            self.streaming.subscribe_trades("BTC/USDT")
            self.streaming.subscribe_orderbook("BTC/USDT", limit=10)
            self.streaming.subscribe_ticker("BTC/USDT")

    def next(self) -> None:
        # Standard OHLCV data
        assert self.data.close[0] > 0
        assert self.data.volume[0] >= 0

        # Real-time trade data
        if self.streaming:
            latest_trades = self.streaming.get_recent_trades("BTC/USDT", limit=10)
            orderbook = self.streaming.get_orderbook("BTC/USDT")
            ticker = self.streaming.get_ticker("BTC/USDT")

            # Use real-time data for decision making
            if self.analyze_order_flow(latest_trades, orderbook):
                self.buy()
            if latest_trades and orderbook and ticker and len(self) > 5:
                self.seen = (latest_trades, orderbook, ticker)
                self.env.runstop()

    def analyze_order_flow(self, trades: Any, orderbook: Any) -> bool:
        """Analyze real-time order flow for trading signals."""
        if not trades or not orderbook:
            return False

        # Calculate buy/sell pressure
        recent_volume = sum(trade["amount"] for trade in trades[-10:])
        buy_volume = sum(trade["amount"] for trade in trades[-10:] if trade["side"] == "buy")

        buy_pressure = buy_volume / recent_volume if recent_volume > 0 else 0.5

        # Check orderbook imbalance
        bid_depth = sum(order[1] for order in orderbook["bids"][:5])
        ask_depth = sum(order[1] for order in orderbook["asks"][:5])

        order_imbalance = bid_depth / (bid_depth + ask_depth)

        # Signal when both metrics are bullish
        return buy_pressure > 0.6 and order_imbalance > 0.6


def test_streaming(exchange: Simulator) -> None:
    store = store_of(exchange, streaming=True)
    feed = CCXTDataFeed(store=store, symbol="BTC/USDT", timeframe="1m", live=True, historical_limit=2)
    cerebro = Cerebro()
    cerebro.adddata(feed)
    cerebro.addstrategy(StreamingStrategy)
    trades, book, ticker = cerebro.run()[0].seen
    store.close()
    assert isinstance(feed.streaming, StreamingFeed)
    assert len(trades) <= 10
    assert [trade.time for trade in trades] == sorted(trade.time for trade in trades)
    assert len(book.bids) == len(book.asks) == 10
    assert [price for price, _ in book.bids] == sorted((price for price, _ in book.bids), reverse=True)
    assert book.bids[0][0] < book.asks[0][0]
    assert ticker["last"] > 0
    assert ticker.bid < ticker.ask


def test_a_feed_of_any_name_goes_on_where_its_history_ends(exchange: Simulator) -> None:
    options = {"exchange": "binance", "config": exchange.config("binance", enableRateLimit=False), "pace": SPEED}
    feed = ct.feed("ccxt", **options, symbol="BTC/USDT", timeframe="1m", limit=30, live=True, catalog=False)
    seen: list[tuple[Any, ...]] = []

    class Notes(bt.Strategy):
        def next(self) -> None:
            seen.append((self.data.open[0], self.data.high[0], self.data.low[0], self.data.close[0], self.data.volume[0]))
            if len(seen) == 34:
                self.env.runstop()

    cerebro = bt.Cerebro()
    cerebro.adddata(feed)
    cerebro.addstrategy(Notes)
    cerebro.run()
    truth = exchange.truth("BTC/USDT", "1m", int(feed.bars.time[0]), exchange.clock.now)
    assert seen == [row[1:] for row in truth.to_records()][:34]


def test_what_can_not_go_on_live(exchange: Simulator) -> None:
    store = store_of(exchange)
    with pytest.raises(InvalidOption, match="needs a store"):
        CCXTDataFeed(symbol="BTC/USDT", timeframe="1m", live=True)
    with pytest.raises(InvalidOption, match="colour"):
        CCXTDataFeed(store=store, symbol="BTC/USDT", timeframe="1m", live=True, colour="red")

    class Mine(CCXTDataFeed):
        def _load_data(self) -> Any:
            return super()._load_data()

    with pytest.raises(NotSupported, match="Mine changes how bars are loaded"):
        Mine(store=store, symbol="BTC/USDT", timeframe="1m", live=True)
    store.close()
