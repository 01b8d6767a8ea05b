"""What users are told they can write, with the addresses of an exchange on loopback in ``config``."""

from __future__ import annotations

import asyncio
import concurrent.futures
import itertools
import pickle
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import backtrader as bt
import pytest
from venues import HOUR, START, Venue

import ccxt
import cracktrader as ct
from cracktrader import CCXTDataFeed, CCXTStore, Cerebro
from cracktrader.errors import InvalidOption, NoData, NotSupported, UnknownSymbol
from cracktrader_ccxt.simulator import Simulator

SYMBOLS = ["BTC/USDT", "ETH/USDT", "ADA/USDT", "DOT/USDT"]
RANGE = {"start_date": "2024-01-01T00:00:00Z", "end_date": "2024-03-01T23:59:59Z"}
HOURS = 61 * 24


@pytest.fixture
def exchange() -> Iterator[Simulator]:
    with Simulator(SYMBOLS, now="2024-06-01T00:00:10", start="2023-12-01", weight_limit=0) as running:
        yield running


@pytest.fixture
def config(exchange: Simulator) -> dict[str, Any]:
    return exchange.config("binance", enableRateLimit=False)


class Seen(bt.Strategy):
    """Notes how many bars each feed had in the end."""

    def stop(self) -> None:
        self.seen = [len(data) for data in self.datas]


def run(cerebro: Any, *feeds: Any) -> list[int]:
    for feed in feeds:
        cerebro.adddata(feed)
    cerebro.addstrategy(Seen)
    return cerebro.run()[0].seen


def test_basic(config: dict[str, Any]) -> None:
    store = CCXTStore(exchange="binance", config=config)
    feed = CCXTDataFeed(store=store, symbol="BTC/USDT", ccxt_timeframe="1h", historical_limit=2000)
    assert run(Cerebro(), feed) == [2000]


def test_every_parameter_of_a_feed(config: dict[str, Any], exchange: Simulator) -> None:
    store = CCXTStore(exchange_id="binance", sandbox=False, config=config, streaming=True)
    feed = CCXTDataFeed(
        store=store, symbol="BTC/USDT", timeframe="1h", **RANGE, name="BTC_1h", compression=1, tz="UTC", historical=True,
        live=False, batch_size=100, dataname=None, fromdate=None, todate=None, sessionstart=None, sessionend=None,
    )  # fmt: skip
    assert run(Cerebro(), feed) == [HOURS]
    assert feed.bars.but(source="") == exchange.truth("BTC/USDT", "1h", "2024-01-01", "2024-03-02").but(source="")
    assert {asked.query["limit"] for asked in exchange.requests.of("*/klines")} <= {"100", "64"}


def test_the_exchange_of_a_store_is_ccxts(config: dict[str, Any]) -> None:
    store = CCXTStore(exchange_id="binance", config=config)
    assert isinstance(store.exchange, ccxt.binance)
    assert "1h" in store.exchange.timeframes
    markets = store.exchange.load_markets()
    assert "BTC/USDT" in list(markets.keys())
    assert markets is store.exchange.markets
    assert len(store.exchange.fetch_ohlcv("BTC/USDT", "1h", START, 10)) == 10
    assert store.exchange.fetch_ticker


def test_several_symbols(config: dict[str, Any]) -> None:
    cerebro, store = Cerebro(), CCXTStore(exchange_id="binance", config=config)
    for symbol in SYMBOLS:
        cerebro.adddata(CCXTDataFeed(store=store, symbol=symbol, timeframe="1h", **RANGE), name=symbol.replace("/", "_"))
    assert run(cerebro) == [HOURS] * 4
    assert [data._name for data in cerebro.datas] == [symbol.replace("/", "_") for symbol in SYMBOLS]


