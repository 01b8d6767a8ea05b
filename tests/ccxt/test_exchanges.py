"""Every exchange that ccxt knows can be configured, and what is offered is said without a network."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from typing import Any

import pytest
from venues import Venue

import ccxt
import cracktrader as ct
from cracktrader.errors import InvalidOption, NotSupported, TemporarySourceError
from cracktrader_ccxt.candles import columns_of, parse_klines
from cracktrader_ccxt.facts import FACTS, facts_of
from cracktrader_ccxt.listing import exchange_ids
from cracktrader_ccxt.simulator import Simulator
from cracktrader_ccxt.source import CcxtSource
from cracktrader_ccxt.tuned import tuned


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any, **options: Any) -> None:
        raise AssertionError("A network was asked.")

    monkeypatch.setattr(socket.socket, "connect", refuse)


def test_the_names_are_ccxts() -> None:
    assert list(exchange_ids()) == sorted(ccxt.exchanges)


def test_every_exchange_can_be_configured_and_tuned(no_network: None) -> None:
    for name in ccxt.exchanges:
        source = ct.source("ccxt", exchange=name)
        assert dict(source.identity) == {"exchange": name}
        exchange = tuned(name, source.config.ccxt_config)
        assert isinstance(exchange, getattr(ccxt, name))
        assert exchange.host_of("public").count(".") >= 1
        (limit,) = facts_of(exchange, "spot").limit.values()
        assert 1 <= limit <= 50_000


def test_what_every_exchange_offers_is_listed_without_asking_any(no_network: None) -> None:
    offered = {one["exchange"]: one for one in CcxtSource.exchanges()}
    assert set(offered) == set(ccxt.exchanges)
    assert json.dumps(offered)
    binance = offered["binance"]
    assert binance["candles"]
    assert binance["trades"]
    assert binance["sandbox"]
    assert "candles" in binance["streams"]
    assert [binance["at_once"], offered["kraken"]["keeps"]] == [1000, 720]
    assert not offered["bitflyer"]["candles"]


def test_the_command_lists_them() -> None:
    done = subprocess.run([sys.executable, "-m", "cracktrader", "sources", "ccxt", "--exchanges"], capture_output=True, text=True,
                          timeout=60, check=True)  # fmt: skip
    lines = done.stdout.splitlines()
    assert len(lines) == len(ccxt.exchanges) + 2
    assert lines[0].split()[:2] == ["exchange", "markets"]
    assert lines[-1] == f"{len(ccxt.exchanges)} exchanges"


def test_the_facts_are_of_exchanges_that_there_are() -> None:
    assert set(FACTS) <= set(ccxt.exchanges)


def test_a_wrong_name_brings_near_ones_to_mind() -> None:
    with pytest.raises(InvalidOption, match="Did you mean 'binance'"):
        ct.source("ccxt", exchange="binanse")
    assert ct.source("ccxt", exchange_id=" Binance ").config.exchange == "binance"


@pytest.mark.parametrize(
    "wrong", [{"sandbx": 1}, {"exchange": "binance", "batch_size": 0}, {"exchange": "binance", "market_type": "swop"}]
)
def test_wrong_options_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidOption):
        ct.source("ccxt", **wrong)


def test_importing_the_plugin_imports_no_ccxt() -> None:
    heavy = {"ccxt", "aiohttp", "requests", "backtrader", "pandas"}
    code = f"import sys, cracktrader_ccxt; print(sorted({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


def test_both_ways_of_reading_candles_give_the_same_bits() -> None:
    import random

    rng, exchange = random.Random(4), ccxt.binance()
    texts = ["0.00000001", "123456789.12345678", "1e-7", "0.1", "70000", "3.3333333333333335", "99999999999.99999999"]
    rows = [[1_700_000_000_000 + 60_000 * row, *(rng.choice([f"{rng.uniform(0, 9e4):.8f}", *texts]) for _ in range(11))]
            for row in range(500)]  # fmt: skip
    for inverse in (False, True):
        market = {"inverse": inverse, "symbol": "BTC/USDT"}
        by_ccxt = columns_of(exchange.parse_ohlcvs(rows, market, "1m"))
        ours = parse_klines(json.dumps(rows, separators=(",", ":")), market)
        assert [column.tobytes() for column in ours] == [column.tobytes() for column in by_ccxt]
        assert [column.dtype for column in ours] == [column.dtype for column in by_ccxt]


NOT_KLINES = (
    '[[1, "2", "3"], [4, "5", "6"]]', '[[1,"2"]]', "[[1,[2]]]", "[[]]", "[[1,2,3,4,5,6,7,8,9,10,11,12],[1,2,3",
    '[[1,"","1","1","1","1",1,"","","","",""]]', '[[1,null,"1","1","1","1",1,"1",1,"1","1","0"]]',
)  # fmt: skip


@pytest.mark.parametrize("body", NOT_KLINES)
def test_what_the_quick_way_can_not_read_is_left_to_ccxt(body: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - Arrow's own
        parse_klines(body, {"inverse": False})


def test_the_sandbox_is_another_host_and_another_series(no_network: None) -> None:
    with ct.source("ccxt", exchange="binance", sandbox=True) as source:
        assert "testnet" in source.plugin.desk.exchange.host_of("public")
        assert dict(source.identity) == {"exchange": "binance", "sandbox": True}
    with pytest.raises(NotSupported, match="kraken has no test network that ccxt knows"):
        ct.source("ccxt", exchange="kraken", sandbox=True).plugin.desk  # noqa: B018


@pytest.mark.parametrize(
    "config", [{"sandbox": True}, {"testnet": True}, {"options": {"sandbox": True}}, {"options": {"testnet": 1}}]
)
def test_a_sandbox_in_a_config_is_another_series_too(no_network: None, config: dict[str, Any]) -> None:
    with ct.source("ccxt", exchange="binance", config=config) as source:
        assert "testnet" in source.plugin.desk.exchange.host_of("public")
        assert dict(source.identity) == {"exchange": "binance", "sandbox": True}
    assert "sandbox" in repr(ct.CCXTStore(exchange="binance", config=config))
    with ct.source("ccxt", exchange="binance", config={"sandbox": False, "options": {"testnet": False}}) as source:
        assert dict(source.identity) == {"exchange": "binance"}
        assert "testnet" not in source.plugin.desk.exchange.host_of("public")


@pytest.mark.parametrize("method", ["fetchOHLCV", "fetchTrades"])
def test_ccxts_own_paging_is_refused(method: str) -> None:
    with pytest.raises(InvalidOption, match="paginate"):
        ct.source("ccxt", exchange="binance", config={"options": {method: {"paginate": True}}})


def test_a_config_that_ccxt_can_not_use_is_refused(no_network: None) -> None:
    with pytest.raises(InvalidOption, match="can't make binance of this config"):
        ct.source("ccxt", exchange="binance", config={"urls": 5, "options": 7}).plugin.desk  # noqa: B018


def test_requests_go_through_the_proxy_of_a_config(exchange: Simulator, options: dict[str, Any]) -> None:
    elsewhere = json.loads(json.dumps(options["config"]).replace(exchange.url, "http://exchange.invalid"))
    config = elsewhere | {"httpProxy": exchange.url}
    bars = ct.load("ccxt", exchange="binance", config=config, symbol="BTC/USDT", timeframe="1h", limit=10, catalog=False)
    assert len(bars) == 10
    assert {asked.headers["Host"] for asked in exchange.requests} == {"exchange.invalid"}


@pytest.mark.parametrize("concurrency", [1, 4])
def test_windows_without_candles_on_coin_margined_markets_end_nothing(concurrency: int) -> None:
    """ccxt says an end for them, so an empty page says nothing of what comes later."""
    with Venue("binancecoinm", hours=1500, gone=range(100, 1300)) as venue:
        bars = venue.load(
            symbol="BTC/USD:BTC", start=venue.iso(-3000), end=venue.iso(1400), batch_size=500, concurrency=concurrency
        )
        assert (bars.time == venue.truth(0, 1400).time).all()
        assert len(bars) == 200


def test_a_server_that_is_down_is_named(exchange: Simulator, options: dict[str, Any]) -> None:
    exchange.go_down()
    with pytest.raises(TemporarySourceError, match=r"127\.0\.0\.1:\d+ refuses connections \(tried 2 times") as caught:
        ct.load("ccxt", **options, symbol="BTC/USDT", timeframe="1h", limit=5, retries=1, catalog=False)
    assert caught.value.hint == "Is it running, and is `urls` in `config` right?"


def test_mark_prices_are_another_series(options: dict[str, Any]) -> None:
    source = ct.source("ccxt", **options, venue="x", params={"price": "mark"})
    assert dict(source.identity) == {"exchange": "binance", "venue": "x", "params": {"price": "mark"}}