def test_several_timeframes_and_no_look_into_the_future(config: dict[str, Any]) -> None:
    class Strategy(bt.Strategy):
        def next(self) -> None:
            for longer in self.datas[1:]:
                if len(longer):
                    assert longer.datetime.datetime() <= self.data.datetime.datetime()

    store = CCXTStore(exchange_id="binance", config=config)
    cerebro = Cerebro()
    cerebro.addstrategy(Strategy)
    feeds = [CCXTDataFeed(store=store, symbol="BTC/USDT", timeframe=frame, **RANGE) for frame in ("1h", "4h", "1d")]
    for feed in feeds:
        cerebro.adddata(feed)
    cerebro.run()
    assert [len(feed.bars) for feed in feeds] == [HOURS, HOURS // 4, HOURS // 24]


def test_several_exchanges_are_several_stores(config: dict[str, Any]) -> None:
    with Venue("coinbaseexchange", hours=2000) as other:
        stores = [
            CCXTStore(exchange_id="binance", config=config),
            CCXTStore(exchange_id="coinbaseexchange", config=other.config()),
        ]
        assert stores[0] is not stores[1]
        feeds = [CCXTDataFeed(store=store, symbol="BTC/USDT", timeframe="1h", start_date=START, end_date=START + 500 * HOUR)
                 for store in stores]  # fmt: skip
        assert run(Cerebro(), *feeds) == [500, 500]
        assert [feed.bars.provenance["exchange"] for feed in feeds] == ["binance", "coinbaseexchange"]


def test_rate_limit_of_a_config(config: dict[str, Any], exchange: Simulator) -> None:
    CCXTStore(exchange_id="binance", config=config).load(symbol="BTC/USDT", timeframe="1h", limit=3000, catalog=False)
    exchange.requests.clear()
    slow = config | {"rateLimit": 500, "enableRateLimit": True}  # a request for candles costs 0.4 of it
    store = CCXTStore(exchange_id="binance", config=slow, cache_enabled=False)
    feed = CCXTDataFeed(store=store, symbol="BTC/USDT", timeframe="1h", batch_size=1000, historical_limit=3000,
                        validation="off")  # fmt: skip
    assert len(feed.bars) == 3000
    at = [asked.at for asked in exchange.requests.of("*/klines")]
    assert len(at) == 3
    assert min(later - earlier for earlier, later in itertools.pairwise(sorted(at))) > 0.15


def test_caching(config: dict[str, Any], exchange: Simulator, tmp_path: Path) -> None:
    request = {"symbol": "BTC/USDT", "timeframe": "1h", **RANGE}
    for options in (
        {"cache_enabled": True, "cache_ttl": 3600, "cache_path": tmp_path / "data_cache"},
        {"local_storage": True, "storage_path": tmp_path / "historical_data", "storage_format": "parquet"},
    ):
        for times in (1, 0):
            exchange.requests.clear()
            store = CCXTStore(exchange_id="binance", config=config, **options)
            assert len(CCXTDataFeed(store=store, **request).bars) == HOURS
            assert bool(exchange.requests.of("*/klines")) == times
    assert list((tmp_path / "data_cache").rglob("*.parquet"))
    exchange.requests.clear()
    without = CCXTStore(exchange_id="binance", config=config, cache_enabled=False)
    for _ in range(2):
        assert len(CCXTDataFeed(store=without, **request).bars) == HOURS
    assert len(exchange.requests.of("*/klines")) == 4


def test_a_feed_with_a_check_of_its_own(config: dict[str, Any]) -> None:
    class ValidatedDataFeed(CCXTDataFeed):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            self.seen = 0

        def _load_data(self) -> Any:
            frame = super()._load_data()
            self.seen = len(frame)
            return frame[frame["close"] > 0].drop(frame.index[100:103])

    feed = ValidatedDataFeed(store=CCXTStore(exchange="binance", config=config), symbol="BTC/USDT", timeframe="1h", **RANGE)
    assert run(Cerebro(), feed) == [HOURS]
    assert feed.seen == HOURS
    assert feed.report["gap"].count == 3


def test_compression_makes_longer_bars(config: dict[str, Any], exchange: Simulator) -> None:
    store = CCXTStore(exchange="binance", config=config)
    feed = CCXTDataFeed(store=store, symbol="BTC/USDT", timeframe="1h", compression=4, **RANGE)
    assert feed.bars.timeframe == "4h"
    assert feed.bars.but(source="") == exchange.truth("BTC/USDT", "1h", "2024-01-01", "2024-03-02").resample("4h").but(source="")
    last = CCXTDataFeed(store=store, symbol="BTC/USDT", timeframe="1h", compression=4, historical_limit=10)
    assert len(last.bars) == 10


def test_feeds_made_at_once_in_threads(config: dict[str, Any]) -> None:
    def make(symbol: str) -> Any:
        store = CCXTStore(exchange_id="binance", config=config)
        feed = CCXTDataFeed(store=store, symbol=symbol, timeframe="1h", **RANGE)
        assert len(feed.bars) == HOURS
        return feed

    async def make_all() -> list[Any]:
        with concurrent.futures.ThreadPoolExecutor(max_workers=4) as executor:
            loop = asyncio.get_running_loop()
            return await asyncio.gather(*(loop.run_in_executor(executor, make, symbol) for symbol in SYMBOLS))

    assert run(Cerebro(), *asyncio.run(make_all())) == [HOURS] * 4


def test_what_backtrader_expects_of_a_store(config: dict[str, Any]) -> None:
    class Told(bt.Strategy):
        def __init__(self) -> None:
            self.told: list[Any] = []

        def notify_store(self, msg: Any, *args: Any, **options: Any) -> None:
            self.told.append((msg, args, options))

    store = CCXTStore(exchange="binance", config=config)
    cerebro = Cerebro()
    cerebro.addstore(store)
    cerebro.adddata(store.getdata("BTC/USDT", timeframe="1h", historical_limit=50))
    cerebro.adddata(store.getdata(dataname="ETH/USDT", timeframe="1h", historical_limit=50))
    cerebro.addstrategy(Told)
    store.put_notification("hello", 1, more=2)
    assert cerebro.run(runonce=False)[0].told == [("hello", (1,), {"more": 2})]
    with pytest.raises(NotSupported, match="only has data"):
        store.getbroker()


def test_backtraders_own_way_to_say_a_range(config: dict[str, Any]) -> None:
    import datetime as dt

    store = CCXTStore(exchange="binance", config=config)
    feed = CCXTDataFeed(store=store, dataname="BTC/USDT", timeframe=bt.TimeFrame.Minutes, compression=60,
                        fromdate=dt.datetime(2024, 2, 1), todate=dt.datetime(2024, 2, 3))  # fmt: skip
    assert run(Cerebro(), feed) == [48]
    assert feed.symbol == "BTC/USDT"


def test_a_feed_pickles_for_the_workers_of_an_optimisation(config: dict[str, Any]) -> None:
    feed = CCXTDataFeed(store=CCXTStore(exchange="binance", config=config), symbol="BTC/USDT", timeframe="1h", historical_limit=5)
    bars = feed.bars
    copy = pickle.loads(pickle.dumps(feed))
    assert copy.bars == bars
    assert copy.p.store.load(symbol="BTC/USDT", timeframe="1h", limit=5) == bars


def test_wrong_options_say_what_is_right(config: dict[str, Any]) -> None:
    store = CCXTStore(exchange="binance", config=config)
    feed = {"store": store, "symbol": "BTC/USDT"}
    for wrong, said in (
        (CCXTStore, "needs the name of one exchange"),
        (lambda: CCXTStore("binance", exchange_id="kraken"), "name two exchanges"),
        (lambda: CCXTStore("binanse"), "Did you mean 'binance'"),
        (lambda: CCXTStore("binance", sandbx=True), "Did you mean 'sandbox'"),
        (lambda: CCXTStore("binance", storage_format="hdf5"), "hdf5"),
        (lambda: CCXTDataFeed(symbol="BTC/USDT", timeframe="1h"), "needs a store"),
        (lambda: CCXTDataFeed(**feed), "timeframe is not known"),
        (lambda: CCXTDataFeed(**feed, timeframe="1h", ccxt_timeframe="4h"), "say different things"),
        (lambda: CCXTDataFeed(**feed, timeframe="1h", historical=False), "leaves no bar"),
        (lambda: CCXTDataFeed(**feed, timeframe="1h", start_dat="2024"), "Did you mean 'start_date'"),
    ):
        with pytest.raises(InvalidOption, match=said):
            wrong()


def test_troubleshooting(config: dict[str, Any]) -> None:
    store = CCXTStore(exchange="binance", config=config)
    with pytest.raises(UnknownSymbol) as caught:
        CCXTDataFeed(store=store, symbol="BTCUSDT", timeframe="1h").bars  # noqa: B018
    assert "'BTC/USDT'" in caught.value.hint
    with pytest.raises(NoData, match="no bars of BTC/USDT 1h"):
        run(
            Cerebro(),
            CCXTDataFeed(store=store, symbol="BTC/USDT", timeframe="1h", start_date="2019-01-01", end_date="2019-02-01"),
        )
    assert len(CCXTDataFeed(store=store, symbol="BTC/USDT", timeframe="1h").bars) == 1000


def test_the_names_say_what_to_install_where_the_plugin_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    from cracktrader.plugins import registry

    empty = ct.Registry(
        entry_points=lambda group: [each for each in entry_points(group=group) if each.name != "ccxt"], environ={}
    )
    monkeypatch.setattr(registry, "default_registry", lambda: empty)
    with pytest.raises(ct.CracktraderError) as caught:
        ct.CCXTStore  # noqa: B018
    assert 'pip install "cracktrader-core[ccxt]"' in str(caught.value)
